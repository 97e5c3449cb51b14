//! What a caller may watch of a job while it runs, and how it may end one.

use std::fmt;

/// Told what happens during a job, and asked whether it is to go on. Every method has a default that does nothing.
///
/// The command line's implementation prints to standard error and listens to signals.
pub trait Observer: Send + Sync {
    /// Something the user should know, which changes no result.
    fn note(&self, _message: &str) {}

    /// Something that changed what is computed, such as a text that was cut.
    fn warn(&self, _message: &str) {}

    /// What is going on, for those who ask.
    fn detail(&self, _message: &str) {}

    /// Work of this kind begins; what is returned is told how far it is, and dropped at its end.
    fn begin(&self, _work: Work) -> Box<dyn Progress> {
        Box::new(Unseen)
    }

    /// Asked again and again: the number of the signal that came, if the job is to end.
    fn interruption(&self) -> Option<u8> {
        None
    }
}

/// Work whose progress can be shown, with its length where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Work {
    /// Texts are read and tokenized; how many there are is not known.
    Tokenizing,
    /// So many tokens are encoded.
    Encoding(u64),
    /// So many bytes are read.
    Reading(u64),
    /// So many layers are probed.
    Probing(u64),
    /// Files are downloaded; [`Progress::expect`] says of how many bytes.
    Downloading,
}

/// How far some work is.
pub trait Progress: Send + Sync {
    /// So much more is done.
    fn advance(&self, _by: u64) {}

    /// So much is to be done again.
    fn retreat(&self, _by: u64) {}

    /// So much is done in all.
    fn reach(&self, _position: u64) {}

    /// There is so much more to do.
    fn expect(&self, _more: u64) {}

    /// What is being done right now.
    fn say(&self, _message: &str) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// Progress that nobody sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unseen;

impl Progress for Unseen {}

impl fmt::Debug for dyn Observer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an observer")
    }
}
