//! `--shard` and `merge`: parts of a job, done anywhere, make the whole byte for byte.

use crate::desk::Desk;

fn desk() -> Desk {
    let desk = Desk::with("width1");
    let texts: String = (0..60)
        .map(|i| format!("{}the river bank {i}\n", "some people make a good world ".repeat((i * 7) % 11)))
        .collect();
    desk.put("texts.txt", texts);
    desk
}

/// Runs all parts of a job into `part-1`, `part-2`, …; their names.
fn parts(desk: &Desk, job: &str, of: usize) -> String {
    let mut names = Vec::new();
    for index in 1..=of {
        let threads = 1 + index % 2;
        let line = format!("extract {job} --shard {index}/{of} -o part-{index} --overwrite --threads {threads}");
        desk.types(&line).succeeds();
        names.push(format!("part-{index}"));
    }
    names.reverse();
    names.join(" ")
}

#[test]
fn merged_shards_are_the_whole_byte_for_byte() {
    let desk = desk();
    for (job, of) in [
        ("-m width1 -i texts.txt", 1),
        ("-m width1 -i texts.txt -e token,mean,pooler", 3),
        ("-m width1 -i texts.txt -e word,token,cls -f safetensors --dtype bf16", 4),
        ("-m width1 -i texts.txt -e word --pretokenized --combine concat --dtype f16", 7),
        ("-m width1 -i texts.txt -e token --special-tokens drop -f safetensors -l 0 --max-length 9", 100),
    ] {
        let names = parts(&desk, job, of);
        desk.types(&format!("merge merged {names} --overwrite")).succeeds().says("60 texts");
        desk.types(&format!("extract {job} -o whole --overwrite")).succeeds();
        assert!(desk.job("merged") == desk.job("whole"), "{job}");
        desk.types(&format!("merge merged {names}")).succeeds().says("already holds this job");
        desk.types(&format!("extract {job} -o merged")).succeeds().says("already holds this job");
    }
}

#[test]
fn shards_hold_equally_many_tokens_and_rows_of_the_input() {
    let desk = desk();
    parts(&desk, "-m width1 -i texts.txt", 3);
    let all = desk.types("extract -m width1 -i texts.txt --dry-run").succeeds().stdout();
    let all: f64 = all
        .split("tokens")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .expect("a number")
        .parse()
        .expect("a number");
    let mut row = 0;
    for index in 1..=3 {
        let manifest = desk.json(&format!("part-{index}/manifest.json"));
        let tokens = manifest["counts"]["tokens"].as_f64().expect("a number");
        assert!((tokens - all / 3.0).abs() <= 70.0, "{tokens} of {all}");
        assert_eq!(manifest["shard"]["first_row"], row);
        for line in desk.json_lines(&format!("part-{index}/texts.jsonl")) {
            assert_eq!(line["row"], row);
            row += 1;
        }
    }
    assert_eq!(row, 60);
}

#[test]
fn shards_on_standard_output_make_the_whole_too() {
    let desk = desk();
    let part = |shard: &str| desk.types(&format!("extract -m width1 -i texts.txt -l 1 {shard}")).succeeds().stdout();
    assert_eq!(part("--shard 1/2") + &part("--shard 2/2"), part(""));
}

#[test]
fn what_does_not_make_a_whole_is_refused() {
    let desk = desk();
    parts(&desk, "-m width1 -i texts.txt", 3);
    desk.types("extract -m width1 -i texts.txt --shard 1/2 -o half").succeeds();
    desk.types("extract -m width1 -i texts.txt -l 0 --shard 2/3 -o other-layers").succeeds();
    desk.types("extract -m width1 hello --shard 2/3 -o other-input").succeeds();
    desk.types("extract -m width1 -i texts.txt -o whole").succeeds();
    for (shards, says) in [
        ("part-1 part-3", "shard 2/3 is missing"),
        ("part-1 part-2", "shard 3/3 is missing"),
        ("part-2 part-3", "shard 1/3 is missing"),
        ("part-1 part-2 part-2 part-3", "both shard 2/3"),
        ("part-1 other-layers part-3", "--layers"),
        ("part-1 other-input part-3", "the input"),
        ("half part-2 part-3", "--shard"),
    ] {
        desk.types(&format!("merge merged {shards}")).fails_as_wrong_usage().says(says);
        assert!(!desk.has("merged"), "{shards}");
    }
    desk.types("merge part-2 part-1 part-2 part-3 --overwrite")
        .fails_as_wrong_usage()
        .says_all(&["part-2", "is a shard"]);
    desk.types("merge merged whole").fails().says_all(&["whole", "not a shard"]);
    desk.types("merge merged part-1 nowhere").fails().says_all(&["nowhere", "manifest.json"]);
    desk.types("merge whole part-1 part-2 part-3").succeeds().says("already holds this job");
    desk.types("merge half part-1 part-2 part-3").fails().says_all(&["half", "another job", "--shard", "--overwrite"]);
    // A shard's directory is of that shard.
    desk.types("extract -m width1 -i texts.txt --shard 2/3 -o part-1").fails().says_all(&["another job", "--shard"]);
    desk.types("extract -m width1 -i texts.txt -o part-1").fails().says_all(&["another job", "--shard"]);
}

#[test]
fn a_damaged_shard_is_named_and_the_merge_can_be_done_again() {
    let desk = desk();
    let names = parts(&desk, "-m width1 -i texts.txt -e token", 3);
    let good = desk.read("part-2/token/layer_01.npy");
    let mut bad = good.clone();
    let last = bad.len() - 5;
    bad[last] ^= 1;
    desk.put("part-2/token/layer_01.npy", &bad);
    desk.types(&format!("merge merged {names}")).fails().says_all(&["part-2/token/layer_01.npy", "checksum"]);
    assert!(!desk.has("merged/manifest.json"));
    desk.put("part-2/token/layer_01.npy", &bad[..100]);
    desk.types(&format!("merge merged {names}")).fails().says_all(&["part-2/token/layer_01.npy", "too short"]);
    desk.put("part-2/token/layer_01.npy", &good);
    desk.types(&format!("merge merged {names}")).succeeds();
    desk.types("extract -m width1 -i texts.txt -e token -o whole").succeeds();
    assert!(desk.job("merged") == desk.job("whole"));
    desk.put("part-2/manifest.json", "{\"format_version\": 1}");
    desk.types(&format!("merge again {names}")).fails().says_all(&["part-2", "manifest.json is damaged"]);
    let manifest = desk.read("part-1/manifest.json");
    let good: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let damages: [&dyn Fn(&mut serde_json::Value); 5] = [
        &|manifest| manifest["shard"]["index"] = 0.into(),
        &|manifest| manifest["counts"]["tokens"] = u64::MAX.into(),
        &|manifest| manifest["arrays"][0]["shape"] = serde_json::json!([1u64 << 63, 0]),
        &|manifest| manifest["arrays"][0] = serde_json::json!(["token/layer_00.npy", null, [1, 1], "f32", null]),
        &|manifest| manifest["arrays"][0]["file"] = "../outside.npy".into(),
    ];
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        desk.put("part-1/manifest.json", bad.to_string());
        desk.types("merge again part-1").fails().says_all(&["part-1", "manifest.json is damaged"]);
    }
}

#[test]
fn what_is_to_be_replaced_stays_until_all_shards_are_known_to_be_whole() {
    let desk = desk();
    let names = parts(&desk, "-m width1 -i texts.txt -e token", 3);
    desk.types("extract -m width1 'another job' -o out").succeeds();
    let before = desk.files("out");
    // The last thing that is copied, and the first.
    for file in ["part-3/token/layer_02.npy", "part-3/texts.jsonl", "part-1/token/offsets.npy"] {
        let good = desk.read(file);
        let mut bad = good.clone();
        let last = bad.len() - 5;
        bad[last] ^= 1;
        desk.put(file, &bad);
        desk.types(&format!("merge out {names} --overwrite")).fails().says_all(&[file, "checksum", "anew"]);
        assert!(desk.files("out") == before, "{file}");
        desk.put(file, &good);
    }
    desk.types(&format!("merge out {names} --overwrite")).succeeds();
    desk.types("extract -m width1 -i texts.txt -e token -o whole").succeeds();
    assert!(desk.job("out") == desk.job("whole"));
}

#[test]
fn shards_that_overlap_or_leave_a_gap_are_named() {
    let desk = desk();
    parts(&desk, "-m width1 -i texts.txt", 2);
    let manifest = desk.json("part-2/manifest.json");
    let first = manifest["shard"]["first_row"].as_u64().expect("a row");
    for (moved, what) in [(first - 1, "overlap"), (first + 1, "leave a gap")] {
        let mut wrong = manifest.clone();
        wrong["shard"]["first_row"] = moved.into();
        desk.put("part-2/manifest.json", wrong.to_string());
        desk.types("merge merged part-1 part-2").fails_as_wrong_usage().says_all(&[
            &format!("part-2 (shard 2/2) begins at row {moved}"),
            &format!("part-1 (shard 1/2) ends before row {first}"),
            what,
        ]);
    }
}

#[test]
fn a_shard_is_named_wherever_its_job_is() {
    let desk = desk();
    let job = "extract -m width1 -i texts.txt --shard 2/3 -o part";
    desk.types(job).succeeds().says("→ part, shard 2/3");
    desk.types(job).succeeds().says("already holds this job, shard 2/3");
    let manifest = desk.json("part/manifest.json");
    let (first, texts) = (&manifest["shard"]["first_row"], manifest["counts"]["texts"].as_u64().expect("a number"));
    let last = first.as_u64().expect("a row") + texts - 1;
    desk.types("info part").succeeds().prints(&format!("2/3: rows {first} to {last} of 60"));
    desk.types("extract -m width1 -i texts.txt -o whole").succeeds().does_not_say("shard");
    assert!(!desk.types("info whole").succeeds().stdout().contains("shard"));
}

fn in_task(desk: &Desk, variables: &[(&str, &str)], line: &str) -> std::process::Output {
    let mut command = desk.command();
    command.args(crate::desk::words(line)).envs(variables.iter().copied());
    command.output().expect("a process")
}

#[test]
fn a_scheduler_tells_the_shard() {
    let desk = desk();
    let auto = "extract -m width1 -i texts.txt -l 0";
    let second = desk.types(&format!("{auto} --shard 2/2")).succeeds().stdout();
    let whole = [
        ("SLURM_ARRAY_TASK_ID", "1"),
        ("SLURM_ARRAY_TASK_MIN", "0"),
        ("SLURM_ARRAY_TASK_MAX", "1"),
        ("SLURM_ARRAY_TASK_COUNT", "2"),
    ];
    let ran = in_task(&desk, &whole, &format!("{auto} --shard auto"));
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout) == second);
    assert_eq!(
        desk.types_with("JOB_COMPLETION_INDEX", "1", &format!("{auto} --shard auto/2")).succeeds().stdout(),
        second
    );
    desk.types(&format!("{auto} --shard auto")).fails_as_wrong_usage().says("SLURM_ARRAY_TASK_ID");
    desk.types(&format!("{auto} --shard 3/2")).fails_as_wrong_usage().says("2/8");
}

#[test]
fn a_task_that_is_submitted_again_alone_is_the_same_shard_or_refused() {
    let desk = desk();
    let auto = "extract -m width1 -i texts.txt -l 0";
    let alone = [
        ("SLURM_ARRAY_TASK_ID", "2"),
        ("SLURM_ARRAY_TASK_MIN", "2"),
        ("SLURM_ARRAY_TASK_MAX", "2"),
        ("SLURM_ARRAY_TASK_COUNT", "1"),
    ];
    let ran = in_task(&desk, &alone, &format!("{auto} --shard auto"));
    assert_eq!((ran.status.code(), ran.stdout), (Some(2), Vec::new()));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("--shard auto/8"));
    let ran = in_task(&desk, &alone, &format!("{auto} --shard auto/3"));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), desk.types(&format!("{auto} --shard 2/3")).succeeds().stdout());
}
