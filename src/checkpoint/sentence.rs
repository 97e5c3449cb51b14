//! A sentence-transformers model's own sentence embedding, as its `modules.json` defines it.

use serde_json::{Map, Value};

use super::{Checkpoint, Module};
use crate::error::{Error, Result};
use crate::spec::Pooling;

/// What happens to the last layer to make the sentence embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceRecipe {
    /// Pooled vectors, side by side in this order.
    pub poolings: Vec<Pooling>,
    /// Whether the result is L2-normalized.
    pub normalize: bool,
    /// The length in tokens at which sentence-transformers cuts texts, when the model says.
    pub max_seq_length: Option<usize>,
    /// Whether sentence-transformers puts texts into lower case before it tokenizes them.
    pub do_lower_case: bool,
}

/// The keys of old pooling configurations, in the order in which their vectors stand, and the names of new ones.
const POOLING_MODES: [(&str, &str, Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", Pooling::Cls),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Pooling::Weightedmean),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::Lasttoken),
];

/// The settings of the Transformer module.
pub const SENTENCE_CONFIG: &str = "sentence_bert_config.json";

impl Checkpoint {
    /// How this model makes a sentence embedding; `None` when it has no `modules.json`.
    ///
    /// # Errors
    /// [`Error::Model`] and [`Error::Config`] when its files are damaged or ask for a module that is not computed here.
    pub fn sentence_recipe(&self) -> Result<Option<SentenceRecipe>> {
        let Some(modules) = self.modules()? else { return Ok(None) };
        let mut recipe =
            SentenceRecipe { poolings: Vec::new(), normalize: false, max_seq_length: None, do_lower_case: false };
        for module in &modules {
            match module.class.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {
                    let name = in_folder(module, SENTENCE_CONFIG);
                    let config = self.read_json::<Map<String, Value>>(&name)?.unwrap_or_default();
                    let length = config.get("max_seq_length").and_then(Value::as_u64);
                    recipe.max_seq_length = length.and_then(|length| usize::try_from(length).ok());
                    recipe.do_lower_case = config.get("do_lower_case") == Some(&Value::Bool(true));
                }
                "Pooling" if recipe.poolings.is_empty() => recipe.poolings = self.poolings(module)?,
                "Normalize" => recipe.normalize = true,
                _ => {
                    return Err(Error::Config {
                        path: self.path_of("modules.json"),
                        key: "type".to_owned(),
                        problem: format!(
                            "module `{}` is not supported; expected Transformer, Pooling and Normalize, so choose another --emit than `sentence`",
                            module.class
                        ),
                    });
                }
            }
        }
        if recipe.poolings.is_empty() {
            return Err(Error::model(
                self.path_of("modules.json"),
                "has no Pooling module, so it defines no sentence embedding",
            ));
        }
        Ok(Some(recipe))
    }

    fn poolings(&self, module: &Module) -> Result<Vec<Pooling>> {
        let name = in_folder(module, "config.json");
        let config = self
            .read_json::<Map<String, Value>>(&name)?
            .ok_or_else(|| Error::model(self.path_of(&name), "is missing, but modules.json asks for it"))?;
        let problem =
            |problem: String| Error::Config { path: self.path_of(&name), key: "pooling_mode".to_owned(), problem };
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
        if modes.is_empty() {
            return Err(problem("selects no pooling; choose another --emit than `sentence`".to_owned()));
        }
        let known = |mode: &str| {
            POOLING_MODES.iter().find(|(_, name, _)| *name == mode).map(|(.., pooling)| *pooling).ok_or_else(|| {
                problem(format!("`{mode}` is not known; expected one of sentence-transformers' pooling modes"))
            })
        };
        modes.into_iter().map(known).collect()
    }
}

fn in_folder(module: &Module, name: &str) -> String {
    if module.path.is_empty() { name.to_owned() } else { format!("{}/{name}", module.path) }
}
