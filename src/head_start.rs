//! Encoding that begins while a long input is still being read and tokenized.
//!
//! The first pass takes a minute for some million texts, and leaves processors without work: what is read, digested and written goes
//! through one thread. So once it has gone on for a second, other threads encode the texts that it has tokenized so far. They give way to
//! it, so that it is over, and bad input is found, as early as without them. Where arrays begin is known only at its end;
//! until then rows wait in a file without a name, in the order in which they were handed on, and are then written as if they had just come.
//!
//! It is a head start and no promise: whatever goes wrong ends it where it is, and is met again, and told, by the second
//! pass, which goes on behind the last text that is whole. Nothing of it is journaled.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::batch::{Batch, TextSpan, Tokens};
use crate::counts::TextCounts;
use crate::directory::text_files::GrowingTexts;
use crate::encode::{BatchSizes, EncodePass};
use crate::error::{Error, Result};
use crate::input::Record;
use crate::model::Model;
use crate::observer::{Observer, Unseen};
use crate::plan::Plan;
use crate::sink::Sink;
use crate::threads::start_threads_that_give_way;
use crate::tokenize::{TokenSink, TokenizePass, Tokenized};
use crate::tokens::Encoded;

/// How long a first pass goes on by itself: most inputs are read by then.
const ALONE: Duration = Duration::from_secs(1);

/// What encodes beside a first pass.
pub(crate) struct HeadStart<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plan: &'a Plan,
    pub(crate) sizes: BatchSizes,
    /// Texts of a part, after which a batch ends.
    pub(crate) part_texts: Option<u64>,
    pub(crate) observer: &'a dyn Observer,
    /// Bytes of rows after which it is over.
    pub(crate) most_bytes: u64,
}

impl HeadStart<'_> {
    /// Runs a first pass, which hands its texts to `sink`, and encodes beside it what of them can be read in `texts`. Returns what the pass
    /// returns, and the rows that were encoded meanwhile, if there are any.
    pub(crate) fn beside(
        mut self,
        pass: TokenizePass<'_>,
        sink: &mut dyn TokenSink,
        texts: &GrowingTexts,
    ) -> (Result<Tokenized>, Option<RowsAhead>) {
        /// Ends the head start, also when the first pass panics: it would be waited for.
        struct EndTexts<'a>(&'a GrowingTexts);
        impl Drop for EndTexts<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let has_failed = AtomicBool::new(false);
        let begin_at = Instant::now() + ALONE;
        thread::scope(|scope| {
            let mut encoding = None;
            let end = EndTexts(texts);
            let read = {
                let (head_start, has_failed) = (&mut Some(&mut self), &has_failed);
                let begin = || {
                    let Some(head_start) = head_start.take() else { return };
                    let encode = move || head_start.encode(texts, has_failed);
                    let thread = thread::Builder::new().name("head start".to_owned()).spawn_scoped(scope, encode);
                    encoding = thread.ok(); // without it the first pass goes on by itself
                };
                pass.run(&mut BesideSink { sink, begin_at, begin })
            };
            has_failed.store(read.is_err(), Relaxed);
            drop(end);
            // Whatever it died of, the second pass does not build on it.
            let rows = encoding.and_then(|thread| thread.join().ok().flatten());
            (read, rows.filter(|rows| rows.end().texts > 0))
        })
    }

    fn encode(&mut self, texts: &GrowingTexts, has_failed: &AtomicBool) -> Option<RowsAhead> {
        let pool = start_threads_that_give_way(self.model.threads()).ok()?;
        let Self { model, plan, part_texts, observer, .. } = *self;
        let mut rows = RowsAhead::new(texts.create_rows().ok()?, self.most_bytes);
        let is_full = Arc::clone(&rows.is_full);
        pool.install(|| {
            let unless_failed = UnlessFailed { observer, has_failed };
            let should_stop = || unless_failed.interruption().is_some();
            let encoder = model.encoder(plan).ok()?;
            encoder.preload(plan.deepest(), should_stop).ok()?;
            if should_stop() {
                return None;
            }
            let encoder = model.load(plan).ok()?;
            let texts = texts.read().ok()?.map(|text| text.map_err(Error::io("read", "back the tokens")));
            // Up to a text that the first pass will refuse at its end.
            let is_refused = |text: &Tokens| plan.lacks_room(text.len(), &text.longer).is_some();
            let texts = texts.take_while(|text| !is_full.load(Relaxed) && !text.as_ref().is_ok_and(is_refused));
            let pass = EncodePass {
                encoder: &encoder,
                plan,
                sizes: &mut self.sizes,
                first_row: 0,
                texts: 0,
                done: 0,
                tokens_done: 0,
                part_texts,
                way_on: Error::START_OVER,
            };
            observer.detail("texts are encoded while others are tokenized");
            match pass.run(texts, &mut rows, &unless_failed, &Unseen) {
                // The disk may be full, and the first pass needs it.
                Err(Error::Io { .. }) => None,
                // What ends it early otherwise is met again by the second pass.
                Ok(_) | Err(_) => Some(()),
            }
        })?;
        Some(rows)
    }
}

/// The sink of a first pass, which tells when it has gone on for long enough.
struct BesideSink<'a, F> {
    sink: &'a mut dyn TokenSink,
    begin_at: Instant,
    begin: F,
}

impl<F: FnMut()> TokenSink for BesideSink<'_, F> {
    fn earlier(&self, each: &mut dyn FnMut(TextCounts)) -> Result<()> {
        self.sink.earlier(each)
    }

    fn check_earlier_input(&self, sha256: &str) -> Result<()> {
        self.sink.check_earlier_input(sha256)
    }

    fn take(&mut self, row: u64, record: &Record, encoded: &Encoded, counts: TextCounts) -> Result<()> {
        self.sink.take(row, record, encoded, counts)
    }

    fn end_piece(&mut self, sha256: &dyn Fn() -> String) -> Result<()> {
        self.sink.end_piece(sha256)?;
        if self.begin_at <= Instant::now() {
            (self.begin)();
        }
        Ok(())
    }

    fn way_on(&self) -> &'static str {
        self.sink.way_on()
    }
}

/// An observer that ends what it observes when the first pass has failed, too.
struct UnlessFailed<'a> {
    observer: &'a dyn Observer,
    has_failed: &'a AtomicBool,
}

impl Observer for UnlessFailed<'_> {
    fn interruption(&self) -> Option<u8> {
        if self.has_failed.load(Relaxed) { Some(0) } else { self.observer.interruption() }
    }
}

/// Rows of the first texts of a job, in a file without a name.
pub(crate) struct RowsAhead {
    file: BufWriter<File>,
    most_bytes: u64,
    is_full: Arc<AtomicBool>,
    /// Where it ends now, maybe inside a text.
    now: RowsEnd,
    /// Ends of texts up to which all arrays have their rows.
    ends: Vec<RowsEnd>,
}

/// A place in the rows, and what was encoded up to there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowsEnd {
    pub(crate) texts: u64,
    /// Bytes of the file.
    bytes: u64,
    /// Tokens that went through the encoder.
    pub(crate) tokens: u64,
    /// Texts that shared a batch with a text of the same tokens.
    pub(crate) repeated_texts: u64,
}

/// Numbers of what is in the file before the rows that follow: the array's index, and how many numbers there are.
const HEADER: usize = 2;

impl RowsAhead {
    /// Takes rows into a file that is empty, until there are `most_bytes` bytes of them.
    fn new(file: File, most_bytes: u64) -> Self {
        Self {
            file: BufWriter::with_capacity(1 << 16, file),
            most_bytes,
            is_full: Arc::new(AtomicBool::new(most_bytes == 0)),
            now: RowsEnd::default(),
            ends: Vec::new(),
        }
    }

    /// The end of the last text whose rows are all there.
    pub(crate) fn end(&self) -> RowsEnd {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Hands the rows to `sink` as if they had just been computed; `texts` gives the job's first texts. `each` is told of the texts
    /// that are done, and may end it.
    ///
    /// # Errors
    /// Those of `texts`, `sink` and `each`, and of reading the rows back.
    pub(crate) fn hand_on(
        self,
        texts: &mut dyn Iterator<Item = Result<Tokens>>,
        sink: &mut dyn Sink,
        mut each: impl FnMut(&[TextSpan], u64) -> Result<()>,
    ) -> Result<()> {
        let unreadable = |error| Error::io("read", "back the temporary file of vectors")(error);
        let mut file = self.file.into_inner().map_err(|error| unreadable(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        let (mut before, mut rows) = (RowsEnd::default(), Vec::<f32>::new());
        for end in self.ends {
            let mut at = before.bytes;
            while at < end.bytes {
                let mut header = [0u64; HEADER];
                file.read_exact(bytemuck::cast_slice_mut(&mut header)).map_err(unreadable)?;
                let [index, count] = header.map(|number| number as usize);
                rows.resize(count, 0.0);
                file.read_exact(bytemuck::cast_slice_mut(&mut rows)).map_err(unreadable)?;
                sink.write(index, &rows)?;
                at += (size_of_val(&header) + size_of_val(&rows[..])) as u64;
            }
            let texts = (&mut *texts).take((end.texts - before.texts) as usize);
            let parts =
                texts.map(|text| text.map(|text| TextSpan::whole(Arc::new(text)))).collect::<Result<Vec<_>>>()?;
            let batch = Batch { parts, ..Batch::new() };
            sink.end_batch(&batch)?;
            each(&batch.parts, end.texts)?;
            before = end;
        }
        Ok(())
    }
}

impl Sink for RowsAhead {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let header: [u64; HEADER] = [index as u64, rows.len() as u64];
        for bytes in [bytemuck::cast_slice(&header), bytemuck::cast_slice(rows)] {
            self.file.write_all(bytes).map_err(Error::io("write", "a temporary file of vectors"))?;
            self.now.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn end_batch(&mut self, batch: &Batch) -> Result<()> {
        self.now.texts += batch.texts() as u64;
        self.now.tokens += batch.tokens() as u64;
        self.now.repeated_texts += batch.repeated_texts;
        if batch.ends_with_text() {
            self.ends.push(self.now);
            if self.now.bytes >= self.most_bytes {
                self.is_full.store(true, Relaxed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::SPECIAL;

    fn text(tokens: u32) -> Tokens {
        let words = vec![SPECIAL; tokens as usize];
        Tokens {
            input_ids: (0..tokens).collect(),
            token_type_ids: vec![0; tokens as usize],
            words,
            ..Tokens::default()
        }
    }

    /// A batch with some tokens of a text at its end.
    fn batch(texts: &[u32], some_of: Option<u32>) -> Batch {
        let mut batch = Batch::new();
        texts.iter().for_each(|&tokens| batch.push(&text(tokens)));
        if let Some(tokens) = some_of {
            let first = batch.tokens();
            batch.parts.push(TextSpan { text: Arc::new(text(tokens)), tokens: 0..1, first });
        }
        batch
    }

    #[derive(Default)]
    struct Taken {
        rows: Vec<(usize, Vec<f32>)>,
        texts: Vec<Vec<usize>>,
    }

    impl Sink for Taken {
        fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
            self.rows.push((index, rows.to_vec()));
            Ok(())
        }

        fn end_batch(&mut self, batch: &Batch) -> Result<()> {
            assert!(batch.ends_with_text());
            self.texts.push(batch.ended_texts().map(Tokens::len).collect());
            Ok(())
        }
    }

    #[test]
    fn rows_come_back_up_to_the_last_text_that_is_whole() {
        let mut rows = RowsAhead::new(tempfile::tempfile().unwrap(), 1 << 20);
        for (batch, of_token, of_text) in [
            (batch(&[2, 3], Some(4)), &[1.0, 2.0, 3.0][..], &[4.0][..]),
            (batch(&[4], None), &[5.0], &[]),
            (batch(&[1], Some(2)), &[6.0], &[7.0, 8.0]),
        ] {
            rows.write(0, of_token).unwrap();
            rows.write(1, of_text).unwrap();
            rows.end_batch(&batch).unwrap();
        }
        assert_eq!((rows.end().texts, rows.end().tokens), (3, 9));
        let (mut taken, mut done) = (Taken::default(), Vec::new());
        let mut texts = [2, 3, 4, 1, 2].into_iter().map(|tokens| Ok(text(tokens)));
        rows.hand_on(&mut texts, &mut taken, |written, texts| {
            done.push((written.len(), texts));
            Ok(())
        })
        .unwrap();
        let expected = [(0, vec![1.0, 2.0, 3.0]), (1, vec![4.0]), (0, vec![5.0]), (1, vec![])];
        assert_eq!((taken.rows, taken.texts, done), (expected.to_vec(), vec![vec![2, 3, 4]], vec![(3, 3)]));
        assert_eq!(texts.next().unwrap().unwrap(), text(1), "the texts that follow are left");
    }

    #[test]
    fn it_is_over_when_rows_take_too_much_room() {
        let mut rows = RowsAhead::new(tempfile::tempfile().unwrap(), 100);
        rows.write(0, &[0.0; 10]).unwrap();
        rows.end_batch(&batch(&[1], None)).unwrap();
        assert!(!rows.is_full.load(Relaxed), "{} bytes", rows.now.bytes);
        rows.write(0, &[0.0; 10]).unwrap();
        rows.end_batch(&batch(&[1], None)).unwrap();
        assert!(rows.is_full.load(Relaxed), "{} bytes", rows.now.bytes);
    }
}
