//! The digests that the hub names files by.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::names::is_lower_hex;
use crate::regular_file;

/// A digest as an etag gives it, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// sha256 of the content, for files in large-file storage (LFS).
    Sha256(String),
    /// sha1 of the content as git stores it, behind a header with its length; for files in the git repository itself.
    GitSha1(String),
}

impl Digest {
    /// The digest in `etag`, if it is one.
    pub(super) fn named_by(etag: &str) -> Option<Digest> {
        match etag.len() {
            64 if is_lower_hex(etag) => Some(Digest::Sha256(etag.to_owned())),
            40 if is_lower_hex(etag) => Some(Digest::GitSha1(etag.to_owned())),
            _ => None,
        }
    }

    /// The digest of the file at `path`, of the same kind as this one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn same_kind_of(&self, path: &Path) -> io::Result<Digest> {
        let mut file = regular_file::open(path)?;
        match self {
            Digest::Sha256(_) => Ok(Digest::Sha256(consume(&mut file, Sha256::new())?)),
            Digest::GitSha1(_) => {
                let header = format!("blob {}\0", file.metadata()?.len());
                Ok(Digest::GitSha1(consume(&mut file, Sha1::new_with_prefix(header))?))
            }
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Digest::Sha256(hex) => write!(f, "sha256 {hex}"),
            Digest::GitSha1(hex) => write!(f, "git's sha1 {hex}"),
        }
    }
}

fn consume<D: sha2::Digest>(file: &mut File, mut hasher: D) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_of_large_file_storage() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        std::fs::write(&path, "hello\n").expect("a file");
        // `git hash-object` and `sha256sum` of the same file.
        for etag in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let digest = Digest::named_by(etag).expect("a digest");
            assert_eq!(digest.same_kind_of(&path).expect("a readable file"), digest);
        }
        assert_eq!(Digest::named_by("W/\"abc\""), None);
        assert_eq!(Digest::named_by(&"A".repeat(40)), None);
    }
}
