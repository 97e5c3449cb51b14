//! What the operands of a product are made of: float32, or bfloat16 in the form in which an instruction set multiplies it. Small
//! integers are in `int8_element`.

use bytemuck::{Pod, Zeroable};

/// An element of a product's operands, of 4 bytes. It holds one value of the inner dimension, or several that follow each other
/// there; or what a stretch of values has in common.
pub(super) trait OperandElement: Pod + Default + Send + Sync {
    /// Elements of `values` values of the inner dimension.
    fn elements(values: usize) -> usize;

    /// Converts a row of the left-hand matrix, with the vector instructions of the caller.
    fn convert(row: &[f32], out: &mut [Self]);
}

/// An element that holds nothing but one or two values.
pub(super) trait FloatElement: OperandElement {
    /// Values that one element holds: 1 or 2.
    const VALUES: usize;

    /// From its values, of which only the first counts where an element holds one; what lies beyond the end of the inner
    /// dimension is zero.
    fn new(values: [f32; 2]) -> Self;

    /// Which of `count` values element `k` begins with.
    #[inline(always)]
    fn first_value(k: usize, _count: usize) -> usize {
        k * Self::VALUES
    }
}

/// Converts a row of float32, with the vector instructions of the caller.
#[inline(always)]
fn convert_values<T: FloatElement>(row: &[f32], out: &mut [T]) {
    /// A fixed number of values, so that the compiler vectorizes the conversion. It is even, so that it splits no pair.
    const CHUNK: usize = 16;
    let (chunks, rest) = row.as_chunks::<CHUNK>();
    let (whole, last) = out.split_at_mut(chunks.len() * CHUNK / T::VALUES);
    for (out, chunk) in whole.chunks_exact_mut(CHUNK / T::VALUES).zip(chunks) {
        for (k, out) in out.iter_mut().enumerate() {
            let first = T::first_value(k, CHUNK);
            *out = T::new([chunk[first], chunk[(first + T::VALUES - 1) % CHUNK]]);
        }
    }
    for (k, out) in last.iter_mut().enumerate() {
        let first = T::first_value(k, rest.len());
        *out = T::new([rest[first], rest.get(first + T::VALUES - 1).copied().unwrap_or(0.0)]);
    }
}

impl OperandElement for f32 {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        values
    }

    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Self]) {
        convert_values(row, out);
    }
}

impl FloatElement for f32 {
    const VALUES: usize = 1;

    #[inline(always)]
    fn new(values: [f32; 2]) -> f32 {
        values[0]
    }
}

/// Operands smaller than this, 2⁻⁵⁵, become zero as bfloat16. All others are multiples of 2⁻⁶², their products and any
/// sum of them multiples of 2⁻¹²⁴: no subnormal number ever arises. x86's dot products take those for zero, other
/// instructions do not; so all of them compute the same bits.
pub(super) const SMALLEST: u32 = (127 - 55) << 23;

/// The bits of the nearest bfloat16, ties to even.
#[inline(always)]
fn bfloat16(value: f32) -> u32 {
    let bits = value.to_bits();
    // A NaN stays one: those that arise in arithmetic have zeros in the lower half.
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if bits & 0x7fff_ffff < SMALLEST { 0 } else { rounded }
}

/// Two bfloat16 that follow each other in the inner dimension, the first in the low half: the form of instruction sets with
/// dot products of them (see [`InstructionSet::multiplies_pairs`](super::InstructionSet)).
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Bf16Pair(u32);

impl Bf16Pair {
    /// Its bits.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl OperandElement for Bf16Pair {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        values.div_ceil(2)
    }

    /// In memory the halves of pairs are just one number after the other, on the little-endian machines that have them.
    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Bf16Pair]) {
        let (halves, filling) = bytemuck::cast_slice_mut::<Bf16Pair, u16>(out).split_at_mut(row.len());
        for (half, value) in halves.iter_mut().zip(row) {
            *half = bfloat16(*value) as u16;
        }
        filling.fill(0);
    }
}

impl FloatElement for Bf16Pair {
    const VALUES: usize = 2;

    #[inline(always)]
    fn new(values: [f32; 2]) -> Bf16Pair {
        Bf16Pair(bfloat16(values[0]) | bfloat16(values[1]) << 16)
    }
}

/// A bfloat16 held as float32: the form of instruction sets without dot products, which multiply it as fast as any float32.
///
/// Sums of such products are the dot product's to the bit: products of bfloat16 are exact in float32, and x86 adds the second
/// one of a pair first. So the two of a pair change places, and are summed in one chain; the rounding of the operands outweighs
/// that of the sums a hundred times.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Bf16AsF32(f32);

impl From<Bf16AsF32> for f32 {
    #[inline(always)]
    fn from(Bf16AsF32(value): Bf16AsF32) -> f32 {
        value
    }
}

impl OperandElement for Bf16AsF32 {
    #[inline(always)]
    fn elements(values: usize) -> usize {
        values
    }

    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Self]) {
        convert_values(row, out);
    }
}

impl FloatElement for Bf16AsF32 {
    const VALUES: usize = 1;

    #[inline(always)]
    fn new(values: [f32; 2]) -> Bf16AsF32 {
        Bf16AsF32(f32::from_bits(bfloat16(values[0]) << 16))
    }

    #[inline(always)]
    fn first_value(k: usize, count: usize) -> usize {
        if k ^ 1 < count { k ^ 1 } else { k }
    }
}
