//! Ctrl-C and requests to terminate, which a loop can ask for between two batches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Remembers the first signal; a second one ends the process at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Starts to listen for signals. `answer` is called as soon as the first one arrives, on a thread of its own: the loop may
    /// be amid work of seconds, and whoever pressed Ctrl-C is to know at once that it was heard.
    ///
    /// # Errors
    /// The system's error when it refuses a handler.
    pub(super) fn listen(answer: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let interrupt = Self::default();
        let armed = Arc::new(AtomicBool::new(false));
        let caught = caught();
        for &signal in &caught {
            // The order matters: the first signal finds the shutdown unarmed and arms it; the second one exits.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&armed))?;
            flag::register(signal, Arc::clone(&armed))?;
        }
        interrupt.answer(&caught, answer)?;
        // Exceeding the file size limit then makes a write fail, which is reported, instead of ending the process.
        #[cfg(unix)]
        flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        Ok(interrupt)
    }

    /// Waits for the first signal, answers, and then remembers it, so that the answer comes before what the job says at its end.
    #[cfg(unix)]
    fn answer(&self, caught: &[i32], answer: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut signals = signal_hook::iterator::Signals::new(caught)?;
        let arrived = Arc::clone(&self.signal);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                answer();
                arrived.store(signal as usize, Ordering::Relaxed);
            }
        })?;
        Ok(())
    }

    /// Remembers the first signal. There is no thread that could wait for it.
    #[cfg(not(unix))]
    fn answer(&self, caught: &[i32], _answer: impl FnOnce() + Send + 'static) -> io::Result<()> {
        for &signal in caught {
            flag::register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
        }
        Ok(())
    }

    /// The number of the signal that arrived, if one did.
    pub(super) fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

/// The signals that end a job in order: Ctrl-C, a request to terminate, and a terminal that went away, unless `nohup` or
/// the like has the process outlive it.
#[cfg(unix)]
fn caught() -> Vec<i32> {
    let mut caught = vec![SIGINT, SIGTERM];
    if !is_ignored(libc::SIGHUP) {
        caught.push(libc::SIGHUP);
    }
    caught
}

#[cfg(not(unix))]
fn caught() -> Vec<i32> {
    vec![SIGINT, SIGTERM]
}

/// Whether the process was started with this signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call changes nothing and writes the present one to the place it is given. That place is a
    // `sigaction` in which all zeros, which it holds if the call fails, are a valid value.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
