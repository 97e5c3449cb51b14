//! Commands that are watched while they run, and commands run by a shell: what only Unix has.

use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{Desk, PATIENCE, Ran, program, words};

impl Desk {
    /// Starts a command, all of its streams at hand.
    pub(crate) fn starts(&self, line: &str) -> Running {
        let mut command = self.command();
        command.args(words(line)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().expect("a process"))
    }

    /// As [`Desk::types`], by a shell that does `before` first, such as setting a limit.
    pub(crate) fn types_in_shell(&self, before: &str, line: &str) -> Ran {
        let mut command = assert_cmd::Command::from_std(self.prepared(Path::new("sh")));
        command.arg("-c").arg(format!("{before} exec \"$0\" \"$@\"")).arg(program()).args(words(line));
        Ran(command.timeout(PATIENCE).assert())
    }
}

/// A command that runs; killed when the test is done with it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Waits until it ends.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.ends_within(PATIENCE)
    }

    /// Waits until it ends, which must not take longer than this.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a status") {
                return status;
            }
            assert!(begun.elapsed() < patience, "the command still runs after {patience:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is left to read on standard error.
    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stream = self.0.stderr.take().expect("standard error");
        std::io::Read::read_to_string(&mut stream, &mut text).expect("UTF-8");
        text
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn gets_signal(&self, name: &str) {
        let kill = std::process::Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status();
        assert!(kill.expect("kill").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
