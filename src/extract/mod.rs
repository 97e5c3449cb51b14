//! `extract`: the pipeline, top to bottom, in two passes over the texts.

mod dry_run;
mod first_pass;
mod second_pass;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use self::first_pass::{Tokenized, tokenize};
use self::second_pass::Job;
use crate::checkpoint::sentence::SENTENCE_CONFIG;
use crate::checkpoint::{self, BUNDLED, Checkpoint};
use crate::cli::ExtractArgs;
use crate::console::Console;
use crate::encoder::{self, Ahead, Ops, Settings};
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Source};
use crate::interrupt::Interrupt;
use crate::kernels;
use crate::output;
use crate::output::directory::Prepared;
use crate::output::existing::{self, Existing};
use crate::output::jsonl::JsonLines;
use crate::output::manifest::{self, ModelIdentity};
use crate::plan::Plan;
use crate::spec::{DeviceKind, Emit};
use crate::tokens::Tokenizer;

/// Runs the job.
///
/// # Errors
/// Any of [`Error`]: what is wrong, where, and what helps.
pub fn run(args: &ExtractArgs, console: &Console) -> Result<()> {
    let started = SystemTime::now();
    let input = input(args)?;
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
    let plan = Plan::resolve(args, &input, &config, encoder::has_pooler(&weights), || checkpoint.sentence_recipe())?;
    let ops = Ops::open(args.device)?;
    if plan.device != DeviceKind::Cpu {
        console.note(&format!(
            "on --device {} the last digits of a text's numbers may depend on its batch; on the CPU they never do",
            args.device
        ));
    }
    encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
    let settings = Settings { deepest: plan.deepest(), pooler: plan.emits(Emit::Pooler), compute: plan.compute, ops };
    // Reading tokenizer.json takes one thread tens of milliseconds: the others begin with the layers meanwhile.
    let has_tokenizer = AtomicBool::new(false);
    let load_tokenizer = || {
        let tokenizer = Tokenizer::load(&checkpoint, config.vocab_size, plan.max_length);
        has_tokenizer.store(true, Ordering::Relaxed);
        tokenizer
    };
    let enough = || args.dry_run || has_tokenizer.load(Ordering::Relaxed);
    let (tokenizer, ahead) = rayon::join(load_tokenizer, || Ahead::load(&weights, &config, &settings, enough));
    let (tokenizer, ahead) = (tokenizer?, ahead?);
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
    let mut output = match &args.output {
        Some(path) if !args.dry_run => Some(Prepared::new(path, args.overwrite)?),
        _ => None,
    };
    let tokenized = match tokenize(&input, &tokenizer, &plan, output.as_mut(), args.dry_run, &interrupt, console) {
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
            && let Err(error) = existing::examine(path, args.overwrite)
        {
            console.warn(&error.to_string());
        }
        return dry_run::print(args, &checkpoint, &weights, &config, &plan, &tokenized.counts);
    }

    let job = Job { args, plan: &plan, config: &config, weights: &weights, settings, threads, started };
    match output {
        None => {
            let mut sink = JsonLines::new(&plan, &tokenizer, tokenized.columns);
            let encoder = job.load(&tokenized.counts, ahead)?;
            let encoding = job.encode(&encoder, tokenized.spool, &tokenized.counts, &mut sink, &interrupt, console)?;
            sink.finish()?;
            job.summarize(&tokenized.counts, encoding, console);
        }
        Some(output) => {
            let digests = || checkpoint.digests();
            let (digests, encoder) = rayon::join(digests, || job.load(&tokenized.counts, ahead));
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
                    if let Some(problem) = existing::lost(&path, &plan, &tokenized.counts) {
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

/// What is read, and how it is to be taken.
fn input(args: &ExtractArgs) -> Result<Input> {
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
        label_column: args.label_column.clone(),
        no_header: args.no_header,
        carry: args.carry.clone(),
        pretokenized: args.pretokenized,
    };
    output::columns::check_carried(&columns.carry)?;
    Input::new(sources, args.input_format, columns)
}

/// Starts the threads that kernels and tokenization share; returns their number.
fn start_threads(threads: Option<u16>) -> Result<usize> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.map_or(0, usize::from))
        .build_global()
        .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))?;
    Ok(rayon::current_num_threads())
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
