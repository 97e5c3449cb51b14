//! The vectors of one text, layer by layer: how far each layer has moved away from the one before.
//!
//! `cargo run --release --example one_text -- "The bank of the river."`

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use layerwise::{Model, Request, VectorKind};

fn main() -> layerwise::Result<()> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "The bank of the river.".to_owned());
    let model = Model::open("bundled")?;
    let request = Request { kinds: vec![VectorKind::Mean, VectorKind::Token], ..Request::default() };
    let out = model.encode([text.as_str()], &request)?;

    println!("tokens: {}", out.tokens(0).join(" "));
    for layer in 1..=model.num_hidden_layers() {
        let before = out.get(VectorKind::Mean, layer - 1)?;
        let after = out.get(VectorKind::Mean, layer)?;
        let distance = (&after - &before).mapv(|difference| difference * difference).sum().sqrt();
        println!("layer {} to {layer}: the mean vector moves by {distance:.3}", layer - 1);
    }
    Ok(())
}
