//! Looks for a column that could be the id, in the first records of an input that has none.

use std::collections::HashSet;

use super::columns::{Columns, Optional};
use super::record::Record;

/// Records that are looked at, so that it costs the same for an input of any length.
pub(super) const LOOKED_AT: usize = 1000;
/// Bytes of the longest value that is taken for an id.
const LONGEST: usize = 256;
/// How the names of identifiers end, in any case: `note_id`, `pid`, `uuid`.
const ENDINGS: [&str; 4] = ["id", "key", "accession", "identifier"];

/// The values of a record in columns that are named like identifiers, each with the column's name.
pub(super) type LikeIds = Vec<(String, String)>;

/// Takes such values out of the first records of a reader.
#[derive(Debug)]
pub(super) struct LikeIdsReader {
    /// Number of records that are still to be looked at.
    left: usize,
}

impl LikeIdsReader {
    /// For a reader of these columns. Where a column is named as the id, or none is to be, nothing is looked at.
    pub(super) fn new(columns: &Columns) -> Self {
        Self { left: if matches!(columns.id(), Optional::IfThere(_)) { LOOKED_AT } else { 0 } }
    }

    /// Whether further records are looked at.
    #[cfg(feature = "parquet")]
    pub(super) fn goes_on(&self) -> bool {
        self.left > 0
    }

    /// The values of the next record, of these cells with their names. `id` spells a cell as an id, if it can be one.
    pub(super) fn take<'a, T: ?Sized + 'a>(
        &mut self,
        columns: &Columns,
        cells: impl IntoIterator<Item = (&'a str, &'a T)>,
        id: impl Fn(&T) -> Option<String>,
    ) -> LikeIds {
        if self.left == 0 {
            return LikeIds::new();
        }
        self.left -= 1;
        let cells = cells.into_iter().filter(|(name, _)| is_like_id(name, columns));
        let values = cells.filter_map(|(name, cell)| Some((name.to_owned(), id(cell)?)));
        values.filter(|(_, value)| !value.trim().is_empty() && value.len() <= LONGEST).collect()
    }
}

/// Whether a column is named like an identifier, and is neither a text nor a label.
pub(super) fn is_like_id(name: &str, columns: &Columns) -> bool {
    let others = [&columns.pair_column, &columns.span_column, &columns.label_column];
    let is_other = name == columns.text() || others.into_iter().any(|other| other.as_deref() == Some(name));
    let ends = |ending: &&str| {
        let start = name.len().checked_sub(ending.len());
        start.and_then(|start| name.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(ending))
    };
    !is_other && ENDINGS.iter().any(ends)
}

/// The values that the first records of an input have in such columns.
#[derive(Debug, Default)]
pub(super) struct IdSearch {
    records: usize,
    is_longer: bool,
    has_ids: bool,
    /// The columns in the order of the first record.
    values: Vec<(String, HashSet<String>)>,
}

impl IdSearch {
    pub(super) fn add(&mut self, record: &Record, like_ids: LikeIds) {
        self.has_ids |= record.id.is_some();
        if self.records == LOOKED_AT {
            self.is_longer = true;
            return;
        }
        self.records += 1;
        for (name, value) in like_ids {
            match self.values.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => _ = values.insert(value),
                None => self.values.push((name, HashSet::from([value]))),
            }
        }
    }

    /// The note on the first column that has another value in each of several records, where they have no ids.
    pub(super) fn note(&self) -> Option<String> {
        let (name, _) = self.values.iter().find(|(_, values)| values.len() == self.records)?;
        if self.has_ids || self.records < 2 {
            return None;
        }
        let texts =
            if self.is_longer { format!("each of the first {LOOKED_AT} texts") } else { "each text".to_owned() };
        let is_word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let typed = match name.chars().all(is_word) && !name.starts_with('-') {
            true => name.clone(),
            false => format!("'{name}'"),
        };
        Some(format!(
            "the texts have no ids; the column `{name}` has another value in {texts} and can be the id with --id-column {typed}"
        ))
    }
}
