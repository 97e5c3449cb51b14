//! The special tokens around a text or a pair.

use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::settings::{SettingsProblem, TokenizerSettings};

/// A special token that a class puts around texts, and its id.
///
/// # Errors
/// There is none, or it is no token.
pub(super) fn needed(
    tokenizer: &Tokenizer,
    settings: &TokenizerSettings,
    attribute: &str,
) -> Result<(String, u32), SettingsProblem> {
    let Some(token) = settings.token(attribute) else {
        return Err(settings.problem(attribute, "is null, and every text needs it; name a token".to_owned()));
    };
    match tokenizer.token_to_id(token) {
        Some(id) => Ok((token.to_owned(), id)),
        None => Err(settings.problem(attribute, format!("is `{token}`, which is no token"))),
    }
}

/// A template in the library's notation, such as `<s> $A </s>` and `<s> $A </s> </s> $B </s>`.
///
/// # Errors
/// The library's, such as for a token with a space in it.
pub(super) fn template(single: &str, pair: &str, tokens: Vec<(String, u32)>) -> Result<PostProcessorWrapper, String> {
    let mut builder = TemplateProcessing::builder();
    builder.try_single(single)?.try_pair(pair)?.special_tokens(tokens);
    builder.build().map(PostProcessorWrapper::from).map_err(|error| error.to_string())
}
