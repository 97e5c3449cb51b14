//! What `--help` says, word for word, and the completion scripts.
//!
//! The expected texts are the files in `snapshots/`. After a change that is meant, write them anew with
//! `LAYERWISE_UPDATE_SNAPSHOTS=1 cargo test --test cli help` and look at the difference.

use std::path::Path;

use crate::desk::{Desk, PATIENCE, program};

fn is_like_snapshot(line: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(name);
    let ran = Desk::new().types(line).succeeds().says_nothing();
    if std::env::var_os("LAYERWISE_UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, ran.stdout().replace("layerwise.exe", "layerwise")).expect("a snapshot");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // Git may have given the file other line ends, and Windows the program another name.
    let found = ran.stdout().replace("layerwise.exe", "layerwise");
    let (found, expected): (Vec<&str>, Vec<&str>) = (found.lines().collect(), expected.lines().collect());
    assert!(
        found == expected,
        "`layerwise {line}` differs from {}:\n{}\nIf that is meant: LAYERWISE_UPDATE_SNAPSHOTS=1 cargo test --test cli help",
        path.display(),
        difference(&expected, &found)
    );
}

/// The lines in which two texts differ, from the first to the last that does.
fn difference(expected: &[&str], found: &[&str]) -> String {
    let same = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let (expected, found) = (&expected[same..], &found[same..]);
    let same_end = expected.iter().rev().zip(found.iter().rev()).take_while(|(a, b)| a == b).count();
    let (expected, found) = (&expected[..expected.len() - same_end], &found[..found.len() - same_end]);
    let mark = |mark: &str, lines: &[&str]| lines.iter().map(|line| format!("{mark} {line}\n")).collect::<String>();
    format!("from line {} on\n{}{}", same + 1, mark("-", expected), mark("+", found))
}

#[test]
fn help_is_as_it_was() {
    is_like_snapshot("-h", "help-short.txt");
    is_like_snapshot("--help", "help.txt");
    is_like_snapshot("help", "help.txt");
}

#[test]
fn help_of_extract_is_as_it_was() {
    is_like_snapshot("extract -h", "extract-short.txt");
    is_like_snapshot("extract --help", "extract.txt");
    is_like_snapshot("help extract", "extract.txt");
}

#[test]
fn help_of_compare_is_as_it_was() {
    is_like_snapshot("compare -h", "compare-short.txt");
    is_like_snapshot("compare --help", "compare.txt");
}

#[test]
fn help_of_probe_is_as_it_was() {
    is_like_snapshot("probe -h", "probe-short.txt");
    is_like_snapshot("probe --help", "probe.txt");
}

#[test]
fn help_of_predict_is_as_it_was() {
    is_like_snapshot("predict -h", "predict-short.txt");
    is_like_snapshot("predict --help", "predict.txt");
}

#[test]
fn help_of_merge_is_as_it_was() {
    is_like_snapshot("merge -h", "merge-short.txt");
    is_like_snapshot("merge --help", "merge.txt");
}

#[test]
fn help_of_info_is_as_it_was() {
    is_like_snapshot("info -h", "info-short.txt");
    is_like_snapshot("info --help", "info.txt");
}

#[test]
fn help_of_verify_is_as_it_was() {
    is_like_snapshot("verify -h", "verify-short.txt");
    is_like_snapshot("verify --help", "verify.txt");
}

#[test]
fn help_of_completions_is_as_it_was() {
    is_like_snapshot("completions -h", "completions-short.txt");
    is_like_snapshot("completions --help", "completions.txt");
}

/// All commands; the empty one is the program itself.
const COMMANDS: [&str; 9] = ["", "extract", "compare", "probe", "predict", "merge", "info", "verify", "completions"];

#[test]
fn help_keeps_to_the_width_of_the_terminal() {
    let desk = Desk::new();
    for command in COMMANDS {
        for (terminal, most) in [(60, 60), (80, 80), (100, 100), (200, 110)] {
            for help in ["-h", "--help"] {
                let line = format!("{command} {help}");
                let ran = desk.types_with("COLUMNS", &terminal.to_string(), &line).succeeds();
                let longest = ran.stdout().lines().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(longest <= most, "{line}: {longest} columns in a terminal of {terminal}");
            }
        }
    }
}

/// What stands below the options in the help of a command, in a terminal of some width.
fn below_the_options(desk: &Desk, command: &str, terminal: &str) -> String {
    let help = desk.types_with("COLUMNS", terminal, &format!("{command} --help")).succeeds().stdout();
    let start = help.find("\nExamples:\n").unwrap_or_else(|| panic!("`{command} --help` has examples:\n{help}"));
    help[start + 1..].to_owned()
}

#[test]
fn help_has_three_examples_the_environment_and_the_exit_codes() {
    let desk = Desk::new();
    for command in COMMANDS {
        let below = below_the_options(&desk, command, "100");
        let titles = below.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).collect::<Vec<_>>();
        assert_eq!(titles, ["Examples:", "Environment:", "Exit codes:"], "{command}");
        let examples = below.lines().filter(|line| line.starts_with("  # ")).count();
        assert_eq!(examples, 3, "{command}: {below}");
        assert_eq!(below, below_the_options(&desk, command, "60"), "{command}: lines are broken on a narrow terminal");
        assert!(!desk.types(&format!("{command} -h")).stdout().contains("Examples:"), "{command}: -h is short");
    }
}

/// Files that the examples name.
fn with_the_files_of_the_examples() -> Desk {
    let desk = Desk::new();
    desk.put("texts.txt", "The river bank.\nThe bank of the river.\nShe left.\nThe old boat is at the bank.\n");
    desk.put("reviews.csv", "id,review,label,stars\na,Well made,good,5\nb,It broke,bad,1\n");
    let (good, bad) = (["wonderful", "lovely", "great", "brilliant"], ["terrible", "boring", "awful", "dull"]);
    let mut films = "text,label\n".to_owned();
    for thing in ["film", "story", "cast"] {
        good.iter().for_each(|word| films.push_str(&format!("What a {word} {thing}.,good\n")));
        bad.iter().for_each(|word| films.push_str(&format!("What a {word} {thing}.,bad\n")));
    }
    desk.put("films.csv", films);
    let sentence = |person: &str, place: &str| format!("{person} B-PER\nwas O\nborn O\nin O\n{place} B-LOC\n. O\n\n");
    let people = ["Ada", "Mary", "John", "Anna", "Peter", "Paul"];
    let places = ["London", "Paris", "Rome", "Berlin", "Madrid", "Vienna"];
    let sentences = people.iter().zip(places).map(|(person, place)| sentence(person, place)).collect::<Vec<_>>();
    desk.put("train.conll", sentences.concat());
    desk.put("test.conll", sentences[..3].concat());
    desk
}

/// The commands of a help's examples.
#[cfg(unix)]
fn examples_of(desk: &Desk, command: &str) -> String {
    let below = below_the_options(desk, command, "100");
    let examples = below.lines().skip(1).take_while(|line| line.is_empty() || line.starts_with(' '));
    examples.map(|line| format!("{line}\n")).collect()
}

#[cfg(unix)]
#[test]
fn the_examples_of_every_help_run_as_they_stand() {
    for command in COMMANDS {
        let desk = with_the_files_of_the_examples();
        let before = match command {
            "predict" => examples_of(&desk, "probe"),
            "info" | "verify" => "layerwise extract -i texts.txt -o out\n".to_owned(),
            _ => String::new(),
        };
        let script = format!("set -e\n{before}{}", examples_of(&desk, command));
        assert!(script.matches("layerwise ").count() >= 3, "{command}: {script}");
        let folder = program().parent().expect("a folder").to_owned();
        let path = std::env::join_paths(
            [folder].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        let mut shell = assert_cmd::Command::from_std(desk.prepared(Path::new("sh")));
        let ran = shell.env("PATH", path.expect("a path")).arg("-c").arg(&script).timeout(PATIENCE).output();
        let ran = ran.expect("a shell");
        assert!(ran.status.success(), "{command}:\n{script}\n{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn every_option_of_the_contract_that_is_done_is_in_the_help() {
    let help = Desk::new().types("extract --help").succeeds();
    help.prints_all(&[
        "--model",
        "--revision",
        "--offline",
        "--input",
        "--input-format",
        "--text-column",
        "--pair-column",
        "--id-column",
        "--label-column",
        "--carry",
        "--no-header",
        "--delimiter",
        "--pretokenized",
        "--layers",
        "--emit",
        "--word-pooling",
        "--special-tokens",
        "--combine",
        "--normalize",
        "--max-length",
        "--overflow",
        "--stride",
        "--output",
        "--format",
        "--dtype",
        "--threads",
        "--batch-tokens",
        "--overwrite",
        "--dry-run",
        "--quiet",
        "--verbose",
        "--progress",
        "--color",
        "LAYERWISE_MODEL",
        "HF_HUB_OFFLINE",
    ]);
}

#[test]
fn the_version_is_the_packages() {
    let version = format!("layerwise {}\n", env!("CARGO_PKG_VERSION"));
    Desk::new().types("--version").succeeds().says_nothing().prints_exactly(&version);
    Desk::new().types("-V").succeeds().prints_exactly(&version);
}

#[test]
fn every_shell_gets_its_completions() {
    let desk = Desk::new();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef layerwise"),
        ("fish", "complete -c layerwise"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let ran = desk.types(&format!("completions {shell}")).succeeds().says_nothing();
        ran.prints_all(&[sign, "extract", "batch-tokens"]);
    }
}

#[cfg(unix)]
#[test]
fn the_completions_of_bash_are_a_script_that_bash_takes() {
    let desk = Desk::new();
    let script = desk.types("completions bash").succeeds().stdout();
    desk.put("completions.bash", &script);
    let Ok(output) = std::process::Command::new("bash").arg("-n").arg(desk.path("completions.bash")).output() else {
        return; // no bash here
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
