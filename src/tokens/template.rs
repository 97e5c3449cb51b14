//! What the classes' builders share: the text of a file, and the special tokens around a text or a pair.

use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::settings::{SettingsProblem, TokenizerSettings};

/// The text of a vocabulary's file.
///
/// # Errors
/// A description of where it is not UTF-8.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8 after {} bytes", error.valid_up_to()))
}

/// The lines of a vocabulary's file, as Python takes them to end: with `\n`, `\r\n` or `\r`.
///
/// # Errors
/// Those of [`text_of`].
pub(super) fn lines_of(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = text_of(bytes)?.replace("\r\n", "\n").replace('\r', "\n");
    Ok(text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_owned).collect())
}

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
