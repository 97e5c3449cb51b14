//! Reports of what is wrong with a directory, and where.

use std::fmt;
use std::io;

use serde::Serialize;

/// One difference from what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file; or the tensor in it, as in `mean.safetensors [layer_00]`.
    pub place: String,
    /// What is wrong, and what was expected.
    pub problem: String,
    /// Whether the system did not let us read what is there, so that nothing is known of it.
    #[serde(skip)]
    pub unread: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// The problems found at one place. Beyond [`TOLD`] problems they are only counted, so that memory stays bounded.
#[derive(Debug)]
pub(crate) struct Findings {
    place: String,
    damages: Vec<Damage>,
    more: u64,
}

/// Number of problems of one place that are reported one by one.
const TOLD: usize = 50;

impl Findings {
    pub(crate) fn new(place: impl Into<String>) -> Self {
        Self { place: place.into(), damages: Vec::new(), more: 0 }
    }

    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        self.add_at(self.place.clone(), problem);
    }

    /// Adds that the system did not let us read.
    pub(crate) fn add_unread(&mut self, error: &io::Error) {
        let before = self.damages.len();
        self.add(format!("cannot be read: {error}"));
        self.damages.iter_mut().skip(before).for_each(|damage| damage.unread = true);
    }

    /// Adds a problem found at another place.
    pub(crate) fn add_at(&mut self, place: String, problem: impl Into<String>) {
        if self.damages.len() == TOLD {
            self.more += 1;
            return;
        }
        // A damage is reported on one line.
        let problem: String = problem.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.damages.push(Damage { place, problem, unread: false });
    }

    pub(crate) fn len(&self) -> u64 {
        self.damages.len() as u64 + self.more
    }

    pub(crate) fn into_damages(mut self) -> Vec<Damage> {
        if self.more > 0 {
            let problem = format!("and {} problems more", self.more);
            self.damages.push(Damage { place: self.place, problem, unread: false });
        }
        self.damages
    }
}
