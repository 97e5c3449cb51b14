//! What a hub cannot do: take for ever, fill the memory or the disk, lead in circles.

use std::time::{Duration, Instant};

use layerwise::checkpoint::hub::{HubQuery, snapshot_with};

use crate::hub_bench::*;
use crate::hub_server::{Fault, Repo};

const MILLISECOND: Duration = Duration::from_millis(1);

/// How long `work` takes, and what it gives.
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed(), result)
}

#[test]
fn a_silent_hub_costs_one_silence_where_the_cache_is_complete() {
    for fault in [Fault::Mute, Fault::Stall, Fault::Trickle(20 * MILLISECOND)] {
        let mut bench = Bench::new(tiny());
        bench.get().expect("a model");
        bench.settings.silence_limit = 400 * MILLISECOND;
        bench.server.fail("GET", "/api/models", usize::MAX, fault);
        let (elapsed, snapshot) = timed(|| bench.get().expect("a model"));
        assert_says(&snapshot.notes.join(""), &["cannot reach the hub", "within 0.4 s", "cached copy", COMMIT]);
        assert!(elapsed < 1200 * MILLISECOND, "{elapsed:?}");
    }
}

#[test]
fn a_silent_hub_is_asked_again_where_the_cache_lacks_something() {
    let mut bench = Bench::new(tiny());
    bench.settings.silence_limit = 200 * MILLISECOND;
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Mute);
    let (elapsed, error) = timed(|| bench.error());
    assert_says(&error, &["cannot get", ID, "within 0.2 s", "not in the cache", "try again later"]);
    assert!(elapsed >= 800 * MILLISECOND && elapsed < 3000 * MILLISECOND, "{elapsed:?}");
    bench.server.recover();
    // A slow hub is not given up, although it takes longer than a silence may.
    bench.server.fail("GET", "/api/models", 1, Fault::Mute);
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Trickle(MILLISECOND));
    bench.assert_gets_all();
}

#[test]
fn a_hub_that_trickles_is_given_up() {
    for (method, part, says) in [
        ("GET", "/storage/", [WEIGHTS, "broke off"]),
        ("GET", "/vocab.txt", ["vocab.txt", "broke off"]),
        ("GET", "/api/models", ["cannot get", "not in the cache"]),
    ] {
        let mut bench = Bench::new(tiny());
        bench.settings.pace_window = 100 * MILLISECOND;
        bench.server.fail(method, part, usize::MAX, Fault::Trickle(10 * MILLISECOND));
        let (elapsed, error) = timed(|| bench.error());
        assert_says(&error, &says);
        assert_says(&error, &["less than 1000 bytes a second came for 0.1 s"]);
        assert!(elapsed < 5000 * MILLISECOND, "{elapsed:?}");
        bench.assert_nothing_half();
        bench.settings.pace_window = Duration::from_secs(5);
        bench.assert_recovers();
    }
}

#[test]
fn no_file_is_longer_than_announced() {
    let bench = Bench::new(tiny());
    let many = 1 << 30;
    bench.server.fail("GET", "/storage/", usize::MAX, Fault::Beyond(many));
    let (elapsed, error) = timed(|| bench.error());
    assert_says(&error, &[WEIGHTS, ID, "bytes or more", "expected 300000"]);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    bench.assert_nothing_half();
    bench.assert_recovers();
    // Without a size, so much and no more.
    let bench = Bench::new(tiny());
    bench.server.fail("HEAD", "/vocab.txt", usize::MAX, Fault::CutUnannounced);
    bench.server.fail("GET", "/vocab.txt", usize::MAX, Fault::Beyond(many));
    assert_says(&bench.error(), &["vocab.txt", ID, "bytes or more", "expected 67108864 at most"]);
    bench.assert_recovers();
}

#[test]
fn texts_and_lists_are_bounded() {
    let bench = Bench::new(tiny());
    bench.server.fail("HEAD", "/tokenizer.json", usize::MAX, Fault::Announced(1 << 40));
    assert_says(&bench.error(), &["tokenizer.json", "1099511627776 bytes", "at most 64 MiB"]);
    assert_eq!(bench.server.count("GET", "/resolve"), 0);
    bench.server.recover();
    bench.server.fail("GET", "/api/models", 1, Fault::Beyond(1 << 30));
    assert_says(&bench.error(), &["cannot get", ID, "list of files is longer than 16 MiB"]);
    bench.assert_recovers();
}

#[test]
fn redirects_are_bounded() {
    let bench = Bench::new(tiny());
    for (method, part) in [("GET", "/api/models"), ("HEAD", "/config.json"), ("GET", "/vocab.txt")] {
        let circle = format!("/circle{part}");
        bench.server.fail(method, part, usize::MAX, Fault::Redirect(circle.clone()));
        assert_says(&bench.error(), &["redirects in circles"]);
        assert!(bench.server.count(method, &circle) <= 20, "{method} {part}");
        bench.server.recover();
    }
    for location in ["ftp://127.0.0.1/x", "http://", ""] {
        bench.server.fail("GET", "/api/models", 1, Fault::Redirect(location.to_owned()));
        assert_says(&bench.error(), &["cannot get", ID, "302"]);
    }
    bench.assert_recovers();
}

#[test]
fn a_pause_that_is_asked_for_is_made() {
    for (method, part) in [("GET", "/api/models"), ("HEAD", "/config.json"), ("GET", "/storage/")] {
        for status in [429, 503] {
            let bench = Bench::new(tiny());
            bench.server.fail(method, part, 1, Fault::Wait(status, "1"));
            let (elapsed, _) = timed(|| bench.assert_gets_all());
            assert!(elapsed >= Duration::from_secs(1), "{method} {part} {status}: {elapsed:?}");
        }
    }
}

#[test]
fn a_pause_that_is_too_long_is_an_error_that_says_so() {
    let bench = Bench::new(tiny());
    for (method, part) in [("GET", "/api/models"), ("HEAD", "/config.json"), ("GET", "/storage/")] {
        bench.server.fail(method, part, usize::MAX, Fault::Wait(429, "3600"));
        let (elapsed, error) = timed(|| bench.error());
        assert_says(&error, &["429", "Slow down", "asks to wait 3600 s", "at most 60 s are waited", ID]);
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        bench.server.recover();
    }
    // A date is as good as seconds, and one that has passed asks for nothing.
    bench.server.fail("GET", "/api/models", 1, Fault::Wait(503, "Fri, 31 Dec 9999 23:59:59 GMT"));
    assert_says(&bench.error(), &["503", "at most 60 s"]);
    bench.server.fail("GET", "/api/models", 1, Fault::Wait(503, "Sun, 06 Nov 1994 08:49:37 GMT"));
    bench.assert_gets_all();
    // With a copy at hand nothing is waited for that takes longer than a silence.
    bench.server.fail("GET", "/api/models", usize::MAX, Fault::Wait(429, "30"));
    let (elapsed, snapshot) = timed(|| bench.get().expect("a model"));
    assert_says(&snapshot.notes.join(""), &["429", "cached copy"]);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let bench = Bench::new(Repo { ranges: true, ..tiny() });
    bench.server.fail("GET", "/storage/", 2, Fault::Cut);
    bench.assert_gets_all();
    let seen = bench.server.seen();
    let ranges: Vec<_> = seen.iter().filter(|seen| seen.storage).map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=150000-"), Some("bytes=225000-")]);
}

#[test]
fn what_goes_on_with_other_content_is_brought_anew() {
    let bench = Bench::new(Repo { ranges: true, ..tiny() });
    bench.server.fail("GET", "/storage/", 1, Fault::Cut);
    bench.server.fail("GET", "/storage/", 1, Fault::Instead(vec![b'x'; 150_000]));
    bench.assert_gets_all();
    assert_eq!(bench.server.count("GET", "/storage/"), 3);
    // But once only.
    let bench = Bench::new(Repo { ranges: true, ..tiny() });
    bench.server.fail("GET", "/storage/", 1, Fault::Cut);
    bench.server.fail("GET", "/storage/", usize::MAX, Fault::Instead(vec![b'x'; 150_000]));
    assert_says(&bench.error(), &[WEIGHTS, "150000 of 300000 bytes"]);
    assert_eq!(bench.server.count("GET", "/storage/"), 3);
    bench.assert_recovers();
}

#[test]
fn a_large_download_that_keeps_breaking_off_gets_there() {
    let mut repo = Repo { ranges: true, ..tiny() };
    let weights = large(WEIGHTS, 40 << 20);
    repo.files.retain(|file| file.name != WEIGHTS);
    repo.files.push(weights.clone());
    let bench = Bench::new(repo);
    bench.server.fail("GET", "/storage/", 5, Fault::Cut);
    let dir = bench.get().expect("a model").dir;
    assert!(std::fs::read(dir.join(WEIGHTS)).expect("a file") == weights.content);
    assert_eq!(bench.server.count("GET", "/storage/"), 6);
}

#[test]
fn the_token_follows_no_redirect_to_another_port() {
    let mut bench = Bench::new(tiny());
    bench.settings.token = layerwise::checkpoint::hub::Token::new(TOKEN);
    let other = Bench::new(tiny());
    for (method, part) in [("GET", "/api/models"), ("HEAD", "/config.json"), ("GET", "/vocab.txt")] {
        let to = format!("{}/elsewhere{part}", other.server.endpoint());
        bench.server.fail(method, part, 1, Fault::Redirect(to));
        bench.error();
        bench.server.recover();
    }
    let seen = other.server.seen();
    assert!(seen.len() >= 3 && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[test]
fn a_name_and_password_in_the_endpoint_are_sent_and_not_shown() {
    let mut bench = Bench::new(tiny());
    bench.settings.endpoint = bench.settings.endpoint.replace("//", "//user:se%40cret@");
    bench.get().expect("a model");
    for seen in bench.server.seen() {
        let expected = (!seen.storage).then_some("Basic dXNlcjpzZUBjcmV0");
        assert_eq!(seen.authorization.as_deref(), expected, "{seen:?}");
    }
    bench.server.fail("GET", "/api/models", 1, Fault::Status(404, "", ""));
    let error = snapshot_with(&bench.settings, &HubQuery { revision: Some("x"), ..request() }).expect_err("an error");
    assert!(!told(&error).contains("cret"), "{error}");
}
