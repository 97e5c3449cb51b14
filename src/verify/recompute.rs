//! `--recompute`: some texts encoded again, and every bit of their vectors compared.
//!
//! Everything that could make other bits of the same texts is refused before: another input, model, version or instruction
//! set. So a difference is a damage of the directory.

use std::io::{self, IsTerminal};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::comparison::{Chosen, Comparison};
use super::contents::{Contents, Origin};
use super::damage::Damage;
use super::sample::Sample;
use crate::batch::Batches;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::checkpoint::{self, BUNDLED, Checkpoint};
use crate::cli::VerifyArgs;
use crate::console::Console;
use crate::encoder::{self, Encoder, Ops, Settings};
use crate::error::{Error, Result};
use crate::extract::load_tokenizer;
use crate::extract::second_pass::{encode_batch, limits};
use crate::input::{self, Input, Source};
use crate::kernels::InstructionSet;
use crate::output::layout::Holds;
use crate::output::manifest::MANIFEST;
use crate::plan::Plan;
use crate::spec::{DeviceKind, Emit};
use crate::spool::{self, TextCounts};
use crate::tokens::Tokenizer;
use crate::vectors::Vectors;
use crate::windows::Windowing;

/// Tokens encoded together, as in `extract` where nothing is said; the number of them changes no bit.
const BATCH_TOKENS: usize = 4096;

/// Texts that are ready to be encoded again.
pub(super) struct Recomputation {
    plan: Plan,
    config: Config,
    weights: Weights,
    instruction_set: InstructionSet,
    texts: Vec<Chosen>,
    spool: spool::Reader,
    /// Tokens of all of them.
    tokens: u64,
}

impl Recomputation {
    /// Chooses `count` texts of a directory, with a manifest in which nothing is wrong, and reads them.
    ///
    /// # Errors
    /// What is not the program, the model or the input that the directory was made with, and those of reading these.
    pub(super) fn prepare(args: &VerifyArgs, count: u64, contents: &Contents, console: &Console) -> Result<Self> {
        let directory = args.directory.as_path();
        let instruction_set = InstructionSet::from_env(contents.plan.compute)?;
        check_program(directory, contents, instruction_set)?;
        let input = open_input(args, &contents.plan)?;
        let checkpoint = find_model(args, &contents.origin, console)?;
        let sentence = contents.plan.emits(Emit::Sentence);
        let sentence = sentence.then(|| checkpoint.sentence_recipe()).transpose()?;
        let keys = sentence.as_ref().map(|recipe| recipe.config.clone()).unwrap_or_default();
        let (config, weights) = (checkpoint.config_with(&keys)?, checkpoint.weights()?);
        let mut plan = Plan { sentence, ..contents.plan.clone() };
        check_plan(directory, contents, &plan, &config)?;
        plan.check_model(&config, encoder::has_pooler(&weights))?;
        encoder::check(&weights, &config, plan.deepest(), plan.emits(Emit::Pooler))?;
        let tokenizer = load_tokenizer(&checkpoint, &config, &mut plan)?;
        let sample = Sample::new(count, contents.counts.texts, args.seed);
        let (texts, tokens, spool) = read(directory, &input, contents, &plan, sample, &tokenizer, console)?;
        Ok(Self { plan, config, weights, instruction_set, texts, spool, tokens })
    }

    /// How many texts there are.
    pub(super) fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Encodes the texts and compares their vectors with those of the directory.
    ///
    /// # Errors
    /// Those of the encoder and of reading back what was tokenized.
    pub(super) fn compare(self, directory: &Path, contents: &Contents, console: &Console) -> Result<Vec<Damage>> {
        let Self { plan, config, weights, instruction_set, texts, spool, tokens } = self;
        let settings = Settings {
            deepest: plan.deepest(),
            pooler: plan.emits(Emit::Pooler),
            compute: plan.compute,
            ops: Ops::Kernels,
            instruction_set,
        };
        let encoder = Encoder::load(&weights, &config, settings)?;
        let mut comparison = Comparison::new(directory, contents, &plan, &texts);
        let mut vectors = Vectors::new(&plan);
        let bar = console.tokens_bar(tokens);
        let mut done = 0;
        for batch in Batches::new(spool, plan.windowing(), limits(&plan, BATCH_TOKENS, false)) {
            let batch = batch.map_err(Error::io("read", "back the temporary file of tokenized texts"))?;
            let encoded = encode_batch(&encoder, &batch, &mut vectors, done, &mut comparison, || Ok(()));
            encoded.map_err(|error| match error {
                Error::NotFinite { layer, row } => {
                    let text = texts.get(row as usize).map_or(row, |chosen| chosen.text);
                    Error::NotFinite { layer, row: contents.first_row + text }
                }
                error => error,
            })?;
            done += batch.texts() as u64;
            bar.inc(batch.tokens() as u64 + batch.repeated_tokens);
        }
        bar.finish_and_clear();
        comparison.finish()
    }
}

/// Refuses what another program made: its bits may be right and differ from ours.
fn check_program(directory: &Path, contents: &Contents, ours: InstructionSet) -> Result<()> {
    let refuse = |problem: String| Err(Error::Output { path: directory.to_owned(), problem });
    let Origin { layerwise, instruction_set, .. } = &contents.origin;
    let (version, ours) = (env!("CARGO_PKG_VERSION"), ours.name());
    if layerwise != version {
        return refuse(format!(
            "was written by layerwise {layerwise}, and this is {version}, whose bits may differ; use --recompute of that version"
        ));
    }
    if contents.plan.device != DeviceKind::Cpu {
        let device = contents.plan.device.name();
        return refuse(format!(
            "was computed on --device {device}, where the last digits of a text's numbers may depend on its batch; --recompute compares bits, so it is for jobs of the CPU"
        ));
    }
    if instruction_set != ours {
        return refuse(format!(
            "was computed with the instruction set {instruction_set}, and here it would be {ours}; bits are compared with one alone, so use --recompute on a machine that has it, with LAYERWISE_ISA={instruction_set}"
        ));
    }
    Ok(())
}

/// The input, taken as the plan says.
fn open_input(args: &VerifyArgs, plan: &Plan) -> Result<Input> {
    let sources = match &args.input[..] {
        [] if io::stdin().is_terminal() => {
            return Err(Error::Usage(
                "--recompute needs the input that extract had: name it with -i, or pipe it in (-i - reads the terminal)"
                    .to_owned(),
            ));
        }
        [] => vec![Source::Stdin],
        paths => paths.iter().map(|path| Source::of_path(path)).collect(),
    };
    // Several formats were told by the names of the files; one may have been an option.
    let format = if let [format] = plan.input_format[..] { Some(format) } else { None };
    Input::new(sources, format, plan.columns.clone())
}

/// The model that the directory was made with, to the byte.
fn find_model(args: &VerifyArgs, origin: &Origin, console: &Console) -> Result<Checkpoint> {
    let identity = &origin.model;
    let model = args.model.as_deref().unwrap_or(&identity.id);
    // A commit is one of the hub's, under the id that it was found with.
    let is_of_hub = model == identity.id && model != BUNDLED && !Path::new(model).exists();
    let checkpoint = Checkpoint::find(&checkpoint::Request {
        model,
        revision: identity.revision.as_deref().filter(|_| is_of_hub),
        offline: args.offline,
        show_progress: console.shows_progress(),
    })
    .map_err(|error| match error {
        Error::Hub(error) if args.model.is_none() => {
            let directory = args.directory.display();
            Error::model(
                model,
                format!("made {directory} and is not there: {error}; or name it with -m where it is now"),
            )
        }
        error => error,
    })?;
    checkpoint.notes.iter().for_each(|note| console.note(note));
    let found = checkpoint.digests()?;
    let names = found.keys().chain(identity.sha256.keys().filter(|name| !found.contains_key(*name)));
    let differing: Vec<&str> =
        names.filter(|name| found.get(*name) != identity.sha256.get(*name)).map(String::as_str).collect();
    if differing.is_empty() {
        return Ok(checkpoint);
    }
    let directory = args.directory.display();
    Err(Error::model(
        model,
        format!(
            "is not the model that {directory} was made with: {} differ; name that model with -m",
            differing.join(", ")
        ),
    ))
}

/// Refuses a manifest that says of the model what it is not.
fn check_plan(directory: &Path, contents: &Contents, plan: &Plan, config: &Config) -> Result<()> {
    let refuse = |problem: String| Err(Error::Output { path: directory.join(MANIFEST), problem });
    for (key, found, expected) in [
        ("hidden_size", plan.hidden_size, config.hidden_size),
        ("num_hidden_layers", plan.num_hidden_layers, config.num_hidden_layers),
    ] {
        if found != expected {
            return refuse(format!("model.{key} is {found}; by its config.json the model has {expected}"));
        }
    }
    let regions = contents.files.iter().flat_map(|file| &file.regions);
    let arrays = regions.filter_map(|region| match region.holds {
        Holds::Vectors { columns, .. } => Some((region, columns)),
        Holds::Offsets { .. } => None,
    });
    for (array, (region, columns)) in plan.arrays().iter().zip(arrays) {
        if array.columns != columns {
            let expected = array.columns;
            return refuse(format!("{} has {columns} columns; the model's has {expected}", region.place));
        }
    }
    Ok(())
}

/// Reads the input to its end, which must be that of the directory, and tokenizes the chosen texts. Also says how many tokens
/// they are.
fn read(
    directory: &Path,
    input: &Input,
    contents: &Contents,
    plan: &Plan,
    sample: Sample,
    tokenizer: &Tokenizer,
    console: &Console,
) -> Result<(Vec<Chosen>, u64, spool::Reader)> {
    let unwritable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
    let spinner = console.texts_spinner();
    let (mut digest, mut spool, mut texts) = (Sha256::new(), spool::Writer::temporary(), Vec::new());
    let mut sample = sample.peekable();
    let (mut row, mut tokens) = (0, 0);
    for piece in input::read_ahead(input.read()) {
        for record in piece? {
            record.digest_into(&mut digest);
            if let Some(text) = u64::checked_sub(row, contents.first_row)
                && sample.next_if_eq(&text).is_some()
            {
                let encoded = tokenizer.encode(row, &record.text, record.pair.as_ref())?;
                let counts = TextCounts::of(&encoded);
                check_room(plan, row, contents, counts)?;
                spool.write(counts, &encoded.tokens).map_err(unwritable)?;
                tokens += counts.windows(plan.windowing()).tokens() as u64;
                texts.push(Chosen::new(text, counts, plan.special_tokens));
            }
            row += 1;
        }
        spinner.set_position(row);
    }
    spinner.finish_and_clear();
    if checkpoint::hex(&digest.finalize()) == contents.origin.input_sha256 {
        return Ok((texts, tokens, spool.finish().map_err(unwritable)?));
    }
    let problem = format!(
        "{} texts that are not the input {} was made of; name that with -i, its files in the same order",
        if row == 1 { "holds 1 text,".to_owned() } else { format!("holds {row}") },
        directory.display()
    );
    Err(Error::Input { source_name: input.names(), problem })
}

/// A text that cannot be cut into windows was refused by the job, and so is none of it.
fn check_room(plan: &Plan, row: u64, contents: &Contents, counts: TextCounts) -> Result<()> {
    let lacks_room = |windowing: Windowing| {
        windowing.lacks_room(counts.tokens as usize + counts.tokens_cut as usize, &counts.longer())
    };
    match plan.windowing().and_then(lacks_room) {
        None => Ok(()),
        Some(room) => Err(Error::NoRoom {
            count: 1,
            texts: contents.counts.texts,
            max_length: plan.max_length,
            examples: format!("row {row} ({room} tokens)"),
        }),
    }
}
