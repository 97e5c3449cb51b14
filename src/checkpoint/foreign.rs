//! Calls into libraries whose readers panic on some damaged files.

use std::cell::Cell;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in a reader whose panics become errors and must not be printed.
    static IS_READING: Cell<bool> = const { Cell::new(false) };
}

/// Installs a panic hook that prints nothing for readers. The hook belongs to the whole process, so it is installed
/// once and checks each thread; panics of other threads are printed as before.
fn quiet_readers() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_READING.get() {
                before(panic);
            }
        }));
    });
}

/// Runs a reader and turns its panic into an error, without printing the panic.
///
/// # Errors
/// The first line of the reader's error, as a backtrace may follow it; or, after a panic, that the content makes no
/// sense.
pub fn without_panic<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    quiet_readers();
    let outer = IS_READING.replace(true);
    // Nothing that `read` may have left half done is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    IS_READING.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        Err(_) => Err("its content makes no sense".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_errors_become_messages() {
        assert_eq!(without_panic(|| Ok::<_, String>(7)), Ok(7));
        assert_eq!(without_panic(|| Err::<(), _>("one\ntwo")), Err("one".to_owned()));
        let empty: Vec<u8> = Vec::new();
        assert_eq!(without_panic(|| Ok::<_, String>(empty[0])), Err("its content makes no sense".to_owned()));
    }

    #[test]
    fn what_panics_beside_readers_is_still_printed() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        let printed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&printed);
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // Other tests may panic meanwhile, on purpose or not.
            if panic.payload_as_str().is_some_and(|message| message.starts_with("of this test")) {
                count.fetch_add(1, Ordering::Relaxed);
            } else {
                before(panic);
            }
        }));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let read = without_panic(|| -> Result<(), String> { panic!("of this test: reader {round}") });
                        assert!(read.is_err());
                        if thread == 0 {
                            assert!(panic::catch_unwind(|| panic!("of this test, beside readers")).is_err());
                        }
                    }
                });
            }
        });
        assert!(printed.load(Ordering::Relaxed) >= 50, "the panics beside readers are printed");
    }
}
