//! A model that is open.

use std::sync::Arc;

use layerwise::{DeviceSelection, Model};
use pyo3::prelude::*;

use crate::embeddings::EncodedTexts;
use crate::errors::about;
use crate::interruptible::{Watch, interruptible};
use crate::settings::{EncodeSettings, choice};
use crate::texts::records;

/// A model that is open; `layerwise.Model` holds one.
#[pyclass(frozen, module = "layerwise._layerwise")]
pub(crate) struct OpenModel(Model);

/// The settings that a model is opened with, by the names of the parameters of `Model`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ModelSettings {
    name: String,
    revision: Option<String>,
    offline: bool,
    threads: Option<usize>,
    compute: String,
    device: String,
    deepest: Option<usize>,
    instruction_set: Option<String>,
}

#[pymethods]
impl OpenModel {
    #[new]
    fn open(py: Python<'_>, settings: ModelSettings) -> PyResult<Self> {
        let ModelSettings { name, revision, offline, threads, compute, device, deepest, instruction_set } = settings;
        let watch = Arc::new(Watch::default());
        let device = device.parse::<DeviceSelection>().map_err(about("device"))?;
        let mut builder = Model::builder(name)
            .offline(offline)
            .compute(choice("compute", &compute)?)
            .device(device)
            .observer(Arc::clone(&watch) as _);
        if let Some(revision) = revision {
            builder = builder.revision(revision);
        }
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        if let Some(layer) = deepest {
            builder = builder.deepest(layer);
        }
        if let Some(name) = instruction_set {
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

    fn encode(&self, py: Python<'_>, texts: &Bound<'_, PyAny>, settings: EncodeSettings) -> PyResult<EncodedTexts> {
        let records = records(texts, settings.pretokenized)?;
        let request = settings.request()?;
        let watch = Watch::default();
        interruptible(py, &watch, || self.0.encode_observed(records, &request, &watch)).map(EncodedTexts::new)
    }
}
