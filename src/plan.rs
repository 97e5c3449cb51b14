//! A request resolved against a model: every default filled in, everything checked that the model decides.

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

/// What is computed, every default filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Layers, ascending.
    pub layers: Vec<usize>,
    /// Kinds of vectors, each once, in the order of [`VectorKind`].
    pub kinds: Vec<VectorKind>,
    /// How a word's tokens are pooled.
    pub word_pooling: WordPooling,
    /// Whether special tokens take part.
    pub special_tokens: SpecialTokens,
    /// How layers are merged, if they are.
    pub combine: Option<Combine>,
    /// Whether vectors of texts are normalized.
    pub normalize: bool,
    /// What is put before each text.
    pub prompt: Option<String>,
    /// How many numbers of a sentence vector are kept; all where it is not given.
    pub truncate_dim: Option<usize>,
    /// Longest text in tokens.
    pub max_length: usize,
    /// What happens to longer texts.
    pub overflow: Overflow,
    /// Tokens that the windows of a longer text share; half of what they have room for where it is not given.
    pub stride: Option<usize>,
    /// The type of kept numbers.
    pub dtype: Dtype,
    /// The arithmetic of the matrix products.
    pub compute: Compute,
    /// What computes.
    pub device: DeviceKind,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Encoder layers of the model.
    pub num_hidden_layers: usize,
    /// The model's own sentence embedding, when it is asked for.
    pub sentence: Option<SentenceRecipe>,
    /// Tokens of the prompt, the special token before it included; known once there is a tokenizer.
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

/// As in manifests and on standard output: a layer's number, how layers were combined, or `null`.
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

/// One array of the output: `rows` are known once the input is tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayPlan {
    /// The kind of vector.
    pub kind: VectorKind,
    /// Which layer.
    pub slot: Slot,
    /// Numbers in a row.
    pub columns: usize,
}

/// What a plan needs to know of a model.
pub struct PlannedModel<'a> {
    /// Its configuration.
    pub config: &'a Config,
    /// The arithmetic that it was opened with.
    pub compute: Compute,
    /// What it computes on.
    pub device: DeviceKind,
    /// Whether its weights have a pooler.
    pub has_pooler: bool,
    /// Its own sentence embedding, where it is asked for.
    pub sentence: Option<SentenceRecipe>,
    /// Its prompts and dimensions, where they are asked for.
    pub defaults: SentenceDefaults,
}

/// The prompt: the one asked for, by text or by name; else, for sentence embeddings, the model's own.
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
    /// Resolves what was asked for against a model.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer, a length or a kind of vector that the model does not have, and for options that
    /// do not go together.
    pub fn resolve(request: &Request, model: PlannedModel<'_>) -> Result<Self> {
        let PlannedModel { config, compute, device, has_pooler, sentence, defaults } = model;
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
            max_length: request.max_length.unwrap_or(config.max_position_embeddings.min(longest)),
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
        if self.has(VectorKind::Pooler) && !has_pooler {
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
    pub fn has(&self, kind: VectorKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether token texts, offsets and words are written beside the vectors.
    pub fn wants_token_details(&self) -> bool {
        self.has(VectorKind::Token) || self.has(VectorKind::Word)
    }

    /// The arrays of the output, in a fixed order.
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

    /// Numbers of the model's own sentence embedding.
    fn sentence_columns(&self) -> usize {
        let columns = self.sentence.as_ref().and_then(|recipe| recipe.columns(self.hidden_size).ok()).unwrap_or(0);
        self.truncate_dim.map_or(columns, |kept| kept.min(columns))
    }

    /// Bytes of all arrays and offsets together, headers not counted.
    pub fn bytes(&self, counts: &Counts) -> u64 {
        let arrays: u64 = self.arrays().iter().map(|array| self.array_bytes(array, counts)).sum();
        let with_offsets = self.kinds.iter().filter(|kind| kind.rows() != RowKind::Text).count() as u64;
        arrays + with_offsets * 8 * (counts.texts + 1)
    }

    /// Bytes of one array.
    pub fn array_bytes(&self, array: &ArrayPlan, counts: &Counts) -> u64 {
        counts.rows(array.kind) * array.columns as u64 * self.dtype.size()
    }
}

impl ArrayPlan {
    /// The array's name: `layer_00`, `concat`, or the kind's own.
    pub fn name(&self) -> String {
        match self.slot {
            Slot::Layer(layer) => format!("layer_{layer:02}"),
            Slot::Combined(combine) => combine.name().to_owned(),
            Slot::Whole => self.kind.name().to_owned(),
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
            (Format::Safetensors, _) => format!("{}.safetensors", self.kind.name()),
            (Format::Npy, Slot::Whole) => format!("{}.npy", self.kind.name()),
            (Format::Npy, _) => format!("{}/{}.npy", self.kind.name(), self.name()),
        }
    }
}
