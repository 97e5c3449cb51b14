//! All lines of the input that are wrong, reported together.

use std::fmt;

/// Lines of the input that do not follow its format.
#[derive(Debug, Default)]
pub struct BadLines {
    /// The first bad lines in the order of the input: where, what is wrong, what was expected.
    pub named: Vec<String>,
    /// Number of bad lines.
    pub count: u64,
}

impl BadLines {
    /// Number of bad lines that are named; further ones are only counted.
    pub const NAMED: usize = 20;
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ([only], 1) = (&self.named[..], self.count) {
            return f.write_str(only);
        }
        write!(f, "{} lines of the input cannot be taken; nothing was encoded", self.count)?;
        self.named.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        match self.count - self.named.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
