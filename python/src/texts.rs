//! Python's texts as records: strings, pairs and words out of whatever can be iterated over.

use layerwise::{Record, Text};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PySet, PyString, PyTuple};

/// The texts in their order. An item is a string, a tuple of two for a pair, or, with `pretokenized`, a list of words in place of
/// a string.
///
/// # Errors
/// `TypeError` for what is no sequence of texts, with the row; `ValueError` for a string that is not Unicode text.
pub(crate) fn records(texts: &Bound<'_, PyAny>, pretokenized: bool) -> PyResult<Vec<Record>> {
    refuse_what_iterates_over_something_else(texts)?;
    // pyarrow's arrays give out scalars of their own where they are iterated over.
    let texts = match texts.getattr_opt("to_pylist")? {
        Some(to_list) => &to_list.call0()?,
        None => texts,
    };
    let items = texts.try_iter().map_err(|_| {
        PyTypeError::new_err(format!("texts is {}; expected strings, in a list or another iterable", name_of(texts)))
    })?;
    items.enumerate().map(|(row, item)| record(&item?, &format!("texts[{row}]"), pretokenized)).collect()
}

/// The records with the spans of each, pairs of numbers.
///
/// # Errors
/// `TypeError` for what is no list of pairs for each text; `ValueError` for another number of lists than of texts, and for a span
/// that is empty or does not lie in its text.
pub(crate) fn with_spans(records: Vec<Record>, spans: &Bound<'_, PyAny>) -> PyResult<Vec<Record>> {
    let spans: Vec<Vec<[usize; 2]>> = spans.extract().map_err(|_| {
        PyTypeError::new_err(
            "spans is no list of lists; expected for each text a list of (start, end), as in [[(0, 4)], []]",
        )
    })?;
    if spans.len() != records.len() {
        return Err(PyValueError::new_err(format!(
            "spans has {} lists, and there are {} texts; expected one for each text",
            spans.len(),
            records.len()
        )));
    }
    let with = |(row, (record, spans)): (usize, (Record, Vec<[usize; 2]>))| {
        record.with_spans(spans).map_err(|problem| PyValueError::new_err(format!("texts[{row}] {problem}")))
    };
    records.into_iter().zip(spans).enumerate().map(with).collect()
}

/// Refuses what would give out other things than texts without anybody noticing: the characters of a string, the names of a table's
/// columns, the keys of a dict.
fn refuse_what_iterates_over_something_else(texts: &Bound<'_, PyAny>) -> PyResult<()> {
    let problem = if texts.is_instance_of::<PyString>() || texts.is_instance_of::<PyBytes>() {
        "expected several texts; put a single one into a list, as in encode([text])"
    } else if texts.is_instance_of::<PyDict>() {
        "expected texts; give one of its values, or list(texts.values())"
    } else if texts.is_instance_of::<PySet>() || texts.is_instance_of::<PyFrozenSet>() {
        "which has no order; make a list of it, so that it is known which row is of which text"
    } else if texts.hasattr("columns")? {
        "a table; expected one of its columns, as in encode(table[\"text\"])"
    } else {
        return Ok(());
    };
    Err(PyTypeError::new_err(format!("texts is {}, {problem}", name_of(texts))))
}

fn record(item: &Bound<'_, PyAny>, place: &str, pretokenized: bool) -> PyResult<Record> {
    let Ok(pair) = item.cast::<PyTuple>() else { return text(item, place, pretokenized).map(Record::from) };
    if pair.len() != 2 {
        return Err(PyTypeError::new_err(format!(
            "{place} is a tuple of {}; expected two texts, a pair, or a text by itself{}",
            pair.len(),
            if pretokenized { "; words stand in a list" } else { "" }
        )));
    }
    let [first, second] = [0, 1]
        .map(|index| pair.get_item(index).and_then(|item| text(&item, &format!("{place}[{index}]"), pretokenized)));
    Ok(Record { pair: Some(second?), ..Record::from(first?) })
}

fn text(item: &Bound<'_, PyAny>, place: &str, pretokenized: bool) -> PyResult<Text> {
    if let Ok(string) = item.cast::<PyString>() {
        return Ok(Text::of_line(characters(string, place)?, pretokenized));
    }
    let words = item.try_iter().ok().filter(|_| !item.is_instance_of::<PyBytes>());
    let Some(words) = words else {
        let missing =
            if item.is_none() || is_nan(item) { "; give missing texts a value first, such as ''" } else { "" };
        return Err(PyTypeError::new_err(format!("{place} is {}; expected a string{missing}", name_of(item))));
    };
    if !pretokenized {
        return Err(PyTypeError::new_err(format!(
            "{place} is {}; expected a string, or a tuple of two for a pair; with pretokenized=True it may be a list of words",
            name_of(item)
        )));
    }
    let words = words.enumerate().map(|(index, word)| {
        let (word, place) = (word?, format!("{place}[{index}]"));
        // A list of pyarrow's scalars.
        let word = if word.hasattr("as_py")? { word.call_method0("as_py")? } else { word };
        let string = word.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!("{place} is {}; expected a word, which is a string", name_of(&word)))
        })?;
        characters(string, &place)
    });
    let words: Vec<String> = words.collect::<PyResult<_>>()?;
    Ok(Text::of_words(words.iter().map(String::as_str)))
}

fn characters(string: &Bound<'_, PyString>, place: &str) -> PyResult<String> {
    string.to_str().map(str::to_owned).map_err(|_| {
        PyValueError::new_err(format!(
            "{place} holds half of a surrogate pair, which is no character; decode the text anew, or replace it with \
             text.encode('utf-8', 'replace').decode()"
        ))
    })
}

/// Whether it is what pandas has for a missing value.
fn is_nan(item: &Bound<'_, PyAny>) -> bool {
    item.extract::<f64>().is_ok_and(f64::is_nan)
}

/// What something is, for messages: `None`, or its type.
fn name_of(item: &Bound<'_, PyAny>) -> String {
    if item.is_none() {
        return "None".to_owned();
    }
    let name = item.get_type().name().map_or_else(|_| "something".to_owned(), |name| name.to_string());
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']) { "an" } else { "a" };
    format!("{article} {name}")
}
