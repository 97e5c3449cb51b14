//! Checks `texts.jsonl` line by line, together with the offsets of token and word vectors.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::file::{open, open_again};
use super::line::{Lists, ParsedLine};
use super::offsets::OffsetsCheck;
use super::region::{PIECE, check_crc32};
use crate::directory::contents::Contents;
use crate::directory::damage::{Damage, Findings};
use crate::directory::names::{MANIFEST, TEXTS};
use crate::error::json_problem;
use crate::input::{LONGEST_RECORD, SourceLine};
use crate::spec::{OnBadLine, SpecialTokens, VectorKind};

/// Longest line that is read, in bytes. No record makes a longer one, even if JSON escapes each character with six.
const LONGEST_LINE: u64 = 8 * LONGEST_RECORD as u64;

/// Checks the texts and all offsets. `told` is called with the number of bytes read.
pub(super) fn check(directory: &Path, contents: &Contents, told: &dyn Fn(u64)) -> Vec<Damage> {
    let with_regions = contents.files.iter().flat_map(|file| file.regions.iter().map(move |region| (file, region)));
    let offsets =
        with_regions.filter_map(|(file, region)| OffsetsCheck::new(open_again(&directory.join(&file.name)), region));
    let mut texts = TextsCheck {
        contents,
        offsets: offsets.collect(),
        lines: 0,
        next_row: contents.first_row,
        other_row: None,
        source_line: None,
        has_digests: None,
        sums: Some(LineSums::default()),
        findings: Findings::new(TEXTS),
    };
    if let Some((file, _)) = open(&directory.join(TEXTS), &mut texts.findings)
        && let Err(error) = texts.read(file, told)
    {
        texts.findings.add_unread(&error);
    }
    let of_offsets: Vec<Damage> = texts.offsets.into_iter().flat_map(OffsetsCheck::finish).collect();
    let mut damages = texts.findings.into_damages();
    damages.extend(of_offsets);
    damages
}

struct TextsCheck<'a> {
    contents: &'a Contents,
    offsets: Vec<OffsetsCheck<'a>>,
    /// Number of lines read.
    lines: u64,
    /// The row that the next line should have.
    next_row: u64,
    /// The row that it should have if lines are missing before the previous one.
    other_row: Option<u64>,
    /// The last text's own line in the input, of a job that skips bad lines.
    source_line: Option<SourceLine>,
    /// Whether lines have digests, which is known from the first one.
    has_digests: Option<bool>,
    /// Sums over the lines; `None` once a line could not be read.
    sums: Option<LineSums>,
    findings: Findings,
}

/// Sums over the lines, which are compared with the manifest's counts.
#[derive(Default)]
struct LineSums {
    tokens: u64,
    empty_texts: u64,
    truncated_texts: u64,
    truncated_tokens: u64,
}

impl TextsCheck<'_> {
    fn read(&mut self, file: fs::File, told: &dyn Fn(u64)) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(PIECE, file);
        let mut checksum = crc32fast::Hasher::new();
        let mut line = Vec::new();
        while let Some(is_short) = read_line(&mut reader, &mut line, &mut checksum, told)? {
            self.lines += 1;
            let read = if is_short { self.line(&line) } else { Err(format!("is longer than {LONGEST_LINE} bytes")) };
            if let Err(problem) = read {
                self.findings.add(format!("line {}: {problem}", self.lines));
                self.sums = None;
            }
        }
        let texts = self.contents.counts.texts;
        if self.lines == texts {
            self.check_sums();
        } else {
            self.findings.add(format!("has {} lines; expected {texts}, one for each text", self.lines));
        }
        check_crc32(checksum, self.contents.texts_crc32, TEXTS, &mut self.findings);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let expected = self.next_row;
        self.next_row = expected.saturating_add(1);
        let line: ParsedLine = serde_json::from_slice(line)
            // The line number is already part of the finding.
            .map_err(|error| json_problem(&error).replace(" at line 1 column ", " at column "))?;
        let other = self.other_row.take();
        if line.row != expected {
            self.next_row = if other == Some(line.row) { line.row.saturating_add(1) } else { self.next_row };
            if other != Some(line.row) {
                self.other_row = line.row.checked_add(1); // if the next line has it, this one was right
                return Err(format!("row is {}; expected {expected}", line.row));
            }
        }
        if self.contents.plan.on_bad_line == OnBadLine::Skip {
            self.compare_source_line(line.source_line()?)?;
        }
        let columns = &self.contents.plan.columns;
        let is_carried = columns.carry.iter().any(|name| name == "digest") && !columns.carry_as.contains_key("digest");
        if !is_carried {
            let has_digest = line.digest()?.is_some();
            if *self.has_digests.get_or_insert(has_digest) != has_digest {
                let (is, others) = if has_digest { ("there", "lack it") } else { ("missing", "have it") };
                return Err(format!("digest is {is}, and the lines before {others}"));
            }
        }
        let (tokens, before) = (line.n_tokens, line.n_tokens_before_truncation);
        if tokens > before {
            return Err(format!("n_tokens is {tokens}, and n_tokens_before_truncation {before}"));
        }
        if let Some(sums) = &mut self.sums {
            sums.tokens = sums.tokens.saturating_add(tokens);
            sums.empty_texts += u64::from(tokens == 0);
            sums.truncated_texts += u64::from(before > tokens);
            sums.truncated_tokens = sums.truncated_tokens.saturating_add(before - tokens);
        }
        if !self.contents.plan.wants_token_details() {
            return Ok(());
        }
        let lists = line.lists(self.contents.plan.has(VectorKind::Span))?;
        let keeps = self.contents.plan.special_tokens == SpecialTokens::Keep;
        if lists.tokens > tokens || (keeps && lists.tokens != tokens) {
            return Err(format!("tokens has {} entries, and n_tokens is {tokens}", lists.tokens));
        }
        self.compare(line.row, lists);
        Ok(())
    }

    /// Checks that the texts are in the order of the input. In JSON, several may begin on one line.
    fn compare_source_line(&mut self, found: SourceLine) -> Result<(), String> {
        let spelled = |SourceLine { file, line }: SourceLine| {
            let file = file.map_or_else(String::new, |file| format!(" of file {file}"));
            format!("line {line}{file}")
        };
        match self.source_line.replace(found) {
            Some(before) if found < before || found.file.is_some() != before.file.is_some() => {
                Err(format!("is of {}, and the line before of {}", spelled(found), spelled(before)))
            }
            _ => Ok(()),
        }
    }

    /// Compares the rows that a line implies with the offsets.
    fn compare(&mut self, row: u64, lists: Lists) {
        let Some(text) = row.checked_sub(self.contents.first_row) else { return };
        if text >= self.contents.counts.texts {
            return;
        }
        for offsets in &mut self.offsets {
            while offsets.texts < text {
                let before = offsets.texts;
                offsets.next_text();
                if offsets.texts == before {
                    break; // the file ends here
                }
            }
            if offsets.texts != text {
                continue;
            }
            let expected = match offsets.emit {
                VectorKind::Word => lists.words,
                VectorKind::Span => lists.spans,
                _ => lists.tokens,
            };
            if let Some(rows) = offsets.next_text().filter(|&rows| rows != expected) {
                offsets.disagree(rows, expected);
            }
        }
    }

    fn check_sums(&mut self) {
        let Some(sums) = &self.sums else { return };
        let counts = &self.contents.counts;
        let keeps = self.contents.plan.special_tokens == SpecialTokens::Keep;
        for (key, sum, count) in [
            ("tokens", sums.tokens, counts.tokens),
            ("truncated_texts", sums.truncated_texts, counts.truncated_texts),
            ("truncated_tokens", sums.truncated_tokens, counts.truncated_tokens),
            // If special tokens are dropped, a text may have no token left.
            ("empty_texts", if keeps { sums.empty_texts } else { counts.empty_texts }, counts.empty_texts),
        ] {
            if sum != count {
                let problem = format!("counts.{key} is {count}; the lines of {TEXTS} make {sum}");
                self.findings.add_at(MANIFEST.to_owned(), problem);
            }
        }
    }
}

/// Reads a line, without its end, into `line`. False when the line is too long and was skipped; `None` at the end of
/// the file.
fn read_line(
    reader: &mut impl BufRead,
    line: &mut Vec<u8>,
    checksum: &mut crc32fast::Hasher,
    told: &dyn Fn(u64),
) -> io::Result<Option<bool>> {
    let mut is_short = true;
    for part in 0.. {
        line.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', line)?;
        checksum.update(line);
        told(read as u64);
        if read == 0 && part == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            break;
        }
        if (read as u64) < LONGEST_LINE {
            break;
        }
        is_short = false;
    }
    Ok(Some(is_short))
}
