//! Calls into libraries whose readers panic on some damaged files.

use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};

/// Runs a reader and makes an error of its panic, without what the panic would print.
///
/// # Errors
/// The first line of the reader's error (a backtrace may follow it), or that the content makes no sense.
pub fn without_panic<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    // Nothing that `read` may have left half done is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    panic::set_hook(hook);
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
}
