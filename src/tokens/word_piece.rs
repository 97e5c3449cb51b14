//! Tokenizers of BERT's kind: WordPiece, made of a `vocab.txt`.

use ahash::AHashMap;
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    Encoding, Model, NormalizerWrapper, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper, Token, Tokenizer,
};

use super::settings::{SettingsProblem, TokenizerSettings};
use super::template::{lines_of, needed};

/// A line's token has the line's number, from 0, as its id.
pub(super) fn parse_vocabulary(bytes: &[u8]) -> std::result::Result<AHashMap<String, u32>, String> {
    Ok(lines_of(bytes)?.into_iter().zip(0..).collect())
}

/// The vocabulary of a tokenizer; `None` where its model is of another kind.
pub(super) fn vocabulary_of(tokenizer: &Tokenizer) -> Option<AHashMap<String, u32>> {
    let is_of_words = matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_));
    is_of_words.then(|| tokenizer.get_vocab(false).into_iter().collect())
}

/// BERT's tokenizer out of a WordPiece vocabulary, as transformers' class builds it, with so many special tokens between
/// the texts of a pair.
pub(super) fn build(
    vocabulary: AHashMap<String, u32>,
    separators: usize,
    settings: &TokenizerSettings,
) -> std::result::Result<Tokenizer, SettingsProblem> {
    let wrong = |error: tokenizers::Error| settings.cannot_be_built(error);
    let unk_token = settings.token("unk_token").unwrap_or("None").to_owned();
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unk_token).build().map_err(wrong)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(bert_normalizer(true, settings)?)).map_err(wrong)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(wrong)?;
    let (cls, sep) = (needed(&tokenizer, settings, "cls_token")?, needed(&tokenizer, settings, "sep_token")?);
    let post_processor: PostProcessorWrapper = if separators == 1 {
        BertProcessing::new(sep, cls).into()
    } else {
        RobertaProcessing::new(sep, cls).trim_offsets(false).into()
    };
    tokenizer.with_post_processor(Some(post_processor));
    Ok(tokenizer)
}

/// The normalizer of BERT's classes, as the settings have it.
///
/// # Errors
/// A flag of another type.
pub(super) fn bert_normalizer(
    clean_text: bool,
    settings: &TokenizerSettings,
) -> std::result::Result<BertNormalizer, SettingsProblem> {
    Ok(BertNormalizer::new(
        clean_text,
        settings.flag("tokenize_chinese_chars", true)?,
        settings.optional_flag("strip_accents", None)?,
        settings.flag("do_lower_case", true)?,
    ))
}

/// The parts of a `tokenizer.json` that version 5 would build anew and differently.
pub(super) fn spelled_out_otherwise(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Vec<&'static str> {
    let mut own = Vec::new();
    if !matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(normalizer)) if normalizer.clean_text)
    {
        own.push("normalizer");
    }
    if !matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_))) {
        own.push("pre-tokenizer");
    }
    let is_standard = |model: &WordPiece| {
        model.max_input_chars_per_word == 100
            && model.continuing_subword_prefix == "##"
            && settings.token("unk_token").is_none_or(|unk| unk == model.unk_token)
    };
    if !matches!(tokenizer.get_model(), ModelWrapper::WordPiece(model) if is_standard(model)) {
        own.push("model");
    }
    if !has_template_of_class(tokenizer, settings) {
        own.push("template");
    }
    own
}

/// Whether texts and pairs get the special tokens and token types that BERT's class gives them.
fn has_template_of_class(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> bool {
    let id = |attribute: &str| tokenizer.token_to_id(settings.token(attribute)?);
    let (Some(cls), Some(sep), Some(processor)) = (id("cls_token"), id("sep_token"), tokenizer.get_post_processor())
    else {
        return false;
    };
    let text = |type_id| Encoding::from_tokens(vec![Token::new(u32::MAX, "text".to_owned(), (0, 4))], type_id);
    let types = |joined: Option<Encoding>| {
        joined.map(|joined| (joined.get_ids().to_vec(), joined.get_type_ids().to_vec())).unwrap_or_default()
    };
    let single = processor.process(text(0), None, true).ok();
    let pair = processor.process(text(0), Some(text(1)), true).ok();
    types(single) == (vec![cls, u32::MAX, sep], vec![0; 3])
        && types(pair) == (vec![cls, u32::MAX, sep, u32::MAX, sep], vec![0, 0, 0, 1, 1])
}

/// The special tokens around a text, and the unknown token unless the settings name another, that the vocabulary does
/// not have.
pub(super) fn lacking(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Vec<(String, u32)> {
    let needed = ["unk_token", "cls_token", "sep_token"];
    let needed = needed.into_iter().filter(|key| *key != "unk_token" || settings.get(key).is_none());
    let tokens = needed.filter_map(|key| settings.token(key));
    let lacking = tokens.filter(|token| tokenizer.get_model().token_to_id(token).is_none());
    lacking.filter_map(|token| Some((token.to_owned(), tokenizer.token_to_id(token)?))).collect()
}
