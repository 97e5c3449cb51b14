//! A job in two passes over the texts: into a directory, or as JSON Lines.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::batch::Limits;
use crate::counts::Counts;
use crate::directory::existing;
use crate::directory::journal::ArraysDone;
use crate::directory::manifest::{self, JobRecord, Manifest, ModelIdentity};
use crate::directory::output_directory::{OutputDirectory, Start};
use crate::directory::plan_record::DirectoryPlan;
use crate::directory::text_files::TokenizedTexts;
use crate::encode::{EncodePass, EncodingStats, limits};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::json_lines::JsonLines;
use crate::json_lines::columns::{ColumnsWriter, SpooledTexts};
use crate::model::Model;
use crate::observer::{Observer, Work};
use crate::request::Request;
use crate::shard::{Shard, ShardRows};
use crate::sink::Sink;
use crate::spec::{Format, VectorKind};
use crate::spool::{SpoolReader, SpoolWriter};
use crate::tokenize::{CountOnly, TokenizePass, digest};
use crate::tokens::Tokenizer;

/// What came of a job.
#[derive(Debug, Clone, Copy)]
pub(crate) enum JobOutcome {
    /// It is done: how much there is, and how the encoding went.
    Done(Counts, EncodingStats),
    /// The directory held it already.
    WasThere,
}

/// Which model it is, down to the bytes.
///
/// # Errors
/// [`Error::Io`] when a file of the model cannot be read.
pub(crate) fn identity(model: &Model) -> Result<ModelIdentity> {
    Ok(ModelIdentity {
        id: model.id().to_owned(),
        revision: model.revision().map(str::to_owned),
        sha256: model.checkpoint().digests()?,
        num_hidden_layers: model.num_hidden_layers(),
        hidden_size: model.hidden_size(),
    })
}

/// A job that is resolved: nothing is left to be decided.
pub(crate) struct Job<'a> {
    pub(crate) model: &'a Model,
    pub(crate) plan: &'a DirectoryPlan,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) input: &'a Input,
    pub(crate) shard: Option<Shard>,
    pub(crate) batch_tokens: u32,
    pub(crate) started: SystemTime,
    pub(crate) observer: &'a dyn Observer,
}

impl<'a> Job<'a> {
    /// How much there is of everything. Nothing is kept, and nothing encoded.
    ///
    /// # Errors
    /// Those of the first pass.
    pub(crate) fn count(&self) -> Result<Counts> {
        Ok(self.tokenize().run(&mut CountOnly)?.counts)
    }

    /// The first pass.
    fn tokenize(&self) -> TokenizePass<'a> {
        TokenizePass { input: self.input, tokenizer: self.tokenizer, plan: self.plan, observer: self.observer }
    }

    /// JSON Lines. For a single batch each layer is read when its turn comes.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub(crate) fn to_json_lines(&self, out: impl Write + Send) -> Result<JobOutcome> {
        let (mut spool, mut columns) = (SpoolWriter::temporary(), ColumnsWriter::new());
        let counts = self.tokenize().run(&mut SpooledTexts { spool: &mut spool, columns: &mut columns })?.counts;
        let unreadable = |error| Error::io("write a temporary file into", std::env::temp_dir())(error);
        let mut spool = spool.finish().map_err(unreadable)?;
        let part = self.part(&mut spool, counts).map_err(unreadable)?;
        let mut sink = JsonLines::new(out, self.plan, self.tokenizer, columns.finish()?, part.first_row)?;
        let limits = limits(self.plan, self.batch_tokens, true);
        let encoder = self.model.encoder(self.plan)?;
        if part.counts.encoded_tokens().max(part.counts.sequences()) > limits.tokens as u64 {
            self.load(&encoder)?;
        }
        let stats = self.encode(self.pass(&encoder, &part, limits), spool, &part, &mut sink)?;
        sink.finish()?;
        Ok(JobOutcome::Done(part.counts, stats))
    }

    /// Arrays in a directory. A job that was stopped goes on from where it was.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub(crate) fn to_directory(&self, path: &Path, overwrite: bool, model: ModelIdentity) -> Result<JobOutcome> {
        let record = JobRecord::new(model, self.plan, self.shard, self.model.instruction_set());
        let mut directory = OutputDirectory::new(path, overwrite)?;
        let mut begun = self.begin(&directory, &record);
        if let Err(Error::OtherInput(_)) = begun
            && overwrite
        {
            // What is there is another job after all.
            begun = if self.input.can_be_read_again() {
                directory.is_another();
                self.begin(&directory, &record)
            } else {
                directory.give_up_unfinished()?;
                Err(Error::Output {
                    path: path.to_owned(),
                    problem: "held a job that was begun with other input, which is given up now; as standard input can be read once, run the same command again".to_owned(),
                })
            };
        }
        match begun {
            Ok(Some(begun)) => self.finish(directory, begun),
            nothing_or_error => {
                directory.abandon();
                nothing_or_error.map(|_| JobOutcome::WasThere)
            }
        }
    }

    /// The first pass, or what is left of it, and the model. `None` when the directory holds the whole job already.
    fn begin(&self, directory: &OutputDirectory, record: &JobRecord) -> Result<Option<Begun>> {
        let path = directory.path();
        let (mut files, done, earlier) = match directory.start(record)? {
            Start::Complete(manifest) => {
                self.check_complete(path, &manifest)?;
                directory.tidy()?;
                return Ok(None);
            }
            Start::Texts(files) => (files, None, None),
            Start::Arrays(files, done, manifest) => (files, Some(done), Some(manifest)),
        };
        let read = match self.tokenize().run(&mut files.sink(self.plan)) {
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
        let mut texts = files.finish(&read.input_sha256)?;
        let all_texts = read.counts.texts;
        let part = self.part(&mut texts.spool, read.counts).map_err(Error::io("read the tokens in", path))?;
        let mut manifest = Manifest::new(record.clone(), self.plan, &read.input_sha256, &part.counts);
        if let Some(shard) = &mut manifest.job.shard {
            shard.first_row = Some(part.first_row);
            shard.all_texts = Some(all_texts);
        }
        let differences = earlier.map_or_else(Vec::new, |earlier| manifest.differences(&earlier));
        if !differences.is_empty() {
            return Err(Error::OtherInput(Box::new(Error::another_job(path, &differences))));
        }
        // Damaged weights are found before the arrays are created.
        let encoder = self.model.encoder(self.plan)?;
        self.load(&encoder)?;
        Ok(Some(Begun { encoder, texts, part, manifest, done }))
    }

    /// The second pass.
    fn finish(&self, directory: OutputDirectory, begun: Begun) -> Result<JobOutcome> {
        let Begun { encoder, texts, part, manifest, done } = begun;
        let (path, counts) = (directory.path().to_owned(), &part.counts);
        let (mut sink, spool) = directory.arrays(self.plan, &part, manifest, texts, done)?;
        let done = sink.texts_done();
        if done > 0 {
            let message = format!("{} holds the first {done} of {} texts; going on", path.display(), counts.texts);
            self.observer.note(&message);
        }
        let limits = limits(self.plan, self.batch_tokens, false);
        let pass = EncodePass { done, way_on: Error::GO_ON, ..self.pass(&encoder, &part, limits) };
        match self.encode(pass, spool, &part, &mut sink) {
            Ok(stats) => {
                sink.finish(&manifest::run(self.started, &stats, self.model.threads(), self.batch_tokens))?;
                Ok(JobOutcome::Done(part.counts, stats))
            }
            Err(error) => {
                let done = sink.stop();
                Err(error.or_disk_full(&path, || self.plan.bytes(counts).saturating_sub(done)))
            }
        }
    }

    /// Refuses a complete directory whose job is another one after all, or that is damaged.
    fn check_complete(&self, path: &Path, manifest: &Manifest) -> Result<()> {
        let (input_sha256, texts) = digest(self.input, self.observer)?;
        if manifest.input.sha256 != input_sha256 {
            return Err(Error::another_job(path, &["the input".to_owned()]));
        }
        let damaged = |problem: String| Error::Output {
            path: path.join(manifest::MANIFEST),
            problem: format!("is damaged: {problem}; do the job anew with --overwrite"),
        };
        let counts = manifest.sound_counts().map_err(damaged)?;
        if manifest.job.shard.is_none() && counts.texts != texts {
            return Err(damaged(format!("counts: it has {} texts, the input {texts}", counts.texts)));
        }
        if let Some(problem) = existing::lost(path, self.plan, &counts) {
            return Err(Error::Output {
                path: path.to_owned(),
                problem: format!("holds this job, but {problem}; do it anew with --overwrite"),
            });
        }
        Ok(())
    }

    /// The part of all texts that is this job's; the spool is moved to its first text.
    fn part(&self, spool: &mut SpoolReader, all: Counts) -> io::Result<ShardRows> {
        match self.shard {
            None => Ok(ShardRows { first_row: 0, counts: all }),
            Some(shard) => shard.cut(spool, &all, self.plan.counting()),
        }
    }

    /// Loads the model as deep as the plan needs it.
    fn load(&self, encoder: &Encoder) -> Result<()> {
        encoder.load(self.plan.deepest(), self.plan.has(VectorKind::Pooler))
    }

    fn pass<'b>(&'b self, encoder: &'b Encoder, part: &ShardRows, limits: Limits) -> EncodePass<'b> {
        EncodePass {
            encoder,
            plan: self.plan,
            limits,
            first_row: part.first_row,
            texts: part.counts.texts,
            done: 0,
            way_on: Error::START_OVER,
        }
    }

    fn encode(
        &self,
        pass: EncodePass<'_>,
        spool: SpoolReader,
        part: &ShardRows,
        sink: &mut dyn Sink,
    ) -> Result<EncodingStats> {
        let progress = self.observer.begin(Work::Encoding(part.counts.encoded_tokens()));
        let unreadable = |error| Error::io("read", "back the temporary file of tokenized texts")(error);
        pass.run(spool.map(|tokens| tokens.map_err(unreadable)), sink, self.observer, &*progress)
    }
}

/// How a directory is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// The format of the arrays.
    pub format: Format,
    /// Whether something else that is there is replaced; only files that layerwise writes.
    pub overwrite: bool,
    /// The part of the input, where it is not all of it; [`merge`](crate::merge) joins the parts.
    pub shard: Option<Shard>,
}

impl Model {
    /// Encodes all texts of an input into a directory of arrays, with their tokens and ids beside them and a manifest. What
    /// was begun before, by the same request and of the same input, goes on where it was.
    ///
    /// # Errors
    /// Any of [`Error`]; what is finished stays.
    pub fn encode_to_directory(
        &self,
        input: &Input,
        request: &Request,
        path: &Path,
        options: DirectoryOptions,
    ) -> Result<()> {
        let DirectoryOptions { format, overwrite, shard } = options;
        let plan = self.plan(request)?;
        self.install(|| {
            let (tokenizer, plan, identity) = self.warm_up(plan, || identity(self))?;
            let plan = &DirectoryPlan::new(plan, input, format);
            let (batch_tokens, started) = (request.batch_tokens, SystemTime::now());
            let observer = self.observer();
            let job = Job { model: self, plan, tokenizer: &tokenizer, input, shard, batch_tokens, started, observer };
            job.to_directory(path, overwrite, identity).map(drop)
        })
    }
}

/// A job in a directory whose first pass is over.
struct Begun {
    encoder: Arc<Encoder>,
    texts: TokenizedTexts,
    part: ShardRows,
    manifest: Manifest,
    done: Option<ArraysDone>,
}
