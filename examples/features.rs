//! Features for a classifier, in memory: which layer tells questions from statements, by the nearest class mean.
//!
//! `cargo run --release --example features`

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use layerwise::ndarray::{ArrayView1, Axis};
use layerwise::{Model, Request, VectorKind};

const QUESTIONS: [&str; 4] = ["Where is the bank?", "Who left the door open?", "Is it raining?", "What did she say?"];
const STATEMENTS: [&str; 4] = ["The bank is closed.", "He left the door open.", "It is raining.", "She said nothing."];

fn main() -> layerwise::Result<()> {
    let model = Model::open("bundled")?;
    let texts = QUESTIONS.into_iter().chain(STATEMENTS);
    let out = model.encode(texts, &Request { normalize: true, ..Request::default() })?;
    for layer in 0..=model.num_hidden_layers() {
        let vectors = out.get(VectorKind::Mean, layer)?;
        let (questions, statements) = vectors.split_at(Axis(0), QUESTIONS.len());
        let means = [questions.mean_axis(Axis(0)), statements.mean_axis(Axis(0))].map(Option::unwrap_or_default);
        let is_question = |vector: ArrayView1<'_, f32>| vector.dot(&means[0]) > vector.dot(&means[1]);
        let right = questions.rows().into_iter().filter(|row| is_question(row.view())).count()
            + statements.rows().into_iter().filter(|row| !is_question(row.view())).count();
        println!("layer {layer}: {right} of {} on the right side", vectors.nrows());
    }
    Ok(())
}
