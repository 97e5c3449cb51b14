//! What is wrong with a directory, and where.

use std::fmt;

use serde::Serialize;

/// One thing that is not as the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file; for a tensor of several, `mean.safetensors [layer_00]`.
    pub place: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// What is wrong with one place. Beyond a number of problems they are only counted, so that memory stays bounded.
#[derive(Debug)]
pub(crate) struct Findings {
    place: String,
    damages: Vec<Damage>,
    more: u64,
}

/// Problems of one place that are told one by one.
const TOLD: usize = 50;

impl Findings {
    pub(crate) fn new(place: impl Into<String>) -> Self {
        Self { place: place.into(), damages: Vec::new(), more: 0 }
    }

    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        self.add_at(self.place.clone(), problem);
    }

    /// For what is found on the way at another place.
    pub(crate) fn add_at(&mut self, place: String, problem: impl Into<String>) {
        if self.damages.len() == TOLD {
            self.more += 1;
            return;
        }
        // A damage is a line.
        let problem: String = problem.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.damages.push(Damage { place, problem });
    }

    pub(crate) fn len(&self) -> u64 {
        self.damages.len() as u64 + self.more
    }

    pub(crate) fn into_damages(mut self) -> Vec<Damage> {
        if self.more > 0 {
            self.damages.push(Damage { place: self.place, problem: format!("and {} problems more", self.more) });
        }
        self.damages
    }
}
