//! What a hub answers instead of what was asked for, from either of the two clients in use.

use std::error::Error;
use std::fmt;

use hf_hub::HFError;
use reqwest::StatusCode;
use reqwest::blocking::Response;

/// What came instead. Its texts are the server's own, and not yet fit to be shown.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No answer.
    Silence(String),
    /// An answer that says no.
    Status {
        status: StatusCode,
        /// The hub's own word for the reason, or nothing.
        code: String,
        /// The hub's sentence about it, or nothing.
        message: String,
    },
    /// A yes that makes no sense.
    Protocol(String),
}

impl Refusal {
    /// Whether the hub is not well or not there, rather than unwilling, so that a copy may stand in for it.
    pub(super) fn is_absence(&self) -> bool {
        let unwilling = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        !matches!(self, Refusal::Status { status, .. } if unwilling.contains(status))
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

impl From<Response> for Refusal {
    fn from(response: Response) -> Refusal {
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        Refusal::Status { status: response.status(), code: header("x-error-code"), message: header("x-error-message") }
    }
}

impl From<HFError> for Refusal {
    fn from(error: HFError) -> Refusal {
        match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. }
            | HFError::RepoNotFound { context: Some(context), .. }
            | HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. } => Refusal::Status {
                status: context.status,
                code: context.error_code.unwrap_or_default(),
                message: context.server_message.unwrap_or_default(),
            },
            HFError::Request { source, .. } if source.is_decode() => {
                Refusal::Protocol(innermost(&source.without_url()))
            }
            HFError::Request { source, .. } => Refusal::Silence(innermost(&source.without_url())),
            other => Refusal::Protocol(other.to_string()),
        }
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
