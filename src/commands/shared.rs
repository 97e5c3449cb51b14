//! What several commands share: opening the model, finding the texts, and notes on settings that the model's files
//! made.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::args::{InputArgs, ModelArgs};
use crate::checkpoint::BUNDLED;
use crate::error::{Error, Result};
use crate::input::{Columns, Source};
use crate::model::{Model, ModelBuilder};
use crate::observer::Observer;
use crate::plan::Plan;
use crate::tokens::Tokenizer;

/// The builder for `--model`, `--revision` and `--offline`; the bundled model if none is named.
pub(super) fn builder(model: Option<&str>, hub: &ModelArgs) -> ModelBuilder {
    let builder = Model::builder(model.unwrap_or(BUNDLED)).offline(hub.offline);
    match &hub.revision {
        Some(revision) => builder.revision(revision),
        None => builder,
    }
}

/// Tells a user who named no model that the bundled one is used.
pub(super) fn note_of_bundled(model: &Model, observer: &dyn Observer) {
    observer.note(&format!(
        "encoded by the bundled model, a small one ({} layers of width {}); for a full-size one add -m google-bert/bert-base-uncased",
        model.num_hidden_layers(),
        model.hidden_size()
    ));
}

/// The sources of texts: arguments, else files, else standard input.
///
/// A text that is the name of a file is noted, as it was probably meant for `-i`.
///
/// # Errors
/// [`Error::Usage`] if standard input is a terminal and was not asked for.
pub(super) fn sources(texts: &[String], files: &[PathBuf], observer: &dyn Observer) -> Result<Vec<Source>> {
    if let Some(name) = texts.iter().find(|text| Path::new(text).is_file()) {
        observer
            .note(&format!("`{name}` is taken as a text; to read the texts of the file of that name, write -i {name}"));
    }
    match files {
        [] if !texts.is_empty() => Ok(vec![Source::Arguments(texts.to_owned())]),
        [] if io::stdin().is_terminal() => Err(Error::Usage(
            "no texts: give them as arguments, name a file with -i, or pipe them in (-i - reads the terminal)"
                .to_owned(),
        )),
        [] => Ok(vec![Source::Stdin]),
        paths => Ok(paths.iter().map(|path| Source::of_path(path)).collect()),
    }
}

/// The columns that the options of all commands tell; ids and labels are those that the input has by their usual names.
pub(super) fn columns(args: &InputArgs) -> Columns {
    Columns {
        text_column: args.text_column.clone(),
        no_header: args.no_header,
        delimiter: args.delimiter,
        pretokenized: args.pretokenized,
        ..Columns::default()
    }
}

/// Notes on settings of the model's files that apply to the whole job and may surprise the user.
pub(super) fn say_what_was_settled(plan: &Plan, tokenizer: &Tokenizer, observer: &dyn Observer) {
    tokenizer.notes().iter().for_each(|note| observer.note(note));
    let Some(recipe) = &plan.sentence else { return };
    recipe.notes.iter().for_each(|note| observer.note(note));
    let others: Vec<&str> = plan.kinds.iter().map(|kind| kind.name()).filter(|name| *name != "sentence").collect();
    let others = if others.is_empty() { String::new() } else { format!(", also for {}", others.join(", ")) };
    if let Some(prompt) = &plan.prompt {
        observer.note(&format!(
            "each text is encoded with the prompt {prompt:?} before it{others}; --prompt '' leaves it out"
        ));
    }
    if !others.is_empty() && recipe.max_seq_length.is_some_and(|limit| limit == plan.max_length) {
        observer.note(&format!(
            "as `sentence` is asked for, sentence-transformers' limit of {} tokens holds for the whole job{others}; --max-length sets another",
            plan.max_length
        ));
    }
    if recipe.tokenizer.lower_case {
        observer.note(&format!(
            "as `sentence` is asked for, texts are put into lower case first, as the model's files say{others}"
        ));
    }
}
