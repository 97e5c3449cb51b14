//! The embedding output: rows of tables, summed and normalized.

use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::layer_norm::LayerNorm;
use super::linear::rows_per_task;

/// A token's row is not in its table.
#[derive(Debug, thiserror::Error)]
#[error("embedding {row} of a table of {rows}")]
pub struct NoSuchRow {
    row: u32,
    rows: usize,
}

/// LayerNorm of the sum of one row of each table, per token: the embedding output, (tokens, hidden), on all threads.
///
/// `tables` are (rows, hidden); `rows` says for each which row each token takes.
///
/// # Errors
/// When a row is not in its table.
pub fn embed(
    tables: [&[f32]; 3],
    rows: [&[u32]; 3],
    norm: &LayerNorm,
    instruction_set: InstructionSet,
) -> Result<Vec<f32>, NoSuchRow> {
    let hidden = norm.hidden();
    for (table, ids) in tables.iter().zip(rows) {
        let rows = table.len() / hidden;
        if let Some(&row) = ids.iter().find(|&&row| row as usize >= rows) {
            return Err(NoSuchRow { row, rows });
        }
    }
    let tokens = rows[0].len();
    let mut out = vec![0.0; tokens * hidden];
    let count = rows_per_task(tokens).unwrap_or(tokens.max(1));
    out.par_chunks_mut(count * hidden).enumerate().for_each_init(
        || vec![0.0; hidden],
        |buffer, (task, out)| {
            for (i, out) in out.chunks_exact_mut(hidden).enumerate() {
                let token = task * count + i;
                let row = |table: usize| &tables[table][rows[table][token] as usize * hidden..][..hidden];
                norm.row(instruction_set, [row(0), row(1), row(2)], buffer, out);
            }
        },
    );
    Ok(out)
}
