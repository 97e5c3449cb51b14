//! The matrix product of bfloat16 in tiles: matrices of 16 rows of 64 bytes, held in registers of their own.
//!
//! Weights lie for it as they are: 16 lines of a strip are a tile. Two tiles of rows and two of strips are multiplied into
//! four of sums, 16 lines at a time. An element's sequence of operations depends on nothing but its row, its column and the
//! inner dimension, as in the module `product`; but it is not that module's sequence, so these are bits of their own.

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::number::Pair;
use super::packed::{Line, STRIP};
use super::place::{Beside, Strides};
use super::product::Product;

/// Rows of a tile, and its lines.
pub(super) const TILE: usize = 16;

/// The tiles of sums, by rows and strips; the tiles of rows; those of strips.
const SUMS: [[usize; 2]; 2] = [[0, 1], [2, 3]];
const ROWS: [usize; 2] = [4, 5];
const STRIPS: [usize; 2] = [6, 7];

/// Eight tiles, by number.
pub(super) trait Tiles {
    /// Says how many rows the tiles of rows have, and the sums that belong to them: from 1 to 16. All tiles are zero then.
    fn configure(&mut self, rows: [usize; 2]);

    /// Takes tile T from memory, its rows `stride` numbers apart.
    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize);

    /// Makes tile T zero.
    fn zero<const T: usize>(&mut self);

    /// Puts tile T into memory, its rows `stride` numbers apart.
    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize);

    /// Adds to the sums C the product of the rows A and the strip's lines B, both pairs of bfloat16. For each sum:
    /// the products of the first of every pair are added up from 0 on by fused multiply-adds, in order, those of the second
    /// likewise, and then the sum of the two is added.
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Gives the tiles up.
    fn release(&mut self);
}

/// How many rows a tile has: those of `rows[0]` or `rows[1]`, or, of a strip, all.
pub(super) fn rows_of(tile: usize, rows: [usize; 2]) -> usize {
    match tile {
        0 | 1 | 4 => rows[0],
        2 | 3 | 5 => rows[1],
        _ => TILE,
    }
}

/// A product in tiles.
pub(super) struct InTiles<'a, T> {
    pub(super) tiles: T,
    pub(super) product: Product<'a, Pair>,
}

impl<T: Tiles> WithSimd for InTiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let rows = self.product.rows;
        let whole = rows / (2 * TILE) * (2 * TILE);
        if whole > 0 {
            self.tiles.configure([TILE, TILE]);
            self.strips::<S, 2>(simd, 0, whole);
        }
        match rows - whole {
            0 => {}
            rest @ 1..=TILE => {
                self.tiles.configure([rest, rest]);
                self.strips::<S, 1>(simd, whole, rows);
            }
            rest => {
                self.tiles.configure([TILE, rest - TILE]);
                self.strips::<S, 2>(simd, whole, rows);
            }
        }
        self.tiles.release();
    }
}

impl<T: Tiles> InTiles<'_, T> {
    /// All strips, for the rows from `first` on, NR tiles of rows at a time.
    #[inline(always)]
    fn strips<S: Simd, const NR: usize>(&mut self, simd: S, first: usize, end: usize) {
        let strips = self.product.b.len();
        for strip in (0..strips).step_by(2) {
            for row in (first..end).step_by(NR * TILE) {
                let rows = (end - row).min(NR * TILE);
                if strip + 1 < strips {
                    self.block::<S, NR, 2>(simd, row, rows, strip);
                } else {
                    self.block::<S, NR, 1>(simd, row, rows, strip);
                }
            }
        }
    }

    /// NR tiles of rows, `rows` in all, times NS strips.
    #[inline(always)]
    fn block<S: Simd, const NR: usize, const NS: usize>(&mut self, simd: S, row: usize, rows: usize, strip: usize) {
        let Self { tiles, product } = self;
        let inner = product.b[strip].len();
        let a: &[u32] = cast_slice(product.a.rows_from(row).data);
        let (stride, second) = (product.a.stride, TILE * product.a.stride);
        let whole = inner / TILE * TILE;

        Block::<NR, NS> { row, rows, strip }.take_sums(tiles, product);
        for line in (0..whole).step_by(TILE) {
            tiles.load::<{ ROWS[0] }>(&a[line..], stride);
            tiles.load::<{ STRIPS[0] }>(cast_slice(&product.b[strip][line..line + TILE]), STRIP);
            if NR == 2 {
                tiles.load::<{ ROWS[1] }>(&a[second + line..], stride);
            }
            if NS == 2 {
                tiles.load::<{ STRIPS[1] }>(cast_slice(&product.b[strip + 1][line..line + TILE]), STRIP);
            }
            multiply::<T, NR, NS>(tiles);
        }
        if whole < inner {
            // The lines that are left, filled up with zeros: they add nothing.
            let count = inner - whole;
            let mut left = [[0u32; TILE]; 2 * TILE];
            for (r, left) in left[..rows].iter_mut().enumerate() {
                left[..count].copy_from_slice(&a[r * stride + whole..][..count]);
            }
            let mut lines = [[Line([Pair::default(); STRIP]); TILE]; NS];
            for (s, lines) in lines.iter_mut().enumerate() {
                lines[..count].copy_from_slice(&product.b[strip + s][whole..]);
            }
            tiles.load::<{ ROWS[0] }>(left.as_flattened(), TILE);
            tiles.load::<{ STRIPS[0] }>(cast_slice(&lines[0]), STRIP);
            if NR == 2 {
                tiles.load::<{ ROWS[1] }>(left[TILE..].as_flattened(), TILE);
            }
            if NS == 2 {
                tiles.load::<{ STRIPS[1] }>(cast_slice(&lines[1]), STRIP);
            }
            multiply::<T, NR, NS>(tiles);
        }
        Block::<NR, NS> { row, rows, strip }.put_sums(simd, tiles, product);
    }
}

/// All sums of NR tiles of rows and NS strips.
#[inline(always)]
fn multiply<T: Tiles, const NR: usize, const NS: usize>(tiles: &mut T) {
    tiles.multiply::<{ SUMS[0][0] }, { ROWS[0] }, { STRIPS[0] }>();
    if NR == 2 {
        tiles.multiply::<{ SUMS[1][0] }, { ROWS[1] }, { STRIPS[0] }>();
    }
    if NS == 2 {
        tiles.multiply::<{ SUMS[0][1] }, { ROWS[0] }, { STRIPS[1] }>();
    }
    if NR == 2 && NS == 2 {
        tiles.multiply::<{ SUMS[1][1] }, { ROWS[1] }, { STRIPS[1] }>();
    }
}

/// Where the sums of a block are: NR tiles of rows from `row` on, `rows` in all, NS strips from `strip` on.
struct Block<const NR: usize, const NS: usize> {
    row: usize,
    rows: usize,
    strip: usize,
}

impl<const NR: usize, const NS: usize> Block<NR, NS> {
    /// The sums so far, or zeros.
    #[inline(always)]
    fn take_sums<T: Tiles>(&self, tiles: &mut T, product: &Product<'_, Pair>) {
        self.take::<T, 0, 0, { SUMS[0][0] }>(tiles, product);
        if NR == 2 {
            self.take::<T, 1, 0, { SUMS[1][0] }>(tiles, product);
        }
        if NS == 2 {
            self.take::<T, 0, 1, { SUMS[0][1] }>(tiles, product);
        }
        if NR == 2 && NS == 2 {
            self.take::<T, 1, 1, { SUMS[1][1] }>(tiles, product);
        }
    }

    /// The sums to the output, with the bias.
    #[inline(always)]
    fn put_sums<S: Simd, T: Tiles>(&self, simd: S, tiles: &mut T, product: &mut Product<'_, Pair>) {
        self.put::<S, T, 0, 0, { SUMS[0][0] }>(simd, tiles, product);
        if NR == 2 {
            self.put::<S, T, 1, 0, { SUMS[1][0] }>(simd, tiles, product);
        }
        if NS == 2 {
            self.put::<S, T, 0, 1, { SUMS[0][1] }>(simd, tiles, product);
        }
        if NR == 2 && NS == 2 {
            self.put::<S, T, 1, 1, { SUMS[1][1] }>(simd, tiles, product);
        }
    }

    /// Rows of tile R, columns of strip C.
    fn size<const R: usize, const C: usize>(&self, product: &Product<'_, Pair>) -> (usize, usize) {
        ((self.rows - R * TILE).min(TILE), (product.columns - (self.strip + C) * STRIP).min(STRIP))
    }

    /// Where they start in the output.
    fn start<const R: usize, const C: usize>(&self, strides: Strides) -> usize {
        (self.row + R * TILE) * strides.row + (self.strip + C) * strides.strip
    }

    #[inline(always)]
    fn take<T: Tiles, const R: usize, const C: usize, const SUM: usize>(
        &self,
        tiles: &mut T,
        product: &Product<'_, Pair>,
    ) {
        if !product.goes_on {
            return tiles.zero::<SUM>();
        }
        let (rows, columns) = self.size::<R, C>(product);
        let out = &product.out[self.start::<R, C>(product.strides)..];
        if columns == STRIP {
            tiles.load::<SUM>(cast_slice(out), product.strides.row);
        } else {
            let mut beside = Beside::ZEROS;
            beside.take(out, product.strides, rows, columns);
            tiles.load::<SUM>(cast_slice(beside.numbers_mut()), STRIP);
        }
    }

    #[inline(always)]
    fn put<S: Simd, T: Tiles, const R: usize, const C: usize, const SUM: usize>(
        &self,
        simd: S,
        tiles: &mut T,
        product: &mut Product<'_, Pair>,
    ) {
        let (rows, columns) = self.size::<R, C>(product);
        let (strides, start) = (product.strides, self.start::<R, C>(product.strides));
        let first = (self.strip + C) * STRIP;
        let bias = product.bias.get(first..first + columns).unwrap_or(&[]);
        let out = &mut product.out[start..];
        if columns == STRIP {
            tiles.store::<SUM>(cast_slice_mut(out), strides.row);
            if !bias.is_empty() {
                let (bias, _) = S::as_simd_f32s(bias);
                for row in 0..rows {
                    let (out, _) = S::as_mut_simd_f32s(&mut out[row * strides.row..][..STRIP]);
                    for (out, bias) in out.iter_mut().zip(bias) {
                        *out = simd.add_f32s(*out, *bias);
                    }
                }
            }
        } else {
            let mut beside = Beside::ZEROS;
            tiles.store::<SUM>(cast_slice_mut(beside.numbers_mut()), STRIP);
            for row in beside.numbers_mut().chunks_exact_mut(STRIP).take(rows) {
                for (sum, bias) in row.iter_mut().zip(bias) {
                    *sum += bias;
                }
            }
            beside.put(out, strides, rows, columns);
        }
    }
}

/// Tiles as the manual describes them (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
/// `TDPBF16PS`), one number at a time.
pub(super) struct Model {
    tiles: [[[u32; TILE]; TILE]; 8],
    rows: [usize; 2],
}

impl Model {
    pub(super) fn new() -> Self {
        Self { tiles: [[[0; TILE]; TILE]; 8], rows: [0; 2] }
    }
}

impl Tiles for Model {
    fn configure(&mut self, rows: [usize; 2]) {
        *self = Self { rows, ..Self::new() };
    }

    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize) {
        for row in 0..rows_of(T, self.rows) {
            self.tiles[T][row].copy_from_slice(&numbers[row * stride..][..TILE]);
        }
    }

    fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [[0; TILE]; TILE];
    }

    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize) {
        for row in 0..rows_of(T, self.rows) {
            numbers[row * stride..][..TILE].copy_from_slice(&self.tiles[T][row]);
        }
    }

    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        let low = |pair: u32| f32::from_bits(pair << 16);
        let high = |pair: u32| f32::from_bits(pair & 0xffff_0000);
        for row in 0..rows_of(A, self.rows) {
            for column in 0..TILE {
                let (mut first, mut second) = (0.0f32, 0.0f32);
                for line in 0..TILE {
                    let (a, b) = (self.tiles[A][row][line], self.tiles[B][line][column]);
                    first = low(a).mul_add(low(b), first);
                    second = high(a).mul_add(high(b), second);
                }
                let sum = &mut self.tiles[C][row][column];
                *sum = (f32::from_bits(*sum) + (first + second)).to_bits();
            }
        }
    }

    fn release(&mut self) {
        self.configure([0, 0]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::product::tests::{numbers, product_by};
    use super::*;

    /// A product by the model of tiles.
    fn by_model(a: &[f32], weight: &[f32], bias: &[f32], inner: usize, part: usize) -> Vec<f32> {
        let multiply = |product: Product<'_, Pair>| {
            InTiles { tiles: Model::new(), product }.with_simd(pulp::Scalar::new());
        };
        product_by::<Pair>(multiply, a, weight, bias, inner, part)
    }

    fn bfloat16(number: f32) -> f32 {
        half::bf16::from_f32(number).to_f32()
    }

    /// An element by its definition.
    fn element(a: &[f32], weight: &[f32], bias: f32) -> f32 {
        let mut sum = 0.0f32;
        for (a, weight) in a.chunks(2 * TILE).zip(weight.chunks(2 * TILE)) {
            let mut parts = [0.0f32; 2];
            for (i, (a, weight)) in a.iter().zip(weight).enumerate() {
                parts[i % 2] = bfloat16(*a).mul_add(bfloat16(*weight), parts[i % 2]);
            }
            sum += parts[0] + parts[1];
        }
        sum + bias
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any number of rows, columns and inner numbers, in parts too; the processor's tiles, where there are some, as the model.
        #[test]
        fn every_element_is_the_sum_it_should_be(
            rows in 1usize..80,
            inner in 1usize..300,
            columns in 1usize..70,
            seed: u64,
        ) {
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            let expected: Vec<u32> = (0..rows * columns)
                .map(|i| {
                    let (row, column) = (i / columns, i % columns);
                    element(&a[row * inner..][..inner], &weight[column * inner..][..inner], bias[column]).to_bits()
                })
                .collect();
            for part in [inner, 32, 192] {
                let found = by_model(&a, &weight, &bias, inner, part);
                prop_assert_eq!(&found.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), &expected);
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                if let Some(isa) = super::super::isa::InstructionSet::available().into_iter().find(|isa| isa.has_tiles()) {
                    use super::super::number::Number;
                    let multiply = |product: Product<'_, Pair>| Pair::multiply(isa, product);
                    let found = product_by::<Pair>(multiply, &a, &weight, &bias, inner, part);
                    prop_assert_eq!(&found.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), &expected);
                }
            }
        }
    }

    /// As queries, keys and values are written: strip after strip.
    #[test]
    fn output_in_strips() {
        let (rows, inner, columns) = (37, 40, 3 * STRIP);
        let (a, weight) = (numbers(rows * inner, 1), numbers(columns * inner, 2));
        let expected = by_model(&a, &weight, &vec![0.0; columns], inner, inner);
        let mut out = vec![f32::NAN; rows * columns];
        let multiply = |product: Product<'_, Pair>| {
            let strides = Strides { row: STRIP, strip: rows * STRIP };
            let product = Product { out: &mut out, strides, ..product };
            InTiles { tiles: Model::new(), product }.with_simd(pulp::Scalar::new());
        };
        product_by::<Pair>(multiply, &a, &weight, &vec![0.0; columns], inner, inner);
        for (i, row) in expected.chunks(columns).enumerate() {
            for (s, strip) in row.chunks(STRIP).enumerate() {
                assert_eq!(out[(s * rows + i) * STRIP..][..STRIP], *strip);
            }
        }
    }
}
