//! Operands of products as small integers, in the forms in which instruction sets multiply them.
//!
//! 32 values of the inner dimension that follow each other, a *group*, are integers of at most ±127 and a factor, which is a 127th of the
//! largest of them: of each row of activations as it comes (dynamic, symmetric), of each row of the weight (that is, by output channel)
//! when it is packed. The sum of a group's products is an integer below 2²⁰, exact in 32 bits and in float32 alike, so every form has
//! the same bits; it is multiplied by both factors and added to the total in float32.
//!
//! Groups of 32 confine what a value far above the others does to the precision of its neighbours (to the same end LLM.int8, Dettmers
//! et al. 2022, sets such columns apart; Q-BERT, Shen et al. 2020, has factors for groups of weights). Largest error and largest root mean
//! square of any layer of all-MiniLM-L6-v2 on 40 texts, rounded so in float64, by the values that share a factor: whole rows 0.43 and 0.031, 192 values 0.28 and
//! 0.022, 64 values 0.21 and 0.016, 32 values 0.18 and 0.013. What each group costs beside its products is the same, so smaller ones
//! cost more; with 64 the root mean square would be above that of OpenVINO's compressed weights, whose activations stay float32.

use bytemuck::{Pod, Zeroable, cast_slice_mut};

use super::operand_element::{OperandElement, SMALLEST};
use super::packed_matrix::{PANEL_WIDTH, Pack, PanelRow};

/// Values that have a factor in common. Parts of a product are whole groups.
pub(super) const GROUP: usize = 32;

/// The largest integer.
const LARGEST: f32 = 127.0;

/// The integers of some values, at most [`GROUP`], filled up with zeros; and what one of them is worth. Values below 2⁻⁵⁵ count as zero,
/// so that no product of factors is subnormal. Where a value is not finite, neither is the factor.
#[inline(always)]
fn quantize(values: &[f32]) -> ([i16; GROUP], f32) {
    /// Added to a number of less than 2²², it makes the number's integer, rounded to nearest, ties to even, the low bits of the sum.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³
    let mut group = [0.0; GROUP];
    group[..values.len()].copy_from_slice(values);
    // As integers, bits of numbers without a sign are in the order of the numbers, with infinity and NaN as the largest.
    let mut largest = 0;
    for value in &group {
        largest = largest.max((value.to_bits() & 0x7fff_ffff).cast_signed());
    }
    let mut integers = [0; GROUP];
    if largest < SMALLEST.cast_signed() {
        return (integers, 0.0);
    }
    let largest = f32::from_bits(largest.cast_unsigned());
    let inverse = LARGEST / largest;
    for (integer, value) in integers.iter_mut().zip(&group) {
        *integer = (value * inverse + ROUND).to_bits() as i16;
    }
    (integers, largest / LARGEST)
}

/// Elements of `values` values: groups of `VALUES` values an element, each with `tail` elements behind it.
#[inline(always)]
fn elements<const VALUES: usize>(values: usize, tail: usize) -> usize {
    let (groups, rest) = (values / GROUP, values % GROUP);
    groups * (GROUP / VALUES + tail) + if rest > 0 { rest.div_ceil(VALUES) + tail } else { 0 }
}

/// Converts the columns of a panel as if they were rows of the left-hand matrix, and appends them row by row.
fn pack_converted<T: OperandElement>(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<T>>) {
    let count = T::elements(inner);
    let mut converted = vec![T::default(); columns * count];
    for (column, converted) in converted.chunks_exact_mut(count).enumerate() {
        T::convert(&source[column * inner..][..inner], converted);
    }
    panel.reserve_exact(count);
    for k in 0..count {
        let mut panel_row = [T::default(); PANEL_WIDTH];
        for (column, element) in panel_row[..columns].iter_mut().enumerate() {
            *element = converted[column * count + k];
        }
        panel.push(PanelRow(panel_row));
    }
}

/// Two integers of 16 bits, the first in the low half: for instruction sets whose integer multiply-add is of such pairs. Behind
/// each group its factor, the bits of a float32.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Int8Pair(u32);

impl Int8Pair {
    /// Elements behind a group: its factor.
    pub(super) const TAIL: usize = 1;
    /// Elements of a whole group.
    pub(super) const CHAIN: usize = GROUP / 2 + Self::TAIL;

    /// Its bits.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl OperandElement for Int8Pair {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        elements::<2>(values, Self::TAIL)
    }

    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Int8Pair]) {
        for (values, out) in row.chunks(GROUP).zip(out.chunks_mut(Self::CHAIN)) {
            let (integers, factor) = quantize(values);
            let (pairs, tail) = out.split_at_mut(values.len().div_ceil(2));
            let halves = cast_slice_mut::<Int8Pair, i16>(pairs);
            halves.copy_from_slice(&integers[..halves.len()]);
            tail[0] = Int8Pair(factor.to_bits());
        }
    }
}

impl Pack for Int8Pair {
    fn pack(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<Self>>) {
        pack_converted(source, columns, inner, panel);
    }
}

/// Four integers of 8 bits, the first in the lowest: for instruction sets with dot products of them (x86's VNNI). Those multiply bytes
/// without a sign by bytes with one, so the weight's are 128 more than they should be. Behind each group two elements: what that adds
/// to a sum, negated, which is -128 times the sum of the row's integers; and its factor.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Int8Quad(u32);

impl Int8Quad {
    /// Elements behind a group: what its sum begins with, and its factor.
    pub(super) const TAIL: usize = 2;
    /// Elements of a whole group.
    pub(super) const CHAIN: usize = GROUP / 4 + Self::TAIL;

    /// Its bits.
    #[cfg(any(target_arch = "x86_64", test))]
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl OperandElement for Int8Quad {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        elements::<4>(values, Self::TAIL)
    }

    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Int8Quad]) {
        for (values, out) in row.chunks(GROUP).zip(out.chunks_mut(Self::CHAIN)) {
            let (integers, factor) = quantize(values);
            let (quads, tail) = out.split_at_mut(values.len().div_ceil(4));
            let mut sum = 0;
            for (byte, integer) in cast_slice_mut::<Int8Quad, i8>(quads).iter_mut().zip(&integers) {
                *byte = *integer as i8;
            }
            for integer in integers {
                sum += i32::from(integer);
            }
            tail[0] = Int8Quad((-128 * sum).cast_unsigned());
            tail[1] = Int8Quad(factor.to_bits());
        }
    }
}

impl Pack for Int8Quad {
    fn pack(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<Self>>) {
        pack_converted(source, columns, inner, panel);
        for group in panel.chunks_mut(Self::CHAIN) {
            let quads = group.len() - Self::TAIL;
            for PanelRow(row) in &mut group[..quads] {
                for quad in row {
                    quad.0 ^= 0x8080_8080;
                }
            }
        }
    }
}

/// An integer held as float32, which holds those of 24 bits, and so every sum of a group, exactly: for instruction sets without
/// products of integers. Behind each group its factor.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Int8AsF32(f32);

impl From<Int8AsF32> for f32 {
    #[inline(always)]
    fn from(Int8AsF32(value): Int8AsF32) -> f32 {
        value
    }
}

impl Int8AsF32 {
    /// Elements behind a group: its factor.
    pub(super) const TAIL: usize = 1;
    /// Elements of a whole group.
    pub(super) const CHAIN: usize = GROUP + Self::TAIL;
}

impl OperandElement for Int8AsF32 {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        elements::<1>(values, Self::TAIL)
    }

    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Int8AsF32]) {
        for (values, out) in row.chunks(GROUP).zip(out.chunks_mut(Self::CHAIN)) {
            let (integers, factor) = quantize(values);
            let (out, tail) = out.split_at_mut(values.len());
            for (out, integer) in out.iter_mut().zip(&integers) {
                *out = Int8AsF32(f32::from(*integer));
            }
            tail[0] = Int8AsF32(factor);
        }
    }
}

impl Pack for Int8AsF32 {
    fn pack(source: &[f32], columns: usize, inner: usize, panel: &mut Vec<PanelRow<Self>>) {
        pack_converted(source, columns, inner, panel);
    }
}

// SAFETY: 16 numbers of 4 bytes fill the 64 bytes that a row is aligned to: no padding, and any bits are valid.
unsafe impl Pod for PanelRow<Int8Pair> {}
// SAFETY: as above.
unsafe impl Pod for PanelRow<Int8Quad> {}
// SAFETY: as above.
unsafe impl Pod for PanelRow<Int8AsF32> {}

#[cfg(test)]
mod tests {
    use bytemuck::cast_slice;

    use super::*;
    use crate::kernels::testing::numbers;

    fn converted<T: OperandElement>(row: &[f32]) -> Vec<T> {
        let mut out = vec![T::default(); T::elements(row.len())];
        T::convert(row, &mut out);
        out
    }

    #[test]
    fn an_integer_is_the_nearest_one_and_its_factor_gives_the_number_back() {
        for (count, seed) in [(GROUP, 1), (1, 2), (GROUP - 1, 3)] {
            let mut row = numbers(count, seed);
            row[count / 2] = -1.5;
            let (integers, factor) = quantize(&row);
            assert_eq!(factor, 1.5 / 127.0);
            assert_eq!(integers[count / 2], -127);
            for (integer, value) in integers.iter().zip(&row) {
                assert!((f32::from(*integer) * factor - value).abs() <= factor * 0.500_001, "{value} as {integer}");
            }
            assert!(integers[count..].iter().all(|integer| *integer == 0));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so_and_what_is_tiny_is_zero() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!quantize(&[1.0, bad, 2.0]).1.is_finite());
        }
        assert_eq!(quantize(&[1e-17, -1e-40, 0.0]), ([0; GROUP], 0.0));
        assert_eq!(quantize(&[2.0f32.powi(-55)]).1, 2.0f32.powi(-55) / 127.0);
    }

    /// A large value in one group changes none of the others.
    #[test]
    fn groups_are_apart() {
        let (mut row, mut wide) = (numbers(200, 4), numbers(200, 4));
        let second = GROUP + 6;
        (row[second], wide[second]) = (1.0, 1000.0);
        let (near, far) = (converted::<Int8AsF32>(&row), converted::<Int8AsF32>(&wide));
        let bits = |row: &[Int8AsF32]| cast_slice::<Int8AsF32, u32>(row).to_vec();
        let second = Int8AsF32::CHAIN..2 * Int8AsF32::CHAIN;
        assert_eq!(bits(&near[..second.start]), bits(&far[..second.start]));
        assert_ne!(bits(&near[second.clone()]), bits(&far[second.clone()]));
        assert_eq!(bits(&near[second.end..]), bits(&far[second.end..]));
    }

    /// What an instruction set with dot products of bytes computes of quads, and one of pairs, in scalar integers.
    #[test]
    fn quads_and_pairs_hold_the_same_integers() {
        for inner in [1, 3, 64, 65, 130, 200] {
            let (row, column) = (numbers(inner, 5), numbers(inner, 6));
            let mut panel = Vec::new();
            Int8Quad::pack(&column, 1, inner, &mut panel);
            let quads: Vec<Int8Quad> = panel.iter().map(|row| row.0[0]).collect();
            let rows = converted::<Int8Quad>(&row);
            let (pairs, pair_columns) = (converted::<Int8Pair>(&row), converted::<Int8Pair>(&column));
            let (floats, float_columns) = (converted::<Int8AsF32>(&row), converted::<Int8AsF32>(&column));
            assert_eq!(rows.len(), quads.len());
            let groups = rows.chunks(Int8Quad::CHAIN).zip(quads.chunks(Int8Quad::CHAIN));
            let of_pairs = pairs.chunks(Int8Pair::CHAIN).zip(pair_columns.chunks(Int8Pair::CHAIN));
            let of_floats = floats.chunks(Int8AsF32::CHAIN).zip(float_columns.chunks(Int8AsF32::CHAIN));
            for (((a, b), (pair_a, pair_b)), (float_a, float_b)) in groups.zip(of_pairs).zip(of_floats) {
                let count = a.len() - Int8Quad::TAIL;
                let (signed, unsigned): (&[i8], &[u8]) = (cast_slice(&a[..count]), cast_slice(&b[..count]));
                let products = signed.iter().zip(unsigned).map(|(a, b)| i32::from(*a) * i32::from(*b));
                let sum = products.sum::<i32>() + a[count].0.cast_signed();
                let count = pair_a.len() - Int8Pair::TAIL;
                let (a16, b16): (&[i16], &[i16]) = (cast_slice(&pair_a[..count]), cast_slice(&pair_b[..count]));
                assert_eq!(sum, a16.iter().zip(b16).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>());
                let count = float_a.len() - Int8AsF32::TAIL;
                let products = float_a[..count].iter().zip(&float_b[..count]).map(|(a, b)| a.0 * b.0);
                assert_eq!(sum as f32, products.sum::<f32>());
                assert_eq!(a.last().map(|factor| factor.0), pair_a.last().map(|factor| factor.0));
                assert_eq!(a.last().map(|factor| factor.0), float_a.last().map(|factor| factor.0.to_bits()));
            }
        }
    }
}
