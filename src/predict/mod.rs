//! `predict`: labels new texts with the heads that [`probe`](crate::probe) has fitted. Texts are encoded only as deep
//! as the head's layer.

pub mod labelled;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::labelled::{Labeller, PredictedText};
use crate::checkpoint::{DEFAULTS, TRANSFORMER_SETTINGS};
use crate::directory::plan_record::PlanRecord;
use crate::embeddings::Embeddings;
use crate::error::{Error, Result, json_problem};
use crate::input::Record;
use crate::model::Model;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::probe::heads::{self, Head};
use crate::probe::layer_set::ProbedLayers;
use crate::probe::report::{FORMAT_VERSION, LayerReport, REPORT, Report};
use crate::spec::{LayerSelection, VectorKind};
use crate::tokens::Tokenizer;
use crate::tokens::unknown::UnknownPieces;

/// The report to predict with, and where its model is.
#[derive(Clone)]
pub struct PredictRequest {
    /// The directory that `probe` wrote.
    pub report: PathBuf,
    /// The layer whose head is used, or a set of layers; by default the report's best layer.
    pub layer: Option<ProbedLayers>,
    /// The model's present location; by default the name in the report.
    pub model: Option<String>,
    /// The model's revision on the hub; by default that in the report.
    pub revision: Option<String>,
    /// Whether to work without the network.
    pub offline: bool,
    /// The number of threads; by default one for each core.
    pub threads: Option<usize>,
    /// The column of the second text, if texts are pairs.
    pub pair_column: Option<String>,
    /// The column of the spans, if spans were learned from.
    pub span_column: Option<String>,
    /// Whether there are only a few texts, so that the model is not kept in memory.
    pub once: bool,
}

/// A report and its model, ready to label texts.
pub struct Predictor {
    report: Report,
    head: Head,
    model: Model,
    plan: Plan,
    tokenizer: Arc<Tokenizer>,
    seen: Seen,
}

/// What was seen of the texts so far, for the warnings at the end.
#[derive(Default)]
struct Seen {
    texts: u64,
    cut: u64,
    tokens: u64,
    unknown_tokens: u64,
    unknown: UnknownPieces,
}

impl Predictor {
    /// Reads a report and opens the model that its vectors were made by.
    ///
    /// # Errors
    /// [`Error::Output`] when the report cannot be used or belongs to another model, [`Error::Usage`] for a layer that
    /// it does not have; those of opening a model.
    pub fn open(request: &PredictRequest, observer: &Arc<dyn Observer>) -> Result<Self> {
        let directory = request.report.as_path();
        let report = read_report(directory)?;
        let layer = choose_layer(directory, request.layer.as_ref(), &report)?;
        let head = heads::read(directory, &report, &layer.name)?;
        let record = read_plan(directory, &report)?;

        let name = request.model.as_deref().unwrap_or(&report.model.id);
        let builder = Model::builder(name).compute(record.compute).offline(request.offline);
        let of_report = report.model.revision.as_ref().filter(|_| request.model.is_none());
        let builder = match request.revision.as_ref().or(of_report) {
            Some(revision) => builder.revision(revision),
            None => builder,
        };
        let builder = match request.threads {
            Some(threads) => builder.threads(threads),
            None => builder,
        };
        let model = builder.observer(Arc::clone(observer)).open()?;
        check_model(directory, &report, &model)?;
        let plan = plan(request, &report, record, layer, &model)?;
        check_width(directory, &plan, &head)?;
        model.check(&plan)?;
        let (tokenizer, plan) = model.install(|| model.tokenizer(plan))?;
        if request.pair_column.is_some() {
            tokenizer.check_pairs()?;
        }
        if !request.once {
            model.install(|| model.load(&plan))?;
        }
        Ok(Self { report, head, model, plan, tokenizer, seen: Seen::default() })
    }

    /// The plan by which texts are encoded.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The tokenizer of the texts.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Labels the next texts.
    ///
    /// # Errors
    /// Those of [`Model::encode`].
    pub fn predict<'t>(&'t mut self, texts: &'t [Record]) -> Result<Vec<PredictedText<'t>>> {
        let Self { report, head, model, plan, tokenizer, seen, .. } = self;
        let mut embeddings = Embeddings::new();
        let mut next = texts.iter();
        let (first_row, batch_tokens) = (seen.texts, model.batch_tokens(None));
        model.install(|| {
            model.encode_planned(plan, tokenizer, (batch_tokens, first_row), || next.next(), &mut embeddings)
        })?;
        let vectors = embeddings.side_by_side();
        let labeller = Labeller::new(report, head);
        let mut predicted = Vec::with_capacity(texts.len());
        for (index, record) in texts.iter().enumerate() {
            let encoded = embeddings.text(index);
            seen.cut += u64::from(embeddings.truncated(index) > 0 && plan.windowing().is_none());
            seen.tokens += encoded.tokens.len() as u64;
            seen.unknown_tokens += u64::from(encoded.unknown);
            seen.unknown.extend(tokenizer.unknown_pieces(encoded, &record.text.text));
            let rows = embeddings.rows_of(report.emit, index);
            let vectors = &vectors[rows.start * head.columns..rows.end * head.columns];
            predicted.push(labeller.label(seen.texts, record, encoded, vectors));
            seen.texts += 1;
        }
        Ok(predicted)
    }

    /// Begins anew with row 0, as if no text had been labelled.
    pub fn start_over(&mut self) {
        self.seen = Seen::default();
    }

    /// Warnings about all texts together.
    pub fn warnings(&self) -> Vec<String> {
        let Seen { texts, cut, tokens, unknown_tokens, unknown } = &self.seen;
        let unknown = unknown.warning(*unknown_tokens, *tokens, &self.tokenizer);
        let cut = (*cut > 0).then(|| {
            format!(
                "{cut} of {texts} texts were cut to {} tokens, as the texts were that the labels were learned from",
                self.plan.max_length
            )
        });
        unknown.into_iter().chain(cut).collect()
    }
}

/// Reads the report that `probe` wrote.
fn read_report(directory: &Path) -> Result<Report> {
    let path = directory.join(REPORT);
    let problem = |problem: &str| Error::Output { path: directory.to_owned(), problem: problem.to_owned() };
    let bytes = match crate::regular_file::read(&path, 1 << 30) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(problem("has no report.json; expected a directory that `layerwise probe -o` wrote"));
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let damaged = |error: serde_json::Error| Error::Output {
        path: path.clone(),
        problem: format!("is damaged: {}; probe anew", json_problem(&error)),
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    match value["format_version"].as_u64() {
        Some(version) if version == u64::from(FORMAT_VERSION) => serde_json::from_value(value).map_err(damaged),
        Some(version) => Err(Error::Output {
            path,
            problem: format!("has format version {version}; this layerwise knows version {FORMAT_VERSION}; probe anew"),
        }),
        None => Err(Error::Output {
            path,
            problem: "is not a report of layerwise; expected what `layerwise probe -o` wrote".to_owned(),
        }),
    }
}

/// The plan of the vectors that the heads were fitted on.
fn read_plan(directory: &Path, report: &Report) -> Result<PlanRecord> {
    serde_json::from_value(report.plan.clone())
        .map_err(|error| Error::Output { path: directory.join(REPORT), problem: format!("plan: {error}; probe anew") })
}

/// The layer whose head labels: the one that was asked for, else the report's best.
fn choose_layer<'a>(directory: &Path, wanted: Option<&ProbedLayers>, report: &'a Report) -> Result<&'a LayerReport> {
    let all = || report.layers.iter().chain(&report.sets);
    let held = || all().map(LayerReport::label).collect::<Vec<_>>().join(", ");
    let Some(probed) = wanted else {
        return report.predicting_layer().ok_or_else(|| Error::Output {
            path: directory.join(REPORT),
            problem: format!("has no layer {}, which it calls the best; probe anew", report.best),
        });
    };
    let resolve = |selection: &LayerSelection| {
        let layers = selection.resolve(report.model.num_hidden_layers);
        layers.map_err(|problem| Error::Usage(format!("--layer: {problem}")))
    };
    let layers = match (&probed.single, &probed.sets[..]) {
        (Some(single), []) => match resolve(single)? {
            layers if layers.len() == 1 => layers,
            _ => return Err(Error::Usage(format!("--layer: expected one layer; the report has {}", held()))),
        },
        (None, [set]) => resolve(set)?,
        _ => return Err(Error::Usage(format!("--layer: expected one layer, or one set; the report has {}", held()))),
    };
    let is_it = |layer: &&LayerReport| match (layer.layer, &layer.layers) {
        (Some(layer), _) => layers == [layer],
        (None, of) => of.as_ref() == Some(&layers),
    };
    all().find(is_it).ok_or_else(|| Error::Usage(format!("--layer {probed}: the report has {}", held())))
}

/// Refuses a model with a file that differs from the one that the heads were fitted with.
fn check_model(directory: &Path, report: &Report, model: &Model) -> Result<()> {
    let found = model.checkpoint().digests()?;
    let files: Vec<&String> = report
        .model
        .sha256
        .keys()
        .chain(found.keys())
        .filter(|file| report.model.sha256.get(*file) != found.get(*file))
        .filter(|file| !is_of_sentences(file) || report.model.sha256.contains_key(*file))
        .collect();
    let Some(first) = files.first() else { return Ok(()) };
    Err(Error::Output {
        path: directory.to_owned(),
        problem: format!(
            "was learned from vectors of another model than {}: {first} is another file; name the folder of {} as it was then with --model",
            model.id(),
            report.model.id
        ),
    })
}

/// Whether a file defines sentence embeddings; older reports do not have its digest.
fn is_of_sentences(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == DEFAULTS || TRANSFORMER_SETTINGS.contains(&name)
}

/// The plan of the vectors that the heads were fitted on, limited to one layer.
fn plan(
    request: &PredictRequest,
    report: &Report,
    record: PlanRecord,
    layer: &LayerReport,
    model: &Model,
) -> Result<Plan> {
    match (&record.columns.pair_column, &request.pair_column) {
        (None, Some(_)) => {
            return Err(Error::Usage("--pair-column: the report was learned from single texts".to_owned()));
        }
        (Some(column), None) => {
            return Err(Error::Usage(format!(
                "the report was learned from pairs of texts: give pairs, in a table or JSON Lines, and name the column of the second text as --pair-column does (there it was `{column}`)"
            )));
        }
        _ => {}
    }
    match (report.emit, &request.span_column) {
        (VectorKind::Span, None) => {
            return Err(Error::Usage(
                "the report was learned from spans: name the column of the spans to label with --span-column"
                    .to_owned(),
            ));
        }
        (VectorKind::Span, Some(_)) | (_, None) => {}
        (emit, Some(_)) => {
            return Err(Error::Usage(format!(
                "--span-column: the report was learned from {emit} vectors, not from those of spans; leave it out"
            )));
        }
    }
    // A job with sentence embeddings uses their settings for all of its vectors.
    let sentence = model.sentence_recipe(record.emit.contains(&VectorKind::Sentence))?;
    let mut plan = record.to_plan(model.num_hidden_layers(), model.hidden_size()).plan;
    plan.kinds = vec![report.emit];
    if let Some(layers) = layer.layers.clone().or_else(|| Some(vec![layer.layer?])) {
        plan.layers = layers;
        plan.combine = None;
    }
    let sound = plan.layers.iter().all(|&layer| layer <= model.num_hidden_layers())
        && (1..=model.longest_text()).contains(&plan.max_length);
    if !sound {
        return Err(Error::Output {
            path: request.report.join(REPORT),
            problem: "plan: is not of this model; probe anew".to_owned(),
        });
    }
    Ok(Plan { sentence, ..plan })
}

/// Refuses a head for vectors of another width.
fn check_width(directory: &Path, plan: &Plan, head: &Head) -> Result<()> {
    let columns: usize = plan.arrays().iter().map(|array| array.columns).sum();
    if columns == head.columns {
        return Ok(());
    }
    Err(Error::Output {
        path: directory.join(heads::FILE),
        problem: format!("the head takes vectors of {} numbers, the model's have {columns}", head.columns),
    })
}
