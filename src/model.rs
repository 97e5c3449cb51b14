//! A model that can be held in the hand: its files found, its weights and tokenizer loaded as they are needed, its threads.

use std::ffi::OsStr;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::{SentenceDefaults, SentenceRecipe, TokenizerArguments};
use crate::checkpoint::weights::Weights;
use crate::checkpoint::{Checkpoint, ModelLocation};
use crate::embeddings::Embeddings;
use crate::encode::{EncodePass, limits};
use crate::encoder::{self, Encoder, EncoderSettings, Ops};
use crate::error::{Error, Result};
use crate::input::Record;
use crate::kernels::InstructionSet;
use crate::observer::{Observer, Unobserved, Unseen};
use crate::plan::{Plan, PlannedModel};
use crate::request::Request;
use crate::sink::Sink;
use crate::spec::{Compute, DeviceKind, DeviceSelection, Overflow, VectorKind};
use crate::tokens::{Encoded, Tokenizer};
use crate::windows::Windowing;

/// Texts that are tokenized together, on all threads, by [`Model::encode_into`].
const TEXTS_PER_PIECE: usize = 1024;

/// A model: it owns its weights, its tokenizer, its encoder and its threads.
///
/// It can be used from several threads at once, and there can be several in a process, each with its own threads, arithmetic
/// and instruction set. Parts of it are loaded when they are first needed, and stay until it is dropped.
///
/// ```
/// use layerwise::{Model, Request, VectorKind::{Mean, Token}};
///
/// # fn main() -> layerwise::Result<()> {
/// let model = Model::open("bundled")?;
/// let request = Request { kinds: vec![Mean, Token], ..Request::default() };
/// let out = model.encode(["The bank of the river.", "A bank account."], &request)?;
///
/// let layer_2 = out.get(Mean, 2)?; // (texts, hidden_size)
/// assert_eq!(layer_2.shape(), [2, model.hidden_size()]);
/// let tokens = out.get(Token, 2)?; // (tokens of all texts, hidden_size)
/// let of_first_text = out.rows_of(Token, 0);
/// assert_eq!(out.tokens(0).len(), of_first_text.len());
/// assert_eq!(tokens.nrows(), out.rows_of(Token, 1).end);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    checkpoint: Checkpoint,
    config: Config,
    weights: Arc<Weights>,
    settings: EncoderSettings,
    device: DeviceKind,
    /// The deepest layer that requests may ask for.
    deepest: usize,
    pool: ThreadPool,
    observer: Arc<dyn Observer>,
    /// By configuration: one, and another where the settings of sentence embeddings change it.
    encoders: Mutex<Vec<Arc<Encoder>>>,
    tokenizers: Mutex<Vec<(TokenizerKey, Arc<Tokenizer>)>>,
}

/// What decides how a plan's texts are tokenized.
#[derive(Debug, Clone, PartialEq)]
struct TokenizerKey {
    arguments: TokenizerArguments,
    max_length: usize,
    prompt: String,
    windowing: Option<Windowing>,
}

/// How a model is to be opened. Made by [`Model::builder`].
#[derive(Clone)]
pub struct ModelBuilder {
    model: String,
    revision: Option<String>,
    offline: bool,
    compute: Compute,
    device: DeviceSelection,
    threads: Option<usize>,
    deepest: Option<usize>,
    instruction_set: Option<String>,
    observer: Arc<dyn Observer>,
}

impl ModelBuilder {
    /// The hub's branch, tag or commit; `main` where nothing is said.
    #[must_use]
    pub fn revision(self, revision: impl Into<String>) -> Self {
        Self { revision: Some(revision.into()), ..self }
    }

    /// Whether the network is never to be touched.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// The arithmetic of the matrix products; float32 where nothing is said.
    #[must_use]
    pub fn compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// What computes; the CPU where nothing is said.
    #[must_use]
    pub fn device(self, device: DeviceSelection) -> Self {
        Self { device, ..self }
    }

    /// Threads of the CPU; as many as there are cores where nothing is said. Their number changes no bit.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// The deepest layer that will be asked for, so that requests beyond it are refused; the last one where nothing is said.
    #[must_use]
    pub fn deepest(self, layer: usize) -> Self {
        Self { deepest: Some(layer), ..self }
    }

    /// The CPU's instruction set by its name, such as `avx2`; where nothing is said, what the variable `LAYERWISE_ISA` names,
    /// else the best there is. But for bfloat16 with tiles, it changes no bit.
    #[must_use]
    pub fn instruction_set(self, name: impl Into<String>) -> Self {
        Self { instruction_set: Some(name.into()), ..self }
    }

    /// Who is told what happens: notes on the model, downloads, texts that are cut. Nobody where nothing is said.
    #[must_use]
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Finds the model, downloading what is missing, and reads its configuration and what tensors it has. Weights and
    /// tokenizer are read when they are first needed.
    ///
    /// # Errors
    /// [`Error::Hub`] when it cannot be had, [`Error::Model`], [`Error::Config`] and [`Error::Tensor`] when it is damaged or
    /// asks for something that is not computed here, [`Error::Usage`] for a device or threads that there are not.
    pub fn open(self) -> Result<Model> {
        let Self { model, revision, offline, compute, device, threads, deepest, instruction_set, observer } = self;
        if compute != Compute::F32 && device.kind != DeviceKind::Cpu {
            return Err(Error::Usage(format!(
                "--compute bf16 is an arithmetic of the CPU; --device {device} computes in float32"
            )));
        }
        let instruction_set = match &instruction_set {
            Some(name) => InstructionSet::choose(compute, Some(OsStr::new(name)))?,
            None => InstructionSet::from_env(compute)?,
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .build()
            .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))?;
        let location = ModelLocation { model: &model, revision: revision.as_deref(), offline, observer: &*observer };
        let checkpoint = Checkpoint::find(&location)?;
        checkpoint.notes.iter().for_each(|note| observer.note(note));
        let config = checkpoint.config()?;
        let weights = Arc::new(checkpoint.weights()?);
        let settings = EncoderSettings { compute, ops: Ops::open(device)?, instruction_set };
        if device.kind != DeviceKind::Cpu {
            observer.note(&format!(
                "on --device {device} the last digits of a text's numbers may depend on its batch; on the CPU they never do"
            ));
        }
        let deepest = deepest.unwrap_or(config.num_hidden_layers).min(config.num_hidden_layers);
        Ok(Model {
            checkpoint,
            config,
            weights,
            settings,
            device: device.kind,
            deepest,
            pool,
            observer,
            encoders: Mutex::default(),
            tokenizers: Mutex::default(),
        })
    }
}

impl Model {
    /// Opens a model: `bundled`, a folder, or an id on the Hugging Face hub.
    ///
    /// # Errors
    /// As [`ModelBuilder::open`].
    pub fn open(model: impl Into<String>) -> Result<Self> {
        Self::builder(model).open()
    }

    /// The same with a revision, an arithmetic, a number of threads and so on.
    pub fn builder(model: impl Into<String>) -> ModelBuilder {
        ModelBuilder {
            model: model.into(),
            revision: None,
            offline: false,
            compute: Compute::F32,
            device: DeviceSelection::default(),
            threads: None,
            deepest: None,
            instruction_set: None,
            observer: Arc::new(Unobserved),
        }
    }

    /// The name that it was opened by.
    pub fn id(&self) -> &str {
        &self.checkpoint.id
    }

    /// The commit, for a model of the hub.
    pub fn revision(&self) -> Option<&str> {
        self.checkpoint.revision.as_deref()
    }

    /// Width of a hidden state.
    pub fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Encoder layers; hidden states are numbered from 0 to this.
    pub fn num_hidden_layers(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// The longest text in tokens, special tokens included.
    pub fn max_position_embeddings(&self) -> usize {
        self.config.max_position_embeddings
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The instruction set that computes.
    pub fn instruction_set(&self) -> &'static str {
        self.settings.instruction_set.name()
    }

    /// A request resolved against this model: every default filled in, and refused where the model cannot do it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer, a length or a kind of vector that the model does not have and for settings that do not
    /// go together; [`Error::Config`] and [`Error::Tensor`] for what is wrong with the parts of the model that it needs.
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        let of_sentences = request.kinds.contains(&VectorKind::Sentence);
        let sentence = self.sentence_recipe(of_sentences)?;
        let wants_defaults = of_sentences || request.prompt_name.is_some();
        let defaults = if wants_defaults { self.checkpoint.sentence_defaults()? } else { SentenceDefaults::default() };
        let config = match &sentence {
            Some(recipe) => &self.checkpoint.config_with(&recipe.config)?,
            None => &self.config,
        };
        let (compute, device) = (self.settings.compute, self.device);
        let has_pooler = encoder::has_pooler(&self.weights);
        let plan = Plan::resolve(request, PlannedModel { config, compute, device, has_pooler, sentence, defaults })?;
        self.check(&plan)?;
        Ok(plan)
    }

    /// How the model makes a sentence embedding, where one is wanted.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Model`] where it makes none that can be computed here.
    pub(crate) fn sentence_recipe(&self, is_wanted: bool) -> Result<Option<SentenceRecipe>> {
        is_wanted.then(|| self.checkpoint.sentence_recipe()).transpose()
    }

    /// Refuses a plan that this model cannot carry out, such as one that was made for another.
    ///
    /// # Errors
    /// As [`Model::plan`].
    pub(crate) fn check(&self, plan: &Plan) -> Result<()> {
        let config = self.config_of(plan)?;
        plan.check_model(&config, encoder::has_pooler(&self.weights))?;
        if plan.deepest() > self.deepest {
            return Err(Error::Usage(format!(
                "layer {} is deeper than layer {}, which the model was opened for",
                plan.deepest(),
                self.deepest
            )));
        }
        encoder::check(&self.weights, &config, plan.deepest(), plan.has(VectorKind::Pooler))
    }

    /// The vectors of some texts, in memory.
    ///
    /// A text is a string, a pair of strings, or a [`Record`].
    ///
    /// # Errors
    /// As [`Model::plan`]; [`Error::TooLong`] and [`Error::NoRoom`] where the request says that texts must not be cut;
    /// [`Error::NotFinite`] for a model that overflows on a text.
    pub fn encode<T: Into<Record>>(&self, texts: impl IntoIterator<Item = T>, request: &Request) -> Result<Embeddings> {
        let mut embeddings = Embeddings::new();
        let texts: Vec<Record> = texts.into_iter().map(Into::into).collect();
        self.encode_into(texts, request, &mut embeddings)?;
        Ok(embeddings)
    }

    /// Encodes texts as they come and hands their vectors to a sink, in their order: in memory that does not grow with their
    /// number.
    ///
    /// # Errors
    /// As [`Model::encode`], and those of the sink.
    pub fn encode_into<T: Into<Record>>(
        &self,
        texts: impl IntoIterator<Item = T, IntoIter: Send>,
        request: &Request,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let plan = self.plan(request)?;
        let mut texts = texts.into_iter();
        self.install(move || {
            let (tokenizer, plan) = self.tokenizer(plan)?;
            self.encoder(&plan)?.load(plan.deepest(), plan.has(VectorKind::Pooler))?;
            self.encode_planned(&plan, &tokenizer, (request.batch_tokens, 0), || texts.next().map(Into::into), sink)
        })
    }

    /// As [`Model::encode`] for a few texts of which nothing is to stay in memory: layers are read when their turn comes, and of
    /// the embeddings only the rows that the texts need.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub(crate) fn encode_once<'a>(
        &self,
        texts: impl Iterator<Item = &'a str> + Send,
        request: &Request,
    ) -> Result<Embeddings> {
        let plan = self.plan(request)?;
        let mut texts = texts.map(Record::from);
        self.install(move || {
            let (tokenizer, plan) = self.tokenizer(plan)?;
            let mut embeddings = Embeddings::new();
            self.encode_planned(&plan, &tokenizer, (request.batch_tokens, 0), || texts.next(), &mut embeddings)?;
            Ok(embeddings)
        })
    }

    /// Encodes texts by a plan, with what is loaded of the encoder; what is not is read for each batch. Rows in messages are
    /// counted from `first_row`.
    ///
    /// # Errors
    /// As [`Model::encode_into`].
    pub(crate) fn encode_planned(
        &self,
        plan: &Plan,
        tokenizer: &Tokenizer,
        (batch_tokens, first_row): (u32, u64),
        mut next: impl FnMut() -> Option<Record>,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let encoder = self.encoder(plan)?;
        sink.begin(plan)?;
        let mut row = first_row;
        loop {
            let piece: Vec<Record> = std::iter::from_fn(&mut next).take(TEXTS_PER_PIECE).collect();
            if piece.is_empty() {
                return Ok(());
            }
            let encoded: Vec<Result<Encoded>> = piece
                .par_iter()
                .enumerate()
                .map(|(index, record)| {
                    let row = row + index as u64;
                    let encoded = tokenizer.encode_record(row, record)?;
                    refuse_too_long(&encoded, row, plan)?;
                    Ok(encoded)
                })
                .collect();
            let encoded = encoded.into_iter().collect::<Result<Vec<_>>>()?;
            encoded.iter().try_for_each(|encoded| sink.take_text(encoded))?;
            let texts = encoded.len() as u64;
            let pass = EncodePass {
                encoder: &encoder,
                plan,
                limits: limits(plan, batch_tokens, false),
                first_row: row,
                texts,
                done: 0,
                way_on: Error::START_OVER,
            };
            let tokens = encoded.into_iter().map(|encoded| Ok(encoded.tokens));
            pass.run(tokens, sink, &*self.observer, &Unseen)?;
            row += texts;
        }
    }

    /// Runs something on the model's threads.
    pub(crate) fn install<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        self.pool.install(run)
    }

    /// The files it was opened from.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its configuration, as `config.json` has it.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Its tensors.
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Who watches.
    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// The configuration of a plan: the settings of sentence embeddings go before those of `config.json`.
    fn config_of(&self, plan: &Plan) -> Result<Config> {
        match &plan.sentence {
            Some(recipe) => self.checkpoint.config_with(&recipe.config),
            None => Ok(self.config.clone()),
        }
    }

    /// The encoder of a plan; nothing may be loaded of it yet.
    ///
    /// # Errors
    /// As [`Model::plan`].
    pub(crate) fn encoder(&self, plan: &Plan) -> Result<Arc<Encoder>> {
        let config = self.config_of(plan)?;
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = encoders.iter().find(|encoder| *encoder.config() == config) {
            return Ok(Arc::clone(encoder));
        }
        let encoder = Arc::new(Encoder::new(Arc::clone(&self.weights), config, self.settings.clone()));
        encoders.push(Arc::clone(&encoder));
        Ok(encoder)
    }

    /// The tokenizer of a plan's texts; the plan learns how many tokens its prompt takes.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Config`] when it cannot be used, [`Error::Usage`] when the plan leaves no room for text.
    pub(crate) fn tokenizer(&self, plan: Plan) -> Result<(Arc<Tokenizer>, Plan)> {
        let key = TokenizerKey {
            arguments: plan.sentence.as_ref().map(|recipe| recipe.tokenizer.clone()).unwrap_or_default(),
            max_length: plan.max_length,
            prompt: plan.prompt.clone().unwrap_or_default(),
            windowing: plan.windowing(),
        };
        let lock = || self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|(known, _)| *known == key).map(|(_, tokenizer)| Arc::clone(tokenizer));
        let tokenizer = match known {
            Some(tokenizer) => tokenizer,
            None => {
                // Loaded without holding the lock. Where two threads do it at once, the two tokenizers are equal.
                let tokenizer = Arc::new(self.load_tokenizer(&key)?);
                lock().push((key, Arc::clone(&tokenizer)));
                tokenizer
            }
        };
        let prompt_tokens = tokenizer.prompt_length()?;
        Ok((tokenizer, Plan { prompt_tokens, ..plan }))
    }

    fn load_tokenizer(&self, key: &TokenizerKey) -> Result<Tokenizer> {
        let Config { vocab_size, type_vocab_size, .. } = self.config;
        let tokenizer = Tokenizer::load_with(&self.checkpoint, vocab_size, key.max_length, &key.arguments)?
            .with_type_vocab_size(type_vocab_size)
            .with_prompt(&key.prompt);
        match key.windowing {
            Some(windowing) => tokenizer.with_windows(windowing),
            None => Ok(tokenizer),
        }
    }

    /// The tokenizer of a plan, and what `meanwhile` gives, such as the digests of the model's files. Reading `tokenizer.json`
    /// takes one thread tens of milliseconds, and digests more: the others begin with the layers meanwhile.
    ///
    /// # Errors
    /// As [`Model::tokenizer`], those of `meanwhile`, and those of layers that are damaged.
    pub(crate) fn warm_up<T: Send>(
        &self,
        plan: Plan,
        meanwhile: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(Arc<Tokenizer>, Plan, T)> {
        let (encoder, deepest) = (self.encoder(&plan)?, plan.deepest());
        let is_ready = AtomicBool::new(false);
        let get_ready = || {
            let ready = self.tokenizer(plan).and_then(|(tokenizer, plan)| Ok((tokenizer, plan, meanwhile()?)));
            is_ready.store(true, Ordering::Relaxed);
            ready
        };
        let is_enough = || is_ready.load(Ordering::Relaxed);
        let (ready, preloaded) = rayon::join(get_ready, || encoder.preload(deepest, is_enough));
        let ready = ready?;
        preloaded.map(|()| ready)
    }
}

/// Refuses a text that must not be cut, and one that cannot be cut into windows.
fn refuse_too_long(encoded: &Encoded, row: u64, plan: &Plan) -> Result<()> {
    let (length, max_length) = (encoded.length_before_truncation, plan.max_length);
    if plan.overflow == Overflow::Error && length > max_length {
        return Err(Error::TooLong {
            count: 1,
            texts: 1,
            max_length,
            examples: format!("row {row} ({length} tokens)"),
        });
    }
    let lacks_room = |windowing: Windowing| windowing.lacks_room(length, &encoded.tokens.longer);
    match plan.windowing().and_then(lacks_room) {
        None => Ok(()),
        Some(room) => {
            Err(Error::NoRoom { count: 1, texts: 1, max_length, examples: format!("row {row} ({room} tokens)") })
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("id", &self.checkpoint.id).field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for ModelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelBuilder").field("model", &self.model).finish_non_exhaustive()
    }
}
