//! `--reuse`: vectors of texts that other directories hold already are copied instead of computed.
//!
//! A text is known again by its digest ([`TextDigest`]), never by its id, and a directory is taken only if its job gives a text the
//! bits that the new one gives it. So the new directory is, byte for byte, what a job without `--reuse` writes.

mod old_directory;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use self::old_directory::OldDirectory;
use crate::batch::{Batch, TextSpan, Tokens};
use crate::directory::manifest::JobRecord;
use crate::directory::plan_record::DirectoryPlan;
use crate::encode::{EncodePass, EncodingStats};
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress};
use crate::sink::Sink;
use crate::text_digest::TextDigest;

/// The texts of finished directories, and where their rows are.
pub(crate) struct Reuse {
    directories: Vec<OldDirectory>,
    /// Sorted by digest, each once, with its first place.
    known: Vec<(TextDigest, Place)>,
}

/// A text of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

impl Place {
    /// Bits of the text's number, which is less than any count that is taken.
    const TEXT: u32 = 48;

    fn new(directory: usize, text: u64) -> Self {
        Self((directory as u64) << Self::TEXT | text)
    }

    fn directory(self) -> usize {
        (self.0 >> Self::TEXT) as usize
    }

    fn text(self) -> u64 {
        self.0 & ((1 << Self::TEXT) - 1)
    }
}

/// How many texts were copied from each directory, and how many were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reused {
    pub(crate) from: Vec<(PathBuf, u64)>,
    /// Texts that no directory has.
    pub(crate) new_texts: u64,
    /// Tokens of those, as often as they are encoded.
    pub(crate) new_tokens: u64,
}

impl Reused {
    fn add(&mut self, text: &Tokens, place: Option<Place>, plan: &DirectoryPlan) {
        match place {
            Some(place) => self.from[place.directory()].1 += 1,
            None => {
                self.new_texts += 1;
                self.new_tokens += text.windows(plan.windowing()).tokens() as u64;
            }
        }
    }

    /// `7679 of 8082 texts are copied from old; 403 are encoded`.
    pub(crate) fn told(&self, are_copied: &str) -> String {
        let copied: u64 = self.from.iter().map(|(_, texts)| texts).sum();
        let places: Vec<String> = (self.from.iter())
            .filter(|(_, texts)| *texts > 0)
            .map(|(path, texts)| match self.from.len() {
                1 => path.display().to_string(),
                _ => format!("{} ({texts})", path.display()),
            })
            .collect();
        let from = if places.is_empty() { String::new() } else { format!(" from {}", places.join(" and ")) };
        format!("{copied} of {} texts {are_copied}{from}", copied + self.new_texts)
    }
}

impl Reuse {
    /// Opens directories for a job. Of a text that several have, the first one's rows are taken.
    ///
    /// # Errors
    /// [`Error::Usage`] for too many directories; those of [`OldDirectory::open`] and [`OldDirectory::digests`].
    pub(crate) fn open(
        paths: &[PathBuf],
        job: &JobRecord,
        plan: &DirectoryPlan,
        observer: &dyn Observer,
    ) -> Result<Self> {
        const MOST: usize = 1 << 10;
        if paths.len() > MOST {
            return Err(Error::Usage(format!("--reuse names {} directories; expected at most {MOST}", paths.len())));
        }
        let open = |path: &PathBuf| OldDirectory::open(path, job, plan, observer);
        let directories = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut known = Vec::new();
        for (index, directory) in directories.iter().enumerate() {
            let mut text = 0;
            directory.digests(|digest| {
                known.push((digest, Place::new(index, text)));
                text += 1;
            })?;
        }
        known.sort_unstable();
        known.dedup_by_key(|(digest, _)| *digest);
        Ok(Self { directories, known })
    }

    /// Where a text's rows are.
    fn find(&self, text: &Tokens) -> Option<Place> {
        let digest = TextDigest::of(text);
        self.known.binary_search_by_key(&digest, |(digest, _)| *digest).ok().map(|index| self.known[index].1)
    }

    fn nothing_yet(&self) -> Reused {
        Reused { from: self.directories.iter().map(|old| (old.path.clone(), 0)).collect(), ..Reused::default() }
    }

    /// How many of some texts would be copied from where.
    ///
    /// # Errors
    /// Those of the texts.
    pub(crate) fn count<E>(
        &self,
        texts: impl Iterator<Item = std::result::Result<Tokens, E>>,
        plan: &DirectoryPlan,
    ) -> std::result::Result<Reused, E> {
        let mut reused = self.nothing_yet();
        for text in texts {
            let text = text?;
            reused.add(&text, self.find(&text), plan);
        }
        Ok(reused)
    }
}

/// Texts that are written together: their new ones are encoded, and then all are written in their order.
#[derive(Default)]
struct Wave {
    texts: Vec<(Arc<Tokens>, Option<Place>)>,
    tokens: usize,
    new_tokens: usize,
}

impl Wave {
    /// Most texts and tokens of a wave, as their tokens are in memory.
    const MOST_TEXTS: usize = 1 << 14;
    const MOST_TOKENS: usize = 1 << 20;

    /// Whether there is room for a text: vectors of the new ones are held in memory, `most_new` tokens at most, unless it is alone.
    fn has_room_for(&self, text: &Tokens, is_new: bool, most_new: usize) -> bool {
        let (tokens, new) = (self.tokens + text.len(), self.new_tokens + if is_new { text.len() } else { 0 });
        self.texts.is_empty() || (self.texts.len() < Self::MOST_TEXTS && tokens <= Self::MOST_TOKENS && new <= most_new)
    }

    fn push(&mut self, text: Tokens, place: Option<Place>) {
        self.tokens += text.len();
        self.new_tokens += if place.is_none() { text.len() } else { 0 };
        self.texts.push((Arc::new(text), place));
    }
}

/// A second pass that copies what is known.
pub(crate) struct ReusePass<'a> {
    pub(crate) reuse: &'a Reuse,
    pub(crate) plan: &'a DirectoryPlan,
    /// Most tokens whose vectors are held in memory.
    pub(crate) most_new: usize,
    pub(crate) observer: &'a dyn Observer,
}

impl ReusePass<'_> {
    /// Encodes or copies `texts`, which follow those that `pass` has done.
    ///
    /// # Errors
    /// Those of [`EncodePass::run`], and of reading the old directories.
    pub(crate) fn run(
        &self,
        mut pass: EncodePass<'_>,
        texts: impl Iterator<Item = Result<Tokens>>,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<(EncodingStats, Reused)> {
        let begun = std::time::Instant::now();
        let (mut stats, mut reused) = (EncodingStats::default(), self.reuse.nothing_yet());
        let with_place = |text: Tokens| {
            let place = self.reuse.find(&text);
            (text, place)
        };
        let mut texts = texts.map(|text| text.map(with_place)).peekable();
        while texts.peek().is_some() {
            let wave = self.next_wave(&mut texts, pass.part_texts.map(|part| part - pass.done % part))?;
            let count = wave.texts.len() as u64;
            wave.texts.iter().for_each(|(text, place)| reused.add(text, *place, self.plan));
            if let Some(signal) = self.observer.interruption() {
                let EncodePass { done, texts, way_on, .. } = pass;
                return Err(Error::Interrupted { signal, done, texts, way_on });
            }
            let of_wave = self.encode(&mut pass, &wave, sink, progress)?;
            pass.done += count;
            stats.add(&of_wave);
        }
        stats.time = begun.elapsed();
        Ok((stats, reused))
    }

    /// The next texts, up to `most` of them.
    fn next_wave(
        &self,
        texts: &mut std::iter::Peekable<impl Iterator<Item = Result<(Tokens, Option<Place>)>>>,
        most: Option<u64>,
    ) -> Result<Wave> {
        let mut wave = Wave::default();
        while most.is_none_or(|most| (wave.texts.len() as u64) < most) {
            let fits = |text: &Result<(Tokens, Option<Place>)>| match text {
                Err(_) => true, // returned below
                Ok((text, place)) => wave.has_room_for(text, place.is_none(), self.most_new),
            };
            let Some(text) = texts.next_if(fits) else { break };
            let (text, place) = text?;
            wave.push(text, place);
        }
        Ok(wave)
    }

    /// Encodes the new texts of a wave, and writes all of its texts.
    fn encode(
        &self,
        pass: &mut EncodePass<'_>,
        wave: &Wave,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<EncodingStats> {
        let new = || wave.texts.iter().filter(|(_, place)| place.is_none()).map(|(text, _)| Ok(Tokens::clone(text)));
        let is_all_new = wave.texts.iter().all(|(_, place)| place.is_none());
        if is_all_new {
            return pass.of_some().run(new(), sink, self.observer, progress);
        }
        let mut held = HeldRows { arrays: vec![Vec::new(); self.plan.arrays().len()] };
        let before = pass.done;
        let of_new = EncodePass { first_row: 0, part_texts: None, ..pass.of_some() };
        let encoded = of_new.run(new(), &mut held, self.observer, progress);
        let stats = encoded.map_err(|error| match error {
            Error::NotFinite { layer, row } => {
                let index = row.saturating_sub(before) as usize;
                let text = wave.texts.iter().enumerate().filter(|(_, (_, place))| place.is_none()).nth(index);
                Error::NotFinite { layer, row: pass.first_row + before + text.map_or(0, |(text, _)| text as u64) }
            }
            error => error,
        })?;
        self.write(wave, &held.arrays, sink, progress)?;
        Ok(stats)
    }

    /// Writes the rows of a wave's texts in their order: `held` are those of the new ones, for each array.
    fn write(&self, wave: &Wave, held: &[Vec<f32>], sink: &mut dyn Sink, progress: &dyn Progress) -> Result<()> {
        /// Numbers that are written at once.
        const NUMBERS: usize = 1 << 22;
        for (index, array) in self.plan.arrays().iter().enumerate() {
            let rows_of = |text: &Tokens| text.rows(array.kind.rows(), self.plan.special_tokens);
            let mut held = held.get(index).map_or(&[][..], Vec::as_slice);
            let mut out = Vec::new();
            let mut texts = wave.texts.iter().peekable();
            while let Some((text, place)) = texts.next() {
                let Some(first) = place else {
                    let (rows, rest) = held.split_at(rows_of(text) * array.columns);
                    out.extend_from_slice(rows);
                    held = rest;
                    continue;
                };
                // Texts that follow each other there as they do here are read at once.
                let (mut count, mut rows) = (1, rows_of(text));
                while let Some((text, _)) = texts.next_if(|(_, place)| {
                    let follows = Place::new(first.directory(), first.text() + count);
                    *place == Some(follows) && rows * array.columns < NUMBERS
                }) {
                    (count, rows) = (count + 1, rows + rows_of(text));
                }
                let range: Range<u64> = first.text()..first.text() + count;
                self.reuse.directories[first.directory()].read(index, range, rows as u64, &mut out)?;
                if out.len() >= NUMBERS {
                    sink.write(index, &out)?;
                    out.clear();
                }
            }
            sink.write(index, &out)?;
        }
        let copied = wave.texts.iter().filter(|(_, place)| place.is_some());
        let tokens: usize = copied.map(|(text, _)| text.windows(self.plan.windowing()).tokens()).sum();
        progress.advance(tokens as u64);
        let parts = wave.texts.iter().map(|(text, _)| TextSpan::whole(Arc::clone(text))).collect();
        sink.end_batch(&Batch { parts, ..Batch::new() })
    }
}

/// Rows of new texts until those between them are copied.
struct HeldRows {
    arrays: Vec<Vec<f32>>,
}

impl Sink for HeldRows {
    fn write(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.arrays[index].extend_from_slice(rows);
        Ok(())
    }

    fn end_batch(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}
