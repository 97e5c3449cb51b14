//! Distances between tokens in the scores of attention: a number for each distance (MPNet), or products with embeddings of
//! distances (DeBERTa).

use std::ops::Range;

use super::dispatch::Dispatch;
use super::instruction_set::InstructionSet;
use super::output_tile::Strides;
use super::packed_matrix::{PANEL_WIDTH, PanelRow, pack_transposed};
use super::product::{Product, StridedRows};

/// What each head adds to the scores of attention for each distance, key - query, as in T5 (Raffel et al. 2020).
pub struct DistanceBias {
    /// For each head the numbers of the distances -reach to reach, (2 · reach + 1). Those farther away are as the last ones.
    heads: Vec<Vec<f32>>,
    reach: usize,
}

impl DistanceBias {
    /// `bias(head, distance)`, a number for distances from -reach to reach, is added to the scores, which are products of
    /// queries and keys divided by √head_dim.
    pub fn new(heads: usize, head_dim: usize, reach: usize, bias: impl Fn(usize, i64) -> f32) -> Self {
        // In the units of the products, before they are scaled.
        let unit = (head_dim as f64).sqrt();
        let reach_i64 = reach as i64;
        let of_head = |head: usize| {
            (-reach_i64..=reach_i64).map(|distance| (f64::from(bias(head, distance)) * unit) as f32).collect()
        };
        Self { heads: (0..heads).map(of_head).collect(), reach }
    }

    /// The number that a head adds to a score, for key - query, in the units of products of queries and keys.
    pub fn of(&self, head: usize, distance: i64) -> f32 {
        let reach = self.reach as i64;
        self.heads[head][(distance.clamp(-reach, reach) + reach) as usize]
    }

    /// Adds to the scores of one query of a text, whose key i is token `first` + i.
    pub(super) fn add_to(&self, head: usize, query: usize, first: usize, scores: &mut [f32]) {
        let numbers = &self.heads[head];
        let last = numbers.len() - 1;
        // The keys at distances below -reach, from -reach to reach, and above it.
        let near = (query.saturating_sub(self.reach).max(first) - first).min(scores.len());
        let far = ((query + self.reach + 1).max(first) - first).min(scores.len());
        for score in &mut scores[..near] {
            *score += numbers[0];
        }
        let skipped = (first + near + self.reach).saturating_sub(query);
        for (score, number) in scores[near..far].iter_mut().zip(&numbers[skipped.min(last)..]) {
            *score += number;
        }
        for score in &mut scores[far..] {
            *score += numbers[last];
        }
    }
}

/// The bucket of MPNet, as in T5, for a distance key - query: 32 buckets, half of them for each direction; the first eight of
/// them are distances, the others grow with their logarithm up to 128.
pub fn mpnet_bucket(distance: i64) -> usize {
    let half = if distance > 0 { 16 } else { 0 };
    let distance = distance.unsigned_abs();
    let bucket = match distance {
        0..8 => distance as usize,
        // PyTorch computes it in float32; what is added keeps exact powers from falling below themselves.
        _ => 8 + (libm::log(distance as f64 / 8.0) / libm::log(16.0) * 8.0 + 1e-12) as usize,
    };
    half + bucket.min(15)
}

/// The embedding of each distance query - key of disentangled attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DistanceBuckets {
    /// Buckets to each side; 0 for one for each distance.
    pub buckets: usize,
    /// The largest distance.
    pub max_distance: usize,
}

impl DistanceBuckets {
    /// Embeddings to each side.
    pub fn span(self) -> usize {
        if self.buckets > 0 { self.buckets } else { self.max_distance }
    }

    /// The row of the embeddings of a distance, query - key: 0 to 2 · span - 1.
    pub fn index(self, distance: i64) -> usize {
        let span = self.span() as i64;
        (self.bucket(distance) + span).clamp(0, 2 * span - 1) as usize
    }

    /// DeBERTa's `make_log_bucket_position`: small distances are themselves, larger ones grow with their logarithm.
    fn bucket(self, distance: i64) -> i64 {
        let middle = (self.buckets / 2) as i64;
        let size = distance.abs();
        if self.buckets == 0 || size <= middle {
            return distance;
        }
        let ratio = libm::log(size as f64 / middle as f64)
            / libm::log((self.max_distance as f64 - 1.0) / middle as f64)
            * (middle - 1) as f64;
        // PyTorch computes it in float32; what is taken off keeps whole numbers from rising above themselves.
        let bucket = libm::ceil(ratio - 1e-12) as i64 + middle;
        bucket * distance.signum()
    }
}

/// The embeddings of distances as keys and queries of each head, packed.
pub(super) struct Disentangled {
    buckets: DistanceBuckets,
    /// For each head (panels of 16 distances, head_dim filled up, 16).
    keys: Option<Vec<Vec<PanelRow<f32>>>>,
    queries: Option<Vec<Vec<PanelRow<f32>>>>,
    /// head_dim filled up to whole panels.
    inner: usize,
}

/// Memory for the products of a text and a head.
#[derive(Default)]
pub(super) struct DisentangledScratch {
    /// The row of each distance, counted from the first one that the text needs: of distance d at d + length - 1.
    index: Vec<u32>,
    /// Distances that the text needs, in whole panels of embeddings.
    panels: Range<usize>,
    /// Keys with queries of distances, (tokens, distances).
    position_to_content: Vec<f32>,
    /// Queries with keys of distances, (queries at once, distances).
    content_to_position: Vec<f32>,
    /// (tokens, head_dim filled up)
    key_rows: Vec<f32>,
}

impl Disentangled {
    /// From keys and queries of the distances, each (distances, heads · head_dim).
    pub(super) fn new(
        buckets: DistanceBuckets,
        heads: usize,
        head_dim: usize,
        keys: Option<&[f32]>,
        queries: Option<&[f32]>,
    ) -> Self {
        let inner = head_dim.next_multiple_of(PANEL_WIDTH);
        let pack = |rows: &[f32]| {
            let width = heads * head_dim;
            let distances = rows.len() / width;
            let of_head = |head: usize| {
                let mut panels = Vec::new();
                for first in (0..distances).step_by(PANEL_WIDTH) {
                    let count = PANEL_WIDTH.min(distances - first);
                    let mut block = vec![0.0; count * inner];
                    for (i, row) in block.chunks_exact_mut(inner).enumerate() {
                        row[..head_dim].copy_from_slice(&rows[(first + i) * width + head * head_dim..][..head_dim]);
                    }
                    pack_transposed(&block, count, inner, &mut panels);
                }
                panels
            };
            (0..heads).map(of_head).collect()
        };
        Self { buckets, keys: keys.map(pack), queries: queries.map(pack), inner }
    }

    /// Begins with a text of `length` tokens and a head: keys are the rows (tokens, head_dim filled up) that `copy_keys` makes.
    pub(super) fn begin(
        &self,
        instruction_set: InstructionSet,
        head: usize,
        length: usize,
        copy_keys: impl FnOnce(&mut [f32]),
        scratch: &mut DisentangledScratch,
    ) {
        let farthest = length as i64 - 1;
        let first = self.buckets.index(-farthest) / PANEL_WIDTH;
        scratch.panels = first..self.buckets.index(farthest) / PANEL_WIDTH + 1;
        scratch.index.clear();
        let rows = (-farthest..=farthest).map(|distance| (self.buckets.index(distance) - first * PANEL_WIDTH) as u32);
        scratch.index.extend(rows);
        if let Some(queries) = &self.queries {
            scratch.key_rows.resize(length * self.inner, 0.0);
            copy_keys(&mut scratch.key_rows);
            let DisentangledScratch { panels, position_to_content, key_rows, .. } = scratch;
            self.multiply(instruction_set, key_rows, &queries[head], panels.clone(), position_to_content);
        }
    }

    /// Rows (rows, head_dim filled up) times some panels of distances.
    fn multiply(
        &self,
        instruction_set: InstructionSet,
        rows: &[f32],
        distances: &[PanelRow<f32>],
        panels: Range<usize>,
        out: &mut Vec<f32>,
    ) {
        let columns = panels.len() * PANEL_WIDTH;
        let count = rows.len() / self.inner;
        out.clear();
        out.resize(count * columns, 0.0);
        let b: Vec<&[PanelRow<f32>]> =
            distances.chunks_exact(self.inner).skip(panels.start).take(panels.len()).collect();
        let product = Product {
            a: StridedRows { elements: rows, stride: self.inner },
            rows: count,
            b: &b,
            columns,
            bias: &[],
            accumulate: false,
            out,
            strides: Strides::of_rows(columns),
        };
        f32::multiply(instruction_set, product);
    }

    /// Adds to the scores (queries, stride) of some queries of the text, the first of which is token `first`; `query_rows` are
    /// (queries, head_dim filled up).
    pub(super) fn add_to(
        &self,
        instruction_set: InstructionSet,
        head: usize,
        (query_rows, first): (&[f32], usize),
        (scores, stride): (&mut [f32], usize),
        scratch: &mut DisentangledScratch,
    ) {
        let DisentangledScratch { index, panels, position_to_content, content_to_position, .. } = scratch;
        let (columns, length) = (panels.len() * PANEL_WIDTH, index.len() / 2 + 1);
        if let Some(keys) = &self.keys {
            self.multiply(instruction_set, query_rows, &keys[head], panels.clone(), content_to_position);
        }
        for (i, scores) in scores.chunks_exact_mut(stride).enumerate() {
            // The distance of key k is query - k, whose row is at query - k + length - 1.
            let last = first + i + length;
            let rows = index[last - length..last].iter().rev();
            let scores = scores[..length].iter_mut().zip(rows);
            let of_query = self.keys.as_ref().map(|_| &content_to_position[i * columns..][..columns]);
            match (of_query, self.queries.is_some()) {
                (Some(of_query), true) => {
                    for ((score, &row), of_key) in scores.zip(position_to_content.chunks_exact(columns)) {
                        *score += of_query[row as usize] + of_key[row as usize];
                    }
                }
                (Some(of_query), false) => {
                    for (score, &row) in scores {
                        *score += of_query[row as usize];
                    }
                }
                (None, true) => {
                    for ((score, &row), of_key) in scores.zip(position_to_content.chunks_exact(columns)) {
                        *score += of_key[row as usize];
                    }
                }
                (None, false) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_at_known_distances() {
        // From transformers 5.24 (MPNetEncoder.relative_position_bucket).
        let expected =
            [(0, 0), (-1, 1), (1, 17), (-7, 7), (-8, 8), (-11, 8), (-12, 9), (-127, 15), (127, 31), (500, 31)];
        for (distance, bucket) in expected {
            assert_eq!(mpnet_bucket(distance), bucket, "{distance}");
        }
        let buckets = DistanceBuckets { buckets: 256, max_distance: 512 };
        // make_log_bucket_position of transformers 5.24.
        for (distance, bucket) in [(0, 0), (127, 127), (128, 128), (129, 129), (-200, -169), (511, 255)] {
            assert_eq!(buckets.bucket(distance), bucket, "{distance}");
        }
        assert_eq!(buckets.index(-600), 0);
        assert_eq!(buckets.index(600), 511);
        assert_eq!(DistanceBuckets { buckets: 0, max_distance: 64 }.index(-3), 61);
    }

    #[test]
    fn a_bias_is_that_of_its_distance() {
        let bias = DistanceBias::new(2, 4, 3, |head, distance| head as f32 * 100.0 + distance as f32);
        for (query, first, count) in [(0, 0, 10), (5, 0, 10), (9, 0, 10), (9, 6, 4), (2, 8, 5), (1, 0, 1)] {
            let mut scores = vec![0.0; count];
            bias.add_to(1, query, first, &mut scores);
            for (key, score) in scores.iter().enumerate() {
                assert_eq!(*score, bias.of(1, (first + key) as i64 - query as i64), "{query} {first} {key}");
            }
        }
        assert_eq!(bias.of(1, 7), 206.0, "twice 103: the score's unit is √4");
    }
}
