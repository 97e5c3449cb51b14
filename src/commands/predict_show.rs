//! Prints a labelled text for human readers.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::predict::labelled::{PredictedText, Prediction};

/// Number of characters of a text that are shown beside its label.
const SHOWN: usize = 100;

/// The line of a text; for named entities, one line for the text and one for each entity.
pub(super) fn text(labelled: &PredictedText<'_>) -> String {
    let bold = Style::new().bold();
    let green = Style::new().fg_color(Some(AnsiColor::Green.into())).bold();
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match &labelled.found {
        Prediction::Class { label, probability, .. } => {
            writeln!(out, "{green}{label}{green:#}\t{probability:.3}\t{}", shown(labelled.text))
        }
        Prediction::Number { value } => writeln!(out, "{green}{value:.4}{green:#}\t{}", shown(labelled.text)),
        Prediction::NumbersOfSpans { spans: words } | Prediction::Numbers { words } => {
            let numbers: Vec<String> =
                words.iter().map(|word| format!("{}/{green}{:.3}{green:#}", word.text, word.value)).collect();
            writeln!(out, "{}", numbers.join(" "))
        }
        Prediction::Spans { spans: words } | Prediction::Words { words, entities: None } => {
            let tagged: Vec<String> =
                words.iter().map(|word| format!("{}/{green}{}{green:#}", word.text, word.label)).collect();
            writeln!(out, "{}", tagged.join(" "))
        }
        Prediction::Words { entities: Some(entities), .. } => {
            let _ = writeln!(out, "{bold}{}{bold:#}", shown(labelled.text));
            let width = entities.iter().map(|entity| entity.label.chars().count()).max().unwrap_or(0);
            for entity in entities {
                let _ = writeln!(
                    out,
                    "  {green}{:<width$}{green:#}  {:.3}  {:>4}–{:<4}  {}",
                    entity.label, entity.probability, entity.start, entity.end, entity.text
                );
            }
            Ok(())
        }
    };
    out
}

/// A text on one line, shortened to [`SHOWN`] characters.
fn shown(text: &str) -> String {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(SHOWN).map(line).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
