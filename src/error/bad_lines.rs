//! All lines of the input that are wrong, reported together.

use std::fmt;

/// Lines of the input that do not follow its format.
#[derive(Debug, Clone, Default)]
pub struct BadLines {
    /// The first bad lines in the order of the input: where, what is wrong, what was expected.
    pub named: Vec<String>,
    /// Number of bad lines.
    pub count: u64,
}

impl BadLines {
    /// Number of bad lines that are named; further ones are only counted.
    pub const NAMED: usize = 20;

    /// The warning that they are left out.
    pub fn left_out(&self) -> String {
        if let ([only], 1) = (&self.named[..], self.count) {
            return format!("left out of the input: {only}");
        }
        format!("{} lines of the input cannot be taken and are left out{}", self.count, self.list())
    }

    fn list(&self) -> String {
        let mut list: String = self.named.iter().map(|line| format!("\n  {line}")).collect();
        match self.count - self.named.len() as u64 {
            0 => {}
            more => list.push_str(&format!("\n  and {more} more")),
        }
        list
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ([only], 1) = (&self.named[..], self.count) {
            return f.write_str(only);
        }
        write!(f, "{} lines of the input cannot be taken; nothing was encoded{}", self.count, self.list())
    }
}
