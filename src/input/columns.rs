//! The roles of the input's columns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::column_types::{ColumnType, ColumnTypes};
use crate::error::{Error, Result};
use crate::spec::{Delimiter, InputFormat};

/// Number of names that an error message lists; further ones are only counted.
const NAMES_LISTED: usize = 30;

/// The options that assign the input's columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Columns {
    /// The column of the text; `text` by default, and for `conll` the first one.
    pub text_column: Option<String>,
    /// The column of the second text of a pair.
    pub pair_column: Option<String>,
    /// The column of the id; by default `id` if it exists. An empty name means no column.
    pub id_column: Option<String>,
    /// The column of the label; by default `label` if it exists, and for `conll` the last one. An empty name means no
    /// column.
    pub label_column: Option<String>,
    /// The column of spans; `None`, and absent from manifests, for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_column: Option<String>,
    /// Whether a table has no header. Its columns are then named by their numbers, from 1.
    pub no_header: bool,
    /// The delimiter of tables; `None`, and absent from manifests, for the default of the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// Further columns to copy to the output.
    pub carry: Vec<String>,
    /// Names in the output of those of them that have another one there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carry_as: BTreeMap<String, String>,
    /// Whether texts are pre-tokenized, as words separated by spaces.
    pub pretokenized: bool,
}

impl Columns {
    /// Refuses options that do not fit a format; `source_name` is the source that has it.
    pub(super) fn check(&self, format: InputFormat, source_name: &str) -> Result<()> {
        let named = self.named();
        let wrong = |option: &str, why: &str| Err(Error::Usage(format!("{option}: {source_name} {why}")));
        let of_sentences = |may: &str| {
            let other = named.iter().find(|(option, _)| !["--text-column", "--label-column"].contains(option));
            match other {
                Some((option, _)) => wrong(option, &format!("has {may}, which have no such column")),
                None if self.no_header => wrong("--no-header", "has no header in any case"),
                None => Ok(()),
            }
        };
        match format {
            InputFormat::Text => match named.first() {
                Some((option, _)) => wrong(
                    option,
                    "is plain text, a text a line; columns are for jsonl, json, csv, tsv, conll, conllu, fasta, parquet and arrow, see --input-format",
                ),
                None if self.no_header => {
                    wrong("--no-header", "is plain text; headers are for csv and tsv, see --input-format")
                }
                None => Ok(()),
            },
            InputFormat::Jsonl if self.no_header => {
                wrong("--no-header", "is JSON Lines, whose columns are named on every line")
            }
            InputFormat::Json if self.no_header => {
                wrong("--no-header", "is JSON, whose columns are named in every object")
            }
            InputFormat::Csv | InputFormat::Tsv if self.no_header => {
                if self.text_column.is_none() {
                    return wrong("--no-header", "needs --text-column N, the number of the text's column");
                }
                match named.iter().find(|(_, name)| number(name).is_none()) {
                    Some((option, name)) => {
                        wrong(option, &format!("has no header, so columns are numbers from 1, not `{name}`"))
                    }
                    None => Ok(()),
                }
            }
            InputFormat::Parquet | InputFormat::Arrow if !cfg!(feature = "parquet") => {
                Err(Error::no_parquet(source_name))
            }
            InputFormat::Parquet | InputFormat::Arrow if self.no_header => {
                wrong("--no-header", "has columns with names of their own")
            }
            InputFormat::Jsonl
            | InputFormat::Json
            | InputFormat::Csv
            | InputFormat::Tsv
            | InputFormat::Parquet
            | InputFormat::Arrow => Ok(()),
            InputFormat::Conll => {
                of_sentences("columns of words and tags alone")?;
                match named.iter().find(|(_, name)| number(name).is_none()) {
                    Some((option, name)) => {
                        wrong(option, &format!("has columns without names; expected a number from 1, not `{name}`"))
                    }
                    None => Ok(()),
                }
            }
            InputFormat::Conllu => {
                of_sentences("the columns of CoNLL-U (`# sent_id` is the id)")?;
                match named.iter().find(|(_, name)| conllu_column(name).is_none()) {
                    Some((option, name)) => wrong(
                        option,
                        &format!(
                            "has the columns {}; expected one of them, or its number, not `{name}`",
                            CONLLU_COLUMNS.join(", ")
                        ),
                    ),
                    None => Ok(()),
                }
            }
            InputFormat::Fasta if self.no_header => wrong("--no-header", "is FASTA, whose sequences have headers"),
            InputFormat::Fasta => {
                let of_text = ["--text-column", "--pair-column", "--span-column"];
                match named.iter().find(|(option, name)| of_text.contains(option) || !FASTA_COLUMNS.contains(name)) {
                    Some((option, _)) if of_text.contains(option) => {
                        wrong(option, "is FASTA, whose texts are its sequences alone")
                    }
                    Some((option, name)) => wrong(
                        option,
                        &format!(
                            "is FASTA, with the columns {} of each header, not `{name}`",
                            FASTA_COLUMNS.join(" and ")
                        ),
                    ),
                    None => Ok(()),
                }
            }
        }
    }

    /// Refuses a delimiter if no format has one.
    pub(super) fn check_delimiter(&self, formats: impl IntoIterator<Item = InputFormat>) -> Result<()> {
        if self.delimiter.is_none() || formats.into_iter().any(InputFormat::is_table) {
            return Ok(());
        }
        Err(Error::Usage(
            "--delimiter: no input is a table; it is for csv and tsv, which --input-format csv says of any input"
                .to_owned(),
        ))
    }

    /// The options that name a column, each with that name.
    pub(super) fn named(&self) -> Vec<(&'static str, &str)> {
        let options = [
            ("--text-column", &self.text_column),
            ("--pair-column", &self.pair_column),
            ("--id-column", &self.id_column),
            ("--label-column", &self.label_column),
            ("--span-column", &self.span_column),
        ];
        let one = options.into_iter().filter_map(|(option, name)| Some((option, name.as_deref()?)));
        let none =
            |(option, name): &(&str, &str)| name.is_empty() && ["--id-column", "--label-column"].contains(option);
        one.filter(|named| !none(named)).chain(self.carry.iter().map(|name| ("--carry", name.as_str()))).collect()
    }

    /// The name that a carried column has in the output.
    pub(crate) fn carried_name(&self, name: &str) -> String {
        self.carry_as.get(name).map_or(name, String::as_str).to_owned()
    }

    /// The types of the columns whose values are not known yet: JSON, as they may be anything.
    pub(super) fn unknown_types(&self) -> ColumnTypes {
        let carried = self.carry.iter().map(|name| (self.carried_name(name), ColumnType::Json));
        ColumnTypes { label: ColumnType::Json, word_label: ColumnType::Json, carried: carried.collect() }
    }

    pub(super) fn text(&self) -> &str {
        self.text_column.as_deref().unwrap_or("text")
    }

    pub(super) fn id(&self) -> Optional<'_> {
        Optional::new(self.id_column.as_deref(), "id", self.no_header)
    }

    pub(super) fn label(&self) -> Optional<'_> {
        Optional::new(self.label_column.as_deref(), "label", self.no_header)
    }
}

/// A column that may be missing unless it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Optional<'a> {
    Named(&'a str),
    IfThere(&'a str),
    No,
}

impl<'a> Optional<'a> {
    fn new(name: Option<&'a str>, default: &'a str, no_header: bool) -> Self {
        match name {
            Some("") => Optional::No,
            Some(name) => Optional::Named(name),
            None if no_header => Optional::No,
            None => Optional::IfThere(default),
        }
    }
}

/// The columns of CoNLL-U.
pub(super) const CONLLU_COLUMNS: [&str; 10] =
    ["ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"];

/// The columns of a FASTA header: its first word, and the rest.
pub(super) const FASTA_COLUMNS: [&str; 2] = ["id", "description"];

/// The index of a column of CoNLL-U, given by name or number.
pub(super) fn conllu_column(name: &str) -> Option<usize> {
    let by_name = CONLLU_COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name));
    by_name.or_else(|| number(name).filter(|&index| index < CONLLU_COLUMNS.len()))
}

/// The index of a column given by number, from 1.
pub(super) fn number(name: &str) -> Option<usize> {
    name.parse::<usize>().ok()?.checked_sub(1)
}

/// The message for a missing column: the columns that exist, advice, and the one that was probably meant.
pub(super) fn missing<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone, advice: &str) -> String {
    let count = known.clone().count();
    let mut listed = listed(known.clone().take(NAMES_LISTED));
    match count {
        0 => "none".clone_into(&mut listed),
        1..=NAMES_LISTED => {}
        _ => listed += &format!(" and {} more", count - NAMES_LISTED),
    }
    let like = known.map(|known| (strsim::jaro(name, known), known)).filter(|(like, _)| *like > 0.7);
    let guess = like.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| format!("; did you mean {}?", quoted(known)));
    format!("has no column `{name}`; it has {listed}{advice}{}", guess.unwrap_or_default())
}

/// Names as a list for messages.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// A name for messages, with control characters and byte order marks made visible.
fn quoted(name: &str) -> String {
    let is_invisible = |c: char| c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}');
    let shown = name.chars().map(|c| if is_invisible(c) { c.escape_default().to_string() } else { c.to_string() });
    format!("`{}`", shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_column_comes_with_those_that_are_there() {
        let known = ["sentence", "label"].into_iter();
        assert_eq!(
            missing("sentense", known.clone(), ""),
            "has no column `sentense`; it has `sentence`, `label`; did you mean `sentence`?"
        );
        assert!(missing("text", known, "").ends_with("it has `sentence`, `label`"));
        let many = (0..100).map(|i| i.to_string()).collect::<Vec<_>>();
        assert!(missing("x", many.iter().map(String::as_str), "").ends_with("`29` and 70 more"));
        let marked = missing("text", ["\u{feff}text"].into_iter(), "");
        assert!(marked.ends_with("it has `\\u{feff}text`; did you mean `\\u{feff}text`?"), "{marked}");
    }

    #[test]
    fn options_that_a_format_has_no_use_for_are_refused() {
        let some = |name: &str| Some(name.to_owned());
        let none = Columns::default();
        let text = Columns { text_column: some("2"), ..Columns::default() };
        let named = Columns { text_column: some("words"), label_column: some(""), ..Columns::default() };
        let id = Columns { id_column: some("1"), ..text.clone() };
        let carry = Columns { carry: vec!["1".to_owned()], ..text.clone() };
        let bare = Columns { no_header: true, ..text.clone() };
        let blind = Columns { no_header: true, ..Columns::default() };
        let header = Columns {
            id_column: some("id"),
            label_column: some("description"),
            carry: vec!["description".to_owned()],
            ..Columns::default()
        };
        for (format, good, bad) in [
            (InputFormat::Text, vec![&none], vec![&text, &named, &id, &carry, &bare, &blind]),
            (InputFormat::Jsonl, vec![&none, &text, &named, &id, &carry], vec![&bare, &blind]),
            (InputFormat::Json, vec![&none, &text, &named, &id, &carry], vec![&bare, &blind]),
            (InputFormat::Csv, vec![&none, &text, &named, &id, &carry, &bare], vec![&blind]),
            (InputFormat::Conll, vec![&none, &text], vec![&named, &id, &carry, &bare, &blind]),
            (InputFormat::Conllu, vec![&none, &text], vec![&named, &id, &carry, &bare, &blind]),
            (InputFormat::Fasta, vec![&none, &header], vec![&text, &named, &id, &carry, &bare, &blind]),
        ] {
            good.iter().for_each(|columns| assert!(columns.check(format, "f").is_ok(), "{format:?} {columns:?}"));
            bad.iter().for_each(|columns| assert!(columns.check(format, "f").is_err(), "{format:?} {columns:?}"));
        }
        let separated = Columns { delimiter: Delimiter::new(b';'), ..Columns::default() };
        assert!(separated.check_delimiter([InputFormat::Text, InputFormat::Tsv]).is_ok());
        assert!(separated.check_delimiter([InputFormat::Text, InputFormat::Json]).is_err());
        assert!(none.check_delimiter([InputFormat::Text]).is_ok());
    }

    #[test]
    fn manifests_without_a_delimiter_are_as_they_were() {
        let plain = serde_json::to_value(Columns::default()).unwrap();
        assert!(plain.get("delimiter").is_none(), "{plain}");
        assert_eq!(serde_json::from_value::<Columns>(plain).unwrap(), Columns::default());
        let separated = Columns { delimiter: Delimiter::new(b'\t'), ..Columns::default() };
        let value = serde_json::to_value(&separated).unwrap();
        assert_eq!(value["delimiter"], "\t");
        assert_eq!(serde_json::from_value::<Columns>(value).unwrap(), separated);
        for damaged in ["", "\"", ";;", "é", "\0"] {
            let value = serde_json::json!({ "delimiter": damaged });
            assert!(serde_json::from_value::<Delimiter>(value["delimiter"].clone()).is_err(), "{damaged:?}");
        }
    }
}
