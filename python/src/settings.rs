//! What is asked for, out of dictionaries that `layerwise/` fills in: every key is there.

use layerwise::probe::layer_set::ProbedLayers;
use layerwise::spec::Choice;
use layerwise::{LayerSelection, Request};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::about;

/// Settings by the names of Python's parameters.
pub(crate) struct Settings<'a, 'py>(pub(crate) &'a Bound<'py, PyDict>);

impl<'py> Settings<'_, 'py> {
    /// # Errors
    /// `ValueError` for a number that is out of range, `TypeError` for what is something else; with the parameter.
    pub(crate) fn get<T: FromPyObjectOwned<'py>>(&self, parameter: &str) -> PyResult<T> {
        let value = self.0.as_any().get_item(parameter)?;
        value.extract::<T>().map_err(|error| {
            let error: PyErr = error.into();
            let problem = format!("{parameter}: {}", error.value(self.0.py()));
            if error.is_instance_of::<PyOverflowError>(self.0.py()) {
                PyValueError::new_err(problem)
            } else {
                PyTypeError::new_err(problem)
            }
        })
    }

    /// # Errors
    /// Those of [`Settings::get`]; `ValueError` for a name that is none of the choices, with those.
    pub(crate) fn choice<T: Choice>(&self, parameter: &str) -> PyResult<T> {
        choice(parameter, &self.get::<String>(parameter)?)
    }

    /// Like [`Settings::choice`], where `None` may stand for none.
    pub(crate) fn choice_or_none<T: Choice>(&self, parameter: &str) -> PyResult<Option<T>> {
        self.get::<Option<String>>(parameter)?.map(|name| choice(parameter, &name)).transpose()
    }

    /// Layers as they are written on the command line; `None` for all.
    ///
    /// # Errors
    /// `ValueError` for what is no list of numbers and ranges.
    pub(crate) fn layers(&self, parameter: &str) -> PyResult<Option<LayerSelection>> {
        let selection: Option<String> = self.get(parameter)?;
        selection.map(|selection| selection.parse().map_err(about(parameter))).transpose()
    }

    /// Layers to probe, and sets of them, as the command takes them; none for all.
    ///
    /// # Errors
    /// `ValueError` for what is no selection.
    pub(crate) fn probed_layers(&self, parameter: &str) -> PyResult<Option<ProbedLayers>> {
        let selection: Option<String> = self.get(parameter)?;
        selection.map(|selection| selection.parse().map_err(about(parameter))).transpose()
    }

    /// The request that the parameters of `Model.encode` make.
    ///
    /// # Errors
    /// Those of [`Settings::get`] and [`Settings::choice`].
    pub(crate) fn request(&self) -> PyResult<Request> {
        let kinds: Vec<String> = self.get("emit")?;
        Ok(Request {
            kinds: kinds.iter().map(|name| choice("emit", name)).collect::<PyResult<_>>()?,
            layers: self.layers("layers")?,
            word_pooling: self.choice("word_pooling")?,
            special_tokens: self.choice("special_tokens")?,
            combine: self.choice_or_none("combine")?,
            normalize: self.get("normalize")?,
            prompt: self.get("prompt")?,
            prompt_name: self.get("prompt_name")?,
            truncate_dim: self.get("truncate_dim")?,
            max_length: self.get("max_length")?,
            overflow: self.choice("overflow")?,
            stride: self.get("stride")?,
            batch_tokens: self.get("batch_tokens")?,
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
