//! What is wrong with JSON, in words.

use std::fmt::Display;

/// The JSON library's words for a value that is nested more deeply than it follows, with the stack.
const TOO_DEEP: &str = "recursion limit exceeded";

/// The problem of content that was read as JSON. The library's own words for deep nesting tell of the library and not of
/// the file.
pub(crate) fn json_problem(error: &dyn Display) -> String {
    let told = error.to_string();
    match told.strip_prefix(TOO_DEEP) {
        Some(place) => format!("it is nested deeper than 127 levels{place}, as no file of this kind is"),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_named_with_its_place() {
        let read = |depth: usize| serde_json::from_str::<serde_json::Value>(&"[".repeat(depth)).unwrap_err();
        assert!(json_problem(&read(127)).starts_with("EOF"), "{}", json_problem(&read(127)));
        let expected = "it is nested deeper than 127 levels at line 1 column 128, as no file of this kind is";
        assert_eq!(json_problem(&read(128)), expected);
        assert_eq!(json_problem(&"other"), "other");
    }
}
