//! `verify`: a directory that is whole passes, and every damage is named.

mod files;
mod manifest;
mod recompute;
mod texts;

use std::fs;

use serde_json::{Value, json};

use crate::desk::{Desk, Ran};

const TEXTS: &str = "hello world\n\nthe river bank\nthe people of the good world\nzqx river hello\n";

/// Jobs of every format and type.
const JOBS: [&str; 6] = [
    "-e token,word,mean,sentence",
    "-e token,cls,pooler --dtype f16 --special-tokens drop",
    "-e word,max --pretokenized --combine concat",
    "-e token,word,mean -f safetensors",
    "-e word,sentence,pooler -f safetensors --dtype f16 --pretokenized",
    "-e token,mean -f safetensors --dtype bf16 --combine sum",
];

/// A desk with the output of a job in `out`.
fn desk(job: &str) -> Desk {
    let desk = Desk::with("width64");
    desk.put("texts.txt", TEXTS);
    let layers = if job.contains("-l ") { "" } else { "-l 0,2,4" };
    desk.types(&format!("extract -m width64 -i texts.txt {layers} --max-length 6 {job} -o out")).succeeds();
    desk
}

impl Desk {
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        change(&mut bytes);
        self.put(name, bytes);
    }

    fn edit_text(&self, name: &str, from: &str, to: &str) {
        self.edit(name, |bytes| {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
            let at = at.unwrap_or_else(|| panic!("{from} in {name}"));
            bytes.splice(at..at + from.len(), to.bytes());
        });
    }

    fn edit_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.json("out/manifest.json");
        change(&mut manifest);
        self.put("out/manifest.json", manifest.to_string());
    }

    /// Gives the manifest the checksum that these bytes have.
    fn fix_checksum(&self, place: &str, bytes: &[u8]) {
        self.edit_manifest(|manifest| manifest["crc32"][place] = json!(format!("{:08x}", crc32fast::hash(bytes))));
    }

    fn verifies(&self) {
        self.types("verify out").succeeds().prints_nothing().says("out is whole");
    }

    /// Each damage, as `place: problem`.
    #[track_caller]
    fn damages(&self) -> Vec<String> {
        let ran: Ran = self.types("verify out").ends_with(1);
        let lines: Vec<String> = ran.stdout().lines().map(str::to_owned).collect();
        let problems = if lines.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", lines.len()) };
        ran.says_all(&["error: out is damaged", &problems, "--overwrite"]);
        assert!(!lines.is_empty());
        lines
    }

    /// Fails unless these are all damages, in this order.
    #[track_caller]
    fn is_damaged(&self, expected: &[&str]) {
        assert_eq!(self.damages(), expected);
    }
}

/// Where the data of a `.npy` file starts.
const NPY_DATA: usize = 128;

/// Numbers that look random and are the same every time: Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn what_extract_writes_is_whole() {
    for job in JOBS {
        let desk = desk(job);
        desk.verifies();
        assert_eq!(desk.types("verify out --json").succeeds().json(), json!([]), "{job}");
        desk.types("verify out -q").succeeds().says_nothing().prints_nothing();
        let before = desk.files("out");
        desk.types("verify out --progress always").succeeds();
        assert_eq!(desk.files("out"), before, "nothing is written");
    }
    let desk = Desk::new();
    desk.types_into("extract -e token,word,mean -o out", "\n\n").succeeds();
    desk.verifies();
}

#[test]
fn so_are_tables_and_sentences_and_what_merge_writes() {
    let desk = Desk::with("width64");
    desk.put("pairs.csv", "id,text,other,label,n\na,hello world,the river bank,yes,1\nb,,the people,no,2\nc,good,,,\n");
    desk.put("tagged.conll", "the DET\nriver NOUN\n\nhello INTJ\n\n");
    desk.put("texts.jsonl", "{\"text\": \"hello\", \"label\": 1.50}\n{\"text\": \"the river\"}\n");
    for job in [
        "-i pairs.csv --pair-column other --carry n -e token,word,mean --max-length 6",
        "-i pairs.csv --pair-column other -e word --pretokenized -f safetensors",
        "-i tagged.conll -e word,token",
        "-i tagged.conll -e word,token --overflow window --max-length 4 --stride 1",
        "-i pairs.csv -e word,token,mean --overflow window --max-length 4 --special-tokens drop",
        "-i texts.jsonl -e token,cls",
    ] {
        desk.types(&format!("extract -m width64 {job} --overwrite -o out")).succeeds();
        desk.verifies();
    }
    desk.put("texts.txt", TEXTS);
    for format in ["npy", "safetensors"] {
        let job = format!("extract -m width64 -i texts.txt -e token,word,mean -l 0,4 -f {format} --overwrite");
        desk.types(&format!("{job} --shard 1/2 -o part-1")).succeeds();
        desk.types(&format!("{job} --shard 2/2 -o part-2")).succeeds();
        desk.types("merge out part-1 part-2 --overwrite").succeeds();
        desk.verifies();
    }
}

#[test]
fn a_byte_changed_anywhere_is_found_and_its_file_named() {
    let mut random = Random(7);
    for job in [JOBS[0], JOBS[5]] {
        let desk = desk(job);
        for (name, bytes) in desk.files("out") {
            if ["manifest.json", "run.json"].contains(&name.as_str()) {
                continue;
            }
            // Every few bytes of the header, and anywhere.
            let beginning = bytes.len().min(136);
            let places = (0..4).map(|_| random.below(beginning)).collect::<Vec<_>>();
            let places = places.into_iter().chain((0..4).map(|_| random.below(bytes.len())).collect::<Vec<_>>());
            for at in places {
                let bit = 1 << random.below(8);
                desk.edit(&format!("out/{name}"), |bytes| bytes[at] ^= bit);
                let damages = desk.damages();
                assert!(
                    damages.iter().any(|line| line.starts_with(&name)),
                    "{name}, byte {at}, bit {bit}: {damages:?}"
                );
                let is_of = |line: &String| line.starts_with(&name) || line.starts_with("manifest.json: counts.");
                let is_of_offsets = |line: &String| line.contains("offsets") && line.contains("by texts.jsonl");
                assert!(
                    damages.iter().all(|line| is_of(line) || is_of_offsets(line)),
                    "{name}, byte {at}: {damages:?}"
                );
                desk.put(&format!("out/{name}"), &bytes);
            }
        }
        desk.verifies();
    }
}

#[test]
fn what_other_jobs_left_is_named() {
    let desk = desk("-e mean -l 0,2");
    desk.put("out/notes.txt", "mine");
    desk.put("out/mean/umap.npy", "mine");
    desk.verifies();
    desk.put("out/unfinished.json", "{}");
    desk.put("out/.layerwise-tokens", "");
    desk.put("out/mean/layer_07.npy", "");
    desk.put("out/token.safetensors", "");
    let damages = desk.damages();
    assert_eq!(damages.len(), 4, "{damages:?}");
    assert!(damages[0].starts_with(".layerwise-tokens: is of a job that is running or was killed"), "{damages:?}");
    assert!(damages[1].starts_with("unfinished.json: is there beside a manifest"), "{damages:?}");
    for name in ["mean/layer_07.npy: has a name that layerwise gives", "token.safetensors: has a name"] {
        assert!(damages[2..].iter().any(|line| line.starts_with(name)), "{damages:?}");
    }
}

#[test]
fn damages_are_a_list_for_programs() {
    let desk = desk("-e mean -l 0,2");
    desk.remove("out/mean/layer_02.npy");
    desk.edit("out/mean/layer_00.npy", |bytes| bytes.truncate(200));
    let ran = desk.types("verify --json out").ends_with(1);
    assert_eq!(
        ran.json(),
        json!([
            {"place": "mean/layer_00.npy", "problem": "has 200 bytes; expected 2688"},
            {"place": "mean/layer_02.npy", "problem": "is missing"},
        ])
    );
    ran.says("out is damaged: 2 problems");
}

#[test]
fn what_is_no_complete_output_is_refused() {
    let desk = desk("-e mean -l 0");
    let is_refused =
        |target: &str, texts: &[&str]| drop(desk.types(&format!("verify {target}")).fails().says_all(texts));
    is_refused("nowhere", &["nowhere: does not exist", "layerwise extract"]);
    is_refused("texts.txt", &["texts.txt: is a file", "layerwise extract"]);
    is_refused("width64", &["width64: has no manifest.json, and is a model", "layerwise extract"]);
    desk.put("probed/report.json", "{}");
    is_refused("probed", &["probed: has no manifest.json, and is a report of `layerwise probe`", "layerwise extract"]);
    fs::create_dir(desk.path("empty")).expect("a directory");
    is_refused("empty", &["empty: has no manifest.json; expected", "layerwise extract"]);
    desk.put("web/manifest.json", "{\"name\": \"a web page\"}");
    is_refused("web", &["web", "manifest.json: is not a manifest of layerwise"]);
    fs::rename(desk.path("out/manifest.json"), desk.path("out/unfinished.json")).expect("a file");
    is_refused("out", &["out: holds an unfinished job", "run its command again"]);
    fs::create_dir(desk.path("out/manifest.json")).expect("a directory");
    is_refused("out", &["manifest.json: is a directory", "layerwise extract"]);
    desk.put("web/manifest.json", "[".repeat(17 << 20));
    is_refused("web", &["manifest.json: is larger than any manifest"]);
    desk.types("verify").fails_as_wrong_usage();
}

#[cfg(unix)]
#[test]
fn what_lies_in_place_of_a_directory_or_its_manifest_is_called_what_it_is() {
    use std::os::unix::fs::symlink;

    let desk = Desk::new();
    let is_refused = |target: &str, text: &str| {
        desk.types(&format!("verify {target}"))
            .fails()
            .says_all(&[text, "expected a directory that `layerwise extract`"]);
    };
    let made = std::process::Command::new("mkfifo").arg(desk.path("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    is_refused("pipe", "pipe: is a pipe");
    is_refused("/dev/null", "/dev/null: is a device");
    symlink("nowhere", desk.path("link")).expect("a link");
    is_refused("link", "link: is a link to what does not exist");
    symlink("loop", desk.path("loop")).expect("a link");
    desk.types("verify loop").fails().says("cannot read loop: ");
    fs::create_dir(desk.path("out")).expect("a directory");
    for (target, what) in [
        ("../pipe", "is a pipe"),
        ("/dev/zero", "is a device"),
        ("nowhere", "is a link to what does not exist"),
        ("..", "is a directory"),
    ] {
        symlink(target, desk.path("out/manifest.json")).expect("a link");
        is_refused("out", &format!("manifest.json: {what}"));
        desk.remove("out/manifest.json");
    }
    symlink("manifest.json", desk.path("out/manifest.json")).expect("a link");
    desk.types("verify out").fails().says("cannot read out/manifest.json: ");
}
