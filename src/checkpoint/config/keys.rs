//! The keys of a `config.json`, read with their types and refused with their names.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::family::{Family, Switch, Unless};
use crate::spec::Activation;

/// Largest size that is accepted. No encoder comes near it; a larger one means a damaged configuration, and refusing it
/// bounds what is allocated before the weights are compared with it.
pub(super) const LARGEST: usize = 1 << 24;

/// The keys of one file, with its path for messages.
pub(super) struct Keys<'a> {
    pub(super) keys: &'a Map<String, Value>,
    pub(super) path: &'a Path,
}

impl Keys<'_> {
    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Config { path: self.path.to_owned(), key: key.to_owned(), problem: problem.into() }
    }

    /// A key's value; `null` counts as absent, as it does in transformers.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// The first of some keys that is there, with its value.
    fn first<'k>(&self, names: &[&'k str]) -> Option<(&'k str, &Value)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.problem(key, format!("expected a text, found {value}"))))
            .transpose()
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key).map_or(Ok(default), |value| {
            value.as_bool().ok_or_else(|| self.problem(key, format!("expected true or false, found {value}")))
        })
    }

    /// Whether something is there.
    pub(super) fn switch(&self, switch: Switch) -> Result<bool> {
        match switch {
            Switch::Always => Ok(true),
            Switch::Never => Ok(false),
            Switch::Key(key, default) => self.flag(key, default),
        }
    }

    /// A size under the first of some names.
    pub(super) fn size(&self, names: &[&str]) -> Result<usize> {
        self.size_up_to(names, LARGEST)
    }

    pub(super) fn size_up_to(&self, names: &[&str], largest: usize) -> Result<usize> {
        let size = self.optional_size(names, largest)?;
        size.ok_or_else(|| self.problem(names[0], "is missing; expected a whole number"))
    }

    pub(super) fn optional_size(&self, names: &[&str], largest: usize) -> Result<Option<usize>> {
        let Some((key, value)) = self.first(names) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=largest).contains(size))
            .map(Some)
            .ok_or_else(|| self.problem(key, format!("expected a whole number from 1 to {largest}, found {value}")))
    }

    /// A size that may be 0.
    pub(super) fn size_from_0(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            Some(value) if value.as_u64() == Some(0) => Ok(Some(0)),
            _ => self.optional_size(&[key], LARGEST),
        }
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.get(key)
            .map(|value| {
                value.as_i64().ok_or_else(|| self.problem(key, format!("expected a whole number, found {value}")))
            })
            .transpose()
    }

    /// A token's id.
    pub(super) fn token_id(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < LARGEST);
        id.map(Some).ok_or_else(|| self.problem(key, format!("expected a token's id, found {value}")))
    }

    /// A number that is not below 0, under the first of some names.
    pub(super) fn number_from_0(&self, names: &[&str]) -> Result<Option<f64>> {
        let Some((key, value)) = self.first(names) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Some).ok_or_else(|| self.problem(key, format!("expected a number not below 0, found {value}")))
    }

    /// Names in a list, or in a text with a separator; in lower case.
    pub(super) fn names(&self, key: &str, separator: char) -> Result<Vec<String>> {
        let wrong = |value: &Value| self.problem(key, format!("expected names, found {value}"));
        let names: Vec<&str> = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => text.split(separator).collect(),
            Some(value @ Value::Array(names)) => {
                names.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(|| wrong(value))?
            }
            Some(value) => return Err(wrong(value)),
        };
        Ok(names.into_iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect())
    }

    pub(super) fn activation(&self, names: &[&str], default: &str) -> Result<Activation> {
        let (key, value) = match self.first(names) {
            Some((key, _)) => (key, self.text(key)?.unwrap_or(default)),
            None => (names[0], default),
        };
        Activation::from_name(value).ok_or_else(|| {
            self.problem(key, format!("activation `{value}` is not known; expected {}", Activation::NAMES.join(", ")))
        })
    }

    /// Refuses keys that ask for another computation than that of the family.
    pub(super) fn refuse_what_is_not_computed(&self, family: &Family) -> Result<()> {
        self.refuse_other_code(family)?;
        for refusal in family.refused {
            let Some(value) = self.get(refusal.key) else { continue };
            let is_right = match refusal.unless {
                Unless::Empty => is_empty(value),
                Unless::Number(number) => value.as_f64().or(value.as_bool().map(f64::from)) == Some(number),
                Unless::Text(text) => value.as_str() == Some(text),
            };
            if !is_right {
                return Err(self.problem(refusal.key, format!("is {value}, but {} is not supported", refusal.what)));
            }
        }
        let kinds = family.position_embedding_types;
        if let Some(kind) = self.text("position_embedding_type")?.filter(|kind| !kinds.contains(kind)) {
            return Err(self.problem(
                "position_embedding_type",
                format!("`{kind}` positions are not supported; expected `{}`", kinds.join("` or `")),
            ));
        }
        // transformers 5 masks later tokens if this is true; version 4 does not know the key.
        match self.get("is_causal") {
            None | Some(Value::Bool(false)) => {}
            Some(value) => {
                return Err(self.problem(
                    "is_causal",
                    format!("is {value}, but only encoders whose tokens see the whole text are supported; set it to false if the model was trained so"),
                ));
            }
        }
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            match self.get(key) {
                None | Some(Value::Bool(false)) => {}
                Some(value) => {
                    return Err(self.problem(key, format!("is {value}, but only plain encoders are supported")));
                }
            }
        }
        if let Some(value) = self.get("pruned_heads").filter(|value| !is_empty(value)) {
            return Err(self.problem("pruned_heads", format!("is {value}, but pruned heads are not supported")));
        }
        if let Some(value) = self.get("quantization_config") {
            let method = value.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            return Err(self.problem(
                "quantization_config",
                format!("quantized weights ({method}) are not supported; use the model's float weights"),
            ));
        }
        Ok(())
    }

    /// Refuses a model that brings its own code (`auto_map`) in place of the family's.
    fn refuse_other_code(&self, family: &Family) -> Result<()> {
        let code = self.get("auto_map").and_then(|map| map.get("AutoModel")).filter(|code| !code.is_null());
        if let Some(code) = code.filter(|_| !family.own_code) {
            return Err(self.problem(
                "auto_map",
                format!("names code of the model's own as its AutoModel ({code}), which is not run here; use the model in transformers with trust_remote_code=True, or another one"),
            ));
        }
        if let Some(Value::Bool(false)) = self.get("tie_last_hidden_states") {
            return Err(self.problem(
                "tie_last_hidden_states",
                "is false, but only models whose last hidden state is that of the last layer are supported",
            ));
        }
        Ok(())
    }
}

/// Whether a value asks for nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
