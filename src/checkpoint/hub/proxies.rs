//! The proxies of the environment, by the rules that curl and most programs follow.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

/// Which requests go by way of which proxy. Its `Debug` shows no name and no password.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Direct>,
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    /// A domain and everything below it, in lower case.
    Domain(String),
    /// Addresses whose first bits are those of this one.
    Network(IpAddr, u32),
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or their names in lower case, through `lookup`.
    ///
    /// None in a CGI program, where a request's header `Proxy` would be `HTTP_PROXY`. A value that is no proxy is as none.
    #[must_use]
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<OsString>) -> Proxies {
        if lookup("REQUEST_METHOD").is_some() {
            return Proxies::default();
        }
        let text = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names.iter().find_map(|name| lookup(name)?.into_string().ok().filter(|value| !value.trim().is_empty()))
        };
        let proxy = |name| Proxy::new(text(name)?.trim()).ok();
        let all = proxy("ALL_PROXY");
        Proxies {
            http: proxy("HTTP_PROXY").or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY").or(all),
            direct: text("NO_PROXY").iter().flat_map(|list| list.split(',')).filter_map(Direct::named).collect(),
        }
    }

    /// Every way there is: without a proxy, and through each.
    pub(super) fn all(&self) -> impl Iterator<Item = Option<&Proxy>> {
        [None]
            .into_iter()
            .chain([&self.http, &self.https].into_iter().filter(|proxy| proxy.is_some()).map(Option::as_ref))
    }

    /// The proxy for requests to `url`, if there is one.
    pub(super) fn of(&self, url: &Uri) -> Option<&Proxy> {
        let proxy = if url.scheme_str() == Some("https") { &self.https } else { &self.http };
        let host = url.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        proxy.as_ref().filter(|_| !self.direct.iter().any(|direct| direct.takes_in(&host)))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        let (http, https) = (host(&self.http), host(&self.https));
        f.debug_struct("Proxies").field("http", &http).field("https", &https).field("direct", &self.direct).finish()
    }
}

impl Direct {
    /// An entry of `NO_PROXY`: `*`, a domain with or without a dot before it, an address, a network (`10.0.0.0/8`).
    fn named(entry: &str) -> Option<Direct> {
        let entry = entry.trim();
        if entry == "*" {
            return Some(Direct::All);
        }
        let (address, bits) = entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(all), |bits| bits.parse().ok().filter(|bits| *bits <= all))?;
            return Some(Direct::Network(address, bits));
        }
        let domain = entry.trim_start_matches('.').to_ascii_lowercase();
        (!domain.is_empty()).then_some(Direct::Domain(domain))
    }

    fn takes_in(&self, host: &str) -> bool {
        match self {
            Direct::All => true,
            Direct::Domain(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Direct::Network(network, bits) => match (network, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(host))) => {
                    let differing = network.to_bits() ^ host.to_bits();
                    differing.checked_shr(32 - bits).unwrap_or(0) == 0
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                    let differing = network.to_bits() ^ host.to_bits();
                    differing.checked_shr(128 - bits).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Proxies::from_lookup(&find)
    }

    fn of(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let url = url.parse().expect("a URL");
        proxies(variables).of(&url).map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_scheme_of_the_target_chooses_the_proxy() {
        let both = [("HTTP_PROXY", "http://one:1"), ("https_proxy", "two:2"), ("ALL_PROXY", "socks5h://three:3")];
        assert_eq!(of(&both, "http://hub/").as_deref(), Some("one:1"));
        assert_eq!(of(&both, "https://hub/").as_deref(), Some("two:2"));
        assert_eq!(of(&both[..1], "https://hub/"), None);
        assert_eq!(of(&both[2..], "https://hub/").as_deref(), Some("three:3"));
        assert_eq!(
            of(&[("HTTPS_PROXY", ""), ("https_proxy", "http://low:1")], "https://hub/").as_deref(),
            Some("low:1")
        );
        assert_eq!(
            of(&[("HTTPS_PROXY", "ftp://x:1"), ("ALL_PROXY", "all:1")], "https://hub/").as_deref(),
            Some("all:1")
        );
        assert_eq!(of(&[("HTTP_PROXY", "http://one:1"), ("REQUEST_METHOD", "GET")], "http://hub/"), None);
    }

    #[test]
    fn some_hosts_are_reached_without() {
        let list = "localhost, .example.com,127.0.0.0/8 ,10.1.2.3,fd00::/8,Upper.org";
        let variables = [("HTTPS_PROXY", "http://proxy:1"), ("NO_PROXY", list)];
        for host in ["localhost", "example.com", "a.b.example.com", "127.9.9.9", "10.1.2.3", "[fd12::1]", "x.upper.org"]
        {
            assert_eq!(of(&variables, &format!("https://{host}/x")), None, "{host}");
        }
        for host in ["notexample.com", "localhost.com", "128.0.0.1", "10.1.2.4", "[fe80::1]", "org"] {
            assert!(of(&variables, &format!("https://{host}/x")).is_some(), "{host}");
        }
        assert_eq!(of(&[("HTTPS_PROXY", "http://proxy:1"), ("no_proxy", "*")], "https://hub/"), None);
        assert_eq!(of(&[("HTTPS_PROXY", "http://proxy:1"), ("no_proxy", "0.0.0.0/0")], "https://9.9.9.9/"), None);
        assert_eq!(Direct::named("10.0.0.0/33"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://user:secret@proxy:1")]);
        let shown = format!("{proxies:?}");
        assert!(shown.contains("proxy:1") && !shown.contains("secret") && !shown.contains("user"), "{shown}");
    }
}
