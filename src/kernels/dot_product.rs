//! The dot product of pairs of bfloat16 that AVX-512 has as an extension (`VDPBF16PS`), and products by it.

use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32};

use pulp::x86::V4;
use pulp::{Simd, WithSimd};

use super::multiply_add::MultiplyAdd;
use super::operand_element::Bf16Pair;
use super::packed_matrix::{PANEL_WIDTH, PanelRow};
use super::product::Product;
use super::simd_kernel::SimdKernel;

/// As [`pulp::Arch::dispatch`] for AVX-512, with bfloat16 dot products as well, which pulp does not offer.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn multiply_by_dot_products(v4: V4, product: Product<'_, Bf16Pair>) {
    SimdKernel::new(product, DotProduct(())).with_simd(v4);
}

/// x86's dot product of pairs. Made only where the machine has it.
#[derive(Clone, Copy)]
struct DotProduct(());

impl MultiplyAdd<Bf16Pair> for DotProduct {
    const CHAIN: usize = usize::MAX;
    const AVX512_ROWS: usize = 8;
    type Elements<S: Simd> = __m512i;
    type Sums<S: Simd> = S::f32s;

    #[inline(always)]
    fn load<S: Simd>(_: S, panel_row: &[Bf16Pair; PANEL_WIDTH], _: usize) -> __m512i {
        bytemuck::cast(*panel_row)
    }

    #[inline(always)]
    fn splat<S: Simd>(_: S, pair: Bf16Pair) -> __m512i {
        // SAFETY: `DotProduct` is made only in `multiply_by_dot_products`, where AVX-512 is there.
        unsafe { _mm512_set1_epi32(pair.bits().cast_signed()) }
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(_: S, a: __m512i, b: __m512i, sum: S::f32s) -> S::f32s {
        const { assert!(size_of::<__m512i>() == size_of::<__m512bh>()) };
        let sum: __m512 = bytemuck::cast(sum);
        // SAFETY: `DotProduct` is made only in `multiply_by_dot_products`, where the instruction is there; any bits are
        // a valid `__m512bh`.
        let sum = unsafe {
            let a = std::mem::transmute::<__m512i, __m512bh>(a);
            let b = std::mem::transmute::<__m512i, __m512bh>(b);
            _mm512_dpbf16_ps(sum, a, b)
        };
        bytemuck::cast(sum)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S, total: S::f32s, _: &[Bf16Pair]) -> S::f32s {
        total
    }

    #[inline(always)]
    fn end<S: Simd>(_: S, _: S::f32s, sum: S::f32s, _: &[Bf16Pair], _: &[PanelRow<Bf16Pair>], _: usize) -> S::f32s {
        sum
    }
}
