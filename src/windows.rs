//! Windows over a text that is longer than the model's limit: which tokens each window holds, and which tokens take
//! their vectors from it.
//!
//! Windows are cut out of the text, or out of the longer text of a pair. Each window is surrounded by the same special
//! tokens and the whole shorter text. All windows are equally long. Each begins a fixed step after the one before it,
//! except the last, which begins earlier so that it is full, too.
//!
//! A token takes its vector from the window that shows most of its context: the one whose nearer edge is farthest from
//! the token. The beginning and the end of the text itself do not count as edges. Of two equally good windows, the
//! earlier one is taken. Tokens around the windows take their vectors from the first window if they stand before it,
//! and from the last if they stand after it.

use std::ops::Range;

/// How texts beyond the limit are cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windowing {
    /// Tokens of a window, including those around it.
    pub max_length: usize,
    /// Number of tokens that a window shares with the next one; `None` for half of those that it has room for.
    pub stride: Option<usize>,
}

/// A window, as ranges of the text's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The tokens of the longer text that it holds.
    pub holds: Range<usize>,
    /// The tokens of the whole text that take their vectors from it.
    pub gives: Range<usize>,
}

/// The windows of a text, in order. A text within the limit has one window that holds all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Number of tokens of the text.
    length: usize,
    /// The tokens that are cut into windows.
    longer: Range<usize>,
    /// Number of tokens of `longer` in a window.
    room: usize,
    /// Number of tokens from the beginning of a window to that of the next.
    step: usize,
    count: usize,
}

impl Windowing {
    /// Number of tokens of the longer text that fit into a window, beside `around` other tokens.
    pub fn room(self, around: usize) -> usize {
        self.max_length.saturating_sub(around)
    }

    /// Number of tokens from the beginning of a window with this room to that of the next; `None` if the stride leaves
    /// none.
    pub fn step(self, room: usize) -> Option<usize> {
        room.checked_sub(self.stride.unwrap_or(room / 2)).filter(|&step| step > 0)
    }

    /// For a text of `length` tokens that is too long and cannot be cut into windows: the number of tokens of `longer`
    /// that a window would have room for. `None` for any other text.
    pub fn lacks_room(self, length: usize, longer: &Range<usize>) -> Option<usize> {
        let room = self.room(length - longer.len());
        (length > self.max_length && self.step(room).is_none()).then_some(room)
    }

    /// The windows of a text that [`Windowing::lacks_room`] does not refuse.
    pub fn windows(self, length: usize, longer: Range<usize>) -> Windows {
        if length <= self.max_length {
            return Windows::whole(length, longer);
        }
        let room = self.room(length - longer.len());
        let step = self.step(room).unwrap_or(1);
        let count = 1 + longer.len().saturating_sub(room).div_ceil(step);
        Windows { length, longer, room, step, count }
    }
}

impl Windows {
    /// The windows of a text that [`Windowing::lacks_room`] does not refuse; one window without `windowing`.
    pub fn of(length: usize, longer: Range<usize>, windowing: Option<Windowing>) -> Self {
        match windowing {
            Some(windowing) => windowing.windows(length, longer),
            None => Self::whole(length, longer),
        }
    }

    /// The text itself as the only window.
    pub fn whole(length: usize, longer: Range<usize>) -> Self {
        Self { length, room: longer.len(), longer, step: 1, count: 1 }
    }

    /// Number of windows.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Number of tokens of all windows together, including those around them.
    pub fn tokens(&self) -> usize {
        self.count * (self.length - self.longer.len() + self.room)
    }

    /// The tokens before and after the longer text.
    pub fn around(&self) -> [Range<usize>; 2] {
        [0..self.longer.start, self.longer.end..self.length]
    }

    /// The `index`-th window.
    pub fn get(&self, index: usize) -> Window {
        let last = index + 1 == self.count;
        let start = self.start(index);
        Window {
            holds: start..start + self.room,
            gives: if index == 0 { 0 } else { self.first_of(index) }..if last {
                self.length
            } else {
                self.first_of(index + 1)
            },
        }
    }

    /// Where the `index`-th window begins in the text.
    fn start(&self, index: usize) -> usize {
        (self.longer.start + index * self.step).min(self.longer.end - self.room)
    }

    /// The first token that has more context in the `index`-th window than in the one before: the first one farther
    /// from its left edge than from the right edge of the window before. As windows are equally long, no other edge is
    /// nearer.
    fn first_of(&self, index: usize) -> usize {
        let end_of_last = self.start(index - 1) + self.room;
        (end_of_last + self.start(index)).div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The token's distance from the nearer edge of a window that cuts the text; `None` for a token that the window
    /// does not hold.
    fn context(longer: &Range<usize>, window: &Window, token: usize) -> Option<usize> {
        let Range { start, end } = window.holds;
        let left = if start == longer.start { usize::MAX } else { token.checked_sub(start)? };
        let right = if end == longer.end { usize::MAX } else { (end - 1).checked_sub(token)? };
        Some(left.min(right))
    }

    #[test]
    fn windows_overlap_by_the_stride_and_the_last_is_full() {
        let windowing = Windowing { max_length: 6, stride: Some(2) };
        let windows = windowing.windows(11, 1..10);
        let windows: Vec<Window> = (0..windows.len()).map(|index| windows.get(index)).collect();
        let window = |holds, gives| Window { holds, gives };
        assert_eq!(windows, [window(1..5, 0..4), window(3..7, 4..6), window(5..9, 6..8), window(6..10, 8..11)]);
    }

    #[test]
    fn a_text_that_fits_is_its_own_window() {
        for length in [0, 1, 4] {
            let windows = Windowing { max_length: 6, stride: None }.windows(length + 2, 1..length + 1);
            assert_eq!((windows.len(), windows.tokens()), (1, length + 2));
            assert_eq!(windows.get(0), Window { holds: 1..length + 1, gives: 0..length + 2 });
        }
        assert_eq!(Windowing { max_length: 6, stride: None }.windows(7, 1..6).len(), 2);
    }

    #[test]
    fn a_stride_that_leaves_no_step_is_told() {
        let lacks_room = |stride, length, longer| Windowing { max_length: 6, stride }.lacks_room(length, &longer);
        assert_eq!(lacks_room(Some(3), 12, 1..11), None);
        assert_eq!(lacks_room(Some(4), 12, 1..11), Some(4));
        assert_eq!(lacks_room(Some(4), 6, 1..5), None, "it needs no window");
        assert_eq!(lacks_room(None, 15, 4..14), None, "room for one token");
        assert_eq!(lacks_room(None, 17, 6..16), Some(0), "no room at all");
    }

    proptest! {
        #[test]
        fn every_token_is_taken_from_where_it_has_most_context(
            before in 0usize..4,
            length in 1usize..80,
            after in 0usize..4,
            room in 1usize..20,
            stride in proptest::option::of(0usize..20),
        ) {
            let longer = before..before + length;
            let windowing = Windowing { max_length: before + room + after, stride: stride.map(|stride| stride % room) };
            let windows = windowing.windows(before + length + after, longer.clone());
            let all: Vec<Window> = (0..windows.len()).map(|index| windows.get(index)).collect();

            let mut next = 0;
            for (index, window) in all.iter().enumerate() {
                prop_assert_eq!(window.gives.start, next, "each token once, in order");
                prop_assert!(window.gives.end > next);
                next = window.gives.end;
                prop_assert_eq!(window.holds.len(), room.min(length), "every window is full");
                let begins = if index == 0 { before..before + 1 } else { all[index - 1].holds.start + 1..all[index - 1].holds.end + 1 };
                prop_assert!(begins.contains(&window.holds.start), "no gap");
                if index > 0 && index + 1 < all.len() {
                    let shared = all[index - 1].holds.end - window.holds.start;
                    prop_assert_eq!(shared, windowing.stride.unwrap_or(room / 2));
                }
                for token in window.gives.clone().filter(|token| longer.contains(token)) {
                    let contexts: Vec<_> = all.iter().map(|window| context(&longer, window, token)).collect();
                    let most = contexts.iter().max().expect("a window");
                    prop_assert_eq!(contexts.iter().position(|context| context == most), Some(index), "token {}", token);
                }
            }
            prop_assert_eq!(next, before + length + after);
            let last = &all[all.len() - 1];
            prop_assert_eq!(last.holds.end, longer.end);
            prop_assert_eq!(windows.tokens(), all.iter().map(|window| before + window.holds.len() + after).sum::<usize>());
        }
    }
}
