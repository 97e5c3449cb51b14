//! The threads that compute, and work that those of them that have nothing else to do share.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
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

/// Lowers the priority of this thread, to a tenth of the time of one that has not. Where the system refuses, it is as others.
#[cfg(target_os = "linux")]
fn give_way() {
    const STEPS: i32 = 10;
    const LOWEST: i32 = 19;
    // To Linux "this process" is the thread that asks.
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, (now + STEPS).min(LOWEST));
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

fn start(pool: ThreadPoolBuilder) -> Result<ThreadPool> {
    pool.build()
        .map_err(|error| Error::Usage(format!("cannot start the threads: {error}; choose fewer with --threads")))
}

/// Threads that wait for each other in a loop of their own, where those without work may help.
pub(crate) trait Helpers: Sync {
    /// Calls `each` with every number below `count`, here and on threads that would wait. Returns when all calls have. Not called again
    /// within a call: [`share`] sees to that.
    fn share(&self, count: usize, each: &(dyn Fn(usize) + Sync));
}

thread_local! {
    /// Who helps this thread, during [`with_helpers`].
    static HELPERS: Cell<Option<*const (dyn Helpers + 'static)>> = const { Cell::new(None) };
}

/// Puts back who helped, also when a closure panics.
struct PutBack(Option<*const (dyn Helpers + 'static)>);

impl Drop for PutBack {
    fn drop(&mut self) {
        HELPERS.set(self.0);
    }
}

/// Runs a closure in which [`share`] shares with these threads.
pub(crate) fn with_helpers<R>(helpers: &dyn Helpers, run: impl FnOnce() -> R) -> R {
    // SAFETY: only the lifetime changes. The pointer is used by this thread during `run` alone, for which `helpers` is borrowed:
    // `PutBack` removes it before this function returns.
    let helpers = unsafe { std::mem::transmute::<*const (dyn Helpers + '_), *const (dyn Helpers + 'static)>(helpers) };
    let _put_back = PutBack(HELPERS.replace(Some(helpers)));
    run()
}

/// Calls `each` with every number below `count`, on this thread and on those of its pool that have nothing else to do; outside of a
/// pool on this thread alone.
pub(crate) fn share(count: usize, each: &(dyn Fn(usize) + Sync)) {
    match HELPERS.get() {
        _ if count < 2 => (0..count).for_each(each),
        Some(helpers) => {
            // They share one piece of work at a time: what is shared within a call is done there alone, or by the pool.
            let _put_back = PutBack(HELPERS.replace(None));
            // SAFETY: it was put there by `with_helpers`, which is still running on this thread and borrows it.
            unsafe { &*helpers }.share(count, each);
        }
        None if rayon::current_thread_index().is_some() => (0..count).into_par_iter().for_each(each),
        None => (0..count).for_each(each),
    }
}

/// What `each` makes of every item, in their order; shared as [`share`] does.
pub(crate) fn share_map<I: Send, O: Send>(items: Vec<I>, each: impl Fn(I) -> O + Sync) -> Vec<O> {
    let slots: Vec<Mutex<(Option<I>, Option<O>)>> =
        items.into_iter().map(|item| Mutex::new((Some(item), None))).collect();
    share(slots.len(), &|index| {
        let mut slot = slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        slot.1 = slot.0.take().map(&each);
    });
    // Each slot was filled, as a panic in one of them would have come through `share`.
    slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn everything_is_done_once_and_in_its_place() {
        let squares = |count: usize| share_map((0..count).collect(), |number| number * number);
        let expected = |count: usize| (0..count).map(|number| number * number).collect::<Vec<_>>();
        let pool = start_threads(Some(3)).unwrap();
        for count in [0, 1, 2, 100] {
            assert_eq!(squares(count), expected(count));
            assert_eq!(pool.install(|| squares(count)), expected(count));
        }
    }

    /// Counts what it is given.
    struct Counting(AtomicUsize);

    impl Helpers for Counting {
        fn share(&self, count: usize, each: &(dyn Fn(usize) + Sync)) {
            self.0.fetch_add(count, Relaxed);
            (0..count).for_each(each);
        }
    }

    #[test]
    fn helpers_are_asked_while_they_are_there() {
        let helpers = Counting(AtomicUsize::new(0));
        with_helpers(&helpers, || share(5, &|_| ()));
        assert_eq!(helpers.0.load(Relaxed), 5);
        let panics = || with_helpers(&helpers, || panic!("as planned"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        share(7, &|_| ());
        assert_eq!(helpers.0.load(Relaxed), 5, "they are gone");
        let inner = AtomicUsize::new(0);
        let count = |_| {
            inner.fetch_add(1, Relaxed);
        };
        with_helpers(&helpers, || share(2, &|_| share(3, &count)));
        assert_eq!((helpers.0.load(Relaxed), inner.into_inner()), (7, 6), "what is shared within is not asked of them");
    }
}
