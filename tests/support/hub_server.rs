//! A hub on the loopback interface, as far as models go, and the ways in which it can fail.
//!
//! It answers as the real one does: small files by way of a redirect within the hub, large ones by a redirect to a
//! storage on another host, with the hub's own headers on the redirect alone. It keeps every request, and it can be told
//! to answer the next ones wrongly.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A repository with one commit.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    pub(crate) id: String,
    /// A name it had before, from which the hub sends on.
    pub(crate) former_id: String,
    pub(crate) commit: String,
    /// Branches and tags, all at the one commit.
    pub(crate) revisions: Vec<String>,
    pub(crate) files: Vec<RepoFile>,
    /// The token that is asked for, if any.
    pub(crate) token: Option<String>,
    /// Whether large files are offered by the xet protocol, too, which is not spoken here.
    pub(crate) xet: bool,
    /// Whether the storage gives out parts of files.
    pub(crate) ranges: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct RepoFile {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    /// In large-file storage: named by sha256, and on another host.
    pub(crate) large: bool,
}

impl RepoFile {
    /// The digest that the hub names the content by.
    pub(crate) fn etag(&self) -> String {
        if self.large {
            return hex(&Sha256::digest(&self.content));
        }
        hex(&Sha1::new_with_prefix(format!("blob {}\0", self.content.len())).chain_update(&self.content).finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

/// A wrong answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status with the hub's word and sentence for it.
    Status(u16, &'static str, &'static str),
    /// The first half of the content, then the end, after a promise of all of it.
    Cut,
    /// The first half of the content, then the end, without a promise.
    CutUnannounced,
    /// This content under the headers of the right one, but for the length.
    Instead(Vec<u8>),
    /// The right content under this etag.
    Etag(&'static str),
    /// An etag that is no digest, and no size.
    Unmeasured,
    /// The first half, then silence.
    Stall,
    /// Nothing at all, not even a status.
    Mute,
    /// The content a byte at a time, with such pauses.
    Trickle(Duration),
    /// The content, and then what the client takes of this many bytes, without a length.
    Beyond(usize),
    /// This status, and the pause it asks for.
    Wait(u16, &'static str),
    /// A redirect.
    Redirect(String),
    /// The right answer for a size that is as large as this.
    Announced(u64),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Whether it came to the storage rather than to the hub.
    pub(crate) storage: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

struct Plan {
    method: &'static str,
    part: String,
    times: usize,
    fault: Fault,
}

struct State {
    repo: Repo,
    storage_port: u16,
    seen: Vec<Seen>,
    plans: Vec<Plan>,
}

/// A running hub and its storage. Both end when this is dropped.
pub(crate) struct HubServer {
    state: Arc<Mutex<State>>,
    hub_port: u16,
    storage_port: u16,
}

impl HubServer {
    pub(crate) fn start(repo: Repo) -> HubServer {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (hub, storage) = (listen(), listen());
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let (hub_port, storage_port) = (port(&hub), port(&storage));
        let state = Arc::new(Mutex::new(State { repo, storage_port, seen: Vec::new(), plans: Vec::new() }));
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&listener, &state, is_storage));
        }
        HubServer { state, hub_port, storage_port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.hub_port)
    }

    /// Answers the next `times` requests of `method` whose path contains `part` with `fault`. Content comes from the
    /// storage for large files, so their `GET` is found by its path there, the file's name included.
    pub(crate) fn fail(&self, method: &'static str, part: &str, times: usize, fault: Fault) {
        self.state().plans.push(Plan { method, part: part.to_owned(), times, fault });
    }

    /// Ends all planned failures.
    pub(crate) fn recover(&self) {
        self.state().plans.clear();
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.state().seen.clear();
    }

    /// How many requests of `method` with `part` in their path got through to an answer.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.path.contains(part)).count()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Repo)) {
        change(&mut self.state().repo);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        for port in [self.hub_port, self.storage_port] {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                let _ = stream.write_all(b"QUIT / HTTP/1.1\r\n\r\n");
            }
        }
    }
}

fn serve(listener: &TcpListener, state: &Arc<Mutex<State>>, is_storage: bool) {
    while let Ok((stream, _)) = listener.accept() {
        let mut reader = BufReader::new(&stream);
        let Ok(seen) = read_request(&mut reader, is_storage) else { continue };
        if seen.method == "QUIT" {
            return;
        }
        let head_only = seen.method == "HEAD";
        let answer = {
            let mut state = state.lock().expect("no test panics while it holds the state");
            state.seen.push(seen.clone());
            answer(&mut state, &seen)
        };
        // In a thread of its own, so that a stalled answer holds up no other.
        thread::spawn(move || send(stream, &answer, head_only));
    }
}

fn read_request(reader: &mut impl BufRead, storage: bool) -> io::Result<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut seen = Seen { storage, method, path, authorization: None, range: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                seen.authorization = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("range") => seen.range = Some(value.to_owned()),
            Some(_) => {}
            None => return Ok(seen),
        }
    }
}

#[derive(Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    fault: Option<Fault>,
}

impl Answer {
    fn new(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    fn named(mut self, etag: &str) -> Answer {
        self.headers.retain(|(name, _)| !name.to_ascii_lowercase().contains("etag"));
        self.with("ETag", format!("\"{etag}\""))
    }

    fn error(status: u16, code: &str, message: &str) -> Answer {
        let mut answer = Answer::new(status).with("X-Error-Code", code).with("X-Error-Message", message);
        answer.body = format!("{{\"error\": {message:?}}}").into_bytes();
        answer
    }
}

fn answer(state: &mut State, seen: &Seen) -> Answer {
    let Seen { storage: is_storage, method, path, authorization, range } = seen;
    let plan = state.plans.iter_mut().find(|p| p.times > 0 && p.method == *method && path.contains(&p.part));
    let fault = plan.map(|plan| {
        plan.times -= 1;
        plan.fault.clone()
    });
    if let Some(Fault::Status(status, code, message)) = fault {
        return Answer::error(status, code, message);
    }
    if let Some(Fault::Wait(status, pause)) = fault {
        return Answer::error(status, "", "Slow down").with("Retry-After", pause);
    }
    if let Some(Fault::Redirect(location)) = fault {
        return Answer::new(302).with("Location", location);
    }
    let repo = &state.repo;
    if let Some(token) = &repo.token
        && !*is_storage
        && authorization.as_deref() != Some(&format!("Bearer {token}"))
    {
        return Answer::error(401, "", "Invalid username or password.");
    }
    let mut answer =
        if *is_storage { stored(repo, path, range.as_deref()) } else { asked(repo, state.storage_port, path) };
    match &fault {
        Some(Fault::Instead(content)) => answer.body.clone_from(content),
        Some(Fault::Etag(etag)) => answer = answer.named(etag),
        Some(Fault::Unmeasured) => answer = answer.named("5d8c72a5-1f"),
        Some(Fault::Announced(size)) => answer = answer.with("X-Linked-Size", size.to_string()),
        _ => {}
    }
    answer.fault = fault;
    answer
}

/// The hub's own paths.
fn asked(repo: &Repo, storage_port: u16, path: &str) -> Answer {
    let former = format!("/{}/", repo.former_id);
    if path.contains(&former) {
        return Answer::new(307).with("Location", path.replace(&former, &format!("/{}/", repo.id)));
    }
    let known = |revision: &str| revision == repo.commit || repo.revisions.iter().any(|r| r == revision);
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{}/revision/", repo.id)) {
        if !known(&revision.replace("%2F", "/")) {
            return Answer::error(404, "RevisionNotFound", "Invalid rev id");
        }
        let siblings: Vec<_> = repo.files.iter().map(|file| serde_json::json!({"rfilename": file.name})).collect();
        let info = serde_json::json!({"id": repo.id, "sha": repo.commit, "siblings": siblings, "private": false});
        let mut answer = Answer::new(200).with("Content-Type", "application/json");
        answer.body = info.to_string().into_bytes();
        return answer;
    }
    let cached = format!("/api/resolve-cache/models/{}/{}/", repo.id, repo.commit);
    let file = |name: &str| repo.files.iter().find(|file| file.name == name);
    if let Some(file) = path.strip_prefix(&cached).and_then(file) {
        let mut answer =
            Answer::new(200).with("X-Repo-Commit", &repo.commit).with("ETag", format!("\"{}\"", file.etag()));
        answer.body.clone_from(&file.content);
        return answer;
    }
    let Some((revision, name)) =
        path.strip_prefix(&format!("/{}/resolve/", repo.id)).and_then(|rest| rest.split_once('/'))
    else {
        return Answer::error(404, "RepoNotFound", "Repository not found");
    };
    match file(name) {
        Some(_) if !known(revision) => Answer::error(404, "RevisionNotFound", "Invalid rev id"),
        None => Answer::error(404, "EntryNotFound", "Entry not found"),
        Some(file) if file.large => {
            let answer = Answer::new(302)
                .with("Location", format!("http://localhost:{storage_port}/storage/{}/{name}", file.etag()))
                .with("X-Repo-Commit", &repo.commit)
                .with("X-Linked-Etag", format!("\"{}\"", file.etag()))
                .with("X-Linked-Size", file.content.len().to_string())
                .with("ETag", "\"of-the-redirect\"");
            if repo.xet { answer.with("X-Xet-Hash", "0".repeat(64)) } else { answer }
        }
        Some(_) => Answer::new(307).with("Location", format!("{cached}{name}")),
    }
}

/// The storage's paths. Its etags are its own.
fn stored(repo: &Repo, path: &str, range: Option<&str>) -> Answer {
    let file = repo.files.iter().find(|file| path == format!("/storage/{}/{}", file.etag(), file.name));
    let Some(file) = file else { return Answer::new(404) };
    let size = file.content.len();
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let mut answer = match from.filter(|_| repo.ranges) {
        Some(from) if from >= size => return Answer::new(416),
        Some(from) => {
            let mut answer = Answer::new(206).with("Content-Range", format!("bytes {from}-{}/{size}", size - 1));
            answer.body.extend(&file.content[from..]);
            answer
        }
        None => {
            let mut answer = Answer::new(200);
            answer.body.clone_from(&file.content);
            answer
        }
    };
    answer.headers.push(("ETag", "\"of-the-storage\"".to_owned()));
    answer
}

fn send(mut stream: TcpStream, answer: &Answer, head_only: bool) {
    if matches!(answer.fault, Some(Fault::Mute)) {
        // Until the client has had enough.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
        let _ = stream.read(&mut [0; 64]);
        return;
    }
    let mut head = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", answer.status);
    if !matches!(answer.fault, Some(Fault::CutUnannounced | Fault::Unmeasured | Fault::Beyond(_))) {
        write!(head, "Content-Length: {}\r\n", answer.body.len()).expect("a string takes all");
    }
    for (name, value) in &answer.headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes all");
    }
    let cut = matches!(answer.fault, Some(Fault::Cut | Fault::CutUnannounced | Fault::Stall));
    let body = match (head_only, cut) {
        (true, _) => &[],
        (false, true) => &answer.body[..answer.body.len() / 2],
        (false, false) => &answer.body[..],
    };
    // A client that goes away is none of the server's business.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| match answer.fault {
        Some(Fault::Trickle(pause)) => body.iter().try_for_each(|byte| {
            thread::sleep(pause);
            stream.write_all(&[*byte])
        }),
        Some(Fault::Beyond(bytes)) if !head_only => {
            stream.write_all(body)?;
            (0..bytes / 1000).try_for_each(|_| stream.write_all(&[b'x'; 1000]))
        }
        _ => stream.write_all(body),
    });
    if matches!(answer.fault, Some(Fault::Stall)) && !head_only {
        thread::sleep(Duration::from_secs(60));
    }
    let _ = stream.shutdown(Shutdown::Write);
    // Read to the client's end first: closing with its words unread would reset the connection under the answer.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.read(&mut [0; 64]);
}
