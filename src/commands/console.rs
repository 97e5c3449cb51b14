//! Messages to the user while a job runs: notes, warnings and progress, all on standard error.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use indicatif::ProgressBar;

use super::args::{Reporting, When};
use super::interrupt::Interrupt;
use super::progress::{Bar, LogLines};
use super::visible::visible;
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress, Unseen, Work};

/// The messages of a command, and how they are shown.
#[derive(Debug, Clone)]
pub struct Console {
    quiet: bool,
    verbose: bool,
    progress: Shown,
    /// The bar that was begun last, beside which messages are printed.
    bar: Arc<Mutex<Option<ProgressBar>>>,
    /// The signals that may end the job, if the command listens to them.
    interrupt: Option<Interrupt>,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Not at all.
    Never,
    /// As a bar, on a terminal.
    AsBar,
    /// As lines, from the beginning on.
    AsLines,
    /// As lines, once the work has lasted some time.
    AsLinesIfLong,
}

impl Console {
    /// A console with the verbosity and colours that the options ask for.
    pub fn new(reporting: &Reporting) -> Self {
        match reporting.color {
            When::Auto => anstream::ColorChoice::Auto,
            When::Always => anstream::ColorChoice::Always,
            When::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let progress = match reporting.progress {
            When::Never => Shown::Never,
            When::Auto if reporting.quiet => Shown::Never,
            When::Auto | When::Always if io::stderr().is_terminal() => Shown::AsBar,
            When::Auto => Shown::AsLinesIfLong,
            When::Always => Shown::AsLines,
        };
        let bar = Arc::default();
        Self { quiet: reporting.quiet, verbose: reporting.verbose, progress, bar, interrupt: None }
    }

    /// The same console for a job that signals may end. The first signal is answered at once with `answer`.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses a handler.
    pub fn interruptible(&self, answer: &'static str) -> Result<Self> {
        let told = self.clone();
        let interrupt = Interrupt::listen(move || told.summary(answer)).map_err(Error::io("listen for", "signals"))?;
        Ok(Self { interrupt: Some(interrupt), ..self.clone() })
    }

    /// Whether details are printed (`-v`).
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Prints a line that belongs to no bar, such as the summary at the end of a command.
    pub fn summary(&self, message: &str) {
        if !self.quiet {
            self.print(format_args!("{}", visible(message)));
        }
    }

    fn say(&self, color: AnsiColor, label: &str, message: &str) {
        if !self.quiet {
            let style = Style::new().fg_color(Some(color.into())).bold();
            self.print(format_args!("{style}{label}{style:#}: {}", visible(message)));
        }
    }

    /// Prints a line above the bar, if there is one.
    fn print(&self, line: fmt::Arguments<'_>) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) if !bar.is_finished() => bar.suspend(|| print(line)),
            _ => print(line),
        }
    }
}

impl Observer for Console {
    fn note(&self, message: &str) {
        self.say(AnsiColor::Cyan, "note", message);
    }

    fn warn(&self, message: &str) {
        self.say(AnsiColor::Yellow, "warning", message);
    }

    fn detail(&self, message: &str) {
        if self.verbose {
            self.print(format_args!("{}", visible(message)));
        }
    }

    fn begin(&self, work: Work) -> Box<dyn Progress> {
        let write = |line: &str| print(format_args!("{line}"));
        match self.progress {
            Shown::Never => Box::new(Unseen),
            Shown::AsLines => Box::new(LogLines::new(work, true, write)),
            Shown::AsLinesIfLong => Box::new(LogLines::new(work, false, write)),
            Shown::AsBar => {
                let bar = Bar::on_terminal(work);
                *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.handle());
                Box::new(bar)
            }
        }
    }

    fn interruption(&self) -> Option<u8> {
        self.interrupt.as_ref().and_then(Interrupt::signal)
    }
}

/// Prints a line on standard error. If nobody can read it, the job continues all the same.
fn print(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    // In one piece, so that no other's line comes between, and a line is there whole or not at all. anstream takes styles out piece
    // by piece; on Windows it may have to translate them.
    let _ = match anstream::AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => io::stderr().write_all(anstream::adapter::strip_str(&line).to_string().as_bytes()),
        _ if cfg!(windows) => anstream::stderr().write_all(line.as_bytes()),
        _ => io::stderr().write_all(line.as_bytes()),
    };
}

/// Prints what clap has to say: help, the version, or what is wrong with the command line.
///
/// # Errors
/// Those of writing.
pub fn print_usage(error: &clap::Error) -> io::Result<()> {
    let plain = error.to_string();
    match visible(&plain) {
        Cow::Owned(shown) if error.use_stderr() => write!(io::stderr(), "{shown}"),
        _ => error.print(),
    }
}

/// Prints the error that ends the program. Called by `main` alone.
pub fn print_error(message: &str) {
    let style = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    print(format_args!("{style}error{style:#}: {}", visible(message)));
}
