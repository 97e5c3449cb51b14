//! `extract`: the pipeline, top to bottom.
//!
//! Two passes. The first reads and tokenizes everything, so that bad input is found before any work, sizes are known
//! and `texts.jsonl` is written. The second encodes batch by batch; each layer's hidden state goes to the writers and
//! is dropped, so memory grows neither with the input nor with the number of layers.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime};

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::batch::{Batches, SPECIAL};
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::SENTENCE_CONFIG;
use crate::checkpoint::weights::Weights;
use crate::checkpoint::{self, Checkpoint};
use crate::cli::ExtractArgs;
use crate::console::Console;
use crate::encoder::{self, Encoder};
use crate::error::{Error, Result, bytes};
use crate::input::{self, Source, Text};
use crate::interrupt::Interrupt;
use crate::kernels;
use crate::output::Sink;
use crate::output::directory::{self, Existing, Prepared};
use crate::output::jsonl::JsonLines;
use crate::output::manifest::{self, ModelIdentity};
use crate::output::texts::TextLine;
use crate::plan::{Counts, Plan};
use crate::spec::{Combine, Emit, Overflow, SpecialTokens};
use crate::spool;
use crate::tokens::{Encoded, Tokenizer};
use crate::vectors::Vectors;

/// How long a signal may go unnoticed while input is waited for.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);
/// Rows an error message names before it only counts.
const NAMED_ROWS: usize = 5;

/// Runs the job.
///
/// # Errors
/// Any of [`Error`]: what is wrong, where, and what helps.
pub fn run(args: &ExtractArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    let source = source(args)?;
    let texts = input::read(&source, args.input_format, args.pretokenized)?;
    let threads = start_threads(args.threads)?;

    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model: &args.model,
        revision: args.hub.revision.as_deref(),
        offline: args.hub.offline,
        show_progress: console.shows_progress(),
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    let config = checkpoint.config()?;
    let weights = checkpoint.weights()?;
    let plan = Plan::resolve(args, &config, encoder::has_pooler(&weights), || checkpoint.sentence_recipe())?;
    encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
    let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, plan.max_length)?;
    if plan.sentence.as_ref().is_some_and(|recipe| recipe.do_lower_case) && !tokenizer.ignores_case() {
        return Err(Error::Config {
            path: checkpoint.path_of(SENTENCE_CONFIG),
            key: "do_lower_case".to_owned(),
            problem: "lower-casing before a tokenizer that tells the cases apart is not supported; choose another --emit than `sentence`, or lower-case the texts and set it to false"
                .to_owned(),
        });
    }
    if checkpoint.is_bundled() {
        console.note(
            "the bundled model is a placeholder with generated weights: its vectors mean nothing; choose a model with -m, such as -m google-bert/bert-base-uncased",
        );
    }
    console.detail(&format!(
        "model {}: {} layers of width {}; {} threads, {}",
        checkpoint.id,
        config.num_hidden_layers,
        config.hidden_size,
        threads,
        kernels::instruction_set()
    ));

    let interrupt = Interrupt::listen().map_err(Error::io("listen for", "signals"))?;
    let mut output = match &args.output {
        Some(path) if !args.dry_run => Some(Prepared::new(path, args.overwrite)?),
        _ => None,
    };
    let tokenized =
        match tokenize(texts, &tokenizer, &plan, &source, output.as_mut(), args.dry_run, &interrupt, console) {
            Ok(tokenized) => tokenized,
            Err(error) => {
                if let Some(output) = output {
                    output.abandon();
                }
                return Err(error);
            }
        };
    say_what_was_cut(&tokenized, &plan, console);
    if args.dry_run {
        if let Some(path) = &args.output
            && let Err(error) = directory::examine(path, args.overwrite)
        {
            console.warn(&error.to_string());
        }
        return dry_run(args, &checkpoint, &weights, &config, &plan, &tokenized.counts);
    }

    let job = Job { args, plan: &plan, config: &config, weights: &weights, threads, started };
    match output {
        None => {
            let mut sink = JsonLines::new(&plan, &tokenizer);
            let encoder = job.load()?;
            let encoding = job.encode(&encoder, tokenized.spool, &tokenized.counts, &mut sink, &interrupt, console)?;
            sink.finish()?;
            job.summarize(&tokenized.counts, encoding, console);
        }
        Some(output) => {
            let digests = || checkpoint.digests();
            let (digests, encoder) = rayon::join(digests, || job.load());
            let prepared = digests.and_then(|sha256| Ok((sha256, encoder?)));
            let (sha256, encoder) = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    output.abandon();
                    return Err(error);
                }
            };
            let model = ModelIdentity {
                id: checkpoint.id.clone(),
                revision: checkpoint.revision.clone(),
                sha256,
                num_hidden_layers: config.num_hidden_layers,
                hidden_size: config.hidden_size,
            };
            let manifest = manifest::manifest(&model, &plan, &tokenized.input_sha256, &tokenized.counts)?;
            if let Existing::Complete(existing) | Existing::Unfinished(existing) = output.existing() {
                let differences = manifest::differences(&manifest, existing);
                let path = output.path().to_owned();
                if !differences.is_empty() {
                    output.abandon();
                    return Err(Error::Output {
                        path,
                        problem: format!(
                            "holds another job, which differs in {}; choose another directory, or start anew in this one with --overwrite",
                            differences.join(", ")
                        ),
                    });
                }
                if matches!(output.existing(), Existing::Complete(_)) {
                    output.abandon();
                    if let Some(problem) = directory::lost(&path, &plan, &tokenized.counts) {
                        return Err(Error::Output {
                            path,
                            problem: format!("holds this job, but {problem}; do it anew with --overwrite"),
                        });
                    }
                    console.summary(&format!("{} already holds this job; nothing to do", path.display()));
                    return Ok(());
                }
                console.note(&format!("{} holds this job unfinished; it is done from the start", path.display()));
            }
            let mut sink = output.create(&plan, &tokenized.counts, &manifest)?;
            let encoding = job.encode(&encoder, tokenized.spool, &tokenized.counts, &mut sink, &interrupt, console)?;
            let run = manifest::run(started, encoding, &tokenized.counts, threads, args.batch_tokens);
            sink.finish(&manifest, &run)?;
            job.summarize(&tokenized.counts, encoding, console);
        }
    }
    Ok(())
}

/// Where the texts come from.
fn source(args: &ExtractArgs) -> Result<Source> {
    match &args.input {
        Some(path) if path.as_os_str() == "-" => Ok(Source::Stdin),
        Some(path) => Ok(Source::File(path.clone())),
        None if !args.texts.is_empty() => Ok(Source::Arguments(args.texts.clone())),
        None if io::stdin().is_terminal() => Err(Error::Usage(
            "no texts: give them as arguments, name a file with -i, or pipe them in (-i - reads the terminal)"
                .to_owned(),
        )),
        None => Ok(Source::Stdin),
    }
}

/// Starts the threads that kernels and tokenization share; returns their number.
fn start_threads(threads: Option<u16>) -> Result<usize> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, usize::from))
        .build_global()
        .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))?;
    Ok(rayon::current_num_threads())
}

/// What the first pass finds out.
struct Tokenized {
    counts: Counts,
    /// Absent in a dry run, which encodes nothing.
    spool: Option<spool::Reader>,
    input_sha256: String,
    longest: usize,
}

/// The first pass: every text read, tokenized, counted and spooled.
#[allow(clippy::too_many_arguments, reason = "the ends of the pipeline meet here")]
fn tokenize(
    texts: impl Iterator<Item = Result<Text>> + Send + 'static,
    tokenizer: &Tokenizer,
    plan: &Plan,
    source: &Source,
    mut output: Option<&mut Prepared>,
    dry_run: bool,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<Tokenized> {
    let spinner = console.texts_spinner();
    let mut spool = (!dry_run).then(|| spool::Writer::new(output.as_ref().map(|output| output.path())));
    let spool_directory = output.as_ref().map_or_else(std::env::temp_dir, |output| output.path().to_owned());
    let spool_error = |error| Error::io("write a temporary file into", &spool_directory)(error);
    let mut digest = Sha256::new();
    let mut counts = Counts::default();
    let mut longest = 0;
    let mut too_long = Vec::new();

    let pieces = input::read_ahead(texts);
    loop {
        if let Some(signal) = interrupt.signal() {
            return Err(Error::Interrupted { signal, done: 0, texts: counts.texts });
        }
        let chunk = match pieces.recv_timeout(SIGNAL_LATENCY) {
            Ok(chunk) => chunk?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let first = counts.texts;
        let encoded: Vec<Result<Encoded>> = chunk
            .par_iter()
            .enumerate()
            .map(|(index, text)| tokenizer.encode(first + index as u64, text, None))
            .collect();
        for (text, encoded) in chunk.iter().zip(encoded) {
            let encoded = encoded?;
            digest.update((text.text.len() as u64).to_le_bytes());
            digest.update(text.text.as_bytes());
            if encoded.length_before_truncation > plan.max_length && too_long.len() < NAMED_ROWS {
                too_long.push(format!("row {} ({} tokens)", counts.texts, encoded.length_before_truncation));
            }
            longest = longest.max(encoded.length_before_truncation);
            if let Some(spool) = &mut spool {
                spool.write(&encoded.tokens).map_err(spool_error)?;
            }
            if let Some(output) = &mut output {
                let line = TextLine::new(counts.texts, text, &encoded, plan.wants_token_details(), plan.special_tokens);
                output.write_text(&line)?;
            }
            count(&mut counts, &encoded, plan.special_tokens);
        }
        spinner.set_position(counts.texts);
    }
    spinner.finish_and_clear();
    if counts.texts == 0 {
        return Err(Error::Input {
            source_name: source.name(),
            problem: "holds no text; expected one text a line".to_owned(),
        });
    }
    if plan.overflow == Overflow::Error && counts.truncated_texts > 0 {
        return Err(Error::TooLong {
            count: counts.truncated_texts,
            texts: counts.texts,
            max_length: plan.max_length,
            examples: too_long.join(", "),
        });
    }
    let spool = spool.map(spool::Writer::finish).transpose().map_err(spool_error)?;
    Ok(Tokenized { counts, spool, input_sha256: checkpoint::hex(&digest.finalize()), longest })
}

fn count(counts: &mut Counts, encoded: &Encoded, special_tokens: SpecialTokens) {
    let tokens = encoded.tokens.input_ids.len();
    let special = encoded.tokens.words.iter().filter(|&&word| word == SPECIAL).count();
    let rows = if special_tokens == SpecialTokens::Keep { tokens } else { tokens - special };
    let cut = encoded.length_before_truncation - tokens;
    counts.texts += 1;
    counts.tokens += tokens as u64;
    counts.token_rows += rows as u64;
    counts.words += u64::from(encoded.tokens.word_count);
    counts.truncated_texts += u64::from(cut > 0);
    counts.truncated_tokens += cut as u64;
    counts.truncated_words += u64::from(encoded.words_truncated);
    counts.deleted_words += u64::from(encoded.words_deleted);
    counts.empty_texts += u64::from(rows == 0);
}

/// Nothing is cut or lost silently.
fn say_what_was_cut(tokenized: &Tokenized, plan: &Plan, console: &Console) {
    let counts = &tokenized.counts;
    if counts.truncated_texts > 0 {
        console.warn(&format!(
            "{} of {} texts are longer than {} tokens; what lies beyond, {} tokens in all, is cut off",
            counts.truncated_texts, counts.texts, plan.max_length, counts.truncated_tokens
        ));
    }
    if counts.deleted_words > 0 && plan.emits(Emit::Word) {
        console.note(&format!(
            "{} words have no token in this model's vocabulary and get a row of zeros each",
            counts.deleted_words
        ));
    }
    if let Some(limit) = plan.sentence.as_ref().and_then(|recipe| recipe.max_seq_length)
        && limit < plan.max_length.min(tokenized.longest)
    {
        console.note(&format!(
            "sentence-transformers cuts texts for this model at {limit} tokens; for the same vectors of longer ones add --max-length {limit}"
        ));
    }
}

/// `--dry-run`: what would be written, on standard output.
fn dry_run(
    args: &ExtractArgs,
    checkpoint: &Checkpoint,
    weights: &Weights,
    config: &Config,
    plan: &Plan,
    counts: &Counts,
) -> Result<()> {
    let layers: Vec<String> = plan.layers.iter().map(usize::to_string).collect();
    let emit: Vec<&str> = plan.emit.iter().map(|emit| emit.name()).collect();
    let mut text = format!(
        "model     {}{}\nlayers    {}\nemit      {}\ntexts     {}\ntokens    {} ({} cut off of {} texts)\n",
        checkpoint.id,
        checkpoint.revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default(),
        layers.join(" "),
        emit.join(" "),
        counts.texts,
        counts.tokens,
        counts.truncated_tokens,
        counts.truncated_texts,
    );
    let memory = memory_needed(weights, config, args.batch_tokens);
    text.push_str(&format!("memory    about {}\n", bytes(memory)));
    match &args.output {
        None => text.push_str("output    JSON Lines on standard output\n"),
        Some(path) => {
            let free = path
                .ancestors()
                .map(|ancestor| if ancestor.as_os_str().is_empty() { ".".as_ref() } else { ancestor })
                .find_map(|ancestor| fs4::available_space(ancestor).ok());
            text.push_str(&format!(
                "output    {}: {} of arrays, {} free\n",
                path.display(),
                bytes(plan.bytes(counts)),
                free.map_or_else(|| "unknown".to_owned(), bytes)
            ));
            let files: Vec<String> = plan.arrays().iter().map(|array| array.place(plan.format)).collect();
            let width = files.iter().map(String::len).max().unwrap_or(0);
            for (array, file) in plan.arrays().iter().zip(&files) {
                let (rows, columns) = (counts.rows(array.emit), array.columns);
                text.push_str(&format!("  {file:width$}  ({rows}, {columns}) {}\n", plan.dtype.name()));
            }
        }
    }
    io::stdout().write_all(text.as_bytes()).map_err(Error::stdout)
}

/// A rough upper bound of the memory a job takes: the weights, and what a batch needs between two layers.
fn memory_needed(weights: &Weights, config: &Config, batch_tokens: u32) -> u64 {
    const FLOAT: u64 = 4;
    let tokens = u64::from(batch_tokens).max(config.max_position_embeddings as u64);
    let per_token = 8 * config.hidden_size + config.intermediate_size;
    FLOAT * (encoder::parameter_count(weights, config) + tokens * per_token as u64) + (32 << 20)
}

/// What the second pass needs to know.
struct Job<'a> {
    args: &'a ExtractArgs,
    plan: &'a Plan,
    config: &'a Config,
    weights: &'a Weights,
    threads: usize,
    started: SystemTime,
}

impl Job<'_> {
    /// Loads the model as deep as the plan needs it.
    fn load(&self) -> Result<Encoder> {
        Encoder::load(self.weights, self.config, self.plan.deepest(), self.plan.emits(Emit::Pooler))
    }

    /// Tokens of a batch: as asked for, or fewer where all layers of a batch are held until they can be written.
    fn batch_tokens(&self) -> usize {
        const MOST_NUMBERS_HELD: usize = 16 << 20;
        let asked = self.args.batch_tokens as usize;
        let holds_all_layers = self.args.output.is_none() || self.plan.combine == Some(Combine::Concat);
        if !holds_all_layers {
            return asked;
        }
        let per_token = self.plan.arrays().iter().map(|array| array.columns).sum::<usize>();
        asked.min(MOST_NUMBERS_HELD / per_token.max(1)).max(1)
    }

    /// The second pass: batch by batch through the encoder and into the sink. Returns the time it took.
    fn encode(
        &self,
        encoder: &Encoder,
        spool: Option<spool::Reader>,
        counts: &Counts,
        sink: &mut dyn Sink,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<Duration> {
        let begun = Instant::now();
        let bar = console.tokens_bar(counts.tokens);
        let mut vectors = Vectors::new(self.plan);
        let mut done = 0;
        for batch in Batches::new(spool.into_iter().flatten(), self.batch_tokens()) {
            let batch = batch.map_err(Error::io("read", "back the temporary file of tokenized texts"))?;
            encoder.visit_hidden_states(&batch, |layer, hidden_state| {
                if let Some(signal) = interrupt.signal() {
                    return Err(Error::Interrupted { signal, done, texts: counts.texts });
                }
                kernels::with_numbers(hidden_state, |numbers| {
                    vectors.take_layer(layer, numbers, &batch, done, sink)?;
                    if layer < self.plan.num_hidden_layers {
                        return Ok(());
                    }
                    vectors.take_sentence(numbers, &batch, sink)?;
                    let width = self.plan.hidden_size;
                    let keep = SpecialTokens::Keep;
                    let first_tokens =
                        crate::pooling::sentences(numbers, width, &batch, crate::spec::Pooling::Cls, keep);
                    let first_tokens = Tensor::from_vec(first_tokens, (batch.texts(), width), &Device::Cpu)?;
                    match encoder.pooler_output(&first_tokens)? {
                        Some(pooled) => vectors.take_pooler(pooled.flatten_all()?.to_vec1()?, &batch, sink),
                        None => Ok(()),
                    }
                })?
            })?;
            sink.end_batch(&batch)?;
            done += batch.texts() as u64;
            bar.inc(batch.tokens() as u64);
        }
        bar.finish_and_clear();
        Ok(begun.elapsed())
    }

    fn summarize(&self, counts: &Counts, encoding: Duration, console: &Console) {
        let cut = match counts.truncated_texts {
            0 => String::new(),
            cut => format!(", {cut} truncated"),
        };
        let place = self.args.output.as_ref().map(|path| format!(" → {}", path.display())).unwrap_or_default();
        let whole = self.started.elapsed().unwrap_or_default();
        console.summary(&format!(
            "{}, {} in {:.1} s ({:.0} tokens/s encoding, {}){cut}{place}",
            counted(counts.texts, "text"),
            counted(counts.tokens, "token"),
            whole.as_secs_f64(),
            counts.tokens as f64 / encoding.as_secs_f64().max(1e-9),
            counted(self.threads as u64, "thread"),
        ));
    }
}

/// `1 text`, `2 texts`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
