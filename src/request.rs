//! What to compute: which vectors, of which layers, pooled and stored how.

use serde::{Deserialize, Serialize};

use crate::spec::{Combine, Dtype, LayerSelection, Overflow, SpecialTokens, VectorKind, WordPooling};

/// The settings of an extraction. The default is the mean vector of every layer.
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
    /// Layers, 0 being the embedding output; all of them by default. Only for kinds of vectors that each layer has.
    pub layers: Option<LayerSelection>,
    /// How the tokens of a word, or of a span, become one vector.
    pub word_pooling: WordPooling,
    /// Whether special tokens have vectors of their own and take part in pooling.
    pub special_tokens: SpecialTokens,
    /// How the selected layers are combined into one array; `None` keeps an array for each layer.
    pub combine: Option<Combine>,
    /// Whether the vectors of texts are scaled to length 1 (L2).
    pub normalize: bool,
    /// Text that is put before each text; an empty string for none. By default it is the prompt that `prompt_name`
    /// names, else, for [`VectorKind::Sentence`], the model's default prompt.
    pub prompt: Option<String>,
    /// The name of one of the model's own prompts.
    pub prompt_name: Option<String>,
    /// How many of a sentence vector's numbers are kept, from the first on (Kusupati et al. 2022, "Matryoshka
    /// Representation Learning"). By default it is the number that the model sets, else all.
    pub truncate_dim: Option<usize>,
    /// The longest text in tokens, special tokens included; the model's limit by default.
    pub max_length: Option<usize>,
    /// What happens to a text beyond `max_length`.
    pub overflow: Overflow,
    /// Number of tokens that a window shares with the next one; by default half of the tokens that a window has room
    /// for.
    pub stride: Option<usize>,
    /// The type to which numbers are rounded for storage.
    pub dtype: Dtype,
    /// Most tokens that go through the encoder together; by default [`Request::default_batch_tokens`]. It changes no number of the
    /// output.
    pub batch_tokens: Option<u32>,
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
            batch_tokens: None,
        }
    }
}

impl Request {
    /// The default number of tokens that go through the encoder together: large enough that weights are read seldom, and that each of
    /// so many threads has eight groups of 144 tokens, so that none waits long for the others; small enough that the intermediate results of
    /// a layer stay small.
    pub fn default_batch_tokens(threads: usize) -> u32 {
        u32::try_from(threads.saturating_mul(8 * 144)).unwrap_or(u32::MAX).max(4096)
    }
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
