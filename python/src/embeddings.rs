//! The vectors of some texts, which become numpy's arrays when they are asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use layerwise::spec::RowKind;
use layerwise::{Embeddings, VectorKind};
use numpy::{IntoPyArray, PyArray1, PyArray3};
use pyo3::prelude::*;

use crate::errors::exception;
use crate::settings::choice;

/// \[start, end) in characters of the text; `None` for special tokens.
type Offsets = Option<(usize, usize)>;

/// The vectors and tokens of some texts; `layerwise.Embeddings` holds one.
#[pyclass(frozen, module = "layerwise._layerwise")]
pub(crate) struct EncodedTexts(Mutex<Embeddings>);

impl EncodedTexts {
    pub(crate) fn new(embeddings: Embeddings) -> Self {
        Self(Mutex::new(embeddings))
    }

    fn lock(&self) -> MutexGuard<'_, Embeddings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of each text.
    fn of_texts<T>(&self, of_text: impl Fn(&Embeddings, usize) -> T) -> Vec<T> {
        let embeddings = self.lock();
        (0..embeddings.len()).map(|text| of_text(&embeddings, text)).collect()
    }
}

#[pymethods]
impl EncodedTexts {
    fn __len__(&self) -> usize {
        self.lock().len()
    }

    /// Layers, ascending.
    #[getter]
    fn layers(&self) -> Vec<usize> {
        self.lock().plan().layers.clone()
    }

    /// Of each kind of vector its name, whether it has rows of `token`s, `word`s, `span`s or `text`s, and whether it has layers.
    #[getter]
    fn kinds(&self) -> Vec<(&'static str, &'static str, bool)> {
        let embeddings = self.lock();
        let plan = embeddings.plan();
        let describe = |&kind: &VectorKind| {
            let rows = match kind.rows() {
                RowKind::Token => "token",
                RowKind::Word => "word",
                RowKind::Span => "span",
                RowKind::Text => "text",
            };
            (kind.name(), rows, kind.per_layer() && plan.combine.is_none())
        };
        plan.kinds.iter().map(describe).collect()
    }

    /// The most tokens of a text, beyond which it is cut.
    #[getter]
    fn max_length(&self) -> usize {
        self.lock().plan().max_length
    }

    /// Moves the vectors of a kind out, (layers, rows, columns), without a copy.
    fn take<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyArray3<f32>>> {
        let numbers = self.lock().take(choice("kind", kind)?).map_err(|error| exception(&error))?;
        Ok(numbers.into_pyarray(py))
    }

    /// The vectors of a kind as lists, (layers, rows, columns).
    fn to_lists(&self, kind: &str) -> PyResult<Vec<Vec<Vec<f32>>>> {
        let embeddings = self.lock();
        let numbers = embeddings.all(choice("kind", kind)?).map_err(|error| exception(&error))?;
        let rows = numbers.outer_iter().map(|layer| layer.outer_iter().map(|row| row.to_vec()).collect());
        Ok(rows.collect())
    }

    /// The row at which each text begins in vectors of a kind, and the number of all rows: (texts + 1).
    fn starts<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyArray1<i64>>> {
        Ok(self.starts_as_list(kind)?.into_pyarray(py))
    }

    /// The same as a list.
    fn starts_as_list(&self, kind: &str) -> PyResult<Vec<i64>> {
        let kind = choice::<VectorKind>("kind", kind)?;
        let embeddings = self.lock();
        let ends = (0..embeddings.len()).map(|text| embeddings.rows_of(kind, text).end as i64);
        Ok([0].into_iter().chain(ends).collect())
    }

    /// Of each text, how many tokens were cut off: (texts).
    fn truncated<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.of_texts(|embeddings, text| embeddings.truncated(text) as i64).into_pyarray(py)
    }

    /// How many texts were cut, and how many tokens were cut off them.
    fn cut(&self) -> (usize, usize) {
        let cut = self.of_texts(Embeddings::truncated);
        (cut.iter().filter(|&&tokens| tokens > 0).count(), cut.iter().sum())
    }

    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let embeddings = self.lock();
        let tokens: Vec<Vec<&str>> = (0..embeddings.len()).map(|text| embeddings.tokens(text)).collect();
        tokens.into_pyobject(py)
    }

    fn token_ids(&self) -> Vec<Vec<u32>> {
        self.of_texts(Embeddings::token_ids)
    }

    fn offsets(&self) -> Vec<Vec<Offsets>> {
        self.of_texts(Embeddings::offsets)
    }

    fn word_ids(&self) -> Vec<Vec<Option<u32>>> {
        self.of_texts(Embeddings::word_ids)
    }
}
