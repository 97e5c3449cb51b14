//! What is asked of the hub: a revision's commit and files, a file's name and size, its content.
//!
//! hf-hub asks for the first and the last. What lies between is asked here: hf-hub 1.0 follows a large file's redirect
//! to its storage and looks in vain for the hub's headers there (mended after 1.0, in its pull request 212).

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hf_hub::repository::RepoTypeModel;
use hf_hub::{HFClient, HFError, HFRepositorySync};
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url, redirect};

use super::HubError;
use super::digest::Digest;
use super::names::{is_blob_name, is_commit, is_file_name};
use super::progress::FileProgress;
use super::refusal::{Refusal, innermost};
use super::settings::{Settings, Token};

/// After a first failure that may pass.
const RETRIES: usize = 3;
const REDIRECTS: usize = 10;

/// A repository on the hub.
pub(super) struct Hub<'a> {
    id: &'a str,
    endpoint: Url,
    token: Option<&'a Token>,
    bearer: Option<HeaderValue>,
    repo: HFRepositorySync<RepoTypeModel>,
    client: Client,
    retry_pause: Duration,
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
    pub(super) fn new(settings: &'a Settings, id: &'a str) -> Result<Hub<'a>, HubError> {
        let endpoint = Url::parse(settings.endpoint.trim_end_matches('/')).ok();
        let endpoint = endpoint.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let endpoint = endpoint.ok_or_else(|| HubError::Setting {
            name: "HF_ENDPOINT",
            problem: format!("is `{}`", settings.endpoint),
            remedy: "expected a URL such as https://huggingface.co",
        })?;
        let bearer = settings.token.as_ref().map(bearer).transpose()?;
        let token = settings.token.as_ref();

        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let setup = |problem: String| HubError::Protocol { endpoint: shown(&endpoint), id: id.to_owned(), problem };
        // hf-hub's own client would wait for ever on a connection that falls silent.
        let transfers = reqwest::Client::builder()
            .user_agent(agent)
            .connect_timeout(settings.silence_limit)
            .read_timeout(settings.silence_limit)
            .build();
        let client = Client::builder()
            .user_agent(agent)
            .connect_timeout(settings.silence_limit)
            .timeout(settings.silence_limit)
            .redirect(redirect::Policy::none())
            .build();
        let hf = HFClient::builder()
            .client(transfers.map_err(|error| setup(innermost(&error)))?)
            .endpoint(endpoint.as_str())
            .cache_dir(&settings.cache_dir)
            // Without a token hf-hub would look for one by itself. A line end fits in no header, so this one stays here.
            .token(token.map_or("\n", Token::expose))
            .retry_max_attempts(RETRIES)
            .retry_base_delay(settings.retry_pause)
            .build_sync();
        let (owner, name) = hf_hub::split_id(id);
        let repo = hf.map_err(|error| setup(error.to_string()))?.model(owner, name);
        let client = client.map_err(|error| setup(innermost(&error)))?;
        Ok(Hub { id, endpoint, token, bearer, repo, client, retry_pause: settings.retry_pause })
    }

    /// The commit that `revision` stands for now, and its files.
    ///
    /// # Errors
    /// What came instead; the caller may have a copy to go on with.
    pub(super) fn listing(&self, revision: &str) -> Result<Listing, Refusal> {
        let info = self.repo.info().revision(revision).send().map_err(Refusal::from)?;
        let commit = info.sha.filter(|sha| is_commit(sha) && (!is_commit(revision) || sha == revision));
        let commit = commit.ok_or_else(|| Refusal::Protocol("it names no commit for the revision".to_owned()))?;
        let files = info.siblings.unwrap_or_default().into_iter().map(|sibling| sibling.rfilename);
        Ok(Listing { commit, files: files.filter(|name| is_file_name(name)).collect() })
    }

    /// What the hub promises about `file` of `commit`.
    ///
    /// # Errors
    /// If it is refused, or promises too little to tell the file from half of it.
    pub(super) fn metadata(&self, commit: &str, file: &str) -> Result<Metadata, HubError> {
        let refused = |refusal| self.file_error(file, refusal);
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(self.id.split('/')).extend(["resolve", commit]).extend(file.split('/'));
        }
        for _ in 0..REDIRECTS {
            let response = self.head(&url).map_err(refused)?;
            let status = response.status();
            let next = response.headers().get(LOCATION).and_then(|location| url.join(location.to_str().ok()?).ok());
            let next = next.filter(|_| status.is_redirection());
            if !status.is_success() && next.is_none() {
                return Err(refused(Refusal::from(response)));
            }
            let named = header(response.headers(), "x-repo-commit");
            match next {
                // The hub sends on within itself (a renamed repository, a cached copy), a mirror sends on to the hub,
                // and the headers are at the end of that way. A redirect that has them leads out to the file's storage.
                Some(next) if self.is_own(&next) || named.is_none() => url = next,
                _ => return promised(&response, named, commit).map_err(|what| refused(Refusal::Protocol(what))),
            }
        }
        Err(refused(Refusal::Protocol("it redirects in circles".to_owned())))
    }

    /// Downloads `file` of `commit` to a path below `dir`. What comes is not checked.
    ///
    /// # Errors
    /// If it is refused, breaks off or cannot be written.
    pub(super) fn download(
        &self,
        commit: &str,
        file: &str,
        dir: &Path,
        progress: &FileProgress,
    ) -> Result<PathBuf, HubError> {
        progress.restart();
        let request = self.repo.download_file().filename(file).revision(commit).local_dir(dir);
        request.progress(progress.handler()).send().map_err(|error| match error {
            HFError::Io(error) => HubError::cache("write in", dir)(error),
            HFError::Request { source, .. } => self.broken_off(file, self.quoted(&innermost(&source.without_url()))),
            HFError::Xet { .. } => self.broken_off(file, self.quoted(&error.to_string())),
            error => self.not_handed_out(file, &Refusal::from(error)),
        })
    }

    /// The error for a download that ended before the file did.
    pub(super) fn broken_off(&self, file: &str, cause: String) -> HubError {
        HubError::BrokenOff { file: file.to_owned(), id: self.id.to_owned(), cause }
    }

    /// The error for a request about the repository; `cache` says why a copy is of no help.
    pub(super) fn error(&self, revision: &str, refusal: Refusal, cache: &str) -> HubError {
        let (endpoint, id, revision) = (shown(&self.endpoint), self.id.to_owned(), revision.to_owned());
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
                endpoint: shown(&self.endpoint),
                id: self.id.to_owned(),
                problem: format!("{file}: {}", self.quoted(&problem)),
            },
            refusal => self.not_handed_out(file, &refusal),
        }
    }

    fn not_handed_out(&self, file: &str, refusal: &Refusal) -> HubError {
        HubError::Download { file: file.to_owned(), id: self.id.to_owned(), cause: self.cause(refusal) }
    }

    /// Asks for the headers of `url`, again if the failure may pass.
    fn head(&self, url: &Url) -> Result<Response, Refusal> {
        let mut pause = self.retry_pause;
        let mut retries = RETRIES;
        loop {
            // The size of the file as it is, not as a server might pack it.
            let mut request = self.client.head(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(bearer) = self.bearer.as_ref().filter(|_| self.is_own(url)) {
                request = request.header(AUTHORIZATION, bearer);
            }
            let result = request.send();
            let passing = result.as_ref().map_or(true, |response| is_passing(response.status()));
            if !passing || retries == 0 {
                return result.map_err(|error| Refusal::Silence(innermost(&error.without_url())));
            }
            retries -= 1;
            thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Whether `url` is at the endpoint's own scheme, host and port: where the token may go.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// Words from outside, on one line, not too long, and without the token should a server repeat it.
    fn quoted(&self, text: &str) -> String {
        let text = self.token.map_or_else(|| text.to_owned(), |token| text.replace(token.expose(), "…"));
        let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(" ").chars().take(300).collect()
    }
}

/// Statuses of a server that may do better in a moment.
fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

fn bearer(token: &Token) -> Result<HeaderValue, HubError> {
    let sound = token.expose().bytes().all(|b| b.is_ascii_graphic());
    let value = if sound { HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok() } else { None };
    let mut value = value.ok_or_else(|| HubError::Setting {
        name: "HF_TOKEN (or the token file)",
        problem: "holds characters that are in no token".to_owned(),
        remedy: "copy the token anew, it begins with hf_",
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The endpoint as it is shown: without a user's name and password.
fn shown(endpoint: &Url) -> String {
    let mut url = endpoint.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Reads the hub's promise out of the last answer.
fn promised(response: &Response, named: Option<&str>, commit: &str) -> Result<Metadata, String> {
    let headers = response.headers();
    match named {
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
