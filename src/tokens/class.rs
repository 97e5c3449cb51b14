//! Tokenizer classes of transformers, as data: what each one adds to, or takes from, a model's files.
//!
//! A class decides which special tokens a tokenizer has where nobody names them, whether pairs have token types, which of
//! the normalizer's flags follow the settings instead of `tokenizer.json`, and how a tokenizer is made of a `vocab.txt`.

/// What a tokenizer class decides.
#[derive(Debug)]
pub(super) struct Class {
    /// The name, without the `Fast` that the class built on the tokenizers library had before transformers 5.
    pub(super) name: &'static str,
    /// The special tokens that the class has by default.
    pub(super) special_tokens: &'static [SpecialToken],
    /// Whether `model_input_names` has `token_type_ids` by default.
    pub(super) token_type_ids: bool,
    /// Which flags of a `BertNormalizer` follow the settings, whatever `tokenizer.json` says.
    pub(super) normalizer: NormalizerFlags,
    /// Special tokens between the texts of a pair where the tokenizer is made of `vocab.txt`; `None` for a class that
    /// has no such file.
    pub(super) separators: Option<usize>,
}

/// A special token that a class has by default.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpecialToken {
    /// The attribute, such as `cls_token`.
    pub(super) attribute: &'static str,
    /// Its default text.
    pub(super) content: &'static str,
    /// Whether the class makes an `AddedToken` of a plain text, and whether that one takes the space before it.
    pub(super) as_object: Option<TakesSpace>,
}

/// Whether a token takes the white space before it (`lstrip`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TakesSpace(pub(super) bool);

/// Flags of a `BertNormalizer` that a class sets from `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormalizerFlags {
    /// All three.
    All,
    /// The first two.
    CaseAndAccents,
    /// None: `tokenizer.json` decides.
    None,
}

/// The attributes of special tokens that every tokenizer may have, in the order in which transformers adds them.
pub(super) const ATTRIBUTES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

const fn text(attribute: &'static str, content: &'static str) -> SpecialToken {
    SpecialToken { attribute, content, as_object: None }
}

const fn object(attribute: &'static str, content: &'static str, takes_space: bool) -> SpecialToken {
    SpecialToken { attribute, content, as_object: Some(TakesSpace(takes_space)) }
}

const OF_BERT: &[SpecialToken] = &[
    text("unk_token", "[UNK]"),
    text("sep_token", "[SEP]"),
    text("pad_token", "[PAD]"),
    text("cls_token", "[CLS]"),
    text("mask_token", "[MASK]"),
];

const OF_MPNET: &[SpecialToken] = &[
    object("bos_token", "<s>", false),
    object("eos_token", "</s>", false),
    object("unk_token", "[UNK]", false),
    object("sep_token", "</s>", false),
    object("pad_token", "<pad>", false),
    object("cls_token", "<s>", false),
    object("mask_token", "<mask>", true),
];

const OF_XLM_ROBERTA: &[SpecialToken] = &[
    text("bos_token", "<s>"),
    text("eos_token", "</s>"),
    text("unk_token", "<unk>"),
    text("sep_token", "</s>"),
    text("pad_token", "<pad>"),
    text("cls_token", "<s>"),
    object("mask_token", "<mask>", true),
];

const fn like_bert(name: &'static str) -> Class {
    Class { name, special_tokens: OF_BERT, token_type_ids: true, normalizer: NormalizerFlags::All, separators: Some(1) }
}

/// The class of a model that names none.
pub(super) static BERT: &Class = &CLASSES[0];

/// The default class in transformers 5, which also stands in for classes that it does not know. It has no token types.
pub(super) static TOKENIZERS_BACKEND: &Class = &CLASSES[CLASSES.len() - 1];

/// All known classes, in a static so that classes can be compared by address.
static CLASSES: &[Class] = &[
    like_bert("BertTokenizer"),
    like_bert("ConvBertTokenizer"),
    like_bert("DPRContextEncoderTokenizer"),
    like_bert("DPRQuestionEncoderTokenizer"),
    like_bert("ElectraTokenizer"),
    like_bert("LayoutLMTokenizer"),
    like_bert("LxmertTokenizer"),
    like_bert("MobileBertTokenizer"),
    like_bert("RealmTokenizer"),
    like_bert("SqueezeBertTokenizer"),
    Class { token_type_ids: false, ..like_bert("DistilBertTokenizer") },
    Class { token_type_ids: false, ..like_bert("DPRReaderTokenizer") },
    Class { token_type_ids: false, ..like_bert("RetriBertTokenizer") },
    Class {
        name: "MPNetTokenizer",
        special_tokens: OF_MPNET,
        token_type_ids: false,
        normalizer: NormalizerFlags::CaseAndAccents,
        separators: Some(2),
    },
    Class {
        name: "XLMRobertaTokenizer",
        special_tokens: OF_XLM_ROBERTA,
        token_type_ids: false,
        normalizer: NormalizerFlags::None,
        separators: None,
    },
    Class {
        name: "PreTrainedTokenizer",
        special_tokens: &[],
        token_type_ids: true,
        normalizer: NormalizerFlags::None,
        separators: None,
    },
    Class {
        name: "TokenizersBackend",
        special_tokens: &[],
        token_type_ids: false,
        normalizer: NormalizerFlags::None,
        separators: None,
    },
];

/// Other classes that transformers has. What they do is not known here, so a model that names one is refused.
const OTHER_CLASSES: &str = "Albert Bart Barthez Bartpho BertGeneration BertJapanese Bertweet BigBird BioGpt BlenderbotSmall \
    Blenderbot Bloom ByT5 CLIP CTRL Camembert Canine Clvp CodeGen CodeLlama Cohere CpmAnt Cpm Deberta DebertaV2 Dia ErnieM Esm \
    FNet FSMT FastSpeech2Conformer Flaubert Funnel GPT2 GPTNeoXJapanese GPTNeoX GPTSanJapanese GPTSw3 Gemma Herbert Jukebox LED \
    LayoutLMv2 LayoutLMv3 LayoutXLM Llama Longformer Luke M2M100 MBart50 MBart MLuke MT5 Marian MarkupLM Mgpstr Mvp MyT5 Nllb \
    Nougat OpenAIGPT PLBart Parakeet Pegasus Perceiver Phobert Pop2Piano ProphetNet Qwen2 Reformer RemBert RoCBert RoFormer \
    Roberta SeamlessM4T Siglip Speech2Text2 Speech2Text SpeechT5 Splinter T5 Tapas Tapex TransfoXL Udop Vits Wav2Vec2CTC \
    Wav2Vec2PhonemeCTC Wav2Vec2 Whisper XGLM XLMProphetNet XLM XLNet";

/// What is known of a class name.
pub(super) enum Known {
    /// A class whose behaviour is known.
    Yes(&'static Class),
    /// A class that transformers has, whose behaviour is not known.
    ByName,
    /// A class that transformers does not have either.
    No,
}

/// Looks a class up by the name that a configuration gives.
pub(super) fn find(name: &str) -> Known {
    let stem = name.strip_suffix("Fast").unwrap_or(name);
    if let Some(class) = CLASSES.iter().find(|class| class.name == stem) {
        return Known::Yes(class);
    }
    match stem.strip_suffix("Tokenizer") {
        Some(stem) if OTHER_CLASSES.split_whitespace().any(|other| other == stem) => Known::ByName,
        _ => Known::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_with_and_without_fast() {
        assert!(matches!(find("BertTokenizer"), Known::Yes(class) if std::ptr::eq(class, BERT)));
        assert!(matches!(find("DistilBertTokenizerFast"), Known::Yes(class) if !class.token_type_ids));
        assert!(matches!(find("PreTrainedTokenizerFast"), Known::Yes(class) if class.name == "PreTrainedTokenizer"));
        assert!(matches!(find("TokenizersBackend"), Known::Yes(class) if std::ptr::eq(class, TOKENIZERS_BACKEND)));
        assert!(matches!(find("BertJapaneseTokenizer"), Known::ByName));
        assert!(matches!(find("RobertaTokenizerFast"), Known::ByName));
        assert!(matches!(find("OurOwnTokenizer"), Known::No));
    }
}
