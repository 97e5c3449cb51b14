//! Prints the report on a terminal.

use std::fmt::Write as _;

use super::report::{LayerReport, Report, score_name};
use super::scores::ScoreName;
use super::task::Task;
use crate::spec::Choice;

/// Length of the longest bar in characters.
const BAR: usize = 16;

/// The columns of the table that a narrow terminal has no room for.
#[derive(Debug, Clone, Copy)]
struct Room {
    bar: bool,
    strength: bool,
    control: bool,
}

impl Room {
    /// The room on a terminal of so many columns; none is a file, where lines are as long as they like. What tells least goes first,
    /// and all of it is in the report.
    fn of(terminal: Option<usize>) -> Self {
        let has = |columns: usize| terminal.is_none_or(|terminal| terminal >= columns);
        Self { bar: has(104), strength: has(86), control: has(77) }
    }
}

/// The report as lines of text, for a terminal of so many columns.
pub fn render(report: &Report, terminal: Option<usize>) -> String {
    let room = Room::of(terminal);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ =
        writeln!(out, "{} on {} vectors of {}", report.task.describe(report.emit), report.emit.name(), report.model.id);
    for (which, directory) in
        ["train", "dev", "test"].into_iter().filter_map(|which| Some((which, report.directories.get(which)?)))
    {
        let words = if matches!(report.task, Task::Tagging { .. }) {
            format!(", {} words", directory.examples)
        } else {
            String::new()
        };
        let groups = match (&report.group, directory.groups) {
            (Some(column), Some(groups)) => format!(" in {groups} groups by {column}"),
            _ => String::new(),
        };
        let _ = writeln!(out, "{which:<9} {}: {} texts{groups}{words}", directory.path, directory.texts);
    }
    if !report.classes.is_empty() {
        let _ = writeln!(out, "{:<9} {}: {}", "labels", report.classes.len(), shortened(&report.classes));
    }
    let how = match report.scored_on.as_str() {
        "test" => "on test".to_owned(),
        _ => format!("by {}-fold cross-validation", report.folds),
    };
    let drawn = if report.group.is_some() { "groups" } else { "texts" };
    let _ = writeln!(out, "{:<9} {how}; intervals of 95 % from 1,000 draws of {drawn}", "scored");
    let with_control = room.control && report.layers.iter().any(|layer| layer.control.is_some());
    let by_entity = report.primary == ScoreName::EntityF1.name();
    if by_entity && with_control {
        let _ = writeln!(out, "{:<9} control and selectivity are accuracies, by word", "");
    }
    let _ = writeln!(out);
    let name = score_name(&report.primary);
    // The second column is another score than the first.
    let second = match (report.task, ScoreName::from_name(&report.primary)) {
        (Task::Regression, Some(ScoreName::Pearson)) => ScoreName::R2,
        (Task::Regression, _) => ScoreName::Pearson,
        (_, Some(ScoreName::EntityF1 | ScoreName::MacroF1)) => ScoreName::Accuracy,
        _ => ScoreName::MacroF1,
    };
    let with_crf = report.crf_best.is_some();
    let crf = if with_crf { "    CRF" } else { "" };
    let control = if with_control { "  control  selectivity" } else { "" };
    let strength = if room.strength { format!("  {:>7}", "C") } else { String::new() };
    let _ =
        writeln!(out, "{:>9}  {name:>9}  {:>15}  {:>8}{crf}{control}{strength}", "layer", "interval", second.title());
    let (low, high) = bounds(report);
    let set_mark = |size: usize| match size {
        2 => " best pair".to_owned(),
        size => format!(" best {size} layers"),
    };
    let sets = report.sets.iter().map(|set| (set, set_mark(set.layers.as_ref().map_or(0, Vec::len))));
    let marked = |layer: &LayerReport| {
        if layer.name == report.best {
            " best".to_owned()
        } else if report.as_good.contains(&layer.name) {
            " as good".to_owned()
        } else {
            String::new()
        }
    };
    for (layer, mark) in report.layers.iter().map(|layer| (layer, marked(layer))).chain(sets) {
        let scores = &layer.scores;
        let control = match (layer.control, layer.selectivity) {
            (Some(control), Some(selectivity)) if with_control => format!("  {control:>7.3}  {selectivity:>11.3}"),
            _ if with_control => " ".repeat(22),
            _ => String::new(),
        };
        let crf = match &layer.crf {
            Some(crf) => format!("  {:>5.3}", crf.score),
            None if with_crf => " ".repeat(7),
            None => String::new(),
        };
        let strength = if room.strength { format!("  {:>7}", layer.strength) } else { String::new() };
        let bar = if room.bar { format!("  {}", bar((layer.score - low) / (high - low))) } else { String::new() };
        let _ = writeln!(
            out,
            "{:>9}  {:>9.3}  {:>7.3} – {:.3}  {:>8.3}{crf}{control}{strength}{bar}{mark}",
            layer.label(),
            layer.score,
            layer.interval[0],
            layer.interval[1],
            second.of(scores).unwrap_or(0.0),
        );
    }
    let of = report.baseline.label.as_ref().map_or_else(|| "the mean".to_owned(), |label| format!("always `{label}`"));
    let _ = writeln!(out, "{:>9}  {:>9.3}  {of}", "majority", report.baseline.score);
    if let Some(mix) = &report.mix {
        let weights: Vec<String> = mix.mix.weights.iter().map(|weight| format!("{weight:.2}")).collect();
        let _ = writeln!(
            out,
            "{:>9}  {:>9.3}  all layers; weights {}; centre of gravity {:.2}",
            "mix",
            mix.score,
            weights.join(" "),
            mix.mix.centre_of_gravity
        );
    }
    if let Some(best) = report.best_layer() {
        details(&mut out, best);
        calibrated(&mut out, best);
    }
    let _ = writeln!(out, "\n{}", report.advice);
    out
}

/// Appends what calibration did.
fn calibrated(out: &mut String, best: &LayerReport) {
    let (Some(calibration), Some(error)) = (&best.calibration, best.scores.expected_calibration_error) else { return };
    let _ = writeln!(
        out,
        "\nprobabilities calibrated at temperature {:.3}: expected calibration error {error:.3} instead of {:.3}",
        calibration.temperature, calibration.expected_calibration_error_before
    );
}

/// Appends the scores by type of entity, or by class if there are few.
fn details(out: &mut String, best: &LayerReport) {
    const MOST: usize = 20;
    let (what, rows) = if best.entities.is_empty() { ("label", &best.classes) } else { ("entity", &best.entities) };
    if rows.is_empty() || rows.len() > MOST {
        return;
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(what.len());
    let _ = writeln!(
        out,
        "\n{} {}:\n{what:<width$}  precision  recall     F1  support",
        match (best.layer, &best.layers) {
            (Some(_), _) => "layer",
            (None, Some(_)) => "layers",
            (None, None) => "of",
        },
        best.label()
    );
    for row in rows {
        let _ = writeln!(
            out,
            "{:<width$}  {:>9.3}  {:>6.3}  {:>5.3}  {:>7}",
            row.name, row.precision, row.recall, row.f1, row.support
        );
    }
}

/// The scores of an empty and a full bar: the lower one of the majority and the worst layer, and the best layer.
fn bounds(report: &Report) -> (f64, f64) {
    let scores = || report.layers.iter().chain(&report.sets).map(|layer| layer.score);
    let low = scores().fold(report.baseline.score, f64::min);
    let high = scores().fold(low, f64::max);
    if high > low { (low, high) } else { (low - 1.0, low) }
}

/// A bar in eighths of a character.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied());
    bar
}

fn shortened(names: &[String]) -> String {
    const MOST: usize = 12;
    let shown: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    let rest = if names.len() > MOST { ", …" } else { "" };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of two layers, with every column.
    fn report() -> Report {
        let scores = serde_json::json!({"accuracy": 0.75, "macro_f1": 0.7});
        let layer = |name: &str, score: f64| {
            serde_json::json!({
                "name": name, "layer": null, "score": score, "interval": [0.5, 1.0], "scores": scores, "control": 0.5,
                "selectivity": 0.25, "strength": 0.0001, "fold_strengths": [], "loss": 0.1, "steps": 3, "converged": true,
                "classes": [{"name": "good", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1_000_000}],
                "entities": [],
            })
        };
        let report = serde_json::json!({
            "format_version": 1, "layerwise": "0.1.0", "task": "classification", "primary": "accuracy", "label": "label",
            "emit": "mean",
            "model": {"id": "m", "revision": null, "sha256": {}, "num_hidden_layers": 1, "hidden_size": 8},
            "plan": {}, "directories": {}, "scored_on": "test", "folds": 1, "seed": 0, "strengths": [],
            "classes": ["good"], "baseline": {"label": "good", "score": 0.5, "scores": scores},
            "layers": [layer("layer_00", 0.5), layer("layer_01", 0.75), layer("layer_02", 0.74)], "mix": null,
            "best": "layer_01", "as_good": ["layer_01", "layer_02"], "advice": "none",
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn the_table_fits_the_terminal_and_has_what_there_is_room_for() {
        let report = report();
        let whole = render(&report, None);
        assert!(whole.contains("█ best") && whole.contains("selectivity        C"), "{whole}");
        assert_eq!(render(&report, Some(104)), whole);
        for (terminal, columns) in [
            (55, vec!["layer", "accuracy", "interval", "macro", "F1"]),
            (80, vec!["layer", "accuracy", "interval", "macro", "F1", "control", "selectivity"]),
            (86, vec!["layer", "accuracy", "interval", "macro", "F1", "control", "selectivity", "C"]),
        ] {
            let text = render(&report, Some(terminal));
            let table = text.lines().skip_while(|line| !line.contains("interval ")).take(4).collect::<Vec<_>>();
            assert_eq!(table[0].split_whitespace().collect::<Vec<_>>(), columns, "{text}");
            assert!(table[2].ends_with(" best") && table[3].ends_with(" as good"), "{text}");
            let longest = table.iter().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= terminal), "{longest:?} of {terminal}:\n{text}");
        }
    }
}
