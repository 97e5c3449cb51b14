//! `compare`: the similarity of texts, or of a word in them, at every layer, printed without writing files.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::args::CompareArgs;
use super::console::Console;
use super::shared::{builder, columns, note_of_bundled, say_what_was_settled, sources};
use super::standard_output::{columns_of_terminal, print};
use crate::embeddings::Embeddings;
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Record, Skipped};
use crate::observer::Observer;
use crate::request::Request;
use crate::spec::VectorKind;
use crate::tokens::unknown::UnknownPieces;

/// Most texts that are compared. Their vectors are held in memory, and the JSON has a number for every two of them.
const MOST_TEXTS: usize = 1000;

/// Size in bytes of the texts that are encoded together: the vectors of all their words are in memory for a moment.
const BYTES_TOGETHER: usize = 1 << 15;

/// Cosines side by side where the table does not go to a terminal, which takes 53 columns.
const ABREAST: usize = 6;

/// The cosine similarities of vectors with each other, (vectors, vectors), or of the first alone, (1, vectors).
type Cosines = Vec<Vec<f64>>;

/// A vector for each text: those of a layer, or of the model as a whole where there is no layer.
struct ComparedVectors {
    layer: Option<usize>,
    of_texts: Vec<Vec<f32>>,
}

/// Prints the cosine similarity of the first text's vector with those of the others, one row for each layer.
///
/// # Errors
/// [`Error::Usage`] for a word that a text does not have, and for fewer than two texts or too many; those of the input, of
/// opening a model and of encoding.
pub(super) fn run(args: &CompareArgs, console: &Console) -> Result<()> {
    let kind = kind(args)?;
    let texts = texts(args, console)?;
    let model = builder(args.model.as_deref(), &args.hub).observer(Arc::new(console.clone())).open()?;
    let request = Request { kinds: vec![kind], layers: args.layers.clone(), ..Request::default() };
    let (tokenizer, plan) = model.tokenizer(model.plan(&request)?)?;
    say_what_was_settled(&plan, &tokenizer, console);
    let layers = if kind.per_layer() { plan.layers.iter().copied().map(Some).collect() } else { vec![None] };
    let mut vectors =
        layers.into_iter().map(|layer| ComparedVectors { layer, of_texts: Vec::new() }).collect::<Vec<_>>();

    let (mut unknown, mut unknown_tokens, mut tokens) = (UnknownPieces::default(), 0, 0);
    let mut first = 0;
    while first < texts.len() {
        let piece = &texts[first..first + together(&texts[first..])];
        let encoded = model.encode_once(piece, &request)?;
        for (index, text) in piece.iter().enumerate() {
            let (number, text) = (first + index + 1, text.text.text.as_str());
            let of_text = encoded.text(index);
            if encoded.truncated(index) > 0 {
                let limit = plan.max_length;
                let end = if tokenizer.cuts_the_beginning() { "its beginning" } else { "what lies beyond" };
                console.warn(&format!("text {number} is longer than {limit} tokens; {end} is cut off"));
            }
            tokens += of_text.tokens.len() as u64;
            unknown_tokens += u64::from(of_text.unknown);
            unknown.extend(tokenizer.unknown_pieces(of_text, text));
            let of_word =
                args.word.as_deref().map(|word| find_word(word, index, number, text, &encoded)).transpose()?;
            let row = encoded.rows_of(kind, index).start + of_word.unwrap_or(0);
            for ComparedVectors { layer, of_texts } in &mut vectors {
                let all = layer.map_or_else(|| encoded.whole(kind), |layer| encoded.get(kind, layer))?;
                of_texts.push(all.row(row).to_vec());
            }
        }
        first += piece.len();
    }
    if let Some(warning) = unknown.warning(unknown_tokens, tokens, &tokenizer) {
        console.warn(&warning);
    }
    let texts = texts.iter().map(|record| record.text.text.as_str()).collect::<Vec<_>>();
    print(&if args.json {
        as_json(args, kind, model.id(), &texts, &vectors)
    } else {
        as_table(args, kind, &texts, &vectors)
    })?;
    if args.model.is_none() {
        note_of_bundled(&model, console);
    }
    Ok(())
}

/// What is compared.
fn kind(args: &CompareArgs) -> Result<VectorKind> {
    match (args.emit, &args.word) {
        (Some(VectorKind::Word), None) => {
            Err(Error::Usage("-e word compares a word that all texts have; name it with --word".to_owned()))
        }
        (Some(kind), Some(word)) if kind != VectorKind::Word => Err(Error::Usage(format!(
            "--word {word} compares the vectors of a word, and -e {kind} those of whole texts; leave one of them out"
        ))),
        (kind, word) => Ok(kind.unwrap_or(if word.is_some() { VectorKind::Word } else { VectorKind::Mean })),
    }
}

/// The texts to compare. Ids and labels are not read, so that what is wrong with them is no obstacle.
fn texts(args: &CompareArgs, console: &Console) -> Result<Vec<Record>> {
    let none = Some(String::new());
    let columns = Columns { id_column: none.clone(), label_column: none, ..columns(&args.input) };
    let sources = sources(&args.texts, &args.input.input, console)?;
    let input = Input::new(sources, args.input.input_format, columns)?.on_bad_line(args.input.on_bad_line)?;
    let mut texts = Vec::new();
    let pieces = input.pieces();
    let interrupted = |signal| Error::Interrupted { signal, done: 0, texts: 0, way_on: Error::START_OVER };
    while let Some(piece) = pieces.next(console, interrupted)? {
        texts.extend(piece);
        if texts.len() > MOST_TEXTS {
            return Err(Error::Usage(format!(
                "{} holds more than {MOST_TEXTS} texts, the most that compare takes; take fewer, as `head` does, or let extract write their vectors",
                input.names()
            )));
        }
    }
    pieces.skipped().and_then(Skipped::warning).iter().for_each(|warning| console.warn(warning));
    match texts.len() {
        0 => Err(input.is_empty_error()),
        1 => Err(Error::Usage(format!(
            "one text cannot be compared; expected two or more from {}, each an argument of its own or a text of the input",
            input.names()
        ))),
        _ => Ok(texts),
    }
}

/// How many of the first texts are encoded together.
fn together(texts: &[Record]) -> usize {
    let mut bytes = 0;
    let fitting = texts.iter().take_while(|record| {
        bytes += record.text.text.len();
        bytes <= BYTES_TOGETHER
    });
    fitting.count().max(1)
}

/// The index of the first of a text's words that equals `word`, ignoring case. The text is the one at `index` of those that
/// were encoded together, and messages call it by its number.
fn find_word(word: &str, index: usize, number: usize, text: &str, encoded: &Embeddings) -> Result<usize> {
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
            "--word {word}: text {number} does not have it; its words are {}",
            texts.collect::<Vec<_>>().join(" ")
        ))
    })
}

/// The cosines of each of the first `count` vectors with all.
fn cosines(vectors: &[Vec<f32>], count: usize) -> Cosines {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = vectors.iter().map(|vector| product(vector, vector).sqrt()).collect::<Vec<_>>();
    let cosine = |i: usize, j: usize| {
        let lengths = lengths[i] * lengths[j];
        if lengths > 0.0 { (product(&vectors[i], &vectors[j]) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
    };
    (0..count).map(|i| (0..vectors.len()).map(|j| cosine(i, j)).collect()).collect()
}

fn as_json(args: &CompareArgs, kind: VectorKind, model: &str, texts: &[&str], vectors: &[ComparedVectors]) -> String {
    let mut facts = json!({"model": model, "emit": kind, "word": args.word, "texts": texts});
    let (mut layers, mut whole) = (Vec::new(), None);
    for ComparedVectors { layer, of_texts } in vectors {
        let cosines = cosines(of_texts, of_texts.len());
        match layer {
            Some(layer) => layers.push(json!({"layer": layer, "cosines": cosines})),
            None => whole = Some(cosines),
        }
    }
    match whole {
        Some(cosines) => facts["cosines"] = json!(cosines),
        None => facts["layers"] = json!(layers),
    }
    format!("{facts}\n")
}

fn as_table(args: &CompareArgs, kind: VectorKind, texts: &[&str], vectors: &[ComparedVectors]) -> String {
    let what = args.word.as_ref().map_or_else(|| format!("the {kind} vector"), |word| format!("\"{word}\""));
    let mut out = format!("cosine of {what} in text 1 with that in the others\n\n");
    let digits = texts.len().to_string().len();
    // Writing to a string cannot fail.
    for (text, number) in texts.iter().zip(1..) {
        let _ = writeln!(out, "  {number:>digits$}  {text}");
    }
    let rows = vectors.iter().map(|ComparedVectors { layer, of_texts }| {
        // What belongs to no layer is the model's as a whole.
        (layer.map_or_else(|| "all".to_owned(), |layer| layer.to_string()), cosines(of_texts, 1).concat())
    });
    let rows = rows.collect::<Vec<_>>();
    let most = columns_of_terminal().map_or(ABREAST, |columns| (columns.saturating_sub(5) / 8).max(1));
    for start in (1..texts.len()).step_by(most) {
        let abreast = start..texts.len().min(start + most);
        out.push_str("\nlayer");
        for index in abreast.clone() {
            let _ = write!(out, "  {:>6}", format!("1-{}", index + 1));
        }
        out.push('\n');
        for (layer, cosines) in &rows {
            let _ = write!(out, "{layer:>5}");
            for cosine in &cosines[abreast.clone()] {
                let _ = write!(out, "  {cosine:>6.3}");
            }
            out.push('\n');
        }
    }
    out
}
