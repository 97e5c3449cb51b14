//! When a search for an optimum ends.

/// The stopping criteria of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The length of the gradient below which the search ends.
    pub(super) gradient: f64,
    /// The gain of a step below which the search ends.
    pub(super) loss: f64,
    /// The largest number of steps.
    pub(super) steps: u64,
    /// Number of searches, each from where the last one ended: a search that rounding errors keep from going further
    /// may still advance after a fresh start.
    pub(super) rounds: usize,
}
