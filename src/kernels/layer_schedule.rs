//! Which thread does what next, when several take groups of texts through all layers without waiting for each other after each.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Layers whose outputs are held at a time: the one that is written, the one it is computed from, and one more, so that a group
/// may be a layer ahead of the others.
pub(super) const BUFFERS: usize = 3;

/// What a thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Hands on the output of this layer, which all groups have been through.
    Visit(usize),
    /// Takes this group through layer `layer` + 1.
    Encode {
        /// Its index.
        group: usize,
        /// The layers it has been through.
        layer: usize,
    },
    /// Waits for what the others do.
    Wait,
    /// All is done.
    End,
}

/// How far the groups of a batch are on their way through the layers, and which layers were visited.
///
/// The output of layer k, from 1 on, lies in buffer k modulo [`BUFFERS`]. While a step is being done, nothing that it reads is
/// written, and nothing that it writes is read: a group is in one step at a time, layer k is visited when all groups have been
/// through it, and its buffer is written again after all have been through layer k + 1 and it was visited.
///
/// What is next is found in a time that hardly grows with the groups, as the threads wait for each other meanwhile.
pub(super) struct LayerSchedule {
    layers: usize,
    /// Layers that each group has been through.
    completed: Vec<usize>,
    /// Tokens of each group.
    sizes: Vec<usize>,
    /// Groups that are in no step, in the order in which they are taken.
    waiting: BTreeSet<WaitingGroup>,
    /// How many groups have been through so many layers and no more, (layers + 1).
    at: Vec<usize>,
    /// Layers that all groups have been through.
    least: usize,
    /// Layers that were visited, from layer 0 on.
    visited: usize,
    is_visiting: bool,
}

/// A group that no thread has taken: the layers it has been through, its tokens, its index.
type WaitingGroup = (usize, Reverse<usize>, usize);

impl LayerSchedule {
    /// For groups of these sizes. All outputs but the last layer's are visited.
    pub(super) fn new(layers: usize, sizes: Vec<usize>) -> Self {
        let waiting = sizes.iter().enumerate().map(|(group, &size)| (0, Reverse(size), group)).collect();
        let mut at = vec![0; layers + 1];
        at[0] = sizes.len();
        let completed = vec![0; sizes.len()];
        let least = if sizes.is_empty() { layers } else { 0 };
        Self { layers, completed, sizes, waiting, at, least, visited: 0, is_visiting: false }
    }

    /// What the thread that asks does next. A visit comes first, as it frees a buffer; then the group that is furthest behind, so
    /// that layers are visited soon and threads are near each other, of several the largest, so that all end at about the same
    /// time.
    pub(super) fn next(&mut self) -> Step {
        if !self.is_visiting && self.visited < self.layers && self.visited <= self.least {
            self.is_visiting = true;
            return Step::Visit(self.visited);
        }
        // The first one is furthest behind, and if what it writes is not free, nobody's is.
        if let Some(&(layer, _, group)) = self.waiting.first()
            && layer < self.layers
            && self.is_free(layer)
        {
            self.waiting.pop_first();
            return Step::Encode { group, layer };
        }
        if self.visited == self.layers && self.least == self.layers { Step::End } else { Step::Wait }
    }

    /// Whether the output of layer `layer` + 1 may be written: over that of layer `layer` + 1 - [`BUFFERS`].
    fn is_free(&self, layer: usize) -> bool {
        let needed = (layer + 2).saturating_sub(BUFFERS);
        layer < BUFFERS || (self.least >= needed && self.visited >= needed)
    }

    /// The group has been through its next layer.
    pub(super) fn encoded(&mut self, group: usize) {
        let completed = &mut self.completed[group];
        self.at[*completed] -= 1;
        *completed += 1;
        self.at[*completed] += 1;
        self.waiting.insert((*completed, Reverse(self.sizes[group]), group));
        while self.least < self.layers && self.at[self.least] == 0 {
            self.least += 1;
        }
    }

    /// The layer that was to be visited was.
    pub(super) fn visited(&mut self) {
        self.is_visiting = false;
        self.visited += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Threads whose steps take any time: nothing is read that is being written or was written over, everything is done
        /// once and in order, and someone always has something to do.
        #[test]
        fn no_step_disturbs_another(
            layers in 1usize..9,
            sizes in prop::collection::vec(1usize..200, 1..9),
            threads in 1usize..6,
            ends in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let groups = sizes.len();
            let mut schedule = LayerSchedule::new(layers, sizes);
            // The layer whose output each buffer has of each group.
            let mut buffers: HashMap<(usize, usize), usize> = HashMap::new();
            let mut doing: Vec<Step> = Vec::new();
            let mut visits = Vec::new();
            for end in ends.iter().cycle() {
                let mut step = Step::Wait;
                while doing.len() < threads {
                    step = schedule.next();
                    match step {
                        Step::Wait | Step::End => break,
                        Step::Encode { group, layer } => {
                            prop_assert!(layer == 0 || buffers[&(layer % BUFFERS, group)] == layer);
                            let written = (layer + 1) % BUFFERS;
                            for other in &doing {
                                match *other {
                                    Step::Visit(visited) => prop_assert!(visited == 0 || visited % BUFFERS != written),
                                    Step::Encode { group: busy, .. } => prop_assert!(busy != group),
                                    Step::Wait | Step::End => unreachable!(),
                                }
                            }
                            if layer >= BUFFERS {
                                prop_assert!(visits.contains(&(layer + 1 - BUFFERS)));
                            }
                            buffers.insert((written, group), layer + 1);
                        }
                        Step::Visit(layer) => {
                            prop_assert_eq!(layer, visits.len());
                            for group in 0..groups {
                                prop_assert!(layer == 0 || buffers[&(layer % BUFFERS, group)] == layer);
                            }
                            visits.push(layer);
                        }
                    }
                    doing.push(step);
                }
                if doing.is_empty() {
                    prop_assert_eq!(step, Step::End);
                    break;
                }
                match doing.swap_remove(end.index(doing.len())) {
                    Step::Encode { group, .. } => schedule.encoded(group),
                    _ => schedule.visited(),
                }
            }
            prop_assert_eq!(visits.len(), layers);
            prop_assert!((0..groups).all(|group| buffers[&(layers % BUFFERS, group)] == layers));
        }
    }
}
