//! `compare`: how alike texts are, or a word in them, at every layer. For a look, without files.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::json;

use crate::batch::Batch;
use crate::checkpoint::{self, BUNDLED, Checkpoint};
use crate::cli::CompareArgs;
use crate::console::Console;
use crate::encoder::{self, Ahead, Encoder, Ops, Settings};
use crate::error::{Error, Result};
use crate::input::Text;
use crate::kernels::{self, InstructionSet};
use crate::pooling::{Sentences, Words};
use crate::spec::{Compute, Pooling, SpecialTokens, WordPooling};
use crate::tokens::unknown::UnknownPieces;
use crate::tokens::{Encoded, Tokenizer};

/// Cosines of all vectors with each other, (vectors, vectors).
type Cosines = Vec<Vec<f64>>;

/// Prints the cosines of the first text's vector with the others', a row a layer.
///
/// # Errors
/// [`Error::Usage`] for a word that a text does not have; those of loading a model and encoding with it.
pub fn run(args: &CompareArgs, console: &Console) -> Result<()> {
    let instruction_set = InstructionSet::from_env(Compute::F32)?;
    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model: args.model.as_deref().unwrap_or(BUNDLED),
        revision: args.hub.revision.as_deref(),
        offline: args.hub.offline,
        show_progress: console.shows_progress(),
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    let (config, weights) = (checkpoint.config()?, checkpoint.weights()?);
    encoder::check(&weights, &config, config.num_hidden_layers, false)?;
    let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, config.max_position_embeddings)?;
    tokenizer.notes().iter().for_each(|note| console.note(note));
    if args.model.is_none() {
        console.note(&checkpoint::note_of_bundled(&config));
    }

    let mut batch = Batch::new();
    let mut rows = Vec::new();
    let mut words_before = 0;
    let (mut unknown, mut unknown_tokens, mut tokens) = (UnknownPieces::default(), 0, 0);
    for (index, text) in args.texts.iter().enumerate() {
        let encoded = tokenizer.encode(index as u64, &Text { text: text.clone(), words: None }, None)?;
        if encoded.length_before_truncation > encoded.tokens.input_ids.len() {
            let limit = config.max_position_embeddings;
            let end = if tokenizer.cuts_the_beginning() { "its beginning" } else { "what lies beyond" };
            console.warn(&format!("text {} is longer than {limit} tokens; {end} is cut off", index + 1));
        }
        tokens += encoded.tokens.input_ids.len() as u64;
        unknown_tokens += u64::from(encoded.unknown);
        unknown.extend(tokenizer.unknown_pieces(&encoded, &Text { text: text.clone(), words: None }));
        if let Some(word) = &args.word {
            rows.push(words_before + find_word(word, index, text, &encoded)?);
            words_before += encoded.tokens.word_count as usize;
        }
        batch.push(&encoded.tokens);
    }
    if let Some(warning) = unknown.warning(unknown_tokens, tokens, &tokenizer) {
        console.warn(&warning);
    }

    let settings = Settings {
        deepest: config.num_hidden_layers,
        pooler: false,
        compute: Compute::F32,
        ops: Ops::Kernels,
        instruction_set,
    };
    let encoder = Encoder::for_one_batch(&weights, &config, settings, Ahead::default());
    let width = config.hidden_size;
    let mut layers: Vec<Cosines> = Vec::new();
    encoder.visit_hidden_states(&batch, |_, hidden_state| {
        kernels::with_numbers(hidden_state, |numbers| {
            layers.push(if args.word.is_some() {
                let words = Words::new(WordPooling::Mean).take(numbers, width, &batch);
                cosines(&rows.iter().map(|&row| &words[row * width..][..width]).collect::<Vec<_>>())
            } else {
                let means = Sentences::new(Pooling::Mean, SpecialTokens::Keep).take(numbers, width, &batch);
                cosines(&means.chunks_exact(width).collect::<Vec<_>>())
            });
            Ok(())
        })?
    })?;
    let printed = if args.json { as_json(args, &checkpoint.id, &layers) } else { as_table(args, &layers) };
    io::stdout().write_all(printed.as_bytes()).map_err(Error::stdout)
}

/// The number of the first of a text's words that is `word`, upper and lower case being the same.
fn find_word(word: &str, index: usize, text: &str, encoded: &Encoded) -> Result<usize> {
    let characters = text.chars().collect::<Vec<_>>();
    let mut words: Vec<(u32, usize, usize)> = Vec::new(); // number, start, end
    for (&number, offsets) in encoded.tokens.words.iter().zip(&encoded.offsets) {
        match (*offsets, words.last_mut()) {
            (Some((_, end)), Some(last)) if last.0 == number => last.2 = end,
            (Some((start, end)), _) => words.push((number, start, end)),
            (None, _) => {}
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

fn cosines(vectors: &[&[f32]]) -> Cosines {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = vectors.iter().map(|vector| product(vector, vector).sqrt()).collect::<Vec<_>>();
    let cosine = |i: usize, j: usize| {
        let lengths = lengths[i] * lengths[j];
        if lengths > 0.0 { (product(vectors[i], vectors[j]) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
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
