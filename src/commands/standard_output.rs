//! Standard output, where results go.

use std::io::{self, Stdout, Write};

use super::visible::visible;
use crate::error::{Error, Result};

/// Whether the process was started without a standard output. Rust's runtime puts `/dev/null` there before `main`, and what is
/// written would be lost without a word; so this is found out before that.
#[cfg(unix)]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_CLOSED: AtomicBool = AtomicBool::new(false);

    ctor::declarative::ctor! {
        #[ctor]
        // SAFETY: the one system call in it asks for the flags of a descriptor, and works before anything else does.
        unsafe fn look() {
            IS_CLOSED.store(rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err(), Ordering::Relaxed);
        }
    }

    pub(super) fn is_closed() -> bool {
        IS_CLOSED.load(Ordering::Relaxed)
    }
}

/// Standard output.
///
/// # Errors
/// [`Error::Usage`] when the process was started without one.
pub(super) fn standard_output() -> Result<Stdout> {
    #[cfg(unix)]
    if at_start::is_closed() {
        return Err(Error::Usage(
            "standard output is closed, and the results would go there; send it somewhere, as in `> results`, or write a directory with -o"
                .to_owned(),
        ));
    }
    Ok(io::stdout())
}

/// How many columns the terminal has that standard output goes to; none where it goes elsewhere.
pub(super) fn columns_of_terminal() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Prints a text for people, with what a terminal would obey spelled out.
///
/// # Errors
/// Those of [`standard_output`], and [`Error::ClosedPipe`] or [`Error::Io`] when it cannot be written.
pub(super) fn print(text: &str) -> Result<()> {
    print_data(visible(text).as_bytes())
}

/// Prints data as it is.
///
/// # Errors
/// Those of [`print`].
pub(super) fn print_data(data: &[u8]) -> Result<()> {
    let mut out = standard_output()?;
    out.write_all(data).and_then(|()| out.flush()).map_err(Error::stdout)
}
