//! Where a tile of a product lies in memory.

use std::marker::PhantomData;

use super::packed::STRIP;

/// Strips of the largest tile: 8 rows of 3.
const MOST_STRIPS: usize = 24;

/// Where strips of rows are: strip s of row r starts at `r * row + s * strip`.
#[derive(Clone, Copy)]
pub(super) struct Strides {
    pub(super) row: usize,
    pub(super) strip: usize,
}

impl Strides {
    /// Of rows one after the other, each of so many numbers.
    pub(super) fn of_rows(columns: usize) -> Self {
        Self { row: columns, strip: STRIP }
    }
}

/// The strips of a tile of MR rows and NS strips, whose bounds are checked once and not for each.
///
/// With every strip a slice of its own, checks and all, the compiler did not unroll the loops over a tile early enough to keep
/// its sums in registers throughout: on Zen 4 products of 32 inner numbers (attention's scores) had 83 instead of 104 GFLOP/s,
/// those of bfloat16 that go on 191 instead of 217.
pub(super) struct Place<'a, const MR: usize, const NS: usize> {
    start: *mut f32,
    strides: Strides,
    numbers: PhantomData<&'a mut [f32]>,
}

impl<'a, const MR: usize, const NS: usize> Place<'a, MR, NS> {
    /// In `out`, from its first number on.
    #[inline(always)]
    pub(super) fn new(out: &'a mut [f32], strides: Strides) -> Self {
        let last = (MR - 1).saturating_mul(strides.row).saturating_add((NS - 1).saturating_mul(strides.strip));
        assert!(last.saturating_add(STRIP) <= out.len(), "a tile of {MR} rows and {NS} strips is within the output");
        Self { start: out.as_mut_ptr(), strides, numbers: PhantomData }
    }

    /// Strip `s` of row `r`.
    #[inline(always)]
    pub(super) fn strip(&mut self, r: usize, s: usize) -> &mut [f32; STRIP] {
        assert!(r < MR && s < NS);
        // SAFETY: the last strip of the last row ends within the slice that `start` is the beginning of, as `new` has checked,
        // and no strip of the tile lies beyond it. The slice is borrowed mutably for as long as `self`, and `self` for as long
        // as the strip.
        unsafe { &mut *self.start.add(r * self.strides.row + s * self.strides.strip).cast() }
    }
}

/// A tile beside the output: for one whose last strip is not full.
pub(super) struct Beside([[f32; STRIP]; MOST_STRIPS]);

impl Beside {
    pub(super) const ZEROS: Beside = Beside([[0.0; STRIP]; MOST_STRIPS]);

    /// A place in it.
    #[inline(always)]
    pub(super) fn place<const MR: usize, const NS: usize>(&mut self) -> Place<'_, MR, NS> {
        Place::new(self.numbers_mut(), Strides { row: NS * STRIP, strip: STRIP })
    }

    /// Row by row, the strips of a row one after the other.
    pub(super) fn numbers_mut(&mut self) -> &mut [f32] {
        self.0.as_flattened_mut()
    }

    /// Takes `rows` × `columns` numbers of the output.
    #[cold]
    #[inline(never)]
    pub(super) fn take(&mut self, out: &[f32], strides: Strides, rows: usize, columns: usize) {
        for r in 0..rows {
            for (s, first) in (0..columns).step_by(STRIP).enumerate() {
                let width = STRIP.min(columns - first);
                let own = &mut self.0[r * columns.div_ceil(STRIP) + s][..width];
                own.copy_from_slice(&out[r * strides.row + s * strides.strip..][..width]);
            }
        }
    }

    /// Puts them there.
    #[cold]
    #[inline(never)]
    pub(super) fn put(&self, out: &mut [f32], strides: Strides, rows: usize, columns: usize) {
        for r in 0..rows {
            for (s, first) in (0..columns).step_by(STRIP).enumerate() {
                let width = STRIP.min(columns - first);
                let own = &self.0[r * columns.div_ceil(STRIP) + s][..width];
                out[r * strides.row + s * strides.strip..][..width].copy_from_slice(own);
            }
        }
    }
}
