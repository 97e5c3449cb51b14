//! Where texts have no ids and a column could be them, a note says so.

use crate::desk::{Desk, Ran};

const HINT: &str = "can be the id with --id-column";

fn csv(values: &[&str]) -> String {
    values.iter().fold("note_id,text,stay_id\n".to_owned(), |table, id| format!("{table}{id},a text,7\n"))
}

/// What `extract` says of this table.
fn said(table: &str, options: &str) -> Ran {
    let desk = Desk::new();
    desk.put("notes.csv", table);
    desk.types(&format!("extract -i notes.csv {options} -l 0 -o out")).succeeds()
}

#[test]
fn a_column_that_is_named_and_filled_like_ids_is_told() {
    let told = "note: the texts have no ids; the column `note_id` has another value in each text and can be the id with --id-column note_id\n";
    let desk = Desk::new();
    desk.put("notes.csv", csv(&["a", "b", "c"]));
    desk.put("notes.tsv", csv(&["a", "b", "c"]).replace(',', "\t"));
    desk.put("notes.jsonl", "{\"text\": \"a\", \"note_id\": 1}\n{\"text\": \"b\", \"note_id\": \"x\"}\n");
    desk.put("notes.json", "[{\"text\": \"a\", \"note_id\": 1},\n{\"text\": \"b\", \"note_id\": 2}]\n");
    for name in ["notes.csv", "notes.tsv", "notes.jsonl", "notes.json"] {
        let ran = desk.types(&format!("extract -i {name} -l 0 -o {name}-out")).succeeds().says(told);
        assert_eq!(ran.stderr().matches(HINT).count(), 1, "{name}");
    }
    // What is said works, and is not said again.
    desk.types("extract -i notes.csv --id-column note_id -l 0 -o out").succeeds().does_not_say(HINT);
    assert_eq!(desk.json_lines("out/texts.jsonl")[2]["id"], "c");
    desk.types_into("extract --input-format csv -l 0", csv(&["a", "b"])).succeeds().says(told);
    desk.types("extract -i notes.csv --carry note_id -l 0 -o carried").succeeds().says(told);
    desk.types("extract -i notes.csv --dry-run").succeeds().says(told);
}

#[test]
fn names_of_identifiers_are_known_by_their_ends_and_typed_as_a_shell_takes_them() {
    for (name, typed) in
        [("PID", "PID"), ("uuid", "uuid"), ("patient key", "'patient key'"), ("Accession", "Accession")]
    {
        said(&format!("{name},text\n1,a\n2,b\n"), "").says(&format!("`{name}` has")).says(&format!("{HINT} {typed}\n"));
    }
    for name in ["number", "name", "idea", "é"] {
        said(&format!("{name},text\n1,a\n2,b\n"), "").does_not_say(HINT);
    }
}

#[test]
fn what_is_repeated_blank_or_not_wanted_is_not_told() {
    for values in [&["a", "b", "a"][..], &["a", "", "c"], &["a", " ", "c"], &["a"]] {
        said(&csv(values), "").does_not_say(HINT);
    }
    let table = csv(&["a", "b", "c"]);
    for options in ["--id-column ''", "--id-column text", "--label-column note_id"] {
        said(&table.replace("a text", "a").replacen("a,7", "b,7", 1).replacen("a,7", "c,7", 1), options)
            .does_not_say(HINT);
    }
    said("note_id,text,id\n1,a,x\n2,b,y\n", "").does_not_say(HINT);
    let desk = Desk::new();
    desk.types_into(
        "extract --stream --input-format jsonl -l 0",
        "{\"text\": \"a\", \"note_id\": 1}\n{\"text\": \"b\", \"note_id\": 2}\n",
    )
    .succeeds()
    .does_not_say(HINT);
    desk.put("lines.jsonl", "{\"text\": \"a\", \"note_id\": 1}\n{\"text\": \"b\"}\n");
    desk.types("extract -i lines.jsonl -l 0").succeeds().does_not_say(HINT);
    desk.put("lines.jsonl", "{\"text\": \"a\", \"note_id\": true}\n{\"text\": \"b\", \"note_id\": [1]}\n");
    desk.types("extract -i lines.jsonl -l 0").succeeds().does_not_say(HINT);
}

#[test]
fn of_a_long_input_the_first_thousand_texts_are_looked_at() {
    let ids = |count: usize| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
    let table = |ids: &[String]| csv(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    said(&table(&ids(1000)), "").says("has another value in each text and");
    said(&table(&ids(1001)), "").says("has another value in each of the first 1000 texts and");
    let mut repeated = ids(1001);
    repeated[999] = "0".to_owned();
    said(&table(&repeated), "").does_not_say(HINT);
    // Over several files, too.
    let desk = Desk::new();
    desk.put("a.csv", csv(&["1", "2"]));
    desk.put("b.csv", csv(&["2", "3"]));
    desk.types("extract -i a.csv -i b.csv -l 0 -o out").succeeds().does_not_say(HINT);
    desk.types("extract -i a.csv -i b.csv -l 0 --on-bad-line skip -o other").succeeds().does_not_say(HINT);
    desk.types("extract -i a.csv -l 0 --on-bad-line skip -o skipped").succeeds().says(HINT);
}
