//! `predict`: labels new texts with the heads that `probe` has fitted, piece by piece.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use super::args::PredictArgs;
use super::console::Console;
use super::predict_show;
use super::shared::{columns, say_what_was_settled, sources};
use super::standard_output::standard_output;
use crate::error::{Error, Result};
use crate::input::{Columns, Input, Skipped};
use crate::observer::Observer;
use crate::predict::labelled::PredictedText;
use crate::predict::{PredictRequest, Predictor};

/// Labels texts and prints them.
///
/// # Errors
/// Those of [`Predictor::open`] and [`Predictor::predict`], and of the input.
pub(super) fn run(args: &PredictArgs, console: &Console) -> Result<()> {
    let request = PredictRequest {
        report: args.report.clone(),
        layer: args.layer.clone(),
        model: args.model.clone(),
        revision: args.hub.revision.clone(),
        offline: args.hub.offline,
        threads: args.threads.map(usize::from),
        pair_column: args.pair_column.clone(),
        span_column: args.span_column.clone(),
        once: !args.texts.is_empty(),
    };
    let input = input(args, console)?;
    let observer: Arc<dyn Observer> = Arc::new(console.clone());
    let mut predictor = Predictor::open(&request, &observer)?;
    say_what_was_settled(predictor.plan(), predictor.tokenizer(), console);

    let mut out = BufWriter::new(anstream::AutoStream::auto(standard_output()?));
    let pieces = input.pieces();
    let mut is_empty = true;
    let interrupted = |signal| Error::Interrupted { signal, done: 0, texts: 0, way_on: Error::START_OVER };
    while let Some(piece) = pieces.next(console, interrupted)? {
        is_empty = false;
        for predicted in &predictor.predict(&piece)? {
            print(&mut out, predicted, args.json).map_err(Error::stdout)?;
        }
        out.flush().map_err(Error::stdout)?;
    }
    if is_empty {
        return Err(input.is_empty_error());
    }
    pieces.skipped().and_then(Skipped::warning).iter().for_each(|warning| console.warn(warning));
    predictor.warnings().iter().for_each(|warning| console.warn(warning));
    Ok(())
}

fn print(out: &mut impl Write, predicted: &PredictedText<'_>, json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, predicted)?;
        return out.write_all(b"\n");
    }
    out.write_all(predict_show::text(predicted).as_bytes())
}

/// The input that the options describe.
fn input(args: &PredictArgs, console: &Console) -> Result<Input> {
    let columns = Columns {
        pair_column: args.pair_column.clone(),
        span_column: args.span_column.clone(),
        id_column: args.id_column.clone(),
        label_column: Some(String::new()),
        ..columns(&args.input)
    };
    let sources = sources(&args.texts, &args.input.input, console)?;
    Input::new(sources, args.input.input_format, columns)?.on_bad_line(args.input.on_bad_line)
}
