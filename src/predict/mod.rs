//! `predict`: new texts labelled by what `probe` has learned. Read, tokenized, encoded as deep as the head needs, labelled
//! and printed, piece by piece.

mod labelled;
mod show;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use self::labelled::{Labelled, Labels};
use crate::batch::{Batch, Batches, Limits};
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::{DEFAULTS, SentenceRecipe, TRANSFORMER_SETTINGS};
use crate::checkpoint::{self, Checkpoint};
use crate::cli::PredictArgs;
use crate::console::Console;
use crate::encoder::{self, Ahead, Encoder, Ops, Settings};
use crate::error::{Error, Result};
use crate::extract::{load_tokenizer, say_what_was_settled, start_threads};
use crate::input::{self, Columns, Input, Record, Source};
use crate::kernels::{self, InstructionSet};
use crate::output::Sink;
use crate::plan::Plan;
use crate::probe::heads::{self, Head};
use crate::probe::report::{FORMAT_VERSION, LayerReport, REPORT, Report};
use crate::spec::{Emit, Overflow};
use crate::tokens::Encoded;
use crate::tokens::unknown::UnknownPieces;
use crate::vectors::Vectors;

/// Tokens encoded together; no number depends on it.
const BATCH: Limits = Limits { tokens: 4096, rows: 4096 };

/// Labels texts and prints them.
///
/// # Errors
/// [`Error::Output`] when the report cannot be used or belongs to another model; those of reading and encoding.
pub fn run(args: &PredictArgs, console: &Console) -> Result<()> {
    let report = read_report(&args.report)?;
    let layer = choose_layer(args, &report)?;
    let head = heads::read(&args.report, &report, &layer.name)?;
    let input = input(args)?;
    start_threads(args.threads)?;

    let id = args.model.as_deref().unwrap_or(&report.model.id);
    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model: id,
        revision: args.hub.revision.as_deref().or(report.model.revision.as_deref().filter(|_| args.model.is_none())),
        offline: args.hub.offline,
        show_progress: console.shows_progress(),
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    check_model(&args.report, &report, &checkpoint)?;
    // The settings of sentence embeddings hold for all vectors of a job that writes them.
    let of_sentences = report.plan["emit"].as_array().is_some_and(|emit| emit.iter().any(|kind| kind == "sentence"));
    let sentence = of_sentences.then(|| checkpoint.sentence_recipe()).transpose()?;
    let keys = sentence.as_ref().map(|recipe| recipe.config.clone()).unwrap_or_default();
    let (config, weights) = (checkpoint.config_with(&keys)?, checkpoint.weights()?);
    let mut plan = plan(args, &report, layer, sentence, &config)?;
    let instruction_set = InstructionSet::from_env(plan.compute)?;
    check_width(&args.report, &plan, &head)?;
    encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
    let tokenizer = load_tokenizer(&checkpoint, &config, &mut plan)?;
    say_what_was_settled(&plan, &tokenizer, console);
    let settings = Settings {
        deepest: plan.deepest(),
        pooler: plan.emits(Emit::Pooler),
        compute: plan.compute,
        ops: Ops::Kernels,
        instruction_set,
    };
    let encoder = Encoder::for_one_batch(&weights, &config, settings, Ahead::default());
    let encoder = if args.texts.is_empty() { encoder.load_rest()? } else { encoder };

    let labels = Labels::new(&report, &head);
    let mut out = BufWriter::new(anstream::stdout());
    let (mut row, mut cut) = (0, 0);
    let (mut unknown, mut unknown_tokens, mut tokens) = (UnknownPieces::default(), 0, 0);
    for piece in input::read_ahead(input.read()) {
        let piece = piece?;
        let encoded: Vec<Result<Encoded>> = piece
            .par_iter()
            .enumerate()
            .map(|(index, record)| tokenizer.encode(row + index as u64, &record.text, record.pair.as_ref()))
            .collect();
        let encoded = encoded.into_iter().collect::<Result<Vec<_>>>()?;
        cut += check_lengths(&encoded, &plan, row)?;
        let vectors = encode(&encoder, &plan, &encoded, row)?;
        let mut at = 0;
        for (record, encoded) in piece.iter().zip(&encoded) {
            tokens += encoded.tokens.input_ids.len() as u64;
            unknown_tokens += u64::from(encoded.unknown);
            unknown.extend(tokenizer.unknown_pieces(encoded, &record.text));
            let rows = if report.emit == Emit::Word { encoded.tokens.word_count as usize } else { 1 };
            let vectors = &vectors[at * head.columns..(at + rows) * head.columns];
            at += rows;
            let labelled = labels.label(row, record, encoded, vectors);
            print(&mut out, &labelled, args.json).map_err(Error::stdout)?;
            row += 1;
        }
        out.flush().map_err(Error::stdout)?;
    }
    if row == 0 {
        return Err(input.is_empty_error());
    }
    if let Some(warning) = unknown.warning(unknown_tokens, tokens, &tokenizer) {
        console.warn(&warning);
    }
    if cut > 0 {
        console.warn(&format!(
            "{cut} of {row} texts were cut to {} tokens, as the texts were that the labels were learned from",
            plan.max_length
        ));
    }
    Ok(())
}

fn print(out: &mut impl Write, labelled: &Labelled<'_>, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, labelled)?;
        return out.write_all(b"\n");
    }
    out.write_all(show::text(labelled).as_bytes())
}

/// Reads what probe wrote.
fn read_report(directory: &Path) -> Result<Report> {
    let path = directory.join(REPORT);
    let problem = |problem: &str| Error::Output { path: directory.to_owned(), problem: problem.to_owned() };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(problem("has no report.json; expected a directory that `layerwise probe -o` wrote"));
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let damaged = |error: serde_json::Error| Error::Output {
        path: path.clone(),
        problem: format!("is damaged: {error}; probe anew"),
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    match value["format_version"].as_u64() {
        Some(version) if version == u64::from(FORMAT_VERSION) => serde_json::from_value(value).map_err(damaged),
        Some(version) => Err(Error::Output {
            path,
            problem: format!("has format version {version}; this layerwise knows version {FORMAT_VERSION}; probe anew"),
        }),
        None => Err(Error::Output {
            path,
            problem: "is not a report of layerwise; expected what `layerwise probe -o` wrote".to_owned(),
        }),
    }
}

fn choose_layer<'a>(args: &PredictArgs, report: &'a Report) -> Result<&'a LayerReport> {
    let held = || report.layers.iter().map(LayerReport::label).collect::<Vec<_>>().join(", ");
    let Some(selection) = &args.layer else {
        return report.best_layer().ok_or_else(|| Error::Output {
            path: args.report.join(REPORT),
            problem: format!("has no layer {}, which it calls the best; probe anew", report.best),
        });
    };
    let wanted = selection
        .resolve(report.model.num_hidden_layers)
        .map_err(|problem| Error::Usage(format!("--layer: {problem}")))?;
    let [wanted] = wanted[..] else {
        return Err(Error::Usage(format!("--layer: expected one layer; the report has {}", held())));
    };
    let found = report.layers.iter().find(|layer| layer.layer == Some(wanted));
    found.ok_or_else(|| Error::Usage(format!("--layer {wanted}: the report has {}", held())))
}

/// Refuses a model of which any file is another than the one whose vectors were learned from.
fn check_model(directory: &Path, report: &Report, checkpoint: &Checkpoint) -> Result<()> {
    let found = checkpoint.digests()?;
    let files: Vec<&String> = report
        .model
        .sha256
        .keys()
        .chain(found.keys())
        .filter(|file| report.model.sha256.get(*file) != found.get(*file))
        .filter(|file| !is_of_sentences(file) || report.model.sha256.contains_key(*file))
        .collect();
    let Some(first) = files.first() else { return Ok(()) };
    Err(Error::Output {
        path: directory.to_owned(),
        problem: format!(
            "was learned from vectors of another model than {}: {first} is another file; name the folder of {} as it was then with --model",
            checkpoint.id, report.model.id
        ),
    })
}

/// Whether a file says how sentence embeddings are made; older reports do not have its digest.
fn is_of_sentences(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == DEFAULTS || TRANSFORMER_SETTINGS.contains(&name)
}

/// The plan of the vectors that were learned from, for one layer.
fn plan(
    args: &PredictArgs,
    report: &Report,
    layer: &LayerReport,
    sentence: Option<SentenceRecipe>,
    config: &Config,
) -> Result<Plan> {
    let damaged = |error: serde_json::Error| Error::Output {
        path: args.report.join(REPORT),
        problem: format!("plan: {error}; probe anew"),
    };
    let mut plan: Plan = serde_json::from_value(report.plan.clone()).map_err(damaged)?;
    plan.emit = vec![report.emit];
    plan.hidden_size = config.hidden_size;
    plan.num_hidden_layers = config.num_hidden_layers;
    if let Some(layer) = layer.layer {
        plan.layers = vec![layer];
        plan.combine = None;
    }
    let sound = plan.layers.iter().all(|&layer| layer <= config.num_hidden_layers)
        && (1..=config.max_position_embeddings).contains(&plan.max_length);
    if !sound {
        return Err(Error::Output {
            path: args.report.join(REPORT),
            problem: "plan: is not of this model; probe anew".to_owned(),
        });
    }
    plan.sentence = sentence;
    match (&plan.columns.pair_column, &args.pair_column) {
        (None, Some(_)) => Err(Error::Usage("--pair-column: the report was learned from single texts".to_owned())),
        (Some(column), None) => Err(Error::Usage(format!(
            "the report was learned from pairs of texts: give pairs, in a table or JSON Lines, and name the column of the second text as --pair-column does (there it was `{column}`)"
        ))),
        _ => Ok(plan),
    }
}

fn check_width(directory: &Path, plan: &Plan, head: &Head) -> Result<()> {
    let columns = plan.arrays().first().map_or(0, |array| array.columns);
    if columns == head.columns {
        return Ok(());
    }
    Err(Error::Output {
        path: directory.join(heads::FILE),
        problem: format!("the head takes vectors of {} numbers, the model's have {columns}", head.columns),
    })
}

/// What is read, and how it is to be taken.
fn input(args: &PredictArgs) -> Result<Input> {
    let file = |path: &PathBuf| if path.as_os_str() == "-" { Source::Stdin } else { Source::File(path.clone()) };
    let sources = match &args.input[..] {
        [] if !args.texts.is_empty() => vec![Source::Arguments(args.texts.clone())],
        [] if io::stdin().is_terminal() => {
            return Err(Error::Usage(
                "no texts: give them as arguments, name a file with -i, or pipe them in (-i - reads the terminal)"
                    .to_owned(),
            ));
        }
        [] => vec![Source::Stdin],
        paths => paths.iter().map(file).collect(),
    };
    let columns = Columns {
        text_column: args.text_column.clone(),
        pair_column: args.pair_column.clone(),
        id_column: args.id_column.clone(),
        label_column: Some(String::new()),
        no_header: args.no_header,
        delimiter: args.delimiter,
        carry: Vec::new(),
        pretokenized: args.pretokenized,
    };
    Input::new(sources, args.input_format, columns)
}

/// How many texts were cut; an error where the labels were learned from texts that must not be.
fn check_lengths(encoded: &[Encoded], plan: &Plan, first_row: u64) -> Result<u64> {
    let is_long = |encoded: &Encoded| encoded.length_before_truncation > encoded.tokens.input_ids.len();
    let long: Vec<usize> = (0..encoded.len()).filter(|&index| is_long(&encoded[index])).collect();
    if let (Some(&first), Overflow::Error) = (long.first(), plan.overflow) {
        return Err(Error::TooLong {
            count: long.len() as u64,
            texts: encoded.len() as u64,
            max_length: plan.max_length,
            examples: format!("row {} ({} tokens)", first_row + first as u64, encoded[first].length_before_truncation),
        });
    }
    Ok(long.len() as u64)
}

/// The vectors of some texts, all rows one after the other.
fn encode(encoder: &Encoder<'_>, plan: &Plan, encoded: &[Encoded], first_row: u64) -> Result<Vec<f32>> {
    let texts = encoded.iter().map(|encoded| Ok::<_, Error>(encoded.tokens.clone()));
    let mut sink = Collected { plan, rows: Vec::new() };
    let mut vectors = Vectors::new(plan);
    let mut done = 0;
    for batch in Batches::new(texts, plan.windowing(), BATCH) {
        let batch = batch?;
        encoder.visit_hidden_states(&batch, |layer, hidden_state| {
            kernels::with_numbers(hidden_state, |numbers| {
                vectors.take_layer(layer, numbers, &batch, first_row + done, &mut sink)?;
                if layer < plan.num_hidden_layers {
                    return Ok(());
                }
                vectors.take_sentence(numbers, &batch, &mut sink)?;
                let first_tokens = vectors.first_tokens(numbers, &batch);
                if first_tokens.is_empty() {
                    return Ok(());
                }
                let first_tokens = Tensor::from_vec(first_tokens, ((), plan.hidden_size), &Device::Cpu)?;
                match encoder.pooler_output(&first_tokens)? {
                    Some(pooled) => vectors.take_pooler(pooled.flatten_all()?.to_vec1()?, &batch, &mut sink),
                    None => Ok(()),
                }
            })?
        })?;
        done += batch.texts() as u64;
    }
    Ok(sink.rows)
}

/// Keeps the rows of the one array, as they would have been stored.
struct Collected<'a> {
    plan: &'a Plan,
    rows: Vec<f32>,
}

impl Sink for Collected<'_> {
    fn write(&mut self, _: usize, rows: &[f32]) -> Result<()> {
        self.rows.extend(rows.iter().map(|&number| self.plan.dtype.round(number)));
        Ok(())
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}

/// What a record's text is called in output.
fn text_of(record: &Record) -> &str {
    &record.text.text
}
