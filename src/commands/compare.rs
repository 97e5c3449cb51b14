//! `compare`: the similarity of texts, or of a word in them, at every layer, printed without writing files.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::args::CompareArgs;
use super::console::Console;
use super::occurrences::occurrences;
use super::shared::{builder, columns, note_of_bundled, say_what_was_settled, sources};
use super::standard_output::{columns_of_terminal, print};
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Record, Skipped, Span};
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

/// What has a vector: a text, or an occurrence of the word in it.
struct Compared {
    /// The index of the text.
    text: usize,
    /// The number of the occurrence in the text, from 1, and its place.
    occurrence: Option<(usize, Span)>,
}

/// Prints the cosine similarity of the first text's vector with those of the others, one row for each layer.
///
/// # Errors
/// [`Error::Usage`] for a word that a text does not have, or not that often, and for fewer than two texts or too many; those of the input, of
/// opening a model and of encoding.
pub(super) fn run(args: &CompareArgs, console: &Console) -> Result<()> {
    let kind = kind(args)?;
    let mut texts = texts(args, console)?;
    let compared = match &args.word {
        Some(word) => find_word(word, args.occurrence.map(usize::from), &mut texts)?,
        None => (0..texts.len()).map(|text| Compared { text, occurrence: None }).collect(),
    };
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
            for ComparedVectors { layer, of_texts } in &mut vectors {
                let all = layer.map_or_else(|| encoded.whole(kind), |layer| encoded.get(kind, layer))?;
                of_texts.extend(encoded.rows_of(kind, index).map(|row| all.row(row).to_vec()));
            }
        }
        first += piece.len();
    }
    if let Some(warning) = unknown.warning(unknown_tokens, tokens, &tokenizer) {
        console.warn(&warning);
    }
    let texts = texts.iter().map(|record| record.text.text.as_str()).collect::<Vec<_>>();
    print(&if args.json {
        as_json(args, kind, model.id(), &texts, &compared, &vectors)
    } else {
        as_table(args, kind, &texts, &compared, &vectors)
    })?;
    if args.model.is_none() {
        note_of_bundled(&model, console);
    }
    Ok(())
}

/// What is compared.
fn kind(args: &CompareArgs) -> Result<VectorKind> {
    match (args.emit, &args.word) {
        (_, None) if args.occurrence.is_some() => {
            Err(Error::Usage("--occurrence chooses among the places of a word; name the word with --word".to_owned()))
        }
        (Some(VectorKind::Word), None) => {
            Err(Error::Usage("-e word compares a word that all texts have; name it with --word".to_owned()))
        }
        (Some(kind), Some(word)) if kind != VectorKind::Word => Err(Error::Usage(format!(
            "--word {word} compares the vectors of a word, and -e {kind} those of whole texts; leave one of them out"
        ))),
        // A word, or several, are a span of the text.
        (_, Some(_)) => Ok(VectorKind::Span),
        (kind, None) => Ok(kind.unwrap_or(VectorKind::Mean)),
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

/// The occurrences of `word` in the texts, whose spans they become: all of them, or the `chosen` one of each text, from 1.
fn find_word(word: &str, chosen: Option<usize>, texts: &mut [Record]) -> Result<Vec<Compared>> {
    let (mut compared, mut lacking) = (Vec::new(), Vec::new());
    for (text, record) in texts.iter_mut().enumerate() {
        let found = occurrences(&record.text, word);
        let places = found.iter().cloned().zip(1..).filter(|(_, number)| chosen.is_none_or(|chosen| chosen == *number));
        let places: Vec<(Span, usize)> = places.collect();
        if places.is_empty() {
            lacking.push((text, found.len()));
        }
        record.spans = Some(places.iter().map(|(span, _)| span.clone()).collect());
        let occurrences = places.into_iter().map(|(span, number)| Compared { text, occurrence: Some((number, span)) });
        compared.extend(occurrences);
    }
    if let [(text, found), others @ ..] = &lacking[..] {
        let more = if others.is_empty() { String::new() } else { format!(", and neither do {} others", others.len()) };
        let has = match found {
            0 => "does not have it".to_owned(),
            1 => "has it once".to_owned(),
            times => format!("has it {times} times"),
        };
        let which = chosen.filter(|_| *found > 0).map_or_else(String::new, |chosen| format!(" --occurrence {chosen}"));
        return Err(Error::Usage(format!(
            "--word {word}{which}: text {} {has}{more}: {}",
            text + 1,
            beginning(&texts[*text].text.text)
        )));
    }
    if compared.len() > MOST_TEXTS {
        return Err(Error::Usage(format!(
            "--word {word}: the texts have it {} times, and compare takes {MOST_TEXTS} at most; choose one of each text with --occurrence 1, or take fewer texts",
            compared.len()
        )));
    }
    if let [_] = compared[..] {
        return Err(Error::Usage(format!(
            "--word {word}: it is there once, and one vector cannot be compared; expected two occurrences or more"
        )));
    }
    Ok(compared)
}

/// The beginning of a text, for messages.
fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    let shown: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() { format!("{shown}…") } else { shown }
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

fn as_json(
    args: &CompareArgs,
    kind: VectorKind,
    model: &str,
    texts: &[&str],
    compared: &[Compared],
    vectors: &[ComparedVectors],
) -> String {
    let emit = if args.word.is_some() { VectorKind::Word } else { kind };
    let mut facts = json!({"model": model, "emit": emit, "word": args.word, "texts": texts});
    if args.word.is_some() {
        let occurrences = compared.iter().filter_map(|Compared { text, occurrence }| {
            let (number, span) = occurrence.as_ref()?;
            Some(json!({"text": text, "occurrence": number, "span": [span.start, span.end]}))
        });
        facts["occurrences"] = occurrences.collect();
    }
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

fn as_table(
    args: &CompareArgs,
    kind: VectorKind,
    texts: &[&str],
    compared: &[Compared],
    vectors: &[ComparedVectors],
) -> String {
    let what = args.word.as_ref().map_or_else(|| format!("the {kind} vector"), |word| format!("\"{word}\""));
    let mut out = format!("cosine of {what} in text 1 with that in the others\n\n");
    let digits = compared.len().to_string().len();
    // Writing to a string cannot fail.
    for (Compared { text, occurrence }, number) in compared.iter().zip(1..) {
        let _ = write!(out, "  {number:>digits$}  {}", texts[*text]);
        let of_text = compared.iter().filter(|other| other.text == *text).count();
        match occurrence {
            Some((nth, span)) if of_text > 1 || *nth > 1 => {
                let _ = writeln!(out, "  (occurrence {nth}, at {} to {})", span.start, span.end);
            }
            _ => out.push('\n'),
        }
    }
    let rows = vectors.iter().map(|ComparedVectors { layer, of_texts }| {
        // What belongs to no layer is the model's as a whole.
        (layer.map_or_else(|| "all".to_owned(), |layer| layer.to_string()), cosines(of_texts, 1).concat())
    });
    let rows = rows.collect::<Vec<_>>();
    let most = columns_of_terminal().map_or(ABREAST, |columns| (columns.saturating_sub(5) / 8).max(1));
    for start in (1..compared.len()).step_by(most) {
        let abreast = start..compared.len().min(start + most);
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
