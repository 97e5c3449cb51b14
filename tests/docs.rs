//! What the pages tell a reader to type, typed: every command of README.md, docs, the model cards and CONTRIBUTING.md runs as it
//! stands, in order, and what a page shows is what comes out.
//!
//! A page is one shell session (`sh`) in an empty folder, offline, with `layerwise` on the `PATH`. Its fenced blocks are
//!
//! - `sh`: commands of which none may fail; a `text` block that follows directly is their standard output;
//! - `console`: after each `$ ` a command, then what a terminal shows of it, messages included. A command may fail, and has to,
//!   where a line `error: …` is shown;
//! - blocks in [`OTHER_LANGUAGES`], which are left alone;
//! - blocks after `<!-- not run: REASON -->`, which are left alone with the `text` block that follows them.
//!
//! Anything else is an error, also a `text` block that belongs to no command. What differs between two runs by nature is not
//! compared: [`comparable`] has the list. `LAYERWISE_UPDATE_DOCS=1 cargo test --test docs` puts into the pages what comes out.

#![cfg(all(unix, feature = "cli", feature = "bundled"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Languages of blocks that are no commands.
const OTHER_LANGUAGES: [&str; 3] = ["python", "rust", "yaml"];

/// The note on the model that answers where none is named. It comes with most commands; README.md says so once.
const BUNDLED_NOTE: &str = "note: encoded by the bundled model";

/// Units of numbers that differ between two runs.
const VARYING_UNITS: [&str; 4] = ["ms", "s", "min", "tokens/s"];

/// A fenced block: its language, where its lines are in the page (fences left out), and why it is not run.
struct Block<'a> {
    language: &'a str,
    lines: Range<usize>,
    not_run: Option<&'a str>,
    /// Whether nothing but empty lines is between it and the block before.
    follows: bool,
}

/// Commands, and where the page has what they print.
struct Example {
    commands: String,
    is_console: bool,
    /// The first line of the commands, from 0.
    line: usize,
    shown: Option<Range<usize>>,
}

/// What an example printed, and whether it succeeded; none where the shell did not get to its end.
struct Outcome {
    printed: String,
    messages: String,
    succeeded: Option<bool>,
}

fn blocks<'a>(lines: &[&'a str]) -> Result<Vec<Block<'a>>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'a>> = None;
    let mut last_text = "";
    let mut follows = false;
    for (number, line) in lines.iter().enumerate() {
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            if open.is_none() && !line.trim().is_empty() {
                last_text = line.trim();
                follows = false;
            }
            continue;
        };
        if let Some(mut block) = open.take() {
            block.lines.end = number;
            blocks.push(block);
            (last_text, follows) = ("", true);
        } else {
            if line.starts_with(' ') || fence.is_empty() {
                return Err(format!("line {}: a block that is indented or has no language", number + 1));
            }
            let not_run = last_text.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
            open = Some(Block { language: fence, lines: number + 1..number + 1, not_run, follows });
        }
    }
    match open {
        Some(block) => Err(format!("line {}: a block that is never closed", block.lines.start)),
        None => Ok(blocks),
    }
}

/// What of a page is to be run, and how many blocks are marked as not to be.
fn examples(lines: &[&str]) -> Result<(Vec<Example>, usize), String> {
    let mut examples: Vec<Example> = Vec::new();
    let mut marked = 0;
    let mut output_of_block_before = None;
    for block in blocks(lines)? {
        let at = format!("line {}", block.lines.start);
        let takes_output = output_of_block_before.take().filter(|_| block.follows);
        if block.not_run.is_some() {
            marked += 1;
            output_of_block_before = Some(false);
        } else if block.language == "sh" {
            let commands = lines[block.lines.clone()].join("\n");
            examples.push(Example { commands, is_console: false, line: block.lines.start, shown: None });
            output_of_block_before = Some(true);
        } else if block.language == "console" {
            console(lines, block.lines, &mut examples)?;
        } else if block.language == "text" {
            match takes_output {
                Some(true) => examples.last_mut().unwrap().shown = Some(block.lines),
                Some(false) => (),
                None => {
                    return Err(format!(
                        "{at}: a text block after no command, and no `<!-- not run: REASON -->` before it"
                    ));
                }
            }
        } else if !OTHER_LANGUAGES.contains(&block.language) {
            return Err(format!("{at}: no way to run a block of `{}`", block.language));
        }
    }
    Ok((examples, marked))
}

/// The commands of a console block, each with its output.
fn console(lines: &[&str], block: Range<usize>, examples: &mut Vec<Example>) -> Result<(), String> {
    let mut line = block.start;
    while line < block.end {
        let Some(first) = lines[line].strip_prefix("$ ") else {
            return Err(format!("line {}: a console block begins with `$ `", line + 1));
        };
        let start = line;
        let mut commands = first.to_owned();
        while commands.ends_with('\\') && line + 1 < block.end {
            line += 1;
            commands.push('\n');
            commands.push_str(lines[line]);
        }
        line += 1;
        let output = line;
        while line < block.end && !lines[line].starts_with("$ ") {
            line += 1;
        }
        examples.push(Example { commands, is_console: true, line: start, shown: Some(output..line) });
    }
    Ok(())
}

/// Runs the examples one after the other in one shell.
fn run(examples: &[Example]) -> Vec<Outcome> {
    let place = tempfile::tempdir().unwrap();
    let [bin, home, page, outputs] = ["bin", "home", "page", "outputs"].map(|name| place.path().join(name));
    for folder in [&bin, &home, &page, &outputs] {
        fs::create_dir(folder).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_layerwise"), bin.join("layerwise")).unwrap();
    let mut script = String::new();
    for (number, example) in examples.iter().enumerate() {
        let file = outputs.join(number.to_string());
        let file = file.to_str().unwrap();
        let commands = &example.commands;
        if example.is_console {
            writeln!(script, "exec >'{file}.out' 2>&1\n{commands}\necho $? >'{file}.status'").unwrap();
        } else {
            writeln!(script, "exec >'{file}.out' 2>'{file}.err'\nset -e\n{commands}\nset +e\necho 0 >'{file}.status'")
                .unwrap();
        }
    }
    let script_file = place.path().join("script");
    fs::write(&script_file, script).unwrap();
    let mut shell = Command::new("sh");
    shell.arg(&script_file).current_dir(&page).stdin(Stdio::null()).env_clear();
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", bin.display())).env("HOME", &home).env("LC_ALL", "C").env("COLUMNS", "100");
    shell.env("HF_HUB_OFFLINE", "1");
    for name in ["LAYERWISE_ISA", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            shell.env(name, value);
        }
    }
    let last_words = shell.output().unwrap();
    let read = |number: usize, what: &str| {
        let bytes = fs::read(outputs.join(format!("{number}.{what}"))).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut outcomes = Vec::new();
    for number in 0..examples.len() {
        let messages = read(number, "err").unwrap_or_default() + &String::from_utf8_lossy(&last_words.stderr);
        let succeeded = read(number, "status").map(|status| status.trim() == "0");
        outcomes.push(Outcome { printed: read(number, "out").unwrap_or_default(), messages, succeeded });
    }
    outcomes
}

/// A line without what differs between two runs by nature: times, rates and the number of threads; free disk; the instruction set.
/// None for the note on the bundled model.
fn comparable(line: &str) -> Option<String> {
    if line.starts_with(BUNDLED_NOTE) {
        return None;
    }
    let trimmed = |word: &str| word.trim_matches(['(', ')', ',', ';', '.']).to_owned();
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 0..words.len() {
        if line.starts_with("made by ") && words[at].starts_with('(') {
            words[at] = "(ISA)".to_owned();
        }
        let Some(unit) = words.get(at + 1).map(|unit| trimmed(unit)) else { continue };
        let is_rate = unit.ends_with("B/s") || unit == "thread" || unit == "threads";
        let is_free_disk = unit.ends_with('B') && words.get(at + 2).is_some_and(|word| trimmed(word) == "free");
        if (is_rate || is_free_disk || VARYING_UNITS.contains(&unit.as_str()))
            && trimmed(&words[at]).parse::<f64>().is_ok()
        {
            words[at] = words[at].replace(&trimmed(&words[at]), "N");
            if is_rate || is_free_disk {
                words[at + 1] = words[at + 1].replace(&unit, "UNIT");
            }
        }
    }
    Some(words.join(" "))
}

/// Runs a page: how many examples it has, how many marked blocks, the page as it should be, and what was wrong.
fn check(page: &str) -> Result<(usize, usize, String, Vec<String>), String> {
    let lines: Vec<&str> = page.lines().collect();
    let (examples, marked) = examples(&lines)?;
    let mut mended: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    let mut problems = Vec::new();
    // From the last on, so that the places of those before stay as they are.
    for (example, outcome) in examples.iter().zip(run(&examples)).rev() {
        let shown = &lines[example.shown.clone().unwrap_or_default()];
        let has_error = example.is_console && shown.iter().any(|line| line.starts_with("error: "));
        let what = format!("line {}: `{}`", example.line + 1, example.commands.lines().next().unwrap_or_default());
        if outcome.succeeded != Some(!has_error) {
            let how = match outcome.succeeded {
                None => "did not get to its end",
                Some(true) => "succeeds, but an error is shown",
                Some(false) => "fails, but no error is shown",
            };
            problems.push(format!("{what} {how}\n{}{}", outcome.printed, outcome.messages));
            continue;
        }
        let Some(place) = example.shown.clone() else { continue };
        let printed: Vec<&str> = outcome.printed.lines().filter(|line| !line.starts_with(BUNDLED_NOTE)).collect();
        let compared = |lines: &[&str]| lines.iter().filter_map(|line| comparable(line)).collect::<Vec<_>>();
        if compared(shown) != compared(&printed) {
            problems.push(format!("{what}\nshown:\n{}\nprinted:\n{}\n", shown.join("\n"), printed.join("\n")));
            mended.splice(place, printed.iter().map(|&line| line.to_owned()));
        }
    }
    problems.reverse();
    Ok((examples.len(), marked, mended.join("\n") + "\n", problems))
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in fs::read_dir(root.join("models")).unwrap() {
        pages.push(folder.unwrap().path().join("README.md"));
    }
    for file in fs::read_dir(root.join("docs")).unwrap() {
        pages.push(file.unwrap().path());
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md") && page.exists());
    pages.sort();
    pages
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was run, for those who ask with --nocapture")]
fn what_the_pages_show_is_what_comes_out() {
    let update = std::env::var_os("LAYERWISE_UPDATE_DOCS").is_some_and(|value| !value.is_empty());
    let pages = pages();
    let texts: Vec<String> = pages.iter().map(|page| fs::read_to_string(page).unwrap()).collect();
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = texts.iter().map(|text| scope.spawn(|| check(text))).collect();
        running.into_iter().map(|page| page.join().unwrap()).collect()
    });
    let mut report = String::new();
    for ((page, text), result) in pages.iter().zip(&texts).zip(results) {
        let name = page.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display();
        match result {
            Err(problem) => writeln!(report, "{name}: {problem}").unwrap(),
            Ok((examples, marked, mended, problems)) => {
                println!("{name}: {examples} examples run, {marked} blocks marked as not run");
                for problem in problems {
                    writeln!(report, "{name}: {problem}").unwrap();
                }
                if update && mended != *text {
                    fs::write(page, mended).unwrap();
                }
            }
        }
    }
    assert!(report.is_empty(), "{report}LAYERWISE_UPDATE_DOCS=1 puts into the pages what is printed");
}

#[test]
fn a_page_that_shows_something_else_is_found_and_mended() {
    let page = "```sh\necho one >file\n```\n\n```console\n$ cat file\ntwo\n$ echo 3; echo in 7 s\n3\nin 9 s\n```\n\n\
                ```sh\ncat file\n```\n\n```text\none\n```\n";
    let (examples, marked, mended, problems) = check(page).unwrap();
    assert_eq!((examples, marked, problems.len()), (4, 0, 1), "{problems:?}");
    assert!(problems[0].contains("line 6: `cat file`"), "{problems:?}");
    assert_eq!(mended, page.replace("two", "one"));
}

#[test]
fn a_command_that_fails_is_found() {
    for page in [
        "```sh\nfalse\necho on\n```\n",
        "```sh\nfalse | true; (exit 3)\n```\n",
        "```console\n$ echo oh; false\noh\n```\n",
        "```console\n$ echo error: none\nerror: none\n```\n",
        "```console\n$ layerwise extract --no-such-option\n```\n",
    ] {
        assert_eq!(check(page).unwrap().3.len(), 1, "{page}");
    }
    let page = "```console\n$ echo error: some; false\nerror: some\n```\n";
    assert_eq!(check(page).unwrap().3, [""; 0]);
}

#[test]
fn a_block_is_run_or_marked() {
    for page in [
        "```text\nout\n```\n",
        "```\nout\n```\n",
        "```bash\ntrue\n```\n",
        "```sh\ntrue\n```\n\nThen\n\n```text\nout\n```\n",
    ] {
        assert!(check(page).is_err(), "{page}");
    }
    let page = "<!-- not run: needs the hub -->\n```sh\nfalse\n```\n\n```text\nout\n```\n\n```python\n1\n```\n";
    let (examples, marked, mended, problems) = check(page).unwrap();
    assert_eq!((examples, marked, problems.len()), (0, 1, 0));
    assert_eq!(mended, page);
}
