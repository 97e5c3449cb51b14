//! The enums and selections that the other modules share: layers, kinds of vectors, poolings, formats, types.
//!
//! Names are those of transformers and sentence-transformers; the meaning of each is defined here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A setting that is chosen by name, in options, in requests and in files.
pub trait Choice: Copy + PartialEq + fmt::Debug + 'static {
    /// All choices, in the order in which `--help` lists them.
    const ALL: &'static [Self];

    /// The name, the same in options, requests, files and manifests.
    fn name(self) -> &'static str;

    /// The description that `--help` prints.
    fn about(self) -> &'static str;

    /// The choice of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name)
    }
}

/// Defines an enum whose variants are chosen by name. The comment above a variant is its documentation and its help
/// text.
macro_rules! choices {
    ($(#[$meta:meta])* pub enum $enum:ident { $($(#[doc = $about:literal])+ $variant:ident = $name:literal,)+ } $(default $default:ident)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $enum {
            $($(#[doc = $about])+ #[serde(rename = $name)] $variant,)+
        }

        impl $enum {
            /// All choices, in the order in which `--help` lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in options, requests, files and manifests.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl $crate::spec::Choice for $enum {
            const ALL: &'static [Self] = Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($about),+).trim_ascii(),)+
                }
            }
        }

        $(impl Default for $enum {
            fn default() -> Self {
                Self::$default
            }
        })?

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::spec::Choice::name(*self))
            }
        }
    };
}
pub(crate) use choices;

/// Layers as the user wrote them: numbers and ranges, negative ones counted from the end.
///
/// Layer 0 is the embedding output, layer `k` the output of encoder layer `k`, `-1` the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerSelection(Vec<LayerRange>);

/// A range of layers, both ends included; an absent end is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LayerRange {
    first: Option<i64>,
    last: Option<i64>,
}

impl LayerSelection {
    /// Every layer of a model, the embedding output included.
    pub fn all() -> Self {
        Self(vec![LayerRange { first: None, last: None }])
    }

    /// The selected layers of a model with `num_hidden_layers` encoder layers, ascending, each once.
    ///
    /// # Errors
    /// A message that names the layer when one does not exist, or the range when it holds no layer.
    pub fn resolve(&self, num_hidden_layers: usize) -> Result<Vec<usize>, String> {
        let mut selected = vec![false; num_hidden_layers + 1];
        let absolute = |layer: i64| -> Result<usize, String> {
            let counted = if layer < 0 { layer + num_hidden_layers as i64 + 1 } else { layer };
            usize::try_from(counted).ok().filter(|&layer| layer <= num_hidden_layers).ok_or_else(|| {
                format!(
                    "layer {layer} does not exist: the model has layers 0 (the embedding output) to {num_hidden_layers}, or -{} to -1",
                    num_hidden_layers + 1
                )
            })
        };
        for range in &self.0 {
            let first = range.first.map_or(Ok(0), absolute)?;
            let last = range.last.map_or(Ok(num_hidden_layers), absolute)?;
            if first > last {
                return Err(format!("the layer range {range} is empty: it runs from layer {first} to layer {last}"));
            }
            selected[first..=last].fill(true);
        }
        Ok((0..=num_hidden_layers).filter(|&layer| selected[layer]).collect())
    }
}

impl FromStr for LayerSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self::all());
        }
        let number = |part: &str| -> Result<i64, String> {
            // 32 bits suffice for any model, and counting from the end cannot overflow 64 bits.
            part.trim().parse::<i32>().map(i64::from).map_err(|_| {
                format!("`{part}` is not a layer: expected `all`, or numbers and ranges such as `0,3,-1`, `1..4` (both ends included) or `-4..`")
            })
        };
        let end = |part: &str| if part.trim().is_empty() { Ok(None) } else { number(part).map(Some) };
        text.split(',')
            .map(|part| match part.split_once("..") {
                Some((first, last)) => {
                    Ok(LayerRange { first: end(first)?, last: end(last.strip_prefix('=').unwrap_or(last))? })
                }
                None => number(part).map(|layer| LayerRange { first: Some(layer), last: Some(layer) }),
            })
            .collect::<Result<Vec<_>, String>>()
            .map(Self)
    }
}

impl TryFrom<String> for LayerSelection {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LayerSelection> for String {
    fn from(selection: LayerSelection) -> String {
        selection.to_string()
    }
}

impl From<usize> for LayerSelection {
    fn from(layer: usize) -> Self {
        let layer = Some(layer as i64);
        Self(vec![LayerRange { first: layer, last: layer }])
    }
}

impl fmt::Display for LayerSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return f.write_str("all");
        }
        let ranges: Vec<String> = self
            .0
            .iter()
            .map(|range| match range.first {
                Some(layer) if range.last == Some(layer) => layer.to_string(),
                _ => range.to_string(),
            })
            .collect();
        f.write_str(&ranges.join(","))
    }
}

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |end: Option<i64>| end.map(|layer| layer.to_string()).unwrap_or_default();
        write!(f, "{}..{}", show(self.first), show(self.last))
    }
}

choices! {
    /// A kind of vector to write.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum VectorKind {
        /// A vector per token, special tokens included
        Token = "token",
        /// A vector per word, pooled over its tokens (--word-pooling)
        Word = "word",
        /// A vector per span of --span-column, pooled over its tokens (--word-pooling)
        Span = "span",
        /// The first token's vector (CLS)
        Cls = "cls",
        /// Mean over the tokens
        Mean = "mean",
        /// Largest value over the tokens, dimension by dimension
        Max = "max",
        /// Sum over the tokens divided by the square root of their number
        MeanSqrtLen = "mean_sqrt_len",
        /// Mean over the tokens weighted by their position, 1, 2, 3, …
        Weightedmean = "weightedmean",
        /// The last token's vector (SEP)
        Lasttoken = "lasttoken",
        /// pooler_output: tanh(dense(first token of the last layer)), for models that have one
        Pooler = "pooler",
        /// The model's own sentence embedding, as its modules.json defines it
        Sentence = "sentence",
    }
}

impl VectorKind {
    /// What a row of this kind belongs to.
    pub fn rows(self) -> RowKind {
        match self {
            VectorKind::Token => RowKind::Token,
            VectorKind::Word => RowKind::Word,
            VectorKind::Span => RowKind::Span,
            _ => RowKind::Text,
        }
    }

    /// The pooling over tokens of a kind that is one vector per text and layer; `None` for other kinds.
    pub fn pooling(self) -> Option<Pooling> {
        Some(match self {
            VectorKind::Cls => Pooling::Cls,
            VectorKind::Mean => Pooling::Mean,
            VectorKind::Max => Pooling::Max,
            VectorKind::MeanSqrtLen => Pooling::MeanSqrtLen,
            VectorKind::Weightedmean => Pooling::Weightedmean,
            VectorKind::Lasttoken => Pooling::Lasttoken,
            VectorKind::Token | VectorKind::Word | VectorKind::Span | VectorKind::Pooler | VectorKind::Sentence => {
                return None;
            }
        })
    }

    /// Whether `--special-tokens` makes a difference to it.
    pub fn has_special_tokens(self) -> bool {
        use VectorKind::{Max, Mean, MeanSqrtLen, Token, Weightedmean};
        matches!(self, Token | Mean | Max | MeanSqrtLen | Weightedmean)
    }

    /// Whether there is an array for each layer. `pooler` and `sentence` belong to the model as a whole.
    pub fn per_layer(self) -> bool {
        !matches!(self, VectorKind::Pooler | VectorKind::Sentence)
    }
}

/// What a row of an array belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A token of a text.
    Token,
    /// A word of a text.
    Word,
    /// A span of a text.
    Span,
    /// A text.
    Text,
}

impl RowKind {
    /// All kinds, in the order in which they are declared.
    pub const ALL: [Self; 4] = [Self::Token, Self::Word, Self::Span, Self::Text];
}

/// How a text's tokens become one vector, as defined by sentence-transformers' `Pooling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token.
    Cls,
    /// Mean over the tokens.
    Mean,
    /// Largest value over the tokens, dimension by dimension.
    Max,
    /// Sum over the tokens divided by the square root of their number.
    MeanSqrtLen,
    /// Mean over the tokens weighted by their position, 1, 2, 3, ….
    Weightedmean,
    /// The last token.
    Lasttoken,
}

choices! {
    /// How the tokens of a word, or of a span, become one vector.
    pub enum WordPooling {
        /// The first token of the word or span
        First = "first",
        /// The last token of the word or span
        Last = "last",
        /// Mean of the first and the last token
        FirstLast = "first_last",
        /// Mean over the tokens of the word or span
        Mean = "mean",
    } default Mean
}

choices! {
    /// Whether special tokens take part.
    pub enum SpecialTokens {
        /// They have token rows and take part in pooling
        Keep = "keep",
        /// No token rows for them, and mean, max, mean_sqrt_len and weightedmean leave them out
        Drop = "drop",
    } default Keep
}

choices! {
    /// How the selected layers become one array.
    pub enum Combine {
        /// Side by side, lowest layer first
        Concat = "concat",
        /// Mean over the layers
        Mean = "mean",
        /// Sum over the layers
        Sum = "sum",
        /// Largest value over the layers, dimension by dimension
        Max = "max",
    }
}

/// The activation function between the two matrix products of a layer's feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with the error function (`gelu`, `gelu_python`).
    Gelu,
    /// The tanh form (`gelu_new`, `gelu_pytorch_tanh`), Hendrycks & Gimpel 2016.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `tanh(x)`, as the pooler uses.
    Tanh,
    /// `x · σ(x)` with the logistic function (`silu`, `swish`), Elfwing et al. 2018.
    Silu,
}

impl Activation {
    /// The names that are known.
    pub const NAMES: [&str; 8] =
        ["gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh", "silu", "swish"];

    /// The activation of transformers' name (`ACT2FN`); `None` for one that is not supported.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "tanh" => Activation::Tanh,
            "silu" | "swish" | "swiglu" => Activation::Silu,
            _ => return None,
        })
    }
}

choices! {
    /// What happens to a text with more tokens than the limit.
    pub enum Overflow {
        /// Cut it at the limit and say so
        Truncate = "truncate",
        /// Write nothing and name the rows
        Error = "error",
        /// Encode it in windows that overlap (--stride), and take each token from the one in which it has most context
        Window = "window",
    } default Truncate
}

choices! {
    /// The file format of the arrays.
    pub enum Format {
        /// NumPy arrays, one file each
        Npy = "npy",
        /// One file per kind of vector, a tensor per layer
        Safetensors = "safetensors",
        /// Parquet files, a row per text, token or word, with the input's columns; in builds with that feature
        Parquet = "parquet",
    } default Npy
}

choices! {
    /// The type of the stored numbers.
    pub enum Dtype {
        /// float32, as computed
        F32 = "f32",
        /// float16, rounded to nearest
        F16 = "f16",
        /// bfloat16, rounded to nearest (safetensors and JSON Lines only)
        Bf16 = "bf16",
    } default F32
}

impl Dtype {
    /// Rounds a number to this type, to nearest; infinite if it does not fit.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Dtype::F32 => value,
            Dtype::F16 => half::f16::from_f32(value).to_f32(),
            Dtype::Bf16 => half::bf16::from_f32(value).to_f32(),
        }
    }

    /// Size of one number in bytes.
    pub fn size(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

choices! {
    /// The form in which vectors are written: the files of a directory, or a stream.
    pub enum OutputFormat {
        /// NumPy arrays, one file each
        Npy = "npy",
        /// One file per kind of vector, a tensor per layer
        Safetensors = "safetensors",
        /// Parquet files, a row per text, token or word, with the input's columns; in builds with that feature
        Parquet = "parquet",
        /// Without -o: an Arrow IPC stream on standard output, in builds with the feature parquet
        Arrow = "arrow",
    } default Npy
}

impl OutputFormat {
    /// The format of the files of a directory; `None` for a stream.
    pub fn of_files(self) -> Option<Format> {
        match self {
            Self::Npy => Some(Format::Npy),
            Self::Safetensors => Some(Format::Safetensors),
            Self::Parquet => Some(Format::Parquet),
            Self::Arrow => None,
        }
    }
}

choices! {
    /// The arithmetic of the matrix products on the CPU.
    pub enum Compute {
        /// float32, at least as exact as PyTorch's
        F32 = "f32",
        /// Operands rounded to bfloat16, sums in float32: faster, about 3 digits
        Bf16 = "bf16",
        /// Operands as integers of 8 bits with a factor for every 32: faster still with dot products of bytes, about 2 digits
        Int8 = "int8",
    } default F32
}

/// The device that computes: `cpu`, `cuda`, `cuda:1`, `metal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceSelection {
    /// Which kind.
    pub kind: DeviceKind,
    /// Which of several devices of that kind, from 0.
    pub index: usize,
}

choices! {
    /// A kind of device.
    pub enum DeviceKind {
        /// The CPU, with our own kernels
        Cpu = "cpu",
        /// An NVIDIA GPU, in builds with the feature `cuda`
        Cuda = "cuda",
        /// Apple's GPU, in builds with the feature `metal`
        Metal = "metal",
    } default Cpu
}

impl FromStr for DeviceSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = match text.split_once(':') {
            Some(("cuda", index)) => ("cuda", index.parse().map_err(|_| format!("`{index}` is not a number"))?),
            _ => (text, 0),
        };
        match DeviceKind::from_name(name) {
            Some(kind) => Ok(Self { kind, index }),
            None => Err("expected cpu, cuda, cuda:N or metal".to_owned()),
        }
    }
}

impl fmt::Display for DeviceSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.index > 0 { write!(f, ":{}", self.index) } else { Ok(()) }
    }
}

choices! {
    /// The format of the input.
    #[derive(PartialOrd, Ord)]
    pub enum InputFormat {
        /// One text a line
        Text = "text",
        /// JSON Lines: an object a line
        Jsonl = "jsonl",
        /// JSON: an array of objects or of texts, or objects one after the other
        Json = "json",
        /// A table, separated by commas
        Csv = "csv",
        /// A table, separated by tabs
        Tsv = "tsv",
        /// A word a line with its tags in columns, an empty line after each sentence
        Conll = "conll",
        /// CoNLL-U, as Universal Dependencies have it
        Conllu = "conllu",
        /// FASTA: a line `>id description`, then a sequence on any number of lines
        Fasta = "fasta",
        /// Parquet, with columns by name; in builds with the feature parquet
        Parquet = "parquet",
        /// Arrow IPC: a stream, or a file (.arrow, .feather); in builds with the feature parquet
        Arrow = "arrow",
    }
}

choices! {
    /// What happens to a line of the input that cannot be taken.
    pub enum OnBadLine {
        /// All of them are named, and nothing is encoded
        Error = "error",
        /// They are left out, named and counted; texts.jsonl has the line of each text that is kept
        Skip = "skip",
    } default Error
}

impl OnBadLine {
    /// Whether it is [`OnBadLine::Error`].
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it a reference")]
    pub(crate) fn is_error(&self) -> bool {
        *self == OnBadLine::Error
    }
}

impl InputFormat {
    /// Whether it has typed columns, and records are rows and not lines.
    pub fn is_columnar(self) -> bool {
        matches!(self, InputFormat::Parquet | InputFormat::Arrow)
    }

    /// Whether a delimiter character separates its columns.
    pub fn is_table(self) -> bool {
        matches!(self, InputFormat::Csv | InputFormat::Tsv)
    }
}

/// The delimiter between the columns of a table, an ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Delimiter(u8);

impl Delimiter {
    /// The delimiter, or `None` for a character that serves as a quote or a line end.
    pub fn new(byte: u8) -> Option<Self> {
        (byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0)).then_some(Self(byte))
    }

    /// The character as a byte.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// The character as it is typed in a shell.
    pub fn typed(self) -> String {
        match self.0 {
            b'\t' => "tab".to_owned(),
            b',' => ",".to_owned(),
            other => format!("'{}'", char::from(other)),
        }
    }
}

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delimiter = match text {
            "tab" | "\\t" => Some(Self(b'\t')),
            _ if text.len() == 1 => Self::new(text.as_bytes()[0]),
            _ => None,
        };
        delimiter.ok_or_else(|| "expected one character of ASCII that is no quote, such as ; or |, or tab".to_owned())
    }
}

impl TryFrom<String> for Delimiter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> String {
        char::from(delimiter.0).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(text: &str, layers: usize) -> Result<Vec<usize>, String> {
        text.parse::<LayerSelection>().and_then(|selection| selection.resolve(layers))
    }

    #[test]
    fn selections_of_a_twelve_layer_model() {
        assert_eq!(resolve("all", 12).unwrap(), (0..=12).collect::<Vec<_>>());
        assert_eq!(resolve("0,6,-1", 12).unwrap(), [0, 6, 12]);
        assert_eq!(resolve("1..4", 12).unwrap(), [1, 2, 3, 4]);
        assert_eq!(resolve("1..=4", 12).unwrap(), [1, 2, 3, 4]);
        assert_eq!(resolve("-4..", 12).unwrap(), [9, 10, 11, 12]);
        assert_eq!(resolve("..2", 12).unwrap(), [0, 1, 2]);
        assert_eq!(resolve("..", 1).unwrap(), [0, 1]);
        assert_eq!(resolve(" 3 , 1 , 3 ", 12).unwrap(), [1, 3], "ascending, each once");
        assert_eq!(resolve("-13", 12).unwrap(), [0]);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert!(resolve("13", 12).unwrap_err().contains("layer 13 does not exist"));
        assert!(resolve("-14", 12).unwrap_err().contains("layer -14 does not exist"));
        assert!(resolve("4..1", 12).unwrap_err().contains("4..1 is empty"));
        for nonsense in ["", "one", "1,", "1...3", "1..2..3", "99999999999", "0x1", "1.5"] {
            assert!(resolve(nonsense, 12).is_err(), "{nonsense:?} must be refused");
        }
    }

    #[test]
    fn delimiters_are_one_character() {
        for (text, byte, typed) in [(";", b';', "';'"), ("tab", b'\t', "tab"), ("\\t", b'\t', "tab"), (",", b',', ",")]
        {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!((delimiter.byte(), delimiter.typed().as_str()), (byte, typed));
        }
        for nonsense in ["", ";;", "\"", "\n", "\r", "\0", "é", "semicolon", "\\n"] {
            assert!(nonsense.parse::<Delimiter>().is_err(), "{nonsense:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_selection_or_an_error(text in ".{0,20}", layers in 0usize..40) {
            if let Ok(selected) = resolve(&text, layers) {
                prop_assert!(!selected.is_empty());
                prop_assert!(selected.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(selected.iter().all(|&layer| layer <= layers));
            }
        }
    }
}
