//! Which kernel multiplies which elements on which instruction set.

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::dot_product::multiply_by_dot_products;
use super::instruction_set::InstructionSet;
#[cfg(target_arch = "x86_64")]
use super::instruction_set::SimdToken;
use super::int8_element::Int8AsF32;
#[cfg(target_arch = "x86_64")]
use super::int8_element::{Int8Pair, Int8Quad};
use super::int8_sums::IntegersAsF32;
#[cfg(target_arch = "x86_64")]
use super::int8_sums::{multiply_with_avx_vnni, multiply_with_avx2, multiply_with_avx512, multiply_with_avx512_vnni};
use super::multiply_add::Fused;
use super::operand_element::{Bf16AsF32, Bf16Pair, OperandElement};
use super::packed_matrix::Pack;
use super::product::{Product, StridedRows};
use super::simd_kernel::SimdKernel;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{byte_tile_kernel::ByteTileKernel, tile_kernel::TileKernel};

/// Elements that there are kernels for.
pub(super) trait Dispatch: Pack {
    /// `count` rows of `inner` float32 as rows of these elements: converted into `buffer`, or used where they lie.
    fn convert_rows<'a>(
        instruction_set: InstructionSet,
        rows: StridedRows<'a, f32>,
        count: usize,
        inner: usize,
        buffer: &'a mut Vec<Self>,
    ) -> StridedRows<'a, Self> {
        let stride = Self::elements(inner);
        buffer.resize(count * stride, Self::default());
        instruction_set.run(ConvertRows { rows, inner, buffer });
        StridedRows { elements: buffer, stride }
    }

    /// Computes a product.
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Self>);
}

impl Dispatch for f32 {
    fn convert_rows<'a>(
        _: InstructionSet,
        rows: StridedRows<'a, f32>,
        _: usize,
        _: usize,
        _: &'a mut Vec<f32>,
    ) -> StridedRows<'a, f32> {
        rows
    }

    fn multiply(instruction_set: InstructionSet, product: Product<'_, f32>) {
        instruction_set.run(SimdKernel::new(product, Fused::<32>));
    }
}

impl Dispatch for Bf16AsF32 {
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Bf16AsF32>) {
        instruction_set.run(SimdKernel::new(product, Fused::<{ usize::MAX }>));
    }
}

impl Dispatch for Bf16Pair {
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Bf16Pair>) {
        match instruction_set.token() {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(.., amx) => {
                // SAFETY: the product is multiplied on this thread from beginning to end, with nothing else between.
                let registers = unsafe { amx.registers() };
                instruction_set.run(TileKernel { registers, product });
            }
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(v4, ..) => {
                // SAFETY: `SimdToken::Avx512Bf16` holds proof that the machine has AVX-512 with bfloat16 dot products.
                unsafe { multiply_by_dot_products(v4, product) }
            }
            _ => unreachable!("{} has no dot products for {} rows of pairs", instruction_set.name(), product.rows),
        }
    }
}

impl Dispatch for Int8AsF32 {
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Int8AsF32>) {
        instruction_set.run(SimdKernel::new(product, IntegersAsF32));
    }
}

#[cfg(target_arch = "x86_64")]
impl Dispatch for Int8Pair {
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Int8Pair>) {
        match instruction_set.token() {
            // SAFETY: the token holds proof that the machine has AVX-512.
            SimdToken::Avx512(v4) => unsafe { multiply_with_avx512(v4, product) },
            // SAFETY: the token holds proof that the machine has AVX2 and fused multiply-adds.
            SimdToken::Avx2(v3) => unsafe { multiply_with_avx2(v3, product) },
            _ => unreachable!("{} does not multiply {} rows of pairs", instruction_set.name(), product.rows),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Dispatch for Int8Quad {
    fn multiply(instruction_set: InstructionSet, product: Product<'_, Int8Quad>) {
        match instruction_set.token() {
            #[cfg(target_os = "linux")]
            SimdToken::Amx(.., amx) => {
                // SAFETY: the product is multiplied on this thread from beginning to end, with nothing else between.
                let registers = unsafe { amx.registers() };
                instruction_set.run(ByteTileKernel { registers, product });
            }
            // SAFETY: the token holds proof that the machine has AVX-512 with dot products of bytes.
            SimdToken::Avx512Bf16(v4, ..) | SimdToken::Avx512Vnni(v4, _) => unsafe {
                multiply_with_avx512_vnni(v4, product);
            },
            // SAFETY: the token holds proof that the machine has AVX2, fused multiply-adds and dot products of bytes.
            SimdToken::AvxVnni(v3, _) => unsafe { multiply_with_avx_vnni(v3, product) },
            _ => unreachable!("{} does not multiply {} rows of quads", instruction_set.name(), product.rows),
        }
    }
}

/// Rows of float32 to rows of another element.
struct ConvertRows<'a, T> {
    /// (rows, inner)
    rows: StridedRows<'a, f32>,
    inner: usize,
    /// (rows, elements of the inner dimension)
    buffer: &'a mut [T],
}

impl<T: OperandElement> WithSimd for ConvertRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, inner, buffer } = self;
        for (index, out) in buffer.chunks_exact_mut(T::elements(inner)).enumerate() {
            T::convert(rows.row(index, inner), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::instruction_set::Integers;
    use crate::kernels::testing::{numbers, product_by};
    use crate::spec::Compute;

    fn product<T: Dispatch>(
        instruction_set: InstructionSet,
        a: &[f32],
        weight: &[f32],
        bias: &[f32],
        inner: usize,
        part: usize,
    ) -> Vec<f32> {
        product_by::<T>(|product| T::multiply(instruction_set, product), a, weight, bias, inner, part)
    }

    fn portable() -> InstructionSet {
        InstructionSet::choose(Compute::F32, Some("portable".as_ref())).expect("every machine has it")
    }

    /// A product in float32, bfloat16 or integers, the latter in the elements that `instruction_set` multiplies.
    fn product_in(
        instruction_set: InstructionSet,
        compute: Compute,
        a: &[f32],
        weight: &[f32],
        bias: &[f32],
        inner: usize,
        part: usize,
    ) -> Vec<f32> {
        match compute {
            Compute::F32 => product::<f32>(instruction_set, a, weight, bias, inner, part),
            Compute::Bf16 if instruction_set.multiplies_pairs() => {
                product::<Bf16Pair>(instruction_set, a, weight, bias, inner, part)
            }
            Compute::Bf16 => product::<Bf16AsF32>(instruction_set, a, weight, bias, inner, part),
            Compute::Int8 => match instruction_set.integers() {
                #[cfg(target_arch = "x86_64")]
                Integers::Quads => product::<Int8Quad>(instruction_set, a, weight, bias, inner, part),
                #[cfg(target_arch = "x86_64")]
                Integers::Pairs => product::<Int8Pair>(instruction_set, a, weight, bias, inner, part),
                Integers::AsF32 => product::<Int8AsF32>(instruction_set, a, weight, bias, inner, part),
            },
        }
    }

    /// Close to float64 on every instruction set of this machine, with the same bits on all of them; and each row the
    /// same bits alone and in company.
    fn check(compute: Compute, a: &[f32], weight: &[f32], bias: &[f32], inner: usize, bound: f64) {
        let columns = bias.len();
        let expected = product_in(portable(), compute, a, weight, bias, inner, inner);
        for (i, row) in expected.chunks(columns).enumerate() {
            for (j, value) in row.iter().enumerate() {
                let terms = a[i * inner..][..inner].iter().zip(&weight[j * inner..][..inner]);
                let truth: f64 = terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() + f64::from(bias[j]);
                assert!((f64::from(*value) - truth).abs() < bound, "({i}, {j}): {value} instead of {truth}");
            }
        }
        for instruction_set in InstructionSet::available() {
            if compute == Compute::Bf16 && instruction_set.has_tiles() {
                continue; // another sequence of sums, tested in `tile_kernel`
            }
            for part in [inner, if compute == Compute::Int8 { 64 } else { 32 }, 192] {
                let found = product_in(instruction_set, compute, a, weight, bias, inner, part);
                assert_eq!(found, expected, "{}, in parts of {part}", instruction_set.name());
            }
            for (i, row) in expected.chunks(columns).enumerate() {
                let alone = product_in(instruction_set, compute, &a[i * inner..][..inner], weight, bias, inner, inner);
                assert_eq!(alone, row, "{}, row {i}", instruction_set.name());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// In parts, too, whose unfinished sums are those of panels that are full or not.
        #[test]
        fn right_on_every_instruction_set(rows in 1usize..30, inner in 1usize..700, columns in 1usize..100, seed: u64) {
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            check(Compute::F32, &a, &weight, &bias, inner, 1e-5);
            // Operands are off by 2⁻⁹ at most, a product of them by twice that.
            check(Compute::Bf16, &a, &weight, &bias, inner, inner as f64 / 250.0 + 1e-5);
            // By half of a 127th at most.
            check(Compute::Int8, &a, &weight, &bias, inner, inner as f64 / 120.0 + 1e-5);
        }
    }

    /// The same bits on every instruction set without tiles.
    fn same_everywhere(compute: Compute, a: &[f32], weight: &[f32], columns: usize, inner: usize) {
        let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let product = |set| bits(product_in(set, compute, a, weight, &vec![0.0; columns], inner, inner));
        let expected = product(portable());
        for set in InstructionSet::available().into_iter().filter(|set| !set.has_tiles()) {
            assert_eq!(product(set), expected, "{}", set.name());
        }
    }

    #[test]
    fn numbers_of_every_size_have_the_same_bits_in_less_than_float32_everywhere() {
        // Up to infinity, and down to where instruction sets differ in what they take for zero.
        let sizes = [1e-45, 1e-38, 3e-20, 2.7e-17, 2.8e-17, 1e-10, 1.0, 1e10, 1e19];
        let (rows, inner, columns) = (6, 40, 35);
        let scaled = |count: usize, seed: u64| -> Vec<f32> {
            numbers(count, seed)
                .iter()
                .enumerate()
                .map(|(i, number)| number * sizes[(i * 7 + i / 5) % sizes.len()])
                .collect()
        };
        let (a, weight) = (scaled(rows * inner, 5), scaled(columns * inner, 6));
        for compute in [Compute::Bf16, Compute::Int8] {
            same_everywhere(compute, &a, &weight, columns, inner);
        }
        let tiny =
            product_in(portable(), Compute::Bf16, &[2.0f32.powi(-55), 2.0f32.powi(-56)], &[1.0, 1.0], &[0.0], 2, 2);
        assert_eq!(tiny, [2.0f32.powi(-55)], "what is below 2⁻⁵⁵ counts as zero");
    }
}
