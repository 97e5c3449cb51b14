//! What people are told while a job runs: notes, warnings, progress. All of it on standard error.
#![allow(clippy::print_stderr, reason = "this module is where messages are printed")]

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cli::{Reporting, When};

/// What is said, and how.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    quiet: bool,
    verbose: bool,
    progress: bool,
}

impl Console {
    /// From the command line's wishes.
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
        Self { quiet: reporting.quiet, verbose: reporting.verbose, progress }
    }

    /// Whether progress bars are wanted.
    pub fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Something the user should know, which changes no result.
    pub fn note(&self, message: &str) {
        self.say(AnsiColor::Cyan, "note", message);
    }

    /// Something that changed what is written, such as a truncated text.
    pub fn warn(&self, message: &str) {
        self.say(AnsiColor::Yellow, "warning", message);
    }

    /// What is going on, for those who asked.
    pub fn detail(&self, message: &str) {
        if self.verbose {
            anstream::eprintln!("{message}");
        }
    }

    /// The line at the end.
    pub fn summary(&self, message: &str) {
        if !self.quiet {
            anstream::eprintln!("{message}");
        }
    }

    fn say(&self, color: AnsiColor, label: &str, message: &str) {
        if !self.quiet {
            let style = Style::new().fg_color(Some(color.into())).bold();
            anstream::eprintln!("{style}{label}{style:#}: {message}");
        }
    }

    /// A bar of `tokens` to encode, with speed and remaining time.
    pub fn tokens_bar(&self, tokens: u64) -> ProgressBar {
        self.bar(Some(tokens), "{bar:30} {percent:>3}% {human_pos}/{human_len} tokens, {speed}, {eta} left")
    }

    /// A count of texts read, of which the number is not known yet.
    pub fn texts_spinner(&self) -> ProgressBar {
        self.bar(None, "{spinner} tokenizing: {human_pos} texts, {speed}")
    }

    fn bar(&self, length: Option<u64>, template: &str) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Its own {per_sec} shows four decimals.
        let speed = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.with_key("speed", speed));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// Prints why the program ends. Called by `main` alone.
pub fn print_error(message: &dyn fmt::Display) {
    let style = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    anstream::eprintln!("{style}error{style:#}: {message}");
}
