//! The classes with a unigram model as transformers 5 builds them: anew, out of a vocabulary with scores.
//!
//! Version 5 takes the vocabulary out of `tokenizer.json`, or out of a model of SentencePiece, and makes the rest of the
//! tokenizer itself, whatever the file says.

use tokenizers::models::ModelWrapper;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Sequence, Strip};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, SplitDelimiterBehavior, Tokenizer};

use super::class::SentencePieceKind;
use super::sentence_piece::{ConversionProblem, SPACE, SentencePieceModel, precompiled, quotes_and_case, replace};
use super::settings::TokenizerSettings;
use super::template::{needed, template};

/// What version 5 keeps of a file.
pub(super) struct UnigramParts {
    vocabulary: Vec<(String, f64)>,
    normalizer: Option<NormalizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    unk_id: Option<usize>,
    /// The pieces that are never part of a word.
    added: Vec<AddedToken>,
}

impl UnigramParts {
    /// Those of a `tokenizer.json`; `None` where its model is of another kind.
    pub(super) fn of_json(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::Unigram(model) = tokenizer.get_model() else { return None };
        let is_map = |normalizer: &&NormalizerWrapper| matches!(normalizer, NormalizerWrapper::Precompiled(_));
        let normalizer = match tokenizer.get_normalizer() {
            Some(NormalizerWrapper::Sequence(sequence)) => sequence.as_ref().iter().find(is_map).cloned(),
            normalizer => normalizer.filter(is_map).cloned(),
        };
        Some(Self {
            vocabulary: model.iter().cloned().collect(),
            normalizer,
            post_processor: tokenizer.get_post_processor().cloned(),
            unk_id: None,
            added: Vec::new(),
        })
    }

    /// Those of a model of SentencePiece, with a class's tokens before and behind the pieces.
    ///
    /// # Errors
    /// A description of what is wrong with the file.
    pub(super) fn of_sentence_piece(
        model: &SentencePieceModel,
        kind: SentencePieceKind,
        settings: &TokenizerSettings,
    ) -> Result<Self, String> {
        let pieces = model.scored();
        let from = |first: usize| pieces.get(first..).unwrap_or_default().to_vec();
        let token = |attribute: &str, default: &str| (settings.token(attribute).unwrap_or(default).to_owned(), 0.0);
        let fixed = |token: &str, score: f64| (token.to_owned(), score);
        let vocabulary = match kind {
            SentencePieceKind::XlmRoberta => {
                let names =
                    [("bos_token", "<s>"), ("pad_token", "<pad>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
                let before = names.map(|(attribute, default)| token(attribute, default)).to_vec();
                [before, from(3), vec![token("mask_token", "<mask>")]].concat()
            }
            SentencePieceKind::Camembert => {
                let before = vec![
                    fixed("<s>NOTUSED", 0.0),
                    token("pad_token", "<pad>"),
                    fixed("</s>NOTUSED", 0.0),
                    token("unk_token", "<unk>"),
                    fixed("<unk>NOTUSED", -100.0),
                ];
                [before, from(1), vec![token("mask_token", "<mask>")]].concat()
            }
            _ => pieces,
        };
        let normalizer = model.charsmap().map(|charsmap| precompiled(&charsmap)).transpose()?;
        let added = model.added_tokens(kind).into_values().collect();
        Ok(Self { vocabulary, normalizer, post_processor: None, unk_id: model.unk_id(), added })
    }

    /// The class's tokenizer.
    ///
    /// # Errors
    /// [`ConversionProblem`] of the vocabulary or of a setting.
    pub(super) fn build(
        self,
        kind: SentencePieceKind,
        settings: &TokenizerSettings,
    ) -> Result<Tokenizer, ConversionProblem> {
        let of_file = |error: tokenizers::Error| ConversionProblem::File(error.to_string());
        let unk_id = self.unk_id_of(kind, settings);
        let model = Unigram::from(self.vocabulary, Some(unk_id), false).map_err(of_file)?;
        let mut tokenizer = Tokenizer::new(model);
        let steps = normalizers(kind, settings, self.normalizer)?;
        tokenizer.with_normalizer((!steps.is_empty()).then(|| Sequence::new(steps))).map_err(of_file)?;
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer(kind, settings)?));
        tokenizer.add_tokens(self.added.into_iter().chain(settings.tokens.iter().cloned())).map_err(of_file)?;
        let around = if matches!(kind, SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert) {
            ["bos_token", "eos_token"]
        } else {
            ["cls_token", "sep_token"]
        };
        let processor = match (kind, self.post_processor) {
            (SentencePieceKind::Albert, Some(processor)) => processor,
            _ => {
                let (first, last) =
                    (needed(&tokenizer, settings, around[0])?, needed(&tokenizer, settings, around[1])?);
                let (single, pair) = match kind {
                    SentencePieceKind::XlmRoberta | SentencePieceKind::Camembert => {
                        (format!("{} $A {}", first.0, last.0), format!("{0} $A {1} {1} $B {1}", first.0, last.0))
                    }
                    _ => (
                        format!("{}:0 $A:0 {}:0", first.0, last.0),
                        format!("{0}:0 $A:0 {1}:0 $B:1 {1}:1", first.0, last.0),
                    ),
                };
                template(&single, &pair, vec![first, last]).map_err(ConversionProblem::File)?
            }
        };
        tokenizer.with_post_processor(Some(processor));
        Ok(tokenizer)
    }

    fn unk_id_of(&self, kind: SentencePieceKind, settings: &TokenizerSettings) -> usize {
        let place = |wanted: &str| self.vocabulary.iter().position(|(token, _)| token == wanted);
        let unk = settings.token("unk_token").unwrap_or_default();
        match kind {
            SentencePieceKind::XlmRoberta => 3,
            SentencePieceKind::Albert => 1,
            SentencePieceKind::Camembert => place(unk).unwrap_or(0),
            SentencePieceKind::DebertaV2 | SentencePieceKind::BertGeneration => {
                let scored = |(token, score): &(String, f64)| token == unk && *score == 0.0;
                self.vocabulary.iter().position(scored).or(self.unk_id).unwrap_or(1)
            }
        }
    }
}

fn normalizers(
    kind: SentencePieceKind,
    settings: &TokenizerSettings,
    charsmap: Option<NormalizerWrapper>,
) -> Result<Vec<NormalizerWrapper>, ConversionProblem> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    match kind {
        SentencePieceKind::Albert => {
            let (keeps_accents, lower) = (settings.flag("keep_accents", false)?, settings.flag("do_lower_case", true)?);
            steps.extend(quotes_and_case(keeps_accents, lower).map_err(ConversionProblem::File)?);
            steps.extend(charsmap);
        }
        SentencePieceKind::DebertaV2 => {
            if settings.flag("do_lower_case", false)? {
                steps.push(Lowercase.into());
            }
            let to_one_space = replace(ReplacePattern::Regex(r"\s{2,}|[\n\r\t]".to_owned()), " ");
            steps.extend([to_one_space.map_err(ConversionProblem::File)?, NFC.into(), Strip::new(false, true).into()]);
        }
        _ => steps.extend(charsmap),
    }
    Ok(steps)
}

fn pre_tokenizer(
    kind: SentencePieceKind,
    settings: &TokenizerSettings,
) -> Result<PreTokenizerWrapper, ConversionProblem> {
    let prefix = settings.flag("add_prefix_space", true)?;
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    let without = if kind == SentencePieceKind::DebertaV2 {
        if settings.flag("split_by_punct", false)? {
            steps.push(Punctuation::new(SplitDelimiterBehavior::Isolated).into());
        }
        PrependScheme::First
    } else {
        steps.push(WhitespaceSplit.into());
        PrependScheme::Never
    };
    let scheme = if prefix { PrependScheme::Always } else { without };
    steps.push(Metaspace::new(SPACE, scheme, true).into());
    Ok(PreTokenizerSequence::new(steps).into())
}
