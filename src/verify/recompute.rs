//! `--recompute`: encodes some texts again and compares every bit of their vectors.
//!
//! Anything that could change bits is refused first: another input, model, version or instruction set. A difference is
//! therefore a damage of the directory.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::chosen::Chosen;
use super::comparison::Comparison;
use super::sample::Sample;
use crate::checkpoint::BUNDLED;
use crate::checkpoint::config::Config;
use crate::counts::TextCounts;
use crate::directory::contents::{Contents, Origin};
use crate::directory::damage::Damage;
use crate::directory::names::MANIFEST;
use crate::directory::plan_record::DirectoryPlan;
use crate::encode::{BatchSizes, EncodePass, limits};
use crate::error::{Error, Result};
use crate::input::{Input, InputRecord, Source};
use crate::model::Model;
use crate::observer::{Observer, Work};
use crate::plan::Plan;
use crate::spec::{DeviceKind, Format, VectorKind};
use crate::spool::{SpoolReader, SpoolWriter};
use crate::tokens::Tokenizer;

/// The texts to encode again, and where input and model are.
#[derive(Debug, Clone)]
pub struct RecomputeRequest {
    /// Number of texts.
    pub texts: u64,
    /// The input as the job had it; without any the request is refused.
    pub input: Vec<Source>,
    /// The model's present location; by default the one in the manifest.
    pub model: Option<String>,
    /// The seed that chooses the texts.
    pub seed: u64,
    /// Whether to work without the network.
    pub offline: bool,
}

/// The chosen texts, tokenized and ready to be encoded.
pub(super) struct Recomputation {
    model: Model,
    plan: Plan,
    texts: Vec<Chosen>,
    spool: SpoolReader,
    /// Number of tokens of all of them.
    tokens: u64,
}

impl Recomputation {
    /// Chooses texts of a directory, whose manifest is sound, and reads them.
    ///
    /// # Errors
    /// [`Error::Output`] for another program, model or input than the directory was made with; those of reading model
    /// and input.
    pub(super) fn prepare(
        directory: &Path,
        request: &RecomputeRequest,
        contents: &Contents,
        observer: &Arc<dyn Observer>,
    ) -> Result<Self> {
        check_format(directory, contents)?;
        check_program(directory, contents)?;
        let input = open_input(request, &contents.plan)?;
        let model = find_model(directory, request, contents, observer)?;
        let sentence = model.sentence_recipe(contents.plan.has(VectorKind::Sentence))?;
        let plan = Plan { sentence, ..contents.plan.plan.clone() };
        check_plan(directory, contents, &plan, model.config())?;
        model.check(&plan)?;
        model
            .install(|| {
                let (tokenizer, plan) = model.tokenizer(plan)?;
                if input.columns().pair_column.is_some() {
                    tokenizer.check_pairs()?;
                }
                let sample = Sample::new(request.texts, contents.counts.texts, request.seed);
                let (texts, tokens, spool) = read(directory, &input, contents, &plan, sample, &tokenizer, &**observer)?;
                Ok((plan, texts, tokens, spool))
            })
            .map(|(plan, texts, tokens, spool)| Self { model, plan, texts, spool, tokens })
    }

    /// Number of texts.
    pub(super) fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Encodes the texts and compares their vectors with those of the directory.
    ///
    /// # Errors
    /// Those of the encoder, and the error of reading the tokens back.
    pub(super) fn compare(self, directory: &Path, contents: &Contents) -> Result<Vec<Damage>> {
        let Self { model, plan, texts, spool, tokens } = self;
        let mut comparison = Comparison::new(directory, contents, &plan, &texts)?;
        let progress = model.observer().begin(Work::Encoding { tokens, done: 0 });
        let unreadable = |error| Error::io("read", "back the temporary file of tokenized texts")(error);
        let encoded = model.install(|| {
            let encoder = model.load(&plan)?;
            let pass = EncodePass {
                encoder: &encoder,
                plan: &plan,
                sizes: &mut BatchSizes::largest(limits(&plan, model.batch_tokens(None), false)),
                first_row: 0,
                texts: texts.len() as u64,
                done: 0,
                tokens_done: 0,
                part_texts: None,
                way_on: Error::START_OVER,
            };
            let tokens = spool.map(|tokens| tokens.map_err(unreadable));
            pass.run(tokens, &mut comparison, model.observer(), &*progress)
        });
        encoded.map_err(|error| match error {
            Error::NotFinite { layer, row } => {
                let text = texts.get(row as usize).map_or(row, |chosen| chosen.text);
                Error::NotFinite { layer, row: contents.first_row + text }
            }
            error => error,
        })?;
        comparison.finish()
    }
}

/// Refuses Parquet files in a build that does not read them.
fn check_format(directory: &Path, contents: &Contents) -> Result<()> {
    if contents.plan.format == Format::Parquet && !cfg!(feature = "parquet") {
        return Err(Error::no_parquet(&directory.display().to_string()));
    }
    Ok(())
}

/// Refuses a directory of another version, whose correct bits may differ.
fn check_program(directory: &Path, contents: &Contents) -> Result<()> {
    let refuse = |problem: String| Err(Error::Output { path: directory.to_owned(), problem });
    let Origin { layerwise, .. } = &contents.origin;
    let version = env!("CARGO_PKG_VERSION");
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
    Ok(())
}

/// Refuses a machine that would compute with another instruction set.
fn check_instruction_set(directory: &Path, contents: &Contents, model: &Model) -> Result<()> {
    let (theirs, ours) = (&contents.origin.instruction_set, model.instruction_set());
    if theirs == ours {
        return Ok(());
    }
    Err(Error::Output {
        path: directory.to_owned(),
        problem: format!(
            "was computed with the instruction set {theirs}, and here it would be {ours}; bits are compared with one alone, so use --recompute on a machine that has it, with LAYERWISE_ISA={theirs}"
        ),
    })
}

/// Opens the input with the formats and columns of the plan.
fn open_input(request: &RecomputeRequest, plan: &DirectoryPlan) -> Result<Input> {
    if request.input.is_empty() {
        return Err(Error::Usage(
            "--recompute needs the input that extract had: name it with -i, or pipe it in (-i - reads the terminal)"
                .to_owned(),
        ));
    }
    // Several formats were told by the names of the files; one may have been an option.
    let format = if let [format] = plan.input_format[..] { Some(format) } else { None };
    Input::new(request.input.clone(), format, plan.columns.clone())?.on_bad_line(plan.on_bad_line)
}

/// Opens the model and checks that its files are those that the directory was made with.
fn find_model(
    directory: &Path,
    request: &RecomputeRequest,
    contents: &Contents,
    observer: &Arc<dyn Observer>,
) -> Result<Model> {
    let identity = &contents.origin.model;
    let name = request.model.as_deref().unwrap_or(&identity.id);
    // A commit belongs to the hub, and to the id that the model was opened by.
    let is_of_hub = name == identity.id && name != BUNDLED && !Path::new(name).exists();
    let builder = Model::builder(name).compute(contents.plan.compute).offline(request.offline);
    let builder = match identity.revision.as_deref().filter(|_| is_of_hub) {
        Some(revision) => builder.revision(revision),
        None => builder,
    };
    let model = builder.observer(Arc::clone(observer)).open().map_err(|error| match error {
        Error::Hub(error) if request.model.is_none() => Error::model(
            name,
            format!("made {} and is not there: {error}; or name it with -m where it is now", directory.display()),
        ),
        error => error,
    })?;
    check_instruction_set(directory, contents, &model)?;
    let found = model.checkpoint().digests()?;
    let names = found.keys().chain(identity.sha256.keys().filter(|name| !found.contains_key(*name)));
    let differing: Vec<&str> =
        names.filter(|name| found.get(*name) != identity.sha256.get(*name)).map(String::as_str).collect();
    if differing.is_empty() {
        return Ok(model);
    }
    Err(Error::model(
        name,
        format!(
            "is not the model that {} was made with: {} differ; name that model with -m",
            directory.display(),
            differing.join(", ")
        ),
    ))
}

/// Refuses a manifest that contradicts the model.
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
    for (array, described) in plan.arrays().iter().zip(&contents.planned) {
        if array.columns != described.columns {
            let place = described.place(contents.plan.format);
            let (found, expected) = (described.columns, array.columns);
            return refuse(format!("{place} has {found} columns; the model's has {expected}"));
        }
    }
    Ok(())
}

/// Reads the input to its end, checks that it is that of the directory, and tokenizes the chosen texts. Also returns
/// their number of tokens.
fn read(
    directory: &Path,
    input: &Input,
    contents: &Contents,
    plan: &Plan,
    sample: Sample,
    tokenizer: &Tokenizer,
    observer: &dyn Observer,
) -> Result<(Vec<Chosen>, u64, SpoolReader)> {
    let unwritable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
    let progress = observer.begin(Work::Tokenizing);
    let (mut digest, mut spool, mut texts) = (Sha256::new(), SpoolWriter::temporary(), Vec::new());
    let mut sample = sample.peekable();
    let (mut row, mut tokens) = (0, 0);
    let pieces = input.pieces();
    let interrupted = |signal, texts| Error::Interrupted { signal, done: 0, texts, way_on: Error::START_OVER };
    while let Some(piece) = pieces.next(observer, |signal| interrupted(signal, row))? {
        for record in piece {
            record.digest_into(&mut digest);
            if let Some(text) = u64::checked_sub(row, contents.first_row)
                && sample.next_if_eq(&text).is_some()
            {
                let encoded = tokenizer.encode_record(row, &record)?;
                let counts = TextCounts::of(&encoded);
                check_room(plan, row, contents, counts)?;
                spool.write(counts, &encoded.tokens).map_err(unwritable)?;
                tokens += counts.windows(plan.windowing()).tokens() as u64;
                texts.push(Chosen::new(text, counts, plan.special_tokens));
            }
            row += 1;
        }
        progress.reach(row);
    }
    drop(progress);
    if InputRecord::new(digest, pieces.skipped()) == contents.origin.input {
        return Ok((texts, tokens, spool.finish().map_err(unwritable)?));
    }
    let problem = format!(
        "{} texts that are not the input {} was made of; name that with -i, its files in the same order",
        if row == 1 { "holds 1 text,".to_owned() } else { format!("holds {row}") },
        directory.display()
    );
    Err(Error::Input { source_name: input.names(), problem })
}

/// Refuses a text that cannot be cut into windows, as the job would have refused it too.
fn check_room(plan: &Plan, row: u64, contents: &Contents, counts: TextCounts) -> Result<()> {
    match plan.lacks_room(counts.tokens as usize + counts.tokens_cut as usize, &counts.longer()) {
        None => Ok(()),
        Some(room) => Err(Error::NoRoom {
            count: 1,
            texts: contents.counts.texts,
            max_length: plan.max_length,
            examples: format!("row {row} ({room} tokens)"),
        }),
    }
}
