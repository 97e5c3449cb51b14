//! [`Model`], the entry point of the library: it finds a model's files, loads weights and tokenizer on first use, and
//! owns the threads that compute.

use std::borrow::{Borrow, Cow};
use std::ffi::OsStr;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::ThreadPool;

use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::{SentenceDefaults, SentenceRecipe, TokenizerArguments};
use crate::checkpoint::weights::Weights;
use crate::checkpoint::{Checkpoint, ModelLocation};
use crate::counts::TextCounts;
use crate::embeddings::Embeddings;
use crate::encode::{BatchSizes, EncodePass, limits};
use crate::encoder::{self, Encoder, EncoderSettings, Ops};
use crate::error::{Error, Result};
use crate::input::Record;
use crate::kernels::InstructionSet;
use crate::observer::{Observer, Unobserved, Unseen, Work};
use crate::plan::{Plan, PlannedModel};
use crate::request::Request;
use crate::sink::Sink;
use crate::spec::{Compute, DeviceKind, DeviceSelection, VectorKind};
use crate::text_check::TextCheck;
use crate::threads::start_threads;
use crate::tokens::Tokenizer;
use crate::windows::Windowing;

/// How many texts [`Model::encode_into`] tokenizes together, on all threads, before it encodes them.
const TEXTS_PER_PIECE: usize = 1024;

/// A BERT model with its weights, tokenizer, encoder and threads.
///
/// A model can be used from several threads at once, and a process can hold several models, each with its own threads,
/// arithmetic and instruction set. Its parts are loaded on first use and stay loaded until it is dropped.
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
    /// The deepest layer that a request may ask for.
    deepest: usize,
    pool: ThreadPool,
    observer: Arc<dyn Observer>,
    /// The definition of the model's own sentence embedding, read when it is first asked for.
    sentence: OnceLock<SentenceRecipe>,
    /// One encoder for each configuration in use: the settings of sentence embeddings can change that of `config.json`.
    encoders: Mutex<Vec<Arc<Encoder>>>,
    tokenizers: Mutex<Vec<(TokenizerKey, Arc<Tokenizer>)>>,
}

/// Everything that decides how a plan's texts are tokenized.
#[derive(Debug, Clone, PartialEq)]
struct TokenizerKey {
    arguments: TokenizerArguments,
    max_length: usize,
    prompt: String,
    windowing: Option<Windowing>,
}

/// The settings with which a model is opened. Made by [`Model::builder`].
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
    /// The branch, tag or commit on the Hugging Face hub; `main` by default.
    #[must_use]
    pub fn revision(self, revision: impl Into<String>) -> Self {
        Self { revision: Some(revision.into()), ..self }
    }

    /// Whether to work without the network, from the cache alone; off by default.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// The arithmetic of the matrix products; float32 by default.
    #[must_use]
    pub fn compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// The device that computes; the CPU by default.
    #[must_use]
    pub fn device(self, device: DeviceSelection) -> Self {
        Self { device, ..self }
    }

    /// The number of CPU threads; by default one for each core. It changes no bit of the output.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// The deepest layer that will be asked for; the model's last one by default. Requests for deeper layers are
    /// refused.
    #[must_use]
    pub fn deepest(self, layer: usize) -> Self {
        Self { deepest: Some(layer), ..self }
    }

    /// The CPU's instruction set by name, such as `avx2`. By default it is the one that the environment variable
    /// `LAYERWISE_ISA` names, else the best one that the CPU has. Except for bfloat16 with tiles, it changes no bit of
    /// the output.
    #[must_use]
    pub fn instruction_set(self, name: impl Into<String>) -> Self {
        Self { instruction_set: Some(name.into()), ..self }
    }

    /// The observer that is told of notes on the model, downloads and cut texts; nobody by default.
    #[must_use]
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Finds the model, downloads missing files, and reads its configuration and the names and shapes of its tensors.
    /// Weights and tokenizer are read on first use.
    ///
    /// # Errors
    /// - [`Error::Hub`] when the files cannot be downloaded or found in the cache;
    /// - [`Error::Model`], [`Error::Config`] and [`Error::Tensor`] when the model is damaged or not supported;
    /// - [`Error::Usage`] for a device that does not exist, or threads that cannot be started.
    pub fn open(self) -> Result<Model> {
        let Self { model, revision, offline, compute, device, threads, deepest, instruction_set, observer } = self;
        if compute != Compute::F32 && device.kind != DeviceKind::Cpu {
            return Err(Error::Usage(format!(
                "--compute {} is an arithmetic of the CPU; --device {device} computes in float32",
                compute.name()
            )));
        }
        let instruction_set = match &instruction_set {
            Some(name) => InstructionSet::choose(compute, Some(OsStr::new(name)))?,
            None => InstructionSet::from_env(compute)?,
        };
        if compute != Compute::F32 && !instruction_set.gains_by(compute) {
            observer.note(&format!(
                "--compute {} is less exact than f32 and no faster on this processor ({})",
                compute.name(),
                instruction_set.name()
            ));
        }
        let pool = start_threads(threads)?;
        let location = ModelLocation { model: &model, revision: revision.as_deref(), offline, observer: &*observer };
        let checkpoint = Checkpoint::find(&location)?;
        checkpoint.notes.iter().for_each(|note| observer.note(note));
        let config = checkpoint.config()?;
        let weights = Arc::new(checkpoint.weights(config.family)?);
        let (asked, held) = (config.num_hidden_layers, encoder::layers_held(&weights));
        if asked < held {
            observer.note(&format!(
                "config.json of {} has num_hidden_layers {asked}, but its weights hold {held} encoder layers; those after layer {asked} are not used",
                checkpoint.id
            ));
        }
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
            sentence: OnceLock::new(),
            encoders: Mutex::default(),
            tokenizers: Mutex::default(),
        })
    }
}

impl Model {
    /// Opens a model: `bundled`, a folder, or an id on the Hugging Face hub.
    ///
    /// # Errors
    /// Those of [`ModelBuilder::open`].
    pub fn open(model: impl Into<String>) -> Result<Self> {
        Self::builder(model).open()
    }

    /// A builder for opening a model with other settings than the default, such as a revision or a number of threads.
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

    /// The name that the model was opened by.
    pub fn id(&self) -> &str {
        &self.checkpoint.id
    }

    /// The commit of a model from the hub; `None` for a folder or the bundled model.
    pub fn revision(&self) -> Option<&str> {
        self.checkpoint.revision.as_deref()
    }

    /// Width of a hidden state (`hidden_size` in `config.json`).
    pub fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Number of encoder layers. Hidden states are numbered from 0, the embedding output, to this number.
    pub fn num_hidden_layers(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// Number of tokens, special tokens included, that the model can encode at once.
    pub fn longest_text(&self) -> usize {
        self.config.longest_text
    }

    /// Number of threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The tokens that go through the encoder together at most: those that were chosen, or what suits the threads.
    pub(crate) fn batch_tokens(&self, chosen: Option<u32>) -> u32 {
        chosen.unwrap_or_else(|| Request::default_batch_tokens(self.threads()))
    }

    /// Name of the instruction set that the matrix products use, such as `avx2`.
    pub fn instruction_set(&self) -> &'static str {
        self.settings.instruction_set.name()
    }

    /// Resolves a request against this model: fills in every default, and refuses what the model cannot do.
    ///
    /// # Errors
    /// - [`Error::Usage`] for a layer, a length or a kind of vector that the model does not have, and for settings that
    ///   exclude each other;
    /// - [`Error::Config`] and [`Error::Tensor`] when a part of the model that the request needs is damaged or not
    ///   supported.
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        let of_sentences = request.kinds.contains(&VectorKind::Sentence);
        let sentence = self.sentence_recipe(of_sentences)?;
        let wants_defaults = of_sentences || request.prompt_name.is_some();
        let defaults = if wants_defaults { self.checkpoint.sentence_defaults()? } else { SentenceDefaults::default() };
        let config = &*self.config_of(sentence.as_ref())?;
        let (compute, device) = (self.settings.compute, self.device);
        let plan = Plan::resolve(request, PlannedModel { config, compute, device, sentence, defaults })?;
        self.check(&plan)?;
        Ok(plan)
    }

    /// The definition of the model's own sentence embedding, or `None` if it is not wanted.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Model`] when the definition is damaged or not supported.
    pub(crate) fn sentence_recipe(&self, is_wanted: bool) -> Result<Option<SentenceRecipe>> {
        if !is_wanted {
            return Ok(None);
        }
        if self.sentence.get().is_none() {
            // Should two threads read it at once, the two are equal.
            let _ = self.sentence.set(self.checkpoint.sentence_recipe()?);
        }
        Ok(self.sentence.get().cloned())
    }

    /// Refuses a plan that this model cannot carry out, such as a plan that was made for another model.
    ///
    /// # Errors
    /// Those of [`Model::plan`].
    pub(crate) fn check(&self, plan: &Plan) -> Result<()> {
        let config = self.config_of(plan.sentence.as_ref())?;
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

    /// Computes the vectors of some texts and returns them in memory.
    ///
    /// A text is a string, a pair of strings, or a [`Record`].
    ///
    /// # Errors
    /// Those of [`Model::plan`]; [`Error::TooLong`] and [`Error::NoRoom`] for a text beyond the limit that the request
    /// does not allow to be cut; [`Error::NotFinite`] when the model's numbers overflow on a text.
    pub fn encode<T: Into<Record>>(&self, texts: impl IntoIterator<Item = T>, request: &Request) -> Result<Embeddings> {
        self.encode_observed(texts, request, &*self.observer)
    }

    /// Like [`Model::encode`], with an observer of its own, which is told of the progress and may end this encoding alone.
    ///
    /// # Errors
    /// Those of [`Model::encode`]; [`Error::Interrupted`] when the observer ends it, which takes a layer of one batch at most.
    pub fn encode_observed<T: Into<Record>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        request: &Request,
        observer: &dyn Observer,
    ) -> Result<Embeddings> {
        let texts: Vec<Record> = texts.into_iter().map(Into::into).collect();
        let plan = self.plan(request)?;
        self.install(move || {
            let (tokenizer, plan) = self.tokenizer(plan)?;
            let encoder = self.load(&plan)?;
            let mut embeddings = Embeddings::new();
            embeddings.begin(&plan)?;
            // All texts first, so that what cannot be taken is found before any encoding, and the size of the result is known.
            let mut check = TextCheck::new(&plan);
            let mut tokens = Vec::with_capacity(texts.len());
            for piece in texts.chunks(TEXTS_PER_PIECE) {
                if let Some(signal) = observer.interruption() {
                    let texts = texts.len() as u64;
                    return Err(Error::Interrupted { signal, done: 0, texts, way_on: Error::START_OVER });
                }
                for encoded in tokenizer.encode_records(tokens.len() as u64, piece) {
                    let encoded = encoded?;
                    check.take(tokens.len() as u64, TextCounts::of(&encoded));
                    embeddings.take_text(&encoded)?;
                    tokens.push(encoded.tokens);
                }
            }
            check.finish()?;
            let count = tokens.iter().map(|tokens| tokens.len() as u64).sum();
            let progress = observer.begin(Work::Encoding { tokens: count, done: 0 });
            let pass = EncodePass {
                encoder: &encoder,
                plan: &plan,
                sizes: &mut BatchSizes::largest(limits(&plan, self.batch_tokens(request.batch_tokens), false)),
                first_row: 0,
                texts: texts.len() as u64,
                part_texts: None,
                done: 0,
                tokens_done: 0,
                way_on: Error::START_OVER,
            };
            pass.run(tokens.into_iter().map(Ok), &mut embeddings, observer, &*progress)?;
            Ok(embeddings)
        })
    }

    /// Encodes texts as they come and hands their vectors to a sink, in the order of the texts. Memory use does not
    /// grow with the number of texts.
    ///
    /// # Errors
    /// Those of [`Model::encode`], and those that the sink returns.
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
            self.load(&plan)?;
            let batch = (self.batch_tokens(request.batch_tokens), 0);
            self.encode_planned(&plan, &tokenizer, batch, || texts.next().map(Into::into), sink)
        })
    }

    /// Like [`Model::encode`], for a few texts by a model that is not kept in memory: each layer's weights are read
    /// just before they are used, and only those rows of the embedding matrix that the texts need.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub(crate) fn encode_once(&self, texts: &[Record], request: &Request) -> Result<Embeddings> {
        let plan = self.plan(request)?;
        let mut texts = texts.iter();
        self.install(move || {
            let (tokenizer, plan) = self.tokenizer(plan)?;
            let mut embeddings = Embeddings::new();
            let batch = (self.batch_tokens(request.batch_tokens), 0);
            self.encode_planned(&plan, &tokenizer, batch, || texts.next(), &mut embeddings)?;
            Ok(embeddings)
        })
    }

    /// Encodes texts by a plan. Layers that are not loaded are read for each batch. Messages number the texts' rows
    /// from `first_row`.
    ///
    /// # Errors
    /// Those of [`Model::encode_into`].
    pub(crate) fn encode_planned<R: Borrow<Record> + Sync>(
        &self,
        plan: &Plan,
        tokenizer: &Tokenizer,
        (batch_tokens, first_row): (u32, u64),
        mut next: impl FnMut() -> Option<R>,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let encoder = self.encoder(plan)?;
        sink.begin(plan)?;
        let mut row = first_row;
        loop {
            let piece: Vec<R> = std::iter::from_fn(&mut next).take(TEXTS_PER_PIECE).collect();
            if piece.is_empty() {
                return Ok(());
            }
            let encoded = tokenizer.encode_records(row, &piece).into_iter().collect::<Result<Vec<_>>>()?;
            let mut check = TextCheck::new(plan);
            for (encoded, row) in encoded.iter().zip(row..) {
                check.take(row, TextCounts::of(encoded));
            }
            check.finish()?;
            encoded.iter().try_for_each(|encoded| sink.take_text(encoded))?;
            let texts = encoded.len() as u64;
            let pass = EncodePass {
                encoder: &encoder,
                plan,
                sizes: &mut BatchSizes::largest(limits(plan, batch_tokens, false)),
                first_row: row,
                texts,
                done: 0,
                tokens_done: 0,
                part_texts: None,
                way_on: Error::START_OVER,
            };
            let tokens = encoded.into_iter().map(|encoded| Ok(encoded.tokens));
            pass.run(tokens, sink, &*self.observer, &Unseen)?;
            row += texts;
        }
    }

    /// Runs a closure on the model's threads.
    pub(crate) fn install<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        self.pool.install(run)
    }

    /// The files that the model was opened from.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The configuration as it stands in `config.json`.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The model's tensors.
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The observer that the model was opened with.
    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// The configuration, in which the settings of sentence embeddings override those of `config.json`.
    fn config_of(&self, sentence: Option<&SentenceRecipe>) -> Result<Cow<'_, Config>> {
        match sentence {
            Some(recipe) if !recipe.config.is_empty() => self.checkpoint.config_with(&recipe.config).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(&self.config)),
        }
    }

    /// The encoder for a plan; its layers may not be loaded yet.
    ///
    /// # Errors
    /// Those of [`Model::plan`].
    pub(crate) fn encoder(&self, plan: &Plan) -> Result<Arc<Encoder>> {
        let config = self.config_of(plan.sentence.as_ref())?;
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = encoders.iter().find(|encoder| *encoder.config() == *config) {
            return Ok(Arc::clone(encoder));
        }
        let encoder = Arc::new(Encoder::new(Arc::clone(&self.weights), config.into_owned(), self.settings.clone()));
        encoders.push(Arc::clone(&encoder));
        Ok(encoder)
    }

    /// The encoder for a plan, with all that the plan needs loaded, for many batches.
    ///
    /// # Errors
    /// Those of [`Model::plan`].
    pub(crate) fn load(&self, plan: &Plan) -> Result<Arc<Encoder>> {
        let encoder = self.encoder(plan)?;
        encoder.load(plan.deepest(), plan.has(VectorKind::Pooler))?;
        Ok(encoder)
    }

    /// The tokenizer for a plan, and the plan with the number of tokens that its prompt takes.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Config`] when the tokenizer is damaged or not supported, [`Error::Usage`] when the
    /// plan leaves no room for text.
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
                // The lock is not held while loading. Should two threads load at once, the two tokenizers are equal.
                let tokenizer = Arc::new(self.load_tokenizer(&key)?);
                lock().push((key, Arc::clone(&tokenizer)));
                tokenizer
            }
        };
        let prompt_tokens = tokenizer.prompt_length()?;
        Ok((tokenizer, Plan { prompt_tokens, ..plan }))
    }

    fn load_tokenizer(&self, key: &TokenizerKey) -> Result<Tokenizer> {
        let vocab_size = self.config.vocab_size;
        let tokenizer = Tokenizer::load_with(&self.checkpoint, vocab_size, key.max_length, &key.arguments)?
            .with_type_vocab_size(self.config.most_token_types())
            .with_prompt(&key.prompt);
        match key.windowing {
            Some(windowing) => tokenizer.with_windows(windowing),
            None => Ok(tokenizer),
        }
    }

    /// The tokenizer for a plan, and the result of `meanwhile`, such as the digests of the model's files. Reading
    /// `tokenizer.json` takes one thread tens of milliseconds and the digests take longer, so the other threads start
    /// to load layers at the same time.
    ///
    /// # Errors
    /// Those of [`Model::tokenizer`], those that `meanwhile` returns, and [`Error::Tensor`] for damaged layers.
    pub(crate) fn warm_up<T: Send>(
        &self,
        plan: Plan,
        meanwhile: impl FnOnce() -> Result<T> + Send,
    ) -> Result<(Arc<Tokenizer>, Plan, T)> {
        let (encoder, deepest) = (self.encoder(&plan)?, plan.deepest());
        let is_ready = AtomicBool::new(false);
        let prepare = || {
            let ready = self.tokenizer(plan).and_then(|(tokenizer, plan)| Ok((tokenizer, plan, meanwhile()?)));
            is_ready.store(true, Ordering::Relaxed);
            ready
        };
        let should_stop = || is_ready.load(Ordering::Relaxed);
        let (ready, preloaded) = rayon::join(prepare, || encoder.preload(deepest, should_stop));
        let ready = ready?;
        preloaded.map(|()| ready)
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
