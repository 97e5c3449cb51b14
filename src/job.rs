//! A job in two passes over the texts, tokenizing and encoding, with its output in a directory or as JSON Lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(feature = "parquet")]
use crate::arrow_stream::ArrowStream;
use crate::column_types::ColumnTypes;
use crate::counts::Counts;
use crate::directory::arrays::Arrays;
use crate::directory::existing::{self, Existing};
use crate::directory::journal::{ArraysDone, JournalEntry};
use crate::directory::manifest::{self, JobRecord, Manifest, ModelIdentity};
use crate::directory::names::MANIFEST;
use crate::directory::output_directory::{OutputDirectory, Start};
use crate::directory::parts::rows_of_parts;
use crate::directory::plan_record::DirectoryPlan;
use crate::directory::replacement::Replacement;
use crate::directory::text_files::{TextFiles, TokenizedTexts};
use crate::encode::{BatchSizes, EncodePass, EncodingStats, limits};
use crate::encoder::{self, Encoder};
use crate::error::{Error, Result, bytes};
use crate::head_start::{HeadStart, RowsAhead, RowsEnd};
use crate::input::{Input, InputRecord};
use crate::json_lines::JsonLines;
use crate::json_lines::columns::{ColumnsReader, ColumnsWriter, SpooledTexts};
use crate::model::Model;
use crate::observer::{Observer, Work};
use crate::request::Request;
use crate::reuse::{Reuse, ReusePass, Reused};
use crate::shard::{Shard, ShardRows};
use crate::sink::Sink;
use crate::spec::Format;
use crate::spool::{SpoolReader, SpoolWriter};
use crate::tokenize::{CountOnly, TokenizePass, Tokenized, identify};
use crate::tokens::Tokenizer;

/// The result of a job.
#[derive(Debug, Clone, Copy)]
pub(crate) enum JobOutcome {
    /// The job was done; the counts of its texts, statistics of the encoding, and the number of bad lines that were skipped.
    Done(Counts, EncodingStats, u64),
    /// The directory already held the finished job.
    WasThere,
}

/// What a job would do.
pub(crate) struct Rehearsal {
    /// The texts of the job.
    pub(crate) part: ShardRows,
    /// Number of texts of the whole input.
    pub(crate) all_texts: u64,
    /// The whole input.
    pub(crate) input: InputRecord,
    /// Tokens of the longest text of the whole input, before it is cut.
    pub(crate) longest: usize,
    /// Bytes that are needed while the job runs, beside those of the arrays.
    pub(crate) beside: u64,
    /// What would be copied from other directories, if there are any.
    pub(crate) reused: Option<Reused>,
    pub(crate) outlook: Outlook,
}

/// Where a job would begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// At its beginning.
    Begins,
    /// In the first pass, with this number of texts tokenized.
    TokenizedSome(u64),
    /// In the second pass, with this number of texts encoded.
    EncodedSome(u64),
    /// Nowhere: the directory holds the finished job.
    WasThere,
}

/// Bytes that are free where a directory is or will be; `None` where the system does not say.
fn room(directory: &Path) -> Option<u64> {
    let here = |ancestor: &Path| if ancestor.as_os_str().is_empty() { PathBuf::from(".") } else { ancestor.to_owned() };
    directory.ancestors().find_map(|ancestor| fs4::available_space(here(ancestor)).ok())
}

/// The identity of a model, by the digests of its files.
///
/// # Errors
/// [`Error::Io`] when a file of the model cannot be read.
pub(crate) fn identity(model: &Model) -> Result<ModelIdentity> {
    Ok(ModelIdentity {
        id: model.id().to_owned(),
        revision: model.revision().map(str::to_owned),
        sha256: model.checkpoint().digests()?,
        family: model.config().family.name().to_owned(),
        num_hidden_layers: model.num_hidden_layers(),
        hidden_size: model.hidden_size(),
        final_norm: model.config().family.has_final_norm().then(|| format!("layer {}", model.num_hidden_layers())),
    })
}

/// A job with everything resolved.
pub(crate) struct Job<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plan: &'a DirectoryPlan,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) input: &'a Input,
    pub(crate) shard: Option<Shard>,
    pub(crate) batch_tokens: u32,
    /// Finished directories whose rows are copied where they are the same.
    pub(crate) reuse: &'a [PathBuf],
    pub(crate) started: SystemTime,
    pub(crate) observer: &'a dyn Observer,
}

impl<'a> Job<'a> {
    /// What the job would do, with nothing kept, encoded or written. Refuses what the job would refuse.
    ///
    /// # Errors
    /// Those of the job up to the moment at which it would create its arrays.
    pub(crate) fn rehearse(&self, to: Option<(&Path, bool, ModelIdentity)>) -> Result<Rehearsal> {
        let record = |model| JobRecord::new(model, self.plan, self.shard, self.model.instruction_set());
        let to = to.map(|(path, overwrite, model)| (path, overwrite, record(model)));
        let mut old_bytes = 0;
        // Before the texts are read, as the job has it.
        let existing = match &to {
            None => Existing::Nothing,
            Some((path, overwrite, record)) => {
                self.refuse_to_write_over(path)?;
                let existing = existing::examine(path, *overwrite)?;
                old_bytes = existing::size_of_old(path)?;
                let there = match &existing {
                    Existing::Complete(manifest) => Some(&manifest.job),
                    Existing::Unfinished(entry) => Some(entry.job()),
                    Existing::Nothing | Existing::OfAnotherJob(_) | Existing::Replaceable => None,
                };
                match there.map_or_else(Vec::new, |there| record.differences(there)) {
                    differences if differences.is_empty() => existing,
                    _ if *overwrite => Existing::Replaceable,
                    differences => return Err(Error::another_job(path, &differences)),
                }
            }
        };
        let reuse = match &to {
            Some((_, _, record)) => self.open_reuse(record)?,
            None => None,
        };
        let (part, beside, reused, tokenized) = self.count(reuse.as_ref())?;
        let Tokenized { counts: Counts { texts: all_texts, .. }, input, longest, .. } = tokenized;
        let rehearsal = |outlook, input| Rehearsal { part, all_texts, input, longest, beside, reused, outlook };
        let Some((path, overwrite, _)) = to else { return Ok(rehearsal(Outlook::Begins, input)) };
        let outlook = match existing {
            Existing::Complete(manifest) => {
                self.check_complete(path, &manifest, &input, all_texts)?;
                return Ok(rehearsal(Outlook::WasThere, input));
            }
            Existing::Unfinished(JournalEntry::Texts(_, done)) if done.texts > 0 => Outlook::TokenizedSome(done.texts),
            Existing::Unfinished(JournalEntry::Arrays(manifest, done)) => match (manifest.input == input, overwrite) {
                (true, _) => Outlook::EncodedSome(done.texts),
                (false, true) => Outlook::Begins,
                (false, false) => return Err(Error::another_job(path, &["the input".to_owned()])),
            },
            _ => Outlook::Begins,
        };
        let needed = self.plan.bytes(&part.counts) + beside;
        // What rows are copied from is not removed for the sake of room.
        let given_up = if reuse.is_some() && path.join(MANIFEST).exists() { 0 } else { old_bytes };
        let free = room(path).map(|free| free + given_up);
        match free {
            Some(free) if needed > free => Err(Error::DiskFull { path: path.to_owned(), needed, free }),
            _ => Ok(rehearsal(outlook, input)),
        }
    }

    /// Counts the texts and tokens of the job's part of the input, and of all of it, without keeping or encoding anything; and the
    /// bytes of the largest part of Parquet files.
    fn count(&self, reuse: Option<&Reuse>) -> Result<(ShardRows, u64, Option<Reused>, Tokenized)> {
        if self.shard.is_none() && self.plan.part_texts.is_none() && reuse.is_none() {
            let tokenized = self.tokenize().run(&mut CountOnly)?;
            return Ok((ShardRows { first_row: 0, counts: tokenized.counts }, 0, None, tokenized));
        }
        // Where a part ends is known once all texts are.
        let (mut spool, mut columns) = (SpoolWriter::temporary(), ColumnsWriter::new());
        let tokenized = self.tokenize().run(&mut SpooledTexts { spool: &mut spool, columns: &mut columns })?;
        let part = spool.finish().and_then(|mut spool| {
            let part = self.part(&mut spool, tokenized.counts)?;
            let reused = match reuse {
                None => None,
                Some(reuse) => {
                    let reused = reuse.count(spool.by_ref(), self.plan)?;
                    spool.select(part.first_row, part.counts.texts)?;
                    Some(reused)
                }
            };
            let Some(part_texts) = self.plan.part_texts else { return Ok((part, 0, reused)) };
            let rows = rows_of_parts(&mut spool, part_texts, self.plan.counting())?;
            Ok((part, rows.iter().map(|rows| rows.bytes(self.plan)).max().unwrap_or_default(), reused))
        });
        let (part, beside, reused) = part.map_err(Error::io("write a temporary file into", std::env::temp_dir()))?;
        Ok((part, beside, reused, tokenized))
    }

    /// Opens the directories whose rows are copied, if there are any.
    fn open_reuse(&self, record: &JobRecord) -> Result<Option<Reuse>> {
        if self.reuse.is_empty() {
            return Ok(None);
        }
        Reuse::open(self.reuse, record, self.plan, self.observer).map(Some)
    }

    /// The first pass.
    fn tokenize(&self) -> TokenizePass<'a> {
        TokenizePass { input: self.input, tokenizer: self.tokenizer, plan: self.plan, observer: self.observer }
    }

    /// Writes JSON Lines to `out`. If all texts fit into one batch, each layer's weights are read just before they are
    /// used.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub(crate) fn to_json_lines(&self, out: impl Write + Send) -> Result<JobOutcome> {
        let new = |columns: ColumnsReader, first_row: u64, _: &ColumnTypes| {
            Ok(JsonLines::new(out, self.plan, self.tokenizer, columns, first_row))
        };
        self.to_stream(new, JsonLines::finish)
    }

    /// Writes an Arrow stream to `out`, as [`Job::to_json_lines`] writes JSON Lines.
    ///
    /// # Errors
    /// Any of [`Error`].
    #[cfg(feature = "parquet")]
    pub(crate) fn to_arrow(&self, out: impl Write + Send) -> Result<JobOutcome> {
        let new = |columns: ColumnsReader, first_row: u64, types: &ColumnTypes| {
            ArrowStream::new(out, self.plan, types, self.tokenizer, columns, first_row)
        };
        self.to_stream(new, ArrowStream::finish)
    }

    /// Refuses it, in a build without Arrow.
    ///
    /// # Errors
    /// [`Error::Usage`] with the way out.
    #[cfg(not(feature = "parquet"))]
    pub(crate) fn to_arrow(&self, _: impl Write + Send) -> Result<JobOutcome> {
        Err(Error::no_parquet("--format arrow"))
    }

    /// Writes to a sink that is made once the columns of all texts are known.
    fn to_stream<S: Sink>(
        &self,
        new: impl FnOnce(ColumnsReader, u64, &ColumnTypes) -> Result<S>,
        finish: impl FnOnce(S) -> Result<()>,
    ) -> Result<JobOutcome> {
        let (mut spool, mut columns) = (SpoolWriter::temporary(), ColumnsWriter::new());
        let Tokenized { counts, input, types, .. } =
            self.tokenize().run(&mut SpooledTexts { spool: &mut spool, columns: &mut columns })?;
        let unreadable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
        let mut spool = spool.finish().map_err(unreadable)?;
        let part = self.part(&mut spool, counts).map_err(unreadable)?;
        let mut columns = columns.finish()?;
        columns.skip(part.first_row)?;
        let mut sink = new(columns, part.first_row, &types)?;
        let limits = limits(self.plan, self.batch_tokens, true);
        let is_one_batch = part.counts.encoded_tokens().max(part.counts.sequences()) <= limits.tokens as u64;
        let encoder = if is_one_batch { self.model.encoder(self.plan)? } else { self.model.load(self.plan)? };
        let stats = self.encode(
            self.pass(&encoder, &part, &mut BatchSizes::largest(limits)),
            &mut spool,
            &part,
            &mut sink,
            None,
        )?;
        finish(sink)?;
        Ok(JobOutcome::Done(part.counts, stats, input.skipped()))
    }

    /// Writes arrays into a directory. An interrupted job resumes where it stopped.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub(crate) fn to_directory(&self, path: &Path, overwrite: bool, model: ModelIdentity) -> Result<JobOutcome> {
        self.refuse_to_write_over(path)?;
        let record = JobRecord::new(model, self.plan, self.shard, self.model.instruction_set());
        let replacement = Replacement::begin(path, overwrite)?;
        let reuse = self.open_reuse(&record)?;
        let Some(mut replacement) = replacement else {
            return self.write(path, overwrite, &record, reuse.as_ref(), None);
        };
        let next = replacement.next();
        // One that was killed after its last file has only to take the old one's place.
        let is_whole = matches!(manifest::read(&next), Ok(Some(there)) if record.differences(&there.job).is_empty());
        let found = (is_whole && self.input.can_be_read_again()).then(|| self.write(&next, false, &record, None, None));
        let outcome = match found {
            Some(Ok(outcome)) => outcome,
            Some(Err(interrupted @ Error::Interrupted { .. })) => return Err(interrupted),
            // It is of another input, or damaged.
            Some(Err(_)) | None => self.write(&next, true, &record, reuse.as_ref(), Some(&mut replacement))?,
        };
        drop(reuse);
        replacement.finish()?;
        Ok(outcome)
    }

    /// Writes arrays into a directory that holds nothing to be kept. The finished one that it replaces, if any, makes room for it
    /// where the disk has no room for both.
    fn write(
        &self,
        path: &Path,
        overwrite: bool,
        record: &JobRecord,
        reuse: Option<&Reuse>,
        replaced: Option<&mut Replacement>,
    ) -> Result<JobOutcome> {
        let mut directory = OutputDirectory::new(path, overwrite)?;
        let mut begun = self.begin(&directory, record, reuse);
        if let Err(Error::OtherInput(_)) = begun
            && overwrite
        {
            // The unfinished job in the directory turned out to be another one.
            begun = if self.input.can_be_read_again() {
                directory.is_another();
                self.begin(&directory, record, reuse)
            } else {
                directory.give_up_unfinished()?;
                Err(Error::Output {
                    path: path.to_owned(),
                    problem: "held a job that was begun with other input, which is given up now; as standard input can be read once, run the same command again".to_owned(),
                })
            };
        }
        match begun {
            Ok(Some(begun)) => {
                let is_possible = replaced.map_or(Ok(()), |replaced| {
                    replaced.check_names(&begun.manifest)?;
                    self.make_room(path, &begun, reuse, replaced)
                });
                if let Err(error) = is_possible {
                    directory.abandon();
                    return Err(error);
                }
                self.finish(directory, begun, reuse)
            }
            nothing_or_error => {
                directory.abandon();
                nothing_or_error.map(|_| JobOutcome::WasThere)
            }
        }
    }

    /// Refuses an output directory that what is read lies in: it would be in the way of the output, or be taken for it. So is one in
    /// a folder that is read, where the next run would find it.
    fn refuse_to_write_over(&self, directory: &Path) -> Result<()> {
        let place = directory.ancestors().find_map(|ancestor| match ancestor.as_os_str().is_empty() {
            true => Path::new(".").canonicalize().ok(),
            false => ancestor.canonicalize().ok(),
        });
        let around = |folder: &&Path| {
            folder.canonicalize().is_ok_and(|folder| place.as_ref().is_some_and(|place| place.starts_with(folder)))
        };
        if let Some(folder) = self.input.folders().find(around) {
            return Err(Error::Output {
                path: directory.to_owned(),
                problem: format!(
                    "lies in {}, whose files are the input; choose another directory for the output",
                    folder.display()
                ),
            });
        }
        let Ok(directory) = directory.canonicalize() else { return Ok(()) };
        let model = self.model.checkpoint().directory();
        let read = self.input.files().map(|path| ("the input", path)).chain(model.map(|path| ("the model", path)));
        for (what, path) in read {
            if path.canonicalize().is_ok_and(|path| path.starts_with(&directory)) {
                return Err(Error::Output {
                    path: directory,
                    problem: format!(
                        "is where {what} is ({}); choose another directory for the output",
                        path.display()
                    ),
                });
            }
        }
        Ok(())
    }

    /// Runs the first pass, or what is left of it, and loads the model. `None` when the directory already holds the
    /// whole job.
    fn begin(&self, directory: &OutputDirectory, record: &JobRecord, reuse: Option<&Reuse>) -> Result<Option<Begun>> {
        let path = directory.path();
        let (mut files, done, earlier) = match directory.start(record)? {
            Start::Complete(manifest) => {
                let (input, texts) = identify(self.input, self.observer)?;
                self.check_complete(path, &manifest, &input, texts)?;
                directory.tidy();
                return Ok(None);
            }
            Start::Texts(files) => (files, None, None),
            Start::Arrays(files, done, manifest) => (files, Some(done), Some(manifest)),
        };
        let (read, ahead) = self.first_pass(path, &mut files, reuse);
        let read = match read {
            Ok(read) => read,
            Err(error) if error.is_of_input() => {
                files.discard();
                return Err(error);
            }
            Err(error) => {
                files.stop();
                return Err(error);
            }
        };
        let mut texts = files.finish(&read.input.sha256)?;
        let all_texts = read.counts.texts;
        let part = self.part(&mut texts.spool, read.counts).map_err(Error::io("read the tokens in", path))?;
        let mut manifest = Manifest::new(record.clone(), self.plan, read.input, &part.counts);
        manifest.columns = self.plan.part_texts.map(|_| read.types);
        if let Some(shard) = &mut manifest.job.shard {
            shard.first_row = Some(part.first_row);
            shard.all_texts = Some(all_texts);
        }
        let differences = earlier.map_or_else(Vec::new, |earlier| manifest.differences(&earlier));
        if !differences.is_empty() {
            return Err(Error::OtherInput(Box::new(Error::another_job(path, &differences))));
        }
        // Checks the weights before the arrays are created, so that damaged weights leave none behind.
        let encoder = self.model.load(self.plan)?;
        // Both find room on the disk, or one of them goes: the arrays, and for Parquet a part's rows, which are no more than all.
        let arrays = self.plan.bytes(&part.counts);
        let needed = if self.plan.part_texts.is_some() { 2 * arrays } else { arrays } + Self::ROOM_LEFT;
        let ahead = ahead.filter(|ahead| {
            let has_room = room(path).is_none_or(|free| free >= needed);
            if !has_room {
                self.observer.detail(&format!(
                    "there is no room for the rows of {} texts that were encoded while others were tokenized; they are encoded again",
                    ahead.end().texts
                ));
            }
            has_room
        });
        Ok(Some(Begun { encoder, texts, part, manifest, done, ahead }))
    }

    /// Bytes on the disk that are not taken by what can be done without.
    const ROOM_LEFT: u64 = 1 << 30;

    /// Runs the first pass, and the encoder on what it has tokenized so far if it takes long: where texts are encoded in the order in
    /// which they come, and all of them. Which texts are a shard's is known once all are tokenized.
    fn first_pass(
        &self,
        path: &Path,
        files: &mut TextFiles,
        reuse: Option<&Reuse>,
    ) -> (Result<Tokenized>, Option<RowsAhead>) {
        /// Bytes of rows that wait for the end of the first pass, at most.
        const MOST_BYTES: u64 = 4 << 30;
        let growing = files.growing().filter(|_| self.shard.is_none() && reuse.is_none());
        let mut sink = files.sink(self.plan);
        let Some(growing) = growing else { return (self.tokenize().run(&mut sink), None) };
        let head_start = HeadStart {
            model: self.model,
            plan: self.plan,
            sizes: self.batch_sizes(),
            part_texts: self.plan.part_texts,
            observer: self.observer,
            most_bytes: room(path).map_or(MOST_BYTES, |free| MOST_BYTES.min(free / 8)),
        };
        head_start.beside(self.tokenize(), &mut sink, &growing)
    }

    /// The sizes of batches of which a kill loses one.
    fn batch_sizes(&self) -> BatchSizes {
        let operations = self.plan.deepest() * encoder::weights_of_layer(self.model.config());
        BatchSizes::timed(limits(self.plan, self.batch_tokens, false), operations, self.model.threads())
    }

    /// Removes what is replaced before the new arrays are there, if the disk has no room for both.
    fn make_room(&self, path: &Path, begun: &Begun, reuse: Option<&Reuse>, replaced: &mut Replacement) -> Result<()> {
        let (needed, old) = (self.plan.bytes(&begun.part.counts), replaced.old_bytes());
        let free = room(path).unwrap_or(u64::MAX);
        if begun.done.is_some() || needed <= free || needed > free.saturating_add(old) {
            return Ok(()); // where even that does not help, the error says how much is lacking
        }
        if reuse.is_some() {
            return Err(Error::DiskFull { path: path.to_owned(), needed, free });
        }
        self.observer.warn(&format!(
            "the disk has no room for the old and the new vectors at once ({} needed, {} free): the old ones are removed first",
            bytes(needed),
            bytes(free)
        ));
        replaced.give_up_old(&begun.manifest)
    }

    /// Runs the second pass, or what is left of it.
    fn finish(&self, directory: OutputDirectory, begun: Begun, reuse: Option<&Reuse>) -> Result<JobOutcome> {
        let Begun { encoder, texts, part, manifest, done, ahead } = begun;
        let (path, counts, skipped) = (directory.path().to_owned(), &part.counts, manifest.input.skipped());
        let (mut sink, mut spool) = directory.arrays(self.plan, &part, manifest, texts, done, self.observer)?;
        let done = sink.texts_done();
        if done > 0 {
            let message = format!("{} holds the first {done} of {} texts; going on", path.display(), counts.texts);
            self.observer.note(&message);
        }
        let tokens_done = sink.tokens_done();
        let mut sizes = self.batch_sizes();
        let pass = EncodePass { done, tokens_done, way_on: Error::GO_ON, ..self.pass(&encoder, &part, &mut sizes) };
        let encoded = match ahead {
            Some(ahead) if done == 0 => self.encode_after(ahead, pass, &mut spool, &part, &mut sink),
            _ => self.encode(pass, &mut spool, &part, &mut sink, reuse),
        };
        match encoded {
            Ok(stats) => {
                sink.finish(&manifest::run(self.started, &stats, self.model.threads(), self.batch_tokens))?;
                Ok(JobOutcome::Done(part.counts, stats, skipped))
            }
            Err(error) => {
                let done = sink.stop();
                Err(error.or_disk_full(&path, || self.plan.bytes(counts).saturating_sub(done)))
            }
        }
    }

    /// Refuses a complete directory that is damaged, or whose input differs from this job's.
    fn check_complete(&self, path: &Path, manifest: &Manifest, input: &InputRecord, texts: u64) -> Result<()> {
        if manifest.input != *input {
            return Err(Error::another_job(path, &["the input".to_owned()]));
        }
        let damaged = |problem: String| Error::Output {
            path: path.join(MANIFEST),
            problem: format!("is damaged: {problem}; do the job anew with --overwrite"),
        };
        let counts = manifest.sound_counts().map_err(damaged)?;
        if manifest.job.shard.is_none() && counts.texts != texts {
            return Err(damaged(format!("counts: it has {} texts, the input {texts}", counts.texts)));
        }
        if let Some(problem) = existing::changed(path, self.plan, &counts, manifest, self.observer)? {
            return Err(Error::Output {
                path: path.to_owned(),
                problem: format!("holds this job, but {problem}; do it anew with --overwrite"),
            });
        }
        Ok(())
    }

    /// The texts of this job's shard among all texts. Positions the spool at its first text.
    fn part(&self, spool: &mut SpoolReader, all: Counts) -> io::Result<ShardRows> {
        match self.shard {
            None => Ok(ShardRows { first_row: 0, counts: all }),
            Some(shard) => shard.cut(spool, &all, self.plan.counting(), self.plan.part_texts),
        }
    }

    fn pass<'b>(&'b self, encoder: &'b Encoder, part: &ShardRows, sizes: &'b mut BatchSizes) -> EncodePass<'b> {
        EncodePass {
            encoder,
            plan: self.plan,
            sizes,
            first_row: part.first_row,
            texts: part.counts.texts,
            done: 0,
            tokens_done: 0,
            part_texts: self.plan.part_texts,
            way_on: Error::START_OVER,
        }
    }

    /// Writes the rows that were encoded beside the first pass, and encodes the texts that follow.
    fn encode_after(
        &self,
        ahead: RowsAhead,
        mut pass: EncodePass<'_>,
        spool: &mut SpoolReader,
        part: &ShardRows,
        sink: &mut Arrays,
    ) -> Result<EncodingStats> {
        let RowsEnd { texts: texts_ahead, tokens: tokens_ahead, repeated_texts, .. } = ahead.end();
        self.observer.detail(&format!("{texts_ahead} texts were encoded while others were tokenized"));
        let (texts, way_on) = (part.counts.texts, pass.way_on);
        ahead.hand_on(&mut spool.by_ref().map(|tokens| tokens.map_err(unreadable_tokens)), sink, |written, done| {
            pass.done = done;
            for text in written {
                pass.tokens_done += text.text.windows(self.plan.windowing()).tokens() as u64;
            }
            match self.observer.interruption() {
                Some(signal) => Err(Error::Interrupted { signal, done, texts, way_on }),
                None => Ok(()),
            }
        })?;
        let mut stats = self.encode(pass, spool, part, sink, None)?;
        stats.tokens_ahead = tokens_ahead;
        stats.repeated_texts += repeated_texts;
        Ok(stats)
    }

    /// Encodes the texts; those that are known from other directories are copied, if there are such.
    fn encode(
        &self,
        pass: EncodePass<'_>,
        spool: &mut SpoolReader,
        part: &ShardRows,
        sink: &mut dyn Sink,
        reuse: Option<&Reuse>,
    ) -> Result<EncodingStats> {
        let work = Work::Encoding { tokens: part.counts.encoded_tokens(), done: pass.tokens_done };
        let progress = self.observer.begin(work);
        let texts = spool.map(|tokens| tokens.map_err(unreadable_tokens));
        let Some(reuse) = reuse else { return pass.run(texts, sink, self.observer, &*progress) };
        let most_new = limits(self.plan, self.batch_tokens, true).tokens;
        let reusing = ReusePass { reuse, plan: self.plan, most_new, observer: self.observer };
        let (stats, reused) = reusing.run(pass, texts, sink, &*progress)?;
        drop(progress);
        self.observer.note(&reused.told("were copied"));
        Ok(stats)
    }
}

/// How an output directory is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// The format of the arrays.
    pub format: Format,
    /// Texts of a part, for Parquet; by default as many as have about 256 MiB of vectors.
    pub part_texts: Option<u64>,
    /// Whether other contents of the directory are replaced. Only files that layerwise writes are ever removed.
    pub overwrite: bool,
    /// The part of the input to encode, all of it by default. [`merge`](crate::merge) joins the parts' directories.
    pub shard: Option<Shard>,
    /// Finished directories out of which rows are copied where texts and settings are the same. The bytes that are written do not
    /// depend on it.
    pub reuse: Vec<PathBuf>,
}

impl Model {
    /// Encodes all texts of an input into a directory of arrays, with `texts.jsonl` and a manifest beside them. If the
    /// directory holds an unfinished job of the same request and input, it resumes there.
    ///
    /// # Errors
    /// Any of [`Error`]. Finished work stays in the directory.
    pub fn encode_to_directory(
        &self,
        input: &Input,
        request: &Request,
        path: &Path,
        options: DirectoryOptions,
    ) -> Result<()> {
        let DirectoryOptions { format, part_texts, overwrite, shard, reuse } = options;
        let part_texts = part_texts.map(|texts| texts.max(1));
        let plan = self.plan(request)?;
        self.install(|| {
            let (tokenizer, plan, identity) = self.warm_up(plan, || identity(self))?;
            let plan = &DirectoryPlan::new(plan, input, format, part_texts);
            plan.check_format()?;
            let (batch_tokens, started) = (self.batch_tokens(request.batch_tokens), SystemTime::now());
            let observer = self.observer();
            let reuse = &reuse[..];
            let tokenizer = &*tokenizer;
            let job = Job { model: self, plan, tokenizer, input, shard, batch_tokens, reuse, started, observer };
            job.to_directory(path, overwrite, identity).map(drop)
        })
    }
}

/// A job in a directory after its first pass.
struct Begun {
    encoder: Arc<Encoder>,
    texts: TokenizedTexts,
    part: ShardRows,
    manifest: Manifest,
    done: Option<ArraysDone>,
    /// Rows of the first texts, if the first pass took long.
    ahead: Option<RowsAhead>,
}

fn unreadable_tokens(error: io::Error) -> Error {
    Error::io("read", "back the temporary file of tokenized texts")(error)
}
