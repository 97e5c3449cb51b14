//! The [`Observer`] trait: how a caller watches a job and ends it early.

use std::fmt;

/// Is told what happens during a job, and asked whether to end it. By default every method does nothing.
///
/// The command's implementation prints to standard error and watches for signals.
pub trait Observer: Send + Sync {
    /// Something the user should know that does not change the results.
    fn note(&self, _message: &str) {}

    /// Something that changes the results, such as a text that was cut.
    fn warn(&self, _message: &str) {}

    /// Details of what is being done, for users who ask for them.
    fn detail(&self, _message: &str) {}

    /// Called when work begins. The returned [`Progress`] is told how far the work is, and dropped at its end.
    fn begin(&self, _work: Work) -> Box<dyn Progress> {
        Box::new(Unseen)
    }

    /// Asked repeatedly: the number of the signal that should end the job, or `None` to go on.
    fn interruption(&self) -> Option<u8> {
        None
    }
}

/// Work whose progress can be shown, with its length if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Reading and tokenizing texts, whose number is not known.
    Tokenizing,
    /// Encoding tokens.
    Encoding {
        /// How many there are.
        tokens: u64,
        /// How many of them were encoded before this work began, by an earlier process. They count as done, but say nothing of
        /// the speed.
        done: u64,
    },
    /// Reading this many bytes.
    Reading(u64),
    /// Probing this many layers.
    Probing(u64),
    /// Downloading files, whose sizes [`Progress::expect`] tells.
    Downloading,
}

/// Is told how far some work is, in the units of its [`Work`].
pub trait Progress: Send + Sync {
    /// `by` more units are done.
    fn advance(&self, _by: u64) {}

    /// `by` units have to be done again.
    fn retreat(&self, _by: u64) {}

    /// `position` units are done in total.
    fn reach(&self, _position: u64) {}

    /// There are `more` units to do than was known.
    fn expect(&self, _more: u64) {}

    /// What is being done right now.
    fn say(&self, _message: &str) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// A progress that ignores everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unseen;

impl Progress for Unseen {}

impl fmt::Debug for dyn Observer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an observer")
    }
}
