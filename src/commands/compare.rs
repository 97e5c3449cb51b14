//! `compare`: the similarity of texts, or of a word in them, at every layer, printed without writing files.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::args::CompareArgs;
use super::console::Console;
use super::shared::{builder, note_of_bundled};
use super::standard_output::print;
use crate::embeddings::Embeddings;
use crate::error::{Error, Result};
use crate::observer::Observer;
use crate::request::Request;
use crate::spec::VectorKind;
use crate::tokens::unknown::UnknownPieces;

/// The cosine similarities of all vectors with each other, (vectors, vectors).
type Cosines = Vec<Vec<f64>>;

/// Prints the cosine similarity of the first text's vector with those of the others, one row for each layer.
///
/// # Errors
/// [`Error::Usage`] for a word that a text does not have; those of opening a model and of encoding.
pub(super) fn run(args: &CompareArgs, console: &Console) -> Result<()> {
    let model = builder(args.model.as_deref(), &args.hub).observer(Arc::new(console.clone())).open()?;
    let kind = if args.word.is_some() { VectorKind::Word } else { VectorKind::Mean };
    let request = Request { kinds: vec![kind], ..Request::default() };
    let plan = model.plan(&request)?;
    let (tokenizer, _) = model.tokenizer(plan)?;
    tokenizer.notes().iter().for_each(|note| console.note(note));
    let encoded = model.encode_once(args.texts.iter().map(String::as_str), &request)?;

    let (mut unknown, mut unknown_tokens, mut tokens) = (UnknownPieces::default(), 0, 0);
    let mut rows = Vec::new();
    for (index, text) in args.texts.iter().enumerate() {
        let of_text = encoded.text(index);
        if encoded.truncated(index) > 0 {
            let limit = model.max_position_embeddings();
            let end = if tokenizer.cuts_the_beginning() { "its beginning" } else { "what lies beyond" };
            console.warn(&format!("text {} is longer than {limit} tokens; {end} is cut off", index + 1));
        }
        tokens += of_text.tokens.len() as u64;
        unknown_tokens += u64::from(of_text.unknown);
        unknown.extend(tokenizer.unknown_pieces(of_text, text));
        let first = encoded.rows_of(kind, index).start;
        rows.push(match &args.word {
            Some(word) => first + find_word(word, index, text, &encoded)?,
            None => first,
        });
    }
    if let Some(warning) = unknown.warning(unknown_tokens, tokens, &tokenizer) {
        console.warn(&warning);
    }
    let layers = (0..=model.num_hidden_layers())
        .map(|layer| {
            let vectors = encoded.get(kind, layer)?;
            let vectors: Vec<Vec<f32>> = rows.iter().map(|&row| vectors.row(row).to_vec()).collect();
            Ok(cosines(&vectors))
        })
        .collect::<Result<Vec<_>>>()?;
    let printed = if args.json { as_json(args, model.id(), &layers) } else { as_table(args, &layers) };
    print(&printed)?;
    if args.model.is_none() {
        note_of_bundled(&model, console);
    }
    Ok(())
}

/// The index of the first of a text's words that equals `word`, ignoring case.
fn find_word(word: &str, index: usize, text: &str, encoded: &Embeddings) -> Result<usize> {
    let characters = text.chars().collect::<Vec<_>>();
    let mut words: Vec<(u32, usize, usize)> = Vec::new(); // number, start, end
    for (number, offsets) in encoded.word_ids(index).into_iter().zip(encoded.offsets(index)) {
        let (Some(number), Some((start, end))) = (number, offsets) else { continue };
        match words.last_mut() {
            Some(last) if last.0 == number => last.2 = end,
            _ => words.push((number, start, end)),
        }
    }
    let texts = words.iter().map(|&(_, start, end)| characters[start..end].iter().collect::<String>());
    let wanted = word.to_lowercase();
    let found = words.iter().zip(texts.clone()).find(|(_, text)| text.to_lowercase() == wanted);
    found.map(|((number, ..), _)| *number as usize).ok_or_else(|| {
        Error::Usage(format!(
            "--word {word}: text {} does not have it; its words are {}",
            index + 1,
            texts.collect::<Vec<_>>().join(" ")
        ))
    })
}

fn cosines(vectors: &[Vec<f32>]) -> Cosines {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = vectors.iter().map(|vector| product(vector, vector).sqrt()).collect::<Vec<_>>();
    let cosine = |i: usize, j: usize| {
        let lengths = lengths[i] * lengths[j];
        if lengths > 0.0 { (product(&vectors[i], &vectors[j]) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
    };
    (0..vectors.len()).map(|i| (0..vectors.len()).map(|j| cosine(i, j)).collect()).collect()
}

fn as_json(args: &CompareArgs, model: &str, layers: &[Cosines]) -> String {
    let layers = layers.iter().enumerate().map(|(layer, cosines)| json!({"layer": layer, "cosines": cosines}));
    let facts = json!({
        "model": model,
        "word": args.word,
        "texts": args.texts,
        "layers": layers.collect::<Vec<_>>(),
    });
    format!("{facts}\n")
}

fn as_table(args: &CompareArgs, layers: &[Cosines]) -> String {
    let what = args.word.as_ref().map_or_else(|| "the mean vector".to_owned(), |word| format!("\"{word}\""));
    let mut out = format!("cosine of {what} in text 1 with that in the others\n\n");
    // Writing to a string cannot fail.
    for (index, text) in args.texts.iter().enumerate() {
        let _ = writeln!(out, "  {}  {text}", index + 1);
    }
    out.push_str("\nlayer");
    for index in 2..=args.texts.len() {
        let _ = write!(out, "  {:>6}", format!("1-{index}"));
    }
    out.push('\n');
    for (layer, cosines) in layers.iter().enumerate() {
        let _ = write!(out, "{layer:>5}");
        for cosine in &cosines[0][1..] {
            let _ = write!(out, "  {cosine:>6.3}");
        }
        out.push('\n');
    }
    out
}
