//! Refuses texts that do not fit a plan, all at once: those that are too long, and those with a span that would have no vector.

use crate::counts::TextCounts;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::spec::Overflow;

/// Texts that are too long, where the plan forbids cuts or leaves a window no room for text, and texts with a span that is cut
/// off or has no token.
pub(crate) struct TextCheck<'a> {
    plan: &'a Plan,
    /// How many texts were looked at.
    texts: u64,
    too_long: Named,
    without_room: Named,
    with_span_cut: Named,
    with_empty_span: Named,
}

/// Rows that a message counts, and names the first few of.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) count: u64,
    pub(crate) examples: Vec<String>,
}

impl Named {
    /// Rows that are named.
    const MOST: usize = 5;

    fn add(&mut self, row: u64, what: impl FnOnce() -> String) {
        self.add_spelled(|| format!("row {row} ({})", what()));
    }

    fn add_spelled(&mut self, row: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < Self::MOST {
            self.examples.push(row());
        }
    }

    /// Takes note of a text that has nothing but special tokens.
    pub(crate) fn add_if_wordless(&mut self, row: u64, text: TextCounts) {
        if text.special_tokens == text.tokens {
            self.add_spelled(|| format!("row {row}"));
        }
    }

    /// The note on texts without any word, if there are such.
    pub(crate) fn note_of_wordless(&self, texts: u64) -> Option<String> {
        let Self { count, examples } = self;
        let further = if *count > examples.len() as u64 { ", …" } else { "" };
        (*count > 0).then(|| {
            format!(
                "{count} of {texts} texts have no word ({}{further}): what they have is special tokens alone, so their vectors are all the same and say nothing of them",
                examples.join(", ")
            )
        })
    }
}

impl<'a> TextCheck<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let [too_long, without_room, with_span_cut, with_empty_span] = [(); 4].map(|()| Named::default());
        Self { plan, texts: 0, too_long, without_room, with_span_cut, with_empty_span }
    }

    /// Looks at the text of a row.
    pub(crate) fn take(&mut self, row: u64, text: TextCounts) {
        self.texts += 1;
        let length = text.tokens_before_truncation();
        if self.plan.overflow == Overflow::Error && length > self.plan.max_length {
            self.too_long.add(row, || format!("{length} tokens"));
        } else if let Some(room) = self.plan.lacks_room(length, &text.longer()) {
            self.without_room.add(row, || format!("{room} tokens"));
        } else if text.span_cut > 0 {
            self.with_span_cut.add(row, || format!("span {}", text.span_cut));
        } else if text.span_without_token > 0 {
            self.with_empty_span.add(row, || format!("span {}", text.span_without_token));
        }
    }

    /// # Errors
    /// [`Error::TooLong`], [`Error::NoRoom`], [`Error::SpanCut`] and [`Error::SpanWithoutToken`] when there was such a text.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { plan: &Plan { max_length, .. }, texts, too_long, without_room, with_span_cut, with_empty_span } =
            self;
        if too_long.count > 0 {
            let Named { count, examples } = too_long;
            return Err(Error::TooLong { count, texts, max_length, examples: examples.join(", ") });
        }
        if without_room.count > 0 {
            let Named { count, examples } = without_room;
            return Err(Error::NoRoom { count, texts, max_length, examples: examples.join(", ") });
        }
        if with_span_cut.count > 0 {
            let Named { count, examples } = with_span_cut;
            return Err(Error::SpanCut { count, texts, max_length, examples: examples.join(", ") });
        }
        if with_empty_span.count > 0 {
            let Named { count, examples } = with_empty_span;
            return Err(Error::SpanWithoutToken { count, texts, examples: examples.join(", ") });
        }
        Ok(())
    }
}
