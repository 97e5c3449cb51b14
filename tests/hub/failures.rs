//! Downloads that go wrong. After each, nothing half is visible and the next run succeeds.

use std::fs;
use std::time::Duration;

use crate::hub_bench::*;
use crate::hub_server::Fault;

fn fails_and_recovers(method: &'static str, part: &str, fault: Fault, says: &[&str]) {
    let bench = Bench::new(tiny());
    bench.server.fail(method, part, usize::MAX, fault);
    assert_says(&bench.error(), says);
    bench.assert_nothing_half();
    assert_eq!(bench.ref_of("main"), None);
    assert_says(&told(&bench.get_offline().expect_err("an error")), &[ID, "not in the cache"]);
    bench.assert_recovers();
}

#[test]
fn a_body_cut_short_is_no_model() {
    fails_and_recovers("GET", "/storage/", Fault::Cut, &[WEIGHTS, ID, "broke off", "same command again"]);
    fails_and_recovers("GET", "/vocab.txt", Fault::Cut, &["vocab.txt", ID, "broke off"]);
}

#[test]
fn a_body_cut_short_without_a_length_is_no_model() {
    fails_and_recovers("GET", "/storage/", Fault::CutUnannounced, &[WEIGHTS, "150000 of 300000 bytes"]);
    fails_and_recovers("GET", "/vocab.txt", Fault::CutUnannounced, &["vocab.txt", "broke off"]);
}

#[test]
fn a_body_cut_short_once_is_downloaded_again() {
    for fault in [Fault::Cut, Fault::CutUnannounced] {
        let bench = Bench::new(tiny());
        bench.server.fail("GET", "/storage/", 2, fault);
        bench.assert_gets_all();
        assert_eq!(bench.server.count("GET", "/storage/"), 3);
    }
}

#[test]
fn the_page_of_an_error_is_no_model() {
    let forbidden = Fault::Status(403, "", "Signature expired");
    fails_and_recovers(
        "GET",
        "/storage/",
        forbidden.clone(),
        &["could not download", WEIGHTS, "403", "Signature expired", ID],
    );
    fails_and_recovers("GET", "/vocab.txt", forbidden, &["403", "Signature expired", ID]);
    let broken = Fault::Status(500, "", "Internal error");
    fails_and_recovers("GET", "/storage/", broken, &[WEIGHTS, ID, "500", "Internal error"]);
    fails_and_recovers("GET", "/vocab.txt", Fault::Status(404, "EntryNotFound", ""), &["vocab.txt", ID, "404"]);
}

#[test]
fn other_content_is_no_model() {
    let other = |size| Fault::Instead(vec![b'x'; size]);
    let says = [WEIGHTS, ID, "not the file that was announced", "thrown away", "sha256"];
    fails_and_recovers("GET", "/storage/", other(300_000), &says);
    fails_and_recovers("GET", "/storage/", other(300_001), &[WEIGHTS, "300001 bytes"]);
    fails_and_recovers("GET", "/vocab.txt", other("the content of vocab.txt\n".len()), &["vocab.txt", "git's sha1"]);
}

#[test]
fn a_download_that_falls_silent_is_given_up() {
    let mut bench = Bench::new(tiny());
    bench.settings.silence_limit = Duration::from_millis(200);
    bench.server.fail("GET", "/storage/", usize::MAX, Fault::Stall);
    assert_says(&bench.error(), &[WEIGHTS, "broke off"]);
    bench.assert_nothing_half();
    bench.assert_recovers();
}

#[test]
fn an_etag_cannot_choose_another_place() {
    for etag in ["../../../../escaped", "/tmp/escaped", "..", ""] {
        fails_and_recovers("HEAD", "/resolve-cache/", Fault::Etag(etag), &["does not answer as a hub does", "ETag"]);
    }
}

#[test]
fn a_mirror_with_etags_of_its_own_is_checked_by_size() {
    let bench = Bench::new(tiny());
    bench.server.fail("HEAD", "/vocab.txt", usize::MAX, Fault::Etag("5d8c72a5-1f"));
    bench.server.fail("GET", "/vocab.txt", usize::MAX, Fault::CutUnannounced);
    assert_says(&bench.error(), &["vocab.txt", "12 of 25 bytes"]);
    bench.server.recover();
    bench.server.fail("HEAD", "/vocab.txt", usize::MAX, Fault::Etag("5d8c72a5-1f"));
    let snapshot = bench.get().expect("a model");
    let says =
        "the hub names no digest of vocab.txt, so of this download its size alone was compared and not its content";
    assert_eq!(snapshot.notes, [says]);
    let dir = snapshot.dir;
    assert_eq!(fs::read_to_string(dir.join("vocab.txt")).expect("a file"), "the content of vocab.txt\n");
    assert_eq!(bench.get().expect("a model").notes, [""; 0]);
    assert!(bench.get_offline().is_ok());
}

#[test]
fn a_promise_without_size_and_digest_is_none() {
    let says = ["does not answer as a hub does", "config.json", "no size", "half a file"];
    fails_and_recovers("HEAD", "/resolve-cache/", Fault::Unmeasured, &says);
}

#[test]
fn a_damaged_file_is_noticed_and_brought_anew() {
    let bench = Bench::new(tiny());
    let dir = bench.get().expect("a model").dir;
    fs::write(dir.join("vocab.txt"), "the content of vocab.tx").expect("a file");
    let error = told(&bench.get_offline().expect_err("an error"));
    assert_says(&error, &["vocab.txt is damaged", "without --offline"]);
    assert_says(&bench.get().expect("a model").notes.join(""), &["vocab.txt was damaged"]);
    bench.assert_recovers();
    // A blob without a link, as a process leaves that is killed in between: here a wrong one.
    let weights = fs::canonicalize(dir.join(WEIGHTS)).expect("a blob");
    fs::remove_file(dir.join(WEIGHTS)).expect("a link");
    fs::write(weights, "half").expect("a blob");
    bench.assert_recovers();
}
