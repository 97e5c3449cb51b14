//! Reads JSON objects key by key, so that every key that is missing or wrong is named.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::damage::Findings;

/// The value of `key`. If it is missing or of another type, returns `None` and adds a finding.
pub(super) fn value<T: DeserializeOwned>(object: &Value, key: &str, findings: &mut Findings) -> Option<T> {
    let Some(value) = object.get(key) else {
        findings.add(format!("{key} is missing"));
        return None;
    };
    T::deserialize(value).map_err(|error| findings.add(format!("{key}: {error}"))).ok()
}

/// The object under `key`, with a finding for each wrong key. Unknown keys are ignored, as a later version may have
/// added them.
pub(super) fn object<T>(object: &Value, key: &str, findings: &mut Findings) -> Option<T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let found: Value = value(object, key, findings)?;
    let Value::Object(entries) = &found else {
        findings.add(format!("{key} is {}; expected an object", kind(&found)));
        return None;
    };
    let any = json!(T::default());
    let mut is_whole = true;
    let missing = any.as_object().into_iter().flatten().filter(|(name, _)| !entries.contains_key(*name));
    for (name, _) in missing {
        findings.add(format!("{key}.{name} is missing"));
        is_whole = false;
    }
    // Each value is tried alone among correct ones, as serde's errors do not name the key.
    for (name, value) in entries {
        let mut alone = any.clone();
        alone[name] = value.clone();
        if let Err(error) = T::deserialize(alone) {
            findings.add(format!("{key}.{name}: {error}"));
            is_whole = false;
        }
    }
    if !is_whole {
        return None;
    }
    T::deserialize(&found).map_err(|error| findings.add(format!("{key}: {error}"))).ok()
}

/// Adds a finding for each difference between an object and what the rest of the manifest implies.
pub(super) fn compare(found: &Value, expected: &Value, key: &str, findings: &mut Findings) {
    match (found, expected) {
        (Value::Object(entries), Value::Object(expected)) => {
            for (name, value) in expected {
                match entries.get(name) {
                    Some(found) if found == value => {}
                    Some(found) => findings.add(format!("{key}.{name} is {found}; expected {value}")),
                    None => findings.add(format!("{key}.{name} is missing; expected {value}")),
                }
            }
            for name in entries.keys().filter(|name| !expected.contains_key(*name)) {
                findings.add(format!("{key}.{name} is not expected"));
            }
        }
        _ if found == expected => {}
        _ => findings.add(format!("{key} is {}; expected {}", kind(found), kind(expected))),
    }
}

/// The JSON type of a value, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
