//! HTTP with limits: nothing that a server does, or does not do, takes unbounded time, room or redirects.
//!
//! - A connection, the sending of a request, the head of an answer: [`HubSettings::silence_limit`] each, and as long for any
//!   silence in a body.
//! - A body that trickles: [`PACE`] bytes a second, over [`HubSettings::pace_window`].
//! - What may pass is tried [`RETRIES`] times again, after a pause that doubles, or after the one the server asks for if it
//!   is at most [`LONGEST_WAIT`].
//! - [`REDIRECTS`] redirects.

#[cfg(all(unix, not(target_vendor = "apple")))]
use std::env;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderValue, Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, Timeout};

use super::error::HubError;
use super::progress::DownloadProgress;
use super::refusal::{Refusal, innermost};
use super::settings::{HubSettings, Token};
use super::url::{self, Endpoint};

/// How many files are on their way at once, as in the Python library.
pub(super) const CONNECTIONS: usize = 8;
/// After a first failure that may pass.
pub(super) const RETRIES: usize = 3;
const REDIRECTS: usize = 10;
/// Bytes a second below which a body is given up.
const PACE: u64 = 1000;
/// The longest pause that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A client that follows the proxies and the limits of the settings.
pub(super) struct Transport<'a> {
    pub(super) endpoint: Endpoint,
    /// The header `Authorization`, for the endpoint alone.
    authorization: Option<HeaderValue>,
    /// Without a proxy, and through those there are. Each keeps its connections.
    agents: Vec<(Option<Proxy>, Agent)>,
    settings: &'a HubSettings,
    bar: &'a DownloadProgress<'a>,
}

/// What is asked for.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) url: Uri,
    /// The headers alone.
    pub(super) head: bool,
    /// The bytes from here on.
    pub(super) from: Option<u64>,
    /// For the answer in whole, body and redirects included.
    pub(super) deadline: Option<Instant>,
}

impl Ask {
    pub(super) fn new(url: Uri) -> Ask {
        Ask { url, head: false, from: None, deadline: None }
    }
}

/// How often and how long to wait before the same is asked again.
pub(super) struct RetryBudget {
    retries: usize,
    pause: Duration,
}

impl RetryBudget {
    /// The pause before the next try, if there is to be one after `refusal`.
    pub(super) fn next(&mut self, refusal: &mut Refusal) -> Option<Duration> {
        if self.retries == 0 || !refusal.is_passing() {
            return None;
        }
        self.retries -= 1;
        let own = self.pause;
        self.pause *= 2;
        match refusal.wait() {
            Some(asked) if asked > LONGEST_WAIT => {
                refusal.add(&format!(
                    "it asks to wait {} s, and at most {} s are waited",
                    asked.as_secs(),
                    LONGEST_WAIT.as_secs()
                ));
                None
            }
            asked => Some(own.max(asked.unwrap_or_default())),
        }
    }
}

impl<'a> Transport<'a> {
    /// # Errors
    /// `HubError::Setting` if the endpoint or the token cannot be used.
    pub(super) fn new(settings: &'a HubSettings, bar: &'a DownloadProgress<'a>) -> Result<Transport<'a>, HubError> {
        let endpoint = Endpoint::new(&settings.endpoint).ok_or_else(|| HubError::Setting {
            name: "HF_ENDPOINT",
            problem: format!("is `{}`", settings.endpoint),
            remedy: "expected a URL such as https://huggingface.co",
        })?;
        let authorization = match (&settings.token, &endpoint.login) {
            (Some(token), _) => Some(bearer(token)?),
            (None, Some((user, password))) => basic(user, password),
            (None, None) => None,
        };
        let roots = root_certificates();
        let agents =
            settings.proxies.all().map(|proxy| (proxy.cloned(), agent(settings, proxy.cloned(), &roots))).collect();
        Ok(Transport { endpoint, authorization, agents, settings, bar })
    }

    pub(super) fn patience(&self) -> RetryBudget {
        RetryBudget { retries: RETRIES, pause: self.settings.retry_pause }
    }

    pub(super) fn wait(&self, pause: Duration) {
        self.bar.pause(pause);
        thread::sleep(pause);
    }

    /// The answer to `ask` where redirects end, or the first for which `stop` holds. Anything but a success and such a
    /// redirect is an error.
    pub(super) fn follow(
        &self,
        mut ask: Ask,
        stop: impl Fn(&Response<Body>, &Uri) -> bool,
    ) -> Result<Response<Body>, Refusal> {
        for _ in 0..=REDIRECTS {
            let response = self.once(&ask)?;
            let status = response.status();
            let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
            match location.and_then(|location| url::joined(&ask.url, location.to_str().ok()?)) {
                Some(next) if stop(&response, &next) => return Ok(response),
                Some(next) => ask.url = next,
                None if status.is_success() => return Ok(response),
                None => return Err(Refusal::from(response)),
            }
        }
        Err(Refusal::Protocol(format!("it redirects in circles, or more than {REDIRECTS} times")))
    }

    /// [`Transport::follow`], again as long as what fails may pass.
    pub(super) fn persist(
        &self,
        ask: &Ask,
        stop: impl Fn(&Response<Body>, &Uri) -> bool,
    ) -> Result<Response<Body>, Refusal> {
        let mut patience = self.patience();
        loop {
            let mut refusal = match self.follow(ask.clone(), &stop) {
                Ok(response) => return Ok(response),
                Err(refusal) => refusal,
            };
            match patience.next(&mut refusal) {
                Some(pause) => self.wait(pause),
                None => return Err(refusal),
            }
        }
    }

    fn once(&self, ask: &Ask) -> Result<Response<Body>, Refusal> {
        let proxy = self.settings.proxies.of(&ask.url);
        let agent = self.agents.iter().find(|(of, _)| of.as_ref() == proxy).map(|(_, agent)| agent);
        let agent = agent.ok_or_else(|| Refusal::Silence("the proxy is not known".to_owned()))?;
        let request = if ask.head { agent.head(&ask.url) } else { agent.get(&ask.url) };
        // The headers alone are not worth more time than a silence; a body takes what it takes.
        let whole = ask.head.then_some(self.settings.silence_limit);
        let left = ask.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = whole.into_iter().chain(left).min();
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(Refusal::Silence(self.said(ureq::Error::Timeout(Timeout::Global))));
        }
        let mut request = request.config().timeout_global(limit).build();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.endpoint.is_own(&ask.url)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(from) = ask.from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| Refusal::Silence(self.said(error)))
    }

    /// The body of an answer, which is an error where it is silent or trickles. Its errors are fit for [`Transport::heard`].
    pub(super) fn body(&self, response: Response<Body>) -> impl Read + use<> {
        Paced {
            // The limit is the reader's.
            inner: response.into_body().into_with_config().limit(u64::MAX).reader(),
            window: self.settings.pace_window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// An error of [`Transport::body`] in words.
    pub(super) fn heard(&self, error: io::Error) -> String {
        self.said(ureq::Error::from(error))
    }

    fn said(&self, error: ureq::Error) -> String {
        let limit = self.settings.silence_limit.as_secs_f64();
        match error {
            ureq::Error::Timeout(Timeout::PerRead) => format!("nothing came for {limit} s"),
            ureq::Error::Timeout(Timeout::Resolve) => format!("the name of the host was not resolved within {limit} s"),
            ureq::Error::Timeout(Timeout::Connect) => format!("no connection within {limit} s"),
            ureq::Error::Timeout(_) => format!("no whole answer within {limit} s"),
            ureq::Error::Io(error) => innermost(&error),
            other => innermost(&other),
        }
    }
}

fn agent(settings: &HubSettings, proxy: Option<Proxy>, roots: &RootCerts) -> Agent {
    let limit = Some(settings.silence_limit);
    let config = Agent::config_builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        // The size of the file as it is, not as a server might pack it.
        .accept_encoding("identity")
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots.clone()).build())
        .http_status_as_error(false)
        // Followed here, as the token goes to one host alone.
        .max_redirects(0)
        .timeout_resolve(limit)
        .timeout_connect(limit)
        .timeout_send_request(limit)
        .timeout_recv_response(limit)
        .timeout_per_read(limit)
        .max_idle_connections_per_host(CONNECTIONS);
    config.build().new_agent()
}

/// The system's certificates, as a company's own is among them. A container of nothing but the program has none, and where none are
/// named either, Mozilla's list in the binary takes their place.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn root_certificates() -> RootCerts {
    let are_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(|name| env::var_os(name).is_some());
    if !are_named && rustls_native_certs::load_native_certs().certs.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::PlatformVerifier
    }
}

/// The system's certificates, as a company's own is among them.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn root_certificates() -> RootCerts {
    RootCerts::PlatformVerifier
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

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {login}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A body that must come at [`PACE`] at least.
struct Paced<R> {
    inner: R,
    window: Duration,
    since: Instant,
    /// Since then.
    bytes: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        let elapsed = self.since.elapsed();
        if read > 0 && elapsed >= self.window {
            if (self.bytes as f64) < PACE as f64 * elapsed.as_secs_f64() {
                let window = self.window.as_secs_f64();
                let problem = format!("less than {PACE} bytes a second came for {window} s");
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_trickles_is_an_error() {
        /// Some bytes at a time, a pause before each.
        struct Slow(usize, Duration);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                thread::sleep(self.1);
                Ok(self.0.min(buffer.len()))
            }
        }
        let read = |bytes, millis| {
            let (inner, window) = (Slow(bytes, Duration::from_millis(millis)), Duration::from_millis(50));
            let mut paced = Paced { inner, window, since: Instant::now(), bytes: 0 };
            (0..20).try_for_each(|_| paced.read(&mut [0; 1000]).map(drop))
        };
        assert!(read(1000, 5).is_ok());
        let error = read(1, 5).expect_err("an error").to_string();
        assert!(error.contains("less than 1000 bytes a second came for 0.05 s"), "{error}");
    }
}
