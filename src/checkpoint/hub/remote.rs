//! What is asked of the hub: a revision's commit and files, a file's name and size, its content.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};
use ureq::http::{Response, StatusCode, Uri};

use super::digest::Digest;
use super::error::HubError;
use super::names::{is_blob_name, is_commit, is_file_name};
use super::progress::{DownloadProgress, FileProgress};
use super::refusal::Refusal;
use super::settings::{HubSettings, Token};
use super::transport::{Ask, Transport};
use crate::error::json_problem;

/// The longest list of files that is read.
const LISTING_LIMIT: u64 = 16 << 20;
/// The longest text (configurations, vocabularies), and the longest file whose size nobody tells.
const TEXT_LIMIT: u64 = 64 << 20;

/// A repository on the hub.
pub(super) struct Hub<'a> {
    id: &'a str,
    token: Option<&'a Token>,
    transport: Transport<'a>,
    /// How long a hub may be silent where the cache has what is asked for.
    patience: Duration,
}

/// A revision's commit and the names of its files.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// What the hub promises about a file.
pub(super) struct Metadata {
    /// The name of its blob: a digest of the content, on hubs that follow the original.
    pub(super) etag: String,
    pub(super) size: Option<u64>,
}

impl<'a> Hub<'a> {
    /// Prepares to ask for `id`; asks nothing yet.
    ///
    /// # Errors
    /// `HubError::Setting` if the endpoint or the token cannot be used.
    pub(super) fn new(
        settings: &'a HubSettings,
        id: &'a str,
        bar: &'a DownloadProgress<'a>,
    ) -> Result<Hub<'a>, HubError> {
        let (transport, patience) = (Transport::new(settings, bar)?, settings.silence_limit);
        Ok(Hub { id, token: settings.token.as_ref(), transport, patience })
    }

    /// The commit that `revision` stands for now, and its files. Where `has_copy` holds, which is asked after a first
    /// failure, the hub gets as long as one silence in all.
    ///
    /// # Errors
    /// What came instead; the caller may have a copy to go on with.
    pub(super) fn listing(&self, revision: &str, has_copy: impl FnOnce() -> bool) -> Result<Listing, Refusal> {
        let parts = ["api", "models"].into_iter().chain(self.id.split('/')).chain(["revision", revision]);
        let url = self.below(parts)?;
        let end = Instant::now() + self.patience;
        let mut patience = self.transport.patience();
        let mut has_copy = Some(has_copy);
        let mut deadline = Some(end);
        loop {
            let mut refusal = match self.list(revision, &url, deadline) {
                Ok(listing) => return Ok(listing),
                Err(refusal) => refusal,
            };
            if let Some(has_copy) = has_copy.take()
                && !(refusal.is_absence() && has_copy())
            {
                deadline = None;
            }
            let pause = patience.next(&mut refusal);
            match pause.filter(|pause| deadline.is_none_or(|end| Instant::now() + *pause < end)) {
                Some(pause) => self.transport.wait(pause),
                None => return Err(refusal),
            }
        }
    }

    fn list(&self, revision: &str, url: &Uri, deadline: Option<Instant>) -> Result<Listing, Refusal> {
        #[derive(Deserialize)]
        struct Info {
            sha: Option<String>,
            siblings: Option<Vec<Sibling>>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let response = self.transport.follow(Ask { deadline, ..Ask::new(url.clone()) }, |_, _| false)?;
        let mut body = Vec::new();
        let read = self.transport.body(response).take(LISTING_LIMIT + 1).read_to_end(&mut body);
        read.map_err(|error| Refusal::Silence(self.transport.heard(error)))?;
        if body.len() as u64 > LISTING_LIMIT {
            let problem = format!("its list of files is longer than {} MiB", LISTING_LIMIT >> 20);
            return Err(Refusal::Protocol(problem));
        }
        let info: Info = serde_json::from_slice(&body).map_err(|error| Refusal::Protocol(json_problem(&error)))?;
        let commit = info.sha.filter(|sha| is_commit(sha) && (!is_commit(revision) || sha == revision));
        let commit = commit.ok_or_else(|| Refusal::Protocol("it names no commit for the revision".to_owned()))?;
        let files = info.siblings.unwrap_or_default().into_iter().map(|sibling| sibling.rfilename);
        Ok(Listing { commit, files: files.filter(|name| is_file_name(name)).collect() })
    }

    /// What the hub promises about `file` of `commit`.
    ///
    /// # Errors
    /// If it is refused, or promises too little to tell the file from half of it, or more than such a file can be.
    pub(super) fn metadata(&self, commit: &str, file: &str) -> Result<Metadata, HubError> {
        let refused = |refusal| self.file_error(file, refusal);
        let ask = Ask { head: true, ..Ask::new(self.address(commit, file).map_err(refused)?) };
        // The hub sends on within itself (a renamed repository, a cached copy), a mirror sends on to the hub, and the
        // headers are at the end of that way. A redirect that has them leads out to the file's storage.
        let is_storage = |response: &Response<Body>, next: &Uri| {
            !self.transport.endpoint.is_own(next) && named_commit(response).is_some()
        };
        let response = self.transport.persist(&ask, is_storage).map_err(refused)?;
        let metadata = promised(&response, commit).map_err(|what| refused(Refusal::Protocol(what)))?;
        match metadata.size {
            Some(size) if is_text(file) && size > TEXT_LIMIT => Err(refused(Refusal::Protocol(format!(
                "it announces {size} bytes, and at most {} MiB of such a file are read",
                TEXT_LIMIT >> 20
            )))),
            _ => Ok(metadata),
        }
    }

    /// Downloads `file` of `commit` to `path`, of which what is there is kept if the server can go on from there. The
    /// content is not checked, but no more of it is taken than `size`, or than the server announces if that is none.
    ///
    /// # Errors
    /// If it is refused, breaks off, is too long or cannot be written.
    pub(super) fn download(
        &self,
        commit: &str,
        file: &str,
        size: Option<u64>,
        path: &Path,
        progress: &FileProgress<'_>,
    ) -> Result<(), HubError> {
        let held = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let refused = |refusal| self.not_handed_out(file, &refusal);
        let writing = || HubError::cache("write", path);
        let url = self.address(commit, file).map_err(refused)?;
        let ask = Ask { from: (held > 0).then_some(held), ..Ask::new(url) };
        let response = match self.transport.persist(&ask, |_, _| false) {
            Err(refusal) if held > 0 && refusal.is_status(StatusCode::RANGE_NOT_SATISFIABLE) => {
                File::create(path).map_err(writing())?;
                return Err(self.broken_off(file, "the server does not go on where it stopped".to_owned()));
            }
            response => response.map_err(refused)?,
        };
        let headers = response.headers();
        let (mut done, announced) = match (response.status(), range(headers)) {
            (StatusCode::PARTIAL_CONTENT, Some((from, whole))) if from == held => (held, whole),
            (StatusCode::PARTIAL_CONTENT, _) => {
                return Err(refused(Refusal::Protocol("it sends another part than was asked for".to_owned())));
            }
            _ => (0, header(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok())),
        };
        let limit = size.or(announced).unwrap_or(TEXT_LIMIT);
        let too_long = |found: String| HubError::WrongContent {
            file: file.to_owned(),
            id: self.id.to_owned(),
            found,
            expected: format!("{limit}{}", if size.or(announced).is_none() { " at most, as no size came" } else { "" }),
        };
        if let Some(announced) = announced.filter(|announced| *announced > limit) {
            return Err(too_long(format!("{announced} bytes")));
        }
        let mut to = File::options().create(true).append(true).open(path).map_err(writing())?;
        to.set_len(done).map_err(writing())?;
        progress.reach(done);
        let mut body = self.transport.body(response);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => return Err(self.broken_off(file, self.quoted(&self.transport.heard(error)))),
            };
            done += read as u64;
            if done > limit {
                return Err(too_long(format!("{done} bytes or more")));
            }
            to.write_all(&buffer[..read]).map_err(writing())?;
            progress.reach(done);
        }
    }

    /// The address of `file` of `commit`.
    fn address(&self, commit: &str, file: &str) -> Result<Uri, Refusal> {
        self.below(self.id.split('/').chain(["resolve", commit]).chain(file.split('/')))
    }

    fn below<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Result<Uri, Refusal> {
        let url = self.transport.endpoint.below(parts);
        url.ok_or_else(|| Refusal::Protocol("no address can be made of its name".to_owned()))
    }

    /// The error for a download that ended before the file did.
    pub(super) fn broken_off(&self, file: &str, cause: String) -> HubError {
        HubError::BrokenOff { file: file.to_owned(), id: self.id.to_owned(), cause }
    }

    /// The error for a request about the repository; `cache` says why a copy is of no help.
    pub(super) fn error(&self, revision: &str, refusal: Refusal, cache: &str) -> HubError {
        let (endpoint, id, revision) =
            (self.transport.endpoint.shown().to_owned(), self.id.to_owned(), revision.to_owned());
        let said =
            |message: &str| if message.is_empty() { String::new() } else { format!(": {}", self.quoted(message)) };
        match refusal {
            Refusal::Status { status: StatusCode::UNAUTHORIZED, message, .. } => {
                HubError::Unauthorized { endpoint, id, said: said(&message), token_sent: self.token.is_some() }
            }
            Refusal::Status { status: StatusCode::FORBIDDEN, message, .. } => {
                HubError::Forbidden { endpoint, id, said: said(&message) }
            }
            Refusal::Status { status: StatusCode::NOT_FOUND, code, .. } => match code.as_str() {
                "RepoNotFound" => HubError::NoRepository { endpoint, id },
                "RevisionNotFound" => HubError::NoRevision { endpoint, id, revision },
                _ => HubError::NoRepositoryOrRevision { endpoint, id, revision },
            },
            refusal => HubError::Unreachable { endpoint, id, cause: self.cause(&refusal), cache: cache.to_owned() },
        }
    }

    /// A refusal in words.
    pub(super) fn cause(&self, refusal: &Refusal) -> String {
        self.quoted(&refusal.to_string())
    }

    /// The error for a request about a file before its download.
    fn file_error(&self, file: &str, refusal: Refusal) -> HubError {
        match refusal {
            // Of a gated repository anybody may see the list of files, so it is the first file that is refused.
            Refusal::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                self.error("", refusal, "")
            }
            Refusal::Protocol(problem) => HubError::Protocol {
                endpoint: self.transport.endpoint.shown().to_owned(),
                id: self.id.to_owned(),
                problem: format!("{file}: {}", self.quoted(&problem)),
            },
            refusal => self.not_handed_out(file, &refusal),
        }
    }

    fn not_handed_out(&self, file: &str, refusal: &Refusal) -> HubError {
        HubError::Download { file: file.to_owned(), id: self.id.to_owned(), cause: self.cause(refusal) }
    }

    /// Words from outside, on one line, not too long, and without the token should a server repeat it.
    fn quoted(&self, text: &str) -> String {
        let text = self.token.map_or_else(|| text.to_owned(), |token| text.replace(token.expose(), "…"));
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ").chars().take(300).collect()
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The commit that an answer about a file is for.
fn named_commit(response: &Response<Body>) -> Option<&str> {
    header(response.headers(), "x-repo-commit")
}

/// Where the part of a file begins that an answer holds, and how long the file is.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (part, whole) = header(headers, CONTENT_RANGE.as_str())?.trim().strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()))
}

/// Whether a file is a text by its name: a configuration, a vocabulary.
fn is_text(file: &str) -> bool {
    [".json", ".txt"].iter().any(|ending| file.ends_with(ending))
}

/// Reads the hub's promise out of the last answer.
fn promised(response: &Response<Body>, commit: &str) -> Result<Metadata, String> {
    let headers = response.headers();
    match named_commit(response) {
        Some(named) if named == commit => {}
        Some(named) => return Err(format!("asked for commit {commit}, it answers for `{named}`")),
        None => return Err("its answer has no X-Repo-Commit".to_owned()),
    }
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, ETAG.as_str())).unwrap_or_default();
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    if !is_blob_name(etag) {
        return Err(format!("its ETag is {etag:?}, expected a digest"));
    }
    // The length of a redirect is that of its own body.
    let length = header(headers, CONTENT_LENGTH.as_str()).filter(|_| response.status().is_success());
    let size = header(headers, "x-linked-size").or(length).and_then(|size| size.parse().ok());
    if size.is_none() && Digest::named_by(etag).is_none() {
        return Err(format!("it sends no size, and its ETag {etag:?} is no digest, so half a file could pass for it"));
    }
    Ok(Metadata { etag: etag.to_owned(), size })
}
