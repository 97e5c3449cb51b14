//! Texts that are on both sides: scored ones whose tokens, or nearly their tokens, are among those that are learned from.
//!
//! A directory need not have tokens, but texts with the same tokens have the same vectors, bit for bit, and texts that
//! differ in few tokens have vectors that point the same way. So vectors are compared, of the highest layer that is
//! probed, where those of any pooling depend on all tokens.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::evaluate::{Setup, Side};
use super::features::Features;
use super::products;
use crate::error::Result;
use crate::plan::ArrayPlan;

/// Cosine of standardized vectors from which on texts count as nearly the same. Sentences with one other word have 0.98 and
/// more to each other; the next of 10,662 sentences of reviews has 0.43 in the middle and 0.71 in one of a hundred.
const NEAR: f32 = 0.95;
/// Most texts that others are sought for; more would tell their share no better.
const MOST: usize = 1000;
/// Number of texts that are compared with these at once.
const PIECE: usize = 512;

/// How many of the scored texts repeat what is learned from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// Number of scored texts that others were sought for, evenly spread over all.
    pub texts: usize,
    /// How many of them have the tokens of a text in another fold or, with a test directory, of a training text.
    pub same: usize,
    /// How many have those or nearly those.
    pub nearly: usize,
}

impl Repeats {
    /// Share of texts from which on there is a warning.
    const WORTH_SAYING: f64 = 0.01;

    /// The warning where more than a few texts repeat. `in_folds` is whether they do across folds.
    pub(super) fn warning(&self, in_folds: bool) -> Option<String> {
        let share = |count: usize| count as f64 / self.texts.max(1) as f64;
        let percent = |count: usize| format!("{:.0} %", 100.0 * share(count));
        if share(self.nearly) < Self::WORTH_SAYING {
            return None;
        }
        let of_which = match (self.same, self.nearly) {
            (0, _) => "nearly the tokens".to_owned(),
            (same, nearly) if same == nearly => "the same tokens".to_owned(),
            (same, _) => format!("nearly the tokens ({} exactly those)", percent(same)),
        };
        let (sought, place) =
            if in_folds { ("texts", "a text in another fold") } else { ("test texts", "a training text") };
        Some(format!(
            "{} of the {sought} have {of_which} of {place}, so scores tell how well they are remembered as much as what is known; name the column by which texts belong together with --group, or leave repeated texts out",
            percent(self.nearly)
        ))
    }
}

/// Looks for scored texts among those that are learned from, by the vectors of an array.
///
/// # Errors
/// Those of reading features.
pub(super) fn find(setup: &Setup<'_>, array: &ArrayPlan) -> Result<Repeats> {
    let load = |side: &Side<'_>, standard: Option<&Features>| {
        let order: Vec<u32> = (0..side.labels.rows.len() as u32).collect();
        setup.load(side, &[*array], &order, standard.map(Features::standard), setup.budget / 2)
    };
    let learned = load(&setup.train, None)?;
    let of_test = setup.test.as_ref().map(|test| load(test, Some(&learned))).transpose()?;
    let scored = (of_test.as_ref().unwrap_or(&learned), setup.scored().labels.starts.as_slice());
    let starts = &setup.train.labels.starts;
    let mut fold_of = vec![0; starts.len() - 1];
    for (fold, texts) in setup.folds.texts.iter().enumerate() {
        texts.iter().for_each(|&text| fold_of[text] = fold);
    }

    let with_examples: Vec<usize> =
        (0..scored.1.len() - 1).filter(|&text| scored.1[text] < scored.1[text + 1]).collect();
    let step = with_examples.len().div_ceil(MOST).max(1);
    let sought: Vec<usize> = with_examples.into_iter().step_by(step).collect();
    let columns = learned.columns();
    let vectors = sought.iter().map(|&text| directions(scored, text..text + 1)).collect::<Result<Vec<_>>>()?.concat();
    let pieces: Vec<Range<usize>> =
        (0..starts.len() - 1).step_by(PIECE).map(|first| first..(first + PIECE).min(starts.len() - 1)).collect();
    let of_piece = |texts: &Range<usize>| {
        let others = directions((&learned, starts), texts.clone())?;
        let cosines = products::scores(&others, &vectors, columns);
        let mut found = vec![(false, false); sought.len()];
        for ((text, cosines), other) in
            texts.clone().zip(cosines.chunks_exact(sought.len())).zip(others.chunks_exact(columns))
        {
            for (place, &cosine) in cosines.iter().enumerate() {
                if cosine < NEAR || (of_test.is_none() && fold_of[text] == fold_of[sought[place]]) {
                    continue;
                }
                found[place].0 |= *other == vectors[place * columns..][..columns];
                found[place].1 = true;
            }
        }
        Ok(found)
    };
    let mut found = vec![(false, false); sought.len()];
    for of_piece in pieces.par_iter().map(of_piece).collect::<Result<Vec<_>>>()? {
        found.iter_mut().zip(of_piece).for_each(|(sum, of)| *sum = (sum.0 || of.0, sum.1 || of.1));
    }
    let count = |is: fn(&(bool, bool)) -> bool| found.iter().filter(|found| is(found)).count();
    Ok(Repeats { texts: sought.len(), same: count(|found| found.0), nearly: count(|found| found.1) })
}

/// The mean vector of each text's examples at length 1, (texts, columns); zeros for a text without examples.
fn directions((features, starts): (&Features, &[usize]), texts: Range<usize>) -> Result<Vec<f32>> {
    let columns = features.columns();
    let mut buffer = Vec::new();
    let first = starts[texts.start];
    let rows = features.rows(first..starts[texts.end], &mut buffer)?;
    let mut all = Vec::with_capacity(texts.len() * columns);
    for ends in starts[texts.start..=texts.end].windows(2) {
        let mut mean = vec![0.0_f64; columns];
        for row in rows[(ends[0] - first) * columns..(ends[1] - first) * columns].chunks_exact(columns) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt();
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        all.extend(mean.iter().map(|value| (value * scale) as f32));
    }
    Ok(all)
}
