//! Guesses the delimiter of a table whose columns are not separated as its name says.

use super::columns::listed;
use crate::spec::Delimiter;

/// The delimiters that are considered.
const CANDIDATES: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Number of bytes that hold a first line that declares the delimiter.
pub(super) const DECLARATION: usize = 10;

/// The delimiter that a first line `sep=;` declares, as Excel writes it, and the length of that line with its end.
pub(super) fn declared(head: &[u8]) -> Option<(Delimiter, usize)> {
    let (quoted, rest) = head.strip_prefix(b"\"").map_or((false, head), |rest| (true, rest));
    let rest = rest.get(..4).filter(|word| word.eq_ignore_ascii_case(b"sep=")).map(|_| &rest[4..])?;
    let (&separator, rest) = rest.split_first()?;
    let rest = if quoted { rest.strip_prefix(b"\"")? } else { rest };
    let end = match rest {
        [] => 0,
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => return None,
    };
    Some((Delimiter::new(separator)?, head.len() - rest.len() + end))
}

/// What is said of a first record whose cells seem to be separated by something else than `now`, which `has` the column
/// that is wanted among cells that are right.
pub(super) fn of_first_record(cells: &[String], now: u8, has: impl Fn(&[&str]) -> bool) -> Option<String> {
    let line = cells.join(&char::from(now).to_string());
    let split = CANDIDATES.into_iter().filter(|&candidate| candidate != now).map(|candidate| {
        let names = line.split(char::from(candidate)).map(|name| name.trim_matches([' ', '"'])).collect::<Vec<_>>();
        (has(&names), names.len(), candidate, names)
    });
    // Many columns may hold separators of others in their names.
    let likely = split.filter(|(has, count, ..)| *count > 1 && (*has || cells.len() == 1));
    let (has, _, candidate, names) = likely.max_by_key(|&(has, count, ..)| (has, count))?;
    let more = if has { "" } else { ", and name the column of the text with --text-column" };
    Some(format!("{} ({}); read it with {}{more}", seem(candidate), listed(names.into_iter()), option(candidate)))
}

fn seem(separator: u8) -> String {
    match separator {
        b'\t' => "its columns seem to be separated by tabs".to_owned(),
        other => format!("its columns seem to be separated by `{}`", char::from(other)),
    }
}

/// The delimiter as it is typed on the command line.
fn option(separator: u8) -> String {
    Delimiter::new(separator).map_or_else(String::new, |delimiter| format!("--delimiter {}", delimiter.typed()))
}

/// How often candidates occur in the records of a table without a header, which has no names to tell by.
pub(super) struct Occurrences {
    /// For each candidate, in the records so far; absent where they differ, and for what separates now.
    counts: [Option<usize>; CANDIDATES.len()],
    records: u64,
}

impl Occurrences {
    pub(super) fn new() -> Self {
        Self { counts: [None; CANDIDATES.len()], records: 0 }
    }

    pub(super) fn add<'a>(&mut self, cells: impl Iterator<Item = &'a [u8]> + Clone) {
        for (known, candidate) in self.counts.iter_mut().zip(CANDIDATES) {
            if self.records > 0 && known.is_none() {
                continue;
            }
            let count = cells.clone().flatten().filter(|&&byte| byte == candidate).count();
            *known = Some(count).filter(|&count| count > 0 && (self.records == 0 || *known == Some(count)));
        }
        self.records += 1;
    }

    /// What is said of records that seem to be separated by something else than `now`, which gives `width` columns: each of
    /// them has the other as often, and it would give more columns.
    pub(super) fn of_all_records(&self, now: u8, width: usize) -> Option<String> {
        let all = self.counts.iter().zip(CANDIDATES);
        let likely = all.filter_map(|(count, candidate)| Some(((*count)?, candidate)));
        let (count, candidate) = likely.filter(|&(count, candidate)| candidate != now && count >= width).max()?;
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        (self.records > 1).then(|| {
            format!(
                "{}, which each record has {times}; read it with {}, or with {} if it is as it should be",
                seem(candidate),
                option(candidate),
                option(now)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(cells: &[&str], now: u8, wanted: &str) -> Option<String> {
        let cells = cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        of_first_record(&cells, now, |names| names.contains(&wanted))
    }

    #[test]
    fn a_header_shows_what_separates_it() {
        for (cells, now, says) in [
            (&["id;text;label"][..], b',', "separated by `;` (`id`, `text`, `label`); read it with --delimiter ';'"),
            (&["id\ttext"], b',', "separated by tabs (`id`, `text`); read it with --delimiter tab"),
            (&["id|text"], b',', "separated by `|` (`id`, `text`); read it with --delimiter '|'"),
            (&["id,\"text\""], b'\t', "separated by `,` (`id`, `text`); read it with --delimiter ,"),
            (&["id,text"], b';', "--delimiter ,"),
            (&["a", "b;text;label"], b',', "separated by `;` (`a,b`, `text`, `label`)"),
            (&["id;review"], b',', "--delimiter ';', and name the column of the text with --text-column"),
            (&["a|b;c;text"], b',', "separated by `;`"),
        ] {
            let told = first(cells, now, "text").unwrap_or_else(|| panic!("{cells:?}"));
            assert!(told.starts_with("its columns seem to be") && told.contains(says), "{told}");
        }
        for cells in [&["sentence"][..], &["id", "review"], &["a;b", "c"], &[]] {
            assert_eq!(first(cells, b',', "text"), None, "{cells:?}");
        }
    }

    #[test]
    fn a_first_line_may_say_it() {
        for (head, byte, length) in [
            (&b"sep=;\r\nid"[..], b';', 7),
            (b"sep=;\nid;te", b';', 6),
            (b"SEP=\t\rid", b'\t', 6),
            (b"\"sep=;\"\r\n", b';', 9),
            (b"sep=,", b',', 5),
        ] {
            assert_eq!(declared(head), Some((Delimiter::new(byte).unwrap(), length)), "{head:?}");
        }
        for head in [&b""[..], b"sep", b"sep=", b"sep=\n", b"sep=;;\n", b"\"sep=;\n", b"step=;\n", b"sep=\"\n"] {
            assert_eq!(declared(head), None, "{head:?}");
        }
    }

    #[test]
    fn records_show_what_separates_them() {
        let told = |records: &[&str]| {
            let mut occurrences = Occurrences::new();
            records.iter().for_each(|record| occurrences.add(record.split(',').map(str::as_bytes)));
            occurrences.of_all_records(b',', records[0].split(',').count())
        };
        let found = told(&["1;hello;a", "2;one, more;b"]).unwrap();
        assert!(
            found.contains("separated by `;`, which each record has 2 times; read it with --delimiter ';'"),
            "{found}"
        );
        assert!(found.ends_with("or with --delimiter , if it is as it should be"));
        assert!(told(&["1;hello;0,5", "2;world;0,7"]).is_some(), "decimal commas");
        for records in [&["a; b"][..], &["a; b", "c"], &["a; b", "c; d; e"], &["1,x;y,z", "2,v;w,u"], &["a", "b"]] {
            assert_eq!(told(records), None, "{records:?}");
        }
    }
}
