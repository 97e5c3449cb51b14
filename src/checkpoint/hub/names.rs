//! Names that come from outside (repositories, revisions, commits, files) and the rules that keep them in their folder.

use super::error::HubError;

/// The longest owner or name the hub gives out.
const PART_LIMIT: usize = 96;

/// Checks `id` by the rules of the Python library's `validate_repo_id`.
///
/// # Errors
/// `HubError::NotAnId` with the rule that `id` breaks.
pub(super) fn check_id(id: &str) -> Result<(), HubError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let parts: Vec<&str> = id.split('/').collect();
    let problem = if parts.len() > 2 {
        "it has more than one slash"
    } else if parts.iter().any(|part| part.is_empty()) {
        "a part of it is empty"
    } else if !parts.iter().all(|part| part.chars().all(|c| is_word(c) || c == '-' || c == '.')) {
        "only letters, digits, `-`, `_` and `.` make an id"
    } else if !parts.iter().all(|part| part.starts_with(is_word) && part.ends_with(is_word)) {
        "no part of an id starts or ends with `-` or `.`"
    } else if parts.iter().any(|part| part.len() > PART_LIMIT) {
        "a part of it is longer than 96 characters"
    } else if id.contains("--") || id.contains("..") {
        "no id has `--` or `..` in it"
    } else if id.ends_with(".git") {
        "no id ends with `.git`"
    } else {
        return Ok(());
    };
    Err(HubError::NotAnId { id: id.to_owned(), problem })
}

/// Checks that `revision` can name something in git, and so is safe as a path below `refs/`.
///
/// # Errors
/// `HubError::NotARevision`.
pub(super) fn check_revision(revision: &str) -> Result<(), HubError> {
    let part_is_sound = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    let char_is_sound = |c: char| !c.is_control() && !c.is_whitespace() && !"\\:~^?*[".contains(c);
    let sound = revision.split('/').all(part_is_sound)
        && revision.chars().all(char_is_sound)
        && !revision.contains("..")
        && !revision.starts_with('-');
    if sound { Ok(()) } else { Err(HubError::NotARevision { revision: revision.to_owned() }) }
}

/// Whether `name` is a full commit id, which stands for itself and needs no entry below `refs/`.
pub(super) fn is_commit(name: &str) -> bool {
    name.len() == 40 && is_lower_hex(name)
}

/// Whether an etag can be the name of a file in `blobs/`. A server could otherwise choose what is overwritten.
pub(super) fn is_blob_name(etag: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !etag.is_empty() && etag.len() <= 128 && !etag.starts_with('.') && etag.chars().all(sound)
}

/// Whether a repository's file name stays below the snapshot's folder on every system.
pub(super) fn is_file_name(name: &str) -> bool {
    let char_is_sound = |c: char| !c.is_control() && !"\\:".contains(c);
    name.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && name.chars().all(char_is_sound)
}

pub(super) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rules_of_the_python_library() {
        let long = "a".repeat(96);
        for id in ["bert-base-uncased", "a/b", "123", "Foo-BAR_foo.bar123", "_a/b_", long.as_str()] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        let longer = "a".repeat(97);
        for id in [
            "",
            "./nomodel",
            "../x",
            "/abs/path",
            "a/b/c",
            "~/model",
            "a/",
            "/a",
            ".hidden",
            "a-",
            "a/b.",
            "foo--bar",
            "foo..bar",
            "foo.git",
            "mod el",
            "C:\\model",
            "naïve",
            &longer,
        ] {
            let error = check_id(id).expect_err(id).to_string();
            assert!(error.contains("neither an existing directory nor a hub id"), "{error}");
        }
    }

    #[test]
    fn revisions_stay_below_refs() {
        for revision in ["main", "v1.0", "refs/pr/1", "feature/x", "3f2a"] {
            assert!(check_revision(revision).is_ok(), "{revision}");
        }
        for revision in ["", "../main", "a/../b", "/main", "main/", "a b", "a\\b", "c:x", ".git", "-f", "a\nb"] {
            assert!(check_revision(revision).is_err(), "{revision}");
        }
    }

    #[test]
    fn etags_and_file_names_stay_in_their_folder() {
        assert!(is_blob_name(&"0f".repeat(32)) && is_blob_name("abc-1.2_gzip"));
        for etag in ["", "../x", "a/b", ".incomplete", "a\\b", "/etc/passwd", &"a".repeat(200)] {
            assert!(!is_blob_name(etag), "{etag}");
        }
        assert!(is_file_name("model-00001-of-00002.safetensors") && is_file_name("1_Pooling/config.json"));
        for name in ["../model.safetensors", "/model.safetensors", "a//b", "a/./b", "a\\b", "c:x", ""] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
