//! Rotary positions (RoPE, Su et al. 2021): pairs of numbers of a query or key, rotated by an angle that grows with the token's
//! position.
//!
//! Queries and keys lie in panels of 16 numbers ([`Heads::fuse`](super::attention::Heads::fuse) orders them): eight first
//! numbers of pairs and then their eight second numbers. So all numbers of a rotation are in one panel, whichever pairs a family
//! takes.

use std::sync::{Arc, PoisonError, RwLock};

use pulp::{Simd, WithSimd};

use super::instruction_set::InstructionSet;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use crate::family::RotaryPairs;

/// RotaryPairs in a panel.
pub(super) const PAIRS: usize = PANEL_WIDTH / 2;

/// Cosines and sines of all positions up to the longest text so far. Angles and their functions are computed in float64 and
/// rounded once.
pub struct RotaryTable {
    /// (head_dim / 2)
    inv_freq: Vec<f64>,
    pairs: RotaryPairs,
    rotations: RwLock<Arc<Vec<Rotation>>>,
}

/// The rotation of a panel: of eight pairs.
#[derive(Clone, Copy)]
pub(super) struct Rotation {
    /// By which each number is multiplied.
    cos: [f32; PANEL_WIDTH],
    /// By which its partner is multiplied: the sine, negative for the first numbers of pairs.
    sin: [f32; PANEL_WIDTH],
}

impl RotaryTable {
    /// For pair i rotated by position · `inv_freq`\[i\].
    pub fn new(inv_freq: Vec<f64>, pairs: RotaryPairs) -> Self {
        Self { inv_freq, pairs, rotations: RwLock::default() }
    }

    /// Which numbers of a head are pairs.
    pub fn pairs(&self) -> RotaryPairs {
        self.pairs
    }

    /// The frequencies, (head_dim / 2).
    pub fn inv_freq(&self) -> &[f64] {
        &self.inv_freq
    }

    /// cos and sin of the angle of a pair at a position.
    pub fn angle(&self, position: usize, pair: usize) -> (f32, f32) {
        let angle = position as f64 * self.inv_freq[pair];
        (libm::cos(angle) as f32, libm::sin(angle) as f32)
    }

    /// Panels of a query or key.
    fn panels(&self) -> usize {
        self.inv_freq.len().div_ceil(PAIRS)
    }

    /// The rotations of at least `length` positions, (positions, panels).
    pub(super) fn rotations(&self, length: usize) -> Arc<Vec<Rotation>> {
        let wanted = length * self.panels();
        let known = self.rotations.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.len() >= wanted {
            return known;
        }
        let mut rotations = self.rotations.write().unwrap_or_else(PoisonError::into_inner);
        if rotations.len() < wanted {
            let mut longer = Vec::with_capacity(wanted);
            longer.extend_from_slice(&rotations);
            for index in longer.len()..wanted {
                longer.push(self.rotation(index / self.panels(), index % self.panels()));
            }
            *rotations = Arc::new(longer);
        }
        rotations.clone()
    }

    fn rotation(&self, position: usize, panel: usize) -> Rotation {
        let mut rotation = Rotation { cos: [1.0; PANEL_WIDTH], sin: [0.0; PANEL_WIDTH] };
        for (i, pair) in (panel * PAIRS..self.inv_freq.len()).take(PAIRS).enumerate() {
            let (cos, sin) = self.angle(position, pair);
            (rotation.cos[i], rotation.cos[i + PAIRS]) = (cos, cos);
            (rotation.sin[i], rotation.sin[i + PAIRS]) = (-sin, sin);
        }
        rotation
    }
}

/// Rotates one panel of queries or keys of a text, (tokens, 16), token by token from position 0 on. `rotations` are those of
/// all panels, (positions, `panels`), of which this is `panel`.
pub(super) fn rotate(
    instruction_set: InstructionSet,
    panel_rows: &mut [PanelRow<f32>],
    rotations: &[Rotation],
    panel: usize,
    panels: usize,
) {
    instruction_set.run(Rotate { panel_rows, rotations, panel, panels });
}

struct Rotate<'a> {
    panel_rows: &'a mut [PanelRow<f32>],
    rotations: &'a [Rotation],
    panel: usize,
    panels: usize,
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rotations = self.rotations.chunks_exact(self.panels);
        for (PanelRow(numbers), rotations) in self.panel_rows.iter_mut().zip(rotations) {
            let Rotation { cos, sin } = &rotations[self.panel];
            let mut partners = [0.0; PANEL_WIDTH];
            partners[..PAIRS].copy_from_slice(&numbers[PAIRS..]);
            partners[PAIRS..].copy_from_slice(&numbers[..PAIRS]);
            for i in 0..PANEL_WIDTH {
                numbers[i] = partners[i].mul_add(sin[i], numbers[i] * cos[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_their_length_and_turn_by_their_angle() {
        let table = RotaryTable::new(vec![1.0, 0.1, 0.01], RotaryPairs::Halves);
        let rotations = table.rotations(5);
        let mut rows = vec![PanelRow([0.0; PANEL_WIDTH]); 5];
        for PanelRow(row) in &mut rows {
            (row[0], row[1], row[1 + PAIRS]) = (1.0, 3.0, 4.0);
        }
        rotate(InstructionSet::available()[0], &mut rows, &rotations, 0, 1);
        for (position, PanelRow(row)) in rows.iter().enumerate() {
            let angle = position as f32;
            assert!((row[0] - angle.cos()).abs() < 1e-6 && (row[PAIRS] - angle.sin()).abs() < 1e-6);
            assert!((row[1].hypot(row[1 + PAIRS]) - 5.0).abs() < 1e-5);
            assert!((row[1] - (3.0 * (0.1 * angle).cos() - 4.0 * (0.1 * angle).sin())).abs() < 1e-6);
        }
        assert!(Arc::ptr_eq(&table.rotations(3), &rotations), "what is known is not computed again");
        assert_eq!(table.rotations(9).len(), 9);
    }
}
