//! What stands below the options in `--help`: examples, the environment and the exit codes.
//!
//! Lines are at most 60 columns wide. They are broken here and not by clap, which would break a command in its middle.

/// A variable of the environment, and what it does, in lines.
type Variable = (&'static str, &'static [&'static str]);

/// The model where none is named.
pub(super) const MODEL: &[Variable] = &[("LAYERWISE_MODEL", &["the model where none is named"])];

/// What a model of the hub is found by.
pub(super) const HUB: &[Variable] = &[
    ("HF_HOME", &["downloads are in hub/ of this folder", "[default: ~/.cache/huggingface]"]),
    ("HF_HUB_CACHE", &["their folder itself"]),
    ("HF_ENDPOINT", &["another hub"]),
    ("HF_TOKEN", &["a token for models that need one"]),
    ("HF_HUB_OFFLINE", &["1 is --offline"]),
    ("HTTPS_PROXY", &["a proxy; also ALL_PROXY and NO_PROXY,", "as curl has them"]),
];

/// What the encoder runs on.
pub(super) const INSTRUCTION_SET: &[Variable] = &[(
    "LAYERWISE_ISA",
    &["other instructions than the best: amx,", "avx512bf16, avx512vnni, avx512, avxvnni,", "avx2, neon, portable"],
)];

/// Where files lie that are of no further use.
pub(super) const TEMPORARY: &[Variable] = &[("TMPDIR", &["where large jobs keep tokens meanwhile"])];

/// What every command minds.
const ALL: &[Variable] = &[("NO_COLOR", &["1 is --color never"])];

/// The exit codes of all commands but `verify`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; standard error says why
  2    wrong usage
  130  interrupted; 143 by SIGTERM, 129 by SIGHUP";

/// The exit codes of `verify`.
pub(super) const EXIT_CODES_OF_VERIFY: &str = "\
Exit codes:
  0    whole
  1    damaged, or nothing that can be verified
  2    wrong usage
  130  interrupted; 143 by SIGTERM, 129 by SIGHUP";

/// What stands below the options.
pub(super) fn below(examples: &str, variables: &[&[Variable]], exit_codes: &str) -> String {
    let mut text = format!("{examples}\n\nEnvironment:\n");
    for (name, about) in variables.iter().copied().chain([ALL]).flatten() {
        for (line, about) in about.iter().enumerate() {
            let name = if line == 0 { name } else { "" };
            text.push_str(&format!("  {name:<15}  {about}\n"));
        }
    }
    text + "\n" + exit_codes
}

pub(super) const OF_ALL: &str = "\
Examples:
  # the mean vector of every layer, as JSON Lines
  layerwise extract \"The bank of the river.\"

  # how alike two texts are at every layer
  layerwise compare \"a cat sat on the mat\" \"the cat slept\"

  # everything about a command
  layerwise help extract";

pub(super) const OF_EXTRACT: &str = "\
Examples:
  # the mean vector of every layer, as JSON Lines
  layerwise extract \"The bank of the river.\"

  # token and [CLS] vectors of the last four layers, as .npy
  layerwise extract -i texts.txt -e token,cls -l -4.. -o out

  # a table's texts with their labels and a further column
  layerwise extract -i reviews.csv --text-column review \\
      --carry stars -o rated";

pub(super) const OF_COMPARE: &str = "\
Examples:
  # where the verb and the direction part ways
  layerwise compare --word left \"She left the house.\" \\
      \"They left at noon.\" \"Turn left at the corner.\"

  # the first line of a file with the others
  layerwise compare -i texts.txt

  # by the model's own sentence embedding, all with all
  layerwise compare -e sentence --json -i texts.txt";

pub(super) const OF_PROBE: &str = "\
Labels come with the texts: extract a table with a column
`label`, or conll or conllu files, whose labels are a list
for each text, one for each word. A label for each text is
classification; a list is tagging, and entity tags (IOB1,
IOB2, BIOES) are scored by entity as well.

Examples:
  # which layer tells good reviews from bad ones
  layerwise extract -i films.csv -o films
  layerwise probe films

  # the same, kept for predict
  layerwise probe films -o sentiment

  # entities: learn from one directory, score on another
  layerwise extract -i train.conll -e word -o train
  layerwise extract -i test.conll -e word -o test
  layerwise probe train --test test -o entities";

pub(super) const OF_PREDICT: &str = "\
Examples:
  # a label for each text, by the best layer
  layerwise predict sentiment \"What a wonderful film.\"

  # a file of texts, as JSON Lines
  layerwise predict sentiment -i texts.txt --json > labels

  # a lower layer: less to compute
  layerwise predict sentiment --layer 1 -i texts.txt";

pub(super) const OF_MERGE: &str = "\
Examples:
  # a job in three parts, on one machine or on three
  for i in 1 2 3; do
      layerwise extract -i texts.txt --shard $i/3 -o part-$i
  done
  layerwise merge out part-1 part-2 part-3

  # the same by a pattern; nothing is left to do
  layerwise merge out part-*

  # in place of what out holds
  layerwise merge out part-* --overwrite";

pub(super) const OF_INFO: &str = "\
Examples:
  # the bundled model
  layerwise info

  # a directory written by extract
  layerwise info out

  # for programs
  layerwise info out --json";

pub(super) const OF_VERIFY: &str = "\
Each damage is a line on standard output, such as
`mean/layer_03.npy: row 17 is not finite`.

Examples:
  # after a copy, or before an analysis
  layerwise verify out

  # as a list of {place, problem}, for programs
  layerwise verify out --json

  # whether 100 texts have the very bits the model gives
  layerwise verify out --recompute 100 -i texts.txt";

pub(super) const OF_COMPLETIONS: &str = "\
Examples:
  # for bash: `source` this file in ~/.bashrc
  layerwise completions bash > layerwise.bash

  # for zsh, in a folder of $fpath
  layerwise completions zsh > _layerwise

  # for fish, in ~/.config/fish/completions
  layerwise completions fish > layerwise.fish";
