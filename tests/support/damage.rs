//! Damage to the bytes of a file, drawn at random.

use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Change(Index, u8),
    Cut(Index),
    Insert(Index, u8),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
    ]
}

/// Applies damage within the first `within` bytes, where the structure is.
pub(crate) fn damaged(mut bytes: Vec<u8>, damages: &[Damage], within: usize) -> Vec<u8> {
    for damage in damages {
        let length = bytes.len().min(within);
        if length == 0 {
            break;
        }
        match damage {
            Damage::Change(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        }
    }
    bytes
}
