//! What is said while a job runs: summary, notes, warnings, progress, colours.

use crate::desk::Desk;

#[test]
fn a_job_ends_with_one_line_of_summary() {
    let desk = Desk::with("width1");
    let ran = desk.types("extract -m width1 'hello world' hello -o out").succeeds();
    assert_eq!(ran.stderr().lines().count(), 1, "{}", ran.stderr());
    ran.says_all(&["2 texts", "7 tokens", "tokens/s", "out"]);
    let ran = desk.types("extract -m width1 'hello world' --max-length 3 -o cut").succeeds();
    ran.says_all(&["1 texts", "1 truncated", "warning"]);
}

#[test]
fn quiet_jobs_say_nothing() {
    let desk = Desk::new();
    desk.types("extract 'hello world' --max-length 3 -q -o out").succeeds().says_nothing().prints_nothing();
    desk.types("-q extract 'hello world' -o flag-first").succeeds().says_nothing();
    assert_eq!(desk.types("extract 'hello world' -q").succeeds().says_nothing().json_lines().len(), 1);
    desk.types("extract hello -q -l 9").fails_as_wrong_usage().says("layer 9");
}

#[test]
fn verbose_jobs_say_what_they_use() {
    let desk = Desk::with("width1");
    let ran = desk.types("extract -m width1 hello -v --threads 2").succeeds();
    ran.says_all(&["width1", "2 layers of width 7", "2 threads"]);
}

#[test]
fn which_model_answered_is_said_once_to_those_who_chose_none() {
    let desk = Desk::with("width1");
    let ran = desk.types("extract hello world").succeeds();
    assert_eq!(ran.stderr().matches("bundled").count(), 1, "{}", ran.stderr());
    ran.says_all(&["note", "bundled", "4 layers of width 160", "-m google-bert/bert-base-uncased"]);
    desk.types("extract -q hello").succeeds().says_nothing();
    desk.types("compare hello world").succeeds().says("note: encoded by the bundled model");
    for refused in [
        "extract hello --max-length 9999",
        "extract 'hello world' --overflow error --max-length 3",
        "compare a b --word c",
        "extract hello -o texts.txt",
    ] {
        desk.put("texts.txt", "a");
        assert!(!desk.types(refused).stderr().contains("bundled model"), "{refused} encodes nothing");
    }
    for model in ["width1", "bundled"] {
        desk.types(&format!("extract -m {model} hello")).succeeds().does_not_say("bert-base-uncased");
        desk.types_with("LAYERWISE_MODEL", model, "extract hello").succeeds().does_not_say("bert-base-uncased");
    }
}

#[test]
fn a_text_that_is_the_name_of_a_file_is_noted() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello\nworld\n");
    let ran = desk.types("extract -m width1 texts.txt").succeeds().says_all(&["note", "`texts.txt`", "-i texts.txt"]);
    assert_eq!(ran.json_lines().len(), 1);
    desk.types("extract -m width1 hello").succeeds().does_not_say("note");
}

#[test]
fn progress_is_shown_when_it_is_asked_for() {
    let desk = Desk::with("width1");
    desk.put("texts.txt", "hello world\n".repeat(2000));
    let job = "extract -m width1 -i texts.txt --batch-tokens 64";
    desk.types(&format!("{job} -o always --progress always")).succeeds().says_all(&["8,000 tokens", "%"]);
    for when in ["auto", "never"] {
        desk.types(&format!("{job} -o {when} --progress {when}")).succeeds().does_not_say("%");
    }
    // Only the bar was asked for.
    desk.types(&format!("{job} -o quiet -q --progress always"))
        .succeeds()
        .says("8,000 tokens")
        .does_not_say("tokens/s");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let desk = Desk::new();
    let red = "\u{1b}[";
    desk.types("extract hello -l 9").fails_as_wrong_usage().does_not_say(red);
    desk.types("extract hello -l 9 --color always").ends_with(2).says(red);
    desk.types("extract hello -l 9 --color never").fails_as_wrong_usage().does_not_say(red);
    desk.types("extract hello --color always --max-length 3 -q").succeeds().says_nothing();
    let ran = desk.types("info --color always").succeeds();
    assert!(!ran.stdout().contains(red), "what is printed can be read by programs");
}

#[test]
fn a_model_with_a_shorter_limit_for_sentences_has_it_for_the_whole_job_and_says_so() {
    let desk = Desk::new();
    desk.model("width64").json("sentence_bert_config.json", |config| config["max_seq_length"] = 5.into());
    let job = "extract -m width64 -e sentence";
    let long = "'the quick brown fox jumps'";
    desk.types(&format!("{job} {long}")).succeeds().says("longer than 5 tokens").does_not_say("note");
    desk.types(&format!("{job} {long} --max-length 9")).succeeds().says_all(&["note", "--max-length 5"]);
    desk.types(&format!("{job},mean {long}")).succeeds().says_all(&["note", "limit of 5 tokens", "also for mean"]);
    desk.types(&format!("{job} 'the fox'")).succeeds().does_not_say("note");
    desk.types(&format!("extract -m width64 {long}")).succeeds().does_not_say(" 5 tokens");
}

#[test]
fn what_a_terminal_would_obey_is_spelled_out() {
    let desk = Desk::new();
    for name in ["a\u{1b}[2Jb", "a\u{9b}2Jb", "a\rb", "a\u{202e}b"] {
        let ran = desk.runs(&["extract", "-i", name], "").fails();
        let said = ran.stderr();
        assert!(!said.contains(&name[1..name.len() - 1]), "{said:?}");
        assert!(said.contains("\\u{"), "{said:?}");
    }
}
