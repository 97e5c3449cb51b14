//! What is asked for, out of dictionaries that `layerwise/` fills in: every key is there.

use layerwise::spec::Choice;
use layerwise::{LayerSelection, Request};
use pyo3::prelude::*;

use crate::errors::about;

/// The settings of an encoding, by the names of the parameters of `Model.encode`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct EncodeSettings {
    emit: Vec<String>,
    layers: Option<String>,
    pub(crate) pretokenized: bool,
    word_pooling: String,
    special_tokens: String,
    combine: Option<String>,
    normalize: bool,
    prompt: Option<String>,
    prompt_name: Option<String>,
    truncate_dim: Option<usize>,
    max_length: Option<usize>,
    overflow: String,
    stride: Option<usize>,
    batch_tokens: u32,
}

impl EncodeSettings {
    /// # Errors
    /// `ValueError` for a name that is none of the choices, with those.
    pub(crate) fn request(self) -> PyResult<Request> {
        Ok(Request {
            kinds: self.emit.iter().map(|name| choice("emit", name)).collect::<PyResult<_>>()?,
            layers: layers(self.layers.as_deref())?,
            word_pooling: choice("word_pooling", &self.word_pooling)?,
            special_tokens: choice("special_tokens", &self.special_tokens)?,
            combine: self.combine.map(|name| choice("combine", &name)).transpose()?,
            normalize: self.normalize,
            prompt: self.prompt,
            prompt_name: self.prompt_name,
            truncate_dim: self.truncate_dim,
            max_length: self.max_length,
            overflow: choice("overflow", &self.overflow)?,
            stride: self.stride,
            batch_tokens: self.batch_tokens,
            ..Request::default()
        })
    }
}

/// The choice of that name.
///
/// # Errors
/// `ValueError` with all choices.
pub(crate) fn choice<T: Choice>(parameter: &str, name: &str) -> PyResult<T> {
    T::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = T::ALL.iter().map(|choice| choice.name()).collect();
        about(parameter)(format!("there is no `{name}`; expected one of {}", all.join(", ")))
    })
}

/// Layers as they are written on the command line; `None` for all.
///
/// # Errors
/// `ValueError` for what is no list of numbers and ranges.
pub(crate) fn layers(selection: Option<&str>) -> PyResult<Option<LayerSelection>> {
    selection.map(|selection| selection.parse().map_err(about("layers"))).transpose()
}
