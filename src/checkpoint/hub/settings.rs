//! The environment variables of the Python library, with their meaning there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt, fs};

use super::error::HubError;
#[cfg(feature = "hub")]
use super::proxies::Proxies;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// A hub token. Its `Debug` shows that there is one, and nothing of it; it has no `Display`.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token in `text` without the spaces and line ends that files and shells add; none if nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Token> {
        let token = text.replace(['\r', '\n'], "").trim().to_owned();
        (!token.is_empty()).then_some(Token(token))
    }

    /// The bare token, for the one header it belongs in.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where the hub and its cache are, and how to deal with them.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// `HF_HUB_CACHE`, or `HF_HOME` and `hub`: the folder of `models--owner--name` folders.
    pub cache_dir: PathBuf,
    /// `HF_ENDPOINT`.
    pub endpoint: String,
    /// `HF_TOKEN`, or the token file that `hf auth login` writes.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`: nothing may touch the network.
    pub offline: bool,
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    #[cfg(feature = "hub")]
    pub proxies: Proxies,
    /// How long a connection may be silent before it is given up; where the cache has the model, how long the hub may take
    /// in all.
    pub silence_limit: Duration,
    /// How long a download may come at less than 1000 bytes a second before it is given up.
    pub pace_window: Duration,
    /// The first pause before a request is tried again; it doubles with each try.
    pub retry_pause: Duration,
}

impl HubSettings {
    /// Reads the environment.
    ///
    /// # Errors
    /// `HubError::Setting` if no variable says where the cache is and there is no home directory either.
    pub fn from_env() -> Result<HubSettings, HubError> {
        HubSettings::from_lookup(&|name| env::var_os(name))
    }

    /// Reads variables through `lookup`, so that a test need not change its process.
    ///
    /// An empty value counts as none. `HF_HOME`, `HF_HUB_CACHE` and `HF_TOKEN_PATH` may hold `~`, `$NAME` and
    /// `${NAME}`; `~user` is left as it is.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<HubSettings, HubError> {
        let variables = Variables(lookup);
        let hf_home = variables.path("HF_HOME").or_else(|| {
            let caches = variables.path("XDG_CACHE_HOME").or_else(|| Some(variables.home()?.join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let cache_dir = variables
            .path("HF_HUB_CACHE")
            .or_else(|| variables.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hf_home.as_ref()?.join("hub")))
            .ok_or(HubError::Setting {
                name: "HF_HOME",
                problem: "is not set, and there is no home directory to hold the cache".to_owned(),
                remedy: "set it to a folder for downloaded models",
            })?;
        let token_file = variables.path("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token")));
        let token = if variables.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else {
            let named = variables.text("HF_TOKEN").or_else(|| variables.text("HUGGING_FACE_HUB_TOKEN"));
            // A token file that cannot be read is none: most models need no token, and a 401 says what to do.
            named.and_then(|text| Token::new(&text)).or_else(|| Token::new(&fs::read_to_string(token_file?).ok()?))
        };
        let offline = variables.text("HF_HUB_OFFLINE").or_else(|| variables.text("TRANSFORMERS_OFFLINE"));
        Ok(HubSettings {
            cache_dir,
            endpoint: variables.text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token,
            offline: offline.is_some_and(|value| is_true(&value)),
            #[cfg(feature = "hub")]
            proxies: Proxies::from_lookup(lookup),
            // The Python library's limit for all its requests.
            silence_limit: Duration::from_secs(10),
            pace_window: Duration::from_secs(30),
            retry_pause: Duration::from_millis(250),
        })
    }
}

/// Access to variables, empty ones left out.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.into_string().ok()
    }

    fn is_true(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| is_true(&value))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name)?.into_string() {
            Ok(text) => Some(self.expand_home(&self.expand_variables(&text))),
            // Not Unicode, so nothing in it was meant to be expanded.
            Err(raw) => Some(PathBuf::from(raw)),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        let named = self.get(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        named.map(PathBuf::from).or_else(env::home_dir)
    }

    fn expand_home(&self, path: &str) -> PathBuf {
        let below = match path.strip_prefix('~') {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix(['/', std::path::MAIN_SEPARATOR]),
            None => None,
        };
        match (below, self.home()) {
            (Some(below), Some(home)) => home.join(Path::new(below.trim_start_matches('/'))),
            _ => PathBuf::from(path),
        }
    }

    /// `$NAME` and `${NAME}`; unknown names stay as they are.
    fn expand_variables(&self, text: &str) -> String {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let (name, tail) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(braced) => braced,
                None => after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len())),
            };
            match self.text(name).filter(|_| !name.is_empty()) {
                Some(value) => {
                    expanded.push_str(&value);
                    rest = tail;
                }
                None => {
                    expanded.push('$');
                    rest = after;
                }
            }
        }
        expanded + rest
    }
}

/// The words the Python library takes for yes.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HubSettings under these variables and no others. `/home/x` is the home where none is named.
    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let home = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let lookup = |name: &str| find(name).or_else(|| (name == home).then(|| "/home/x".into()));
        HubSettings::from_lookup(&lookup).expect("settings")
    }

    #[test]
    fn the_cache_is_where_the_python_library_has_it() {
        for (variables, cache) in [
            (&[][..], "/home/x/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")], "/hf/hub"),
            (&[("HF_HOME", "")], "/home/x/.cache/huggingface/hub"),
            (&[("HF_HOME", "~/hf")], "/home/x/hf/hub"),
            (&[("HF_HOME", "~")], "/home/x/hub"),
            (&[("HF_HOME", "~user/hf")], "~user/hf/hub"),
            (&[("HF_HOME", "$DISK/${NAME}_x/$NAME"), ("DISK", "/disk"), ("NAME", "n")], "/disk/n_x/n/hub"),
            (&[("HF_HOME", "/a$/$NOBODY/${NOBODY}")], "/a$/$NOBODY/${NOBODY}/hub"),
            (&[("HF_HUB_CACHE", "~/cache"), ("HF_HOME", "/hf")], "/home/x/cache"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
        ] {
            assert_eq!(settings(variables).cache_dir, Path::new(cache), "{variables:?}");
        }
    }

    #[test]
    fn the_token_is_the_first_one_set() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let home = dir.path().to_str().expect("a Unicode path");
        fs::write(dir.path().join("token"), "hf_file\n").expect("a file");
        let token = |variables: &[(&str, &str)]| {
            let variables = [variables, &[("HF_HOME", home)]].concat();
            settings(&variables).token.map(|token| token.expose().to_owned())
        };
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", "")]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", " \n")]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", " hf_a\r\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_b")]).as_deref(), Some("hf_a"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_b")]).as_deref(), Some("hf_b"));
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere/token")]), None);
        assert_eq!(token(&[("HF_TOKEN", "hf_a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]), None);
        assert_eq!(format!("{:?}", Token::new("hf_a")), "Some(Token(…))");
    }

    #[test]
    fn offline_and_the_endpoint_are_read_as_words() {
        for (value, offline) in [("1", true), ("true", true), ("Yes", true), ("ON", true), ("0", false), ("y", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
        }
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert_eq!(settings(&[("HF_ENDPOINT", "")]).endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror")]).endpoint, "http://mirror");
    }
}
