//! What the matrix product multiplies: float32, or pairs of bfloat16; and the one step it repeats, per instruction set.

use bytemuck::{Pod, Zeroable};
use pulp::Simd;

use super::isa::{Isa, isa};
use super::packed::{Line, STRIP};
use super::product::{Product, Rows};

/// What operands are held as. One of them covers `STEP` places of the inner dimension.
pub(super) trait Number: Pod + Default + Send + Sync {
    const STEP: usize;

    /// From numbers that follow each other in the inner dimension; the second counts only where `STEP` is 2.
    fn new(values: [f32; 2]) -> Self;

    /// Rows of `inner` float32 as this, converted into `buffer` where need be.
    fn rows<'a>(rows: Rows<'a, f32>, count: usize, inner: usize, buffer: &'a mut Vec<Self>) -> Rows<'a, Self>;

    /// Strips of float32 as this, converted into `buffer` where need be.
    fn lines<'a>(
        strips: impl Iterator<Item = &'a [Line<f32>]>,
        buffer: &'a mut Vec<Line<Self>>,
    ) -> Vec<&'a [Line<Self>]>;

    /// Multiplies.
    fn multiply(isa: Isa, product: Product<'_, Self>);
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

    fn rows<'a>(rows: Rows<'a, f32>, _: usize, _: usize, _: &'a mut Vec<f32>) -> Rows<'a, f32> {
        rows
    }

    fn lines<'a>(strips: impl Iterator<Item = &'a [Line<f32>]>, _: &'a mut Vec<Line<f32>>) -> Vec<&'a [Line<f32>]> {
        strips.collect()
    }

    fn multiply(isa: Isa, product: Product<'_, f32>) {
        isa.run(product.by(Fused));
    }
}

/// The fused multiply-add of float32.
#[derive(Clone, Copy)]
pub(super) struct Fused;

impl Step<f32> for Fused {
    /// One chain over the whole inner dimension would need half the registers, but is not exact enough. Largest error
    /// of any layer of all-MiniLM-L6-v2 on 78 texts, as a multiple of PyTorch float32's: one chain 1.7, chains of
    /// 128 1.1, of 64 1.04, of 32 0.73, of 16 0.77.
    const CHAIN: usize = 32;
    /// With 3 strips 12 sums and 12 totals, all in registers: 98 % of the FMA rate on Zen 4. 8 rows with their totals
    /// in memory have 96 %.
    const TALL: usize = 4;
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn load<S: Simd>(_: S, line: &[f32; STRIP], index: usize) -> S::f32s {
        S::as_simd_f32s(line).0[index]
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, number: f32) -> S::f32s {
        simd.splat_f32s(number)
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(a, b, sum)
    }
}

/// Two bfloat16 that follow each other in the inner dimension, the first in the low half.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Pair(u32);

/// Operands smaller than this, 2⁻⁵⁵, become zero. All others are multiples of 2⁻⁶², their products and any sum of them
/// multiples of 2⁻¹²⁴: no subnormal number ever arises. x86's dot products take those for zero, other instructions do
/// not; so all of them compute the same bits.
const SMALLEST: u32 = (127 - 55) << 23;

/// The bits of the nearest bfloat16, ties to even.
#[inline(always)]
fn bfloat16(value: f32) -> u32 {
    let bits = value.to_bits();
    // A NaN stays one: those that arise in arithmetic have zeros in the lower half.
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    if bits & 0x7fff_ffff < SMALLEST { 0 } else { rounded }
}

impl Number for Pair {
    const STEP: usize = 2;

    #[inline(always)]
    fn new(values: [f32; 2]) -> Pair {
        Pair(bfloat16(values[0]) | bfloat16(values[1]) << 16)
    }

    fn rows<'a>(rows: Rows<'a, f32>, count: usize, inner: usize, buffer: &'a mut Vec<Pair>) -> Rows<'a, Pair> {
        let stride = inner.div_ceil(2);
        buffer.resize(count * stride, Pair::default());
        isa().run(Convert { rows, inner, buffer });
        Rows { data: buffer, stride }
    }

    fn lines<'a>(
        strips: impl Iterator<Item = &'a [Line<f32>]>,
        buffer: &'a mut Vec<Line<Pair>>,
    ) -> Vec<&'a [Line<Pair>]> {
        buffer.clear();
        let mut length = 0;
        for strip in strips {
            length = strip.len().div_ceil(2);
            let (pairs, rest) = strip.as_chunks::<2>();
            let zeros = Line([0.0; STRIP]);
            let rest = rest.iter().map(|last| [*last, zeros]);
            for [first, second] in pairs.iter().copied().chain(rest) {
                buffer.push(Line(std::array::from_fn(|j| Pair::new([first.0[j], second.0[j]]))));
            }
        }
        buffer.chunks_exact(length.max(1)).collect()
    }

    fn multiply(isa: Isa, product: Product<'_, Pair>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16(v4, _) => {
                // SAFETY: `Isa::Avx512Bf16` holds proof that the machine has AVX-512 with bfloat16 dot products.
                unsafe { multiply_by_dot_products(v4, product) }
            }
            isa => isa.run(product.by(FusedTwice)),
        }
    }
}

/// Rows of float32 to rows of pairs.
struct Convert<'a> {
    rows: Rows<'a, f32>,
    inner: usize,
    buffer: &'a mut [Pair],
}

impl pulp::WithSimd for Convert<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, inner, buffer } = self;
        for (index, pairs) in buffer.chunks_exact_mut(inner.div_ceil(2)).enumerate() {
            let (whole, rest) = rows.row(index, inner).as_chunks::<2>();
            for (pair, values) in pairs.iter_mut().zip(whole) {
                *pair = Pair::new(*values);
            }
            if let (Some(last), [value]) = (pairs.last_mut(), rest) {
                *last = Pair::new([*value, 0.0]);
            }
        }
    }
}

/// A pair's products added one after the other, the second first, as x86's dot product does it. Products of bfloat16
/// are exact in float32, so whether they are fused with the addition makes no difference.
#[derive(Clone, Copy)]
pub(super) struct FusedTwice;

impl Step<Pair> for FusedTwice {
    /// All in one: the rounding of the operands outweighs that of the sums a hundred times.
    const CHAIN: usize = usize::MAX;
    const TALL: usize = 4;
    /// The first of each pair, and the second.
    type Vector<S: Simd> = [S::f32s; 2];

    #[inline(always)]
    fn load<S: Simd>(simd: S, line: &[Pair; STRIP], index: usize) -> [S::f32s; 2] {
        let bits: &[u32; STRIP] = bytemuck::cast_ref(line);
        let pairs = S::as_simd_u32s(bits).0[index];
        let first = simd.wrapping_dyn_shl_u32s(pairs, simd.splat_u32s(16));
        let second = simd.and_u32s(pairs, simd.splat_u32s(0xffff_0000));
        [simd.transmute_f32s_u32s(first), simd.transmute_f32s_u32s(second)]
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, Pair(bits): Pair) -> [S::f32s; 2] {
        [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)].map(|value| simd.splat_f32s(value))
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: [S::f32s; 2], b: [S::f32s; 2], sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(a[0], b[0], simd.mul_add_f32s(a[1], b[1], sum))
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
                let [a, b] = [a, b].map(|pairs| std::mem::transmute::<__m512i, __m512bh>(pairs));
                _mm512_dpbf16_ps(sum, a, b)
            };
            bytemuck::cast(sum)
        }
    }
}
#[cfg(target_arch = "x86_64")]
use dot::multiply_by_dot_products;
