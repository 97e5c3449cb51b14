//! Jobs that are killed, over and over, and given the same command again: in the end the output is byte for byte that of a
//! job nobody disturbed.

use std::fs;
use std::time::{Duration, Instant};

use crate::desk::Desk;
use crate::running::{Running, wait_until};

/// Jobs of a second or two, most of it encoding.
const JOBS: [&str; 6] = [
    "-i texts.txt -e token,mean",
    "-i texts.txt -e mean,pooler,sentence -f safetensors --normalize",
    "-i texts.txt -e token,word --pretokenized -f safetensors --dtype bf16 --special-tokens drop",
    "-i texts.txt -e word --combine concat --dtype f16",
    "-i texts.txt -e token --shard 2/2",
    "-i texts.txt -e token,word,mean,pooler --max-length 20 --overflow window --stride 5",
];

/// What makes them slow.
const SLOWLY: &str = "--threads 1 --batch-tokens 64";

fn desk() -> Desk {
    let desk = Desk::new();
    let texts = (0..450)
        .map(|i| format!("{}the river bank {i}\n", "some people make a good world by the house ".repeat(i % 13)));
    desk.put("texts.txt", texts.collect::<String>());
    desk
}

/// Numbers that look random and are the same every time: Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Kills a job `kills` times, at any moment between its start and a while, then lets it end.
#[allow(clippy::print_stderr, reason = "how often a run was killed is worth knowing, with --nocapture")]
fn survives(desk: &Desk, job: &str, kills: usize, seed: u64) {
    let begun = Instant::now();
    desk.types(&format!("extract {job} {SLOWLY} -o undisturbed --overwrite")).succeeds();
    let whole = begun.elapsed();
    let (mut random, mut killed, mut finished) = (Random(seed), 0, 0);
    while killed < kills {
        let mut running = desk.starts(&format!("extract {job} {SLOWLY} -o out"));
        std::thread::sleep(whole.mul_f64(random.below(1000) as f64 / 1500.0));
        if running.0.try_wait().expect("a status").is_none() {
            running.gets_signal("KILL");
            killed += 1;
        }
        let status = running.ends();
        if status.success() {
            assert!(desk.job("out") == desk.job("undisturbed"), "{job}: after {killed} kills");
            fs::remove_dir_all(desk.path("out")).expect("a directory");
            finished += 1;
        } else {
            assert_eq!(status.code(), None, "{job}: after {killed} kills: {}", running.stderr());
        }
    }
    desk.types(&format!("extract {job} {SLOWLY} -o out")).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"), "{job}: after {killed} kills");
    assert!(
        fs::read_dir(desk.path("out"))
            .expect("a directory")
            .all(|entry| { !entry.expect("an entry").file_name().to_string_lossy().starts_with('.') })
    );
    fs::remove_dir_all(desk.path("out")).expect("a directory");
    eprintln!("{job}: {killed} kills, finished {} times", finished + 1);
}

#[test]
fn a_job_that_is_killed_over_and_over_gives_the_same_bytes() {
    let desk = desk();
    for (seed, job) in JOBS.iter().enumerate() {
        survives(&desk, job, 3, seed as u64);
    }
}

/// Jobs whose vectors become Parquet files part by part.
#[cfg(feature = "parquet")]
const JOBS_IN_PARTS: [&str; 3] = [
    "-i texts.txt -e mean,sentence -f parquet --part-texts 16",
    "-i texts.txt -e token,word,mean -f parquet --part-texts 100 --max-length 20 --overflow window --stride 5",
    "-i texts.txt -e token -f parquet --part-texts 64 --dtype f16 --shard 2/2",
];

#[test]
#[cfg(feature = "parquet")]
fn so_does_one_in_parts() {
    let desk = desk();
    for (seed, job) in JOBS_IN_PARTS.iter().enumerate() {
        survives(&desk, job, 4, 50 + seed as u64);
    }
}

#[test]
#[cfg(feature = "parquet")]
fn parts_that_are_complete_are_not_made_again_but_where_they_were_changed() {
    let desk = desk();
    let job = JOBS_IN_PARTS[1];
    desk.types(&format!("extract {job} -o undisturbed")).succeeds();
    let killed = || {
        killed_half_way(&desk, job);
        assert!(desk.has("out/token/part-00000.parquet") || desk.has("out/.layerwise-rows"));
    };
    killed();
    let done = desk.json("out/unfinished.json")["progress"]["texts"].clone();
    desk.types(&format!("extract {job} -o out")).succeeds().says(&format!("out holds the first {done} of 450 texts"));
    assert!(desk.job("out") == desk.job("undisturbed"));
    fs::remove_dir_all(desk.path("out")).expect("a directory");
    // Until a part is there, and some rows of the next one.
    let until_a_part = || {
        let mut running = desk.starts(&format!("extract {job} {SLOWLY} -o out"));
        wait_until("a part is journaled", || {
            fs::read_to_string(desk.path("out/unfinished.json")).is_ok_and(|journal| {
                let journal: serde_json::Value = serde_json::from_str(&journal).expect("never half a journal");
                let texts = journal["progress"]["texts"].as_u64().unwrap_or_default();
                journal["progress"]["phase"] == "arrays" && texts > 100 && !texts.is_multiple_of(100)
            })
        });
        running.gets_signal("KILL");
        running.ends();
    };
    for name in ["out/token/part-00000.parquet", "out/.layerwise-rows", "out/mean/part-00000.parquet"] {
        until_a_part();
        let mut bytes = desk.read(name);
        bytes[10] ^= 1;
        desk.put(name, &bytes);
        let again = desk.types(&format!("extract {job} -o out")).succeeds();
        again.says("holds other rows than were written there").does_not_say("going on");
        assert!(desk.job("out") == desk.job("undisturbed"), "{name}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
        until_a_part();
        desk.remove(name);
        desk.types(&format!("extract {job} -o out")).succeeds().does_not_say("going on");
        assert!(desk.job("out") == desk.job("undisturbed"), "{name}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
    // Another job takes its place, of parts or not.
    for other in ["-i texts.txt -e cls -f parquet --part-texts 200", JOBS[1]] {
        until_a_part();
        desk.types(&format!("extract {other} -o out --overwrite")).succeeds().does_not_say("going on");
        desk.types(&format!("extract {other} -o other --overwrite")).succeeds();
        assert!(desk.job("out") == desk.job("other"), "{other}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}

/// `make kills`: what the test above has a share of.
#[test]
#[ignore = "takes minutes"]
fn two_hundred_kills() {
    let desk = desk();
    for (seed, job) in JOBS.iter().enumerate() {
        survives(&desk, job, 40, 100 + seed as u64);
    }
}

/// Starts a job and kills it once it has journaled something of its second pass.
fn killed_half_way(desk: &Desk, job: &str) {
    killed_half_way_in(desk, job, "out");
}

/// The same for a job whose journal is in `directory`.
fn killed_half_way_in(desk: &Desk, job: &str, directory: &str) {
    let mut running = desk.starts(&format!("extract {job} {SLOWLY} -o out"));
    wait_until("something is journaled", || {
        fs::read_to_string(desk.path(&format!("{directory}/unfinished.json"))).is_ok_and(|journal| {
            let journal: serde_json::Value = serde_json::from_str(&journal).expect("never half a journal");
            journal["progress"]["phase"] == "arrays" && journal["progress"]["texts"].as_u64() > Some(0)
        })
    });
    running.gets_signal("KILL");
    running.ends();
}

#[test]
fn a_job_goes_on_where_it_was_killed() {
    let desk = desk();
    killed_half_way(&desk, JOBS[0]);
    let done = desk.json("out/unfinished.json")["progress"]["texts"].clone();
    let again = desk.types(&format!("extract {} -o out", JOBS[0])).succeeds();
    again.says(&format!("out holds the first {done} of 450 texts; going on"));
    desk.types(&format!("extract {} -o undisturbed", JOBS[0])).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
}

#[test]
fn a_job_with_other_options_model_or_input_does_not_go_on_with_it() {
    let desk = desk();
    killed_half_way(&desk, JOBS[0]);
    desk.types("extract something else -o out").fails(); // takes the lock of the killed process away
    let before = desk.files("out");
    desk.put("fewer.txt", "the river bank\n".repeat(3));
    desk.put("changed.txt", fs::read_to_string(desk.path("texts.txt")).expect("texts").replace("bank 449", "bank 448"));
    desk.put("more.txt", fs::read_to_string(desk.path("texts.txt")).expect("texts") + "one more\n");
    desk.model_as("width1", "other");
    for (job, differs) in [
        ("-i texts.txt -e token", "--emit"),
        ("-i texts.txt -e token,mean -m other", "model"),
        ("-i changed.txt -e token,mean", "input"),
        ("-i more.txt -e token,mean", "input"),
        ("-i fewer.txt -e token,mean", "fewer"),
    ] {
        desk.types(&format!("extract {job} -o out")).fails().says_all(&[differs, "--overwrite"]);
        assert!(desk.files("out") == before, "{job}");
    }
    desk.types(&format!("extract {} -o out", JOBS[0])).succeeds().says("going on");
}

#[test]
fn a_first_pass_that_was_interrupted_goes_on() {
    let desk = Desk::with("width1");
    let half = "some people make a good world by the house again\n".repeat(30_000);
    let mut running: Running = desk.starts("extract -m width1 -o out");
    {
        use std::io::Write;
        let stdin = running.0.stdin.as_mut().expect("standard input");
        stdin.write_all(half.as_bytes()).expect("a reader");
    }
    wait_until("something is journaled", || desk.has("out/unfinished.json"));
    std::thread::sleep(Duration::from_millis(400)); // what was read by then is journaled with the next piece
    running.gets_signal("INT");
    assert_eq!(running.ends().code(), Some(130));
    assert!(running.stderr().contains("same command again to go on"));
    let texts = desk.json("out/unfinished.json")["progress"]["texts"].as_u64().expect("a number");
    assert!(texts > 0 && desk.json("out/unfinished.json")["progress"]["phase"] == "texts");
    let whole = half.clone() + &half;
    // Nor does another job that comes to nothing spoil it.
    let before = desk.files("out");
    puts_failures(&desk);
    for (job, says) in FAILURES.iter().filter(|(job, _)| job.contains("bad.txt") || job.contains("nowhere")) {
        desk.types(&format!("extract {job} --overwrite -m width1 -o out")).fails().says(says);
        assert!(desk.files("out") == before, "{job}");
    }
    // Not with another beginning.
    desk.types_into("extract -m width1 -o out", whole.replacen("some", "many", 1))
        .fails()
        .says_all(&["input", "--overwrite"]);
    desk.types_into("extract -m width1 -o out", &whole).succeeds();
    desk.types_into("extract -m width1 -o undisturbed", &whole).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
}

/// Commands that come to nothing, on a desk with `unfinished` work in `out`, each with what it says.
const FAILURES: [(&str, &str); 6] = [
    ("-i bad.txt -e token,mean", "line 2"),
    ("-i bad.txt -e cls -f safetensors", "line 2"),
    ("-i nowhere.txt -e cls", "nowhere.txt"),
    ("-i texts.txt -e cls --overflow error --max-length 9", "longer than 9 tokens"),
    ("-i texts.txt -e cls --shard 9/9 -m lacking", "lacking"),
    ("-e cls", "holds no text"),
];

fn puts_failures(desk: &Desk) {
    desk.put("bad.txt", b"hello world\n\xff\n");
    desk.model_as("width1", "lacking").cut("model.safetensors", |size| size - 8);
}

#[test]
fn unfinished_work_stays_until_what_is_to_replace_it_is_known_to_be_good() {
    let desk = desk();
    puts_failures(&desk);
    killed_half_way(&desk, JOBS[0]);
    desk.types("extract something else -o out").fails(); // takes the lock of the killed process away
    let before = desk.files("out");
    for (job, says) in FAILURES {
        desk.types(&format!("extract {job} --overwrite -o out")).fails().says(says);
        assert!(desk.files("out") == before, "{job}");
    }
    // One that is killed while it reads leaves its own files beside, which the old job removes.
    let mut running: Running = desk.starts("extract -e cls --overwrite -o out");
    wait_until("the new job has begun", || desk.has("out/.layerwise-new-tokens"));
    running.gets_signal("KILL");
    running.ends();
    desk.types(&format!("extract {} -o out", JOBS[0])).succeeds().says("going on");
    desk.types(&format!("extract {} -o undisturbed", JOBS[0])).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
}

#[test]
fn unfinished_work_is_replaced_by_every_other_job() {
    let desk = desk();
    desk.put("other.txt", "the river bank\n".repeat(700));
    for (index, job) in JOBS.iter().enumerate() {
        let other = JOBS[(index + 1) % JOBS.len()].replace("texts.txt", "other.txt");
        killed_half_way(&desk, job);
        desk.types(&format!("extract {other} --overwrite -o out")).succeeds().does_not_say("going on");
        desk.types(&format!("extract {other} -o undisturbed")).succeeds();
        assert!(desk.job("out") == desk.job("undisturbed"), "{job}, then {other}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
        fs::remove_dir_all(desk.path("undisturbed")).expect("a directory");
    }
}

#[test]
fn lines_that_are_not_those_of_a_shard_are_made_again() {
    let desk = desk();
    killed_half_way(&desk, JOBS[4]);
    // As they would lie there if the process had been killed before it cut its own lines out of them.
    let lines = (0..450).map(|row| format!("{{\"row\":{row}}}\n")).collect::<String>();
    desk.put("out/.layerwise-texts.jsonl", lines);
    desk.types(&format!("extract {} -o out", JOBS[4])).succeeds();
    desk.types(&format!("extract {} -o undisturbed", JOBS[4])).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
}

#[test]
fn overwriting_goes_on_too_and_keeps_the_old_job_until_its_texts_are_known() {
    let desk = desk();
    desk.types("extract 'another job' -e cls -o out").succeeds();
    let overwrite = format!("{} --overwrite", JOBS[0]);
    let old = desk.job("out");
    // It is written in a folder of the directory, until it takes the place of what is there.
    killed_half_way_in(&desk, &overwrite, "out/.layerwise-next");
    let there = |name: &String| !name.starts_with(".layerwise");
    assert!(desk.job("out").into_iter().filter(|(name, _)| there(name)).eq(old));
    desk.types("verify out").succeeds();
    desk.types("extract 'another job' -e cls -o out").succeeds().says("already holds this job");
    desk.types(&format!("extract {overwrite} -o out")).succeeds().says("going on");
    desk.types(&format!("extract {} -o undisturbed", JOBS[0])).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
}

#[test]
fn what_a_killed_job_left_and_somebody_damaged_is_not_trusted() {
    let desk = desk();
    let job = format!("extract {} -o out", JOBS[0]);
    let again = |damage: &dyn Fn()| {
        killed_half_way(&desk, JOBS[0]);
        damage();
        desk.types(&job)
    };
    // Files of the work can be made again.
    for file in ["out/token/layer_01.npy", "out/token/offsets.npy", "out/.layerwise-tokens", "out/texts.jsonl"] {
        again(&|| desk.remove(file)).succeeds();
        assert!(desk.job("out").contains_key("texts.jsonl"));
        desk.types(&format!("extract {} -o undisturbed --overwrite", JOBS[0])).succeeds();
        assert!(desk.job("out") == desk.job("undisturbed"), "{file}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
    // A journal or tokens that make no sense are named.
    again(&|| desk.put("out/unfinished.json", "{\"format_version\": 1, \"progress\": {\"phase\": \"arrays\"}}"))
        .fails()
        .says_all(&["unfinished.json", "damaged", "--overwrite"]);
    fs::remove_dir_all(desk.path("out")).expect("a directory");
    let whole = desk.job("undisturbed");
    let changed = |file: &str, at: usize| {
        let mut content = desk.read(file);
        content[at] ^= 1;
        desk.put(file, content);
    };
    let damages: [&dyn Fn(); 7] = [
        &|| changed("out/.layerwise-tokens", 0),
        &|| changed("out/.layerwise-tokens", 40),
        &|| changed("out/texts.jsonl", 8),
        &|| desk.put("out/texts.jsonl", ""),
        &|| changed("out/token/layer_01.npy", 70),
        &|| changed("out/token/offsets.npy", 7),
        &|| {
            let longer = [desk.read("out/mean/layer_02.npy"), vec![0]].concat();
            desk.put("out/mean/layer_02.npy", longer);
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        again(damage).succeeds().does_not_say("going on");
        assert!(desk.job("out") == whole, "damage {number}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
    // Neither is a journal with another number in it.
    again(&|| {
        let journal = String::from_utf8(desk.read("out/unfinished.json")).expect("UTF-8");
        desk.put("out/unfinished.json", journal.replacen("\"texts\": ", "\"texts\": 1", 1));
    })
    .fails()
    .says_all(&["unfinished.json", "damaged", "--overwrite"]);
    desk.types(&format!("{job} --overwrite")).succeeds();
    assert!(desk.job("out") == whole);
}

#[test]
fn so_is_a_header_of_tensors() {
    let desk = desk();
    desk.types(&format!("extract {} -o whole", JOBS[1])).succeeds();
    for (file, at) in [("out/mean.safetensors", 0), ("out/mean.safetensors", 30), ("out/pooler.safetensors", 9)] {
        killed_half_way(&desk, JOBS[1]);
        let mut content = desk.read(file);
        content[at] ^= 1;
        desk.put(file, content);
        desk.types(&format!("extract {} -o out", JOBS[1])).succeeds().does_not_say("going on");
        assert!(desk.job("out") == desk.job("whole"), "{file}, byte {at}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}

#[test]
fn an_unfinished_job_can_be_overwritten_by_one_with_other_input() {
    let desk = desk();
    killed_half_way(&desk, JOBS[0]);
    desk.put("other.txt", "the river bank\n".repeat(700));
    let other = JOBS[0].replace("texts.txt", "other.txt");
    desk.types(&format!("extract {other} -o out")).fails().says_all(&["the input", "--overwrite"]);
    desk.types(&format!("extract {other} -o out --overwrite")).succeeds();
    desk.types(&format!("extract {other} -o undisturbed")).succeeds();
    assert!(desk.job("out") == desk.job("undisturbed"));
    // Standard input is read once.
    fs::remove_dir_all(desk.path("out")).expect("a directory");
    killed_half_way(&desk, JOBS[0]);
    let piped = JOBS[0].replace("-i texts.txt", "--overwrite");
    let ran = desk.types_into(&format!("extract {piped} -o out"), "the river\n");
    ran.fails().says_all(&["other input", "run the same command again"]);
    desk.types_into(&format!("extract {piped} -o out"), "the river\n").succeeds();
    assert_eq!(desk.json_lines("out/texts.jsonl").len(), 1);
}

/// What was written before is compared with its checksums, as disks and people change files.
#[test]
fn rows_that_have_changed_since_are_encoded_again() {
    let desk = desk();
    desk.types(&format!("extract {} -o undisturbed", JOBS[0])).succeeds();
    for name in ["token/layer_01.npy", "mean/layer_02.npy", "token/offsets.npy"] {
        killed_half_way(&desk, JOBS[0]);
        let mut bytes = desk.read(&format!("out/{name}"));
        bytes[130] ^= 1;
        desk.put(&format!("out/{name}"), &bytes);
        let again = desk.types(&format!("extract {} -o out", JOBS[0])).succeeds();
        again.says("holds other rows than were written there").does_not_say("going on");
        assert!(desk.job("out") == desk.job("undisturbed"), "{name}");
        fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}
