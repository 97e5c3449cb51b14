//! Reductions of a row: its sum, its largest number. They run in [`LANES`] interleaved parts whatever the vector width, so that
//! their bits do not depend on it.

/// Parts of a reduction.
const LANES: usize = 16;

/// Σ term(x) in float64, which costs little and keeps LayerNorm and softmax from adding to the error.
#[inline(always)]
pub(super) fn sum<T: Copy>(values: &[T], term: impl Fn(T) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [0.0; LANES];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part += term(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part += term(value);
    }
    parts.iter().sum()
}

/// The largest of some numbers.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    // `f32::max`, as the compiler makes masked stores of a comparison where there is no AVX-512.
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut parts = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part = part.max(value);
        }
    }
    for (part, &value) in parts.iter_mut().zip(rest) {
        *part = part.max(value);
    }
    let mut most = f32::NEG_INFINITY;
    for part in parts {
        most = most.max(part);
    }
    most
}
