//! Probes and what they predict, as the commands `probe` and `predict` have them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use layerwise::predict::{PredictRequest, Predictor};
use layerwise::probe::ProbeRequest;
use layerwise::threads::start_threads;
use layerwise::{Error, Observer};
use pyo3::prelude::*;

use crate::interruptible::{Watch, interruptible};
use crate::settings::{choice, layers};
use crate::texts::records;

/// The settings of a probe, by the names of the parameters of `layerwise.probe`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct ProbeSettings {
    train: PathBuf,
    dev: Option<PathBuf>,
    test: Option<PathBuf>,
    emit: Option<String>,
    layers: Option<String>,
    label: String,
    task: String,
    strength: Option<Vec<f64>>,
    folds: usize,
    seed: u64,
    control: bool,
    mix: bool,
    output: Option<PathBuf>,
    overwrite: bool,
    memory: u64,
    threads: Option<usize>,
}

/// Fits a probe on each layer. Returns the report as JSON.
#[pyfunction]
pub(crate) fn probe(py: Python<'_>, settings: ProbeSettings) -> PyResult<String> {
    let of_all = ProbeRequest::new(settings.train);
    let request = ProbeRequest {
        dev: settings.dev,
        test: settings.test,
        kind: settings.emit.map(|name| choice("emit", &name)).transpose()?,
        layers: layers(settings.layers.as_deref())?,
        label: settings.label,
        task: choice("task", &settings.task)?,
        strengths: settings.strength.unwrap_or(of_all.strengths),
        folds: settings.folds,
        seed: settings.seed,
        control: settings.control,
        mix: settings.mix,
        output: settings.output,
        overwrite: settings.overwrite,
        memory: settings.memory << 20,
        train: of_all.train,
    };
    let threads = settings.threads;
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

/// The settings of predictions, by the names of the parameters of `layerwise.Predictor`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PredictSettings {
    report: PathBuf,
    layer: Option<String>,
    model: Option<String>,
    revision: Option<String>,
    offline: bool,
    threads: Option<usize>,
    pairs: bool,
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
    fn open(py: Python<'_>, settings: PredictSettings) -> PyResult<Self> {
        let PredictSettings { report, layer, model, revision, offline, threads, pairs } = settings;
        let request = PredictRequest {
            report,
            layer: layers(layer.as_deref())?,
            model,
            revision,
            offline,
            threads,
            pair_column: pairs.then(|| "pair".to_owned()),
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
