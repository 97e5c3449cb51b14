//! `--on-bad-line skip`: lines that cannot be taken are left out and named; everything else is as if they were not there.

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::formats::gzip;

/// Notes of which lines 2, 4 and 5 are bad.
const NOTES: &str = "\
{\"id\": \"a\", \"text\": \"the river bank\", \"label\": \"good\"}
{\"id\": \"b\", \"text\": null}
{\"id\": \"c\", \"text\": \"some people make a good world by the house\", \"label\": \"bad\"}
{\"id\": \"a\", \"text\": \"an id that is there\"}
{\"id\": \"d\", \"txt\": \"hello\"}

{\"id\": \"e\", \"text\": \"hello world\", \"label\": \"good\"}
";

/// The same notes without the bad lines.
fn kept() -> String {
    NOTES
        .lines()
        .enumerate()
        .filter(|(line, _)| ![1, 3, 4].contains(line))
        .map(|(_, text)| format!("{text}\n"))
        .collect()
}

fn desk() -> Desk {
    let desk = Desk::with("width64");
    desk.put("notes.jsonl", NOTES);
    desk.put("kept.jsonl", kept());
    desk
}

/// The lines of a text file, as they stand in its texts' objects.
fn lines_of(texts: &[Value]) -> Vec<u64> {
    texts.iter().map(|text| text["line"].as_u64().expect("a line")).collect()
}

/// An object without its line.
fn without_line(mut text: Value) -> Value {
    let keys = text.as_object_mut().expect("an object");
    keys.remove("line").expect("a line");
    keys.remove("file");
    text
}

#[test]
fn what_is_kept_has_the_vectors_it_would_have_alone() {
    let desk = desk();
    for (index, job) in [
        "-e token,word,mean,sentence",
        "-e token,mean -f safetensors --combine concat",
        "-e token,mean --overflow window --max-length 6 --stride 1",
    ]
    .iter()
    .enumerate()
    {
        let (skipped, alone) = (format!("skipped-{index}"), format!("alone-{index}"));
        let job = format!("extract -m width64 {job}");
        let ran = desk.types(&format!("{job} -i notes.jsonl --on-bad-line skip -o {skipped}")).succeeds();
        ran.says_all(&[
            "warning: 3 lines of the input cannot be taken and are left out\n",
            "\n  notes.jsonl: line 2 has null as `text`; expected a string\n",
            "\n  notes.jsonl: line 4 has the id of line 1; expected an id of its own",
            "\n  notes.jsonl: line 5 has no column `text`",
            "3 texts",
            ", 3 bad lines skipped",
        ]);
        desk.types(&format!("{job} -i kept.jsonl -o {alone}")).succeeds();
        let (mut found, mut expected) = (desk.job(&skipped), desk.job(&alone));
        for name in ["manifest.json", "texts.jsonl"] {
            found.remove(name).expect(name);
            expected.remove(name).expect(name);
        }
        assert!(found == expected, "{job}");
        let texts = desk.json_lines(&format!("{skipped}/texts.jsonl"));
        assert_eq!(lines_of(&texts), [1, 3, 7]);
        let texts: Vec<Value> = texts.into_iter().map(without_line).collect();
        assert_eq!(texts, desk.json_lines(&format!("{alone}/texts.jsonl")));
        desk.types(&format!("verify {skipped}")).succeeds();
        desk.types(&format!("verify {skipped} --recompute 3 -i notes.jsonl"))
            .succeeds()
            .says("3 of 3 texts recomputed");
        desk.types(&format!("verify {skipped} --recompute 3 -i kept.jsonl")).fails().says("not the input");
        let printed = desk.types(&format!("{job} -i notes.jsonl --on-bad-line skip").replace("-f safetensors", ""));
        let printed = printed.succeeds().says("3 bad lines skipped").json_lines();
        assert_eq!(lines_of(&printed), [1, 3, 7]);
        let alone = desk.types(&format!("{job} -i kept.jsonl").replace("-f safetensors", "")).succeeds().json_lines();
        assert_eq!(printed.into_iter().map(without_line).collect::<Vec<_>>(), alone);
    }
}

#[test]
fn the_manifest_lists_what_was_left_out() {
    let desk = desk();
    desk.types("extract -m width64 -i notes.jsonl --on-bad-line skip -o out").succeeds();
    let manifest = desk.json("out/manifest.json");
    assert_eq!(manifest["plan"]["on_bad_line"], "skip");
    let skipped = &manifest["input"]["skipped"];
    assert_eq!(skipped["count"], 3);
    assert_eq!(skipped["lines"][0], json!({"line": 2, "problem": "has null as `text`; expected a string"}));
    assert_eq!(skipped["lines"].as_array().map(Vec::len), Some(3));
    desk.types("info out").succeeds().prints("skipped    3 bad lines of the input\n");
    desk.types("info out --json").succeeds().prints("\"count\": 3");
    let dry = desk.types("extract -m width64 -i notes.jsonl --on-bad-line skip --dry-run").succeeds();
    dry.says("line 2 has null").prints_all(&["texts     3\n", "skipped   3 bad lines of the input\n"]);

    // Without bad lines there is nothing to list, and lines are there all the same.
    let ran = desk.types("extract -m width64 -i kept.jsonl --on-bad-line skip -o none").succeeds();
    ran.does_not_say("skipped").does_not_say("left out");
    assert_eq!(desk.json("none/manifest.json")["input"]["skipped"]["count"], 0);
    assert_eq!(lines_of(&desk.json_lines("none/texts.jsonl")), [1, 2, 4]);
    desk.types("verify none").succeeds();

    // Beyond a thousand, they are only counted.
    desk.put("many.txt", [b"good\n".as_slice(), &b"\xff\n".repeat(1500), b"good\n"].concat());
    let ran = desk.types("extract -m width64 -i many.txt --on-bad-line skip -o many").succeeds();
    ran.says_all(&["1500 lines", "many.txt: line 21 is not UTF-8", "and 1480 more"]).does_not_say("line 22 is");
    let skipped = &desk.json("many/manifest.json")["input"]["skipped"];
    assert_eq!((skipped["count"].as_u64(), skipped["lines"].as_array().map(Vec::len)), (Some(1500), Some(1000)));
    desk.types("verify many").succeeds();

    // A job whose bad lines are errors has none of this.
    desk.types("extract -m width64 -i kept.jsonl -o usual").succeeds();
    let usual = desk.json("usual/manifest.json");
    assert!(usual["plan"].get("on_bad_line").is_none() && usual["input"].get("skipped").is_none(), "{usual}");
    assert!(desk.json_lines("usual/texts.jsonl").iter().all(|text| text.get("line").is_none()));
}

#[test]
fn of_several_files_each_text_has_the_number_of_its_own() {
    let desk = desk();
    desk.put("more.csv", "id,text\nf,hello\ng\na,the river\nh,\"two\nlines\"\n");
    let job = "extract -m width64 -i notes.jsonl -i more.csv --on-bad-line skip";
    desk.types(&format!("{job} -o out")).succeeds().says_all(&[
        "5 lines of the input",
        "more.csv: line 3 has 1 columns",
        "more.csv: line 4 has the id of notes.jsonl: line 1",
    ]);
    let places =
        |texts: &[Value]| texts.iter().map(|text| (text["file"].clone(), text["line"].clone())).collect::<Vec<_>>();
    let expected = [(1, 1), (1, 3), (1, 7), (2, 2), (2, 5)].map(|(file, line)| (json!(file), json!(line)));
    assert_eq!(places(&desk.json_lines("out/texts.jsonl")), expected);
    assert_eq!(places(&desk.types(job).succeeds().json_lines()), expected);
    let last = &desk.json("out/manifest.json")["input"]["skipped"]["lines"][4];
    let problem = "has the id of file 1, line 1; expected an id of its own (--id-column '' reads none)";
    assert_eq!(*last, json!({"file": 2, "line": 4, "problem": problem}));
    desk.types("verify out --recompute 5 -i notes.jsonl -i more.csv").succeeds();
    // The files' names are no part of the job.
    desk.types("extract -m width64 -i ./notes.jsonl -i ./more.csv --on-bad-line skip -o out")
        .succeeds()
        .says("already holds this job");
}

#[test]
fn every_format_goes_on_behind_a_bad_line() {
    let desk = Desk::with("width1");
    let conllu = |word: &str| format!("1\t{word}\t_\tX\t_\t_\t_\t_\t_\t_\n\n");
    for (name, content, options, lines) in [
        (
            "a.txt",
            b"some people\ncaf\xe9 and a good house\n\nthe river\0bank\nhello world\n".to_vec(),
            "",
            &[1, 3, 5][..],
        ),
        ("long.txt", [b"a\n".as_slice(), &b"x".repeat((4 << 20) + 1), b"\nb\n"].concat(), "", &[1, 3]),
        (
            "a.json",
            b"[\n{\"text\": \"a\"},\n{\"txt\": \"b\"},\n7,\n{\"text\": \"c\"}, \"d\"\n]".to_vec(),
            "",
            &[2, 5, 5],
        ),
        ("objects.json", b"{\"text\": \"a\"}\n{\"text\": }\n{\"text\": \"c\"}".to_vec(), "", &[1, 3]),
        ("a.csv", b"text,b\nx,1\ny\nz,\xff\ntext,b\n\"v\nw\",2\nu,3\n".to_vec(), "", &[2, 6, 8]),
        ("a.tsv", b"x\t1\ny\nz\t2\n".to_vec(), "--no-header --text-column 1", &[1, 3]),
        ("a.conll", b"a O\nb O\n\nc\nd O\n\ne O\n\nf O\n\xff O\ng O\n\nh O\n".to_vec(), "", &[1, 7, 13]),
        ("a.fasta", b"x\n>a\nA\n>b \xe9\nC\n>c\nG\n\xff\nT\n>a\nT\n>d\n".to_vec(), "", &[2, 12]),
        ("a.conllu", (conllu("a") + "1\tb\n\n" + &conllu("c")).into_bytes(), "", &[1, 5]),
    ] {
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name} {options}")).fails();
        let ran = desk.types(&format!("extract -m width1 -i {name} {options} --on-bad-line skip")).succeeds();
        assert_eq!(lines_of(&ran.json_lines()), lines, "{name}");
        ran.says(" skipped");
    }
}

#[test]
fn what_hides_the_rest_stays_an_error() {
    let desk = Desk::with("width1");
    let hidden = "what follows it cannot be told apart, so it is not skipped either";
    let long = "x".repeat(17 << 20);
    for (name, content, says) in [
        ("cut.json", "[\n{\"text\": \"a\"},\n".to_owned(), &["line 3 is the end of the file", hidden][..]),
        ("broken.json", "[\n{\"text\": \"a\"}\n{\"text\": \"b\"}]".to_owned(), &["line 3 has `{`", hidden]),
        (
            "open.json",
            "{\"text\": \"a\"}\n{\"text\": \"b\n".to_owned(),
            &["line 2 begins a value that is never", hidden],
        ),
        ("open.csv", "text\na\n\"b\nc\n".to_owned(), &["line 3 begins a record in which a quote", hidden]),
        ("long.csv", format!("text\na\n\"{long}\nc\n"), &["line 3 begins a record that is longer", hidden]),
        ("old.txt", "a\rb\rc".to_owned(), &["has returns", hidden]),
        ("old.conll", "a O\rb O\rc O".to_owned(), &["has returns", hidden]),
        ("header.csv", "txt\na\n".to_owned(), &["line 1 has no column `text`"]),
        ("other.txt", "PK\u{3}\u{4}".to_owned() + &"\0".repeat(60), &["other.txt"]),
    ] {
        desk.put(name, content);
        desk.put("good.txt", "good\n");
        for output in ["", "-o out", "--dry-run"] {
            let ran = desk.types(&format!("extract -m width1 -i good.txt -i {name} --on-bad-line skip {output}"));
            ran.fails().says_all(says).says(name);
        }
        assert!(!desk.has("out"), "{name}");
    }
    desk.put("cut.txt.gz", &gzip("hello\n".repeat(100).as_bytes())[..20]);
    desk.types("extract -m width1 -i cut.txt.gz --on-bad-line skip").fails().says("cut.txt.gz");
}

#[test]
fn an_input_of_bad_lines_alone_is_an_error() {
    let desk = Desk::with("width1");
    desk.put("a.txt", b"\xff\n");
    // Objects of an array, each with what stands before and behind it.
    desk.put("b.jsonl", "[\n{\"text\": \"a\"},\n]\n");
    for (input, says) in [
        ("-i a.txt", &["error: a.txt: line 1 is not UTF-8"][..]),
        ("-i a.txt -i b.jsonl", &["4 lines of the input cannot be taken; nothing was encoded", "b.jsonl: line 2"]),
    ] {
        for output in ["", "-o out", "--dry-run"] {
            let ran = desk.types(&format!("extract -m width1 {input} --on-bad-line skip {output}"));
            ran.fails().says_all(says);
        }
        assert!(!desk.has("out"));
    }
    desk.put("empty.txt", "");
    desk.types("extract -m width1 -i empty.txt --on-bad-line skip").fails().says("holds no text");
}

#[test]
fn what_the_tokenizer_refuses_stays_an_error_with_its_line() {
    let desk = Desk::new();
    let split = json!({"type": "Split", "pattern": {"Regex": "(a+a+)+(?>b)"}, "behavior": "Isolated", "invert": false});
    desk.model_as("width64", "broken").json("tokenizer.json", |json| json["pre_tokenizer"] = split);
    desk.put("a.txt", [b"\xff\naaab\n".as_slice(), &b"a".repeat(60), b"c\n"].concat());
    for (input, line) in [("-i a.txt", "(line 3)"), ("-i a.txt -i a.txt", "(line 3 of file 1)")] {
        let ran = desk.types(&format!("extract -m broken {input} --on-bad-line skip -o out")).fails();
        ran.says_all(&["row 1: ", "gives up", line]);
        assert!(!desk.has("out"));
    }
}

#[test]
fn another_choice_is_another_job() {
    let desk = desk();
    let job = "extract -m width64 -o out -i kept.jsonl";
    desk.types(job).succeeds();
    let before = desk.files("out");
    desk.types(&format!("{job} --on-bad-line error")).succeeds().says("already holds this job");
    desk.types(&format!("{job} --on-bad-line skip")).fails().says("--on-bad-line (none there, skip here)");
    desk.types(&format!("{job} --on-bad-line skip --dry-run")).fails().says("--on-bad-line");
    assert_eq!(desk.files("out"), before);
    let job = "extract -m width64 -o skipped -i notes.jsonl --on-bad-line skip";
    desk.types(job).succeeds();
    desk.types(job).succeeds().says("already holds this job");
    desk.types(&format!("{job} --dry-run")).succeeds().prints("nothing to do");
    // One more bad line at the end makes another input, though each text has its row and line as before.
    desk.put("notes.jsonl", format!("{NOTES}bad\n"));
    desk.types(job).fails().says_all(&["another job", "the input"]);
    desk.types(&format!("{job} --dry-run")).fails().says_all(&["another job", "the input"]);
    desk.types(&format!("{job} --overwrite")).succeeds().says("4 bad lines skipped");
}

#[test]
fn options_that_do_not_go_with_it() {
    let desk = desk();
    desk.put("lines.jsonl", "{\"text\": \"a\", \"line\": \"x\", \"file\": [1]}\n");
    desk.types("extract -m width64 hello --on-bad-line skip").fails_as_wrong_usage().says_all(&["arguments", "files"]);
    for name in ["line", "file"] {
        let ran =
            desk.types(&format!("extract -m width64 -i lines.jsonl --carry {name} --on-bad-line skip")).succeeds();
        ran.says(&format!("the column `{name}` is called `input_{name}`")).prints(&format!("\"input_{name}\":"));
    }
    desk.types("extract -m width64 -i lines.jsonl --carry line,file -o out").succeeds();
    desk.types("verify out").succeeds();
    desk.types("extract -m width64 -i lines.jsonl --on-bad-line ignore").fails_as_wrong_usage().says("skip");
}

#[test]
fn shards_make_the_whole() {
    let desk = Desk::with("width1");
    let texts = |index: usize| "some people make a good world ".repeat((index * 7) % 11) + "\n";
    let bad = |index: usize| if index % 4 == 1 { b"\xff\n".to_vec() } else { texts(index).into_bytes() };
    desk.put("a.txt", (0..30).flat_map(bad).collect::<Vec<u8>>());
    desk.put("b.txt", (30..60).flat_map(bad).collect::<Vec<u8>>());
    for input in ["-i a.txt", "-i a.txt -i b.txt"] {
        let job = format!("extract -m width1 {input} -e token,mean --on-bad-line skip --overwrite");
        for part in 1..=3 {
            let ran = desk.types(&format!("{job} --shard {part}/3 -o part-{part}")).succeeds();
            ran.says(if input == "-i a.txt" { "8 bad lines skipped" } else { "15 bad lines skipped" });
            desk.types(&format!("verify part-{part}")).succeeds();
            desk.types(&format!("verify part-{part} --recompute 4 {input}")).succeeds();
        }
        desk.types("merge merged part-3 part-1 part-2 --overwrite").succeeds();
        desk.types(&format!("{job} -o whole")).succeeds();
        assert!(desk.job("merged") == desk.job("whole"), "{input}");
        desk.types("verify merged").succeeds();
        let printed =
            |shard: &str| desk.types(&format!("extract -m width1 {input} --on-bad-line skip {shard}")).stdout();
        assert_eq!(printed("--shard 1/2") + &printed("--shard 2/2"), printed(""));
    }
    // A part that left out something else is of another job.
    desk.put("b.txt", (30..60).flat_map(bad).chain(*b"\xff\n").collect::<Vec<u8>>());
    desk.types(
        "extract -m width1 -i a.txt -i b.txt -e token,mean --on-bad-line skip --overwrite --shard 2/3 -o part-2",
    )
    .succeeds();
    desk.types("merge other part-3 part-1 part-2").fails_as_wrong_usage().says("the input");
}

#[test]
fn damage_to_what_says_so_is_found() {
    let desk = desk();
    desk.types("extract -m width64 -i notes.jsonl --on-bad-line skip -o out").succeeds();
    let (manifest, texts) = (desk.json("out/manifest.json"), desk.read("out/texts.jsonl"));
    let finds = |says: &[&str]| {
        let found = desk.types("verify out").ends_with(1);
        says.iter().for_each(|says| assert!(found.stdout().contains(says), "{}", found.stdout()));
        desk.put("out/manifest.json", manifest.to_string());
        desk.put("out/texts.jsonl", &texts);
    };
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        desk.put("out/manifest.json", manifest.to_string());
    };
    edit(&|manifest| drop(manifest["input"].as_object_mut().and_then(|input| input.remove("skipped"))));
    finds(&["manifest.json: input.skipped is missing"]);
    edit(&|manifest| drop(manifest["plan"].as_object_mut().and_then(|plan| plan.remove("on_bad_line"))));
    finds(&["manifest.json: input.skipped is not expected"]);
    edit(&|manifest| manifest["input"]["skipped"]["count"] = json!(4));
    finds(&["manifest.json: input.skipped.lines has 3 entries; expected 4 of 4 lines"]);
    edit(&|manifest| manifest["input"]["skipped"]["lines"][0]["line"] = json!(9));
    finds(&["manifest.json: input.skipped.lines are not in the order of the input"]);
    edit(&|manifest| manifest["input"]["skipped"]["sha256"] = json!("x"));
    finds(&["manifest.json: input.skipped.sha256 is not a sha256"]);
    let whole = String::from_utf8(texts.clone()).expect("UTF-8");
    for (from, to, says) in [
        ("\"line\":3,", "", "texts.jsonl: line 2: line is missing"),
        ("\"line\":3,", "\"line\":\"3\",", "texts.jsonl: line 2: line is \"3\"; expected a number from 1"),
        ("\"line\":3,", "\"line\":9,", "texts.jsonl: line 3: is of line 7, and the line before of line 9"),
        (
            "\"line\":3,",
            "\"file\":1,\"line\":3,",
            "texts.jsonl: line 2: is of line 3 of file 1, and the line before of line 1",
        ),
    ] {
        let damaged = whole.replace(from, to);
        desk.put("out/texts.jsonl", &damaged);
        edit(&|manifest| {
            manifest["crc32"]["texts.jsonl"] = json!(format!("{:08x}", crc32fast::hash(damaged.as_bytes())));
        });
        finds(&[says]);
    }
    desk.types("verify out").succeeds();
}

#[test]
fn compare_and_predict_skip_too() {
    let desk = desk();
    let compare = "compare -m width64 -i notes.jsonl";
    desk.types(compare).fails().says("line 2 has null");
    let ran = desk.types(&format!("{compare} --on-bad-line skip")).succeeds();
    // Ids are not read, so the one that is there twice is none.
    ran.says_all(&["2 lines of the input", "notes.jsonl: line 5"]).prints("  4  hello world\n");

    let good = "{\"text\": \"good hello world\", \"label\": \"good\"}\n";
    let bad = "{\"text\": \"the river\", \"label\": \"bad\"}\n";
    desk.put("train.jsonl", format!("{good}nothing\n{bad}").repeat(12));
    desk.types("extract -m width64 -i train.jsonl --on-bad-line skip -o train").succeeds().says("12 bad lines skipped");
    desk.types("probe train -o report --folds 3").succeeds().prints("train: 24 texts").does_not_say("of the input");
    desk.types("predict report -i notes.jsonl").ends_with(1).says("line 2 has null");
    let ran = desk.types("predict report -i notes.jsonl --on-bad-line skip --json").succeeds();
    ran.says_all(&["3 lines of the input", "notes.jsonl: line 4 has the id of line 1"]).says("left out");
    let predicted = desk.types("predict report -q -i notes.jsonl --on-bad-line skip --json").succeeds().json_lines();
    assert_eq!(lines_of(&predicted), [1, 3, 7]);
    let predicted: Vec<Value> = predicted.into_iter().map(without_line).collect();
    assert_eq!(predicted, desk.types("predict report -q -i kept.jsonl --json").succeeds().json_lines());
}

#[test]
fn standard_input_is_skipped_through_as_well() {
    let desk = desk();
    let ran = desk.types_into("extract -m width64 --on-bad-line skip -o out", b"a\n\xff\nb\n").succeeds();
    ran.says_all(&["left out of the input: standard input: line 2 is not UTF-8", ", 1 bad line skipped"]);
    assert_eq!(lines_of(&desk.json_lines("out/texts.jsonl")), [1, 3]);
}

#[cfg(unix)]
#[test]
fn a_job_that_was_killed_gives_the_same_bytes() {
    use crate::running::wait_until;

    let desk = Desk::new();
    let text = "some people make a good world by the house again ".repeat(20) + "\n";
    desk.put("texts.txt", [text.repeat(3).as_bytes(), b"\xff\n"].concat().repeat(100));
    let job = "extract -i texts.txt -e token,mean --on-bad-line skip";
    desk.types(&format!("{job} -o undisturbed")).succeeds().says("100 bad lines skipped");
    for changed in [false, true] {
        let mut running = desk.starts(&format!("{job} --threads 1 --batch-tokens 1 -o out"));
        wait_until("encoding has begun", || desk.has("out/token/layer_00.npy"));
        running.gets_signal("KILL");
        running.ends();
        desk.types(&format!("{}--on-bad-line error -o out", job.replace("--on-bad-line skip", "")))
            .fails()
            .says("another job");
        desk.types(&format!("{job} -o out --dry-run")).succeeds().prints("goes on   ");
        if changed {
            // A bad line more at the end moves no text, and still makes another input.
            let before = desk.read("texts.txt");
            desk.put("texts.txt", [&before[..], b"\xff\n"].concat());
            desk.types(&format!("{job} -o out")).fails().says_all(&["another job", "the input"]);
            desk.put("texts.txt", before);
        }
        desk.types(&format!("{job} -o out")).succeeds().says("100 bad lines skipped");
        assert!(desk.job("out") == desk.job("undisturbed"), "{changed}");
        std::fs::remove_dir_all(desk.path("out")).expect("a directory");
    }
}
