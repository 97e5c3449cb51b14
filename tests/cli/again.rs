//! The same command again, another one in its place, and `--overwrite`.

use crate::desk::Desk;

#[test]
fn the_same_command_again_has_nothing_to_do() {
    let desk = Desk::new();
    desk.put("texts.txt", "hello world\n");
    let job = "extract -i texts.txt -e token,mean -o out";
    desk.types(job).succeeds();
    let before = desk.files("out");
    desk.types(job).succeeds().says_all(&["out", "already holds this job"]).prints_nothing();
    desk.types(&format!("{job} --threads 1 --batch-tokens 3")).succeeds().says("already holds this job");
    desk.types(&format!("{job} -q")).succeeds().says_nothing();
    desk.types_into("extract -e mean,token -o out", "hello world").succeeds().says("already holds this job");
    assert_eq!(desk.files("out"), before, "not even run.json is touched");
}

#[test]
fn another_job_is_refused_with_what_differs() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world\n");
    desk.put("other.txt", "hello there\n");
    desk.types("extract -m width1 -i texts.txt -o out").succeeds();
    let before = desk.files("out");
    for (job, differs) in [
        ("-m width1 -i other.txt", "input"),
        ("-m width1 -i texts.txt -l 0", " there, 0 here)"),
        ("-m width1 -i texts.txt -e cls", "--emit (mean there, cls here)"),
        ("-m width1 -i texts.txt --dtype f16", "--dtype (f32 there, f16 here)"),
        ("-m width1 -i texts.txt -f safetensors", "--format"),
        ("-m width1 -i texts.txt --normalize", "--normalize"),
        ("-m width1 -i texts.txt --combine sum", "--combine (none there, sum here)"),
        ("-m width1 -i texts.txt --max-length 10", "--max-length"),
        ("-m width1 -i texts.txt --special-tokens drop", "--special-tokens"),
        ("-m width1 -i texts.txt --pretokenized", "--pretokenized (false there, true here)"),
        ("-m bundled -i texts.txt", "model"),
    ] {
        desk.types(&format!("extract {job} -o out")).fails().says_all(&[
            "out",
            "holds another job",
            differs,
            "another directory",
            "--overwrite",
        ]);
        assert_eq!(desk.files("out"), before, "{job}");
    }
    desk.model("width1").config("layer_norm_eps", 1e-5);
    desk.types("extract -m width1 -i texts.txt -o out").fails().says_all(&["holds another job", "model"]);
}

#[test]
fn a_model_is_the_same_under_any_path() {
    let desk = Desk::with("width1");
    desk.types("extract -m width1 hello -o out").succeeds();
    for path in ["./width1", "width1/"] {
        desk.types(&format!("extract -m {path} hello -o out")).succeeds().says("already holds this job");
    }
}

#[test]
fn overwrite_replaces_the_job_and_nothing_else() {
    let desk = Desk::new();
    desk.types("extract 'hello world' -e token,mean,pooler -o out").succeeds();
    let foreign = [
        "out/notes.txt",
        "out/mean/notes.txt",
        "out/mean/umap.npy",
        "out/token/labels.npy",
        "out/mine/layer_00.npy",
        "out/mean.npy",
        "out/all.safetensors",
    ];
    for name in foreign {
        desk.put(name, "mine");
    }
    desk.types("extract hello -e mean,cls -l 0 --overwrite -o out").succeeds();
    for name in foreign {
        assert!(desk.has(name) && desk.read(name) == b"mine", "{name} is not ours to remove");
    }
    let mut expected: Vec<String> = foreign.iter().map(|name| name.trim_start_matches("out/").to_owned()).collect();
    let ours = ["manifest.json", "run.json", "texts.jsonl", "mean/layer_00.npy", "cls/layer_00.npy"];
    expected.extend(ours.map(str::to_owned));
    expected.sort();
    assert_eq!(desk.file_names("out"), expected);
    assert_eq!(desk.npy("out/mean/layer_00.npy").shape, [1, 160]);
}

#[test]
fn overwrite_works_from_every_format_to_every_other() {
    let desk = Desk::new();
    let jobs = [
        "-e token,mean,pooler -f safetensors",
        "-e token,word --combine concat",
        "-e cls,pooler -l 1",
        "-e token,mean --combine max -f safetensors",
    ];
    for (from, job) in jobs.iter().enumerate() {
        for other in jobs.iter().skip(from + 1) {
            for pair in [[job, other], [other, job]] {
                desk.types(&format!("extract hello {} --overwrite -o out", pair[0])).succeeds();
                desk.types(&format!("extract hello {} --overwrite -o out", pair[1])).succeeds();
                desk.types(&format!("extract hello {} --overwrite -o fresh", pair[1])).succeeds();
                assert!(desk.job("out") == desk.job("fresh"), "{pair:?}");
            }
        }
    }
}

#[test]
fn overwrite_with_bad_input_keeps_what_was_there() {
    let desk = Desk::with("width1");
    desk.types("extract hello -o out").succeeds();
    let before = desk.files("out");
    desk.types_into("extract --overwrite -o out", b"good\n\xff\n").fails();
    desk.types("extract --overwrite -o out -l 9 hello").fails_as_wrong_usage();
    desk.types("extract --overwrite -o out --max-length 3 --overflow error 'one two three'").fails();
    desk.types("extract --overwrite -o out -i nowhere.txt").fails();
    desk.model("width1").cut("model.safetensors", |size| size - 8);
    desk.types("extract --overwrite -o out -m width1 hello").fails();
    desk.model_as("width1", "lacking").tensors(|tensors| drop(tensors.pop_last()));
    assert_eq!(desk.files("out"), before);
}

#[test]
fn a_damaged_manifest_is_named_with_the_way_out() {
    let desk = Desk::new();
    desk.types("extract hello -o out").succeeds();
    for damage in ["{", "[]", "{\"format_version\": 99}"] {
        desk.put("out/manifest.json", damage);
        desk.types("extract hello -o out").fails().says_all(&["manifest.json", "--overwrite"]);
        desk.types("info out").fails().says("manifest.json");
    }
    desk.types("extract hello -o out --overwrite").succeeds();
    desk.types("extract hello -o out").succeeds().says("already holds this job");
}

#[test]
fn a_dry_run_leaves_everything_as_it_is() {
    let desk = Desk::new();
    desk.types("extract hello -o out").succeeds();
    let before = desk.files("out");
    desk.types("extract 'something else' -e token --overwrite --dry-run -o out").succeeds();
    assert_eq!(desk.files("out"), before);
}

/// Whoever comes second is refused or done in its turn; the directory is whole in the end.
#[cfg(unix)]
#[test]
fn two_jobs_in_one_directory_do_not_spoil_it() {
    use std::io::Write;
    let desk = Desk::with("width1");
    let mut first = desk.starts("extract -m width1 -o out");
    let mut stdin = first.0.stdin.take().expect("standard input");
    stdin.write_all(b"hello world\none more\n").expect("a reader");
    crate::running::wait_until("the directory is there", || desk.has("out"));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let second = desk.types("extract -m width1 'the river' -o out").code();
    drop(stdin);
    let (status, stderr) = (first.ends(), first.stderr());
    assert!(status.success() || second == Some(0), "one of them is done: {stderr}");
    assert!(status.success() || stderr.contains("another"), "the first is told what happened: {stderr}");
    assert!(!desk.has("out/unfinished.json"), "a complete job is not unfinished: {stderr}");
    let texts = desk.json("out/manifest.json")["counts"]["texts"].as_u64().expect("a number") as usize;
    assert_eq!(desk.json_lines("out/texts.jsonl").len(), texts);
    assert_eq!(desk.npy("out/mean/layer_00.npy").shape, [texts, 7]);
}

#[test]
fn a_finished_job_that_lost_a_file_is_not_taken_for_whole() {
    let desk = Desk::new();
    let job = "extract hello -e token,mean -o out";
    desk.types(job).succeeds();
    desk.put("out/mean/layer_01.npy", "");
    desk.types(job).fails().says_all(&["out", "mean/layer_01.npy", "--overwrite"]);
    desk.types(&format!("{job} --overwrite")).succeeds();
    desk.types(job).succeeds().says("already holds this job");
    std::fs::remove_file(desk.path("out/token/offsets.npy")).expect("a file");
    desk.types(job).fails().says_all(&["token/offsets.npy", "is missing"]);
}
