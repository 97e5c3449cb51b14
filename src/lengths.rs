//! Refuses texts that are too long, all at once.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::spec::Overflow;

/// Texts that are too long, where the plan forbids cuts or leaves a window no room for text.
pub(crate) struct LengthCheck<'a> {
    plan: &'a Plan,
    /// How many texts were looked at.
    texts: u64,
    too_long: Named,
    without_room: Named,
}

/// Rows that a message counts, and names the first few of.
#[derive(Default)]
struct Named {
    count: u64,
    examples: Vec<String>,
}

impl Named {
    /// Rows that are named.
    const MOST: usize = 5;

    fn add(&mut self, row: u64, tokens: usize) {
        self.count += 1;
        if self.examples.len() < Self::MOST {
            self.examples.push(format!("row {row} ({tokens} tokens)"));
        }
    }
}

impl<'a> LengthCheck<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self { plan, texts: 0, too_long: Named::default(), without_room: Named::default() }
    }

    /// Looks at the text of a row: its tokens before it is cut, and those of them that windows would cut
    /// ([`Tokens::longer`](crate::batch::Tokens::longer)).
    pub(crate) fn take(&mut self, row: u64, length: usize, longer: &Range<usize>) {
        self.texts += 1;
        if self.plan.overflow == Overflow::Error && length > self.plan.max_length {
            self.too_long.add(row, length);
        } else if let Some(room) = self.plan.lacks_room(length, longer) {
            self.without_room.add(row, room);
        }
    }

    /// # Errors
    /// [`Error::TooLong`] and [`Error::NoRoom`] when there was such a text.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { plan: &Plan { max_length, .. }, texts, too_long, without_room } = self;
        if too_long.count > 0 {
            let Named { count, examples } = too_long;
            return Err(Error::TooLong { count, texts, max_length, examples: examples.join(", ") });
        }
        if without_room.count > 0 {
            let Named { count, examples } = without_room;
            return Err(Error::NoRoom { count, texts, max_length, examples: examples.join(", ") });
        }
        Ok(())
    }
}
