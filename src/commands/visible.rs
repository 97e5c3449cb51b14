//! Text from outside as it may be shown on a terminal.

use std::borrow::Cow;

/// The text with its control characters spelled out, but for ends of lines and tabs. Names of files and tensors, texts and
/// errors of others can carry sequences that a terminal obeys, and marks that turn the direction of what follows.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unseen(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_unseen(character: char) -> bool {
    let is_line = matches!(character, '\n' | '\t');
    (character.is_control() && !is_line) || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        assert_eq!(visible("a\u{1b}[2Jb\u{9b}31m\r\u{7f}"), "a\\u{1b}[2Jb\\u{9b}31m\\u{d}\\u{7f}");
        assert_eq!(visible("line\n\tnext, Zürich 東京 עברית"), "line\n\tnext, Zürich 東京 עברית");
        assert_eq!(visible("\u{202e}txt.exe"), "\\u{202e}txt.exe");
    }

    proptest! {
        #[test]
        fn nothing_unseen_is_left(text: String) {
            let shown = visible(&text);
            prop_assert!(!shown.contains(is_unseen));
        }
    }
}
