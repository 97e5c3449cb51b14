//! The command line: what can be typed. No logic, no I/O.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::checkpoint::BUNDLED;
use crate::probe::labels::TaskChoice;
use crate::shard::ShardSelection;
use crate::spec::{
    Choice, Combine, Compute, Delimiter, DeviceSelection, Dtype, Format, InputFormat, LayerSelection, Overflow,
    SpecialTokens, VectorKind, WordPooling,
};

/// Embeddings from every encoder layer of BERT models: exact, bit-identical, without Python
#[derive(Debug, Parser)]
#[command(name = "layerwise", version, max_term_width = 110, propagate_version = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// How much is said, and how
    #[command(flatten)]
    pub output: Reporting,
}

/// What to do
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Encode texts and write their vectors, layer by layer
    #[command(after_long_help = EXTRACT_EXAMPLES)]
    Extract(Box<ExtractArgs>),
    /// Say how alike texts are, or a word in them, at every layer
    #[command(after_long_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Say which layer knows it: fit a linear classifier on each layer of labelled vectors
    #[command(after_long_help = PROBE_EXAMPLES)]
    Probe(ProbeArgs),
    /// Label new texts with what probe has learned
    #[command(after_long_help = PREDICT_EXAMPLES)]
    Predict(PredictArgs),
    /// Join the directories of all shards of a job into the one that the job would have written
    #[command(after_long_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Say what a model is, or what an output directory holds
    Info(InfoArgs),
    /// Check that an output directory still holds, byte for byte, what its manifest says
    #[command(after_long_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const EXTRACT_EXAMPLES: &str = "\
Examples:
  # the mean vector of every layer, as JSON Lines
  layerwise extract \"The bank of the river.\"

  # as .npy files, a row for each line of texts.txt
  layerwise extract -i texts.txt -o out

  # token and [CLS] vectors of the last four layers
  layerwise extract -i texts.txt -e token,cls -l -4.. -o out

  # a model from the hub, and its own sentence embedding
  layerwise extract -m sentence-transformers/all-MiniLM-L6-v2 -e sentence \"hello world\"

  # a table's texts with their labels, and two further columns copied into texts.jsonl
  layerwise extract -i reviews.csv.gz --text-column review --carry stars,date -o out

  # words and their tags
  layerwise extract -i train.conll -i dev.conll --text-column 1 --label-column 4 -e word -o out

  # a vector for each given word, in safetensors files
  cat words.txt | layerwise extract --pretokenized -e word -o out --format safetensors";

const PROBE_EXAMPLES: &str = "\
Labels come with the texts: extract a table with a column `label`, or conll or
conllu files, whose labels are a list for each text, one for each word. A label
for each text is classification; a list is tagging, and entity tags (IOB1, IOB2,
BIOES) are scored by entity as well.

Examples:
  # sentiment: which layer's mean vectors tell good from bad, by cross-validation
  layerwise extract -i reviews.csv -o reviews
  layerwise probe reviews

  # named entities: learn from one directory, choose on a second, score on a third
  layerwise extract -i train.conll -e word -o train
  layerwise extract -i dev.conll -e word -o dev
  layerwise extract -i test.conll -e word -o test
  layerwise probe train --dev dev --test test -o entities

  # and use it
  layerwise predict entities \"Ada Lovelace was born in London.\"";

const PREDICT_EXAMPLES: &str = "\
Examples:
  # a label for each text, by the best layer
  layerwise predict report \"What a wonderful film.\"

  # a file of texts, as JSON Lines
  layerwise predict report -i texts.txt --json > labels.jsonl

  # a lower layer: less to compute
  layerwise predict report --layer 3 -i texts.txt";

const MERGE_EXAMPLES: &str = "\
Examples:
  # a job in three parts, on one machine or on three, joined
  for i in 1 2 3; do layerwise extract -i texts.txt --shard $i/3 -o part-$i; done
  layerwise merge out part-1 part-2 part-3";

const COMPARE_EXAMPLES: &str = "\
Examples:
  # the verb and the direction are one word at layer 0 and part ways layer by layer
  layerwise compare --word left \"She left the house at nine.\" \\
      \"They left for the station early.\" \"Turn left at the next corner.\"";

const VERIFY_EXAMPLES: &str = "\
Each damage is a line on standard output, such as `mean/layer_03.npy: row 17 is not finite`.
The exit code is 0 if there is none and 1 if there is any.

Examples:
  # after a copy, or before an analysis
  layerwise verify out

  # as a list of {place, problem}, for programs
  layerwise verify --json out

  # whether the vectors of 100 texts are those that the model gives, bit for bit
  layerwise verify out --recompute 100 -i texts.txt";

/// How much is said, and how
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages")]
pub struct Reporting {
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Say what is going on
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Show progress
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        global = true,
        hide_possible_values = true,
        help = "Show progress: auto (a bar on a terminal; elsewhere a line every 30 seconds), always (a line at once, too) or never"
    )]
    pub progress: When,

    /// Use colours
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        global = true,
        hide_possible_values = true,
        help = "Use colours: auto, always or never"
    )]
    pub color: When,
}

/// When to do something that suits terminals
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// When it goes to a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Which model
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// The hub's branch, tag or commit [default: main]
    #[arg(long, value_name = "R")]
    pub revision: Option<String>,

    /// Never touch the network; also HF_HUB_OFFLINE=1
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `extract`
#[derive(Debug, Clone, Args)]
pub struct ExtractArgs {
    /// Texts to encode; without them and without -i, standard input
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub texts: Vec<String>,

    /// A model: `bundled`, a directory, or a Hugging Face id [default: bundled]
    #[arg(short, long, value_name = "M", env = "LAYERWISE_MODEL", value_hint = ValueHint::DirPath, help_heading = "Model")]
    pub model: Option<String>,

    /// Where on the hub, and whether at all
    #[command(flatten)]
    pub hub: ModelArgs,

    /// A file of texts, or - for standard input; several are read one after the other. gzip, zstd and xz are
    /// decompressed
    #[arg(short, long, value_name = "F", value_hint = ValueHint::FilePath, help_heading = "Input")]
    pub input: Vec<PathBuf>,

    /// The input's format [default: by the file's extension, else text]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<InputFormat>(), help_heading = "Input")]
    pub input_format: Option<InputFormat>,

    /// The column of the text: its name, or its number from 1 where columns have none [default: text; conll: the first]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub text_column: Option<String>,

    /// The column of a second text, which is encoded together with the first
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub pair_column: Option<String>,

    /// The column of an id, of which no two may be the same; '' for none [default: id, if there is one]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub id_column: Option<String>,

    /// The column of a label; '' for none [default: label, if there is one; conll: the last; conllu: UPOS]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub label_column: Option<String>,

    /// Further columns to copy into the output, a list
    #[arg(long, value_name = "C", value_delimiter = ',', help_heading = "Input")]
    pub carry: Vec<String>,

    /// The first line of a csv or tsv file is a record; its columns are numbers then, from 1
    #[arg(long, help_heading = "Input")]
    pub no_header: bool,

    /// What separates the columns of a csv or tsv file: one character, or `tab` [default: , for csv, a tab for tsv]
    #[arg(long, value_name = "CHAR", help_heading = "Input")]
    pub delimiter: Option<Delimiter>,

    /// Texts are words separated by spaces, or lists of words in jsonl and json; conll and conllu always are
    #[arg(long, help_heading = "Input")]
    pub pretokenized: bool,

    /// Layers to write: `all`, or numbers and ranges such as 0,3,-1 or 1..4 (both ends) or -4.. [default: all]
    #[arg(short, long, value_name = "S", allow_hyphen_values = true, help_heading = "Vectors")]
    pub layers: Option<LayerSelection>,

    /// What to write, a list
    #[arg(
        short,
        long,
        value_name = "L",
        value_parser = choice::<VectorKind>(),
        value_delimiter = ',',
        default_value = "mean",
        help_heading = "Vectors"
    )]
    pub emit: Vec<VectorKind>,

    /// With -e word: a word's vector out of those of its tokens [default: mean]
    #[arg(long, value_name = "P", value_parser = choice::<WordPooling>(), help_heading = "Vectors")]
    pub word_pooling: Option<WordPooling>,

    /// Whether special tokens take part
    #[arg(long, value_name = "HOW", value_parser = choice::<SpecialTokens>(), default_value_t, help_heading = "Vectors")]
    pub special_tokens: SpecialTokens,

    /// Merge the selected layers into one array instead of one per layer
    #[arg(long, value_name = "HOW", value_parser = choice::<Combine>(), help_heading = "Vectors")]
    pub combine: Option<Combine>,

    /// L2-normalize sentence vectors
    #[arg(long, help_heading = "Vectors")]
    pub normalize: bool,

    /// A prompt to put before each text, '' for none [default: with -e sentence the model's own, else none]
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "prompt_name",
        help_heading = "Vectors"
    )]
    pub prompt: Option<String>,

    /// The same by the name that the model has for it (config_sentence_transformers.json)
    #[arg(long, value_name = "NAME", help_heading = "Vectors")]
    pub prompt_name: Option<String>,

    /// With -e sentence: numbers of the vector to keep, from the first on (Matryoshka) [default: the model's own, else all]
    #[arg(long, value_name = "N", value_parser = dimensions, help_heading = "Vectors")]
    pub truncate_dim: Option<usize>,

    /// Longest text in tokens, special tokens included [default and upper bound: the model's limit]
    #[arg(long, value_name = "N", help_heading = "Vectors")]
    pub max_length: Option<usize>,

    /// What to do with a longer text
    #[arg(long, value_name = "HOW", value_parser = choice::<Overflow>(), default_value_t, help_heading = "Vectors")]
    pub overflow: Overflow,

    /// With --overflow window: tokens that a window shares with the next one, as in transformers [default: half of
    /// its text]
    #[arg(long, value_name = "N", help_heading = "Vectors")]
    pub stride: Option<usize>,

    /// Only part I of N contiguous parts with equally many tokens, from 1/N to N/N; `auto/N` asks the scheduler for I
    ///
    /// `merge` joins the parts' directories. With `auto/N` the number of the task is that of the part, from 1, in arrays of Slurm,
    /// PBS, Torque, LSF and Grid Engine, and one less in indexed jobs of Kubernetes, so that a task that is submitted again alone is
    /// the same part. `auto` is for whole arrays of Slurm and Grid Engine, which say how many tasks there are.
    #[arg(long, value_name = "I/N", help_heading = "Input")]
    pub shard: Option<ShardSelection>,

    /// The directory to write; without it, JSON Lines on standard output
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// The files' format
    #[arg(short, long, value_parser = choice::<Format>(), default_value_t, requires = "output", help_heading = "Output")]
    pub format: Format,

    /// The stored numbers' type
    #[arg(long, value_parser = choice::<Dtype>(), default_value_t, help_heading = "Output")]
    pub dtype: Dtype,

    /// Start anew in a directory that holds something else; replaces only files that layerwise writes
    #[arg(long, requires = "output", help_heading = "Output")]
    pub overwrite: bool,

    /// Tokenize, say what would be written, and write nothing
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,

    /// What computes: cpu, or cuda, cuda:N or metal in builds with that feature
    #[arg(long, value_name = "D", default_value = "cpu", help_heading = "Speed")]
    pub device: DeviceSelection,

    /// Arithmetic of the matrix products on the CPU
    #[arg(long, value_name = "TYPE", value_parser = choice::<Compute>(), default_value_t, help_heading = "Speed")]
    pub compute: Compute,

    /// CPU threads [default: all cores]; never changes a number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Speed")]
    pub threads: Option<u16>,

    /// Tokens encoded together at most, fewer where they take a second; never changes a number
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Speed")]
    pub batch_tokens: u32,
}

/// Arguments of `compare`
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Texts; the first is compared with each of the others
    #[arg(value_name = "TEXT", num_args = 2.., required = true)]
    pub texts: Vec<String>,

    /// Compare this word, where each text has it first, instead of whole texts
    #[arg(short, long, value_name = "W")]
    pub word: Option<String>,

    /// The cosines of all texts with each other, as JSON
    #[arg(long)]
    pub json: bool,

    /// A model: `bundled`, a directory, or a Hugging Face id [default: bundled]
    #[arg(short, long, value_name = "M", env = "LAYERWISE_MODEL", value_hint = ValueHint::DirPath, help_heading = "Model")]
    pub model: Option<String>,

    /// Where on the hub, and whether at all
    #[command(flatten)]
    pub hub: ModelArgs,
}

/// Arguments of `probe`
#[derive(Debug, Clone, Args)]
pub struct ProbeArgs {
    /// The directory to learn from, written by extract
    #[arg(value_name = "TRAIN_DIR", value_hint = ValueHint::DirPath)]
    pub train: PathBuf,

    /// A directory to choose the strength of regularization on; without it, cross-validation chooses
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Data")]
    pub dev: Option<PathBuf>,

    /// A directory to score on, looked at once; without it, scores are by cross-validation
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Data")]
    pub test: Option<PathBuf>,

    /// The vectors to learn from [default: for a label per text the first sentence vector that TRAIN_DIR holds; else word]
    #[arg(short, long, value_name = "E", value_parser = choice::<VectorKind>(), help_heading = "Data")]
    pub emit: Option<VectorKind>,

    /// Layers to probe: `all`, or numbers and ranges, as for extract [default: all that TRAIN_DIR holds]
    #[arg(short, long, value_name = "S", allow_hyphen_values = true, help_heading = "Data")]
    pub layers: Option<LayerSelection>,

    /// The column of the label: `label`, or one that was carried [default: label]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub label: Option<String>,

    /// What to learn
    #[arg(long, value_name = "TASK", value_parser = choice::<TaskChoice>(), default_value_t, help_heading = "Fit")]
    pub task: TaskChoice,

    /// Strengths to choose from, a list: C as scikit-learn has it, where smaller is stricter
    #[arg(
        long,
        value_name = "C",
        value_delimiter = ',',
        default_value = "0.0001,0.0003,0.001,0.003,0.01,0.03,0.1,0.3,1",
        value_parser = strength,
        help_heading = "Fit"
    )]
    pub strength: Vec<f64>,

    /// Folds of cross-validation; at least 3 where it both chooses the strength and gives the score [default: 5]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(2..=100), help_heading = "Fit")]
    pub folds: Option<u16>,

    /// For folds, control labels and the bootstrap; the same seed gives the same report, byte for byte
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Fit")]
    pub seed: u64,

    /// Leave out the control task
    #[arg(long, help_heading = "Fit")]
    pub no_control: bool,

    /// Leave out the mix of all layers
    #[arg(long, help_heading = "Fit")]
    pub no_mix: bool,

    /// The directory of the report: report.json, report.svg, predictions.jsonl, confusion.csv, heads.safetensors
    #[arg(short, long, value_name = "REPORT", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Replace a report
    #[arg(long, requires = "output", help_heading = "Output")]
    pub overwrite: bool,

    /// The report as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// CPU threads [default: all cores]; never changes a number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Speed")]
    pub threads: Option<u16>,

    /// Megabytes of vectors held in memory; what is beyond is read again when it is needed. Never changes a number
    #[arg(long, value_name = "MB", default_value_t = 2048, help_heading = "Speed")]
    pub memory: u32,
}

/// One of the things that are chosen by name, with what each means in `--help`.
fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|choice| PossibleValue::new(choice.name()).help(choice.about()));
    PossibleValuesParser::new(values).try_map(|name| T::from_name(&name).ok_or("is not known"))
}

/// A number of dimensions.
fn dimensions(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "expected a number of dimensions, from 1".to_owned())
}

/// A strength of regularization.
fn strength(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (1e-9..=1e9).contains(&number) { Ok(number) } else { Err("expected a number between 1e-9 and 1e9".to_owned()) }
}

/// Arguments of `predict`
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// A directory written by probe -o
    #[arg(value_name = "REPORT", value_hint = ValueHint::DirPath)]
    pub report: PathBuf,

    /// Texts to label; without them and without -i, standard input
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub texts: Vec<String>,

    /// A file of texts, or - for standard input; several are read one after the other
    #[arg(short, long, value_name = "F", value_hint = ValueHint::FilePath, help_heading = "Input")]
    pub input: Vec<PathBuf>,

    /// The input's format [default: by the file's extension, else text]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<InputFormat>(), help_heading = "Input")]
    pub input_format: Option<InputFormat>,

    /// The column of the text: its name, or its number from 1 where columns have none [default: text; conll: the first]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub text_column: Option<String>,

    /// The column of a second text, which is encoded together with the first
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub pair_column: Option<String>,

    /// The column of an id; '' for none [default: id, if there is one]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub id_column: Option<String>,

    /// The first line of a csv or tsv file is a record; its columns are numbers then, from 1
    #[arg(long, help_heading = "Input")]
    pub no_header: bool,

    /// What separates the columns of a csv or tsv file: one character, or `tab` [default: , for csv, a tab for tsv]
    #[arg(long, value_name = "CHAR", help_heading = "Input")]
    pub delimiter: Option<Delimiter>,

    /// Texts are words separated by spaces, or lists of words in jsonl and json; conll and conllu always are
    #[arg(long, help_heading = "Input")]
    pub pretokenized: bool,

    /// The layer to use [default: the report's best]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub layer: Option<LayerSelection>,

    /// The model, where it is not found by the name the report has for it; it must be the same files
    #[arg(short, long, value_name = "M", value_hint = ValueHint::DirPath, help_heading = "Model")]
    pub model: Option<String>,

    /// Where on the hub, and whether at all
    #[command(flatten)]
    pub hub: ModelArgs,

    /// JSON Lines instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// CPU threads [default: all cores]; never changes a number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Speed")]
    pub threads: Option<u16>,
}

/// Arguments of `merge`
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// The directory to write
    #[arg(value_name = "OUT", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,

    /// The directories of all shards, in any order
    #[arg(value_name = "SHARD", required = true, value_hint = ValueHint::DirPath)]
    pub shards: Vec<PathBuf>,

    /// Replace what the directory holds; only files that layerwise writes
    #[arg(long)]
    pub overwrite: bool,
}

/// Arguments of `info`
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// A model (`bundled`, a directory, a Hugging Face id), or a directory written by extract
    #[arg(value_name = "MODEL|DIR", default_value = BUNDLED, env = "LAYERWISE_MODEL", value_hint = ValueHint::DirPath)]
    pub target: String,

    /// Where on the hub, and whether at all
    #[command(flatten)]
    pub hub: ModelArgs,

    /// As JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Arguments of `verify`
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// A directory written by extract
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,

    /// As JSON: a list of {place, problem}
    #[arg(long)]
    pub json: bool,

    /// Encode K texts again, spread over the input, and compare every bit of their vectors; all texts where there are fewer
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Recomputing")]
    pub recompute: Option<u64>,

    /// The input as extract was given it: a file, or - for standard input, which is also read without this option; several
    /// in the same order
    #[arg(short, long, value_name = "F", requires = "recompute", value_hint = ValueHint::FilePath, help_heading = "Recomputing")]
    pub input: Vec<PathBuf>,

    /// Where the model is now [default: the name or path that it had]
    #[arg(short, long, value_name = "M", requires = "recompute", value_hint = ValueHint::DirPath, help_heading = "Recomputing")]
    pub model: Option<String>,

    /// Which texts: one seed always chooses the same ones
    #[arg(long, value_name = "N", default_value_t = 0, requires = "recompute", help_heading = "Recomputing")]
    pub seed: u64,

    /// Never touch the network; also HF_HUB_OFFLINE=1
    #[arg(long, help_heading = "Recomputing")]
    pub offline: bool,
}
