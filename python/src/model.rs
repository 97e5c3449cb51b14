//! A model that is open.

use std::sync::Arc;

use layerwise::{DeviceSelection, Model};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::embeddings::EncodedTexts;
use crate::errors::about;
use crate::interruptible::{Watch, interruptible};
use crate::settings::Settings;
use crate::texts::{records, with_spans};

/// A model that is open; `layerwise.Model` holds one.
#[pyclass(frozen, module = "layerwise._layerwise")]
pub(crate) struct OpenModel(Model);

#[pymethods]
impl OpenModel {
    #[new]
    fn open(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = Settings(settings);
        let watch = Arc::new(Watch::default());
        let device: String = settings.get("device")?;
        let mut builder = Model::builder(settings.get::<String>("name")?)
            .offline(settings.get("offline")?)
            .compute(settings.choice("compute")?)
            .device(device.parse::<DeviceSelection>().map_err(about("device"))?)
            .observer(Arc::clone(&watch) as _);
        if let Some(revision) = settings.get::<Option<String>>("revision")? {
            builder = builder.revision(revision);
        }
        if let Some(threads) = settings.get("threads")? {
            builder = builder.threads(threads);
        }
        if let Some(layer) = settings.get("deepest")? {
            builder = builder.deepest(layer);
        }
        if let Some(name) = settings.get::<Option<String>>("instruction_set")? {
            builder = builder.instruction_set(name);
        }
        interruptible(py, &watch, || builder.open()).map(Self)
    }

    #[getter]
    fn revision(&self) -> Option<&str> {
        self.0.revision()
    }

    #[getter]
    fn hidden_size(&self) -> usize {
        self.0.hidden_size()
    }

    #[getter]
    fn num_hidden_layers(&self) -> usize {
        self.0.num_hidden_layers()
    }

    #[getter]
    fn max_length(&self) -> usize {
        self.0.longest_text()
    }

    #[getter]
    fn threads(&self) -> usize {
        self.0.threads()
    }

    #[getter]
    fn instruction_set(&self) -> &'static str {
        self.0.instruction_set()
    }

    fn encode(&self, py: Python<'_>, texts: &Bound<'_, PyAny>, settings: &Bound<'_, PyDict>) -> PyResult<EncodedTexts> {
        let settings = Settings(settings);
        let request = settings.request()?;
        let mut records = records(texts, settings.get("pretokenized")?)?;
        if let Some(spans) = settings.get::<Option<Bound<'_, PyAny>>>("spans")? {
            records = with_spans(records, &spans)?;
        }
        let watch = Watch::default();
        interruptible(py, &watch, || self.0.encode_observed(records, &request, &watch)).map(EncodedTexts::new)
    }
}
