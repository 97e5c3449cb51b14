//! All layers one after another, without a stop between them.
//!
//! Texts do not meet in a layer, so a group of texts may go on to the next one while others are still in this one. Threads that
//! waited for each other after each layer lost a tenth of their time in batches of few groups.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::encoder_layer::EncoderLayer;
use super::layer_schedule::{BUFFERS, LayerSchedule, Step};
use super::text_groups::{are_many_enough, groups};
use crate::threads::{Helpers, with_helpers};

/// Takes the output of a layer, (tokens, hidden).
pub type VisitLayer<'a, E> = dyn FnMut(usize, &[f32]) -> Result<(), E> + Send + 'a;

/// Takes `hidden_state` (tokens, hidden), as [`EncoderLayer::forward`] takes it, through `layers`, and returns the last one's output.
/// `visit(k, output)` is called for k = 0 (`hidden_state` itself), 1, … but for the last layer, in this order, while the others go
/// on. `None`, and nothing is visited, where the texts are too few for the threads, or a layer is not made for it.
///
/// # Errors
/// Those of `visit`, after which no further layer is visited.
///
/// # Panics
/// When `cu_seqlens` are not those of `hidden_state`.
pub fn encode_layers<E: Send>(
    layers: &[&EncoderLayer],
    hidden_state: &[f32],
    cu_seqlens: &[usize],
    visit: &mut VisitLayer<'_, E>,
) -> Result<Option<Vec<f32>>, E> {
    let groups = groups(cu_seqlens, rayon::current_num_threads());
    if layers.is_empty()
        || layers.iter().any(|layer| !layer.keeps_texts_apart())
        || !are_many_enough(&groups, rayon::current_num_threads())
    {
        return Ok(None);
    }
    let hidden = layers[0].hidden();
    layers.iter().for_each(|layer| layer.check(hidden_state, cu_seqlens));
    let rotations: Vec<_> = layers.iter().map(|layer| layer.rotations(cu_seqlens)).collect();

    let mut buffers: [Vec<f32>; BUFFERS] = Default::default();
    for layer in 1..=layers.len().min(BUFFERS) {
        buffers[layer % BUFFERS] = vec![0.0; hidden_state.len()];
    }
    let rows = buffers.each_mut().map(|buffer| SharedRows::new(buffer));
    let rows_of = |layer: usize| &rows[layer % BUFFERS];

    let sizes = groups.iter().map(|group| group.tokens().len()).collect();
    let shared = GroupsOnTheirWay {
        state: Mutex::new(ScheduleState {
            schedule: LayerSchedule::new(layers.len(), sizes),
            error: None,
            is_over: false,
            help: None,
        }),
        changed: Condvar::new(),
    };
    let visit = Mutex::new(visit);
    rayon::broadcast(|_| {
        let _others_end_too = EndOnPanic(&shared);
        while let Some(turn) = shared.next() {
            let step = match turn {
                Turn::Help(each, index) => {
                    let _done = HelpDone(&shared);
                    each(index);
                    continue;
                }
                Turn::Step(step) => step,
            };
            match step {
                Step::Encode { group: index, layer } => {
                    let group = &groups[index];
                    let numbers = group.tokens().start * hidden..group.tokens().end * hidden;
                    let x = match layer {
                        0 => &hidden_state[numbers.clone()],
                        // SAFETY: the group has been through `layer`, whose buffer is not written again before it has been
                        // through the next one: see `LayerSchedule`.
                        _ => unsafe { rows_of(layer).read(numbers.clone()) },
                    };
                    // SAFETY: the group is in this step alone, so no one else writes these rows of the layer's output; nobody
                    // reads what they hold, nor will before the step is done: see `LayerSchedule`.
                    let out = unsafe { rows_of(layer + 1).write(numbers) };
                    layers[layer].encode_group(
                        x,
                        group,
                        rotations[layer].as_ref().map(|rotations| &rotations[..]),
                        out,
                    );
                    shared.lock().schedule.encoded(index);
                }
                Step::Visit(layer) => {
                    let output = match layer {
                        0 => hidden_state,
                        // SAFETY: all groups have been through `layer`, whose buffer is not written again before it was
                        // visited: see `LayerSchedule`.
                        _ => unsafe { rows_of(layer).read(0..hidden_state.len()) },
                    };
                    let was_visiting = IS_VISITING.replace(true);
                    let visited =
                        with_helpers(&shared, || visit.lock().unwrap_or_else(PoisonError::into_inner)(layer, output));
                    IS_VISITING.set(was_visiting);
                    let mut state = shared.lock();
                    state.schedule.visited();
                    if let Err(error) = visited {
                        (state.error, state.is_over) = (Some(error), true);
                    }
                }
                Step::Wait | Step::End => {}
            }
            shared.changed.notify_all();
        }
    });
    let error = shared.lock().error.take();
    match error {
        Some(error) => Err(error),
        None => Ok(Some(std::mem::take(&mut buffers[layers.len() % BUFFERS]))),
    }
}

thread_local! {
    /// Whether this thread is visiting a layer. What it visits with may wait for its pool, and then take up work of another batch
    /// meanwhile. There it must not wait for a thread that may be doing the same, the other way about.
    static IS_VISITING: Cell<bool> = const { Cell::new(false) };
}

/// What the threads of a batch share.
struct GroupsOnTheirWay<E> {
    state: Mutex<ScheduleState<E>>,
    /// A step was done.
    changed: Condvar,
}

struct ScheduleState<E> {
    schedule: LayerSchedule,
    error: Option<E>,
    /// Whether no further step is taken.
    is_over: bool,
    /// What the thread that visits a layer shares.
    help: Option<HelpWanted>,
}

/// A closure that is to be called with every number below `count`. It lives until nobody is in a call: see [`Helpers::share`].
struct HelpWanted {
    each: &'static (dyn Fn(usize) + Sync),
    count: usize,
    /// The number that is next.
    next: usize,
    /// How many threads are in a call.
    running: usize,
    /// Whether a call has panicked.
    has_failed: bool,
}

impl HelpWanted {
    /// The next call, which the thread that asks then is in.
    fn take(&mut self) -> Option<usize> {
        let index = (self.next < self.count).then_some(self.next)?;
        self.next += 1;
        self.running += 1;
        Some(index)
    }
}

/// What a thread does next.
enum Turn {
    Step(Step),
    /// A call for the thread that visits a layer.
    Help(&'static (dyn Fn(usize) + Sync), usize),
}

impl<E> GroupsOnTheirWay<E> {
    fn lock(&self) -> MutexGuard<'_, ScheduleState<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next visit or group for this thread, or help where it would have to wait; `None` when there is nothing left for it.
    fn next(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            match state.schedule.next() {
                Step::End => return None,
                Step::Wait if IS_VISITING.get() => return None,
                Step::Wait => match state.help.as_mut().and_then(|help| Some((help.each, help.take()?))) {
                    Some((each, index)) => return Some(Turn::Help(each, index)),
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                },
                step => return Some(Turn::Step(step)),
            }
        }
    }
}

impl<E: Send> Helpers for GroupsOnTheirWay<E> {
    fn share(&self, count: usize, each: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. `each` is called by threads that are counted in `running`, and taken away before this
        // function returns or unwinds, which `HelpEnds` has wait until nobody is in a call. Nothing else takes its place meanwhile: one
        // thread visits at a time, `share` is not called within a call, and it is looked at below.
        let each = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(each) };
        let before = self.lock().help.replace(HelpWanted { each, count, next: 0, running: 0, has_failed: false });
        assert!(before.is_none(), "one piece of work is shared at a time");
        let ends = HelpEnds(self);
        self.changed.notify_all();
        loop {
            let index = self.lock().help.as_mut().and_then(HelpWanted::take);
            let Some(index) = index else { break };
            let _done = HelpDone(self);
            each(index);
        }
        assert!(!ends.wait(), "a thread that helped has panicked");
    }
}

/// Ends a call, also when it panics.
struct HelpDone<'a, E>(&'a GroupsOnTheirWay<E>);

impl<E> Drop for HelpDone<'_, E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Some(help) = &mut state.help {
            help.running -= 1;
            help.has_failed |= std::thread::panicking();
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// Takes a closure away once nobody is in a call of it.
struct HelpEnds<'a, E>(&'a GroupsOnTheirWay<E>);

impl<E> HelpEnds<'_, E> {
    /// Waits until nobody is in a call, and begins no other. Returns whether one has panicked.
    fn wait(&self) -> bool {
        let mut state = self.0.lock();
        if let Some(help) = &mut state.help {
            help.next = help.count;
        }
        while state.help.as_ref().is_some_and(|help| help.running > 0) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.help.as_ref().is_some_and(|help| help.has_failed)
    }
}

impl<E> Drop for HelpEnds<'_, E> {
    fn drop(&mut self) {
        self.wait();
        self.0.lock().help = None;
    }
}

/// Ends the steps of all threads when one of them panics, as its step would be waited for.
struct EndOnPanic<'a, E>(&'a GroupsOnTheirWay<E>);

impl<E> Drop for EndOnPanic<'_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_over = true;
            self.0.changed.notify_all();
        }
    }
}

/// Rows of numbers of which threads write and read different ones at the same time.
struct SharedRows<'a> {
    start: *mut f32,
    length: usize,
    numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: the numbers are reached through `read` and `write` alone, whose callers see to it that nothing is read or written while
// it is written.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    fn new(numbers: &'a mut [f32]) -> Self {
        Self { start: numbers.as_mut_ptr(), length: numbers.len(), numbers: PhantomData }
    }

    /// Some of the numbers.
    ///
    /// # Safety
    /// No one writes these numbers for as long as they are borrowed.
    unsafe fn read(&self, range: Range<usize>) -> &[f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: they are within the slice that `start` is the beginning of, which is borrowed for 'a; that no one writes
        // them is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// Some of the numbers.
    ///
    /// # Safety
    /// No one else reads or writes these numbers for as long as they are borrowed.
    #[expect(clippy::mut_from_ref, reason = "different ranges are different numbers, which is the caller's promise")]
    unsafe fn write(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: they are within the slice that `start` is the beginning of, which is borrowed mutably for 'a; that no one
        // else reads or writes them is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rayon::{ThreadPool, ThreadPoolBuilder};

    use super::*;
    use crate::kernels::InstructionSet;
    use crate::kernels::testing::{layer, numbers};
    use crate::spec::Compute;
    use crate::threads::{share, share_map};

    const HIDDEN: usize = 48;
    const CU_SEQLENS: [usize; 8] = [0, 5, 5, 80, 160, 230, 330, 400];

    fn pool(threads: usize) -> ThreadPool {
        ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool")
    }

    fn layers() -> [EncoderLayer; 2] {
        [100, 150].map(|width| layer(HIDDEN, 3, width, Compute::F32, InstructionSet::available()[0]))
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    #[test]
    fn the_same_bits_as_layer_after_layer() {
        let [a, b] = layers();
        let x = numbers(400 * HIDDEN, 17);
        for count in 1..7 {
            let layers: Vec<&EncoderLayer> = [&a, &b].into_iter().cycle().take(count).collect();
            let mut expected = vec![bits(&x)];
            let mut hidden_state = x.clone();
            for layer in &layers {
                hidden_state = layer.forward(&hidden_state, &CU_SEQLENS);
                expected.push(bits(&hidden_state));
            }
            for threads in 1..4 {
                let mut outputs = Vec::new();
                let mut visit = |layer: usize, output: &[f32]| {
                    assert_eq!(layer, outputs.len());
                    outputs.push(bits(output));
                    Ok::<_, ()>(())
                };
                let last = pool(threads).install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut visit));
                outputs.push(bits(&last.expect("no error").expect("texts for all threads")));
                assert!(outputs == expected, "{count} layers, {threads} threads");
            }
        }
    }

    #[test]
    fn an_error_or_a_panic_of_a_visit_ends_all_threads() {
        let [a, b] = layers();
        let (layers, x) = ([&a, &b, &a, &b, &a], numbers(400 * HIDDEN, 17));
        for threads in 1..4 {
            let mut visited = 0;
            let mut refuse = |layer: usize, _: &[f32]| {
                visited = layer;
                if layer == 2 { Err("the disk is full") } else { Ok(()) }
            };
            let error = pool(threads).install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut refuse)).unwrap_err();
            assert_eq!((error, visited), ("the disk is full", 2));

            let mut panic = |layer: usize, _: &[f32]| if layer == 2 { panic!("as planned") } else { Ok::<_, ()>(()) };
            let encode = || pool(threads).install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut panic));
            assert!(catch_unwind(AssertUnwindSafe(encode)).is_err());
        }
    }

    #[test]
    fn threads_that_would_wait_help_the_one_that_visits() {
        let [a, b] = layers();
        let (layers, x) = ([&a, &b, &a, &b, &a], numbers(400 * HIDDEN, 17));
        let who = Mutex::new(HashSet::new());
        let mut visit = |_: usize, output: &[f32]| {
            let rows: Vec<&[f32]> = output.chunks(HIDDEN).collect();
            let sums = share_map(rows, |row| {
                who.lock().expect("no panic").insert(std::thread::current().id());
                std::thread::sleep(std::time::Duration::from_micros(50));
                row.iter().sum::<f32>()
            });
            assert_eq!(sums, output.chunks(HIDDEN).map(|row| row.iter().sum()).collect::<Vec<f32>>());
            Ok::<_, ()>(())
        };
        let last = pool(3).install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut visit));
        assert!(last.is_ok_and(|last| last.is_some()));
        assert_eq!(who.into_inner().expect("no panic").len(), 3);

        let mut panic = |_: usize, output: &[f32]| {
            share(output.len(), &|index| assert!(index != 1000, "as planned"));
            Ok::<_, ()>(())
        };
        let encode = || pool(3).install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut panic));
        assert!(catch_unwind(AssertUnwindSafe(encode)).is_err());
    }

    #[test]
    fn texts_that_are_too_few_are_left_to_others() {
        let [a, _] = layers();
        let mut visit = |_: usize, _: &[f32]| -> Result<(), ()> { panic!("nothing is visited") };
        let x = numbers(30 * HIDDEN, 17);
        let encoded = pool(2).install(|| encode_layers(&[&a], &x, &[0, 30], &mut visit));
        assert_eq!(encoded, Ok(None));
    }

    /// Batches of two callers in one pool, whose visits wait for the pool and so may take up each other's work.
    #[test]
    fn visits_that_use_the_pool_do_not_wait_for_each_other() {
        let [a, b] = layers();
        let (layers, x) = ([&a, &b, &a, &b], numbers(400 * HIDDEN, 17));
        let pool = pool(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut visit = |_: usize, output: &[f32]| {
                            let (low, high) = output.split_at(output.len() / 2);
                            rayon::join(|| low.iter().sum::<f32>(), || high.iter().sum::<f32>());
                            Ok::<_, ()>(())
                        };
                        let last = pool.install(|| encode_layers(&layers, &x, &CU_SEQLENS, &mut visit));
                        assert!(last.is_ok_and(|last| last.is_some()));
                    }
                });
            }
        });
    }
}
