//! What is asked of a model: which vectors, of which layers, made how.

use serde::{Deserialize, Serialize};

use crate::spec::{Combine, Dtype, LayerSelection, Overflow, SpecialTokens, VectorKind, WordPooling};

/// What is to be computed of texts. The default is the mean vector of every layer.
///
/// ```
/// use layerwise::{Request, VectorKind};
///
/// let request = Request { kinds: vec![VectorKind::Cls], layers: Some("-4..".parse()?), ..Request::default() };
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Kinds of vectors; their order does not matter.
    pub kinds: Vec<VectorKind>,
    /// Layers, 0 being the embedding output; all of them where nothing is said. Only with kinds that each layer has.
    pub layers: Option<LayerSelection>,
    /// How the tokens of a word become one vector.
    pub word_pooling: WordPooling,
    /// Whether special tokens take part.
    pub special_tokens: SpecialTokens,
    /// Whether the layers become one array, and how.
    pub combine: Option<Combine>,
    /// Whether vectors of texts are divided by their length.
    pub normalize: bool,
    /// What is put before each text, empty for nothing. Without it: the prompt of `prompt_name`; else, for
    /// [`VectorKind::Sentence`], the model's own.
    pub prompt: Option<String>,
    /// The prompt by the name that the model has for it.
    pub prompt_name: Option<String>,
    /// Numbers of a sentence vector that are kept, from the first on (Kusupati et al. 2022, "Matryoshka"). Without it the
    /// model's own number, else all.
    pub truncate_dim: Option<usize>,
    /// Longest text in tokens, special tokens included. Without it the model's limit.
    pub max_length: Option<usize>,
    /// What happens to a longer text.
    pub overflow: Overflow,
    /// Tokens that a window shares with the next one; half of what it has room for where nothing is said.
    pub stride: Option<usize>,
    /// The type to which numbers are rounded when they are kept.
    pub dtype: Dtype,
    /// Tokens that go through the encoder together. Changes no number.
    pub batch_tokens: u32,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            kinds: vec![VectorKind::Mean],
            layers: None,
            word_pooling: WordPooling::default(),
            special_tokens: SpecialTokens::default(),
            combine: None,
            normalize: false,
            prompt: None,
            prompt_name: None,
            truncate_dim: None,
            max_length: None,
            overflow: Overflow::default(),
            stride: None,
            dtype: Dtype::default(),
            batch_tokens: Self::BATCH_TOKENS,
        }
    }
}

impl Request {
    /// Tokens that go through the encoder together where nothing is said: enough that weights are read seldom, few enough
    /// that what lies between two layers stays small.
    pub const BATCH_TOKENS: u32 = 4096;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_what_they_are_written_as() {
        let request = Request {
            kinds: vec![VectorKind::Token, VectorKind::MeanSqrtLen],
            layers: Some("0,-2..,3".parse().unwrap()),
            combine: Some(Combine::Concat),
            ..Request::default()
        };
        let json = serde_json::to_string(&request).unwrap();
        assert!(json.contains("\"layers\":\"0,-2..,3\""), "{json}");
        assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), request);
        assert_eq!(serde_json::from_str::<Request>("{}").unwrap(), Request::default());
        assert!(serde_json::from_str::<Request>("{\"layer\": 3}").is_err());
    }
}
