//! Tokenizer classes of transformers, as data: what each one adds to, or takes from, a model's files.
//!
//! A class decides which special tokens a tokenizer has where nobody names them, whether pairs have token types, which parts
//! of `tokenizer.json` follow the settings instead, and of which other files a tokenizer is made, and how. A model that
//! names no class has the one of its `model_type`.

/// Whose rules say what the files mean. The two agree on nearly all models. Where they do not, version 4 keeps to what
/// `tokenizer.json` spells out, as every program built on the tokenizers library does; version 5 decides where version 4
/// cannot load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Those of transformers 4.57.
    Four,
    /// Those of transformers 5.24.
    Five,
}

/// What a tokenizer class decides.
#[derive(Debug)]
pub(super) struct Class {
    /// The name, without the `Fast` that the class built on the tokenizers library had before transformers 5.
    pub(super) name: &'static str,
    /// The special tokens that the class has by default.
    pub(super) special_tokens: &'static [SpecialToken],
    /// Special tokens without a name that it has by default (`additional_special_tokens`).
    pub(super) additional: &'static [&'static str],
    /// Whether `model_input_names` has `token_type_ids` by default.
    pub(super) token_type_ids: TokenTypes,
    /// Which flags of a `BertNormalizer` follow the settings, whatever `tokenizer.json` says.
    pub(super) normalizer: NormalizerFlags,
    /// What a tokenizer is made of, and how, where it is not `tokenizer.json`.
    pub(super) vocabulary: Vocabulary,
}

/// Whether the second text of a pair has token type 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenTypes {
    /// It has.
    Yes,
    /// It has in transformers 4, and has not in 5.
    InVersion4,
    /// All types are 0.
    No,
}

impl TokenTypes {
    /// The default by the rules of a version.
    pub(super) fn by(self, rules: Rules) -> bool {
        match self {
            TokenTypes::Yes => true,
            TokenTypes::InVersion4 => rules == Rules::Four,
            TokenTypes::No => false,
        }
    }
}

/// The files of a class beside `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// `vocab.txt` of WordPiece, with so many special tokens between the texts of a pair.
    WordPiece {
        /// One for BERT, two for MPNet.
        separators: usize,
    },
    /// `vocab.json` and `merges.txt` of byte-pair encoding on bytes.
    ByteLevel(ByteLevelKind),
    /// A model of the SentencePiece library.
    SentencePiece(SentencePieceKind),
    /// `vocab.txt` of ESM, each of whose lines is a token wherever it stands.
    Residues,
    /// None: `tokenizer.json` alone.
    None,
}

/// The classes whose tokens are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteLevelKind {
    /// With RoBERTa's special tokens around a text; offsets leave white space out.
    Roberta,
    /// Nothing around a text.
    Gpt2,
}

/// The classes that read models of the SentencePiece library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentencePieceKind {
    /// fairseq's four special tokens before the pieces, `<mask>` behind them.
    XlmRoberta,
    /// fairseq's five.
    Camembert,
    /// The pieces as they are; accents and upper case go.
    Albert,
    /// The pieces as they are.
    DebertaV2,
    /// The pieces as they are, and no special token around a text.
    BertGeneration,
}

impl Vocabulary {
    /// The names of the files.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Vocabulary::WordPiece { .. } | Vocabulary::Residues => &["vocab.txt"],
            Vocabulary::ByteLevel(_) => &["vocab.json", "merges.txt"],
            Vocabulary::SentencePiece(SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert) => {
                &["sentencepiece.bpe.model"]
            }
            Vocabulary::SentencePiece(SentencePieceKind::Albert | SentencePieceKind::BertGeneration) => {
                &["spiece.model"]
            }
            Vocabulary::SentencePiece(SentencePieceKind::DebertaV2) => &["spm.model"],
            Vocabulary::None => &[],
        }
    }

    /// Whether the class never looks at `tokenizer.json`, as it is not built on the tokenizers library.
    pub(super) fn is_alone(self) -> bool {
        matches!(self, Vocabulary::Residues | Vocabulary::SentencePiece(SentencePieceKind::BertGeneration))
    }
}

/// A special token that a class has by default.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpecialToken {
    /// The attribute, such as `cls_token`.
    pub(super) attribute: &'static str,
    /// Its default text.
    pub(super) content: &'static str,
    /// The `AddedToken` that the class makes of a plain text, if it makes one.
    pub(super) as_object: Option<MadeToken>,
}

/// The flags of an `AddedToken` that a class makes of a plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MadeToken {
    /// Whether it takes the white space before it.
    pub(super) lstrip: bool,
    /// Whether it is looked for in the normalized text; if not said, that depends on whether it is special.
    pub(super) normalized: Option<bool>,
    /// Who makes it.
    pub(super) by: MadeBy,
}

/// Where a class makes an `AddedToken` of a plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MadeBy {
    /// Always.
    Both,
    /// In transformers 4.
    Version4,
    /// In transformers 4, where the tokenizer is made of other files than `tokenizer.json`.
    Version4WithoutJson,
}

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

const fn object(attribute: &'static str, content: &'static str, lstrip: bool, by: MadeBy) -> SpecialToken {
    SpecialToken { attribute, content, as_object: Some(MadeToken { lstrip, normalized: None, by }) }
}

const OF_BERT: &[SpecialToken] = &[
    text("unk_token", "[UNK]"),
    text("sep_token", "[SEP]"),
    text("pad_token", "[PAD]"),
    text("cls_token", "[CLS]"),
    text("mask_token", "[MASK]"),
];

const OF_MPNET: &[SpecialToken] = &[
    object("bos_token", "<s>", false, MadeBy::Both),
    object("eos_token", "</s>", false, MadeBy::Both),
    object("unk_token", "[UNK]", false, MadeBy::Both),
    object("sep_token", "</s>", false, MadeBy::Both),
    object("pad_token", "<pad>", false, MadeBy::Both),
    object("cls_token", "<s>", false, MadeBy::Both),
    object("mask_token", "<mask>", true, MadeBy::Both),
];

const fn of_fairseq(mask_token: SpecialToken) -> [SpecialToken; 7] {
    [
        text("bos_token", "<s>"),
        text("eos_token", "</s>"),
        text("unk_token", "<unk>"),
        text("sep_token", "</s>"),
        text("pad_token", "<pad>"),
        text("cls_token", "<s>"),
        mask_token,
    ]
}

/// A mask that takes the space before it and is looked for in the text as it is.
const fn mask_of_4(content: &'static str) -> SpecialToken {
    let made = MadeToken { lstrip: true, normalized: Some(false), by: MadeBy::Version4 };
    SpecialToken { attribute: "mask_token", content, as_object: Some(made) }
}

const OF_ROBERTA: &[SpecialToken] = &of_fairseq(mask_of_4("<mask>"));
const OF_XLM_ROBERTA: &[SpecialToken] = &of_fairseq(object("mask_token", "<mask>", true, MadeBy::Version4));
const OF_CAMEMBERT: &[SpecialToken] = &of_fairseq(object("mask_token", "<mask>", true, MadeBy::Both));

const OF_ALBERT: &[SpecialToken] = &[
    text("bos_token", "[CLS]"),
    text("eos_token", "[SEP]"),
    text("unk_token", "<unk>"),
    text("sep_token", "[SEP]"),
    text("pad_token", "<pad>"),
    text("cls_token", "[CLS]"),
    mask_of_4("[MASK]"),
];

const OF_DEBERTA: &[SpecialToken] = &[
    text("bos_token", "[CLS]"),
    text("eos_token", "[SEP]"),
    SpecialToken {
        attribute: "unk_token",
        content: "[UNK]",
        as_object: Some(MadeToken { lstrip: false, normalized: Some(true), by: MadeBy::Version4WithoutJson }),
    },
    text("sep_token", "[SEP]"),
    text("pad_token", "[PAD]"),
    text("cls_token", "[CLS]"),
    text("mask_token", "[MASK]"),
];

const OF_BERT_GENERATION: &[SpecialToken] = &[
    text("bos_token", "<s>"),
    text("eos_token", "</s>"),
    text("unk_token", "<unk>"),
    text("pad_token", "<pad>"),
    text("sep_token", "<::::>"),
];

const OF_ESM: &[SpecialToken] = &[
    text("unk_token", "<unk>"),
    text("cls_token", "<cls>"),
    text("pad_token", "<pad>"),
    text("mask_token", "<mask>"),
    text("eos_token", "<eos>"),
];

const OF_GPT2: &[SpecialToken] =
    &[text("unk_token", "<|endoftext|>"), text("bos_token", "<|endoftext|>"), text("eos_token", "<|endoftext|>")];

const fn like_bert(name: &'static str) -> Class {
    Class {
        name,
        special_tokens: OF_BERT,
        additional: &[],
        token_type_ids: TokenTypes::Yes,
        normalizer: NormalizerFlags::All,
        vocabulary: Vocabulary::WordPiece { separators: 1 },
    }
}

/// A class that takes `tokenizer.json` as it is and knows other files too.
const fn of_files(name: &'static str, special_tokens: &'static [SpecialToken], vocabulary: Vocabulary) -> Class {
    Class {
        name,
        special_tokens,
        additional: &[],
        token_type_ids: TokenTypes::No,
        normalizer: NormalizerFlags::None,
        vocabulary,
    }
}

/// The class of a model that names none, nor a `model_type`.
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
    Class { token_type_ids: TokenTypes::No, ..like_bert("DistilBertTokenizer") },
    Class { token_type_ids: TokenTypes::No, ..like_bert("DPRReaderTokenizer") },
    Class { token_type_ids: TokenTypes::No, ..like_bert("RetriBertTokenizer") },
    Class {
        normalizer: NormalizerFlags::CaseAndAccents,
        ..of_files("MPNetTokenizer", OF_MPNET, Vocabulary::WordPiece { separators: 2 })
    },
    of_files("RobertaTokenizer", OF_ROBERTA, Vocabulary::ByteLevel(ByteLevelKind::Roberta)),
    of_files("GPT2Tokenizer", OF_GPT2, Vocabulary::ByteLevel(ByteLevelKind::Gpt2)),
    of_files("XLMRobertaTokenizer", OF_XLM_ROBERTA, Vocabulary::SentencePiece(SentencePieceKind::XlmRoberta)),
    Class {
        additional: &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
        ..of_files("CamembertTokenizer", OF_CAMEMBERT, Vocabulary::SentencePiece(SentencePieceKind::Camembert))
    },
    Class {
        token_type_ids: TokenTypes::InVersion4,
        ..of_files("AlbertTokenizer", OF_ALBERT, Vocabulary::SentencePiece(SentencePieceKind::Albert))
    },
    Class {
        token_type_ids: TokenTypes::Yes,
        ..of_files("DebertaV2Tokenizer", OF_DEBERTA, Vocabulary::SentencePiece(SentencePieceKind::DebertaV2))
    },
    of_files(
        "BertGenerationTokenizer",
        OF_BERT_GENERATION,
        Vocabulary::SentencePiece(SentencePieceKind::BertGeneration),
    ),
    of_files("EsmTokenizer", OF_ESM, Vocabulary::Residues),
    Class { token_type_ids: TokenTypes::Yes, ..of_files("PreTrainedTokenizer", &[], Vocabulary::None) },
    of_files("TokenizersBackend", &[], Vocabulary::None),
];

/// The class of each `model_type` where nobody names one (`TOKENIZER_MAPPING_NAMES` of transformers 4.57).
const OF_MODEL_TYPES: &[(&str, &str)] = &[
    ("albert", "AlbertTokenizer"),
    ("bert", "BertTokenizer"),
    ("bert-generation", "BertGenerationTokenizer"),
    ("camembert", "CamembertTokenizer"),
    ("convbert", "ConvBertTokenizer"),
    ("data2vec-text", "RobertaTokenizer"),
    ("deberta-v2", "DebertaV2Tokenizer"),
    ("distilbert", "DistilBertTokenizer"),
    ("electra", "ElectraTokenizer"),
    ("ernie", "BertTokenizer"),
    ("esm", "EsmTokenizer"),
    ("gpt2", "GPT2Tokenizer"),
    ("ibert", "RobertaTokenizer"),
    ("layoutlm", "LayoutLMTokenizer"),
    ("megatron-bert", "BertTokenizer"),
    ("mobilebert", "MobileBertTokenizer"),
    ("modernbert", "PreTrainedTokenizer"),
    ("mpnet", "MPNetTokenizer"),
    ("mra", "RobertaTokenizer"),
    ("nezha", "BertTokenizer"),
    ("nystromformer", "AlbertTokenizer"),
    ("qdqbert", "BertTokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("roberta-prelayernorm", "RobertaTokenizer"),
    ("roformer", "RoFormerTokenizer"),
    ("squeezebert", "SqueezeBertTokenizer"),
    ("visual_bert", "BertTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
    ("xlm-roberta-xl", "XLMRobertaTokenizer"),
    ("yoso", "AlbertTokenizer"),
];

/// Those that only transformers 5 knows.
const OF_MODEL_TYPES_OF_5: &[(&str, &str)] =
    &[("gte", "XLMRobertaTokenizer"), ("jina_embeddings_v3", "XLMRobertaTokenizer"), ("nomic_bert", "BertTokenizer")];

/// The name of the class of a `model_type`, and the version whose rules it has; `None` where transformers takes
/// `tokenizer.json` as it is.
pub(super) fn of_model_type(model_type: &str) -> Option<(&'static str, Rules)> {
    let of =
        |table: &[(&str, &'static str)]| table.iter().find(|(known, _)| *known == model_type).map(|(_, class)| *class);
    let four = of(OF_MODEL_TYPES).map(|class| (class, Rules::Four));
    four.or_else(|| of(OF_MODEL_TYPES_OF_5).map(|class| (class, Rules::Five)))
}

/// Other classes that transformers has. What they do is not known here, so a model that names one is refused.
const OTHER_CLASSES: &str = "Bart Barthez Bartpho BertJapanese Bertweet BigBird BioGpt BlenderbotSmall \
    Blenderbot Bloom ByT5 CLIP CTRL Canine Clvp CodeGen CodeLlama Cohere CpmAnt Cpm Deberta Dia ErnieM Esmc \
    FNet FSMT FastSpeech2Conformer Flaubert Funnel GPTNeoXJapanese GPTNeoX GPTSanJapanese GPTSw3 Gemma Herbert Jukebox LED \
    LayoutLMv2 LayoutLMv3 LayoutXLM Llama Longformer Luke M2M100 MBart50 MBart MLuke MT5 Marian MarkupLM Mgpstr Mvp MyT5 Nllb \
    Nougat OpenAIGPT PLBart Parakeet Pegasus Perceiver Phobert Pop2Piano ProphetNet Qwen2 Reformer RemBert RoCBert RoFormer \
    SeamlessM4T Siglip Speech2Text2 Speech2Text SpeechT5 Splinter T5 Tapas Tapex TransfoXL Udop Vits Wav2Vec2CTC \
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
        assert!(matches!(find("DistilBertTokenizerFast"), Known::Yes(class) if class.token_type_ids == TokenTypes::No));
        assert!(matches!(find("PreTrainedTokenizerFast"), Known::Yes(class) if class.name == "PreTrainedTokenizer"));
        assert!(matches!(find("TokenizersBackend"), Known::Yes(class) if std::ptr::eq(class, TOKENIZERS_BACKEND)));
        assert!(matches!(find("BertJapaneseTokenizer"), Known::ByName));
        assert!(matches!(find("RoFormerTokenizerFast"), Known::ByName));
        assert!(matches!(find("OurOwnTokenizer"), Known::No));
    }
}
