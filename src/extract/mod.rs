//! `extract`: the pipeline, top to bottom, in two passes over the texts.

mod dry_run;
mod first_pass;
mod second_pass;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde_json::Value;

use self::first_pass::{Input, Keep, Tokenized};
use self::second_pass::Job;
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::SENTENCE_CONFIG;
use crate::checkpoint::{self, BUNDLED, Checkpoint};
use crate::cli::ExtractArgs;
use crate::console::Console;
use crate::encoder::{self, Ahead, Ops, Settings};
use crate::error::{Error, Result};
use crate::input::{self, Source};
use crate::interrupt::Interrupt;
use crate::kernels;
use crate::output::directory::{Prepared, Start};
use crate::output::existing;
use crate::output::jsonl::JsonLines;
use crate::output::manifest::{self, MANIFEST, ModelIdentity};
use crate::plan::{Counts, Plan};
use crate::spec::{DeviceKind, Emit};
use crate::spool;
use crate::tokens::Tokenizer;

/// Runs the job.
///
/// # Errors
/// Any of [`Error`]: what is wrong, where, and what helps.
pub fn run(args: &ExtractArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    let source = source(args)?;
    let texts = input::read(&source, args.input_format, args.pretokenized)?;
    kernels::check_instruction_set()?;
    let threads = start_threads(args.threads)?;

    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model: args.model.as_deref().unwrap_or(BUNDLED),
        revision: args.hub.revision.as_deref(),
        offline: args.hub.offline,
        show_progress: console.shows_progress(),
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    let config = checkpoint.config()?;
    let weights = checkpoint.weights()?;
    let plan = Plan::resolve(args, &config, encoder::has_pooler(&weights), || checkpoint.sentence_recipe())?;
    let ops = Ops::open(args.device)?;
    if plan.device != DeviceKind::Cpu {
        console.note(&format!(
            "on --device {} the last digits of a text's numbers may depend on its batch; on the CPU they never do",
            args.device
        ));
    }
    encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
    let settings = Settings { deepest: plan.deepest(), pooler: plan.emits(Emit::Pooler), compute: plan.compute, ops };
    // Reading tokenizer.json takes one thread tens of milliseconds, digests more: the others begin with the layers meanwhile.
    let is_ready = AtomicBool::new(args.dry_run);
    let get_ready = || {
        let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, plan.max_length);
        let identity = match &args.output {
            Some(_) if !args.dry_run && tokenizer.is_ok() => identity(&checkpoint, &config).map(Some),
            _ => Ok(None),
        };
        is_ready.store(true, Ordering::Relaxed);
        (tokenizer, identity)
    };
    let is_enough = || is_ready.load(Ordering::Relaxed);
    let ((tokenizer, model), ahead) = rayon::join(get_ready, || Ahead::load(&weights, &config, &settings, is_enough));
    let (tokenizer, model, ahead) = (tokenizer?, model?, ahead?);
    if plan.sentence.as_ref().is_some_and(|recipe| recipe.do_lower_case) && !tokenizer.ignores_case() {
        return Err(Error::Config {
            path: checkpoint.path_of(SENTENCE_CONFIG),
            key: "do_lower_case".to_owned(),
            problem: "lower-casing before a tokenizer that tells the cases apart is not supported; choose another --emit than `sentence`, or lower-case the texts and set it to false"
                .to_owned(),
        });
    }
    if args.model.is_none() {
        console.note(&checkpoint::note_of_bundled(&config));
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
    let input = Input { texts, source: &source, tokenizer: &tokenizer, interrupt: &interrupt, console };
    let job = Job { args, plan: &plan, config: &config, weights: &weights, settings, threads, started };
    match &args.output {
        _ if args.dry_run => {
            let counts = input.tokenize(&plan, Keep::Nothing)?.counts;
            if let Some(path) = &args.output
                && let Err(error) = existing::examine(path, args.overwrite)
            {
                console.warn(&error.to_string());
            }
            dry_run::print(args, &checkpoint, &weights, &config, &plan, &counts)
        }
        Some(path) if let Some(model) = model => to_directory(path, &model, &job, input, ahead),
        _ => to_stdout(&job, input, ahead),
    }
}

/// JSON Lines on standard output.
fn to_stdout(job: &Job<'_>, input: Input<'_>, ahead: Ahead) -> Result<()> {
    let Input { tokenizer, interrupt, console, .. } = input;
    let mut spool = spool::Writer::temporary();
    let counts = input.tokenize(job.plan, Keep::Spool(&mut spool))?.counts;
    let spool = spool.finish().map_err(Error::io("write a temporary file into", std::env::temp_dir()))?;
    let mut sink = JsonLines::new(job.plan, tokenizer);
    let encoder = job.load(&counts, ahead)?;
    let encoding = job.encode(&encoder, spool, &counts, 0, &mut sink, interrupt, console)?;
    sink.finish()?;
    job.summarize(&counts, encoding, console);
    Ok(())
}

/// Arrays in a directory. A job that was stopped goes on from where it was.
fn to_directory(path: &Path, model: &ModelIdentity, job: &Job<'_>, input: Input<'_>, ahead: Ahead) -> Result<()> {
    let Input { interrupt, console, .. } = input;
    let plan = job.plan;
    let directory = Prepared::new(path, job.args.overwrite)?;
    let identity = manifest::job(model, plan);
    let start = match directory.start(&identity) {
        Ok(start) => start,
        Err(error) => {
            directory.abandon();
            return Err(error);
        }
    };
    let (mut phase, done, earlier) = match start {
        Start::Complete(manifest) => {
            directory.abandon();
            let read = input.tokenize(plan, Keep::DigestOnly)?;
            return already_there(path, plan, &read, &manifest, console);
        }
        Start::Texts(phase) => (phase, None, None),
        Start::Arrays(phase, done, manifest) => (phase, Some(done), Some(manifest)),
    };
    let first_pass = input.tokenize(plan, Keep::Directory(&mut phase));
    let prepare = first_pass.and_then(|read| {
        let manifest = manifest::manifest(&identity, plan, &read.input_sha256, &read.counts);
        let differences = earlier.map_or_else(Vec::new, |earlier| manifest::differences(&manifest, &earlier));
        if !differences.is_empty() {
            return Err(Error::another_job(path, &differences));
        }
        Ok((read.counts, read.input_sha256, manifest))
    });
    // Damaged weights are found before the arrays are created.
    let prepared =
        prepare.and_then(|(counts, sha256, manifest)| Ok((job.load(&counts, ahead)?, counts, sha256, manifest)));
    let (encoder, counts, input_sha256, manifest) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            if error.is_of_input() {
                phase.discard();
            } else {
                phase.stop();
            }
            directory.abandon();
            return Err(error);
        }
    };
    let texts = match phase.finish(&input_sha256) {
        Ok(texts) => texts,
        Err(error) => {
            directory.abandon();
            return Err(error);
        }
    };
    let (mut sink, spool) = directory.arrays(plan, &counts, manifest, texts, done)?;
    let done = sink.texts_done();
    if done > 0 {
        console.note(&format!("{} holds the first {done} of {} texts; going on", path.display(), counts.texts));
    }
    match job.encode(&encoder, spool, &counts, done, &mut sink, interrupt, console) {
        Ok(encoding) => {
            sink.finish(&manifest::run(job.started, encoding, &counts, job.threads, job.args.batch_tokens))?;
            job.summarize(&counts, encoding, console);
            Ok(())
        }
        Err(error) => {
            let done = sink.stop();
            Err(error.or_disk_full(path, || plan.bytes(&counts).saturating_sub(done)))
        }
    }
}

/// What is said when a directory holds the job already; an error if the job is another one after all, or damaged.
fn already_there(path: &Path, plan: &Plan, read: &Tokenized, manifest: &Value, console: &Console) -> Result<()> {
    if manifest["input"]["sha256"] != read.input_sha256.as_str() {
        return Err(Error::another_job(path, &["the input".to_owned()]));
    }
    let counts: Counts = serde_json::from_value(manifest["counts"].clone()).map_err(|error| Error::Output {
        path: path.join(MANIFEST),
        problem: format!("is damaged: counts: {error}; do the job anew with --overwrite"),
    })?;
    if let Some(problem) = existing::lost(path, plan, &counts) {
        return Err(Error::Output {
            path: path.to_owned(),
            problem: format!("holds this job, but {problem}; do it anew with --overwrite"),
        });
    }
    console.summary(&format!("{} already holds this job; nothing to do", path.display()));
    Ok(())
}

/// Which model it is, down to the bytes.
fn identity(checkpoint: &Checkpoint, config: &Config) -> Result<ModelIdentity> {
    Ok(ModelIdentity {
        id: checkpoint.id.clone(),
        revision: checkpoint.revision.clone(),
        sha256: checkpoint.digests()?,
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
    })
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
