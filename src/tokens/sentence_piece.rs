//! Models of the SentencePiece library (`sentencepiece.bpe.model`, `spiece.model`, `spm.model`), as transformers 4 turns
//! them into tokenizers (`convert_slow_tokenizer.py`).
//!
//! The file is a protocol buffer: pieces with scores, how the model was trained, and a map of characters for the normalizer.
//! A class puts special tokens of its own before the pieces (fairseq's, whose ids are therefore one or four higher), and has
//! a normalizer and a template of its own.
//!
//! BertGenerationTokenizer is the exception: transformers leaves it to the SentencePiece library itself, whose steps are
//! taken here one by one. Where the map of characters replaces a character that has a combining mark behind it, the
//! tokenizers library takes the mark off too, here as everywhere else, and the SentencePiece library does not.

use std::collections::BTreeMap;

use ahash::AHashMap;
use prost::Message;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFKD, Precompiled, Prepend, Replace, Sequence, Strip, StripAccents};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, SplitDelimiterBehavior, Tokenizer};

use super::class::SentencePieceKind;
use super::settings::{SettingsProblem, TokenizerSettings};
use super::template::template;

/// A code point that is no character, before a piece that must not be found.
const IN_NO_TEXT: char = '\u{ffff}';

/// Stands for a space.
pub(super) const SPACE: char = '▁';

/// `ModelProto` of sentencepiece_model.proto, as far as it is read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SentencePieceModel {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<ScoredPiece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

/// A piece of the vocabulary.
#[derive(Clone, PartialEq, Message)]
struct ScoredPiece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

/// How the model was trained.
#[derive(Clone, PartialEq, Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40", default = "0")]
    unk_id: Option<i32>,
    #[prost(string, optional, tag = "45", default = "<unk>")]
    unk_piece: Option<String>,
}

/// What the library does to a text first.
#[derive(Clone, PartialEq, Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
}

/// `TrainerSpec.ModelType`.
const UNIGRAM: i32 = 1;
const BPE_MODEL: i32 = 2;
/// `SentencePiece.Type`: what stands for itself, for something else, and what users have asked for.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// Bytes of a piece that is looked at in all its halves.
const LONGEST_PIECE: usize = 4096;

/// What a comma takes off the score of a piece that has it behind a digit, so that ALBERT's tokenizer splits it off.
const NUMBER_WITH_COMMA: f64 = 100.0;

impl SentencePieceModel {
    /// Parses a file.
    ///
    /// # Errors
    /// A description of what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let model =
            Self::decode(bytes).map_err(|error| format!("is no model of the SentencePiece library: {error}"))?;
        if model.pieces.is_empty() {
            return Err("is no model of the SentencePiece library: it has no pieces".to_owned());
        }
        match model.trainer().model_type() {
            BPE_MODEL if model.pieces.iter().any(|piece| piece.piece().len() > LONGEST_PIECE) => {
                Err(format!("has a piece of more than {LONGEST_PIECE} bytes, which no training makes"))
            }
            UNIGRAM | BPE_MODEL => Ok(model),
            other => Err(format!(
                "was trained with `model_type` {other} of SentencePiece; expected 1 (unigram) or 2 (bpe), the two that transformers can convert"
            )),
        }
    }

    fn trainer(&self) -> TrainerSpec {
        self.trainer_spec.clone().unwrap_or_default()
    }

    fn normalizer_spec(&self) -> NormalizerSpec {
        self.normalizer_spec.clone().unwrap_or_default()
    }

    /// The pieces as they are, with their scores.
    pub(super) fn scored(&self) -> Vec<(String, f64)> {
        self.pieces.iter().map(|piece| (piece.piece().to_owned(), f64::from(piece.score()))).collect()
    }

    /// The map of characters, unless it is empty.
    pub(super) fn charsmap(&self) -> Option<Vec<u8>> {
        self.normalizer_spec().precompiled_charsmap.filter(|map| !map.is_empty())
    }

    /// The id of the unknown piece.
    pub(super) fn unk_id(&self) -> Option<usize> {
        usize::try_from(self.trainer().unk_id()).ok()
    }

    /// The vocabulary of a class: index and score of each token.
    fn vocabulary(&self, kind: SentencePieceKind) -> Vec<(String, f64)> {
        let own = |tokens: &[(&str, f64)]| -> Vec<(String, f64)> {
            tokens.iter().map(|(token, score)| ((*token).to_owned(), *score)).collect()
        };
        let scored = self.scored();
        let from = |first: usize| scored.get(first..).unwrap_or_default().to_vec();
        match kind {
            SentencePieceKind::XlmRoberta => {
                let fairseq = own(&[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]);
                [fairseq, from(3), own(&[("<mask>", 0.0)])].concat()
            }
            SentencePieceKind::Camembert => {
                let fairseq = own(&[
                    ("<s>NOTUSED", 0.0),
                    ("<pad>", 0.0),
                    ("</s>NOTUSED", 0.0),
                    ("<unk>", 0.0),
                    ("<unk>NOTUSED", -100.0),
                ]);
                [fairseq, from(1), own(&[("<mask>", 0.0)])].concat()
            }
            SentencePieceKind::Albert => {
                let lowered = |(piece, score): (String, f64)| {
                    let ends = ends_with_digit_and_comma(&piece);
                    (piece, if ends { score - NUMBER_WITH_COMMA } else { score })
                };
                scored.into_iter().map(lowered).collect()
            }
            SentencePieceKind::DebertaV2 | SentencePieceKind::BertGeneration => scored,
        }
    }

    /// The model of a class.
    ///
    /// # Errors
    /// A description of what is wrong with the pieces.
    fn model(&self, kind: SentencePieceKind, settings: &TokenizerSettings) -> Result<ModelWrapper, String> {
        let mut vocabulary = self.vocabulary(kind);
        if kind == SentencePieceKind::BertGeneration {
            // Its library never finds these in a text, unless they are special tokens.
            let is_named = |piece: &str| settings.tokens.iter().any(|token| token.content == piece);
            for (piece, (token, _)) in self.pieces.iter().zip(&mut vocabulary) {
                if !matches!(piece.kind(), NORMAL | USER_DEFINED) && !is_named(token) {
                    token.insert(0, IN_NO_TEXT);
                }
            }
        }
        let is_of_fairseq = matches!(kind, SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert);
        if self.trainer().model_type() == UNIGRAM {
            let unk_id = if is_of_fairseq { Some(3) } else { self.unk_id() };
            return Unigram::from(vocabulary, unk_id, false).map(ModelWrapper::from).map_err(|error| error.to_string());
        }
        let merges = self.merges(&vocabulary);
        let ids: AHashMap<String, u32> =
            vocabulary.into_iter().enumerate().map(|(id, (token, _))| (token, id as u32)).collect();
        let model = BPE::builder().vocab_and_merges(ids, merges).unk_token(self.trainer().unk_piece().to_owned());
        model.fuse_unk(true).build().map(ModelWrapper::from).map_err(|error| error.to_string())
    }

    /// The pairs that make each token, the best token first: its two parts are pieces themselves.
    fn merges(&self, vocabulary: &[(String, f64)]) -> Vec<(String, String)> {
        let ids: AHashMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(id, piece)| (piece.piece(), id)).collect();
        let mut scores: indexmap::IndexMap<&str, f64> = indexmap::IndexMap::new();
        for (token, score) in vocabulary {
            scores.insert(token, *score);
        }
        let mut merges: Vec<(&str, &str, f64)> = Vec::new();
        for (token, score) in scores {
            let halves = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
            let mut halves: Vec<(&str, &str)> =
                halves.filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right)).collect();
            halves.sort_by_key(|(left, right)| (ids[left], ids[right]));
            merges.extend(halves.into_iter().map(|(left, right)| (left, right, score)));
        }
        let length = |text: &str| text.chars().count();
        merges.sort_by(|(left, right, score), (other_left, other_right, other_score)| {
            let by_score = other_score.total_cmp(score);
            by_score
                .then_with(|| length(other_left).cmp(&length(left)))
                .then_with(|| length(other_right).cmp(&length(right)))
        });
        merges.into_iter().map(|(left, right, _)| (left.to_owned(), right.to_owned())).collect()
    }

    /// The pieces that are never part of a word, by id.
    pub(super) fn added_tokens(&self, kind: SentencePieceKind) -> BTreeMap<u32, AddedToken> {
        // That class's own library knows no such token; the special ones are added by name.
        if kind == SentencePieceKind::BertGeneration {
            return BTreeMap::new();
        }
        let pieces = self.pieces.iter().zip(0..).filter(|(piece, _)| matches!(piece.kind(), CONTROL | USER_DEFINED));
        let added = |(piece, id): (&ScoredPiece, u32)| {
            (id, AddedToken::from(piece.piece(), piece.kind() == CONTROL).normalized(false))
        };
        pieces.map(added).collect()
    }

    /// Whether pieces reach over spaces.
    fn has_spaces_inside(&self) -> bool {
        self.pieces.iter().any(|piece| piece.piece().chars().skip(1).any(|character| character == SPACE))
    }

    /// The class's tokenizer.
    ///
    /// # Errors
    /// [`ConversionProblem`] of the file or of a setting.
    pub(super) fn build(
        &self,
        kind: SentencePieceKind,
        settings: &TokenizerSettings,
    ) -> Result<Tokenizer, ConversionProblem> {
        let of_file = |error: tokenizers::Error| ConversionProblem::File(error.to_string());
        if kind == SentencePieceKind::BertGeneration
            && self.trainer().model_type() == BPE_MODEL
            && let Some(piece) = self.pieces.iter().find(|piece| piece.kind() == USER_DEFINED)
        {
            return Err(ConversionProblem::File(format!(
                "has the user-defined piece `{}` in a model of byte-pair encoding, which is not supported",
                piece.piece()
            )));
        }
        let mut tokenizer = Tokenizer::new(self.model(kind, settings).map_err(ConversionProblem::File)?);
        tokenizer.add_tokens(self.added_tokens(kind).into_values()).map_err(of_file)?;
        let normalizer = Sequence::new(self.normalizers(kind, settings)?);
        tokenizer.with_normalizer(Some(normalizer)).map_err(of_file)?;
        tokenizer.with_pre_tokenizer(Some(self.pre_tokenizer(kind, settings)?));
        tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(of_file)?;
        if let Some((single, pair, around)) = template_of(kind) {
            let unk = settings.token("unk_token").and_then(|token| tokenizer.token_to_id(token));
            let id = |token: &&str| {
                let id = tokenizer.token_to_id(token).or(unk);
                let lacks = || ConversionProblem::File(format!("has no piece `{token}`, which every text needs"));
                Ok(((*token).to_owned(), id.ok_or_else(lacks)?))
            };
            let tokens = around.iter().map(id).collect::<Result<Vec<_>, ConversionProblem>>()?;
            let processor: PostProcessorWrapper = template(single, pair, tokens).map_err(ConversionProblem::File)?;
            tokenizer.with_post_processor(Some(processor));
        }
        Ok(tokenizer)
    }

    /// What a class does to a text before it is split.
    fn normalizers(
        &self,
        kind: SentencePieceKind,
        settings: &TokenizerSettings,
    ) -> Result<Vec<NormalizerWrapper>, ConversionProblem> {
        let of_file = |problem: String| ConversionProblem::File(problem);
        let mut steps: Vec<NormalizerWrapper> = Vec::new();
        match kind {
            SentencePieceKind::Albert => {
                let (keeps_accents, lower) =
                    (settings.flag("keep_accents", false)?, settings.flag("do_lower_case", true)?);
                steps.extend(quotes_and_case(keeps_accents, lower).map_err(of_file)?);
            }
            SentencePieceKind::DebertaV2 => {
                if settings.flag("do_lower_case", false)? {
                    steps.push(Lowercase.into());
                }
                steps.push(Strip::new(true, true).into());
            }
            _ => {}
        }
        if let Some(charsmap) = self.charsmap() {
            steps.push(precompiled(&charsmap).map_err(of_file)?);
        }
        let spaces_to = |content: &str| replace(ReplacePattern::Regex(" {2,}".to_owned()), content).map_err(of_file);
        match kind {
            SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert => {
                steps.push(Strip::new(false, true).into());
                steps.push(spaces_to("▁")?);
            }
            SentencePieceKind::Albert | SentencePieceKind::DebertaV2 => steps.push(spaces_to(" ")?),
            SentencePieceKind::BertGeneration => {
                let regex = |pattern: &str, content| {
                    replace(ReplacePattern::Regex(pattern.to_owned()), content).map_err(of_file)
                };
                let is_trimmed = self.normalizer_spec().remove_extra_whitespaces();
                if is_trimmed {
                    steps.extend([regex("^ +", "")?, spaces_to(" ")?]);
                }
                if self.normalizer_spec().add_dummy_prefix() {
                    steps.push(Prepend::new(SPACE.to_string()).into());
                }
                steps.push(replace(ReplacePattern::String(" ".to_owned()), "▁").map_err(of_file)?);
                // The library takes what stands for a space for one, at the end alone.
                if is_trimmed {
                    steps.push(regex("▁+$", "")?);
                }
            }
        }
        Ok(steps)
    }

    /// How a class splits a text: before each space, with one before the text.
    fn pre_tokenizer(
        &self,
        kind: SentencePieceKind,
        settings: &TokenizerSettings,
    ) -> Result<PreTokenizerWrapper, ConversionProblem> {
        let metaspace = Metaspace::new(SPACE, PrependScheme::Always, true);
        match kind {
            SentencePieceKind::DebertaV2 => {
                let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
                if settings.flag("split_by_punct", false)? {
                    steps.push(Punctuation::new(SplitDelimiterBehavior::Isolated).into());
                }
                steps.push(metaspace.into());
                Ok(PreTokenizerSequence::new(steps).into())
            }
            SentencePieceKind::BertGeneration => {
                Ok(Metaspace::new(SPACE, PrependScheme::Never, !self.has_spaces_inside()).into())
            }
            _ => Ok(metaspace.into()),
        }
    }
}

/// Why no tokenizer comes of a file.
#[derive(Debug)]
pub(super) enum ConversionProblem {
    /// What is wrong with the file.
    File(String),
    /// A setting of another type.
    Setting(SettingsProblem),
}

impl From<SettingsProblem> for ConversionProblem {
    fn from(problem: SettingsProblem) -> Self {
        ConversionProblem::Setting(problem)
    }
}

/// The templates of a class, and the special tokens in them.
fn template_of(kind: SentencePieceKind) -> Option<(&'static str, &'static str, [&'static str; 2])> {
    match kind {
        SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert => {
            Some(("<s> $A </s>", "<s> $A </s> </s> $B </s>", ["<s>", "</s>"]))
        }
        SentencePieceKind::Albert | SentencePieceKind::DebertaV2 => {
            Some(("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", ["[CLS]", "[SEP]"]))
        }
        SentencePieceKind::BertGeneration => None,
    }
}

/// ALBERT's first steps: LaTeX's quotation marks, accents, upper case.
///
/// # Errors
/// The library's.
pub(super) fn quotes_and_case(keeps_accents: bool, lower: bool) -> Result<Vec<NormalizerWrapper>, String> {
    let mut steps = vec![
        replace(ReplacePattern::String("``".to_owned()), "\"")?,
        replace(ReplacePattern::String("''".to_owned()), "\"")?,
    ];
    if !keeps_accents {
        steps.extend([NormalizerWrapper::from(NFKD), StripAccents.into()]);
    }
    if lower {
        steps.push(Lowercase.into());
    }
    Ok(steps)
}

/// A normalizer that replaces.
///
/// # Errors
/// The library's.
pub(super) fn replace(pattern: ReplacePattern, content: &str) -> Result<NormalizerWrapper, String> {
    Replace::new(pattern, content).map(NormalizerWrapper::from).map_err(|error| error.to_string())
}

/// The normalizer of a map of characters.
///
/// # Errors
/// The library's, for a damaged map.
pub(super) fn precompiled(charsmap: &[u8]) -> Result<NormalizerWrapper, String> {
    // The library makes room for as much as the map says it has.
    let says = charsmap.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    if says.is_none_or(|length| length > charsmap.len() - 4) {
        return Err("has a damaged map of characters: it is shorter than it says".to_owned());
    }
    let normalizer = Precompiled::from(charsmap);
    normalizer.map(NormalizerWrapper::from).map_err(|error| format!("has a damaged map of characters: {error}"))
}

/// Whether a piece ends with a comma behind a digit.
fn ends_with_digit_and_comma(piece: &str) -> bool {
    let mut last = piece.chars().rev();
    // Python's `isdigit` also takes superscripts and the like, which SentencePiece's normalizer leaves nowhere.
    last.next() == Some(',') && last.next().is_some_and(char::is_numeric)
}
