//! Finds ids that occur twice without keeping the ids.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};

/// Bytes of an id's digest that are kept. Among 10⁹ ids, two different ones are taken for the same with a
/// probability of 10⁻¹¹.
const DIGEST: usize = 12;
/// Number of lists, each of which grows by itself, so that little memory is reserved or moved at a time.
const SHARDS: usize = 256;

/// Where a record begins: the index of the input, and the line.
pub(super) type RecordPlace = (u32, u64);

/// The ids seen so far, in 20 bytes for each. Which of them are repeated is known at the end.
pub(super) struct Ids {
    shards: Vec<Vec<SeenId>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SeenId {
    digest: [u8; DIGEST],
    place: PackedPlace,
}

/// The input's number in 20 bits and the line in 44, big-endian, so that they sort as places do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PackedPlace([u8; 8]);

impl PackedPlace {
    fn new((input, line): RecordPlace) -> Self {
        Self((u64::from(input) << 44 | line).to_be_bytes())
    }

    fn place(self) -> RecordPlace {
        let packed = u64::from_be_bytes(self.0);
        ((packed >> 44) as u32, packed & ((1 << 44) - 1))
    }
}

/// The part of an id's digest that is kept, and its list.
fn digest_of(id: &str) -> ([u8; DIGEST], usize) {
    let whole = Sha256::digest(id.as_bytes());
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&whole[..DIGEST]);
    (digest, usize::from(whole[DIGEST]))
}

/// The first place of each id, for an input whose repeated ids are left out as they come. It takes 22 to 48 bytes for
/// each.
pub(super) struct FirstPlaces {
    shards: Vec<HashMap<[u8; DIGEST], PackedPlace>>,
}

impl FirstPlaces {
    pub(super) fn new() -> Self {
        Self { shards: vec![HashMap::new(); SHARDS] }
    }

    /// The place at which the id occurred before. If there is none, it is this one from now on.
    pub(super) fn earlier(&mut self, id: &str, place: RecordPlace) -> Option<RecordPlace> {
        let (digest, shard) = digest_of(id);
        match self.shards[shard].entry(digest) {
            Entry::Occupied(first) => Some(first.get().place()),
            Entry::Vacant(vacant) => {
                vacant.insert(PackedPlace::new(place));
                None
            }
        }
    }
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { shards: vec![Vec::new(); SHARDS] }
    }

    pub(super) fn add(&mut self, id: &str, place: RecordPlace) {
        let (digest, shard) = digest_of(id);
        let place = PackedPlace::new(place);
        let shard = &mut self.shards[shard];
        if shard.len() == shard.capacity() {
            shard.reserve_exact(shard.len() / 16 + 4);
        }
        shard.push(SeenId { digest, place });
    }

    /// The first `most` places of an id that occurred before, each with the earlier place, and the number of all such
    /// places.
    pub(super) fn repeated(&mut self, most: usize) -> (Vec<(RecordPlace, RecordPlace)>, u64) {
        let (mut first, mut count) = (Vec::new(), 0);
        for shard in &mut self.shards {
            shard.sort_unstable();
            for same in shard.chunk_by(|a, b| a.digest == b.digest) {
                count += same.len() as u64 - 1;
                first.extend(same[1..].iter().take(most).map(|again| (again.place.place(), same[0].place.place())));
                if first.len() > 1000 + most {
                    first.sort_unstable();
                    first.truncate(most);
                }
            }
        }
        first.sort_unstable();
        first.truncate(most);
        (first, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn twenty_bytes_an_id() {
        assert_eq!(size_of::<SeenId>(), 20);
        let mut ids = Ids::new();
        (0..100_000).for_each(|i| ids.add(&i.to_string(), (0, i)));
        let reserved = ids.shards.iter().map(Vec::capacity).sum::<usize>();
        assert!(reserved < 110_000, "{reserved}");
        assert_eq!(ids.repeated(20), (vec![], 0));
    }

    proptest! {
        #[test]
        fn repeated_ids_are_those_of_a_map(list in proptest::collection::vec((0u32..40, 0u32..3), 0..60), most in 1usize..30) {
            let mut list: Vec<(u32, RecordPlace)> =
                list.into_iter().enumerate().map(|(line, (id, input))| (id, (input * 300_000, line as u64 + 1))).collect();
            list.sort_by_key(|&(_, place)| place);
            let (mut ids, mut seen, mut expected) = (Ids::new(), HashMap::new(), Vec::new());
            let mut first_places = FirstPlaces::new();
            for (id, place) in list {
                ids.add(&id.to_string(), place);
                prop_assert_eq!(first_places.earlier(&id.to_string(), place), seen.get(&id).copied());
                match seen.get(&id) {
                    Some(&first) => expected.push((place, first)),
                    None => { seen.insert(id, place); }
                }
            }
            let count = expected.len() as u64;
            expected.truncate(most);
            prop_assert_eq!(ids.repeated(most), (expected, count));
        }
    }
}
