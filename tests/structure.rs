//! The plan of the house: modules import downward only, and a name means one thing.
//!
//! A module is a file. It may use its own children and whatever lies below it, and nothing that uses it, directly or by a
//! detour. Unit tests are left out: they may use anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path: `["kernels", "product"]`; empty for the crate itself.
type ModulePath = Vec<String>;

/// Every module of the library with its source, unit tests left out.
fn modules() -> BTreeMap<ModulePath, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && path != root.join("main.rs") {
                let source = fs::read_to_string(&path).unwrap();
                let source = source[..source.find("mod tests {").unwrap_or(source.len())].to_owned();
                modules.insert(name_of(path.strip_prefix(&root).unwrap()), source);
            }
        }
    }
    modules
}

fn name_of(file: &Path) -> ModulePath {
    let path: PathBuf = if file.ends_with("mod.rs") || file == Path::new("lib.rs") {
        file.parent().unwrap().to_owned()
    } else {
        file.with_extension("")
    };
    path.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
}

/// Identifiers and `::`, and other characters one by one; without comments, strings and characters in quotes.
fn words(source: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if first == '\'' && rest[1..].starts_with('\\') {
            rest[2..].find('\'').map_or(rest.len(), |end| end + 3)
        } else if first == '\'' && rest.chars().nth(2) == Some('\'') {
            rest.char_indices().nth(3).map_or(rest.len(), |(end, _)| end)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// The paths of a `use` tree, or the one path, that begins at `words[at]`; and where it ends.
fn paths(words: &[String], mut at: usize) -> (Vec<Vec<String>>, usize) {
    let mut path = Vec::new();
    loop {
        match words.get(at).map(String::as_str) {
            Some("{") => {
                let mut all = Vec::new();
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    let (inner, end) = paths(words, at);
                    all.extend(inner.into_iter().map(|inner| [&path[..], &inner[..]].concat()));
                    at = end.max(at + 1);
                    if words.get(at).is_some_and(|word| word == ",") {
                        at += 1;
                    }
                }
                return (all, at + 1);
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => return (vec![path], at),
        }
        if words.get(at).is_some_and(|word| word == "::") {
            at += 1;
        } else {
            return (vec![path], at);
        }
    }
}

/// Module → the modules that it uses.
fn uses(modules: &BTreeMap<ModulePath, String>) -> BTreeMap<&ModulePath, BTreeSet<&ModulePath>> {
    let mut uses: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for (module, source) in modules {
        let used = uses.entry(module).or_default();
        let words = words(source);
        let mut at = 0;
        while at < words.len() {
            let starts_path = at == 0 || words[at - 1] != "::" && words[at - 1] != "in" && words[at - 1] != ".";
            let is_path = words.get(at + 1).is_some_and(|word| word == "::");
            if !(starts_path && is_path) {
                at += 1;
                continue;
            }
            let (found, end) = paths(&words, at);
            at = end.max(at + 1);
            for path in found.into_iter().filter(|path| !path.is_empty()) {
                let mut from = match path[0].as_str() {
                    "crate" => Vec::new(),
                    // Of this module or those around it; or a child, if there is one of that name.
                    _ => module.clone(),
                };
                let path = if ["crate", "self"].contains(&path[0].as_str()) { &path[1..] } else { &path[..] };
                for part in path {
                    if part == "super" {
                        from.pop();
                        continue;
                    }
                    from.push(part.clone());
                    if !modules.contains_key(&from) {
                        from.pop();
                        break;
                    }
                }
                if let Some((found, _)) = modules.get_key_value(&from)
                    && found != module
                {
                    used.insert(found);
                }
            }
        }
    }
    uses
}

#[test]
fn modules_import_downward_only() {
    let modules = modules();
    let uses = uses(&modules);
    assert!(uses.len() > 100, "found {} modules", uses.len());
    let reaches = |from: &ModulePath, to: &ModulePath| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            next.extend(uses[module].iter().filter(|used| reached.insert(**used)));
        }
        reached.contains(to)
    };
    let mut circle = Vec::new();
    for (module, used) in uses.iter().filter(|(module, _)| reaches(module, module)) {
        let back: Vec<String> = used.iter().filter(|used| reaches(used, module)).map(|used| used.join("::")).collect();
        circle.push(format!("{} uses {}", module.join("::"), back.join(", ")));
    }
    assert!(circle.is_empty(), "modules that use each other:\n{}", circle.join("\n"));
}

#[test]
fn no_two_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, source) in modules() {
        let words = words(&source);
        for pair in words.windows(2) {
            let declares = ["struct", "enum", "trait", "union"].contains(&pair[0].as_str());
            if declares && pair[1].starts_with(char::is_alphabetic) {
                places.entry(pair[1].clone()).or_default().push(module.join("::"));
            }
        }
    }
    let shared: Vec<String> = places
        .iter()
        .filter(|(_, modules)| modules.len() > 1)
        .map(|(name, modules)| format!("{name} in {}", modules.join(" and ")))
        .collect();
    assert!(places.len() > 150, "found {} types", places.len());
    assert!(shared.is_empty(), "types of one name:\n{}", shared.join("\n"));
}
