//! Output directories that cannot be used, and disks that are full.

use crate::desk::Desk;

#[test]
fn a_file_where_the_directory_should_be() {
    let desk = Desk::new();
    desk.put("taken", "mine");
    desk.types("extract hello -o taken").fails().says_all(&["taken", "is a file", "expected a directory"]);
    desk.types("extract hello -o taken --overwrite").fails().says("taken");
    desk.types("extract hello -o taken/below").fails().says("taken");
    desk.types("extract hello -o taken/far/below").fails().says("taken");
    assert_eq!(desk.read("taken"), b"mine");
}

#[test]
fn a_directory_that_holds_something_else() {
    let desk = Desk::new();
    desk.put("home/letter.txt", "dear");
    desk.types("extract hello -o home").fails().says_all(&["home", "not empty", "another directory", "--overwrite"]);
    assert_eq!(desk.file_names("home"), ["letter.txt"]);
}

#[test]
fn an_empty_directory_is_as_good_as_none() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("out")).expect("a directory");
    desk.types("extract hello -l 9 -o out").fails_as_wrong_usage();
    desk.types_into("extract -o out", b"\xff").fails();
    assert!(desk.has("out") && desk.file_names("out").is_empty(), "it was there before, and stays");
    desk.types("extract hello -o out").succeeds();
    desk.types("extract hello -o new/with/parents").succeeds();
    assert!(desk.has("new/with/parents/manifest.json"));
}

#[test]
fn the_current_directory_may_be_the_output() {
    let desk = Desk::new();
    desk.types("extract hello -o .").succeeds();
    assert!(desk.has("manifest.json") && desk.has("mean/layer_00.npy"));
}

#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    std::fs::create_dir(desk.path("closed")).expect("a directory");
    let mode = |mode| std::fs::set_permissions(desk.path("closed"), std::fs::Permissions::from_mode(mode));
    mode(0o555).expect("permissions");
    if std::fs::write(desk.path("closed/probe"), "").is_err() {
        desk.types("extract hello -o closed").fails().says("closed");
        desk.types("extract hello -o closed/out").fails().says("closed/out");
    } else if std::path::Path::new("/proc/self").exists() {
        // Root may write everywhere but here.
        desk.types("extract hello -o /proc/out").fails().says_all(&["cannot create", "/proc/out"]);
    }
    mode(0o755).expect("permissions");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere() {
    let desk = Desk::new();
    std::os::unix::fs::symlink("nowhere", desk.path("link")).expect("a link");
    desk.types("extract hello -o link").fails().says("link");
    std::fs::create_dir(desk.path("real")).expect("a directory");
    std::os::unix::fs::symlink("real", desk.path("good")).expect("a link");
    desk.types("extract hello -o good").succeeds();
    assert!(desk.has("real/manifest.json"), "a link to a directory is one");
}

/// A shell that lets the program write files of few bytes only, which is what a full disk looks like.
#[cfg(unix)]
const FULL: &str = "trap '' XFSZ; ulimit -f 16;";

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_no_manifest_and_the_same_command_works_later() {
    let desk = Desk::with("width64");
    desk.put("texts.txt", "hello world, the river\n".repeat(40)); // 3 kB of texts.jsonl, 20 kB an array
    let job = "extract -m width64 -i texts.txt -o out";
    desk.types_in_shell(FULL, job).fails().says_all(&["cannot write", "mean/layer_00.npy", "File too large"]);
    assert!(!desk.has("out/manifest.json"));
    desk.types(job).succeeds();
    desk.types(&job.replace("-o out", "-o other")).succeeds();
    assert!(desk.job("out") == desk.job("other"), "nothing is left of the first try");
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_while_texts_are_read_leaves_nothing() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world, the river\n".repeat(5000));
    desk.types_in_shell(FULL, "extract -m width1 -i texts.txt -e token -o out")
        .fails()
        .says_all(&["cannot write", "out/texts.jsonl"]);
    assert!(!desk.has("out"));
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_crash() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world, the river\n".repeat(500));
    let ran = desk.types_in_shell("ulimit -f 16;", "extract -m width1 -i texts.txt -e token -o out");
    ran.fails().says_all(&["cannot write", "out"]);
    let left = if desk.has("out") { desk.file_names("out") } else { Vec::new() };
    assert!(left.iter().all(|name| !name.starts_with(".layerwise")), "no temporary files: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_keeps_the_job_that_was_there() {
    let desk = Desk::with("width1");
    desk.types("extract -m width1 hello -o out").succeeds();
    let before = desk.files("out");
    desk.put("texts.txt", "hello world, the river\n".repeat(5000));
    // Here it is the list of texts, written first, that does not fit.
    desk.types_in_shell(FULL, "extract -m width1 -i texts.txt -e token -o out --overwrite").fails();
    assert_eq!(desk.files("out"), before);
}

#[test]
fn what_a_job_takes_and_what_is_free_can_be_asked() {
    let desk = Desk::with("width64");
    // Tokens × width × 4 bytes × 5 layers.
    desk.put("texts.txt", "hello world\n".repeat(10_000));
    desk.types("extract -m width64 -i texts.txt -e token --dry-run -o out").succeeds().prints_all(&[
        "102.4",
        "free",
        "(40000, 128)",
    ]);
    assert!(!desk.has("out"));
}
