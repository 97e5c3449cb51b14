//! What tasks take: groups of whole texts through a layer, or some rows through a step.

use std::ops::Range;

/// Groups for each thread that make it worth while to give each task a group: fewer would end too unevenly.
pub(super) const GROUPS_PER_THREAD: usize = 4;

/// Tokens of a group at most, unless a text alone has more, and rows that pass a weight together.
///
/// With 144 instead of 48 BERT-base's jobs take 4 to 8 % less time on Zen 3 (AVX2, 512 KiB of second-level cache), MiniLM's 0 to
/// 9 %; 96 to 240 are alike.
const MOST_TOKENS: usize = 144;

/// Tokens that a group is never cut short of for the sake of an even end: with fewer, each thread would read all weights for
/// little work.
const FEWEST_TOKENS: usize = 48;

/// Texts that follow each other in a batch.
pub(super) struct TextGroup<'a> {
    /// Those of the batch that belong to these texts, (texts + 1).
    cu_seqlens: &'a [usize],
}

impl TextGroup<'_> {
    /// Its tokens in the batch.
    pub(super) fn tokens(&self) -> Range<usize> {
        self.cu_seqlens[0]..self.cu_seqlens[self.cu_seqlens.len() - 1]
    }

    /// Each text's tokens, counted from the group's first one.
    pub(super) fn texts(&self) -> impl Iterator<Item = Range<usize>> {
        self.cu_seqlens.windows(2).map(|ends| ends[0] - self.cu_seqlens[0]..ends[1] - self.cu_seqlens[0])
    }
}

/// Groups of at most [`MOST_TOKENS`] tokens; a longer text is a group by itself. Where several threads take many of them, the last
/// ones are smaller, so that all threads end at about the same time; of few tokens each thread gets an equal part.
pub(super) fn groups(cu_seqlens: &[usize], threads: usize) -> Vec<TextGroup<'_>> {
    let end = cu_seqlens[cu_seqlens.len() - 1];
    let tokens = end - cu_seqlens[0];
    let are_many = tokens >= threads * GROUPS_PER_THREAD * MOST_TOKENS;
    let rounds = tokens.div_ceil(threads * MOST_TOKENS).max(1);
    let limit = |first: usize| match threads {
        1 => MOST_TOKENS,
        _ if are_many => ((end - first) / (threads * GROUPS_PER_THREAD)).clamp(FEWEST_TOKENS, MOST_TOKENS),
        _ => tokens.div_ceil(threads * rounds).clamp(FEWEST_TOKENS, MOST_TOKENS),
    };
    let mut groups = Vec::new();
    let (mut first, mut most) = (0, limit(cu_seqlens[0]));
    for last in 1..cu_seqlens.len() {
        let full = last + 1 == cu_seqlens.len() || cu_seqlens[last + 1] - cu_seqlens[first] > most;
        if full {
            groups.push(TextGroup { cu_seqlens: &cu_seqlens[first..=last] });
            (first, most) = (last, limit(cu_seqlens[last]));
        }
    }
    groups
}

/// Whether all threads have about the same to do when each takes groups from the largest on: at most a fifth of their time is
/// waited for the last one. Then a group in a task is better than a step in a task, in which threads meet several times.
pub(super) fn are_even(groups: &[TextGroup<'_>], threads: usize) -> bool {
    let mut sizes: Vec<usize> = groups.iter().map(|group| group.tokens().len()).collect();
    sizes.sort_unstable_by_key(|&size| std::cmp::Reverse(size));
    let mut loads = vec![0; threads];
    for size in &sizes {
        if let Some(least) = loads.iter_mut().min() {
            *least += size;
        }
    }
    let most = loads.into_iter().max().unwrap_or(0);
    5 * sizes.iter().sum::<usize>() >= 4 * threads * most
}

/// Whether groups that go through layer after layer keep all threads busy: no group takes much longer than a thread's share of them
/// all, as the layers of a group are one after another.
pub(super) fn are_many_enough(groups: &[TextGroup<'_>], threads: usize) -> bool {
    let sizes = || groups.iter().map(|group| group.tokens().len());
    4 * threads * sizes().max().unwrap_or(0) <= 5 * sizes().sum::<usize>()
}

/// How many of a group's rows pass a weight together: all, or equal parts, of whole micro-tiles of 4, 6 or 8 rows.
pub(super) fn rows_at_once(rows: usize) -> usize {
    let rows = rows.max(1);
    rows.div_ceil(rows.div_ceil(MOST_TOKENS)).next_multiple_of(24)
}

/// Rows of a task at most: enough that a panel is used often once it is in cache, few enough that there are tasks for all
/// threads; and whole micro-tiles of 4, 6 or 8 rows.
const MOST_ROWS: usize = 48;

/// Rows of a task at least, where there are several. With fewer each thread would read all weights for little work;
/// then the threads share the columns instead.
const FEWEST_ROWS: usize = 32;

/// How many rows a task takes of `rows`; `None` when they are too few and the columns should be split.
pub(super) fn rows_per_task(rows: usize) -> Option<usize> {
    let threads = rayon::current_num_threads();
    (threads == 1 || rows >= threads * FEWEST_ROWS).then(|| {
        // As many tasks for each thread, as equal as can be.
        let tasks = rows.max(1).div_ceil(MOST_ROWS).next_multiple_of(threads);
        rows.div_ceil(tasks).next_multiple_of(4).clamp(1, MOST_ROWS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tokens_are_shared_out_evenly() {
        let ends = |lengths: &[usize]| {
            let mut cu_seqlens = vec![0];
            lengths.iter().for_each(|length| cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + length));
            cu_seqlens
        };
        for (lengths, threads, count, even, many_enough) in [
            (vec![128, 128], 2, 2, true, true),
            (vec![20; 14], 2, 2, true, true),
            (vec![100; 4], 2, 4, true, true),
            (vec![128, 128, 128], 2, 3, false, true),
            (vec![500, 20], 2, 2, false, false),
            (vec![30], 2, 1, false, false),
            (vec![30], 1, 1, true, true),
            (vec![10; 8], 4, 2, false, false),
        ] {
            let cu_seqlens = ends(&lengths);
            let groups = groups(&cu_seqlens, threads);
            let shares = (are_even(&groups, threads), are_many_enough(&groups, threads));
            assert_eq!((groups.len(), shares), (count, (even, many_enough)), "{lengths:?}");
        }
    }

    #[test]
    fn groups_are_all_texts_once_and_smaller_towards_the_end() {
        let lengths = [10, 144, 1, 143, 1, 500, 20, 20, 20, 20, 20, 20, 20, 20, 20];
        let mut cu_seqlens = vec![0];
        for length in lengths.iter().cycle().take(100) {
            cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + length);
        }
        let groups = groups(&cu_seqlens, 2);
        let mut next = 0;
        for group in &groups {
            assert_eq!(group.tokens().start, next);
            next = group.tokens().end;
            assert!(group.tokens().len() <= MOST_TOKENS || group.texts().count() == 1);
        }
        assert_eq!(next, cu_seqlens[cu_seqlens.len() - 1]);
        assert!(groups.last().is_some_and(|group| group.tokens().len() <= FEWEST_TOKENS));
    }
}
