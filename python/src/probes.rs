//! Probes and what they predict, as the commands `probe` and `predict` have them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use layerwise::predict::{PredictRequest, Predictor};
use layerwise::probe::ProbeRequest;
use layerwise::threads::start_threads;
use layerwise::{Error, Observer};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::interruptible::{Watch, interruptible};
use crate::settings::Settings;
use crate::texts::records;

/// Fits a probe on each layer. Returns the report as JSON.
#[pyfunction]
pub(crate) fn probe(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<String> {
    let settings = Settings(settings);
    let of_all = ProbeRequest::new(settings.get::<PathBuf>("train")?);
    let request = ProbeRequest {
        dev: settings.get("dev")?,
        test: settings.get("test")?,
        kind: settings.choice_or_none("emit")?,
        layers: settings.probed_layers("layers")?,
        best_set: settings.get("best_set")?,
        label: settings.get("label")?,
        group: settings.get("group")?,
        task: settings.choice("task")?,
        score: settings.choice_or_none("score")?,
        class_weight: settings.choice("class_weight")?,
        crf: settings.get("crf")?,
        calibrate: settings.get("calibrate")?,
        strengths: settings.get::<Option<Vec<f64>>>("strength")?.unwrap_or(of_all.strengths),
        folds: settings.get("folds")?,
        seed: settings.get("seed")?,
        control: settings.get("control")?,
        mix: settings.get("mix")?,
        output: settings.get("output")?,
        overwrite: settings.get("overwrite")?,
        memory: u64::from(settings.get::<u32>("memory")?) << 20,
        train: of_all.train,
    };
    let threads = settings.get("threads")?;
    let watch = Watch::default();
    interruptible(py, &watch, || {
        let mut json = String::new();
        let keep = |report: &layerwise::probe::report::Report| {
            json = report.to_json()?;
            Ok(())
        };
        start_threads(threads)?.install(|| layerwise::probe::probe(&request, &watch, keep))?;
        Ok(json)
    })
}

/// A report and its model; `layerwise.Predictor` holds one.
#[pyclass(frozen, module = "layerwise._layerwise")]
pub(crate) struct OpenPredictor {
    predictor: Mutex<Predictor>,
    /// The observer of the predictor's model.
    watch: Arc<Watch>,
}

#[pymethods]
impl OpenPredictor {
    #[new]
    fn open(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = Settings(settings);
        let request = PredictRequest {
            report: settings.get("report")?,
            layer: settings.probed_layers("layer")?,
            model: settings.get("model")?,
            revision: settings.get("revision")?,
            offline: settings.get("offline")?,
            threads: settings.get("threads")?,
            pair_column: settings.get::<bool>("pairs")?.then(|| "pair".to_owned()),
            span_column: None,
            once: false,
        };
        let watch = Arc::new(Watch::default());
        let observer: Arc<dyn Observer> = Arc::clone(&watch) as _;
        let predictor = interruptible(py, &watch, || Predictor::open(&request, &observer))?;
        Ok(Self { predictor: Mutex::new(predictor), watch })
    }

    /// Labels texts. Returns a list of objects as JSON.
    fn predict(&self, py: Python<'_>, texts: &Bound<'_, PyAny>, pretokenized: bool) -> PyResult<String> {
        let records = records(texts, pretokenized)?;
        interruptible(py, &self.watch, || {
            let mut predictor = self.predictor.lock().unwrap_or_else(PoisonError::into_inner);
            self.watch.reset();
            predictor.start_over();
            let predicted = predictor.predict(&records)?;
            let json = serde_json::to_string(&predicted).map_err(|error| Error::Usage(error.to_string()))?;
            predictor.warnings().iter().for_each(|warning| self.watch.warn(warning));
            Ok(json)
        })
    }
}
