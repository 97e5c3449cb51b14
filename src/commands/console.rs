//! Messages to the user while a job runs: notes, warnings and progress, all on standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::args::{Reporting, When};
use super::interrupt::Interrupt;
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress, Work};

/// The messages of a command, and how they are shown.
#[derive(Debug, Clone)]
pub struct Console {
    quiet: bool,
    verbose: bool,
    progress: bool,
    /// The signals that may end the job, if the command listens to them.
    interrupt: Option<Interrupt>,
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
            When::Auto => !reporting.quiet && io::stderr().is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        Self { quiet: reporting.quiet, verbose: reporting.verbose, progress, interrupt: None }
    }

    /// The same console for a job that signals may end.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses a handler.
    pub fn interruptible(&self) -> Result<Self> {
        let interrupt = Interrupt::listen().map_err(Error::io("listen for", "signals"))?;
        Ok(Self { interrupt: Some(interrupt), ..self.clone() })
    }

    /// Whether details are printed (`-v`).
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Prints the summary line at the end of a command.
    pub fn summary(&self, message: &str) {
        if !self.quiet {
            print(format_args!("{message}"));
        }
    }

    fn say(&self, color: AnsiColor, label: &str, message: &str) {
        if !self.quiet {
            let style = Style::new().fg_color(Some(color.into())).bold();
            print(format_args!("{style}{label}{style:#}: {message}"));
        }
    }

    fn bar(&self, length: Option<u64>, template: &str) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        // indicatif shows nothing without a terminal, even to users who ask for progress.
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::term_like_with_hz(Box::new(PlainStderr), 10)
        };
        let bar = ProgressBar::with_draw_target(length, target);
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // indicatif's own `{per_sec}` shows four decimals.
        let speed = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.with_key("speed", speed));
        // Draws at once, as the thread that draws from then on may come too late for a short job.
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
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
            print(format_args!("{message}"));
        }
    }

    fn begin(&self, work: Work) -> Box<dyn Progress> {
        const BYTES: &str = "{bar:30} {percent:>3}% {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}";
        const DOWNLOAD: &str =
            "{bar:30} {percent:>3}% {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left, {msg}";
        const TOKENS: &str = "{bar:30} {percent:>3}% {human_pos}/{human_len} tokens, {speed}, {eta} left";
        Box::new(Bar(match work {
            Work::Tokenizing => self.bar(None, "{spinner} tokenizing: {human_pos} texts, {speed}"),
            Work::Encoding(tokens) => self.bar(Some(tokens), TOKENS),
            Work::Reading(bytes) => self.bar(Some(bytes), BYTES),
            Work::Probing(layers) => self.bar(Some(layers), "{bar:30} {pos}/{len} layers, {elapsed}"),
            Work::Downloading => self.bar(Some(0), DOWNLOAD),
        }))
    }

    fn interruption(&self) -> Option<u8> {
        self.interrupt.as_ref().and_then(Interrupt::signal)
    }
}

/// A bar that vanishes at the end of the work.
struct Bar(ProgressBar);

impl Progress for Bar {
    fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    fn retreat(&self, by: u64) {
        self.0.dec(by);
    }

    fn reach(&self, position: u64) {
        self.0.set_position(position);
    }

    fn expect(&self, more: u64) {
        self.0.inc_length(more);
    }

    fn say(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Prints a line on standard error. If nobody can read it, the job continues all the same.
fn print(line: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints the error that ends the program. Called by `main` alone.
pub fn print_error(message: &dyn fmt::Display) {
    let style = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    print(format_args!("{style}error{style:#}: {message}"));
}

/// Standard error without a terminal, on which a line is redrawn after a carriage return.
#[derive(Debug)]
struct PlainStderr;

impl TermLike for PlainStderr {
    fn width(&self) -> u16 {
        100
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{line}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        write!(io::stderr(), "{text}")
    }

    fn clear_line(&self) -> io::Result<()> {
        write!(io::stderr(), "\r")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}
