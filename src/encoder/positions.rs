//! Positions of tokens: the rows of a table that they take, and what distances between them add to attention.

use std::sync::Arc;

use crate::batch::Batch;
use crate::checkpoint::config::Positions;
use crate::kernels::{DistanceBias, Norm, mpnet_bucket};

/// Distances beyond which all share MPNet's last bucket of their direction.
const REACH: usize = 128;

/// What the tables of relative positions hold.
#[derive(Clone)]
pub(super) enum Distances {
    /// MPNet's numbers for each head.
    Bias(Arc<DistanceBias>),
    /// DeBERTa's embeddings of distances, (distances, H), and their norm, which the backend applies.
    Embeddings { embeddings: Arc<Vec<f32>>, norm: Option<Norm> },
}

impl Distances {
    /// From MPNet's table, (buckets, heads).
    pub(super) fn of_buckets(table: &[f32], heads: usize, head_dim: usize) -> Self {
        let bias = |head: usize, distance: i64| table[mpnet_bucket(distance) * heads + head];
        Self::Bias(Arc::new(DistanceBias::new(heads, head_dim, REACH, bias)))
    }
}

/// The row of the position table that each token of a batch takes, (tokens).
///
/// RoBERTa counts from the position after that of padding; a padding token in a text has the padding's position and is not counted
/// (`create_position_ids_from_input_ids` in transformers).
pub(super) fn position_ids(positions: Positions, batch: &Batch) -> Vec<u32> {
    let mut ids = Vec::with_capacity(batch.input_ids.len());
    for ends in batch.bounds.windows(2) {
        let tokens = &batch.input_ids[ends[0]..ends[1]];
        match positions {
            Positions::None => {}
            Positions::FromZero => ids.extend(0..tokens.len() as u32),
            Positions::After(padding) => {
                let mut last = padding;
                ids.extend(tokens.iter().map(|&token| {
                    if token == padding {
                        return padding;
                    }
                    last += 1;
                    last
                }));
            }
        }
    }
    ids
}

/// What each token's embedding is multiplied by in ESM: that of the masked token is left out, and the others are scaled to what
/// was usual when the model was trained, 12 % of all tokens being masked.
pub(super) fn token_dropout(mask_token: u32, batch: &Batch) -> Vec<f64> {
    const MASKED_IN_TRAINING: f64 = 0.15 * 0.8;
    let mut factors = Vec::with_capacity(batch.input_ids.len());
    for ends in batch.bounds.windows(2) {
        let tokens = &batch.input_ids[ends[0]..ends[1]];
        let masked = tokens.iter().filter(|&&token| token == mask_token).count();
        let factor = (1.0 - MASKED_IN_TRAINING) / (1.0 - masked as f64 / tokens.len() as f64);
        factors.extend(tokens.iter().map(|&token| if token == mask_token { 0.0 } else { factor }));
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tokens;

    fn batch() -> Batch {
        let mut batch = Batch::new();
        for ids in [vec![0, 7, 1, 8, 2], vec![], vec![0, 2]] {
            let count = ids.len();
            batch.push(&Tokens { input_ids: ids, token_type_ids: vec![0; count], ..Tokens::default() });
        }
        batch
    }

    #[test]
    fn positions_are_counted_in_each_text() {
        assert_eq!(position_ids(Positions::FromZero, &batch()), [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!(position_ids(Positions::After(1), &batch()), [2, 3, 1, 4, 5, 2, 3]);
        assert!(position_ids(Positions::None, &batch()).is_empty());
    }

    #[test]
    fn masked_tokens_are_left_out() {
        let factors = token_dropout(8, &batch());
        assert_eq!(factors[3], 0.0);
        assert!((factors[0] - 0.88 / 0.8).abs() < 1e-12);
        assert!((factors[6] - 0.88).abs() < 1e-12);
    }
}
