//! Multiply-adds of small integers: sums of a group's products as an instruction set has them, exact whatever it is, and their share of
//! a total in float32.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_madd_epi16,
    _mm256_set1_epi32, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_madd_epi16, _mm512_set1_epi32,
};

use bytemuck::Pod;
#[cfg(target_arch = "x86_64")]
use bytemuck::Zeroable;
use pulp::Simd;
#[cfg(target_arch = "x86_64")]
use pulp::WithSimd;
#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

use super::int8_element::Int8AsF32;
#[cfg(target_arch = "x86_64")]
use super::int8_element::{Int8Pair, Int8Quad};
use super::multiply_add::MultiplyAdd;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
#[cfg(target_arch = "x86_64")]
use super::product::Product;
#[cfg(target_arch = "x86_64")]
use super::simd_kernel::SimdKernel;

/// `total` and a group's sum, times the factor of the row and those of the columns: two roundings, the same everywhere.
#[inline(always)]
pub(super) fn add_scaled<S: Simd, T: Copy>(
    simd: S,
    total: S::f32s,
    sum: S::f32s,
    factor: f32,
    factors: &PanelRow<T>,
    index: usize,
) -> S::f32s
where
    PanelRow<T>: Pod,
{
    let factors: &[f32; PANEL_WIDTH] = bytemuck::cast_ref(factors);
    let factors = S::as_simd_f32s(factors).0[index];
    simd.mul_add_f32s(sum, simd.mul_f32s(simd.splat_f32s(factor), factors), total)
}

/// Integers held as float32, by its multiply-adds.
#[derive(Clone, Copy)]
pub(super) struct IntegersAsF32;

impl MultiplyAdd<Int8AsF32> for IntegersAsF32 {
    const CHAIN: usize = Int8AsF32::CHAIN;
    const TAIL: usize = Int8AsF32::TAIL;
    const AVX512_ROWS: usize = 4;
    type Elements<S: Simd> = S::f32s;
    type Sums<S: Simd> = S::f32s;

    #[inline(always)]
    fn load<S: Simd>(_: S, panel_row: &[Int8AsF32; PANEL_WIDTH], index: usize) -> S::f32s {
        let panel_row: &[f32; PANEL_WIDTH] = bytemuck::cast_ref(panel_row);
        S::as_simd_f32s(panel_row).0[index]
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, element: Int8AsF32) -> S::f32s {
        simd.splat_f32s(element.into())
    }

    #[inline(always)]
    fn begin<S: Simd>(simd: S, _: S::f32s, _: &[Int8AsF32]) -> S::f32s {
        simd.splat_f32s(0.0)
    }

    /// Nothing is rounded, so this may be two operations where there is no fused one.
    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        if S::F32_LANES == 1 { simd.add_f32s(simd.mul_f32s(a, b), sum) } else { simd.mul_add_f32s(a, b, sum) }
    }

    #[inline(always)]
    fn end<S: Simd>(
        simd: S,
        total: S::f32s,
        sum: S::f32s,
        tail: &[Int8AsF32],
        panel_tail: &[PanelRow<Int8AsF32>],
        index: usize,
    ) -> S::f32s {
        add_scaled(simd, total, sum, tail[0].into(), &panel_tail[0], index)
    }
}

/// Sums of products of integers in the vectors of an instruction set. Values are made where a machine has it, and nowhere else.
#[cfg(target_arch = "x86_64")]
trait IntegerSums<T>: Copy {
    const CHAIN: usize;
    /// Where it is 2, the first element behind a group of the left-hand matrix is what the group's sum begins with.
    const TAIL: usize;
    /// 32-bit integers.
    type Vector: Pod;

    /// The bits of an element everywhere.
    fn splat(element: T) -> Self::Vector;
    /// `sum` and the dot products of the integers in `a`, of activations, and `b`, of weights.
    fn dot_product(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector;
    /// The bits of integers below 2²⁴ as float32, exactly.
    fn as_f32(sum: Self::Vector) -> Self::Vector;
}

/// A sum of integers as a multiply-add.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Scaled<I>(I);

#[cfg(target_arch = "x86_64")]
impl<T: Pod, I: IntegerSums<T>> MultiplyAdd<T> for Scaled<I>
where
    PanelRow<T>: Pod,
{
    const CHAIN: usize = I::CHAIN;
    const TAIL: usize = I::TAIL;
    const AVX512_ROWS: usize = 4;
    type Elements<S: Simd> = I::Vector;
    type Sums<S: Simd> = I::Vector;

    #[inline(always)]
    fn load<S: Simd>(_: S, panel_row: &[T; PANEL_WIDTH], index: usize) -> I::Vector {
        let width = size_of::<I::Vector>();
        bytemuck::pod_read_unaligned(&bytemuck::bytes_of(panel_row)[index * width..][..width])
    }

    #[inline(always)]
    fn splat<S: Simd>(_: S, element: T) -> I::Vector {
        I::splat(element)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S, _: S::f32s, tail: &[T]) -> I::Vector {
        if I::TAIL == 2 { I::splat(tail[0]) } else { I::Vector::zeroed() }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(_: S, a: I::Vector, b: I::Vector, sum: I::Vector) -> I::Vector {
        I::dot_product(a, b, sum)
    }

    #[inline(always)]
    fn end<S: Simd>(
        simd: S,
        total: S::f32s,
        sum: I::Vector,
        tail: &[T],
        panel_tail: &[PanelRow<T>],
        index: usize,
    ) -> S::f32s {
        const { assert!(size_of::<S::f32s>() == size_of::<I::Vector>()) };
        let last = I::TAIL - 1;
        add_scaled(simd, total, bytemuck::cast(I::as_f32(sum)), bytemuck::cast(tail[last]), &panel_tail[last], index)
    }
}

/// Declares the sums of an element's integers in the vectors of an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! integer_sums {
    ($(#[$about:meta])* $name:ident($vector:ident of $element:ident: $splat:ident, $as_f32:ident);
        |$a:ident, $b:ident, $sum:ident| $dot_product:expr) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        struct $name(());

        impl IntegerSums<$element> for $name {
            const CHAIN: usize = $element::CHAIN;
            const TAIL: usize = $element::TAIL;
            type Vector = $vector;

            #[inline(always)]
            fn splat(element: $element) -> $vector {
                // SAFETY: values of this type are made, and its functions called, where the machine has the instructions.
                unsafe { $splat(element.bits().cast_signed()) }
            }

            #[inline(always)]
            fn dot_product($a: $vector, $b: $vector, $sum: $vector) -> $vector {
                // SAFETY: as in `splat`.
                unsafe { $dot_product }
            }

            #[inline(always)]
            fn as_f32(sum: $vector) -> $vector {
                // SAFETY: as in `splat`.
                bytemuck::cast(unsafe { $as_f32(sum) })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
integer_sums! {
    /// AVX2's multiply-add of pairs, and an addition.
    Avx2Pairs(__m256i of Int8Pair: _mm256_set1_epi32, _mm256_cvtepi32_ps);
    |a, b, sum| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
}

#[cfg(target_arch = "x86_64")]
integer_sums! {
    /// The same in vectors of AVX-512.
    Avx512Pairs(__m512i of Int8Pair: _mm512_set1_epi32, _mm512_cvtepi32_ps);
    |a, b, sum| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
}

#[cfg(target_arch = "x86_64")]
integer_sums! {
    /// AVX-VNNI's dot product of quads: of bytes without a sign (the weight's) and with one.
    AvxVnniQuads(__m256i of Int8Quad: _mm256_set1_epi32, _mm256_cvtepi32_ps);
    |a, b, sum| _mm256_dpbusd_avx_epi32(sum, b, a)
}

#[cfg(target_arch = "x86_64")]
integer_sums! {
    /// The same in vectors of AVX-512.
    Avx512VnniQuads(__m512i of Int8Quad: _mm512_set1_epi32, _mm512_cvtepi32_ps);
    |a, b, sum| _mm512_dpbusd_epi32(sum, b, a)
}

/// A product of pairs with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn multiply_with_avx2(v3: V3, product: Product<'_, Int8Pair>) {
    SimdKernel::new(product, Scaled(Avx2Pairs(()))).with_simd(v3);
}

/// A product of pairs with AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn multiply_with_avx512(v4: V4, product: Product<'_, Int8Pair>) {
    SimdKernel::new(product, Scaled(Avx512Pairs(()))).with_simd(v4);
}

/// A product of quads with AVX-VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avxvnni,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn multiply_with_avx_vnni(v3: V3, product: Product<'_, Int8Quad>) {
    SimdKernel::new(product, Scaled(AvxVnniQuads(()))).with_simd(v3);
}

/// A product of quads with AVX-512's VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn multiply_with_avx512_vnni(v4: V4, product: Product<'_, Int8Quad>) {
    SimdKernel::new(product, Scaled(Avx512VnniQuads(()))).with_simd(v4);
}
