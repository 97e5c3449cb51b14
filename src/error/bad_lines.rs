//! All that is wrong with the input, said at once.

use std::fmt;

/// Lines of the input that are not what its format promises.
#[derive(Debug, Default)]
pub struct BadLines {
    /// The first of them, in the order of the input: where, what is wrong, what was expected.
    pub named: Vec<String>,
    /// How many there are.
    pub count: u64,
}

impl BadLines {
    /// How many bad lines are named; the others are counted.
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
