//! The threads that compute.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Starts a pool of `threads` threads, by default one for each core.
///
/// # Errors
/// [`Error::Usage`] when the system does not let so many be started.
pub fn start_threads(threads: Option<usize>) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    pool.map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))
}
