//! A request resolved against a model: every default is filled in, and everything that depends on the model is checked.

use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checkpoint::DEFAULTS;
use crate::checkpoint::config::Config;
use crate::checkpoint::sentence::{SentenceDefaults, SentenceRecipe};
use crate::counts::{Counting, Counts};
use crate::error::{Error, Result};
use crate::request::Request;
use crate::spec::{
    Combine, Compute, DeviceKind, Dtype, Format, LayerSelection, Overflow, RowKind, SpecialTokens, VectorKind,
    WordPooling,
};
use crate::windows::Windowing;

/// What is computed, with every default filled in. The fields are those of [`Request`], resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Layers, ascending.
    pub layers: Vec<usize>,
    /// Kinds of vectors, each once, in the order of [`VectorKind`].
    pub kinds: Vec<VectorKind>,
    /// How the tokens of a word, or of a span, become one vector.
    pub word_pooling: WordPooling,
    /// Whether special tokens have vectors of their own and take part in pooling.
    pub special_tokens: SpecialTokens,
    /// How the selected layers are combined into one array; `None` for an array of each layer.
    pub combine: Option<Combine>,
    /// Whether the vectors of texts are scaled to length 1 (L2).
    pub normalize: bool,
    /// Text that is put before each text.
    pub prompt: Option<String>,
    /// How many of a sentence vector's numbers are kept; `None` for all.
    pub truncate_dim: Option<usize>,
    /// The longest text in tokens, special tokens included.
    pub max_length: usize,
    /// What happens to a text beyond `max_length`.
    pub overflow: Overflow,
    /// Number of tokens that a window shares with the next one; `None` for half of those that a window has room for.
    pub stride: Option<usize>,
    /// The type to which numbers are rounded for storage.
    pub dtype: Dtype,
    /// The arithmetic of the matrix products.
    pub compute: Compute,
    /// The device that computes.
    pub device: DeviceKind,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Number of encoder layers of the model.
    pub num_hidden_layers: usize,
    /// The definition of the model's own sentence embedding, when it is asked for.
    pub sentence: Option<SentenceRecipe>,
    /// Number of tokens of the prompt, including the special token before it; 0 until the tokenizer is loaded.
    pub prompt_tokens: usize,
}

/// Which layers an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// One layer.
    Layer(usize),
    /// All selected layers merged.
    Combined(Combine),
    /// A vector of the model as a whole: [`VectorKind::Pooler`] or [`VectorKind::Sentence`].
    Whole,
}

/// In manifests and on standard output, a slot is a layer's number, the name of the combination, or `null`.
impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Slot::Layer(layer) => layer.serialize(serializer),
            Slot::Combined(combine) => combine.serialize(serializer),
            Slot::Whole => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Label {
            Layer(usize),
            Combined(Combine),
        }
        Ok(match Option::<Label>::deserialize(deserializer)? {
            Some(Label::Layer(layer)) => Slot::Layer(layer),
            Some(Label::Combined(combine)) => Slot::Combined(combine),
            None => Slot::Whole,
        })
    }
}

/// One array of the output. Its number of rows is known once the input is tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayPlan {
    /// The kind of vector.
    pub kind: VectorKind,
    /// Which layers it holds.
    pub slot: Slot,
    /// Numbers in a row, the array's width.
    pub columns: usize,
}

/// What [`Plan::resolve`] needs to know about a model.
pub struct PlannedModel<'a> {
    /// The configuration, with the settings of sentence embeddings where they are asked for.
    pub config: &'a Config,
    /// The arithmetic that the model was opened with.
    pub compute: Compute,
    /// The device that the model was opened on.
    pub device: DeviceKind,
    /// The definition of the sentence embedding, where it is asked for.
    pub sentence: Option<SentenceRecipe>,
    /// The model's prompts and default dimensions, where they are asked for.
    pub defaults: SentenceDefaults,
}

/// The prompt that is asked for by text or by name; else, for sentence embeddings, the model's default prompt.
fn prompt(request: &Request, of_sentences: bool, defaults: &SentenceDefaults) -> Result<Option<String>> {
    if let Some(prompt) = &request.prompt {
        return Ok(Some(prompt.clone()).filter(|prompt| !prompt.is_empty()));
    }
    let (name, of_model) = match (&request.prompt_name, &defaults.default_prompt_name) {
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
    /// Resolves a request against a model.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer, a length or a kind of vector that the model does not have, and for options that
    /// exclude each other.
    pub fn resolve(request: &Request, model: PlannedModel<'_>) -> Result<Self> {
        let PlannedModel { config, compute, device, sentence, defaults } = model;
        let mut kinds = request.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();

        if kinds.is_empty() {
            return Err(Error::Usage("--emit names no kind of vector".to_owned()));
        }
        if request.stride.is_some() && request.overflow != Overflow::Window {
            return Err(Error::Usage(
                "--stride says how far windows overlap, and goes with --overflow window only".to_owned(),
            ));
        }
        if request.layers.is_some() && !kinds.iter().any(|kind| kind.per_layer()) {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            return Err(Error::Usage(format!(
                "--layers: {} belongs to the model as a whole, not to a layer; leave --layers out, or add a kind of vector that each layer has, such as -e {},mean",
                names.join(" and "),
                names.join(",")
            )));
        }
        let names = || kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" and ");
        if request.combine.is_some() && !kinds.iter().any(|kind| kind.per_layer()) {
            return Err(Error::Usage(format!(
                "--combine merges the vectors of layers, and {} belongs to the model as a whole; leave --combine out, or add a kind of vector that each layer has, such as --emit mean",
                names()
            )));
        }
        if request.normalize && !kinds.iter().any(|kind| kind.rows() == RowKind::Text) {
            return Err(Error::Usage(format!(
                "--normalize is for vectors of whole texts, and --emit has {} alone; leave it out, or add a kind such as --emit mean",
                names()
            )));
        }
        if request.special_tokens == SpecialTokens::Drop && !kinds.iter().any(|kind| kind.has_special_tokens()) {
            return Err(Error::Usage(format!(
                "--special-tokens drop is for token, mean, max, mean_sqrt_len and weightedmean, and changes nothing of {}; leave it out",
                names()
            )));
        }
        if request.truncate_dim.is_some() && sentence.is_none() {
            return Err(Error::Usage(
                "--truncate-dim cuts the model's own sentence embedding, and goes with --emit sentence only".to_owned(),
            ));
        }
        let longest = sentence.as_ref().and_then(|recipe| recipe.max_seq_length).unwrap_or(usize::MAX);
        let layers = request.layers.clone().unwrap_or_else(LayerSelection::all);
        let plan = Self {
            layers: layers
                .resolve(config.num_hidden_layers)
                .map_err(|problem| Error::Usage(format!("--layers: {problem}")))?,
            prompt: prompt(request, sentence.is_some(), &defaults)?,
            truncate_dim: request.truncate_dim.or(defaults.truncate_dim.filter(|_| sentence.is_some())),
            kinds,
            word_pooling: request.word_pooling,
            special_tokens: request.special_tokens,
            combine: request.combine,
            normalize: request.normalize,
            max_length: request.max_length.unwrap_or(config.longest_text.min(longest)),
            overflow: request.overflow,
            stride: request.stride,
            dtype: request.dtype,
            compute,
            device,
            hidden_size: config.hidden_size,
            num_hidden_layers: config.num_hidden_layers,
            sentence,
            prompt_tokens: 0,
        };
        Ok(plan)
    }

    /// Refuses a model that cannot do what is planned.
    ///
    /// # Errors
    /// [`Error::Usage`] for a `max_length` beyond the model's limit and for a pooler that the weights do not have;
    /// [`Error::Model`] when the modules of the sentence embedding do not fit together.
    pub fn check_model(&self, config: &Config, has_pooler: bool) -> Result<()> {
        let (max_length, limit) = (self.max_length, config.longest_text);
        if max_length > limit {
            return Err(Error::Usage(format!(
                "--max-length {max_length} is beyond the model's limit of {limit} tokens; longer texts can be taken with --overflow window"
            )));
        }
        if self.has(VectorKind::Pooler) && !has_pooler {
            return Err(Error::Usage(
                "--emit pooler: this model's weights have no pooler; choose cls for the first token's vector"
                    .to_owned(),
            ));
        }
        let columns = self.sentence.as_ref().map(|recipe| recipe.columns(self.hidden_size)).transpose();
        columns.map(drop).map_err(|problem| Error::model("modules.json", problem))
    }

    /// The deepest layer that has to be computed, from 0 to [`Plan::num_hidden_layers`].
    pub fn deepest(&self) -> usize {
        let per_layer = self.kinds.iter().any(|kind| kind.per_layer());
        let whole = self.kinds.iter().any(|kind| !kind.per_layer());
        let last = self.layers.last().copied().unwrap_or(0);
        if whole {
            self.num_hidden_layers
        } else if per_layer {
            last
        } else {
            0
        }
    }

    /// The settings that decide how a text's tokens are counted.
    pub fn counting(&self) -> Counting {
        Counting { special_tokens: self.special_tokens, windowing: self.windowing() }
    }

    /// How texts beyond the limit are cut into windows; `None` if they are not.
    pub fn windowing(&self) -> Option<Windowing> {
        let Self { max_length, stride, .. } = *self;
        (self.overflow == Overflow::Window).then_some(Windowing { max_length, stride })
    }

    /// How many tokens of `longer` a window would have room for, where a text of `length` tokens has to be cut into windows
    /// and cannot be. `longer` is the range of those tokens that can be cut.
    pub fn lacks_room(&self, length: usize, longer: &Range<usize>) -> Option<usize> {
        self.windowing().and_then(|windowing| windowing.lacks_room(length, longer))
    }

    /// Whether vectors of this kind are asked for.
    pub fn has(&self, kind: VectorKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether tokens, offsets and words are written beside the vectors.
    pub fn wants_token_details(&self) -> bool {
        [VectorKind::Token, VectorKind::Word, VectorKind::Span].into_iter().any(|kind| self.has(kind))
    }

    /// The arrays of the output, by kind and then by layer.
    pub fn arrays(&self) -> Vec<ArrayPlan> {
        let width = self.hidden_size;
        self.kinds
            .iter()
            .flat_map(|&kind| -> Vec<ArrayPlan> {
                let array = |slot, columns| ArrayPlan { kind, slot, columns };
                match (kind, self.combine) {
                    (VectorKind::Pooler, _) => vec![array(Slot::Whole, width)],
                    (VectorKind::Sentence, _) => vec![array(Slot::Whole, self.sentence_columns())],
                    (_, Some(Combine::Concat)) => {
                        vec![array(Slot::Combined(Combine::Concat), width * self.layers.len())]
                    }
                    (_, Some(combine)) => vec![array(Slot::Combined(combine), width)],
                    (_, None) => self.layers.iter().map(|&layer| array(Slot::Layer(layer), width)).collect(),
                }
            })
            .collect()
    }

    /// Width of the model's own sentence embedding, after it is cut to `truncate_dim`.
    fn sentence_columns(&self) -> usize {
        let columns = self.sentence.as_ref().and_then(|recipe| recipe.columns(self.hidden_size).ok()).unwrap_or(0);
        self.truncate_dim.map_or(columns, |kept| kept.min(columns))
    }

    /// Size of all arrays and row offsets together in bytes, without file headers.
    pub fn bytes(&self, counts: &Counts) -> u64 {
        let arrays: u64 = self.arrays().iter().map(|array| self.array_bytes(array, counts)).sum();
        let with_offsets = self.kinds.iter().filter(|kind| kind.rows() != RowKind::Text).count() as u64;
        arrays + with_offsets * 8 * (counts.texts + 1)
    }

    /// Size of one array in bytes, without its header.
    pub fn array_bytes(&self, array: &ArrayPlan, counts: &Counts) -> u64 {
        counts.rows(array.kind) * array.columns as u64 * self.dtype.size()
    }
}

impl ArrayPlan {
    /// The array's name: `layer_00`, the name of the combination such as `concat`, or that of the kind.
    pub fn name(&self) -> String {
        match self.slot {
            Slot::Layer(layer) => format!("layer_{layer:02}"),
            Slot::Combined(combine) => combine.name().to_owned(),
            Slot::Whole => self.kind.name().to_owned(),
        }
    }

    /// The file of the array, followed by the tensor's name if the format holds several arrays in a file. For messages.
    pub fn place(&self, format: Format) -> String {
        match format {
            Format::Npy => self.file(format),
            Format::Safetensors | Format::Parquet => format!("{} [{}]", self.file(format), self.name()),
        }
    }

    /// The file of the array, relative to the output directory; a pattern where it has several.
    pub fn file(&self, format: Format) -> String {
        match (format, self.slot) {
            (Format::Parquet, _) => format!("{}/part-*.parquet", self.kind.name()),
            (Format::Safetensors, _) => format!("{}.safetensors", self.kind.name()),
            (Format::Npy, Slot::Whole) => format!("{}.npy", self.kind.name()),
            (Format::Npy, _) => format!("{}/{}.npy", self.kind.name(), self.name()),
        }
    }
}
