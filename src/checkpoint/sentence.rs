//! A sentence-transformers model's own sentence embedding, as its files define it.
//!
//! `modules.json` lists modules: a Transformer, a Pooling, and steps that follow. The folder of each module has its
//! settings. `config_sentence_transformers.json` has prompts and the number of dimensions. A folder without
//! `modules.json` gets the default of sentence-transformers, the mean over all tokens. Source: sentence-transformers
//! 6.2, `sentence_transformers/base/model.py`, `base/modules/transformer.py`, `sentence_transformer/modules/*.py`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::files::Checkpoint;
use super::modules::{DEFAULTS, Module, TRANSFORMER_SETTINGS};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::spec::Pooling;

/// How a sentence embedding is computed from a text and the model's hidden states.
#[derive(Debug, Clone, PartialEq)]
pub struct SentenceRecipe {
    /// How layers are combined into the token vectors that are pooled; `None` for the last layer alone.
    pub layers: Option<WeightedLayers>,
    /// The poolings, whose vectors are concatenated in this order.
    pub poolings: Vec<Pooling>,
    /// Whether the prompt's tokens are pooled too.
    pub include_prompt: bool,
    /// The steps that the pooled vector passes through, in order.
    pub steps: Vec<ModuleStep>,
    /// The length in tokens at which sentence-transformers cuts texts, if the model sets one.
    pub max_seq_length: Option<usize>,
    /// Arguments for loading the tokenizer.
    pub tokenizer: TokenizerArguments,
    /// Keys that override those of `config.json`.
    pub config: Map<String, Value>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// The weighted mean of the layers from `start` to the last one (`WeightedLayerPooling`).
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedLayers {
    /// The first layer.
    pub start: usize,
    /// The weight of each layer from `start` on.
    pub weights: Vec<f32>,
}

/// A step that a pooled vector passes through.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleStep {
    /// A linear layer with an activation.
    Dense(Arc<DenseModule>),
    /// LayerNorm with an epsilon of 1e-5, torch's own.
    LayerNorm {
        /// (width)
        weight: Vec<f32>,
        /// (width)
        bias: Vec<f32>,
    },
    /// L2 normalization.
    Normalize,
}

/// A linear layer, `activation(weight · x + bias)`, with an optional residual.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseModule {
    /// (out_features, in_features)
    pub weight: Vec<f32>,
    /// (out_features)
    pub bias: Option<Vec<f32>>,
    /// Width of the input.
    pub in_features: usize,
    /// Width of the output.
    pub out_features: usize,
    /// The activation function.
    pub activation: DenseActivation,
    /// What is added to the output.
    pub residual: Residual,
}

/// What a Dense module adds to its output.
#[derive(Debug, Clone, PartialEq)]
pub enum Residual {
    /// Nothing.
    None,
    /// The input itself.
    Identity,
    /// The input multiplied by a matrix, (out_features, in_features).
    Projection(Vec<f32>),
}

/// The activation of a Dense module, by the name of torch's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseActivation {
    /// `torch.nn.modules.linear.Identity`
    Identity,
    /// `torch.nn.modules.activation.Tanh`
    Tanh,
    /// `torch.nn.modules.activation.ReLU`
    Relu,
    /// `torch.nn.modules.activation.GELU`, with the error function
    Gelu,
    /// `torch.nn.modules.activation.Sigmoid`
    Sigmoid,
    /// `torch.nn.modules.activation.SiLU`
    Silu,
}

/// Arguments that sentence-transformers passes when it loads a tokenizer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenizerArguments {
    /// Keyword arguments, which override the settings of the files (`processor_kwargs`).
    pub settings: Map<String, Value>,
    /// Whether texts are converted to lower case first (`do_lower_case`).
    pub lower_case: bool,
}

/// The prompts and dimensions of a model's `config_sentence_transformers.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SentenceDefaults {
    /// Prompts by name.
    pub prompts: Vec<(String, String)>,
    /// The name of the prompt that is used by default.
    pub default_prompt_name: Option<String>,
    /// How many numbers of a sentence vector are kept.
    pub truncate_dim: Option<usize>,
}

/// The pooling modes: (old name, new name, pooling), in the order in which old settings concatenate their vectors.
const POOLING_MODES: [(&str, &str, Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", Pooling::Cls),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Pooling::Weightedmean),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::Lasttoken),
];

const ACTIVATIONS: [(&str, DenseActivation); 6] = [
    ("Identity", DenseActivation::Identity),
    ("Tanh", DenseActivation::Tanh),
    ("ReLU", DenseActivation::Relu),
    ("GELU", DenseActivation::Gelu),
    ("Sigmoid", DenseActivation::Sigmoid),
    ("SiLU", DenseActivation::Silu),
];

/// Prompts that every model has; they are empty unless the model defines them.
const PROMPTS_OF_ALL: [&str; 2] = ["query", "document"];

impl Checkpoint {
    /// The definition of the model's sentence embedding.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Config`] when its files are damaged or ask for a computation that is not
    /// supported, and when `modules.json` is missing from the cache but may be on the hub.
    pub fn sentence_recipe(&self) -> Result<SentenceRecipe> {
        let mut recipe = SentenceRecipe {
            layers: None,
            poolings: Vec::new(),
            include_prompt: true,
            steps: Vec::new(),
            max_seq_length: self.tokenizer_limit()?,
            tokenizer: TokenizerArguments::default(),
            config: Map::new(),
            notes: Vec::new(),
        };
        let modules = self.modules()?;
        if modules.is_none() || !self.is_sentence_transformer()? {
            if modules.is_none() && self.may_lack_files {
                return Err(Error::model(
                    self.root_path_of("modules.json"),
                    "is not in the cache, which may have been filled by another program; it says how this model makes a sentence embedding, and without --offline the hub is asked for it; or choose another --emit than `sentence`",
                ));
            }
            self.refuse_chat_templates()?;
            let (pooling, name) = if self.is_causal_lm()? {
                (Pooling::Lasttoken, "the vector of the last token")
            } else {
                (Pooling::Mean, "the mean over all tokens")
            };
            recipe.poolings.push(pooling);
            let lacks = if modules.is_none() {
                "this model has no modules.json".to_owned()
            } else {
                format!("{DEFAULTS} says that this is another kind of model than a SentenceTransformer")
            };
            recipe.notes.push(format!("{lacks}; its sentence embedding is {name}, as in sentence-transformers"));
            return Ok(recipe);
        }
        for (index, module) in modules.iter().flatten().enumerate() {
            self.add_module(module, index, &mut recipe)?;
        }
        if recipe.poolings.is_empty() {
            return Err(Error::model(
                self.root_path_of("modules.json"),
                "has no Pooling module, so it defines no sentence embedding; choose another --emit than `sentence`",
            ));
        }
        Ok(recipe)
    }

    /// The model's prompts and default dimensions.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Config`] when the file is damaged.
    pub fn sentence_defaults(&self) -> Result<SentenceDefaults> {
        let is_read = self.modules()?.is_some() && self.is_sentence_transformer()?;
        let config = if is_read { self.read_root_json::<Map<String, Value>>(DEFAULTS)? } else { None };
        let Some(config) = config else {
            return Ok(SentenceDefaults {
                prompts: PROMPTS_OF_ALL.map(|name| (name.to_owned(), String::new())).to_vec(),
                ..SentenceDefaults::default()
            });
        };
        let wrong = |key: &str, problem: String| self.refused(DEFAULTS, key, problem);
        let mut prompts: Vec<(String, String)> = Vec::new();
        match config.get("prompts") {
            None | Some(Value::Null) => {}
            Some(Value::Object(named)) => {
                for (name, prompt) in named {
                    match prompt {
                        Value::String(prompt) => prompts.push((name.clone(), prompt.clone())),
                        Value::Null => prompts.push((name.clone(), String::new())),
                        other => return Err(wrong("prompts", format!("expected a text as `{name}`, found {other}"))),
                    }
                }
            }
            Some(other) => return Err(wrong("prompts", format!("expected texts by name, found {other}"))),
        }
        for name in PROMPTS_OF_ALL {
            if !prompts.iter().any(|(known, _)| known == name) {
                prompts.push((name.to_owned(), String::new()));
            }
        }
        let default_prompt_name = match config.get("default_prompt_name") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(other) => return Err(wrong("default_prompt_name", format!("expected a name, found {other}"))),
        };
        let truncate_dim = match config.get("truncate_dim") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64().filter(|&dim| dim > 0) {
                Some(dim) => Some(dim as usize),
                None => {
                    return Err(wrong("truncate_dim", format!("expected a number of dimensions, found {value}")));
                }
            },
        };
        Ok(SentenceDefaults { prompts, default_prompt_name, truncate_dim })
    }

    /// Whether `modules.json` is followed: it is not if the model was saved as one of another type.
    fn is_sentence_transformer(&self) -> Result<bool> {
        let config = self.read_root_json::<Map<String, Value>>(DEFAULTS)?.unwrap_or_default();
        Ok(config.get("model_type").is_none_or(|kind| kind == "SentenceTransformer"))
    }

    /// Refuses a model without modules that has a chat template, as sentence-transformers would turn texts into chat
    /// messages.
    fn refuse_chat_templates(&self) -> Result<()> {
        const TEMPLATES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];
        let config = self.read_json::<Map<String, Value>>("tokenizer_config.json")?.unwrap_or_default();
        let in_config = config.get("chat_template").filter(|value| !value.is_null()).map(|_| "tokenizer_config.json");
        match in_config.or(TEMPLATES.into_iter().find(|name| self.has(name))) {
            None => Ok(()),
            Some(file) => Err(Error::Config {
                path: self.path_of(file),
                key: "chat_template".to_owned(),
                problem: "sentence-transformers would make messages of a chat out of the texts of this model, which has no modules.json; remove the template, or choose another --emit than `sentence`"
                    .to_owned(),
            }),
        }
    }

    /// Whether the weights were saved with a head that predicts the next token.
    fn is_causal_lm(&self) -> Result<bool> {
        let config = self.read_json::<Map<String, Value>>("config.json")?.unwrap_or_default();
        let first = config.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
        Ok(first.is_some_and(|name| name.ends_with("ForCausalLM"))
            && config.get("is_causal") != Some(&Value::Bool(false)))
    }

    /// The limit in tokens that the tokenizer's settings name, at which sentence-transformers cuts.
    fn tokenizer_limit(&self) -> Result<Option<usize>> {
        let config = self.read_json::<Map<String, Value>>("tokenizer_config.json")?.unwrap_or_default();
        // `max_len` is the older name; a null under the new name counts as given.
        let value = config.get("model_max_length").or_else(|| config.get("max_len"));
        Ok(value.and_then(Value::as_f64).and_then(length))
    }

    fn add_module(&self, module: &Module, index: usize, recipe: &mut SentenceRecipe) -> Result<()> {
        let unsupported = || {
            self.refused(
                "modules.json",
                "type",
                format!(
                    "module `{}` is not supported; expected Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout or WeightedLayerPooling of sentence_transformers; choose another --emit than `sentence`",
                    module.class
                ),
            )
        };
        let Some(class) = module.class.strip_prefix("sentence_transformers.") else { return Err(unsupported()) };
        match class.rsplit('.').next().unwrap_or_default() {
            "Transformer" if index == 0 => self.add_transformer(module, recipe)?,
            "Pooling" => {
                let (poolings, include_prompt) = self.poolings(module)?;
                // A later Pooling pools the same token vectors again, so the steps before it have no effect.
                recipe.steps.clear();
                (recipe.poolings, recipe.include_prompt) = (poolings, include_prompt);
            }
            "WeightedLayerPooling" if recipe.poolings.is_empty() => {
                recipe.layers = self.weighted_layers(module, recipe)?;
            }
            "Dense" if !recipe.poolings.is_empty() => {
                recipe.steps.push(ModuleStep::Dense(Arc::new(self.dense(module)?)));
            }
            "LayerNorm" if !recipe.poolings.is_empty() => recipe.steps.push(self.layer_norm(module)?),
            "Normalize" => {
                let config = self.read_root_json::<Map<String, Value>>(&in_folder(module, "config.json"))?;
                self.refuse_other_features(module, &config.unwrap_or_default())?;
                if !recipe.poolings.is_empty() {
                    recipe.steps.push(ModuleStep::Normalize);
                }
            }
            "Dropout" if !recipe.poolings.is_empty() => {} // does nothing outside training
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// Reads the settings of the Transformer module: limits, tokenizer arguments and configuration keys.
    fn add_transformer(&self, module: &Module, recipe: &mut SentenceRecipe) -> Result<()> {
        let mut settings = Map::new();
        let mut file = String::new();
        for name in TRANSFORMER_SETTINGS {
            file = in_folder(module, name);
            settings = self.read_root_json::<Map<String, Value>>(&file)?.unwrap_or_default();
            if !settings.is_empty() {
                break;
            }
        }
        let wrong = |key: &str, problem: String| self.refused(&file, key, problem);
        let object = |new: &str, old: &str| -> Result<Map<String, Value>> {
            match settings.get(old).or_else(|| settings.get(new)) {
                None | Some(Value::Null) => Ok(Map::new()),
                Some(Value::Object(values)) => Ok(values.clone()),
                Some(other) => Err(wrong(
                    if settings.contains_key(old) { old } else { new },
                    format!("expected an object, found {other}"),
                )),
            }
        };
        for (key, expected) in [("transformer_task", "feature-extraction"), ("module_output_name", "token_embeddings")]
        {
            if let Some(value) = settings.get(key).filter(|value| !value.is_null() && *value != expected) {
                return Err(wrong(
                    key,
                    format!("is {value}; expected `{expected}`; choose another --emit than `sentence`"),
                ));
            }
        }
        if let Some(value) = settings.get("tokenizer_name_or_path").filter(|value| !value.is_null()) {
            return Err(wrong(
                "tokenizer_name_or_path",
                format!("is {value}; a tokenizer of another model is not supported"),
            ));
        }
        self.check_modalities(&settings, &wrong)?;

        let number = |key: &str, value: &Value| match value.as_u64() {
            Some(tokens) => Ok(length(tokens as f64)),
            None => Err(wrong(key, format!("expected a number of tokens, found {value}"))),
        };
        if let Some(value) = settings.get("max_seq_length").filter(|value| !value.is_null()) {
            recipe.max_seq_length = number("max_seq_length", value)?;
        }
        recipe.tokenizer.lower_case = is_true(settings.get("do_lower_case"));
        recipe.tokenizer.settings = object("processor_kwargs", "tokenizer_args")?;
        OF_THE_LOADER.iter().for_each(|key| drop(recipe.tokenizer.settings.shift_remove(*key)));
        let arguments = &recipe.tokenizer.settings;
        if let Some(value) = arguments.get("model_max_length").filter(|value| !value.is_null()) {
            recipe.max_seq_length = number("model_max_length", value)?;
        } else if let Some(value) = arguments.get("max_len").filter(|_| !settings.contains_key("max_seq_length")) {
            recipe.max_seq_length = number("max_len", value)?;
        }
        if let Some(kind) = arguments.get("tokenizer_type").filter(|kind| *kind != "bert") {
            return Err(wrong(
                "tokenizer_args",
                format!("has tokenizer_type {kind}, which is not supported; expected bert"),
            ));
        }
        recipe.config = object("config_kwargs", "config_args")?;
        OF_THE_LOADER.iter().for_each(|key| drop(recipe.config.shift_remove(*key)));

        let model = object("model_kwargs", "model_args")?;
        for (key, value) in &model {
            match key.as_str() {
                "torch_dtype" | "dtype" => {
                    let plain = value.as_str().map(|dtype| dtype.trim_start_matches("torch."));
                    if !matches!(plain, None | Some("float32" | "auto")) {
                        return Err(wrong(
                            key,
                            format!(
                                "is {value}, and the forward pass is in float32 here; set it to float32, or choose another --emit than `sentence`"
                            ),
                        ));
                    }
                }
                "attn_implementation"
                | "add_pooling_layer"
                | "low_cpu_mem_usage"
                | "use_safetensors"
                | "device_map"
                | "ignore_mismatched_sizes" => {}
                key if OF_THE_LOADER.contains(&key) => {}
                key => return Err(wrong("model_kwargs", format!("has `{key}`, which is not supported"))),
            }
        }
        self.add_processing(&object("processing_kwargs", "processing_kwargs")?, recipe, &wrong)
    }

    /// Reads the arguments that the tokenizer is called with.
    fn add_processing(
        &self,
        processing: &Map<String, Value>,
        recipe: &mut SentenceRecipe,
        wrong: &dyn Fn(&str, String) -> Error,
    ) -> Result<()> {
        const KEY: &str = "processing_kwargs";
        for (kind, values) in processing.iter().filter(|(kind, _)| matches!(kind.as_str(), "text" | "common")) {
            let Value::Object(values) = values else {
                return Err(wrong(KEY, format!("expected an object as `{kind}`, found {values}")));
            };
            for (name, value) in values {
                let longest_first = *value == Value::Bool(true) || value == "longest_first";
                match name.as_str() {
                    "max_length" => {
                        let length = value.as_u64().filter(|&length| length > 0);
                        let problem =
                            || wrong(KEY, format!("expected a number of tokens as `max_length`, found {value}"));
                        recipe.max_seq_length = Some(length.ok_or_else(problem)? as usize);
                    }
                    "padding" | "return_tensors" | "pad_to_multiple_of" | "padding_side" | "verbose" => {}
                    "truncation" if longest_first => {}
                    name => {
                        return Err(wrong(
                            KEY,
                            format!(
                                "has `{name}` {value}, which is not supported; choose another --emit than `sentence`"
                            ),
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Refuses a model whose texts do not go through the forward pass, or whose last layer is not what is pooled.
    fn check_modalities(&self, settings: &Map<String, Value>, wrong: &dyn Fn(&str, String) -> Error) -> Result<()> {
        let Some(modalities) = settings.get("modality_config").filter(|value| !value.is_null()) else { return Ok(()) };
        let text = &modalities["text"];
        let output = &text["method_output_name"];
        let is_last = output == "last_hidden_state" || *output == serde_json::json!(["last_hidden_state"]);
        if modalities.get("message").is_none() && text["method"] == "forward" && is_last {
            return Ok(());
        }
        Err(wrong(
            "modality_config",
            format!(
                "is {modalities}; expected texts that go through `forward` to `last_hidden_state`; choose another --emit than `sentence`"
            ),
        ))
    }

    fn poolings(&self, module: &Module) -> Result<(Vec<Pooling>, bool)> {
        let (name, config) = self.module_config(module)?;
        let problem = |problem: String| self.refused(&name, "pooling_mode", problem);
        let modes: Vec<&str> = match config.get("pooling_mode") {
            Some(Value::String(mode)) => vec![mode],
            Some(Value::Array(modes)) => modes.iter().map(|mode| mode.as_str().unwrap_or("?")).collect(),
            Some(other) => return Err(problem(format!("expected a name or a list of names, found {other}"))),
            None => POOLING_MODES
                .iter()
                .filter(|(key, ..)| config.get(*key) == Some(&Value::Bool(true)))
                .map(|(_, mode, _)| *mode)
                .collect(),
        };
        let known = |mode: &str| {
            POOLING_MODES.iter().find(|(_, name, _)| *name == mode).map(|(.., pooling)| *pooling).ok_or_else(|| {
                problem(format!("`{mode}` is not known; expected one of sentence-transformers' pooling modes"))
            })
        };
        let mut poolings = modes.into_iter().map(known).collect::<Result<Vec<_>>>()?;
        if poolings.is_empty() {
            poolings.push(Pooling::Mean);
        }
        let include_prompt = match config.get("include_prompt") {
            None | Some(Value::Bool(true)) => true,
            Some(Value::Bool(false)) => false,
            Some(other) => {
                return Err(self.refused(&name, "include_prompt", format!("expected true or false, found {other}")));
            }
        };
        Ok((poolings, include_prompt))
    }

    /// WeightedLayerPooling works on all layers if the model is asked for hidden states, and does nothing otherwise.
    fn weighted_layers(&self, module: &Module, recipe: &SentenceRecipe) -> Result<Option<WeightedLayers>> {
        let (name, config) = self.module_config(module)?;
        let of_model = self.read_json::<Map<String, Value>>("config.json")?.unwrap_or_default();
        let asked = recipe.config.get("output_hidden_states").or_else(|| of_model.get("output_hidden_states"));
        if asked != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let number = |key: &str, default: usize| match config.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .map(|number| number as usize)
                .ok_or_else(|| self.refused(&name, key, format!("expected a number, found {value}"))),
        };
        let (layers, start) = (number("num_hidden_layers", 12)?, number("layer_start", 4)?);
        let of_model = of_model.get("num_hidden_layers").and_then(Value::as_u64).map(|layers| layers as usize);
        if start > layers || of_model != Some(layers) {
            return Err(self.refused(
                &name,
                "num_hidden_layers",
                format!("is {layers}, with layer_start {start}; expected the model's number of layers, and a layer that it has"),
            ));
        }
        let weights = self.module_weights(module)?.tensor("layer_weights", &[layers + 1 - start])?;
        Ok(Some(WeightedLayers { start, weights }))
    }

    fn dense(&self, module: &Module) -> Result<DenseModule> {
        let (name, config) = self.module_config(module)?;
        self.refuse_other_features(module, &config)?;
        let size = |key: &str| {
            let value = config.get(key).and_then(Value::as_u64).filter(|size| (1..1 << 20).contains(size));
            value
                .map(|size| size as usize)
                .ok_or_else(|| self.refused(&name, key, "expected a number of features".to_owned()))
        };
        let flag = |key: &str, default: bool| match config.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.refused(&name, key, format!("expected true or false, found {other}"))),
        };
        let (in_features, out_features) = (size("in_features")?, size("out_features")?);
        let activation = match config.get("activation_function") {
            None => DenseActivation::Tanh,
            // sentence-transformers does not trust classes outside torch, and uses Tanh in their place.
            Some(Value::String(class)) if !class.starts_with("torch.") => DenseActivation::Tanh,
            Some(Value::String(class)) => {
                let stem = class.rsplit('.').next().unwrap_or_default();
                let known = ACTIVATIONS.iter().find(|(name, _)| *name == stem);
                known.map(|(_, activation)| *activation).ok_or_else(|| {
                    let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
                    let problem = format!(
                        "`{class}` is not supported; expected {}; choose another --emit than `sentence`",
                        names.join(", ")
                    );
                    self.refused(&name, "activation_function", problem)
                })?
            }
            Some(other) => {
                return Err(self.refused(
                    &name,
                    "activation_function",
                    format!("expected a class of torch, found {other}"),
                ));
            }
        };
        let weights = self.module_weights(module)?;
        let bias = flag("bias", true)?.then(|| weights.tensor("linear.bias", &[out_features])).transpose()?;
        let residual = match (flag("use_residual", false)?, in_features == out_features) {
            (false, _) => Residual::None,
            (true, true) => Residual::Identity,
            (true, false) => Residual::Projection(weights.tensor("residual.weight", &[out_features, in_features])?),
        };
        let weight = weights.tensor("linear.weight", &[out_features, in_features])?;
        Ok(DenseModule { weight, bias, in_features, out_features, activation, residual })
    }

    fn layer_norm(&self, module: &Module) -> Result<ModuleStep> {
        let (name, config) = self.module_config(module)?;
        let dimension = config.get("dimension").and_then(Value::as_u64).filter(|size| (1..1 << 20).contains(size));
        let Some(dimension) = dimension else {
            return Err(self.refused(&name, "dimension", "expected a number of dimensions".to_owned()));
        };
        let weights = self.module_weights(module)?;
        let tensor = |parameter: &str| weights.tensor(parameter, &[dimension as usize]);
        Ok(ModuleStep::LayerNorm { weight: tensor("norm.weight")?, bias: tensor("norm.bias")? })
    }

    /// Refuses modules that work on something other than the pooled vector.
    fn refuse_other_features(&self, module: &Module, config: &Map<String, Value>) -> Result<()> {
        for key in ["module_input_name", "module_output_name"] {
            if let Some(value) = config.get(key).filter(|value| !value.is_null() && *value != "sentence_embedding") {
                return Err(self.refused(
                    &in_folder(module, "config.json"),
                    key,
                    format!("is {value}; expected `sentence_embedding`; choose another --emit than `sentence`"),
                ));
            }
        }
        Ok(())
    }

    fn module_config(&self, module: &Module) -> Result<(String, Map<String, Value>)> {
        let name = in_folder(module, "config.json");
        let config = self
            .read_root_json::<Map<String, Value>>(&name)?
            .ok_or_else(|| Error::model(self.root_path_of(&name), "is missing, but modules.json asks for it"))?;
        Ok((name, config))
    }

    fn module_weights(&self, module: &Module) -> Result<Weights> {
        let file = |name: &str| self.root_path_of(&in_folder(module, name));
        let [safetensors, pickle] = ["model.safetensors", "pytorch_model.bin"].map(file);
        if safetensors.exists() {
            Weights::of_module(&safetensors)
        } else if pickle.exists() {
            Weights::of_module(&pickle)
        } else {
            Err(Error::model(safetensors, "is missing, and so is pytorch_model.bin; modules.json asks for one of them"))
        }
    }

    fn refused(&self, file: &str, key: &str, problem: String) -> Error {
        Error::Config { path: self.root_path_of(file), key: key.to_owned(), problem }
    }
}

/// A limit in tokens; `None` below 2, where sentence-transformers does not cut at all.
fn length(tokens: f64) -> Option<usize> {
    (tokens >= 2.0).then_some(tokens as usize)
}

/// Whether Python takes the value for true.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// Arguments of loading that say where files come from, and do not affect their content.
const OF_THE_LOADER: [&str; 10] = [
    "trust_remote_code",
    "revision",
    "subfolder",
    "token",
    "cache_dir",
    "local_files_only",
    "force_download",
    "use_auth_token",
    "use_fast",
    "code_revision",
];

impl SentenceRecipe {
    /// Width of the sentence embedding, for hidden states of `width` numbers.
    ///
    /// # Errors
    /// A message when a module does not accept the output of the one before.
    pub fn columns(&self, width: usize) -> std::result::Result<usize, String> {
        let mut columns = width * self.poolings.len();
        for step in &self.steps {
            let (takes, gives) = match step {
                ModuleStep::Dense(dense) => (dense.in_features, dense.out_features),
                ModuleStep::LayerNorm { weight, .. } => (weight.len(), weight.len()),
                ModuleStep::Normalize => (columns, columns),
            };
            if takes != columns {
                return Err(format!("a module takes vectors of {takes} numbers, and the one before gives {columns}"));
            }
            columns = gives;
        }
        Ok(columns)
    }
}

fn in_folder(module: &Module, name: &str) -> String {
    if module.path.is_empty() { name.to_owned() } else { format!("{}/{name}", module.path) }
}
