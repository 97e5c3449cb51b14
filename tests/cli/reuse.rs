//! `--reuse`: rows that other directories hold are copied, and the bytes are those of a job from scratch. `--overwrite`: the old
//! directory stays whole until the new one is.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::desk::Desk;

/// Numbers that look random and are the same every time: Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

const WORDS: [&str; 12] =
    ["hello", "world", "the", "river", "bank", "people", "cat", "sat", "on", "mat", "old", "unbelievable"];

fn text(random: &mut Random) -> String {
    (0..random.below(25)).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn record(random: &mut Random, id: usize) -> Value {
    let text = text(random);
    let spans: Vec<[usize; 2]> =
        (0..random.below(3)).filter_map(|k| text.get(k * 3..k * 3 + 2).map(|_| [0, k * 3 + 2])).collect();
    json!({"id": format!("t{id}"), "text": text, "label": random.below(3), "at": spans})
}

fn put(desk: &Desk, name: &str, records: &[Value]) {
    desk.put(name, records.iter().map(|record| format!("{record}\n")).collect::<String>());
}

/// Adds, removes, moves and changes records.
fn edit(records: &mut Vec<Value>, random: &mut Random, next: &mut usize) {
    for _ in 0..=random.below(6) {
        let at = random.below(records.len());
        *next += 1;
        match random.below(6) {
            0 => records.insert(at, record(random, *next)),
            1 if records.len() > 3 => drop(records.remove(at)),
            2 => {
                let other = random.below(records.len());
                records.swap(at, other);
            }
            3 => records[at]["id"] = json!(format!("changed{next}")),
            4 => records[at]["label"] = json!(random.below(9)),
            _ => records[at] = record(random, *next),
        }
    }
}

/// Settings under which the bits of a text are compared.
const SETTINGS: [&str; 6] = [
    "-e mean,token -l 0,-1",
    "-e span,word,mean,pooler,sentence --span-column at",
    "-e token -f safetensors --dtype bf16 --special-tokens drop",
    "-e mean,cls --dtype f16 --combine concat --normalize",
    "-e token,mean --max-length 9 --overflow window --stride 2",
    "-e word,max --max-length 7 --threads 1",
];

/// Edits an input over and over; each time the old directory is reused, and the new one compared with one from scratch.
fn follows_edits(edits: usize, seed: u64) {
    let desk = Desk::with("width16");
    let mut random = Random(seed);
    for settings in SETTINGS {
        let mut next = 1000;
        let mut records: Vec<Value> = (0..40).map(|id| record(&mut random, id)).collect();
        put(&desk, "texts.jsonl", &records);
        let job = format!("extract -m width16 -i texts.jsonl {settings}");
        desk.types(&format!("{job} -o old --overwrite")).succeeds();
        for _ in 0..edits {
            edit(&mut records, &mut random, &mut next);
            put(&desk, "texts.jsonl", &records);
            desk.types(&format!("{job} -o new --reuse old"))
                .succeeds()
                .says(&format!("of {} texts were copied", records.len()));
            desk.types(&format!("{job} -o fresh")).succeeds();
            assert!(desk.job("new") == desk.job("fresh"), "{settings}");
            fs::remove_dir_all(desk.path("old")).expect("a directory");
            fs::remove_dir_all(desk.path("fresh")).expect("a directory");
            fs::rename(desk.path("new"), desk.path("old")).expect("a directory");
        }
    }
}

#[test]
fn what_is_reused_has_the_bytes_of_a_job_from_scratch() {
    follows_edits(4, 1);
}

#[test]
#[ignore = "takes minutes; make reuse"]
fn two_hundred_edits() {
    follows_edits(34, 2);
}

fn many(count: usize) -> Vec<Value> {
    let mut random = Random(7);
    (0..count).map(|id| record(&mut random, id)).collect()
}

#[test]
fn the_summary_says_what_came_from_where() {
    let desk = Desk::with("width1");
    let records = many(60);
    put(&desk, "a.jsonl", &records[..20]);
    put(&desk, "b.jsonl", &records[15..45]);
    put(&desk, "all.jsonl", &records);
    for name in ["a", "b"] {
        // Other layers, kinds, columns and formats do not matter, as long as all that is asked for is there.
        let more = if name == "a" { "-f safetensors -e cls,mean,token" } else { "-l all --carry at" };
        desk.types(&format!("extract -m width1 -i {name}.jsonl {more} -o {name}")).succeeds();
    }
    let job = "extract -m width1 -i all.jsonl -l 1..2";
    let distinct = |from: std::ops::Range<usize>| {
        let texts: std::collections::BTreeSet<String> = records[from].iter().map(|r| r["text"].to_string()).collect();
        texts
    };
    let in_a = distinct(0..20);
    let in_b: Vec<_> = distinct(15..45).into_iter().filter(|text| !in_a.contains(text)).collect();
    let count = |held: &dyn Fn(&String) -> bool| records.iter().filter(|r| held(&r["text"].to_string())).count();
    let (a, b) = (count(&|text| in_a.contains(text)), count(&|text| in_b.contains(text)));
    let told = format!("{} of 60 texts ", a + b);
    let dry = desk.types(&format!("{job} -o new --reuse a --reuse b --dry-run")).succeeds();
    dry.prints_all(&[&format!("reuse     {told}would be copied from a ({a}) and b ({b})")]);
    assert!(!desk.has("new"));
    let ran = desk.types(&format!("{job} -o new --reuse a --reuse b")).succeeds();
    ran.says(&format!("{told}were copied from a ({a}) and b ({b})"));
    desk.types(&format!("{job} -o fresh")).succeeds();
    assert!(desk.job("new") == desk.job("fresh"));
    desk.types("verify new --recompute 60 -i all.jsonl").succeeds();
    // Shards, too, and a job that is there already is nothing to copy for.
    for shard in 1..=3 {
        desk.types(&format!("{job} --shard {shard}/3 -o part{shard} --reuse a --reuse b")).succeeds();
    }
    desk.types("merge merged part1 part2 part3").succeeds();
    assert!(desk.job("merged") == desk.job("fresh"));
    desk.types(&format!("{job} -o new --reuse a")).succeeds().says("already holds this job");
}

#[test]
fn what_would_have_other_bits_is_refused() {
    let desk = Desk::with("width1");
    desk.model_as("width1", "other").tensors(|tensors| {
        let first = tensors.values_mut().next().expect("a tensor");
        first.bytes[0] ^= 1;
    });
    put(&desk, "texts.jsonl", &many(12));
    let job = "extract -m width1 -i texts.jsonl -e mean,token";
    desk.types(&format!("{job} -l 1 -o old")).succeeds();
    let whole = desk.files("old");
    for (settings, says) in [
        ("-l 1 --max-length 9", "--max-length (40 there, 9 here)"),
        ("-l 1 --special-tokens drop", "--special-tokens"),
        ("-l 1 --dtype f16", "--dtype (f32 there, f16 here)"),
        ("-l 1 --overflow window", "--overflow"),
        ("-l 1 --compute bf16", "--compute"),
        ("-l 1,2", "--layers: it lacks 2"),
        ("-l 1 -e cls", "--emit: it lacks cls"),
        ("-l 1 -m other", "the model"),
        ("-l 1 --prompt x", "--prompt"),
    ] {
        let emit = if settings.contains("-e ") { "" } else { "-e mean,token" };
        let model = if settings.contains("-m ") { "" } else { "-m width1" };
        let job = format!("extract {model} -i texts.jsonl {emit} {settings} -o new --reuse old");
        desk.types(&job).fails().says_all(&["old", "cannot be reused", says]);
        assert!(!desk.has("new"), "{settings}");
    }
    let reuse = format!("{job} -l 1 -o new --reuse old");
    for (name, says) in [
        ("token/layer_01.npy", "token/layer_01.npy does not have its checksum"),
        ("token/offsets.npy", "token/offsets.npy does not have its checksum"),
        ("texts.jsonl", "texts.jsonl does not have its checksum"),
    ] {
        let mut bytes = whole[name].clone();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        desk.put(&format!("old/{name}"), bytes);
        desk.types(&reuse).fails().says_all(&["old", "damaged"]);
        let _ = says;
        desk.put(&format!("old/{name}"), &whole[name]);
        assert!(!desk.has("new"));
    }
    desk.remove("old/manifest.json");
    desk.types(&reuse).fails().says_all(&["old", "no manifest.json", "finish it"]);
    desk.types(&format!("{job} -o new --reuse nowhere")).fails().says("nowhere");
    desk.types(&format!("{job} --reuse old")).fails_as_wrong_usage().says("--output");
}

#[cfg(unix)]
#[test]
fn a_refresh_that_is_killed_over_and_over_gives_the_same_bytes() {
    let desk = Desk::new();
    let line =
        |i: usize| format!("{}the river bank {i}\n", "some people make a good world by the house ".repeat(i % 9));
    desk.put("old.txt", (0..200).map(line).collect::<String>());
    desk.put("new.txt", (60..330).rev().map(line).collect::<String>());
    let slowly = "--threads 1 --batch-tokens 64";
    desk.types(&format!("extract -i old.txt -e token,mean {slowly} -o out")).succeeds();
    let old = desk.job("out");
    let job = format!("extract -i new.txt -e token,mean {slowly}");
    desk.types(&format!("{job} -o fresh")).succeeds();
    // In place of the directory that it copies from.
    let refresh = format!("{job} -o out --reuse out --overwrite");
    let mut random = Random(3);
    let mut killed = 0;
    while killed < 6 {
        let mut running = desk.starts(&refresh);
        std::thread::sleep(Duration::from_millis(random.below(900) as u64));
        if running.0.try_wait().expect("a status").is_some() {
            break;
        }
        running.gets_signal("KILL");
        running.ends();
        killed += 1;
        // What is there is whole: the old one, or the new one.
        if desk.has("out/manifest.json") {
            let there = desk.job("out");
            let there: std::collections::BTreeMap<_, _> =
                there.into_iter().filter(|(name, _)| !name.starts_with('.') && name != "unfinished.json").collect();
            assert!(there == old || there == desk.job("fresh"), "after {killed} kills");
        }
    }
    desk.types(&refresh).succeeds();
    assert!(desk.job("out") == desk.job("fresh"));
    let left = fs::read_dir(desk.path("out")).expect("a directory");
    assert!(
        left.map(|entry| entry.expect("an entry").file_name()).all(|name| !name.to_string_lossy().starts_with('.'))
    );
    desk.types("verify out").succeeds();
}

#[test]
fn overwrite_keeps_the_old_job_until_the_new_one_is_complete() {
    let desk = Desk::with("width1");
    desk.types("extract -m width1 'hello world' -e token,cls -o out").succeeds();
    let old = desk.files("out");
    // A job that fails leaves it as it was, one that ends replaces all of it.
    desk.types("extract -m width1 --max-length 3 --overflow error 'one two three' -o out --overwrite").fails();
    assert!(desk.files("out") == old);
    desk.types("extract -m width1 'the river' -e mean,token -o fresh").succeeds();
    desk.types("extract -m width1 'the river' -e mean,token -o out --overwrite").succeeds();
    assert!(desk.job("out") == desk.job("fresh"));
    assert_eq!(desk.file_names("out"), desk.file_names("fresh"));
    // What layerwise did not make stays, and is in the way where a file of ours needs its name.
    desk.put("out/notes.txt", "mine");
    desk.put("out/cls/layer_00.npy", "mine");
    desk.types("extract -m width1 'the river' -e cls -o out --overwrite").fails().says("cls/layer_00.npy");
    desk.types("extract -m width1 'the river' -e word -o out --overwrite").succeeds();
    assert_eq!(desk.read("out/notes.txt"), b"mine");
}
