//! `extract`: the pipeline, top to bottom, in two passes over the texts.

mod dry_run;
mod first_pass;
pub(crate) mod second_pass;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};

use self::first_pass::{FirstPass, Keep, Tokenized};
use self::second_pass::Job;
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::SentenceDefaults;
use crate::checkpoint::{self, BUNDLED, Checkpoint};
use crate::cli::ExtractArgs;
use crate::console::Console;
use crate::encoder::{self, Ahead, Encoder, Ops, Settings};
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Source};
use crate::interrupt::Interrupt;
use crate::kernels::InstructionSet;
use crate::output;
use crate::output::directory::{Prepared, Start};
use crate::output::existing;
use crate::output::first_phase::Texts;
use crate::output::journal::ArraysDone;
use crate::output::jsonl::JsonLines;
use crate::output::manifest::{self, MANIFEST, ModelIdentity};
use crate::plan::{Plan, PlannedModel};
use crate::shard::Part;
use crate::spec::{DeviceKind, Emit};
use crate::spool;
use crate::tokens::Tokenizer;

/// Runs the job.
///
/// # Errors
/// Any of [`Error`]: what is wrong, where, and what helps.
pub fn run(args: &ExtractArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    let input = input(args)?;
    let shard = args.shard.map(|shard| shard.resolve(|name| std::env::var(name).ok())).transpose()?;
    let instruction_set = InstructionSet::from_env(args.compute)?;
    let threads = start_threads(args.threads)?;

    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model: args.model.as_deref().unwrap_or(BUNDLED),
        revision: args.hub.revision.as_deref(),
        offline: args.hub.offline,
        show_progress: console.shows_progress(),
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    let of_sentences = args.emit.contains(&Emit::Sentence);
    let sentence = of_sentences.then(|| checkpoint.sentence_recipe()).transpose()?;
    let wants_defaults = of_sentences || args.prompt_name.is_some();
    let defaults = if wants_defaults { checkpoint.sentence_defaults()? } else { SentenceDefaults::default() };
    let config = match &sentence {
        Some(recipe) => checkpoint.config_with(&recipe.config)?,
        None => checkpoint.config()?,
    };
    let weights = checkpoint.weights()?;
    let has_pooler = encoder::has_pooler(&weights);
    let mut plan = Plan::resolve(args, &input, PlannedModel { config: &config, has_pooler, sentence, defaults })?;
    let ops = Ops::open(args.device)?;
    if plan.device != DeviceKind::Cpu {
        console.note(&format!(
            "on --device {} the last digits of a text's numbers may depend on its batch; on the CPU they never do",
            args.device
        ));
    }
    encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
    let settings = Settings {
        deepest: plan.deepest(),
        pooler: plan.emits(Emit::Pooler),
        compute: plan.compute,
        ops,
        instruction_set,
    };
    // Reading tokenizer.json takes one thread tens of milliseconds, digests more: the others begin with the layers meanwhile.
    let is_ready = AtomicBool::new(args.dry_run);
    let get_ready = || {
        let tokenizer = load_tokenizer(&checkpoint, &config, &mut plan);
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
    say_what_was_settled(&plan, &tokenizer, console);
    if args.model.is_none() {
        console.note(&checkpoint::note_of_bundled(&config));
    }
    console.detail(&format!(
        "model {}: {} layers of width {}; {} threads, {}",
        checkpoint.id,
        config.num_hidden_layers,
        config.hidden_size,
        threads,
        instruction_set.name()
    ));

    let interrupt = Interrupt::listen().map_err(Error::io("listen for", "signals"))?;
    let input = FirstPass { input: &input, tokenizer: &tokenizer, interrupt: &interrupt, console };
    let job = Job { args, plan: &plan, shard, config: &config, weights: &weights, settings, threads, started };
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
fn to_stdout(job: &Job<'_>, input: FirstPass<'_>, ahead: Ahead) -> Result<()> {
    let FirstPass { tokenizer, interrupt, console, .. } = input;
    let (mut spool, mut columns) = (spool::Writer::temporary(), output::columns::Writer::new());
    let counts = input.tokenize(job.plan, Keep::Spool(&mut spool, &mut columns))?.counts;
    let unreadable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
    let mut spool = spool.finish().map_err(unreadable)?;
    let part = job.part(&mut spool, counts).map_err(unreadable)?;
    let mut sink = JsonLines::new(job.plan, tokenizer, columns.finish()?, part.first_row)?;
    let encoder = job.load(&part.counts, ahead)?;
    let encoding = job.encode(&encoder, spool, &part, 0, &mut sink, interrupt, console)?;
    sink.finish()?;
    job.summarize(&part.counts, &encoding, console);
    Ok(())
}

/// Arrays in a directory. A job that was stopped goes on from where it was.
fn to_directory(
    path: &Path,
    model: &ModelIdentity,
    job: &Job<'_>,
    input: FirstPass<'_>,
    mut ahead: Ahead,
) -> Result<()> {
    let FirstPass { interrupt, console, .. } = input;
    let mut directory = Prepared::new(path, job.args.overwrite)?;
    let mut ready = make_ready(&directory, model, job, input, &mut ahead);
    if let Err(Error::OtherInput(_)) = ready
        && job.args.overwrite
    {
        // What is there is another job after all.
        ready = if input.input.can_be_read_again() {
            directory.is_another();
            make_ready(&directory, model, job, input, &mut ahead)
        } else {
            directory.give_up_unfinished()?;
            Err(Error::Output {
                path: path.to_owned(),
                problem: "held a job that was begun with other input, which is given up now; as standard input can be read once, run the same command again".to_owned(),
            })
        };
    }
    let ready = match ready {
        Ok(Some(ready)) => ready,
        nothing_or_error => {
            directory.abandon();
            return nothing_or_error.map(|_| ());
        }
    };
    let Ready { encoder, texts, part, manifest, done } = ready;
    let counts = &part.counts;
    let (mut sink, spool) = directory.arrays(job.plan, &part, manifest, texts, done)?;
    let done = sink.texts_done();
    if done > 0 {
        console.note(&format!("{} holds the first {done} of {} texts; going on", path.display(), counts.texts));
    }
    match job.encode(&encoder, spool, &part, done, &mut sink, interrupt, console) {
        Ok(encoding) => {
            sink.finish(&manifest::run(job.started, &encoding, job.threads, job.args.batch_tokens))?;
            job.summarize(counts, &encoding, console);
            Ok(())
        }
        Err(error) => {
            let done = sink.stop();
            Err(error.or_disk_full(path, || job.plan.bytes(counts).saturating_sub(done)))
        }
    }
}

/// All that is known of a job when its first pass is over.
struct Ready<'a> {
    encoder: Encoder<'a>,
    texts: Texts,
    part: Part,
    manifest: Value,
    done: Option<ArraysDone>,
}

/// The first pass, or what is left of it, and the model. `None` when the directory holds the whole job already.
fn make_ready<'a>(
    directory: &Prepared,
    model: &ModelIdentity,
    job: &Job<'a>,
    input: FirstPass<'_>,
    ahead: &mut Ahead,
) -> Result<Option<Ready<'a>>> {
    let (path, plan, console) = (directory.path(), job.plan, input.console);
    let identity = manifest::job(model, plan, job.shard, job.settings.instruction_set);
    let (mut phase, done, earlier) = match directory.start(&identity)? {
        Start::Complete(manifest) => {
            let read = input.tokenize(plan, Keep::DigestOnly)?;
            already_there(path, plan, &read, &manifest, console)?;
            directory.tidy()?;
            return Ok(None);
        }
        Start::Texts(phase) => (phase, None, None),
        Start::Arrays(phase, done, manifest) => (phase, Some(done), Some(manifest)),
    };
    let read = match input.tokenize(plan, Keep::Directory(&mut phase)) {
        Ok(read) => read,
        Err(error) if error.is_of_input() => {
            phase.discard();
            return Err(error);
        }
        Err(error) => {
            phase.stop();
            return Err(error);
        }
    };
    let mut texts = phase.finish(&read.input_sha256)?;
    let all_texts = read.counts.texts;
    let part = job.part(&mut texts.spool, read.counts).map_err(Error::io("read the tokens in", path))?;
    let mut manifest = manifest::manifest(&identity, plan, &read.input_sha256, &part.counts);
    if job.shard.is_some() {
        manifest["shard"]["first_row"] = json!(part.first_row);
        manifest["shard"]["all_texts"] = json!(all_texts);
    }
    let differences = earlier.map_or_else(Vec::new, |earlier| manifest::differences(&manifest, &earlier));
    if !differences.is_empty() {
        return Err(Error::OtherInput(Box::new(Error::another_job(path, &differences))));
    }
    // Damaged weights are found before the arrays are created.
    let encoder = job.load(&part.counts, std::mem::take(ahead))?;
    Ok(Some(Ready { encoder, texts, part, manifest, done }))
}

/// What is said when a directory holds the job already; an error if the job is another one after all, or damaged.
fn already_there(path: &Path, plan: &Plan, read: &Tokenized, manifest: &Value, console: &Console) -> Result<()> {
    if manifest["input"]["sha256"] != read.input_sha256.as_str() {
        return Err(Error::another_job(path, &["the input".to_owned()]));
    }
    let damaged = |problem: String| Error::Output {
        path: path.join(MANIFEST),
        problem: format!("is damaged: {problem}; do the job anew with --overwrite"),
    };
    let counts = manifest::counts(manifest).map_err(damaged)?;
    if manifest["shard"].is_null() && counts.texts != read.counts.texts {
        return Err(damaged(format!("counts: it has {} texts, the input {}", counts.texts, read.counts.texts)));
    }
    if let Some(problem) = existing::lost(path, plan, &counts) {
        return Err(Error::Output {
            path: path.to_owned(),
            problem: format!("holds this job, but {problem}; do it anew with --overwrite"),
        });
    }
    console.summary(&format!("{} already holds this job; nothing to do", path.display()));
    Ok(())
}

/// The tokenizer of a plan's texts; the plan learns how many tokens its prompt takes.
///
/// # Errors
/// As [`Tokenizer::load`] and [`Tokenizer::with_windows`]; [`Error::Usage`] for pairs of texts that the model does not know.
pub(crate) fn load_tokenizer(checkpoint: &Checkpoint, config: &Config, plan: &mut Plan) -> Result<Tokenizer> {
    let arguments = plan.sentence.as_ref().map(|recipe| recipe.tokenizer.clone()).unwrap_or_default();
    let tokenizer = Tokenizer::load_with(checkpoint, config.vocab_size, plan.max_length, &arguments)?
        .with_type_vocab_size(config.type_vocab_size)
        .with_prompt(plan.prompt.as_deref().unwrap_or_default());
    if plan.columns.pair_column.is_some() && config.type_vocab_size < 2 && tokenizer.has_token_types() {
        return Err(Error::Usage(
            "--pair-column: this model knows one token type (type_vocab_size is 1), so it takes no pairs".to_owned(),
        ));
    }
    plan.prompt_tokens = tokenizer.prompt_length()?;
    match plan.windowing() {
        Some(windowing) => tokenizer.with_windows(windowing),
        None => Ok(tokenizer),
    }
}

/// What the model's files decide for the whole job, and a user may not expect.
pub(crate) fn say_what_was_settled(plan: &Plan, tokenizer: &Tokenizer, console: &Console) {
    tokenizer.notes().iter().for_each(|note| console.note(note));
    let Some(recipe) = &plan.sentence else { return };
    recipe.notes.iter().for_each(|note| console.note(note));
    let others: Vec<&str> = plan.emit.iter().map(|emit| emit.name()).filter(|name| *name != "sentence").collect();
    let others = if others.is_empty() { String::new() } else { format!(", also for {}", others.join(", ")) };
    if let Some(prompt) = &plan.prompt {
        console.note(&format!(
            "each text is encoded with the prompt {prompt:?} before it{others}; --prompt '' leaves it out"
        ));
    }
    if !others.is_empty() && recipe.max_seq_length.is_some_and(|limit| limit == plan.max_length) {
        console.note(&format!(
            "as `sentence` is asked for, sentence-transformers' limit of {} tokens holds for the whole job{others}; --max-length sets another",
            plan.max_length
        ));
    }
    if recipe.tokenizer.lower_case {
        console.note(&format!(
            "as `sentence` is asked for, texts are put into lower case first, as the model's files say{others}"
        ));
    }
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

/// What is read, and how it is to be taken.
fn input(args: &ExtractArgs) -> Result<Input> {
    let sources = match &args.input[..] {
        [] if !args.texts.is_empty() => vec![Source::Arguments(args.texts.clone())],
        [] if io::stdin().is_terminal() => {
            return Err(Error::Usage(
                "no texts: give them as arguments, name a file with -i, or pipe them in (-i - reads the terminal)"
                    .to_owned(),
            ));
        }
        [] => vec![Source::Stdin],
        paths => paths.iter().map(|path| Source::of_path(path)).collect(),
    };
    let columns = Columns {
        text_column: args.text_column.clone(),
        pair_column: args.pair_column.clone(),
        id_column: args.id_column.clone(),
        label_column: args.label_column.clone(),
        no_header: args.no_header,
        delimiter: args.delimiter,
        carry: args.carry.clone(),
        pretokenized: args.pretokenized,
    };
    output::columns::check_carried(&columns.carry)?;
    Input::new(sources, args.input_format, columns)
}

/// Starts the threads that kernels and tokenization share; returns their number.
pub(crate) fn start_threads(threads: Option<u16>) -> Result<usize> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, usize::from))
        .build_global()
        .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))?;
    Ok(rayon::current_num_threads())
}
