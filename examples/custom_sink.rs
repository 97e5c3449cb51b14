//! A sink of one's own: of each text only the length of its vector in the last layer is kept, so that any number of texts
//! goes through in little memory.
//!
//! `cargo run --release --example custom_sink < texts.txt`

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::io::{self, BufRead};

use layerwise::{Batch, Encoded, Model, Plan, Request, Result, Sink};

#[derive(Default)]
struct Lengths {
    columns: usize,
    tokens: Vec<usize>,
    lengths: Vec<f32>,
}

impl Sink for Lengths {
    fn begin(&mut self, plan: &Plan) -> Result<()> {
        self.columns = plan.arrays()[0].columns;
        Ok(())
    }

    fn take_text(&mut self, text: &Encoded) -> Result<()> {
        self.tokens.push(text.strings.len());
        Ok(())
    }

    fn write(&mut self, _array: usize, rows: &[f32]) -> Result<()> {
        let length = |row: &[f32]| row.iter().map(|number| number * number).sum::<f32>().sqrt();
        self.lengths.extend(rows.chunks_exact(self.columns).map(length));
        Ok(())
    }

    fn end_batch(&mut self, _batch: &Batch) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    let model = Model::open("bundled")?;
    let last_layer = Request { layers: Some(model.num_hidden_layers().into()), ..Request::default() };
    let mut lengths = Lengths::default();
    let lines = io::stdin().lock().lines().map_while(std::result::Result::ok).collect::<Vec<_>>();
    model.encode_into(lines, &last_layer, &mut lengths)?;
    for (tokens, length) in lengths.tokens.iter().zip(&lengths.lengths) {
        println!("{tokens} tokens, length {length:.3}");
    }
    Ok(())
}
