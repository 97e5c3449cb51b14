//! `probe`: fits linear models on the vectors of labelled directories, layer by layer, to find the layer that
//! represents the labels best.
//!
//! Data flows one way: [`stored`](crate::directory::stored) and [`labels`] → [`task`] → [`mod@folds`] → [`features`] → [`fit`] →
//! [`scores`] → [`report`]. Nothing here touches the encoder.

pub mod basis;
mod blocks;
pub mod bootstrap;
pub mod calibration;
pub mod chain;
pub mod control;
pub mod crf;
mod curvature;
pub mod entities;
pub mod evaluate;
pub mod features;
pub mod fit;
pub mod folds;
pub mod groups;
pub mod heads;
pub mod labels;
pub mod layer_set;
pub mod linear;
pub mod mix;
mod newton;
pub mod objective;
pub mod plot;
pub mod predictions;
mod products;
mod ranking;
pub mod repeats;
pub mod report;
mod report_files;
pub mod request;
pub mod scores;
mod stopping;
pub mod table;
pub mod targets;
pub mod task;
mod temperature;

use std::collections::HashSet;

use self::control::Control;
use self::evaluate::{Outcome, Setup, Side, median};
use self::folds::Folds;
use self::labels::{LabelledTexts, ProbedColumns};
use self::layer_set::LayerSet;
use self::mix::{Layers, Mix};
use self::predictions::Predictions;
use self::report::{Report, ScoredLayer};
use self::request::ClassWeight;
pub use self::request::ProbeRequest;
use self::scores::{ScoreName, Scores};
use self::targets::{Targets, balanced};
use self::task::Task;
use crate::directory::stored::Directory;
use crate::error::{Error, Result};
use crate::observer::{Observer, Work};
use crate::plan::{ArrayPlan, Slot};
use crate::spec::{LayerSelection, RowKind, VectorKind};

/// Fits a probe on each layer, evaluates it on unseen texts, shows the scores and then writes the report's files.
///
/// # Errors
/// [`Error::Output`] for directories that cannot be used or do not fit together, and for labels that cannot be learned;
/// [`Error::Usage`] for options that do not fit the directories.
pub fn probe(request: &ProbeRequest, observer: &dyn Observer, show: impl FnOnce(&Report) -> Result<()>) -> Result<()> {
    let open = |path: &std::path::PathBuf| Directory::open(path);
    let train = open(&request.train)?;
    let dev = request.dev.as_ref().map(open).transpose()?;
    let test = request.test.as_ref().map(open).transpose()?;
    for other in [&dev, &test].into_iter().flatten() {
        check_same_making(&train, other)?;
    }
    if let Some(output) = &request.output {
        report_files::check_place(output, request.overwrite)?;
    }
    let columns = ProbedColumns { label: &request.label, group: request.group.as_deref() };
    let read = |directory: &Directory| labels::read(directory, columns, request.task, request.kind);
    let labels = read(&train)?;
    let dev_labels = dev.as_ref().map(read).transpose()?;
    let test_labels = test.as_ref().map(read).transpose()?;
    let others: Vec<(&Directory, &LabelledTexts)> = [(&dev, &dev_labels), (&test, &test_labels)]
        .into_iter()
        .filter_map(|(directory, labels)| directory.as_ref().zip(labels.as_ref()))
        .collect();
    let sides: Vec<(&Directory, &LabelledTexts)> =
        [(&train, &labels)].into_iter().chain(others.iter().copied()).collect();
    say_what_is_left_out(&sides, request, observer);
    if let Some(column) = &request.group {
        let of_sides =
            sides.iter().filter_map(|(directory, labels)| Some((directory.path.as_path(), labels.groups.as_ref()?)));
        groups::check_apart(column, &of_sides.collect::<Vec<_>>())?;
    }

    let task = Task::of(&labels);
    let of = if labels.of_spans { VectorKind::Span } else { VectorKind::Word };
    let score = score(request, task, of)?;
    check_classes(request, task)?;
    check_sequences(request, task, of)?;
    let (classes, targets, other_targets) = task::targets((&train, &labels), &others)?;
    let sets = layer_sets(request, &train, &labels)?;
    let arrays: Vec<ArrayPlan> = sets.iter().flat_map(LayerSet::arrays).copied().collect();
    for (directory, _) in &others {
        check_has_arrays(&train, directory, &arrays)?;
    }
    let folds = folds(request, &train, &labels, &targets, &classes.names)?;
    let control = (request.control).then(|| Control::new(&targets, request.seed));
    let names = [("dev", dev.is_some()), ("test", test.is_some())].into_iter().filter(|(_, is_there)| *is_there);
    let mut sides = names.zip(others.iter().zip(other_targets)).map(|((which, _), (&(directory, labels), targets))| {
        Side::new(directory, labels, targets, control.as_ref(), which)
    });
    let dev_side = if dev.is_some() { sides.next() } else { None };
    let test_side = sides.next();
    drop(sides);
    let mut strengths = request.strengths.clone();
    strengths.sort_by(f64::total_cmp);
    strengths.dedup();
    let setup = Setup {
        task,
        score,
        is_balanced: request.class_weight == ClassWeight::Balanced,
        calibrates: request.calibrate,
        crf: request.crf,
        classes: &classes,
        train: Side::new(&train, &labels, targets, control.as_ref(), "train"),
        dev: dev_side,
        test: test_side,
        folds,
        strengths,
        budget: request.memory,
    };

    // Where groups are kept together, what repeats within one is not on both sides.
    let repeats = match (arrays.last(), &labels.groups) {
        (Some(array), None) => Some(repeats::find(&setup, array)?),
        _ => None,
    };
    let warning = repeats.and_then(|repeats| repeats.warning(setup.test.is_none()));
    warning.iter().for_each(|warning| observer.warn(warning));

    let bar = observer.begin(Work::Probing(sets.len() as u64));
    let (mut outcomes, mut layers): (Vec<Outcome>, Vec<ScoredLayer>) = (Vec::new(), Vec::new());
    let mut best = 0;
    for set in &sets {
        let mut outcome = evaluate(&setup, set, true, observer)?;
        let layer = ScoredLayer::new(request, &setup, set, &outcome);
        if outcome.crf.as_ref().is_some_and(|crf| !crf.fitted.converged) {
            observer.warn(&format!("{}: the fit of the CRF has not converged", set.name()));
        }
        // The probabilities of all classes are kept of the best layer alone.
        if layers.get(best).is_some_and(|best| best.report.score >= layer.report.score) {
            outcome.predicted.logits = Vec::new();
        } else {
            outcomes.iter_mut().for_each(|worse| worse.predicted.logits = Vec::new());
            best = outcomes.len();
        }
        layers.push(layer);
        outcomes.push(outcome);
        bar.advance(1);
    }
    drop(bar);
    let (best_sets, of_sets) = best_sets(request, &setup, &sets, &layers, observer)?.into_iter().unzip();
    let mix = mixed(request, &setup, &sets, &outcomes, observer)?;
    outcomes.extend::<Vec<Outcome>>(of_sets);
    let report = Report::new(request, &setup, arrays[0].kind, layers, best_sets, mix, repeats);

    // Shown first, so that a disk that is full does not cost the fit.
    let shown = show(&report);
    if let Some(output) = &request.output {
        report_files::write(output, &report, &setup, &outcomes)?;
    }
    shown
}

fn evaluate(setup: &Setup<'_>, set: &LayerSet, in_full: bool, observer: &dyn Observer) -> Result<Outcome> {
    if let Some(signal) = observer.interruption() {
        return Err(Error::Interrupted { signal, done: 0, texts: 0, way_on: Error::START_OVER });
    }
    let (outcome, name) = (setup.evaluate(set, in_full)?, set.name());
    let (fit, seconds) = (&outcome.fit, outcome.seconds);
    observer
        .detail(&format!("{name}: C {}, loss {:.6}, {} steps, {seconds:.1} s", outcome.strength, fit.loss, fit.steps));
    if !fit.converged {
        observer.warn(&format!("{name}: the fit has not converged after {} steps", fit.steps));
    }
    Ok(outcome)
}

/// The best pair of layers, the best three, and so on: the best layer, and then each time the layer that adds most.
fn best_sets(
    request: &ProbeRequest,
    setup: &Setup<'_>,
    sets: &[LayerSet],
    layers: &[ScoredLayer],
    observer: &dyn Observer,
) -> Result<Vec<(ScoredLayer, Outcome)>> {
    let single: Vec<(&LayerSet, f64)> = sets
        .iter()
        .zip(layers)
        .filter(|(set, _)| set.layer().is_some())
        .map(|(set, layer)| (set, layer.report.score))
        .collect();
    let Some(&(first, _)) = single.iter().reduce(|best, other| if other.1 > best.1 { other } else { best }) else {
        return Ok(Vec::new());
    };
    let sizes = request.best_set.min(single.len()).saturating_sub(1);
    let bar = observer.begin(Work::Probing((1..=sizes).map(|size| (single.len() - size) as u64).sum()));
    let mut best_of_size = first.clone();
    let mut found = Vec::new();
    for _ in 0..sizes {
        let mut best: Option<(LayerSet, ScoredLayer, Outcome)> = None;
        for (layer, _) in &single {
            let set = best_of_size.with(layer.arrays()[0]);
            if set == best_of_size {
                continue;
            }
            let mut outcome = evaluate(setup, &set, false, observer)?;
            let scored = ScoredLayer::new(request, setup, &set, &outcome);
            outcome.predicted.logits = Vec::new();
            if best.as_ref().is_none_or(|(_, best, _)| scored.report.score > best.report.score) {
                best = Some((set, scored, outcome));
            }
            bar.advance(1);
        }
        let Some((set, scored, outcome)) = best else { break };
        best_of_size = set;
        found.push((scored, outcome));
    }
    Ok(found)
}

/// The score by which layers are ranked.
fn score(request: &ProbeRequest, task: Task, of: VectorKind) -> Result<ScoreName> {
    let scores = ScoreName::of_task(task);
    let Some(wanted) = request.score else { return Ok(scores[0]) };
    if !scores.contains(&wanted) {
        let names: Vec<&str> = scores.iter().map(|score| score.name()).collect();
        return Err(Error::Usage(format!(
            "--score {}: the task is {}, whose scores are {}",
            wanted.name(),
            task.describe(of),
            names.join(", ")
        )));
    }
    Ok(wanted)
}

/// Refuses options of classes where numbers are predicted.
fn check_classes(request: &ProbeRequest, task: Task) -> Result<()> {
    let options =
        [(request.class_weight != ClassWeight::default(), "--class-weight"), (request.calibrate, "--calibrate")];
    match options.iter().find(|(is_given, _)| *is_given && task == Task::Regression) {
        Some((_, option)) => {
            Err(Error::Usage(format!("{option} is for classes, and numbers are predicted; leave it out")))
        }
        None => Ok(()),
    }
}

/// Refuses a conditional random field where there are no sequences of tags, and with options that it does not have.
fn check_sequences(request: &ProbeRequest, task: Task, of: VectorKind) -> Result<()> {
    if !request.crf {
        return Ok(());
    }
    if !matches!(task, Task::Tagging { .. }) || of == VectorKind::Span {
        let what = task.describe(of);
        return Err(Error::Usage(format!(
            "--crf is for tags of words, one after the other, and the task is {what}; leave it out"
        )));
    }
    let options =
        [(request.class_weight != ClassWeight::default(), "--class-weight"), (request.calibrate, "--calibrate")];
    match options.iter().find(|(is_given, _)| *is_given) {
        Some((_, option)) => Err(Error::Usage(format!("--crf does not go with {option}; leave one of them out"))),
        None => Ok(()),
    }
}

fn check_same_making(train: &Directory, other: &Directory) -> Result<()> {
    let differences = train.differences(other);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::Output {
        path: other.path.clone(),
        problem: format!(
            "its vectors were made otherwise than those of {}: {}; extract both with the same model and options",
            train.path.display(),
            differences.join(", ")
        ),
    })
}

fn say_what_is_left_out(directories: &[(&Directory, &LabelledTexts)], request: &ProbeRequest, observer: &dyn Observer) {
    for (directory, labels) in directories {
        let path = directory.path.display();
        if labels.unlabelled > 0 {
            observer.note(&format!(
                "{path}: {} of {} texts have no {}, and are left out",
                labels.unlabelled, directory.counts.texts, request.label
            ));
        }
        if labels.unlabelled_words > 0 {
            observer.note(&format!(
                "{path}: {} {} have no {}, and are left out",
                labels.unlabelled_words,
                if labels.of_spans { "spans" } else { "words" },
                request.label
            ));
        }
        if labels.without_vector > 0 {
            observer.warn(&format!(
                "{path}: {} words of {} texts have no vector, as the text was cut before them or the tokenizer deletes them; they are left out of fits and scores",
                labels.without_vector, labels.texts_cut
            ));
        }
    }
}

/// What is probed: layers, and sets of layers.
fn layer_sets(request: &ProbeRequest, train: &Directory, labels: &LabelledTexts) -> Result<Vec<LayerSet>> {
    let held = |rows: RowKind| train.plan.kinds.iter().copied().filter(move |emit| emit.rows() == rows);
    let emit = match (request.kind, labels.of_words) {
        (None | Some(VectorKind::Span), true) if labels.of_spans => VectorKind::Span,
        (Some(emit), true) if labels.of_spans => {
            return Err(Error::Usage(format!(
                "--emit {}: the labels are lists, one for each span, and go with span vectors",
                emit.name()
            )));
        }
        (None | Some(VectorKind::Word), true) => VectorKind::Word,
        (Some(emit), true) => {
            return Err(Error::Usage(format!(
                "--emit {}: the labels are lists, one for each word, and go with word vectors",
                emit.name()
            )));
        }
        (Some(emit), false) if emit.rows() == RowKind::Text => emit,
        (Some(emit), false) => {
            return Err(Error::Usage(format!(
                "--emit {}: there is one label for each text, which goes with a sentence vector such as mean",
                emit.name()
            )));
        }
        (None, false) => held(RowKind::Text).next().ok_or_else(|| Error::Output {
            path: train.path.clone(),
            problem: "holds no sentence vectors, and there is one label for each text; extract with --emit mean"
                .to_owned(),
        })?,
    };
    if !train.plan.has(emit) {
        let held: Vec<&str> = train.plan.kinds.iter().map(|emit| emit.name()).collect();
        return Err(Error::Output {
            path: train.path.clone(),
            problem: format!("holds no {} vectors; it has {}", emit.name(), held.join(", ")),
        });
    }
    let arrays = train.arrays().iter().filter(|array| array.kind == emit).copied();
    let Some(probed) = &request.layers else { return Ok(arrays.map(LayerSet::one).collect()) };
    let arrays: Vec<ArrayPlan> = arrays.collect();
    let of_layers = |selection: &LayerSelection| {
        let wanted = selection
            .resolve(train.model.num_hidden_layers)
            .map_err(|problem| Error::Usage(format!("--layers: {problem}")))?;
        let array = |layer: usize| {
            let found = arrays.iter().find(|array| array.slot == Slot::Layer(layer)).copied();
            found.ok_or_else(|| {
                let held: Vec<String> = arrays.iter().map(ArrayPlan::name).collect();
                let path = train.path.display();
                Error::Usage(format!("--layers: {path} has no layer {layer}; it has {}", held.join(", ")))
            })
        };
        wanted.into_iter().map(array).collect::<Result<Vec<ArrayPlan>>>()
    };
    let single = probed.single.as_ref().map(of_layers).transpose()?.unwrap_or_default();
    let sets = probed.sets.iter().map(|set| of_layers(set).map(LayerSet::of)).collect::<Result<Vec<_>>>()?;
    // Each once, however it was asked for.
    let mut all: Vec<LayerSet> = Vec::new();
    for set in single.into_iter().map(LayerSet::one).chain(sets) {
        if all.iter().all(|other| other.arrays() != set.arrays()) {
            all.push(set);
        }
    }
    Ok(all)
}

fn check_has_arrays(train: &Directory, other: &Directory, arrays: &[ArrayPlan]) -> Result<()> {
    match arrays.iter().find(|array| !other.arrays().contains(array)) {
        None => Ok(()),
        Some(array) => Err(Error::Output {
            path: other.path.clone(),
            problem: format!(
                "has no {} of {} vectors, which {} has; extract both with the same --emit and --layers",
                array.name(),
                array.kind.name(),
                train.path.display()
            ),
        }),
    }
}

/// The training texts in folds; a single fold if nothing needs cross-validation.
fn folds(
    request: &ProbeRequest,
    train: &Directory,
    labels: &LabelledTexts,
    targets: &Targets,
    names: &[String],
) -> Result<Folds> {
    let chooses = request.strengths.len() > 1 && request.dev.is_none();
    let calibrates = request.calibrate && request.dev.is_none();
    if request.test.is_some() && !chooses && !calibrates {
        return Ok(Folds::one(&labels.starts));
    }
    let folds = request.folds;
    let way_out = "choose fewer with --folds, or give --test and --dev or a single --strength";
    let problem = |problem: String| Err(Error::Output { path: train.path.clone(), problem });
    // If the scores come from cross-validation, the texts left after holding out a fold are divided once more.
    let least = if request.test.is_none() && chooses { 3 } else { 2 };
    if folds < least {
        return Err(Error::Usage(format!(
            "--folds {folds}: cross-validation needs at least {least} here, where it both chooses the strength and gives the score; choose more, or give --test, --dev or a single --strength"
        )));
    }
    let classes: &[u32] = match targets {
        Targets::Classes(classes) if !labels.of_words => classes,
        _ => &[],
    };
    let units = Units::of(labels);
    let what = match (&labels.groups, labels.of_words) {
        (Some(_), _) => "groups",
        (None, true) => "texts with labelled words",
        (None, false) => "texts",
    };
    if units.count() < folds {
        return problem(format!(
            "holds {} {what}, fewer than the {folds} folds of cross-validation; {way_out}",
            units.count()
        ));
    }
    let few: Vec<String> = units
        .with_each_class(classes, names.len())
        .into_iter()
        .zip(names)
        .filter(|(count, _)| (1..folds).contains(count))
        .map(|(count, name)| format!("`{name}` ({count})"))
        .collect();
    if !few.is_empty() {
        return problem(format!(
            "{} classes have fewer {what} than the {folds} folds of cross-validation: {}; {way_out}",
            few.len(),
            few.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(match &labels.groups {
        Some(groups) => {
            let groups = (&groups.of_text[..], groups.names.len());
            Folds::of_groups(&labels.starts, classes, groups, folds, request.seed)
        }
        None => Folds::of_texts(&labels.starts, classes, folds, request.seed),
    })
}

/// The units that folds are made of, texts or groups of texts: the unit of each example.
struct Units(Vec<u32>);

impl Units {
    fn of(labels: &LabelledTexts) -> Self {
        let of_text = |text: usize| labels.groups.as_ref().map_or(text as u32, |groups| groups.of_text[text]);
        let texts = labels.starts.windows(2).enumerate();
        Self(texts.flat_map(|(text, ends)| vec![of_text(text); ends[1] - ends[0]]).collect())
    }

    /// Number of units with examples.
    fn count(&self) -> usize {
        self.0.iter().collect::<HashSet<_>>().len()
    }

    /// For each of so many classes, the number of units with an example of it. `classes` are those of the examples; empty
    /// for examples whose classes are not spread over folds.
    fn with_each_class(&self, classes: &[u32], count: usize) -> Vec<usize> {
        let mut counts = vec![0; count];
        let pairs: HashSet<(u32, u32)> = classes.iter().copied().zip(self.0.iter().copied()).collect();
        pairs.iter().for_each(|(class, _)| counts[*class as usize] += 1);
        counts
    }
}

/// The scalar mix over all layers and its scores; `None` if there are no layers to mix.
fn mixed(
    request: &ProbeRequest,
    setup: &Setup<'_>,
    sets: &[LayerSet],
    outcomes: &[Outcome],
    observer: &dyn Observer,
) -> Result<Option<(Mix, f64, Scores)>> {
    let (layers, single): (Vec<usize>, Vec<(&LayerSet, &Outcome)>) =
        sets.iter().zip(outcomes).filter_map(|(set, outcome)| Some((set.layer()?, (set, outcome)))).unzip();
    if !request.mix || layers.len() < 2 {
        return Ok(None);
    }
    // Not the strength of the best layer, which is only known from the texts that are scored.
    let strength = median(&single.iter().map(|(_, outcome)| outcome.strength).collect::<Vec<_>>());
    let sides = 1 + u64::from(setup.test.is_some());
    let budget = setup.budget / (layers.len() as u64 * sides);
    let load = |side: &Side<'_>, order: &[u32]| {
        let each = single.iter();
        each.map(|(set, outcome)| setup.load(side, set.arrays(), order, Some(&outcome.standard), budget))
            .collect::<Result<Vec<_>>>()
    };
    let features = load(&setup.train, &setup.folds.order)?;
    let targets = setup.train.targets.select(&setup.folds.order);
    let classes = setup.classes.known;
    let basis = basis::Basis::of(&features[layers.len() / 2])?;
    let training = |without: Option<usize>| {
        let chunks = setup.folds.chunks(|fold| Some(fold) != without);
        let class_weights = if setup.is_balanced { balanced(&targets, &chunks, classes) } else { None };
        let count = setup.folds.count(|fold| Some(fold) != without);
        Layers { features: &features, targets: &targets, chunks, count, classes, class_weights }
    };
    let fitted = training(None).fit(&basis, strength, true)?;
    let mut converged = fitted.converged;
    let predicted = if let Some(test) = &setup.test {
        let folds = Folds::one(&test.labels.starts);
        let features = load(test, &folds.order)?;
        let count = features[0].examples();
        let (chunks, class_weights) = (folds.chunks(|_| true), None);
        Layers { features: &features, targets: &test.targets, chunks, count, classes, class_weights }
            .predict(&fitted)?
    } else {
        let mut in_order = Predictions::blank(targets.count(), classes, true);
        for fold in 0..setup.folds.ranges.len() {
            let fitted = training(Some(fold)).fit(&basis, strength, false)?;
            converged &= fitted.converged;
            let held_out = Layers { chunks: setup.folds.chunks(|of| of == fold), ..training(None) };
            in_order.put(&setup.folds.order[setup.folds.ranges[fold].clone()], &held_out.predict(&fitted)?);
        }
        in_order
    };
    if !converged {
        observer.warn("the fit of the mix has not converged; its score may be higher");
    }
    let judged = setup.judge(&setup.scored().targets, &predicted);
    let scores = judged.scores(&vec![1; judged.texts()]);
    Ok(Some((Mix::new(fitted.weights, &layers), strength, scores)))
}
