//! The two products of a linear probe, with the vectors used where they lie.
//!
//! A general matrix product copies both its factors into panels first. With a dozen classes that copy takes longer than the
//! product: on 62,000 word vectors and 13 classes half the time was spent in it. Sums are in [`LANES`] interleaved parts
//! whatever the width of the machine's vectors, so their bits do not depend on it.

use pulp::{Simd, WithSimd};

use crate::kernels::run;

/// Parts of a sum.
const LANES: usize = 16;
/// Rows taken together: so many share each load of a weight, or of a gradient.
const ROWS: usize = 4;

/// `rows` (examples, columns) · `weights`ᵀ (outputs, columns) → (examples, outputs).
pub(super) fn scores(rows: &[f32], weights: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() / columns * (weights.len() / columns)];
    run(Scores { rows, weights, columns, out: &mut out });
    out
}

/// Adds `slopes`ᵀ (outputs, examples) · `rows` (examples, columns) to `gradient` (outputs, columns).
pub(super) fn add_gradient(slopes: &[f32], rows: &[f32], columns: usize, gradient: &mut [f32]) {
    run(Gradient { slopes, rows, columns, gradient });
}

/// The sum of the products of numbers at the same place; exact to float32 within a piece of the length of a row, then float64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    const PIECE: usize = 1024;
    a.chunks(PIECE).zip(b.chunks(PIECE)).map(|(a, b)| f64::from(scores(a, b, a.len())[0])).sum()
}

struct Scores<'a> {
    rows: &'a [f32],
    weights: &'a [f32],
    columns: usize,
    out: &'a mut [f32],
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { rows, weights, columns, out } = self;
        let outputs = weights.len() / columns;
        for (rows, out) in rows.chunks(ROWS * columns).zip(out.chunks_mut(ROWS * outputs)) {
            for (output, weights) in weights.chunks_exact(columns).enumerate() {
                if rows.len() == ROWS * columns {
                    let rows = [0, 1, 2, 3].map(|row| &rows[row * columns..(row + 1) * columns]);
                    let sums = dot_with_each(rows, weights);
                    for row in 0..ROWS {
                        out[row * outputs + output] = sums[row];
                    }
                } else {
                    for (row, out) in rows.chunks_exact(columns).zip(out.chunks_exact_mut(outputs)) {
                        out[output] = dot_with_each([row], weights)[0];
                    }
                }
            }
        }
    }
}

/// The product of each row with `weights`.
#[inline(always)]
fn dot_with_each<const N: usize>(rows: [&[f32]; N], weights: &[f32]) -> [f32; N] {
    let mut parts = [[0.0_f32; LANES]; N];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    for (chunk, weights) in chunks.iter().enumerate() {
        for row in 0..N {
            let values = &rows[row][chunk * LANES..(chunk + 1) * LANES];
            for lane in 0..LANES {
                parts[row][lane] = values[lane].mul_add(weights[lane], parts[row][lane]);
            }
        }
    }
    let mut sums = [0.0; N];
    for row in 0..N {
        for lane in 0..rest.len() {
            parts[row][lane] = rows[row][chunks.len() * LANES + lane].mul_add(rest[lane], parts[row][lane]);
        }
        for part in parts[row] {
            sums[row] += part;
        }
    }
    sums
}

struct Gradient<'a> {
    slopes: &'a [f32],
    rows: &'a [f32],
    columns: usize,
    gradient: &'a mut [f32],
}

impl WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { slopes, rows, columns, gradient } = self;
        let outputs = gradient.len() / columns;
        for (rows, slopes) in rows.chunks(ROWS * columns).zip(slopes.chunks(ROWS * outputs)) {
            for (output, gradient) in gradient.chunks_exact_mut(columns).enumerate() {
                if rows.len() == ROWS * columns {
                    let [first, second, third, fourth] = [0, 1, 2, 3].map(|row| &rows[row * columns..][..columns]);
                    let slope = [0, 1, 2, 3].map(|row| slopes[row * outputs + output]);
                    for column in 0..columns {
                        let sum = first[column].mul_add(slope[0], gradient[column]);
                        let sum = second[column].mul_add(slope[1], sum);
                        let sum = third[column].mul_add(slope[2], sum);
                        gradient[column] = fourth[column].mul_add(slope[3], sum);
                    }
                } else {
                    for (row, slopes) in rows.chunks_exact(columns).zip(slopes.chunks_exact(outputs)) {
                        for column in 0..columns {
                            gradient[column] = row[column].mul_add(slopes[output], gradient[column]);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_products() {
        for (examples, outputs, columns) in [(1, 1, 1), (4, 1, 16), (9, 3, 37), (7, 13, 384), (0, 2, 5)] {
            let number = |i: usize| ((i * 7919) % 100) as f32 / 25.0 - 2.0;
            let rows: Vec<f32> = (0..examples * columns).map(number).collect();
            let weights: Vec<f32> = (0..outputs * columns).map(|i| number(i + 3)).collect();
            let found = scores(&rows, &weights, columns);
            for example in 0..examples {
                for output in 0..outputs {
                    let terms =
                        (0..columns).map(|c| f64::from(rows[example * columns + c] * weights[output * columns + c]));
                    let expected: f64 = terms.sum();
                    assert!((f64::from(found[example * outputs + output]) - expected).abs() < 1e-3);
                }
            }
            let slopes: Vec<f32> = (0..examples * outputs).map(|i| number(i + 11)).collect();
            let mut gradient = vec![1.0; outputs * columns];
            add_gradient(&slopes, &rows, columns, &mut gradient);
            for output in 0..outputs {
                for column in 0..columns {
                    let terms =
                        (0..examples).map(|e| f64::from(slopes[e * outputs + output] * rows[e * columns + column]));
                    let expected: f64 = 1.0 + terms.sum::<f64>();
                    assert!((f64::from(gradient[output * columns + column]) - expected).abs() < 1e-3);
                }
            }
        }
    }
}
