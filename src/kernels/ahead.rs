//! Asking for the strips that come next while the current ones are multiplied.

use std::ops::Range;

use super::packed::Line;

/// Which lines of the next strips each tile asks for, and how many of them after each chain: so that all are in the
/// second-level cache when all rows have passed the current strips, and none comes in a burst.
///
/// Without it the first tile of new strips waits for memory: BERT-base, 64 rows, 98 instead of 110 GFLOP/s on Zen 4.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Of the block's lines, times 2¹⁶: tiles are many, and divisions slow.
    lines_per_row: u64,
    lines_per_chain: usize,
}

impl Ahead {
    /// For a block of `lines` that `rows` rows pass in tiles of `tile_rows`, in chains of `chain`.
    pub(super) fn new(rows: usize, lines: usize, chain: usize, tile_rows: usize) -> Self {
        let rows = rows.max(1);
        Self {
            lines_per_row: ((lines as u64) << 16).div_ceil(rows as u64),
            lines_per_chain: (chain.min(lines) * tile_rows.min(rows)).div_ceil(rows),
        }
    }

    /// The lines that a tile of these rows asks for.
    #[inline(always)]
    pub(super) fn lines(self, rows: Range<usize>, block: &Range<usize>) -> Range<usize> {
        let start = block.start + ((rows.start as u64 * self.lines_per_row) >> 16) as usize;
        let end = block.start + ((rows.end as u64 * self.lines_per_row) >> 16) as usize;
        start.min(block.end)..end.min(block.end)
    }

    /// Asks for the next of `lines` of some strips, those of one chain.
    #[inline(always)]
    pub(super) fn ask<T>(self, strips: &[&[Line<T>]], lines: &mut Range<usize>) {
        let end = lines.end.min(lines.start + self.lines_per_chain);
        for strip in strips {
            // All strips of a matrix have as many lines.
            for line in &strip[lines.start..end] {
                prefetch(line);
            }
        }
        lines.start = end;
    }
}

/// Asks for a cache line.
#[inline(always)]
fn prefetch<T>(line: &Line<T>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: SSE, which every x86_64 has; and a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line; // no stable way to ask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiles_of_all_rows_ask_for_every_line_once() {
        for (rows, tile) in [(1, 1), (7, 4), (48, 6), (144, 8), (145, 8), (1000, 8)] {
            for block in [0..1, 0..32, 5..389, 256..512, 0..1536] {
                let ahead = Ahead::new(rows, block.len(), 32, tile);
                let mut end = block.start;
                for first in (0..rows).step_by(tile) {
                    let lines = ahead.lines(first..rows.min(first + tile), &block);
                    assert_eq!(lines.start, end);
                    assert!(lines.len() <= ahead.lines_per_chain * block.len().div_ceil(32) + 1);
                    end = lines.end;
                }
                assert_eq!(end, block.end);
            }
        }
    }
}
