//! Where a micro-tile of a product is written: into the output itself, or beside it where the tile is wider than what is left.

use std::marker::PhantomData;

use super::packed_matrix::PANEL_WIDTH;

/// Panels of all rows of the largest micro-tile: 8 rows of 3.
const MOST_PANELS: usize = 24;

/// Where an output lies: the 16 columns of panel p in row r start at `r * row + p * panel`.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub(super) row: usize,
    pub(super) panel: usize,
}

impl Strides {
    /// Of a matrix (rows, columns) whose rows lie one after the other.
    pub(super) fn of_rows(columns: usize) -> Self {
        Self { row: columns, panel: PANEL_WIDTH }
    }
}

/// The output of a micro-tile, (MR, NP, 16) with strides, whose bounds are checked once and not for each panel.
///
/// With every 16 columns a slice of their own, checks and all, the compiler did not unroll the loops over a tile early enough to
/// keep its sums in registers throughout: on Zen 4 products of 32 inner values (attention's scores) had 83 instead of
/// 104 GFLOP/s, those of bfloat16 that accumulate 191 instead of 217.
pub(super) struct OutputTile<'a, const MR: usize, const NP: usize> {
    start: *mut f32,
    strides: Strides,
    numbers: PhantomData<&'a mut [f32]>,
}

impl<'a, const MR: usize, const NP: usize> OutputTile<'a, MR, NP> {
    /// In `out`, from its first number on.
    #[inline(always)]
    pub(super) fn new(out: &'a mut [f32], strides: Strides) -> Self {
        let last = (MR - 1).saturating_mul(strides.row).saturating_add((NP - 1).saturating_mul(strides.panel));
        assert!(
            last.saturating_add(PANEL_WIDTH) <= out.len(),
            "a tile of {MR} rows and {NP} panels is within the output"
        );
        Self { start: out.as_mut_ptr(), strides, numbers: PhantomData }
    }

    /// The columns of panel `p` in row `r`.
    #[inline(always)]
    pub(super) fn columns(&mut self, r: usize, p: usize) -> &mut [f32; PANEL_WIDTH] {
        assert!(r < MR && p < NP);
        // SAFETY: the last panel's columns in the last row end within the slice that `start` is the beginning of, as `new` has
        // checked, and no others of the tile lie beyond them. The slice is borrowed mutably for as long as `self`, and `self`
        // for as long as the columns.
        unsafe { &mut *self.start.add(r * self.strides.row + p * self.strides.panel).cast() }
    }
}

/// A micro-tile's output beside the real one, (rows, panels, 16), for a tile at the right edge, whose last panel is not full.
pub(super) struct EdgeTile([[f32; PANEL_WIDTH]; MOST_PANELS]);

impl EdgeTile {
    pub(super) const ZEROS: EdgeTile = EdgeTile([[0.0; PANEL_WIDTH]; MOST_PANELS]);

    /// It as a tile to compute into.
    #[inline(always)]
    pub(super) fn output<const MR: usize, const NP: usize>(&mut self) -> OutputTile<'_, MR, NP> {
        OutputTile::new(self.numbers_mut(), Strides { row: NP * PANEL_WIDTH, panel: PANEL_WIDTH })
    }

    /// Its numbers, one after the other.
    pub(super) fn numbers_mut(&mut self) -> &mut [f32] {
        self.0.as_flattened_mut()
    }

    /// Copies `rows` × `columns` numbers from the output.
    #[cold]
    #[inline(never)]
    pub(super) fn copy_from(&mut self, out: &[f32], strides: Strides, rows: usize, columns: usize) {
        for r in 0..rows {
            for (p, first) in (0..columns).step_by(PANEL_WIDTH).enumerate() {
                let width = PANEL_WIDTH.min(columns - first);
                let own = &mut self.0[r * columns.div_ceil(PANEL_WIDTH) + p][..width];
                own.copy_from_slice(&out[r * strides.row + p * strides.panel..][..width]);
            }
        }
    }

    /// Copies `rows` × `columns` numbers to the output.
    #[cold]
    #[inline(never)]
    pub(super) fn copy_to(&self, out: &mut [f32], strides: Strides, rows: usize, columns: usize) {
        for r in 0..rows {
            for (p, first) in (0..columns).step_by(PANEL_WIDTH).enumerate() {
                let width = PANEL_WIDTH.min(columns - first);
                let own = &self.0[r * columns.div_ceil(PANEL_WIDTH) + p][..width];
                out[r * strides.row + p * strides.panel..][..width].copy_from_slice(own);
            }
        }
    }
}
