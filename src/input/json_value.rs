//! What messages say of values of JSON.

use serde_json::value::RawValue;

use crate::error::json_problem;

/// The JSON type of a value, with its article, for messages.
pub(super) fn kind(value: &RawValue) -> &'static str {
    kind_of(value.get().as_bytes()[0])
}

/// The JSON type of a value that begins with this byte.
pub(super) fn kind_of(first: u8) -> &'static str {
    match first {
        b'"' => "a string",
        b'[' => "a list",
        b'{' => "an object",
        b'n' => "null",
        b't' | b'f' => "a boolean",
        _ => "a number",
    }
}

/// The message of a JSON error with its column; the caller adds the line.
pub(super) fn without_line(error: &serde_json::Error) -> String {
    let told = json_problem(error);
    match told.rsplit_once(" at line ") {
        Some((problem, _)) => format!("{problem} at byte {}", error.column()),
        None => told,
    }
}
