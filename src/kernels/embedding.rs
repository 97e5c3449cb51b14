//! The embedding output: rows of tables, summed and normalized.

use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::norm::{self, Norm, Term};
use super::text_groups::rows_per_task;

/// Most tables whose rows are summed.
pub const MOST_TABLES: usize = 4;

/// A token's row is not in its table.
#[derive(Debug, thiserror::Error)]
#[error("embedding {row} of a table of {rows}")]
pub struct NoSuchRow {
    row: u32,
    rows: usize,
}

/// A table of embeddings, and which row of it each token takes.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// (rows, width)
    pub table: &'a [f32],
    /// (tokens)
    pub rows: &'a [u32],
    /// What each token's row is multiplied by, (tokens); 1 without it.
    pub factors: Option<&'a [f64]>,
}

/// The sum of one row of each table, per token, normalized if there is a norm: (tokens, width), on all threads.
///
/// # Errors
/// When a row is not in its table.
///
/// # Panics
/// When there are no tables or more than [`MOST_TABLES`].
pub fn embed(
    lookups: &[Lookup<'_>],
    width: usize,
    norm: Option<&Norm>,
    instruction_set: InstructionSet,
) -> Result<Vec<f32>, NoSuchRow> {
    for lookup in lookups {
        let rows = lookup.table.len() / width;
        if let Some(&row) = lookup.rows.iter().find(|&&row| row as usize >= rows) {
            return Err(NoSuchRow { row, rows });
        }
    }
    Ok(match *lookups {
        [a] => sum(&[a], width, norm, instruction_set),
        [a, b] => sum(&[a, b], width, norm, instruction_set),
        [a, b, c] => sum(&[a, b, c], width, norm, instruction_set),
        [a, b, c, d] => sum(&[a, b, c, d], width, norm, instruction_set),
        _ => panic!("{} tables of embeddings", lookups.len()),
    })
}

fn sum<const N: usize>(
    lookups: &[Lookup<'_>; N],
    width: usize,
    norm: Option<&Norm>,
    instruction_set: InstructionSet,
) -> Vec<f32> {
    let tokens = lookups[0].rows.len();
    let mut out = vec![0.0; tokens * width];
    let count = rows_per_task(tokens).unwrap_or(tokens.max(1));
    out.par_chunks_mut(count * width).enumerate().for_each_init(
        || vec![0.0; width],
        |buffer, (task, out)| {
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                let token = task * count + i;
                let terms = lookups.each_ref().map(|lookup| Term {
                    row: &lookup.table[lookup.rows[token] as usize * width..][..width],
                    factor: lookup.factors.map_or(1.0, |factors| factors[token]),
                });
                norm::row(instruction_set, norm, terms, buffer, out);
            }
        },
    );
    out
}
