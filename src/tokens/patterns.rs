//! Regular expressions of a tokenizer that give up on a text.
//!
//! Patterns that look around or refer back are matched by backtracking, which ends after a million steps or with a full
//! stack. The tokenizers library takes that for the end of the matches, so that the rest of the text silently stays whole.
//! Texts of a tokenizer that has such patterns are therefore taken through its steps once before they are tokenized, and
//! what each pattern says is looked at. Other tokenizers, among them all of BERT's own, pay nothing.
//!
//! Those that split text into bytes look ahead at one place: `\s+(?!\S)`, white space but for the last one before a word.
//! Everything else in their patterns is matched without backtracking, so that a match takes at most some steps for each
//! character, and a text of a few thousand characters cannot come near the limits. Such texts are not looked at.

use std::sync::OnceLock;

use fancy_regex::Regex;
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizer, PreTokenizerWrapper,
    Tokenizer,
};

/// What the tokenizers library splits byte-level tokenizers' text by.
const BYTE_LEVEL: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The end of such patterns, as it is in most of them and as it is in some.
const LOOKS_AHEAD: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)"];

/// Bytes of a text that is too short for them to give up: normalizers make at most 18 characters of one, each costs two steps,
/// and a million steps are the limit.
const TOO_SHORT: usize = 1 << 14;
/// Bytes that a normalizer may put in place of one match.
const LONGEST_CONTENT: usize = 16;

/// The steps of a tokenizer of which some match by backtracking.
pub(super) struct BacktrackingPatterns {
    /// Whether none of them gives up on a short text.
    needs_length: bool,
    normalizers: Vec<PatternStep<NormalizerWrapper>>,
    pre_tokenizers: Vec<PatternStep<PreTokenizerWrapper>>,
}

/// One step, and the pattern in it that may give up.
struct PatternStep<S> {
    step: S,
    pattern: Option<Regex>,
}

impl BacktrackingPatterns {
    /// Those of a tokenizer; `None` where no pattern of it can give up.
    ///
    /// # Errors
    /// A description of a pattern that cannot be compiled.
    pub(super) fn of(tokenizer: &Tokenizer) -> Result<Option<Self>, String> {
        let (mut normalizers, mut pre_tokenizers) = (Vec::new(), Vec::new());
        if let Some(normalizer) = tokenizer.get_normalizer() {
            add_normalizers(normalizer, &mut normalizers)?;
        }
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            add_pre_tokenizers(pre_tokenizer, &mut pre_tokenizers)?;
        }
        let patterns = normalizers.iter().filter_map(|step| step.pattern.as_ref());
        let patterns = patterns.chain(pre_tokenizers.iter().filter_map(|step| step.pattern.as_ref()));
        let (mut any, mut needs_length) = (false, !normalizers.iter().any(|step| makes_much_of_little(&step.step)));
        for pattern in patterns {
            any = true;
            needs_length &= takes_a_step_each(pattern.as_str());
        }
        Ok(any.then_some(Self { needs_length, normalizers, pre_tokenizers }))
    }

    /// Takes a text through the steps.
    ///
    /// # Errors
    /// A description of the pattern that gave up.
    pub(super) fn check(&self, tokenizer: &Tokenizer, text: &str) -> Result<(), String> {
        if self.needs_length && text.len() < TOO_SHORT {
            return Ok(());
        }
        let checked = CheckedNormalizer { steps: &self.normalizers, problem: OnceLock::new() };
        let mut pieces = tokenizer.get_added_vocabulary().extract_and_normalize(Some(&checked), text);
        if let Some(problem) = checked.problem.into_inner() {
            return Err(problem);
        }
        for PatternStep { step, pattern } in &self.pre_tokenizers {
            if let Some(pattern) = pattern {
                // What is a token of the vocabulary's own is not split any more.
                let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
                let mut texts = splits.into_iter().filter(|(_, _, tokens)| tokens.is_none());
                texts.try_for_each(|(text, ..)| matches_to_the_end(pattern, text, "pre_tokenizer"))?;
            }
            step.pre_tokenize(&mut pieces).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// A tokenizer's normalizers, which look at their patterns before they use them.
struct CheckedNormalizer<'a> {
    steps: &'a [PatternStep<NormalizerWrapper>],
    /// That of the first pattern that gave up.
    problem: OnceLock<String>,
}

impl Normalizer for CheckedNormalizer<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        for PatternStep { step, pattern } in self.steps {
            let matches =
                pattern.as_ref().map_or(Ok(()), |pattern| matches_to_the_end(pattern, text.get(), "normalizer"));
            if let Err(problem) = matches {
                self.problem.get_or_init(|| problem);
                return Ok(());
            }
            step.normalize(text)?;
        }
        Ok(())
    }
}

fn matches_to_the_end(pattern: &Regex, text: &str, of: &str) -> Result<(), String> {
    match pattern.find_iter(text).find_map(Result::err) {
        None => Ok(()),
        Some(error) => Err(format!(
            "the pattern `{}` of its {of} (tokenizer.json) gives up on this text: {error}; split the text, leave it out, or write the pattern so that it does not backtrack",
            pattern.as_str()
        )),
    }
}

fn add_normalizers(
    normalizer: &NormalizerWrapper,
    steps: &mut Vec<PatternStep<NormalizerWrapper>>,
) -> Result<(), String> {
    if let NormalizerWrapper::Sequence(sequence) = normalizer {
        return sequence.as_ref().iter().try_for_each(|normalizer| add_normalizers(normalizer, steps));
    }
    let mut pattern = None;
    if let NormalizerWrapper::Replace(replace) = normalizer {
        // The library shows the pattern in the form of the file alone.
        let written = serde_json::to_value(replace).map_err(|error| error.to_string())?;
        pattern = written["pattern"]["Regex"].as_str().map(backtracking).transpose()?.flatten();
    }
    steps.push(PatternStep { step: normalizer.clone(), pattern });
    Ok(())
}

fn add_pre_tokenizers(
    pre_tokenizer: &PreTokenizerWrapper,
    steps: &mut Vec<PatternStep<PreTokenizerWrapper>>,
) -> Result<(), String> {
    use tokenizers::pre_tokenizers::split::SplitPattern;

    let pattern = match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => {
            return sequence.as_ref().iter().try_for_each(|step| add_pre_tokenizers(step, steps));
        }
        PreTokenizerWrapper::Split(split) => match &split.pattern {
            SplitPattern::Regex(pattern) => backtracking(pattern)?,
            SplitPattern::String(_) => None,
        },
        PreTokenizerWrapper::ByteLevel(step) if step.use_regex => backtracking(BYTE_LEVEL)?,
        _ => None,
    };
    steps.push(PatternStep { step: pre_tokenizer.clone(), pattern });
    Ok(())
}

/// A pattern compiled as the library has it, if matching it may take backtracking.
fn backtracking(pattern: &str) -> Result<Option<Regex>, String> {
    if is_plain(pattern) {
        return Ok(None);
    }
    Regex::new(pattern).map(Some).map_err(|error| format!("has the pattern `{pattern}`: {error}"))
}

/// Whether a pattern looks ahead at its end alone, at white space.
fn takes_a_step_each(pattern: &str) -> bool {
    LOOKS_AHEAD.iter().find_map(|end| pattern.strip_suffix(end)).is_some_and(is_plain)
}

/// Whether a normalizer may make a long text of a short one.
fn makes_much_of_little(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Replace(replace) => {
            // The library shows it in the form of the file alone.
            let written = serde_json::to_value(replace).unwrap_or_default();
            written["content"].as_str().is_none_or(|content| content.len() > LONGEST_CONTENT)
        }
        NormalizerWrapper::Prepend(prepend) => prepend.prepend.len() > LONGEST_CONTENT,
        _ => false,
    }
}

/// Whether a pattern has nothing but what an automaton matches, in one pass: no groups with a mark but for those that only
/// group or leave case out, no escapes beyond classes, line ends and punctuation, and no quantifier of a quantifier.
fn is_plain(pattern: &str) -> bool {
    let mut rest = pattern;
    let mut before = ' ';
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character == '('
            && let Some(group) = rest.strip_prefix("?:").or_else(|| rest.strip_prefix("?i:"))
        {
            (rest, before) = (group, ' ');
            continue;
        }
        match (before, character) {
            ('(', '?') | ('+' | '*' | '?' | '}', '+') => return false,
            (_, '\\') => {
                let Some(escaped) = rest.chars().next() else { return false };
                if !"sSdDwWpPrnt".contains(escaped) && !escaped.is_ascii_punctuation() {
                    return false;
                }
                // The braces of a property are no quantifier.
                let name = rest.find('}').filter(|_| matches!(rest.as_bytes(), [b'p' | b'P', b'{', ..]));
                rest = &rest[name.map_or(escaped.len_utf8(), |end| end + 1)..];
                before = ' ';
            }
            _ => before = character,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_patterns_are_those_of_an_automaton() {
        for plain in [
            r"\s+",
            r"\w+|[^\w\s]+",
            r"[0-9]{1,3}",
            r"\p{L}+",
            r"\(\?",
            r"\++",
            "a|(b)*?",
            "^a.b$",
            "(?:a)",
            r"(?i:'s|'t)|[^\r\n]?a",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [r"\s+(?!\S)", "(?=a)", "(?<=a)b", "(?>a)", r"(a)\1", "a++", "a*+", "a{2}+", r"\Ga", BYTE_LEVEL] {
            assert!(!is_plain(other), "{other}");
        }
    }

    /// A tokenizer with these steps; what each text comes to.
    fn checked(normalizer: &str, pre_tokenizer: &str, text: &str) -> Result<bool, String> {
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {normalizer},
                "pre_tokenizer": {pre_tokenizer}, "post_processor": null, "decoder": null,
                "model": {{"type": "WordLevel", "vocab": {{"[UNK]": 0}}, "unk_token": "[UNK]"}}}}"#
        );
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        let patterns = BacktrackingPatterns::of(&tokenizer)?;
        patterns.as_ref().map_or(Ok(()), |patterns| patterns.check(&tokenizer, text))?;
        Ok(patterns.is_some())
    }

    #[test]
    fn patterns_that_give_up_are_named_wherever_they_are() {
        let gives_up = "(a+a+)+(?>b)";
        let hard = format!("{}c", "a".repeat(40));
        let replace =
            |pattern: &str| format!(r#"{{"type": "Replace", "pattern": {{"Regex": "{pattern}"}}, "content": "x"}}"#);
        let split = |pattern: &str| {
            format!(
                r#"{{"type": "Split", "pattern": {{"Regex": "{pattern}"}}, "behavior": "Isolated", "invert": false}}"#
            )
        };
        let in_sequence = |key: &str, step: &str| format!(r#"{{"type": "Sequence", "{key}": [{step}]}}"#);
        for (normalizer, pre_tokenizer, of) in [
            (replace(gives_up), "null".to_owned(), "normalizer"),
            (in_sequence("normalizers", &replace(gives_up)), "null".to_owned(), "normalizer"),
            ("null".to_owned(), split(gives_up), "pre_tokenizer"),
            ("null".to_owned(), in_sequence("pretokenizers", &split(gives_up)), "pre_tokenizer"),
            // A step before it makes the text hard.
            (r#"{"type": "Lowercase"}"#.to_owned(), split(gives_up), "pre_tokenizer"),
        ] {
            for text in [&hard, &hard.to_uppercase()] {
                if *text != hard && !normalizer.contains("Lowercase") {
                    continue;
                }
                let problem = checked(&normalizer, &pre_tokenizer, text).unwrap_err();
                let says = format!("the pattern `{gives_up}` of its {of} (tokenizer.json) gives up");
                assert!(problem.contains(&says), "{problem}");
            }
            assert_eq!(checked(&normalizer, &pre_tokenizer, "aab ab"), Ok(true));
        }
        // One that a step before it makes easy, and those that never give up.
        let easy =
            in_sequence("pretokenizers", &[r#"{"type": "WhitespaceSplit"}"#.to_owned(), split(gives_up)].join(", "));
        assert_eq!(checked("null", &easy, &"a a ".repeat(40)), Ok(true));
        assert_eq!(checked(&replace(r"a+"), &split(r"[ab]+"), &hard), Ok(false));
        assert_eq!(checked("null", r#"{"type": "BertPreTokenizer"}"#, &hard), Ok(false));
    }

    #[test]
    fn patterns_that_look_ahead_at_white_space_give_up_on_long_texts_alone() {
        let newer = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        // Such a one also goes on from character to character where nothing matches.
        let sparse = r"b|\s+(?!\S)";
        for pattern in [BYTE_LEVEL, newer, sparse] {
            assert!(takes_a_step_each(pattern), "{pattern}");
            let compiled = Regex::new(pattern).unwrap();
            for unit in [" ", "a", "a ", "\r\n", "\n \t", "'", "1", "\u{3000}", "\u{301}"] {
                let text = format!("{}x", unit.repeat(18 * TOO_SHORT / unit.len()));
                matches_to_the_end(&compiled, &text, "pre_tokenizer")
                    .unwrap_or_else(|problem| panic!("{unit:?}: {problem}"));
            }
        }
        for other in [r"(?<!a)b|\s+(?!\S)|\s+", r"\s+(?!\S)", "a|b", r"(a+a+)+(?>b)|\s+(?!\S)"] {
            assert!(!takes_a_step_each(other), "{other}");
        }
    }

    #[test]
    fn byte_level_splits_by_a_pattern_that_looks_ahead() {
        let byte_level = r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}"#;
        assert_eq!(checked("null", byte_level, "a text   of words"), Ok(true));
        let problem = checked("null", byte_level, &(" ".repeat(3 << 20) + "x"));
        assert!(problem.as_ref().is_err_and(|problem| problem.contains("gives up")), "{problem:?}");
    }
}
