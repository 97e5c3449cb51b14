//! The lines that `--on-bad-line skip` leaves out of an input: named for people, listed in the manifest.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::SourceLine;
use crate::error::BadLines;
use crate::sha256::hex;

/// Longest problem in a list, in characters. Some quote the input.
const LONGEST_PROBLEM: usize = 200;

/// The lines that are left out so far.
#[derive(Debug, Clone, Default)]
pub struct Skipped {
    named: BadLines,
    listed: Vec<SkippedLine>,
    digest: Sha256,
}

/// The lines that were left out of an input, by what is the same on every machine: not the names of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLines {
    /// Their number.
    pub count: u64,
    /// sha256 of all of them in order.
    pub sha256: String,
    /// The first [`SkippedLines::LISTED`] of them.
    pub lines: Vec<SkippedLine>,
}

impl SkippedLines {
    /// Number of lines that are listed; further ones are only counted.
    pub const LISTED: usize = 1000;
}

/// A line that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedLine {
    /// The line.
    #[serde(flatten)]
    pub place: SourceLine,
    /// What is wrong with it.
    pub problem: String,
}

impl Skipped {
    /// Leaves out a line. `named` is the line and its problem in a message, where files have names.
    pub(super) fn add(&mut self, place: SourceLine, problem: &str, named: impl FnOnce() -> String) {
        self.named.count += 1;
        if self.named.named.len() < BadLines::NAMED {
            self.named.named.push(named());
        }
        self.digest.update(place.file.unwrap_or_default().to_le_bytes());
        self.digest.update(place.line.to_le_bytes());
        self.digest.update((problem.len() as u64).to_le_bytes());
        self.digest.update(problem);
        if self.listed.len() < SkippedLines::LISTED {
            let problem = match problem.char_indices().nth(LONGEST_PROBLEM) {
                Some((end, _)) => format!("{}…", &problem[..end]),
                None => problem.to_owned(),
            };
            self.listed.push(SkippedLine { place, problem });
        }
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.named.count
    }

    /// The error that they are if nothing else is in the input.
    pub(super) fn as_error(&self) -> BadLines {
        self.named.clone()
    }

    /// The warning that they are left out; `None` if there are none.
    pub fn warning(&self) -> Option<String> {
        (self.named.count > 0).then(|| self.named.left_out())
    }

    /// The lines without the names of their files.
    pub fn lines(&self) -> SkippedLines {
        let sha256 = hex(&self.digest.clone().finalize());
        SkippedLines { count: self.named.count, sha256, lines: self.listed.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_digests_are_of_all() {
        let lines = |count: u64, last: &str| {
            let mut skipped = Skipped::default();
            for line in 1..=count {
                let problem = if line == count { last } else { "is bad" };
                skipped.add(SourceLine { file: None, line }, problem, || format!("f: line {line} {problem}"));
            }
            skipped
        };
        assert_eq!(lines(0, "").warning(), None);
        assert_eq!(lines(1, "is bad").warning().unwrap(), "left out of the input: f: line 1 is bad");
        let many = lines(2000, "is bad");
        assert!(many.warning().unwrap().ends_with("\n  f: line 20 is bad\n  and 1980 more"));
        let other = lines(2000, "is worse");
        assert_eq!((many.lines().count, many.lines().lines.len()), (2000, SkippedLines::LISTED));
        assert_eq!(many.lines().lines, other.lines().lines);
        assert_ne!(many.lines().sha256, other.lines().sha256);
        let long = lines(1, &"ä".repeat(300)).lines().lines.remove(0).problem;
        assert_eq!(long, "ä".repeat(200) + "…");
    }
}
