//! Matrix products of a probe by the gemm library, on the calling thread; the order of a sum depends on shapes and
//! machine alone.
//! alone.
//!
//! ndarray's own product first copies both factors into panels; with a dozen classes that takes as long as the product.

use gemm::Parallelism;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Adds `a` · `b` to `out`, or overwrites `out` with it.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn multiply(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>, add: bool) {
    let ((rows, inner), (also_inner, columns)) = (a.dim(), b.dim());
    assert_eq!((inner, (rows, columns)), (also_inner, out.dim()), "shapes of a product");
    let strides = |strides: &[isize]| (strides[1], strides[0]);
    let (of_out, of_a, of_b) = (strides(out.strides()), strides(a.strides()), strides(b.strides()));
    let (to, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    // SAFETY: pointers and strides are those of views of the shapes that are passed on, and the shapes fit by the
    // assertion; `out` is borrowed for writing, so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            to,
            of_out.0,
            of_out.1,
            add,
            a,
            of_a.0,
            of_a.1,
            b,
            of_b.0,
            of_b.1,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A view of `numbers` as rows of `columns` numbers.
pub(super) fn rows(numbers: &[f32], columns: usize) -> ArrayView2<'_, f32> {
    let count = numbers.len() / columns;
    ArrayView2::from_shape((count, columns), &numbers[..count * columns])
        .unwrap_or_else(|_| unreachable!("by its length"))
}

/// Like [`rows`], for writing.
pub(super) fn rows_mut(numbers: &mut [f32], columns: usize) -> ArrayViewMut2<'_, f32> {
    let count = numbers.len() / columns;
    ArrayViewMut2::from_shape((count, columns), &mut numbers[..count * columns])
        .unwrap_or_else(|_| unreachable!("by its length"))
}

/// `rows` (examples, columns) · `weights`ᵀ (outputs, columns) → (examples, outputs).
pub(super) fn scores(examples: &[f32], weights: &[f32], columns: usize) -> Vec<f32> {
    let outputs = weights.len() / columns;
    let mut out = vec![0.0; examples.len() / columns * outputs];
    multiply(rows(examples, columns), rows(weights, columns).t(), rows_mut(&mut out, outputs), false);
    out
}

/// Adds `slopes`ᵀ (outputs, examples) · `examples` (examples, columns) to `gradient` (outputs, columns).
pub(super) fn add_gradient(slopes: &[f32], examples: &[f32], columns: usize, gradient: &mut [f32]) {
    let outputs = gradient.len() / columns;
    multiply(rows(slopes, outputs).t(), rows(examples, columns), rows_mut(gradient, columns), true);
}

/// The dot product of `a` and `b`, in float32 within a piece of 1,024 numbers and float64 beyond.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    const PIECE: usize = 1024;
    let pieces = a.chunks(PIECE).zip(b.chunks(PIECE));
    pieces.map(|(a, b)| f64::from(ndarray::aview1(a).dot(&ndarray::aview1(b)))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_products() {
        for (examples, outputs, columns) in
            [(1, 1, 1), (4, 1, 16), (9, 3, 37), (7, 13, 384), (0, 2, 5), (512, 17, 130), (512, 1, 384), (511, 2, 384)]
        {
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
            let expected: f64 = rows.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            assert!((dot(&rows, &rows) - expected).abs() <= 1e-6 * expected);
        }
    }
}
