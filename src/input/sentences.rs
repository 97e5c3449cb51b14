//! Sentences with one line per word, separated by blank lines: what the CoNLL formats share.

use std::collections::VecDeque;
use std::io::BufRead;

use super::entry::{Entry, Failed, LONGEST_RECORD};
use super::lines::Lines;
use super::record::Record;

/// Memory that a line takes in addition to its bytes.
const LINE_OVERHEAD: usize = 32;

/// The lines of a sentence, with their line numbers; at least one.
pub(super) type Sentence = [(u64, String)];
/// A problem, with its line number.
pub(super) type Wrong = (u64, String);

/// Parses a sentence of a format; `None` if its lines hold no word.
pub(super) trait Parse {
    fn record(&mut self, sentence: &Sentence) -> Result<Option<Record>, Vec<Wrong>>;
}

/// The sentences of a reader as records.
pub(super) struct SentenceRecords<R, P> {
    lines: Lines<R>,
    parse: P,
    /// Further problems of the previous sentence.
    wrong: VecDeque<Entry>,
    /// Whether the current sentence has a line that cannot be read, for which it is skipped.
    broken: bool,
    ended: bool,
}

impl<R: BufRead, P: Parse> SentenceRecords<R, P> {
    pub(super) fn new(reader: R, parse: P) -> Self {
        Self { lines: Lines::new(reader, LONGEST_RECORD), parse, wrong: VecDeque::new(), broken: false, ended: false }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        loop {
            if let Some(wrong) = self.wrong.pop_front() {
                return Ok(Some(wrong));
            }
            if self.ended {
                return Ok(None);
            }
            let sentence = self.next_sentence()?;
            let Some(&(line, _)) = sentence.first() else { continue };
            match self.parse.record(&sentence) {
                Ok(Some(record)) => return Ok(Some(Entry::new(line, Ok(record)))),
                Ok(None) => {}
                Err(wrong) => {
                    self.wrong.extend(wrong.into_iter().map(|(line, problem)| Entry::new(line, Err(problem))));
                }
            }
        }
    }

    /// The lines of the next sentence; empty if one of them is bad, or between two blank lines.
    fn next_sentence(&mut self) -> Result<Vec<(u64, String)>, Failed> {
        let (mut sentence, mut size) = (Vec::new(), 0);
        for line in self.lines.by_ref() {
            let line = line?;
            match line.text {
                Ok(text) if text.trim_ascii().is_empty() => {
                    self.broken = false;
                    return Ok(sentence);
                }
                Ok(_) if self.broken || size > LONGEST_RECORD => {}
                Ok(text) => {
                    size += text.len() + LINE_OVERHEAD;
                    sentence.push((line.number, text));
                    if size > LONGEST_RECORD {
                        let longest = LONGEST_RECORD >> 20;
                        let problem = format!(
                            "begins a sentence that is longer than {longest} MiB, the longest that is taken; separate sentences by empty lines"
                        );
                        self.wrong.push_back(Entry::new(sentence[0].0, Err(problem)));
                    }
                }
                Err(problem) => {
                    self.broken = true;
                    let entry = Entry::new(line.number, Err(problem));
                    self.wrong.push_back(Entry { hides_the_rest: line.is_whole_file, ..entry });
                    return Ok(Vec::new());
                }
            }
            if size > LONGEST_RECORD {
                sentence.clear();
            }
        }
        self.ended = true;
        Ok(sentence)
    }
}

impl<R: BufRead, P: Parse> Iterator for SentenceRecords<R, P> {
    type Item = Result<Entry, Failed>;

    fn next(&mut self) -> Option<Result<Entry, Failed>> {
        self.next_entry().transpose()
    }
}
