//! What bounds the memory that a file can make its reader take.

/// The most bytes that anything may take in memory which the file holds in fewer, deflated or by strides of zero.
pub(super) fn most_unfolded(file_size: u64) -> u64 {
    file_size.saturating_mul(16).max(1 << 20)
}
