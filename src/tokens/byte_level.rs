//! Byte-pair encoding on bytes, as in RoBERTa and GPT-2: each byte is a character of its own, and `Ġ` is a space.
//!
//! A word in a text has the space before it as its first character. So a class may be told to put a space before a text
//! (`add_prefix_space`), and words that are given one by one always get theirs: without it each would be the beginning of a
//! text, which transformers 4 refuses to do.

use std::collections::HashMap;

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{Model, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use super::class::{ByteLevelKind, Rules};
use super::settings::{SettingsProblem, TokenizerSettings};
use super::template::{lines_of, needed, template};

/// A vocabulary and the pairs to merge, in order.
pub(super) struct BytePairs {
    pub(super) vocabulary: AHashMap<String, u32>,
    pub(super) merges: Vec<(String, String)>,
}

/// Parses a `vocab.json`.
///
/// # Errors
/// A description of what is wrong with it.
pub(super) fn parse_vocabulary(bytes: &[u8]) -> Result<AHashMap<String, u32>, serde_json::Error> {
    serde_json::from_slice::<HashMap<String, u32>>(bytes).map(|vocabulary| vocabulary.into_iter().collect())
}

/// Parses a `merges.txt`: two tokens a line. Version 4 leaves the first line out, whatever it is, and version 5 those that
/// begin with `#version`.
///
/// # Errors
/// A description of the line that is wrong.
pub(super) fn parse_merges(bytes: &[u8], rules: Rules) -> Result<Vec<(String, String)>, String> {
    let lines = lines_of(bytes)?;
    let is_left_out = |index: usize, line: &str| match rules {
        Rules::Four => index == 0,
        Rules::Five => line.starts_with("#version"),
    };
    let lines = lines.iter().enumerate().filter(|(index, line)| !is_left_out(*index, line));
    let pair = |(index, line): (usize, &String)| {
        let mut tokens = line.split_whitespace();
        match (tokens.next(), tokens.next(), tokens.next()) {
            (Some(first), Some(second), None) => Ok((first.to_owned(), second.to_owned())),
            _ => Err(format!("line {}: expected two tokens with a space between them, found `{line}`", index + 1)),
        }
    };
    lines.map(pair).collect()
}

/// The model of a vocabulary and merges.
///
/// # Errors
/// The library's, for a merge of what is not in the vocabulary.
pub(super) fn model(BytePairs { vocabulary, merges }: BytePairs) -> tokenizers::Result<BPE> {
    BPE::builder().vocab_and_merges(vocabulary, merges).fuse_unk(false).build()
}

/// The class's tokenizer with this model.
///
/// # Errors
/// A setting that cannot be.
pub(super) fn build(
    model: BPE,
    kind: ByteLevelKind,
    settings: &TokenizerSettings,
    rules: Rules,
    of_json: Option<PostProcessorWrapper>,
) -> Result<Tokenizer, SettingsProblem> {
    let mut tokenizer = Tokenizer::new(model);
    let add_prefix_space = settings.flag("add_prefix_space", false)?;
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(add_prefix_space, true, true)));
    tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(|error| settings.cannot_be_built(error))?;
    let post_processor = match kind {
        ByteLevelKind::Roberta => {
            let (cls, sep) = (needed(&tokenizer, settings, "cls_token")?, needed(&tokenizer, settings, "sep_token")?);
            let trim_offsets = settings.flag("trim_offsets", true)?;
            RobertaProcessing::new(sep, cls).trim_offsets(trim_offsets).add_prefix_space(add_prefix_space).into()
        }
        ByteLevelKind::Gpt2 => {
            let is_given = settings.get("add_bos_token").is_some() || settings.get("add_eos_token").is_some();
            match of_json {
                Some(processor) if rules == Rules::Five && !is_given => processor,
                _ => around_gpt2(&tokenizer, settings, rules)?,
            }
        }
    };
    tokenizer.with_post_processor(Some(post_processor));
    Ok(tokenizer)
}

/// The beginning that GPT-2's class puts before a text where the settings ask for it, and in version 5 the end.
fn around_gpt2(
    tokenizer: &Tokenizer,
    settings: &TokenizerSettings,
    rules: Rules,
) -> Result<PostProcessorWrapper, SettingsProblem> {
    let asked = |key: &str, attribute: &str| -> Result<Option<(String, u32)>, SettingsProblem> {
        let is_asked = settings.flag(key, false)?;
        is_asked.then(|| needed(tokenizer, settings, attribute)).transpose()
    };
    let bos = asked("add_bos_token", "bos_token")?;
    let eos = if rules == Rules::Five { asked("add_eos_token", "eos_token")? } else { None };
    let before = |type_id: u32| bos.as_ref().map_or(String::new(), |(token, _)| format!("{token}:{type_id} "));
    let after = |type_id: u32| eos.as_ref().map_or(String::new(), |(token, _)| format!(" {token}:{type_id}"));
    let single = format!("{}$A:0{}", before(0), after(0));
    let second = if rules == Rules::Five { format!("{}$B:1{}", before(1), after(1)) } else { "$B:1".to_owned() };
    let mut tokens: Vec<(String, u32)> = Vec::new();
    for token in [&bos, &eos].into_iter().flatten() {
        if !tokens.contains(token) {
            tokens.push(token.clone());
        }
    }
    template(&single, &format!("{single} {second}"), tokens).map_err(|problem| settings.cannot_be_built(problem))
}

/// Holds a RoBERTa's post-processor to the settings, whatever `tokenizer.json` says.
///
/// # Errors
/// A flag of another type.
pub(super) fn follow_settings(tokenizer: &mut Tokenizer, settings: &TokenizerSettings) -> Result<(), SettingsProblem> {
    let trim_offsets = settings.flag("trim_offsets", true)?;
    let add_prefix_space = settings.flag("add_prefix_space", false)?;
    let settled: PostProcessorWrapper = match tokenizer.get_post_processor() {
        Some(PostProcessorWrapper::Roberta(processor)) => {
            processor.clone().trim_offsets(trim_offsets).add_prefix_space(add_prefix_space).into()
        }
        Some(PostProcessorWrapper::ByteLevel(processor)) => {
            processor.trim_offsets(trim_offsets).add_prefix_space(add_prefix_space).into()
        }
        _ => return Ok(()),
    };
    tokenizer.with_post_processor(Some(settled));
    Ok(())
}

/// The tokenizer for words that are given one by one, if it is another one: with a space before each of them.
pub(super) fn for_words(tokenizer: &Tokenizer) -> Option<Tokenizer> {
    let own = tokenizer.get_pre_tokenizer()?;
    if !lacks_prefix_space(own) {
        return None;
    }
    // A space for a space, and one before what does not begin with one; nothing is split there. Other steps may split
    // before the one of bytes, so the space cannot be that one's.
    let before = Metaspace::new(' ', PrependScheme::Always, false).into();
    let steps = vec![before, own.clone()];
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    Some(tokenizer)
}

/// Whether a pre-tokenizer is one of bytes without the space before a text.
fn lacks_prefix_space(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(step) => !step.add_prefix_space,
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(lacks_prefix_space),
        _ => false,
    }
}

/// Offsets leave the white space out that tokens hold, as RoBERTa's post-processor does it; this one knows that the space
/// before each word was put there.
pub(super) fn processor_for_words(processor: &PostProcessorWrapper) -> Option<PostProcessorWrapper> {
    match processor {
        PostProcessorWrapper::Roberta(processor) => Some(processor.clone().add_prefix_space(true).into()),
        PostProcessorWrapper::ByteLevel(processor) => Some(processor.add_prefix_space(true).into()),
        PostProcessorWrapper::Sequence(sequence) => {
            let mut steps = sequence.as_ref().to_vec();
            let mut is_other = false;
            for step in &mut steps {
                if let Some(other) = processor_for_words(step) {
                    *step = other;
                    is_other = true;
                }
            }
            is_other.then(|| tokenizers::processors::sequence::Sequence::new(steps).into())
        }
        _ => None,
    }
}

/// The vocabulary and the merges of a tokenizer; `None` where its model has none.
pub(super) fn vocabulary_of(tokenizer: &Tokenizer) -> Option<BytePairs> {
    // The library shows the merges in the form of the file alone.
    let written = serde_json::to_value(tokenizer.get_model()).ok()?;
    if written["type"].as_str() != Some("BPE") {
        return None;
    }
    let token = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let merge = |merge: &serde_json::Value| match merge {
        serde_json::Value::String(pair) => {
            let (first, second) = pair.split_once(' ')?;
            Some((first.to_owned(), second.to_owned()))
        }
        pair => Some((token(pair.get(0)?)?, token(pair.get(1)?)?)),
    };
    let merges = written["merges"].as_array()?.iter().map(merge).collect::<Option<Vec<_>>>()?;
    Some(BytePairs { vocabulary: tokenizer.get_model().get_vocab().into_iter().collect(), merges })
}
