//! CoNLL-U: ten columns separated by tabs. The words are the syntactic ones, to which the tags belong: lines of
//! multi-word tokens (`1-2`) and empty nodes (`1.1`) are left out. `# sent_id` is the id.

use super::columns::{CONLLU_COLUMNS, Columns, Optional, conllu_column};
use super::conll;
use super::record::Record;
use super::sentences::{Parse, Sentence, Wrong};

const FORM: usize = 1;
const UPOS: usize = 3;

/// Parses sentences of CoNLL-U.
pub(super) struct Conllu {
    word: usize,
    label: Option<usize>,
    has_ids: bool,
}

impl Conllu {
    pub(super) fn new(columns: &Columns) -> Self {
        let label = match columns.label_column.as_deref() {
            Some("") => None,
            Some(name) => conllu_column(name),
            None => Some(UPOS),
        };
        let has_ids = columns.id() != Optional::No;
        Self { word: columns.text_column.as_deref().and_then(conllu_column).unwrap_or(FORM), label, has_ids }
    }

    /// The word and label of a line; `None` for a line that is not a syntactic word.
    fn word_and_label<'a>(&self, line: &'a str) -> Result<Option<(&'a str, Option<&'a str>)>, String> {
        let cells = line.split('\t').collect::<Vec<_>>();
        if cells.len() != CONLLU_COLUMNS.len() {
            return Err(format!(
                "has {} columns separated by tabs; expected the {} of CoNLL-U",
                cells.len(),
                CONLLU_COLUMNS.len()
            ));
        }
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if cells[0].split_once(['-', '.']).is_some_and(|(from, to)| is_number(from) && is_number(to)) {
            return Ok(None);
        }
        if !is_number(cells[0]) {
            return Err(format!("has `{}` as ID; expected a number such as 1, 1-2 or 1.1", cells[0]));
        }
        match cells[self.word] {
            "" => Err(format!("has nothing in column {}; expected a word", CONLLU_COLUMNS[self.word])),
            word => Ok(Some((word, self.label.map(|label| cells[label])))),
        }
    }
}

impl Parse for Conllu {
    fn record(&mut self, sentence: &Sentence) -> Result<Option<Record>, Vec<Wrong>> {
        let (mut words, mut labels, mut wrong, mut id) = (Vec::new(), Vec::new(), Vec::new(), None);
        for (number, line) in sentence {
            if let Some(comment) = line.strip_prefix('#') {
                let value = comment.split_once('=').filter(|(key, _)| key.trim() == "sent_id");
                let value = value.filter(|_| self.has_ids);
                id = id.or(value.map(|(_, value)| value.trim().to_owned()).filter(|id| !id.is_empty()));
                continue;
            }
            match self.word_and_label(line) {
                Ok(None) => {}
                Ok(Some((word, label))) => {
                    words.push(word);
                    labels.extend(label);
                }
                Err(problem) => wrong.push((*number, problem)),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let record = conll::record(sentence, &words, self.label.map(|_| labels))?;
        Ok(record.map(|record| Record { id, ..record }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentences::SentenceRecords;
    use super::*;
    use proptest::prelude::*;

    const SENTENCE: &str = "\
# newdoc id = weblog
# sent_id = weblog-1
# text = Don't go to New York
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t0:exroot\t_
4\tNew York\tNew York\tPROPN\tNNP\t_\t3\tobl\t_\t_
";

    fn read(file: &[u8], columns: &Columns) -> Vec<(u64, Result<Record, String>)> {
        let entries = SentenceRecords::new(file, Conllu::new(columns)).map(|entry| entry.unwrap());
        entries.map(|entry| (entry.line, entry.record)).collect()
    }

    #[test]
    fn words_are_the_syntactic_ones() {
        let file = format!("{SENTENCE}\n\n{SENTENCE}");
        let found = read(file.as_bytes(), &Columns::default());
        assert_eq!((found.len(), found[1].0), (2, 12));
        let record = found[0].1.as_ref().unwrap();
        assert_eq!(record.text.text, "Do n't go New York");
        assert_eq!(record.text.words, Some(vec![0..2, 3..6, 7..9, 10..18]));
        assert_eq!(record.id.as_deref(), Some("weblog-1"));
        assert_eq!(record.label.as_ref().unwrap().get(), r#"["AUX","PART","VERB","PROPN"]"#);
    }

    #[test]
    fn columns_go_by_name_or_number() {
        for (text, label) in [("lemma", "XPOS"), ("3", "5")] {
            let columns = Columns {
                text_column: Some(text.to_owned()),
                label_column: Some(label.to_owned()),
                ..Columns::default()
            };
            let record = read(SENTENCE.as_bytes(), &columns).remove(0).1.unwrap();
            assert_eq!(record.text.text, "do not go New York");
            assert_eq!(record.label.unwrap().get(), r#"["VB","RB","VB","NNP"]"#);
        }
        assert_eq!(
            [conllu_column("upos"), conllu_column("10"), conllu_column("0"), conllu_column("11"), conllu_column("tag")],
            [Some(3), Some(9), None, None, None]
        );
    }

    #[test]
    fn every_bad_line_is_told() {
        let file = SENTENCE.replace("2\tn't", "x\tn't").replace("\tVB\t_\t0", "\tVB 0").replace("4\tNew York", "4\t");
        let told = read(file.as_bytes(), &Columns::default());
        let told = told.into_iter().map(|(line, record)| format!("{line} {}", record.unwrap_err())).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                "6 has `x` as ID; expected a number such as 1, 1-2 or 1.1",
                "7 has 8 columns separated by tabs; expected the 10 of CoNLL-U",
                "9 has nothing in column FORM; expected a word"
            ]
        );
        assert!(read(b"# sent_id = 1\n\n", &Columns::default()).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_surprise(file in "[1#a \t\n.=-]{0,60}", raw in proptest::collection::vec(any::<u8>(), 0..20)) {
            read(&[SENTENCE.as_bytes(), file.as_bytes(), &raw].concat(), &Columns::default());
        }
    }
}
