//! `--shard`: one of several contiguous parts of the input, for jobs that are spread over machines.
//!
//! Every machine tokenizes the whole input, which is fast compared with encoding, and so finds the same boundaries: the
//! parts hold equally many tokens, to within a text.

use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::counts::{Counting, Counts};
use crate::error::{Error, Result};
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
    /// The part that is meant. `auto` is looked up in the environment: `SLURM_ARRAY_TASK_ID` with `_MIN`, `_STEP` and
    /// `_COUNT`, or `JOB_COMPLETION_INDEX` of Kubernetes' indexed jobs.
    ///
    /// # Errors
    /// [`Error::Usage`] when the environment does not tell the part.
    pub fn resolve(self, variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
        let given_of = match self {
            Self::Given(shard) => return Ok(shard),
            Self::Auto { of } => of,
        };
        let number = |name: &str| -> Result<Option<u32>> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            let problem = || Error::Usage(format!("--shard auto: {name} is `{text}`, which is not a number"));
            text.parse().map(Some).map_err(|_| problem())
        };
        let (place, of) = if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(1);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            (id.checked_sub(first).map(|id| id / step), number("SLURM_ARRAY_TASK_COUNT")?)
        } else if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            (Some(index), None)
        } else {
            return Err(Error::Usage(
                "--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set, as they are in a Slurm array or an indexed job of Kubernetes; name the part, as in --shard 2/8"
                    .to_owned(),
            ));
        };
        let Some(of) = given_of.or(of) else {
            return Err(Error::Usage(
                "--shard auto: the number of parts is not in the environment; name it, as in --shard auto/8".to_owned(),
            ));
        };
        let index = place.and_then(|place| place.checked_add(1)).filter(|index| (1..=of).contains(index));
        index.map(|index| Shard { index, of }).ok_or_else(|| {
            Error::Usage(format!("--shard auto: the scheduler's number is not among the {of} parts; see --help"))
        })
    }
}

impl Shard {
    /// Finds the texts of this part among tokenized texts with counts `all`, and positions the spool at the part's
    /// first text, to end after its last.
    ///
    /// Part `i` of `n` begins with the first text before which there are at least `(i - 1) / n` of all tokens.
    ///
    /// # Errors
    /// The error of reading the spool.
    pub fn cut(self, spool: &mut spool::SpoolReader, all: &Counts, counting: Counting) -> io::Result<ShardRows> {
        let begins = |part: u32, tokens_before: u64| {
            u128::from(tokens_before) * u128::from(self.of) >= u128::from(part) * u128::from(all.tokens)
        };
        let (mut first_row, mut row, mut tokens) = (all.texts, 0, 0);
        let mut counts = Counts::default();
        while let Some(text) = spool.skip_text()? {
            if self.index < self.of && begins(self.index, tokens) {
                break;
            }
            if begins(self.index - 1, tokens) {
                first_row = first_row.min(row);
                counts.add(text, counting);
            }
            tokens += u64::from(text.tokens);
            row += 1;
        }
        let first_row = first_row.min(row);
        spool.rewind(all.texts)?;
        for _ in 0..first_row {
            spool.skip_text()?;
        }
        spool.limit(counts.texts);
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

    fn parts(lengths: &[u32], of: u32) -> Vec<ShardRows> {
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
                let part = Shard { index, of }.cut(&mut spool, &all, ALL).unwrap();
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
            for part in parts(&lengths, of) {
                prop_assert_eq!(part.first_row, next);
                next += part.counts.texts;
                let tokens = part.counts.tokens as f64;
                prop_assert!((tokens - f64::from(total) / f64::from(of)).abs() <= f64::from(longest) + 1e-9);
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

    #[test]
    fn schedulers_number_their_parts() {
        let auto = |of: Option<u32>, variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            ShardSelection::Auto { of }.resolve(find).map_err(|error| error.to_string())
        };
        let slurm = |id, min, count| {
            [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", min), ("SLURM_ARRAY_TASK_COUNT", count)]
        };
        assert_eq!(auto(None, &slurm("1", "1", "4")), Ok(Shard { index: 1, of: 4 }));
        assert_eq!(auto(None, &slurm("3", "0", "4")), Ok(Shard { index: 4, of: 4 }));
        assert_eq!(auto(Some(8), &[("JOB_COMPLETION_INDEX", "0")]), Ok(Shard { index: 1, of: 8 }));
        assert!(auto(None, &[("JOB_COMPLETION_INDEX", "0")]).unwrap_err().contains("auto/8"));
        assert!(auto(None, &[]).unwrap_err().contains("SLURM_ARRAY_TASK_ID"));
        assert!(auto(Some(2), &[("JOB_COMPLETION_INDEX", "2")]).unwrap_err().contains("not among the 2 parts"));
        assert!(auto(None, &slurm("x", "1", "4")).unwrap_err().contains("`x`"));
        assert!(auto(None, &slurm("0", "1", "4")).is_err());
    }
}
