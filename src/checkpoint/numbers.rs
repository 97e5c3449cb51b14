//! Conversion of stored numbers to float32.

use half::{bf16, f16};
use safetensors::Dtype;

/// Appends stored numbers to `out` as float32.
pub(super) fn widen(dtype: Dtype, bytes: &[u8], out: &mut Vec<f32>) -> Result<(), String> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))),
        Dtype::F16 => out.extend(halves().map(|&b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => out.extend(halves().map(|&b| bf16::from_le_bytes(b).to_f32())),
        other => return Err(unsupported_type(&other.to_string())),
    }
    Ok(())
}

/// Refuses a type whose numbers float32 cannot hold.
pub(super) fn supported(dtype: Dtype) -> Result<Dtype, String> {
    match dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(dtype),
        other => Err(unsupported_type(&other.to_string())),
    }
}

pub(super) fn unsupported_type(dtype: &str) -> String {
    format!(
        "has type {}; expected float32, float16 or bfloat16, so convert the checkpoint to one of them",
        dtype.to_lowercase()
    )
}

/// The index of the first number that is infinite or NaN.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // The fold has no early exit inside a chunk, so the compiler can vectorize it.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |finite, value| finite & value.is_finite());
    let chunk = values.chunks(1024).position(|chunk| !finite(chunk))? * 1024;
    values[chunk..].iter().position(|value| !value.is_finite()).map(|index| chunk + index)
}
