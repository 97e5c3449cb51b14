//! ESM's tokenizer: every line of `vocab.txt` is a token wherever it stands in a text, the longest first.
//!
//! For proteins a token is a residue. White space between tokens goes; what is left between them is cut at white space, and
//! each piece of it is one unknown token, whatever its length. Nothing is put into upper case. Source: `EsmTokenizer` of
//! transformers, which is not built on the tokenizers library and never looks at `tokenizer.json`.

use std::collections::HashSet;

use ahash::AHashMap;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::settings::{SettingsProblem, TokenizerSettings};
use super::template::{needed, template, text_of};

/// What Python takes for white space beyond Unicode's own: four separators of ASCII.
const SEPARATORS: [char; 4] = ['\u{1c}', '\u{1d}', '\u{1e}', '\u{1f}'];

/// The lines of a `vocab.txt` in order, without white space around them. Lines end wherever Python's `splitlines` takes one
/// to end.
///
/// # Errors
/// A description of what is wrong with the file.
pub(super) fn parse_vocabulary(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = text_of(bytes)?.replace("\r\n", "\n");
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let text = text.strip_suffix(is_end).unwrap_or(&text);
    Ok(text.split(is_end).map(|line| line.trim_matches(is_space).to_owned()).collect())
}

fn is_space(character: char) -> bool {
    character.is_whitespace() || SEPARATORS.contains(&character)
}

/// The tokenizer, and whether it takes pairs: without an `eos_token` nothing is between two texts.
///
/// # Errors
/// A setting that cannot be.
pub(super) fn build(lines: &[String], settings: &TokenizerSettings) -> Result<(Tokenizer, bool), SettingsProblem> {
    let wrong = |error: tokenizers::Error| settings.cannot_be_built(error);
    let vocabulary: AHashMap<String, u32> = lines.iter().cloned().zip(0..).collect();
    let unk_token = settings.token("unk_token").unwrap_or("None").to_owned();
    let model = WordLevel::builder().vocab(vocabulary).unk_token(unk_token).build().map_err(wrong)?;
    let mut tokenizer = Tokenizer::new(model);
    // A run of white space, in one character class for all of it.
    let white_space = SplitPattern::Regex(format!("[\\s{}]+", String::from_iter(SEPARATORS)));
    tokenizer.with_pre_tokenizer(Some(Split::new(white_space, SplitDelimiterBehavior::Removed, false).map_err(wrong)?));
    tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(wrong)?;
    // Where special tokens are to be split like other text, the class splits at white space alone.
    if !settings.flag("split_special_tokens", false)? {
        let named: HashSet<&str> = settings.tokens.iter().map(|token| token.content.as_str()).collect();
        let lines = lines.iter().filter(|line| !line.is_empty() && !named.contains(line.as_str()));
        let everywhere = lines.map(|line| AddedToken::from(line.as_str(), false).normalized(false));
        tokenizer.add_tokens(everywhere).map_err(wrong)?;
    }
    let cls = needed(&tokenizer, settings, "cls_token")?;
    let eos = settings.token("eos_token").map(|_| needed(&tokenizer, settings, "eos_token")).transpose()?;
    let takes_pairs = eos.is_some();
    let (single, pair) = match &eos {
        Some((eos, _)) => (format!("{} $A {eos}", cls.0), format!("{} $A {eos} $B {eos}", cls.0)),
        None => (format!("{} $A", cls.0), format!("{} $A $B", cls.0)),
    };
    let processor = template(&single, &pair, [Some(cls), eos].into_iter().flatten().collect());
    tokenizer.with_post_processor(Some(processor.map_err(|problem| settings.cannot_be_built(problem))?));
    Ok((tokenizer, takes_pairs))
}
