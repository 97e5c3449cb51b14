//! Bounds on the memory that reading a file can take.

/// Most bytes that may be allocated for content that the file holds in fewer, deflated or by strides of zero.
pub(super) fn most_unfolded(file_size: u64) -> u64 {
    file_size.saturating_mul(16).max(1 << 20)
}
