//! A model's tokenizer: its `tokenizer.json`, or `vocab.txt` and `tokenizer_config.json` put together the same way.

use std::collections::BTreeMap;
use std::path::Path;

use ahash::AHashMap;
use serde::Deserialize;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::foreign::without_panic;
use crate::error::{Error, Result};

/// Parses a `tokenizer.json`.
///
/// The library's own way reads the model into a tree of values first, to see which kind it is, which takes three times as
/// long. BERT's is WordPiece nearly always: so that is tried first, and for anything else the library decides.
fn parse(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
    type WordPieceTokenizer =
        TokenizerImpl<WordPiece, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    match serde_json::from_slice::<WordPieceTokenizer>(bytes) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => Tokenizer::from_bytes(bytes),
    }
}

/// The keys of `tokenizer_config.json` that decide how a `vocab.txt` is used; defaults as in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    do_lower_case: bool,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: bool,
    do_basic_tokenize: bool,
    never_split: Option<Vec<String>>,
    tokenizer_class: Option<String>,
    unk_token: SpecialToken,
    sep_token: SpecialToken,
    pad_token: SpecialToken,
    cls_token: SpecialToken,
    mask_token: SpecialToken,
    added_tokens_decoder: BTreeMap<u32, AddedTokenConfig>,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        let token = |content: &str| SpecialToken::Plain(content.to_owned());
        Self {
            do_lower_case: true,
            strip_accents: None,
            tokenize_chinese_chars: true,
            do_basic_tokenize: true,
            never_split: None,
            tokenizer_class: None,
            unk_token: token("[UNK]"),
            sep_token: token("[SEP]"),
            pad_token: token("[PAD]"),
            cls_token: token("[CLS]"),
            mask_token: token("[MASK]"),
            added_tokens_decoder: BTreeMap::new(),
        }
    }
}

/// A special token as configurations write it: its text, or an object with its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Plain(String),
    Full { content: String },
}

impl SpecialToken {
    fn content(&self) -> &str {
        match self {
            SpecialToken::Plain(content) | SpecialToken::Full { content } => content,
        }
    }
}

/// An entry of `added_tokens_decoder`.
#[derive(Deserialize)]
struct AddedTokenConfig {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// Loads a model's tokenizer, without truncation or padding: both are ours to decide.
///
/// # Errors
/// [`Error::Model`] when there is none, it is damaged, or it asks for something that is not done here.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Tokenizer> {
    let mut tokenizer = if let Some(bytes) = checkpoint.read("tokenizer.json")? {
        without_panic(|| parse(&bytes))
            .map_err(|problem| Error::model(checkpoint.path_of("tokenizer.json"), format!("is damaged: {problem}")))?
    } else if let Some(bytes) = checkpoint.read("vocab.txt")? {
        from_vocabulary(checkpoint, &bytes)?
    } else {
        return Err(Error::model(
            checkpoint.path_of("tokenizer.json"),
            "is missing, and so is vocab.txt; a model needs one of them",
        ));
    };
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| Error::model(checkpoint.path_of("tokenizer.json"), format!("is damaged: {error}")))?;
    Ok(tokenizer)
}

/// BERT's tokenizer out of a WordPiece vocabulary, as transformers' `BertTokenizerFast` builds it.
fn from_vocabulary(checkpoint: &Checkpoint, bytes: &[u8]) -> Result<Tokenizer> {
    let config_path = checkpoint.path_of("tokenizer_config.json");
    let config = checkpoint.read_json::<TokenizerConfig>("tokenizer_config.json")?.unwrap_or_default();
    config.refuse_what_is_not_done(&config_path)?;
    let path = checkpoint.path_of("vocab.txt");
    let vocabulary = parse_vocabulary(bytes, &path)?;

    let id = |token: &SpecialToken| -> Result<(String, u32)> {
        let token = token.content();
        vocabulary.get(token).map(|&id| (token.to_owned(), id)).ok_or_else(|| {
            Error::model(&path, format!("has no line `{token}`, which every text needs; is this a BERT vocabulary?"))
        })
    };
    id(&config.unk_token)?;
    let (cls, sep) = (id(&config.cls_token)?, id(&config.sep_token)?);

    let damaged = |error: tokenizers::Error| Error::model(&path, format!("cannot be used: {error}"));
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(config.unk_token.content().to_owned())
        .build()
        .map_err(damaged)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            config.tokenize_chinese_chars,
            config.strip_accents,
            config.do_lower_case,
        )))
        .map_err(damaged)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    let special = [&config.unk_token, &config.sep_token, &config.pad_token, &config.cls_token, &config.mask_token];
    tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token.content(), true))).map_err(damaged)?;
    add_tokens(&mut tokenizer, checkpoint, &config)?;
    Ok(tokenizer)
}

impl TokenizerConfig {
    fn refuse_what_is_not_done(&self, path: &Path) -> Result<()> {
        let refuse =
            |key: &str, problem: String| Err(Error::Config { path: path.to_owned(), key: key.to_owned(), problem });
        if let Some(class) = self.tokenizer_class.as_deref()
            && !matches!(class, "BertTokenizer" | "BertTokenizerFast")
        {
            return refuse(
                "tokenizer_class",
                format!(
                    "`{class}` cannot be built from vocab.txt; save the tokenizer as tokenizer.json (save_pretrained of its fast version)"
                ),
            );
        }
        if !self.do_basic_tokenize {
            return refuse(
                "do_basic_tokenize",
                "false is not supported; save the tokenizer as tokenizer.json".to_owned(),
            );
        }
        if self.never_split.as_ref().is_some_and(|words| !words.is_empty()) {
            return refuse("never_split", "is not supported; save the tokenizer as tokenizer.json".to_owned());
        }
        Ok(())
    }
}

/// A line's token has the line's number, from 0, as its id.
fn parse_vocabulary(bytes: &[u8], path: &Path) -> Result<AHashMap<String, u32>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::model(path, format!("is not UTF-8 after {} bytes", error.valid_up_to())))?;
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    Ok(lines.enumerate().map(|(id, line)| (line.strip_suffix('\r').unwrap_or(line).to_owned(), id as u32)).collect())
}

/// Adds the tokens that the model's training added to the vocabulary, and checks that they get the ids they had.
fn add_tokens(tokenizer: &mut Tokenizer, checkpoint: &Checkpoint, config: &TokenizerConfig) -> Result<()> {
    let mut added: BTreeMap<u32, AddedToken> = config
        .added_tokens_decoder
        .iter()
        .map(|(&id, token)| {
            let added = AddedToken::from(token.content.as_str(), token.special)
                .lstrip(token.lstrip)
                .rstrip(token.rstrip)
                .single_word(token.single_word)
                .normalized(token.normalized);
            (id, added)
        })
        .collect();
    // The older file for the same: token → id.
    for (content, id) in checkpoint.read_json::<BTreeMap<String, u32>>("added_tokens.json")?.unwrap_or_default() {
        added.entry(id).or_insert_with(|| AddedToken::from(content, false));
    }
    for (id, token) in added {
        let content = token.content.clone();
        let result = if token.special { tokenizer.add_special_tokens([token]) } else { tokenizer.add_tokens([token]) };
        let found = result.ok().and_then(|_| tokenizer.token_to_id(&content));
        if found != Some(id) {
            return Err(Error::model(
                checkpoint.path_of("tokenizer_config.json"),
                format!(
                    "adds token `{content}` with id {id}, but vocab.txt leaves it {found:?}; save the tokenizer as tokenizer.json"
                ),
            ));
        }
    }
    Ok(())
}
