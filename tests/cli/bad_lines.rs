//! Lines that are not what their format promises: all of them said at once, exit code 1, nothing written.

use crate::desk::Desk;

/// A job on a file of this content fails and says all of this.
fn fails(name: &str, content: impl AsRef<[u8]>, options: &str, says: &[&str]) {
    let desk = Desk::with("width1");
    desk.put(name, content);
    for output in ["", "-o out", "--dry-run"] {
        desk.types(&format!("extract -m width1 -i {name} {options} {output}")).fails().says_all(says);
    }
    assert!(!desk.has("out"));
}

#[test]
fn every_kind_is_named_with_its_line() {
    for (name, content, options, says) in [
        ("a.txt", &b"a\ncaf\xe9\n"[..], "", "a.txt: line 2 is not UTF-8: byte 0xe9 after 3 good bytes; convert"),
        ("a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"b\"", "", "a.jsonl: line 2 is not a JSON object: EOF"),
        ("a.jsonl", b"[\"a\"]", "", "line 1 is not a JSON object"),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n",
            "",
            "line 2 has no column `text`; it has `txt`; --text-column says which one is the text; did you mean `txt`?",
        ),
        ("a.jsonl", b"{\"text\": null}", "", "line 1 has null as `text`; expected a string"),
        ("a.jsonl", b"{\"text\": 7}", "", "line 1 has a number as `text`; expected a string"),
        ("a.jsonl", b"{\"text\": [\"a\"]}", "", "--pretokenized"),
        ("a.jsonl", b"{\"text\": \"a\", \"b\": null}", "--pair-column b", "line 1 has null as `b`; expected a string"),
        ("a.jsonl", b"{\"text\": \"a\", \"id\": null}", "--id-column id", "line 1 has null as `id`"),
        ("a.jsonl", b"{\"text\": \"a\"}", "--id-column key", "line 1 has no column `key`; it has `text`"),
        ("a.jsonl", b"{\"text\": \"a\"}", "--label-column lab", "line 1 has no column `lab`"),
        ("a.jsonl", b"{\"text\": \"a\"}", "--carry x", "line 1 has no column `x`"),
        ("a.jsonl", b"{\"text\": \"a\", \"label\": {}}", "", "line 1 has an object as `label`"),
        (
            "a.jsonl",
            b"{\"text\": \"a b\", \"label\": [1]}",
            "--pretokenized",
            "line 1 has 1 labels in `label`; expected one for each of 2 words",
        ),
        ("a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n", "", "line 2 is not UTF-8"),
        ("a.csv", b"text,b\n\"x\ny\",1\nz\n", "", "a.csv: line 4 has 1 columns; expected 2, as the header has"),
        ("a.csv", b"text\nx\n\"y\nz\n", "", "line 3 begins a record in which a quote is opened and never closed"),
        ("a.csv", b"text\nx\n\xff\n", "", "line 3 is not UTF-8"),
        ("a.csv", b"text,key\nx,\n", "--id-column key", "line 2 has nothing in column `key`; expected an id"),
        (
            "a.csv",
            b"sentence,label\nx,1\n",
            "",
            "a.csv: line 1 has no column `text`; it has `sentence`, `label`; --text-column says",
        ),
        ("a.csv", b"sentence,label\nx,1\n", "--text-column sentense", "did you mean `sentence`?"),
        ("a.csv", b"text\nx\n", "--carry date", "line 1 has no column `date`; it has `text`"),
        ("a.csv", b"a,b\n", "--no-header --text-column 3", "line 1 has no column `3`; it has `1`, `2`"),
        ("a.tsv", b"text\tb\nx\n", "", "a.tsv: line 2 has 1 columns; expected 2"),
        ("a.csv", b"text,b\rx,1\ry\r", "", "a.csv: line 3 has 1 columns; expected 2, as the header has"),
        (
            "a.csv",
            b"'id','text'\n1,'x'\n",
            "",
            "line 1 has no column `text`, but one in ', which csv takes for part of the name",
        ),
        (
            "a.csv",
            b"text,b\nx,1\n\xef\xbb\xbftext,b\ny,2\n",
            "",
            "a.csv: line 3 is the header again, as in files that were joined",
        ),
        ("a.jsonl", b"[\n{\"text\": \"a\"}\n]", "", "an array of objects is read with --input-format json"),
        ("a.jsonl", b"{\n\"text\": \"a\"\n}", "", "objects over several lines are read with --input-format json"),
        (
            "a.json",
            b"[\n{\"text\": \"a\"},\n{\"txt\": \"b\"}\n]",
            "",
            "a.json: line 3 has no column `text`; it has `txt`; --text-column says which one is the text; did you mean `txt`? (value 2 of the array)",
        ),
        (
            "a.json",
            b"[\n{\"text\": \"a\"}\n",
            "",
            "a.json: line 3 is the end of the file, but the array that begins on line 1",
        ),
        (
            "a.json",
            b"{\"text\": \"a\"}\n{\"text\": 7}\n",
            "",
            "a.json: line 2 has a number as `text`; expected a string",
        ),
        ("a.json", b"[\"a\", 7]", "", "line 1 has a number as a value; expected an object, or a string (value 2"),
        ("a.json", b"[\"a\"]", "--text-column x", "line 1 is a string, which has no column `x`"),
        ("a.json", b"hello\n", "", "a.json: line 1 begins with `h`; expected an array of objects"),
        (
            "a.json",
            b"{\"version\": \"1.1\",\n \"data\": [{\"text\": \"a\"}]}",
            "",
            "line 1 begins an object that holds an array, `data`; expected an array of objects, or objects; `jq .data FILE > texts.json` takes it out",
        ),
        (
            "a.conll",
            b"a O\nb\n",
            "",
            "a.conll: line 2 has 1 columns separated by white space; expected 2, as line 1 has",
        ),
        ("a.conll", b"a O\n", "--label-column 3", "line 1 has 2 columns; --label-column asks for column 3"),
        ("a.conllu", b"1\ta\n", "", "a.conllu: line 1 has 2 columns separated by tabs; expected the 10 of CoNLL-U"),
        (
            "a.fasta",
            b"\nACGT\n>a\nA\n",
            "",
            "a.fasta: line 2 stands before the first header; expected a line that begins with >",
        ),
        ("a.fasta", b">a\nA\nC\xff\n", "", "a.fasta: line 3 is not UTF-8"),
        ("a.fasta", b">a\nA\n>b\n>a x\n", "", "a.fasta: line 4 has the id of line 1"),
        ("a.fasta", b">a x\nA\n>b\n", "--id-column description", "line 3 has nothing in column `description`"),
    ] {
        fails(name, content, options, &[says]);
    }
}

#[test]
fn columns_that_something_else_separates_are_named_with_the_way_to_read_them() {
    for (name, content, options, says) in [
        (
            "a.csv",
            "id;text;label\n1;hello world;a\n",
            "",
            &[
                "a.csv: line 1 has no column `text`; its columns seem to be separated by `;` (`id`, `text`, `label`); read it with --delimiter ';'",
            ][..],
        ),
        ("a.csv", "id\ttext\n1\thello\n", "", &["separated by tabs (`id`, `text`); read it with --delimiter tab"]),
        ("a.csv", "id|text\n1|hello\n", "", &["separated by `|`", "--delimiter '|'"]),
        ("a.tsv", "id,text\n1,hello\n", "", &["separated by `,`", "--delimiter ,"]),
        ("a.csv", "id,text\n1,hello\n", "--delimiter ;", &["separated by `,`", "--delimiter ,"]),
        ("a.csv", "\"id\";\"text\"\n1;\"hello, you\"\n", "", &["separated by `;` (`id`, `text`)"]),
        (
            "a.csv",
            "id;review\n1;hello\n",
            "",
            &["separated by `;`", "--delimiter ';', and name the column of the text with --text-column"],
        ),
        ("a.csv", "id;review\n1;hello\n", "--text-column review", &["no column `review`", "--delimiter ';'"]),
        (
            "a.csv",
            "id;text\n1;hello\n",
            "--text-column id;text",
            &["one column", "separated by `;`", "--delimiter , if it is one"],
        ),
        ("a.csv", "1;hello\n2;world\n", "--no-header --text-column 2", &["no column `2`", "separated by `;`"]),
        (
            "a.csv",
            "1;hello\n2;world\n",
            "--no-header --text-column 1",
            &["separated by `;`, which each record has once; read it with --delimiter ';'"],
        ),
        (
            "a.csv",
            "1;hello;0,5\n2;world;0,7\n",
            "--no-header --text-column 2",
            &["separated by `;`, which each record has 2 times"],
        ),
    ] {
        fails(name, content, options, says);
        let desk = Desk::with("width1");
        desk.put(name, content);
        desk.types(&format!("extract -m width1 -i {name} {options}")).fails().does_not_say("did you mean");
    }
    let desk = Desk::with("width1");
    desk.put("a.csv", "one; two\nthree; four\n");
    desk.types("extract -m width1 -i a.csv --no-header --text-column 1 --delimiter , -o out")
        .succeeds()
        .says("2 texts");
}

#[test]
fn ids_of_one_line_of_json_are_told_apart() {
    let one_line = "[{\"text\": \"a\", \"id\": 1}, {\"text\": \"b\", \"id\": 1}]";
    fails("a.json", one_line, "", &["a.json: line 1 has two records with one id; expected an id of its own for each"]);
    let two_lines = one_line.replace(", {", ",\n{");
    fails("a.json", two_lines, "", &["a.json: line 2 has the id of line 1"]);
}

#[test]
fn all_bad_lines_are_said_at_once() {
    let mut content = b"good\n".to_vec();
    content.extend(b"bad \xff\n".repeat(24));
    content.extend(b"good\n");
    fails(
        "a.txt",
        &content,
        "",
        &[
            "24 lines of the input cannot be taken; nothing was encoded",
            "line 2 is not",
            "line 21 is not",
            "and 4 more",
        ],
    );
    let desk = Desk::with("width1");
    desk.put("a.txt", &content);
    desk.put("b.csv", "text,n\nx\ny\n");
    let ran = desk.types("extract -m width1 -i b.csv -i a.txt").fails();
    ran.says_all(&["26 lines", "b.csv: line 2", "b.csv: line 3", "a.txt: line 19", "and 6 more"])
        .does_not_say("a.txt: line 20");
}

#[test]
fn ids_that_occur_twice_are_named_with_both_lines() {
    fails(
        "a.csv",
        "text,id\na,1\nb,2\nc,1\n",
        "",
        &["a.csv: line 4 has the id of line 2; expected an id of its own (--id-column '' reads none)"],
    );
    fails(
        "a.jsonl",
        "{\"text\": \"a\", \"id\": 1}\n{\"text\": \"b\", \"id\": \"1\"}\n",
        "",
        &["line 2 has the id of line 1"],
    );
    let desk = Desk::with("width1");
    desk.put("a.csv", "text,id\na,1\n");
    desk.put("b.csv", "text,id\na,2\na\nb,1\nc,1\n");
    desk.types("extract -m width1 -i a.csv -i b.csv").fails().says_all(&[
        "3 lines",
        "b.csv: line 3 has 1 columns",
        "b.csv: line 4 has the id of a.csv: line 2",
        "b.csv: line 5 has the id of a.csv: line 2",
    ]);
    let many: String = (0..50_000).map(|i| format!("x,{}\n", i % 49_990)).collect();
    desk.put("many.csv", format!("text,id\n{many}"));
    desk.types("extract -m width1 -i many.csv").fails().says_all(&["10 lines", "line 49992 has the id of line 2;"]);
}

#[test]
fn records_without_text_are_none() {
    for (name, content, expected) in [
        ("a.jsonl", "\n \n", "one JSON object a line"),
        ("a.csv", "text,label\n", "records below a header"),
        ("a.csv", "", "records below a header"),
        ("a.csv", "sep=;\r\ntext;label\r\n", "records below a header"),
        ("a.json", "", "an array of objects, or objects"),
        ("a.json", "[]\n", "an array of objects, or objects"),
        ("a.conll", "\n\n", "a word a line"),
        ("a.conllu", "# newdoc\n", "a word a line"),
        ("a.fasta", "; a comment\n\n", "headers that begin with >, each with a sequence below it"),
    ] {
        fails(name, content, "", &[name, "holds no text", expected]);
    }
}

#[test]
fn an_empty_text_is_a_text() {
    let desk = Desk::with("width1");
    desk.put("a.csv", "id,text\n1,\n2,\"\"\n");
    desk.put("a.jsonl", "{\"text\": \"\"}\n");
    desk.types("extract -m width1 -i a.csv -i a.jsonl -e mean -o out").succeeds().says("3 texts");
}

#[test]
fn a_record_that_is_too_long_is_not_held() {
    let long = "x".repeat(17 << 20);
    fails("a.jsonl", format!("{{\"text\": \"{long}\"}}\n"), "", &["line 1 is longer than 16 MiB"]);
    fails("a.json", format!("[{{\"text\": \"{long}\"}}]\n"), "", &["line 1 begins a value longer than 16 MiB"]);
    fails("a.csv", format!("text\n\"{long}\n"), "", &["line 2 begins a record that is longer than 16 MiB", "quote"]);
    let long = &long[..(4 << 20) + 1];
    fails("a.jsonl", format!("{{\"text\": \"{long}\"}}\n"), "", &["line 1 has a `text` longer than 4 MiB"]);
}

#[test]
fn a_missing_file_is_found_before_another_is_read() {
    let desk = Desk::with("width1");
    desk.put("bad.txt", b"\xff\n");
    desk.types("extract -m width1 -i bad.txt -i nowhere.txt")
        .fails()
        .says("cannot open nowhere.txt")
        .does_not_say("UTF-8");
}

#[test]
fn options_that_the_format_has_no_use_for() {
    let desk = Desk::with("width1");
    for name in ["a.txt", "a.jsonl", "a.json", "a.csv", "a.conll", "a.conllu", "a.fasta"] {
        desk.put(name, "");
    }
    for (job, says) in [
        ("hello --id-column x", &["--id-column", "plain text"][..]),
        ("hello --input-format csv", &["--input-format", "arguments"]),
        ("-i a.txt --text-column x", &["--text-column", "a.txt is plain text", "--input-format"]),
        ("-i a.txt --pair-column x", &["--pair-column", "plain text"]),
        ("-i a.txt --label-column x", &["--label-column", "plain text"]),
        ("-i a.txt --carry x", &["--carry", "plain text"]),
        ("-i a.txt --no-header", &["--no-header", "plain text"]),
        ("-i a.csv -i a.txt --carry x", &["--carry", "a.txt is plain text"]),
        ("--carry x", &["--carry", "standard input is plain text"]),
        ("-i a.jsonl --no-header", &["--no-header", "JSON Lines"]),
        ("-i a.json --no-header", &["--no-header", "JSON"]),
        ("hello --delimiter ;", &["--delimiter", "no input is a table", "--input-format csv"]),
        ("-i a.txt -i a.jsonl -i a.json --delimiter ;", &["--delimiter", "no input is a table"]),
        ("-i a.csv --delimiter ;;", &["--delimiter", "one character of ASCII", "tab"]),
        ("-i a.csv --delimiter §", &["--delimiter", "one character of ASCII"]),
        ("-i a.csv --delimiter \"", &["--delimiter", "no quote"]),
        ("-i a.csv --no-header", &["--no-header", "--text-column N"]),
        ("-i a.csv --no-header --text-column text", &["--text-column", "numbers from 1, not `text`"]),
        ("-i a.csv --no-header --text-column 0", &["--text-column", "numbers from 1"]),
        ("-i a.conll --text-column word", &["--text-column", "number from 1"]),
        ("-i a.conll --id-column 1", &["--id-column", "words and tags"]),
        ("-i a.conllu --carry 1", &["--carry", "CoNLL-U"]),
        ("-i a.conllu --label-column pos", &["--label-column", "UPOS"]),
        ("-i a.fasta --text-column sequence", &["--text-column", "texts are its sequences"]),
        ("-i a.fasta --pair-column id", &["--pair-column", "texts are its sequences"]),
        ("-i a.fasta --carry length", &["--carry", "the columns id and description", "not `length`"]),
        ("-i a.fasta --no-header", &["--no-header", "FASTA"]),
        ("-i - -i -", &["-i -", "twice"]),
        ("-i a.csv --carry mean,input_mean", &["--carry mean", "of its own", "rename"]),
        ("-i a.csv --carry x,x", &["--carry x", "twice"]),
        ("-i a.csv --carry x,", &["--carry", "a column has a name"]),
    ] {
        desk.types(&format!("extract -m width1 {job} -o out")).fails_as_wrong_usage().says_all(says);
    }
    desk.model("width1").config("type_vocab_size", 1).tensors(|tensors| {
        let table = tensors.get_mut("bert.embeddings.token_type_embeddings.weight").expect("the table");
        table.shape[0] = 1;
        table.bytes.truncate(7 * 4);
    });
    desk.put("a.csv", "text,b\nx,y\n");
    let ran = desk.types("extract -m width1 -i a.csv --pair-column b -o out").fails_as_wrong_usage();
    ran.says_all(&["--pair-column", "one token type"]);
}

#[test]
fn ids_that_repeat_can_be_left_unread() {
    let desk = Desk::with("width1");
    let conllu = "# sent_id = 1\n1\thello\t_\tX\t_\t_\t_\t_\t_\t_\n\n".repeat(2);
    for (file, content) in [
        ("a.csv", "text,id\na,1\nb,1\n"),
        ("a.tsv", "text\tid\na\t1\nb\t1\n"),
        ("a.jsonl", "{\"text\": \"a\", \"id\": 1}\n{\"text\": \"b\", \"id\": 1}\n"),
        ("a.json", "[{\"text\": \"a\", \"id\": \"1\"},\n{\"text\": \"b\", \"id\": \"1\"}]"),
        ("a.conllu", conllu.as_str()),
        ("a.fasta", ">1\na\n>1\nb\n"),
    ] {
        desk.put(file, content);
        desk.types(&format!("extract -m width1 -i {file}"))
            .fails()
            .says_all(&["expected an id of its own", "--id-column ''"]);
        let ran = desk.types(&format!("extract -m width1 -i {file} --id-column ''")).succeeds();
        let ids: Vec<serde_json::Value> = ran.json_lines().iter().map(|line| line["id"].clone()).collect();
        assert_eq!(ids, [serde_json::Value::Null, serde_json::Value::Null], "{file}");
    }
}
