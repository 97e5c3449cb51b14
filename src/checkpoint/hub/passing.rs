//! Recognizes temporary failures of a server, and how long it asks to wait.

use std::time::{Duration, SystemTime};

use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderMap, StatusCode};

/// The pause that an answer asks for (`Retry-After`).
pub(super) fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match asked.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(asked).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Whether a status is a temporary failure of the server.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a value"));
            wait_of(&headers)
        };
        assert_eq!(wait(" 7 "), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(wait(&date).is_some_and(|wait| (98..=100).contains(&wait.as_secs())));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(wait_of(&HeaderMap::new()), None);
    }
}
