//! Sentences of a line for each word, separated by lines that are empty or hold only white space: what CoNLL formats share.

use std::collections::VecDeque;
use std::io::BufRead;

use super::entry::{Entry, Failed, LONGEST_RECORD};
use super::lines::Lines;
use super::record::Record;

/// What a line costs in memory beside its bytes.
const LINE_OVERHEAD: usize = 32;

/// The lines of a sentence, with their numbers; never none.
pub(super) type Sentence = [(u64, String)];
/// What is wrong, and in which line.
pub(super) type Wrong = (u64, String);

/// What a format makes of a sentence: nothing where its lines hold no word.
pub(super) trait Parse {
    fn record(&mut self, sentence: &Sentence) -> Result<Option<Record>, Vec<Wrong>>;
}

/// The sentences of a reader as records.
pub(super) struct SentenceRecords<R, P> {
    lines: Lines<R>,
    parse: P,
    /// What is wrong with the sentence before.
    wrong: VecDeque<Wrong>,
    /// Whether the sentence at hand has a line that cannot be read: it is skipped.
    broken: bool,
    ended: bool,
}

impl<R: BufRead, P: Parse> SentenceRecords<R, P> {
    pub(super) fn new(reader: R, parse: P) -> Self {
        Self { lines: Lines::new(reader, LONGEST_RECORD), parse, wrong: VecDeque::new(), broken: false, ended: false }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, Failed> {
        loop {
            if let Some((line, problem)) = self.wrong.pop_front() {
                return Ok(Some(Entry { line, record: Err(problem) }));
            }
            if self.ended {
                return Ok(None);
            }
            let sentence = self.next_sentence()?;
            let Some(&(line, _)) = sentence.first() else { continue };
            match self.parse.record(&sentence) {
                Ok(Some(record)) => return Ok(Some(Entry { line, record: Ok(record) })),
                Ok(None) => {}
                Err(wrong) => self.wrong.extend(wrong),
            }
        }
    }

    /// The next sentence's lines; none where one of them is bad, and between two lines of white space.
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
                        self.wrong.push_back((sentence[0].0, problem));
                    }
                }
                Err(problem) => {
                    self.broken = true;
                    self.wrong.push_back((line.number, problem));
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
