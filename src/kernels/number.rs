//! What the matrix product multiplies: float32, or bfloat16 as the machine has it; and the one step it repeats.

use bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};

use super::isa::{InstructionSet, SimdToken};
use super::packed::STRIP;
use super::product::{Product, Rows};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::tiles::InTiles;

/// What operands are held as. One of them covers `STEP` places of the inner dimension.
pub(super) trait Number: Pod + Default + Send + Sync {
    const STEP: usize;

    /// From the numbers of its places in the inner dimension; what is beyond its end is zero.
    fn new(values: [f32; 2]) -> Self;

    /// Which of `count` numbers the operand at `place` begins with.
    #[inline(always)]
    fn first(place: usize, _count: usize) -> usize {
        place * Self::STEP
    }

    /// A row of float32 as this, on the instruction set of the caller.
    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Self]) {
        // Of a fixed length, so that the compiler makes vectors of them; it is even, so places of a pair stay together.
        let (chunks, rest) = row.as_chunks::<STRIP>();
        let (whole, last) = out.split_at_mut(chunks.len() * STRIP / Self::STEP);
        for (out, chunk) in whole.chunks_exact_mut(STRIP / Self::STEP).zip(chunks) {
            for (place, out) in out.iter_mut().enumerate() {
                let first = Self::first(place, STRIP);
                *out = Self::new([chunk[first], chunk[(first + Self::STEP - 1) % STRIP]]);
            }
        }
        for (place, out) in last.iter_mut().enumerate() {
            let first = Self::first(place, rest.len());
            *out = Self::new([rest[first], rest.get(first + Self::STEP - 1).copied().unwrap_or(0.0)]);
        }
    }

    /// Rows of `inner` float32 as this, converted into `buffer` where need be.
    fn rows<'a>(
        instruction_set: InstructionSet,
        rows: Rows<'a, f32>,
        count: usize,
        inner: usize,
        buffer: &'a mut Vec<Self>,
    ) -> Rows<'a, Self> {
        let stride = inner.div_ceil(Self::STEP);
        buffer.resize(count * stride, Self::default());
        instruction_set.run(Convert { rows, inner, buffer });
        Rows { data: buffer, stride }
    }

    /// Multiplies.
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Self>);
}

/// One multiply-add of vectors, as an instruction set has it.
pub(super) trait Step<T>: Copy {
    /// Steps summed in one chain before the chain is added to the element's total.
    const CHAIN: usize;
    /// Rows of the largest tile with AVX-512.
    const TALL: usize;
    /// A vector of operands.
    type Vector<S: Simd>: Copy;

    /// Vector `index` of a strip's row.
    fn load<S: Simd>(simd: S, line: &[T; STRIP], index: usize) -> Self::Vector<S>;
    /// The same operand everywhere.
    fn splat<S: Simd>(simd: S, number: T) -> Self::Vector<S>;
    /// `sum + a · b`
    fn multiply_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, sum: S::f32s) -> S::f32s;
}

impl Number for f32 {
    const STEP: usize = 1;

    #[inline(always)]
    fn new(values: [f32; 2]) -> f32 {
        values[0]
    }

    fn rows<'a>(_: InstructionSet, rows: Rows<'a, f32>, _: usize, _: usize, _: &'a mut Vec<f32>) -> Rows<'a, f32> {
        rows
    }

    fn multiply(instruction_set: InstructionSet, product: Product<'_, f32>) {
        instruction_set.run(product.by(Fused::<32>));
    }
}

/// The fused multiply-add of float32, in chains of `CHAIN`.
///
/// One chain over the whole inner dimension would need half the registers, but is not exact enough for float32. Largest
/// error of any layer of all-MiniLM-L6-v2 on 78 texts, as a multiple of PyTorch float32's: one chain 1.7, chains of
/// 128 1.1, of 64 1.04, of 32 0.73, of 16 0.77.
#[derive(Clone, Copy)]
pub(super) struct Fused<const CHAIN: usize>;

impl<const CHAIN: usize, T: Number + Into<f32>> Step<T> for Fused<CHAIN> {
    const CHAIN: usize = CHAIN;
    /// With 3 strips 12 sums and 12 totals, all in registers: 98 % of the FMA rate on Zen 4. 8 rows with their totals
    /// in memory have 96 %.
    const TALL: usize = 4;
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn load<S: Simd>(_: S, line: &[T; STRIP], index: usize) -> S::f32s {
        let line: &[f32; STRIP] = bytemuck::cast_ref(line);
        S::as_simd_f32s(line).0[index]
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, number: T) -> S::f32s {
        simd.splat_f32s(number.into())
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(a, b, sum)
    }
}

/// Operands smaller than this, 2⁻⁵⁵, become zero as bfloat16. All others are multiples of 2⁻⁶², their products and any
/// sum of them multiples of 2⁻¹²⁴: no subnormal number ever arises. x86's dot products take those for zero, other
/// instructions do not; so all of them compute the same bits.
const SMALLEST: u32 = (127 - 55) << 23;

/// The bits of the nearest bfloat16, ties to even.
#[inline(always)]
fn bfloat16(value: f32) -> u32 {
    let bits = value.to_bits();
    // A NaN stays one: those that arise in arithmetic have zeros in the lower half.
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if bits & 0x7fff_ffff < SMALLEST { 0 } else { rounded }
}

/// Two bfloat16 that follow each other in the inner dimension, the first in the low half; for machines with dot products
/// of them.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Pair(u32);

impl Number for Pair {
    const STEP: usize = 2;

    #[inline(always)]
    fn new(values: [f32; 2]) -> Pair {
        Pair(bfloat16(values[0]) | bfloat16(values[1]) << 16)
    }

    /// In memory the halves of pairs are just one number after the other, on the little-endian machines that have them.
    #[inline(always)]
    fn convert(row: &[f32], out: &mut [Pair]) {
        let (halves, filling) = bytemuck::cast_slice_mut::<Pair, u16>(out).split_at_mut(row.len());
        for (half, value) in halves.iter_mut().zip(row) {
            *half = bfloat16(*value) as u16;
        }
        filling.fill(0);
    }

    fn multiply(instruction_set: InstructionSet, product: Product<'_, Pair>) {
        match instruction_set.token() {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(_, _, amx) => {
                // SAFETY: the product is multiplied on this thread from beginning to end, with nothing else between.
                let tiles = unsafe { amx.tiles() };
                instruction_set.run(InTiles { tiles, product });
            }
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(v4, _) => {
                // SAFETY: `SimdToken::Avx512Bf16` holds proof that the machine has AVX-512 with bfloat16 dot products.
                unsafe { multiply_by_dot_products(v4, product) }
            }
            _ => unreachable!("{} has no dot products for {} rows of pairs", instruction_set.name(), product.rows),
        }
    }
}

/// A bfloat16 held as float32, for machines without dot products: those multiply them as fast as any float32.
///
/// Their sums are the dot product's to the bit: products of bfloat16 are exact in float32, and x86 adds the second one of
/// a pair first. So the two of a pair change places, and are summed in one chain; the rounding of the operands outweighs
/// that of the sums a hundred times.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Rounded(f32);

impl From<Rounded> for f32 {
    #[inline(always)]
    fn from(Rounded(value): Rounded) -> f32 {
        value
    }
}

impl Number for Rounded {
    const STEP: usize = 1;

    #[inline(always)]
    fn new(values: [f32; 2]) -> Rounded {
        Rounded(f32::from_bits(bfloat16(values[0]) << 16))
    }

    #[inline(always)]
    fn first(place: usize, count: usize) -> usize {
        if place ^ 1 < count { place ^ 1 } else { place }
    }

    fn multiply(instruction_set: InstructionSet, product: Product<'_, Rounded>) {
        instruction_set.run(product.by(Fused::<{ usize::MAX }>));
    }
}

/// Rows of float32 to rows of another kind of number.
struct Convert<'a, T> {
    rows: Rows<'a, f32>,
    inner: usize,
    buffer: &'a mut [T],
}

impl<T: Number> WithSimd for Convert<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, inner, buffer } = self;
        for (index, out) in buffer.chunks_exact_mut(inner.div_ceil(T::STEP)).enumerate() {
            T::convert(rows.row(index, inner), out);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod dot {
    use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32};

    use pulp::x86::V4;
    use pulp::{Simd, WithSimd};

    use super::{Pair, STRIP, Step};
    use crate::kernels::product::Product;

    /// As [`pulp::Arch::dispatch`] for AVX-512, with bfloat16 dot products as well, which pulp does not offer.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn multiply_by_dot_products(v4: V4, product: Product<'_, Pair>) {
        product.by(Dot(())).with_simd(v4);
    }

    /// x86's dot product of pairs. Made only where the machine has it.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Dot(());

    impl Step<Pair> for Dot {
        const CHAIN: usize = usize::MAX;
        const TALL: usize = 8;
        type Vector<S: Simd> = __m512i;

        #[inline(always)]
        fn load<S: Simd>(_: S, line: &[Pair; STRIP], _: usize) -> __m512i {
            bytemuck::cast(*line)
        }

        #[inline(always)]
        fn splat<S: Simd>(_: S, Pair(bits): Pair) -> __m512i {
            // SAFETY: `Dot` is made only in `multiply_by_dot_products`, where AVX-512 is there.
            unsafe { _mm512_set1_epi32(bits.cast_signed()) }
        }

        #[inline(always)]
        fn multiply_add<S: Simd>(_: S, a: __m512i, b: __m512i, sum: S::f32s) -> S::f32s {
            const { assert!(size_of::<__m512i>() == size_of::<__m512bh>()) };
            let sum: __m512 = bytemuck::cast(sum);
            // SAFETY: `Dot` is made only in `multiply_by_dot_products`, where the instruction is there; any bits are
            // a valid `__m512bh`.
            let sum = unsafe {
                let a = std::mem::transmute::<__m512i, __m512bh>(a);
                let b = std::mem::transmute::<__m512i, __m512bh>(b);
                _mm512_dpbf16_ps(sum, a, b)
            };
            bytemuck::cast(sum)
        }
    }
}
#[cfg(target_arch = "x86_64")]
use dot::multiply_by_dot_products;
