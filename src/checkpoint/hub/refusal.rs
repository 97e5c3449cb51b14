//! Failed requests to the hub.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::passing::{is_passing, wait_of};

/// A failed request. Its texts are the server's own, and have to be cleaned before they are shown.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The hub did not answer.
    Silence(String),
    /// The hub answered with an error status.
    Status {
        status: StatusCode,
        /// The hub's code for the reason, or empty.
        code: String,
        /// The hub's message, or empty.
        message: String,
        /// The pause that the hub asks for.
        wait: Option<Duration>,
    },
    /// The hub's answer does not follow the protocol.
    Protocol(String),
}

impl Refusal {
    /// Whether the hub is unavailable rather than unwilling, so that a cached copy may be used.
    pub(super) fn is_absence(&self) -> bool {
        let unwilling = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        !matches!(self, Refusal::Status { status, .. } if unwilling.contains(status))
    }

    /// Whether the same request may succeed after a pause.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Refusal::Silence(_) => true,
            Refusal::Status { status, .. } => is_passing(*status),
            Refusal::Protocol(_) => false,
        }
    }

    pub(super) fn is_status(&self, wanted: StatusCode) -> bool {
        matches!(self, Refusal::Status { status, .. } if *status == wanted)
    }

    /// The pause that the hub asks for.
    pub(super) fn wait(&self) -> Option<Duration> {
        if let Refusal::Status { wait, .. } = self { *wait } else { None }
    }

    /// Adds a clause to the message.
    pub(super) fn add(&mut self, clause: &str) {
        let text = match self {
            Refusal::Silence(text) | Refusal::Protocol(text) | Refusal::Status { message: text, .. } => text,
        };
        let join = if text.is_empty() { "" } else { "; " };
        *text += &format!("{join}{clause}");
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Silence(cause) => f.write_str(cause),
            Refusal::Status { status, message, .. } if message.is_empty() => write!(f, "the server answers {status}"),
            Refusal::Status { status, message, .. } => write!(f, "the server answers {status}: {message}"),
            Refusal::Protocol(problem) => write!(f, "the server does not answer as a hub does: {problem}"),
        }
    }
}

impl From<Response<Body>> for Refusal {
    fn from(response: Response<Body>) -> Refusal {
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let (code, message) = (text("x-error-code"), text("x-error-message"));
        Refusal::Status { status: response.status(), code, message, wait: wait_of(headers) }
    }
}

/// The cause at the bottom of an error, which says most and repeats no address.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
