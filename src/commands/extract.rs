//! `extract`: the pipeline, top to bottom, in two passes over the texts.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::args::ExtractArgs;
use super::console::Console;
use super::dry_run;
use super::shared::{builder, columns, note_of_bundled, say_what_was_settled, sources};
use super::standard_output::standard_output;
use crate::directory::plan_record::{DirectoryPlan, check_format};
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Source};
use crate::job::{Job, JobOutcome, identity};
use crate::json_lines::columns::carried_names;
use crate::model::Model;
use crate::observer::Observer;
use crate::request::Request;
use crate::spec::{Format, OnBadLine, OutputFormat, VectorKind};
use crate::stream::{Answered, Worker};
use crate::tables::check_stream;

/// Runs the job.
///
/// # Errors
/// Any of [`Error`]: what is wrong, where, and what helps.
pub(super) fn run(args: &ExtractArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    refuse_idle_options(args)?;
    let input = input(args, console)?;
    let shard = args.shard.map(|shard| shard.resolve(|name| std::env::var(name).ok())).transpose()?;
    let model = open(args, console)?;
    let plan = model.plan(&request(args))?;
    model.install(|| {
        let to = Destination::of(args);
        let (tokenizer, plan, identity) = match to {
            Destination::Directory(_) => model.warm_up(plan, || identity(&model).map(Some))?,
            Destination::Stdout | Destination::Stream(_) | Destination::Arrow => model.warm_up(plan, || Ok(None))?,
            Destination::DryRun(path) => {
                let (tokenizer, plan) = model.tokenizer(plan)?;
                (tokenizer, plan, path.map(|_| identity(&model)).transpose()?)
            }
        };
        if input.columns().pair_column.is_some() {
            tokenizer.check_pairs()?;
        }
        say_what_was_settled(&plan, &tokenizer, console);
        console.detail(&format!(
            "model {}: {} layers of width {}; {} threads, {}",
            model.id(),
            model.num_hidden_layers(),
            model.hidden_size(),
            model.threads(),
            model.instruction_set()
        ));
        let observer = console.interruptible(to.when_stopped())?;
        let plan = DirectoryPlan::new(plan, &input, format(args), args.part_texts);
        if args.output.is_some() {
            plan.check_format()?;
        }
        let job = Job {
            model: &model,
            plan: &plan,
            tokenizer: &tokenizer,
            input: &input,
            shard,
            batch_tokens: model.batch_tokens(args.batch_tokens),
            reuse: &args.reuse,
            started,
            observer: &observer,
        };
        let outcome = match to {
            Destination::DryRun(path) => {
                let to = path.map(|path| (path, args.overwrite, identity.unwrap_or_default()));
                let is_arrow = args.format == Some(OutputFormat::Arrow);
                let stream = if is_arrow { "an Arrow stream" } else { "JSON Lines" };
                dry_run::print(&job, &job.rehearse(to)?, path, stream)?;
                note_of_bundled_if_unnamed(args, &model, console);
                return Ok(());
            }
            Destination::Directory(path) => job.to_directory(path, args.overwrite, identity.unwrap_or_default())?,
            Destination::Stdout => job.to_json_lines(standard_output()?)?,
            Destination::Stream(of) => {
                answer(&job, of, console)?;
                note_of_bundled_if_unnamed(args, &model, console);
                return Ok(());
            }
            Destination::Arrow => job.to_arrow(standard_output()?)?,
        };
        summarize(&job, outcome, to, console);
        note_of_bundled_if_unnamed(args, &model, console);
        Ok(())
    })
}

/// Refuses options that would change nothing, as they were typed for something.
fn refuse_idle_options(args: &ExtractArgs) -> Result<()> {
    let emits = |kind: VectorKind| args.emit.contains(&kind);
    if args.word_pooling.is_some() && !emits(VectorKind::Word) && !emits(VectorKind::Span) {
        return Err(Error::Usage(
            "--word-pooling makes vectors of words and spans, and goes with --emit word or span only; add that, or leave it out"
                .to_owned(),
        ));
    }
    match (&args.span_column, emits(VectorKind::Span)) {
        (None, true) => {
            return Err(Error::Usage(
                "--emit span needs the column of the spans; name it with --span-column, each being [start, end] in characters"
                    .to_owned(),
            ));
        }
        (Some(_), false) => {
            return Err(Error::Usage(
                "--span-column names spans to have vectors, and goes with --emit span only; add that, or leave it out"
                    .to_owned(),
            ));
        }
        _ => {}
    }
    if args.stream && args.input.on_bad_line == OnBadLine::Skip {
        return Err(Error::Usage(
            "--on-bad-line skip leaves lines out, and --stream answers each, a bad one with its error; leave one of them out".to_owned(),
        ));
    }
    if args.stream && args.format.is_some_and(|format| format != OutputFormat::Arrow) {
        return Err(Error::Usage(
            "--stream answers in JSON Lines, or with -f arrow in an Arrow stream; leave --format out, or choose arrow"
                .to_owned(),
        ));
    }
    match (args.format, &args.output) {
        (Some(OutputFormat::Arrow), Some(_)) => {
            return Err(Error::Usage(
                "-f arrow is a stream on standard output, and -o names a directory; leave one of them out, or write tables with -f parquet".to_owned(),
            ));
        }
        (Some(OutputFormat::Arrow) | None, _) | (Some(_), Some(_)) => {}
        (Some(format), None) => {
            return Err(Error::Usage(format!(
                "--format {format} is for the files of a directory, which --output names; standard output has JSON Lines, or with -f arrow an Arrow stream"
            )));
        }
    }
    if args.part_texts.is_some() && format(args) != Format::Parquet {
        return Err(Error::Usage(
            "--part-texts says how many texts a part of Parquet files has, and goes with --format parquet only"
                .to_owned(),
        ));
    }
    if args.output.as_deref() == Some(Path::new("-")) {
        return Err(Error::Usage(
            "-o -: -o names a directory; without it, JSON Lines go to standard output (-o ./- is a directory of that name)"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The format of a directory's files.
fn format(args: &ExtractArgs) -> Format {
    args.format.and_then(OutputFormat::of_files).unwrap_or_default()
}

/// The note on the bundled model, for a run that came to its end: one that is refused has nothing that was encoded.
fn note_of_bundled_if_unnamed(args: &ExtractArgs, model: &Model, console: &Console) {
    if args.model.is_none() {
        note_of_bundled(model, console);
    }
}

/// The destination of the vectors.
#[derive(Clone, Copy)]
enum Destination<'a> {
    /// Nowhere; prints what would be written, into this directory or on standard output.
    DryRun(Option<&'a Path>),
    /// Arrays in a directory.
    Directory(&'a Path),
    /// JSON Lines.
    Stdout,
    /// JSON Lines, or an Arrow stream, each text as soon as it can be.
    Stream(StreamOf),
    /// An Arrow stream.
    Arrow,
}

/// How a worker answers.
#[derive(Clone, Copy)]
enum StreamOf {
    JsonLines,
    Arrow,
}

impl<'a> Destination<'a> {
    /// What a signal does.
    fn when_stopped(self) -> &'static str {
        match self {
            Self::DryRun(_) => "stopping; nothing was written",
            Self::Directory(_) => "stopping; finished rows are kept, and the same command goes on",
            Self::Stream(StreamOf::JsonLines) => "stopping; the lines printed so far are whole",
            Self::Stream(StreamOf::Arrow) => {
                "stopping; the batches written so far are whole, and the stream has no end"
            }
            Self::Stdout => "stopping; the lines printed so far are whole, and the same command starts over",
            Self::Arrow => "stopping; the stream has no end, and the same command starts over",
        }
    }

    fn of(args: &'a ExtractArgs) -> Self {
        let is_arrow = args.format == Some(OutputFormat::Arrow);
        match args.output.as_deref() {
            path if args.dry_run => Self::DryRun(path),
            Some(path) => Self::Directory(path),
            None if args.stream && is_arrow => Self::Stream(StreamOf::Arrow),
            None if args.stream => Self::Stream(StreamOf::JsonLines),
            None if is_arrow => Self::Arrow,
            None => Self::Stdout,
        }
    }
}

/// The input that the options describe.
fn input(args: &ExtractArgs, console: &Console) -> Result<Input> {
    let columns = Columns {
        pair_column: args.pair_column.clone(),
        id_column: args.id_column.clone(),
        label_column: args.label_column.clone(),
        span_column: args.span_column.clone(),
        carry: args.carry.clone(),
        ..columns(&args.input)
    };
    let sources = match &args.input.input[..] {
        // Also from a terminal, where each line is answered when it is typed.
        [] if args.stream => vec![Source::Stdin],
        files => sources(&args.texts, files, console)?,
    };
    let has_lines = args.stream || args.input.on_bad_line == OnBadLine::Skip;
    let columns = Columns { carry_as: carried_names(&columns.carry, has_lines)?, ..columns };
    for (name, to) in &columns.carry_as {
        console.note(&format!("the column `{name}` is called `{to}` in the output, which has `{name}` of its own"));
    }
    if args.output.is_some() {
        check_format(format(args), args.dtype)?;
    }
    if args.format == Some(OutputFormat::Arrow) {
        check_stream(args.dtype)?;
    }
    Input::new(sources, args.input.input_format, columns)?.on_bad_line(args.input.on_bad_line)
}

/// The request that the options describe.
fn request(args: &ExtractArgs) -> Request {
    Request {
        kinds: args.emit.clone(),
        layers: args.layers.clone(),
        word_pooling: args.word_pooling.unwrap_or_default(),
        special_tokens: args.special_tokens,
        combine: args.combine,
        normalize: args.normalize,
        prompt: args.prompt.clone(),
        prompt_name: args.prompt_name.clone(),
        truncate_dim: args.truncate_dim,
        max_length: args.max_length,
        overflow: args.overflow,
        stride: args.stride,
        dtype: args.dtype,
        batch_tokens: args.batch_tokens,
    }
}

fn open(args: &ExtractArgs, console: &Console) -> Result<Model> {
    let builder = builder(args.model.as_deref(), &args.hub).compute(args.compute).device(args.device);
    let builder = match args.threads {
        Some(threads) => builder.threads(usize::from(threads)),
        None => builder,
    };
    builder.observer(Arc::new(console.clone())).open()
}

/// Prints the summary line.
fn summarize(job: &Job<'_>, outcome: JobOutcome, to: Destination<'_>, console: &Console) {
    let path = if let Destination::Directory(path) = to { Some(path) } else { None };
    let JobOutcome::Done(counts, stats, skipped) = outcome else {
        let path = path.unwrap_or_else(|| Path::new("-")).display();
        let job = job.shard.map_or_else(|| "this job".to_owned(), |shard| format!("this job, shard {shard}"));
        return console.summary(&format!("{path} already holds {job}; nothing to do"));
    };
    let some = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
    let notes = [
        some(counts.truncated_texts, "truncated"),
        some(counts.windowed_texts, "in windows"),
        some(stats.repeated_texts, "encoded once with others"),
        if skipped > 0 { format!(", {} skipped", counted(skipped, "bad line")) } else { String::new() },
    ];
    let place = path.map(|path| format!(" → {}", path.display())).unwrap_or_default();
    let shard = job.shard.map(|shard| format!(", shard {shard}")).unwrap_or_default();
    let whole = job.started.elapsed().unwrap_or_default();
    console.detail(&format!(
        "of {:.1} s of encoding, vectors were pooled and written for {:.2} s, by one thread at a time; for {:.2} s one thread alone had work",
        stats.time.as_secs_f64(),
        stats.visiting.as_secs_f64(),
        stats.alone.as_secs_f64(),
    ));
    console.summary(&format!(
        "{}, {} in {:.1} s ({:.0} tokens/s encoding, {}){}{place}{shard}",
        counted(counts.texts, "text"),
        counted(counts.tokens, "token"),
        whole.as_secs_f64(),
        stats.tokens_per_second(),
        counted(job.model.threads() as u64, "thread"),
        notes.concat(),
    ));
}

/// Answers the lines of the job's input as they come.
///
/// # Errors
/// [`Error::BadLinesAnswered`] at the end, and those of a worker.
fn answer(job: &Job<'_>, of: StreamOf, console: &Console) -> Result<()> {
    let &Job { model, plan, tokenizer, input, batch_tokens, observer, .. } = job;
    let worker = Worker { model, plan, tokenizer, input, batch_tokens, observer };
    let Answered { counts, stats, rows, bad } = match of {
        StreamOf::JsonLines => worker.to_json_lines(standard_output()?)?,
        StreamOf::Arrow => worker.to_arrow(standard_output()?)?,
    };
    console.summary(&format!(
        "{}, {} answered in {:.1} s ({:.0} tokens/s encoding, {}){}",
        counted(counts.texts, "text"),
        counted(counts.tokens, "token"),
        job.started.elapsed().unwrap_or_default().as_secs_f64(),
        stats.tokens_per_second(),
        counted(model.threads() as u64, "thread"),
        if bad > 0 { format!(", and {} with an error", counted(bad, "line")) } else { String::new() },
    ));
    if bad > 0 { Err(Error::BadLinesAnswered { bad, rows }) } else { Ok(()) }
}

/// `1 text`, `2 texts`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
