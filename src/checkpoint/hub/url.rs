//! Addresses: the endpoint, what lies below it, and where a redirect leads.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ureq::http::Uri;
use ureq::http::uri::{Authority, PathAndQuery};

/// What a part of a path is spelled with digits for.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What servers leave in addresses that has no place there.
const STRAY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A hub's address.
pub(super) struct Endpoint {
    /// `http` or `https`, a host, perhaps a port, perhaps a path without a slash at its end.
    base: String,
    origin: UrlOrigin,
    /// The user's name and password, which are not in `base`.
    pub(super) login: Option<(String, String)>,
}

/// Scheme, host and port.
#[derive(PartialEq, Eq)]
struct UrlOrigin {
    scheme: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// The hub at `address`, if that is a URL of the web.
    pub(super) fn new(address: &str) -> Option<Endpoint> {
        let url: Uri = address.trim_end_matches('/').parse().ok()?;
        let origin = UrlOrigin::of(&url)?;
        let authority = url.authority()?.as_str();
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let login = login.map(|login| {
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (decoded(user), decoded(password))
        });
        let base = format!("{}://{place}{}", origin.scheme, url.path().trim_end_matches('/'));
        Some(Endpoint { base, origin, login })
    }

    /// As it is shown: without a user's name and password.
    pub(super) fn shown(&self) -> &str {
        &self.base
    }

    /// The address of the parts of a path below the endpoint's.
    pub(super) fn below<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Option<Uri> {
        let mut address = self.base.clone();
        for part in parts {
            address.push('/');
            address.extend(utf8_percent_encode(part, IN_PATH));
        }
        address.parse().ok()
    }

    /// Whether `url` is at the endpoint's own scheme, host and port: where the token may go.
    pub(super) fn is_own(&self, url: &Uri) -> bool {
        UrlOrigin::of(url).as_ref() == Some(&self.origin)
    }
}

impl UrlOrigin {
    fn of(url: &Uri) -> Option<UrlOrigin> {
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = url.authority()?;
        let host = authority.host();
        // What is behind the host is a port or nothing; a port that is no number of one is no address.
        let port = match authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, place)| place) {
            place if place == host || place.strip_suffix(':') == Some(host) => default,
            _ => authority.port_u16()?,
        };
        (!host.is_empty()).then(|| UrlOrigin { scheme, host: host.to_ascii_lowercase(), port })
    }
}

/// Where the `location` that an answer from `base` names is, if that is on the web.
pub(super) fn joined(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim().split('#').next().unwrap_or_default();
    let location = utf8_percent_encode(location, STRAY).to_string();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let url: Uri = if has_scheme {
        location.parse().ok()?
    } else if location.starts_with("//") {
        format!("{scheme}:{location}").parse().ok()?
    } else if location.is_empty() {
        return None;
    } else if location.starts_with('?') {
        below(scheme, authority, &format!("{}{location}", base.path()))?
    } else if location.starts_with('/') {
        below(scheme, authority, &location)?
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        below(scheme, authority, &format!("{folder}/{location}"))?
    };
    UrlOrigin::of(&url).map(|_| url)
}

/// The address of `path`, in which `.` and `..` are what they are in paths.
fn below(scheme: &str, authority: &Authority, path: &str) -> Option<Uri> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut parts: Vec<&str> = Vec::new();
    let all: Vec<&str> = path.split('/').skip(1).collect();
    for (i, part) in all.iter().enumerate() {
        match *part {
            "." | ".." => {
                if *part == ".." {
                    parts.pop();
                }
                if i + 1 == all.len() {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    let path = format!("/{}{}", parts.join("/"), query.map(|query| format!("?{query}")).unwrap_or_default());
    let path: PathAndQuery = path.parse().ok()?;
    Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_the_web() {
        for (address, shown) in [
            ("https://huggingface.co", "https://huggingface.co"),
            ("https://Hugging.co/", "https://Hugging.co"),
            ("http://localhost:8080//", "http://localhost:8080"),
            ("http://mirror/hf/", "http://mirror/hf"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("https://user:pass%40@mirror/hf", "https://mirror/hf"),
        ] {
            assert_eq!(Endpoint::new(address).expect(address).shown(), shown);
        }
        for address in
            ["huggingface.co", "localhost:80", "file:///tmp", "::", "", "http://", "ftp://x", "http://h:99999"]
        {
            assert!(Endpoint::new(address).is_none(), "{address}");
        }
        let login = Endpoint::new("https://user:pass%40@mirror/hf").expect("an endpoint").login;
        assert_eq!(login, Some(("user".to_owned(), "pass@".to_owned())));
    }

    #[test]
    fn parts_of_a_path_stay_parts() {
        let endpoint = Endpoint::new("http://mirror/hf").expect("an endpoint");
        let url = endpoint.below(["api", "refs/pr/1", "ä b?.json", "1_Pooling"]).expect("a URL");
        assert_eq!(url.to_string(), "http://mirror/hf/api/refs%2Fpr%2F1/%C3%A4%20b%3F.json/1_Pooling");
    }

    #[test]
    fn the_token_is_for_one_scheme_host_and_port() {
        let endpoint = Endpoint::new("https://hub.co/x").expect("an endpoint");
        let is_own = |url: &str| endpoint.is_own(&url.parse().expect("a URL"));
        assert!(is_own("https://hub.co/y") && is_own("https://HUB.co:443/") && is_own("https://u@hub.co/"));
        for url in [
            "http://hub.co/",
            "https://hub.co:444/",
            "https://cdn.hub.co/",
            "https://hub.co.evil/",
            "https://hub.co@evil/",
        ] {
            assert!(!is_own(url), "{url}");
        }
    }

    #[test]
    fn a_redirect_is_resolved_as_browsers_do() {
        let base = "https://hub.co/a/b/c?q".parse().expect("a URL");
        for (location, url) in [
            ("http://cdn/x?sig=a%2Fb#part", "http://cdn/x?sig=a%2Fb"),
            ("//cdn/x", "https://cdn/x"),
            ("/x/y", "https://hub.co/x/y"),
            ("d", "https://hub.co/a/b/d"),
            ("../d?x=../y", "https://hub.co/a/d?x=../y"),
            ("../../../..", "https://hub.co/"),
            ("./", "https://hub.co/a/b/"),
            ("?r", "https://hub.co/a/b/c?r"),
            ("/with space\"", "https://hub.co/with%20space%22"),
            ("/a:b", "https://hub.co/a:b"),
        ] {
            assert_eq!(joined(&base, location).expect(location).to_string(), url);
        }
        for location in ["", "ftp://x/y", "javascript:x", "http://", "#x"] {
            assert_eq!(joined(&base, location), None, "{location}");
        }
    }
}
