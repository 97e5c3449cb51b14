//! The threads that compute.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Starts a pool of `threads` threads, by default one for each core.
///
/// # Errors
/// [`Error::Usage`] when the system does not let so many be started.
pub fn start_threads(threads: Option<usize>) -> Result<ThreadPool> {
    start(ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)))
}

/// Starts a pool of `threads` threads that leave the processors to others where those have work, on Linux: elsewhere a thread's
/// priority is its process's.
///
/// # Errors
/// As [`start_threads`].
pub(crate) fn start_threads_that_give_way(threads: usize) -> Result<ThreadPool> {
    start(ThreadPoolBuilder::new().num_threads(threads).start_handler(|_| give_way()))
}

/// Lowers the priority of this thread, to a tenth of the time of one that has not.
#[cfg(target_os = "linux")]
fn give_way() {
    const NICE: libc::c_int = 10;
    // SAFETY: the call takes numbers alone. To Linux "this process" is the thread that calls.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn start(pool: ThreadPoolBuilder) -> Result<ThreadPool> {
    pool.build()
        .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))
}
