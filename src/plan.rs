//! A request resolved against a model: what `--dry-run` prints and the manifest keeps.

use serde::{Deserialize, Serialize};

use crate::checkpoint::DEFAULTS;
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::{SentenceDefaults, SentenceRecipe};
use crate::commands::args::ExtractArgs;
use crate::error::{Error, Result};
use crate::input::{Columns, Input};
use crate::spec::{
    Combine, Compute, DeviceKind, Dtype, Emit, Format, InputFormat, LayerSelection, Overflow, RowKind, SpecialTokens,
    WordPooling,
};
use crate::spool::TextCounts;
use crate::windows::Windowing;

/// What a job computes and writes, every default filled in. Two jobs with equal plans, models and inputs are one job.
///
/// Read from a manifest it lacks what belongs to the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Layers, ascending.
    pub layers: Vec<usize>,
    /// Kinds of vectors, each once.
    pub emit: Vec<Emit>,
    /// How a word's tokens are pooled.
    pub word_pooling: WordPooling,
    /// Whether special tokens take part.
    pub special_tokens: SpecialTokens,
    /// How layers are merged, if they are.
    pub combine: Option<Combine>,
    /// Whether sentence vectors are normalized.
    pub normalize: bool,
    /// What is put before each text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// How many numbers of a sentence vector are kept; all where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_dim: Option<usize>,
    /// Longest text in tokens.
    pub max_length: usize,
    /// What happens to longer texts.
    pub overflow: Overflow,
    /// Tokens that the windows of a longer text share; half of what they have room for where it is not given.
    pub stride: Option<usize>,
    /// The formats of the input.
    pub input_format: Vec<InputFormat>,
    /// Which of its columns are what, and whether words are given.
    #[serde(flatten)]
    pub columns: Columns,
    /// The format of the arrays.
    pub format: Format,
    /// The type of stored numbers.
    pub dtype: Dtype,
    /// The arithmetic of the matrix products.
    pub compute: Compute,
    /// What computes.
    pub device: DeviceKind,
    /// Width of a hidden state.
    #[serde(skip)]
    pub hidden_size: usize,
    /// Encoder layers of the model.
    #[serde(skip)]
    pub num_hidden_layers: usize,
    /// The model's own sentence embedding, when it is asked for.
    #[serde(skip)]
    pub sentence: Option<SentenceRecipe>,
    /// Tokens of the prompt, the special token before it included; known once there is a tokenizer.
    #[serde(skip)]
    pub prompt_tokens: usize,
}

/// What an array holds of the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// One layer.
    Layer(usize),
    /// All selected layers merged.
    Combined(Combine),
    /// A vector of the model as a whole: `pooler`, `sentence`.
    Whole,
}

/// One array of the output: `rows` are known once the input is tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayPlan {
    /// The kind of vector.
    pub emit: Emit,
    /// Which layer.
    pub slot: Slot,
    /// Numbers in a row.
    pub columns: usize,
}

/// How much there is of everything; known once the input is tokenized, before any encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Texts.
    pub texts: u64,
    /// Tokens of the texts as they are encoded, special tokens included.
    pub tokens: u64,
    /// Rows of token vectors; fewer than tokens when special tokens are dropped.
    pub token_rows: u64,
    /// Rows of word vectors.
    pub words: u64,
    /// Texts that were cut.
    pub truncated_texts: u64,
    /// Tokens cut off.
    pub truncated_tokens: u64,
    /// Words that lost all or some of their tokens to a cut.
    pub truncated_words: u64,
    /// Texts that are encoded in windows.
    pub windowed_texts: u64,
    /// Their windows.
    pub windows: u64,
    /// Tokens encoded beside `tokens`, as windows overlap and each has its own special tokens.
    pub overlap_tokens: u64,
    /// Words of pre-tokenized input for which the tokenizer has no token: rows of zeros.
    pub deleted_words: u64,
    /// Texts without a token that takes part in pooling: rows of zeros.
    pub empty_texts: u64,
    /// Tokens that stand for what the vocabulary does not have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown_tokens: u64,
}

/// Counts that older manifests do not have stand in a manifest only where there is something to count.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What decides how a text is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    /// Whether special tokens have rows.
    pub special_tokens: SpecialTokens,
    /// How it is cut into windows, if it is.
    pub windowing: Option<Windowing>,
}

/// What a plan needs to know of a model.
pub struct PlannedModel<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// Whether its weights have a pooler.
    pub has_pooler: bool,
    /// Its own sentence embedding, where it is asked for.
    pub sentence: Option<SentenceRecipe>,
    /// Its prompts and dimensions, where they are asked for.
    pub defaults: SentenceDefaults,
}

/// The prompt: the one asked for, by text or by name; else, for sentence embeddings, the model's own.
fn prompt(args: &ExtractArgs, of_sentences: bool, defaults: &SentenceDefaults) -> Result<Option<String>> {
    if let Some(prompt) = &args.prompt {
        return Ok(Some(prompt.clone()).filter(|prompt| !prompt.is_empty()));
    }
    let (name, of_model) = match (&args.prompt_name, &defaults.default_prompt_name) {
        (Some(name), _) => (name, false),
        (None, Some(name)) if of_sentences => (name, true),
        _ => return Ok(None),
    };
    match defaults.prompts.iter().find(|(known, _)| known == name) {
        Some((_, prompt)) => Ok(Some(prompt.clone()).filter(|prompt| !prompt.is_empty())),
        None => {
            let known: Vec<String> = defaults.prompts.iter().map(|(name, _)| format!("`{name}`")).collect();
            let known = known.join(", ");
            Err(if of_model {
                Error::Config {
                    path: DEFAULTS.into(),
                    key: "default_prompt_name".to_owned(),
                    problem: format!(
                        "is `{name}`, and the prompts are {known}; choose one with --prompt-name, or none with --prompt ''"
                    ),
                }
            } else {
                Error::Usage(format!(
                    "--prompt-name {name}: the model's prompts are {known}; or give its text with --prompt"
                ))
            })
        }
    }
}

impl Plan {
    /// Resolves what was asked for against a model.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer, a length or a kind of vector that the model does not have, and for options that
    /// do not go together.
    pub fn resolve(args: &ExtractArgs, input: &Input, model: PlannedModel<'_>) -> Result<Self> {
        let PlannedModel { config, has_pooler, sentence, defaults } = model;
        let mut emit = args.emit.clone();
        emit.sort_unstable();
        emit.dedup();

        if args.stride.is_some() && args.overflow != Overflow::Window {
            return Err(Error::Usage(
                "--stride says how far windows overlap, and goes with --overflow window only".to_owned(),
            ));
        }
        if args.dtype == Dtype::Bf16 && args.format == Format::Npy && args.output.is_some() {
            return Err(Error::Usage(
                "--dtype bf16 does not exist in .npy files; choose --format safetensors or --dtype f16".to_owned(),
            ));
        }
        if args.compute != Compute::F32 && args.device.kind != DeviceKind::Cpu {
            return Err(Error::Usage(format!(
                "--compute bf16 is an arithmetic of the CPU; --device {} computes in float32",
                args.device
            )));
        }
        if args.layers.is_some() && !emit.iter().any(|emit| emit.per_layer()) {
            let names: Vec<&str> = emit.iter().map(|emit| emit.name()).collect();
            return Err(Error::Usage(format!(
                "--layers: {} belongs to the model as a whole, not to a layer; leave --layers out, or add a kind of vector that each layer has, such as -e {},mean",
                names.join(" and "),
                names.join(",")
            )));
        }
        if args.truncate_dim.is_some() && sentence.is_none() {
            return Err(Error::Usage(
                "--truncate-dim cuts the model's own sentence embedding, and goes with --emit sentence only".to_owned(),
            ));
        }
        let longest = sentence.as_ref().and_then(|recipe| recipe.max_seq_length).unwrap_or(usize::MAX);
        let layers = args.layers.clone().unwrap_or_else(LayerSelection::all);
        let plan = Self {
            layers: layers
                .resolve(config.num_hidden_layers)
                .map_err(|problem| Error::Usage(format!("--layers: {problem}")))?,
            prompt: prompt(args, sentence.is_some(), &defaults)?,
            truncate_dim: args.truncate_dim.or(defaults.truncate_dim.filter(|_| sentence.is_some())),
            emit,
            word_pooling: args.word_pooling,
            special_tokens: args.special_tokens,
            combine: args.combine,
            normalize: args.normalize,
            max_length: args.max_length.unwrap_or(config.max_position_embeddings.min(longest)),
            overflow: args.overflow,
            stride: args.stride,
            input_format: input.formats(),
            columns: input.columns().clone(),
            format: args.format,
            dtype: args.dtype,
            compute: args.compute,
            device: args.device.kind,
            hidden_size: config.hidden_size,
            num_hidden_layers: config.num_hidden_layers,
            sentence,
            prompt_tokens: 0,
        };
        plan.check_model(config, has_pooler)?;
        Ok(plan)
    }

    /// Refuses a model that cannot do what is planned.
    ///
    /// # Errors
    /// [`Error::Usage`] for texts longer than it takes, a pooler that it has not, and pairs of texts that it does not know.
    pub fn check_model(&self, config: &Config, has_pooler: bool) -> Result<()> {
        let (max_length, limit) = (self.max_length, config.max_position_embeddings);
        if max_length > limit {
            return Err(Error::Usage(format!(
                "--max-length {max_length} is beyond the model's limit of {limit} tokens; longer texts can be taken with --overflow window"
            )));
        }
        if self.emits(Emit::Pooler) && !has_pooler {
            return Err(Error::Usage(
                "--emit pooler: this model's weights have no pooler; choose cls for the first token's vector"
                    .to_owned(),
            ));
        }
        let columns = self.sentence.as_ref().map(|recipe| recipe.columns(self.hidden_size)).transpose();
        columns.map(drop).map_err(|problem| Error::model("modules.json", problem))
    }

    /// The deepest layer that has to be computed.
    pub fn deepest(&self) -> usize {
        let per_layer = self.emit.iter().any(|emit| emit.per_layer());
        let whole = self.emit.iter().any(|emit| !emit.per_layer());
        let last = self.layers.last().copied().unwrap_or(0);
        if whole {
            self.num_hidden_layers
        } else if per_layer {
            last
        } else {
            0
        }
    }

    /// What decides how a text is counted.
    pub fn counting(&self) -> Counting {
        Counting { special_tokens: self.special_tokens, windowing: self.windowing() }
    }

    /// How texts beyond the limit are cut into windows, if they are.
    pub fn windowing(&self) -> Option<Windowing> {
        let Self { max_length, stride, .. } = *self;
        (self.overflow == Overflow::Window).then_some(Windowing { max_length, stride })
    }

    /// Whether this kind of vector is written.
    pub fn emits(&self, emit: Emit) -> bool {
        self.emit.contains(&emit)
    }

    /// Whether token texts, offsets and words are written beside the vectors.
    pub fn wants_token_details(&self) -> bool {
        self.emits(Emit::Token) || self.emits(Emit::Word)
    }

    /// The arrays of the output, in a fixed order.
    pub fn arrays(&self) -> Vec<ArrayPlan> {
        let width = self.hidden_size;
        self.emit
            .iter()
            .flat_map(|&emit| -> Vec<ArrayPlan> {
                let array = |slot, columns| ArrayPlan { emit, slot, columns };
                match (emit, self.combine) {
                    (Emit::Pooler, _) => vec![array(Slot::Whole, width)],
                    (Emit::Sentence, _) => vec![array(Slot::Whole, self.sentence_columns())],
                    (_, Some(Combine::Concat)) => {
                        vec![array(Slot::Combined(Combine::Concat), width * self.layers.len())]
                    }
                    (_, Some(combine)) => vec![array(Slot::Combined(combine), width)],
                    (_, None) => self.layers.iter().map(|&layer| array(Slot::Layer(layer), width)).collect(),
                }
            })
            .collect()
    }

    /// Numbers of the model's own sentence embedding.
    fn sentence_columns(&self) -> usize {
        let columns = self.sentence.as_ref().and_then(|recipe| recipe.columns(self.hidden_size).ok()).unwrap_or(0);
        self.truncate_dim.map_or(columns, |kept| kept.min(columns))
    }

    /// Bytes of all arrays and offsets together, headers not counted.
    pub fn bytes(&self, counts: &Counts) -> u64 {
        let arrays: u64 = self.arrays().iter().map(|array| self.array_bytes(array, counts)).sum();
        let with_offsets = self.emit.iter().filter(|emit| emit.rows() != RowKind::Text).count() as u64;
        arrays + with_offsets * 8 * (counts.texts + 1)
    }

    /// Bytes of one array.
    pub fn array_bytes(&self, array: &ArrayPlan, counts: &Counts) -> u64 {
        counts.rows(array.emit) * array.columns as u64 * self.dtype.size()
    }
}

impl Counts {
    /// Token sequences that go through the encoder: texts, and windows of texts.
    pub fn sequences(&self) -> u64 {
        self.texts - self.windowed_texts + self.windows
    }

    /// Tokens that go through the encoder, those of repeated texts each time.
    pub fn encoded_tokens(&self) -> u64 {
        self.tokens + self.overlap_tokens
    }

    /// Adds a text.
    pub fn add(&mut self, text: TextCounts, counting: Counting) {
        let rows = text.rows(RowKind::Token, counting.special_tokens);
        let windows = text.windows(counting.windowing);
        if windows.len() > 1 {
            self.windowed_texts += 1;
            self.windows += windows.len() as u64;
            self.overlap_tokens += windows.tokens() as u64 - u64::from(text.tokens);
        }
        self.texts += 1;
        self.tokens += u64::from(text.tokens);
        self.token_rows += u64::from(rows);
        self.words += u64::from(text.words);
        self.truncated_texts += u64::from(text.tokens_cut > 0);
        self.truncated_tokens += u64::from(text.tokens_cut);
        self.truncated_words += u64::from(text.words_cut);
        self.deleted_words += u64::from(text.words_deleted);
        self.unknown_tokens += u64::from(text.unknown);
        self.empty_texts += u64::from(rows == 0);
    }

    /// Rows of an array of this kind.
    pub fn rows(&self, emit: Emit) -> u64 {
        match emit.rows() {
            RowKind::Token => self.token_rows,
            RowKind::Word => self.words,
            RowKind::Text => self.texts,
        }
    }
}

impl ArrayPlan {
    /// The array's name: `layer_00`, `concat`, or the kind's own.
    pub fn name(&self) -> String {
        match self.slot {
            Slot::Layer(layer) => format!("layer_{layer:02}"),
            Slot::Combined(combine) => combine.name().to_owned(),
            Slot::Whole => self.emit.name().to_owned(),
        }
    }

    /// The file of the array, and the tensor in it where a file holds several.
    pub fn place(&self, format: Format) -> String {
        match format {
            Format::Npy => self.file(format),
            Format::Safetensors => format!("{} [{}]", self.file(format), self.name()),
        }
    }

    /// The file of the array, relative to the output directory.
    pub fn file(&self, format: Format) -> String {
        match (format, self.slot) {
            (Format::Safetensors, _) => format!("{}.safetensors", self.emit.name()),
            (Format::Npy, Slot::Whole) => format!("{}.npy", self.emit.name()),
            (Format::Npy, _) => format!("{}/{}.npy", self.emit.name(), self.name()),
        }
    }
}
