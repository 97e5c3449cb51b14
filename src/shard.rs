//! `--shard`: one of several contiguous parts of the input, for jobs that are spread over machines.
//!
//! Every machine tokenizes the whole input, which is fast compared with encoding, and so finds the same boundaries: the
//! parts hold equally many tokens, to within a text.

mod scheduler;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::counts::{Counting, Counts};
use crate::error::Result;
use crate::spool;

/// One part of an input that is divided into `of` parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The number of this part, from 1.
    pub index: u32,
    /// The number of parts.
    pub of: u32,
}

/// The value of `--shard` as the user wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardSelection {
    /// `2/8`.
    Given(Shard),
    /// `auto` or `auto/8`: the part that the scheduler of this process assigns.
    Auto {
        /// The number of parts, if the scheduler does not tell it.
        of: Option<u32>,
    },
}

/// The texts of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRows {
    /// The row of its first text in the input.
    pub first_row: u64,
    /// The counts of its texts.
    pub counts: Counts,
}

impl ShardRows {
    /// The rows in an input of `all` texts, for people.
    pub fn rows(&self, all: u64) -> String {
        match self.counts.texts {
            0 => format!("no rows of {all}"),
            texts => format!("rows {} to {} of {all}", self.first_row, self.first_row + texts - 1),
        }
    }
}

impl FromStr for ShardSelection {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let problem =
            || format!("`{text}` is not a shard: expected I/N such as 2/8, the first being 1/8, or auto, or auto/8");
        let (index, of) = match text.split_once('/') {
            Some((index, of)) => (index, Some(of.parse::<u32>().ok().filter(|&of| of > 0).ok_or_else(problem)?)),
            None => (text, None),
        };
        match (index, of) {
            ("auto", of) => Ok(Self::Auto { of }),
            (index, Some(of)) => {
                let index = index.parse::<u32>().ok().filter(|index| (1..=of).contains(index)).ok_or_else(problem)?;
                Ok(Self::Given(Shard { index, of }))
            }
            _ => Err(problem()),
        }
    }
}

impl ShardSelection {
    /// The part that is meant; `auto` is looked up in the environment.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) when the environment does not tell the part, or could mean several.
    pub fn resolve(self, variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
        match self {
            Self::Given(shard) => Ok(shard),
            Self::Auto { of } => scheduler::assigned(of, variable).map(|(index, of)| Shard { index, of }),
        }
    }
}

/// As it is typed: `2/8`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Shard {
    /// Finds the texts of this part among tokenized texts with counts `all`, and positions the spool at the part's
    /// first text, to end after its last.
    ///
    /// Part `i` of `n` begins with the first text before which there are at least `(i - 1) / n` of all tokens, and whose row is a
    /// multiple of `part_texts`, if the output has parts of its own.
    ///
    /// # Errors
    /// The error of reading the spool.
    pub fn cut(
        self,
        spool: &mut spool::SpoolReader,
        all: &Counts,
        counting: Counting,
        part_texts: Option<u64>,
    ) -> io::Result<ShardRows> {
        let begins = |part: u32, tokens_before: u64| {
            u128::from(tokens_before) * u128::from(self.of) >= u128::from(part) * u128::from(all.tokens)
        };
        let (mut first_row, mut row, mut tokens) = (all.texts, 0, 0);
        let mut counts = Counts::default();
        // Tokens before the last text that may begin a shard.
        let mut before = 0;
        while let Some(text) = spool.skip_text()? {
            if part_texts.is_none_or(|texts| u64::is_multiple_of(row, texts)) {
                before = tokens;
            }
            if self.index < self.of && begins(self.index, before) {
                break;
            }
            if begins(self.index - 1, before) {
                first_row = first_row.min(row);
                counts.add(text, counting);
            }
            tokens += u64::from(text.tokens);
            row += 1;
        }
        let first_row = first_row.min(row);
        spool.select(first_row, counts.texts)?;
        Ok(ShardRows { first_row, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;
    use crate::counts::TextCounts;
    use crate::spec::SpecialTokens;
    use crate::spool::SpoolWriter;
    use proptest::prelude::*;

    const ALL: Counting = Counting { special_tokens: SpecialTokens::Keep, windowing: None };

    fn parts(lengths: &[u32], of: u32, part_texts: Option<u64>) -> Vec<ShardRows> {
        let mut writer = SpoolWriter::temporary();
        let mut all = Counts::default();
        for &length in lengths {
            let zeros = vec![0; length as usize];
            let tokens =
                Tokens { input_ids: zeros.clone(), token_type_ids: zeros.clone(), words: zeros, ..Tokens::default() };
            let counts = TextCounts { tokens: length, ..TextCounts::default() };
            all.add(counts, ALL);
            writer.write(counts, &tokens).unwrap();
        }
        let mut spool = writer.finish().unwrap();
        (1..=of)
            .map(|index| {
                spool.rewind(all.texts).unwrap();
                let part = Shard { index, of }.cut(&mut spool, &all, ALL, part_texts).unwrap();
                let read: Vec<u32> = spool.by_ref().map(|tokens| tokens.unwrap().input_ids.len() as u32).collect();
                assert_eq!(read, lengths[part.first_row as usize..][..part.counts.texts as usize]);
                part
            })
            .collect()
    }

    proptest! {
        #[test]
        fn parts_are_contiguous_and_balanced(lengths in proptest::collection::vec(0u32..40, 0..60), of in 1u32..12) {
            let total: u32 = lengths.iter().sum();
            let longest = lengths.iter().max().copied().unwrap_or(0);
            let mut next = 0;
            for part in parts(&lengths, of, None) {
                prop_assert_eq!(part.first_row, next);
                next += part.counts.texts;
                let tokens = part.counts.tokens as f64;
                prop_assert!((tokens - f64::from(total) / f64::from(of)).abs() <= f64::from(longest) + 1e-9);
            }
            prop_assert_eq!(next, lengths.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn shards_begin_where_files_of_the_output_begin(
            lengths in proptest::collection::vec(0u32..40, 0..60),
            of in 1u32..12,
            part_texts in 1u64..20,
        ) {
            let mut next = 0;
            for part in parts(&lengths, of, Some(part_texts)) {
                prop_assert_eq!(part.first_row, next);
                prop_assert!(part.counts.texts == 0 || part.first_row % part_texts == 0);
                next += part.counts.texts;
            }
            prop_assert_eq!(next, lengths.len() as u64);
        }
    }

    #[test]
    fn a_shard_is_parsed_or_named() {
        assert_eq!("2/8".parse(), Ok(ShardSelection::Given(Shard { index: 2, of: 8 })));
        assert_eq!("auto".parse(), Ok(ShardSelection::Auto { of: None }));
        assert_eq!("auto/3".parse(), Ok(ShardSelection::Auto { of: Some(3) }));
        for wrong in ["", "2", "0/8", "9/8", "1/0", "a/b", "1/2/3", "-1/4", "auto/0"] {
            assert!(wrong.parse::<ShardSelection>().unwrap_err().contains("2/8"), "{wrong}");
        }
    }
}
