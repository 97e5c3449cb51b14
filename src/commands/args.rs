//! The command line: what can be typed. No logic, no I/O.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::help;
use crate::checkpoint::BUNDLED;
use crate::probe::labels::TaskChoice;
use crate::probe::layer_set::ProbedLayers;
use crate::probe::request::ClassWeight;
use crate::probe::scores::{ALIASES, ScoreName};
use crate::shard::ShardSelection;
use crate::spec::{
    Choice, Combine, Compute, Delimiter, DeviceSelection, Dtype, InputFormat, LayerSelection, OnBadLine, OutputFormat,
    Overflow, SpecialTokens, VectorKind, WordPooling,
};

/// Embeddings from every encoder layer of BERT and its kin: exact, bit-identical, without Python
#[derive(Debug, Parser)]
#[command(
    name = "layerwise",
    version,
    max_term_width = 110,
    propagate_version = true,
    after_long_help = help::below(help::OF_ALL, &[help::MODEL, help::HUB, help::INSTRUCTION_SET], help::EXIT_CODES)
)]
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
    #[command(after_long_help = help::below(help::OF_EXTRACT, &[help::MODEL, help::HUB, help::INSTRUCTION_SET, help::TEMPORARY], help::EXIT_CODES))]
    Extract(Box<ExtractArgs>),
    /// Say how alike texts are, or a word in them, at every layer
    #[command(after_long_help = help::below(help::OF_COMPARE, &[help::MODEL, help::HUB, help::INSTRUCTION_SET], help::EXIT_CODES))]
    Compare(CompareArgs),
    /// Say which layer knows it: fit a linear classifier on each layer of labelled vectors
    #[command(after_long_help = help::below(help::OF_PROBE, &[], help::EXIT_CODES))]
    Probe(ProbeArgs),
    /// Label new texts with what probe has learned
    #[command(after_long_help = help::below(help::OF_PREDICT, &[help::HUB, help::INSTRUCTION_SET], help::EXIT_CODES))]
    Predict(PredictArgs),
    /// Join the directories of all shards of a job into the one that the job would have written
    #[command(after_long_help = help::below(help::OF_MERGE, &[], help::EXIT_CODES))]
    Merge(MergeArgs),
    /// Say what a model is, or what an output directory holds
    #[command(after_long_help = help::below(help::OF_INFO, &[help::MODEL, help::HUB], help::EXIT_CODES))]
    Info(InfoArgs),
    /// Check that an output directory still holds, byte for byte, what its manifest says
    #[command(after_long_help = help::below(help::OF_VERIFY, &[help::HUB, help::INSTRUCTION_SET, help::TEMPORARY], help::EXIT_CODES_OF_VERIFY))]
    Verify(VerifyArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = help::below(help::OF_COMPLETIONS, &[], help::EXIT_CODES))]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

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

/// Where texts are and how they are read
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// A file of texts, a folder of Parquet or Arrow files, or - for standard input; several are read one after the other. gzip,
    /// zstd and xz are decompressed
    #[arg(short, long, value_name = "F", value_hint = ValueHint::AnyPath)]
    pub input: Vec<PathBuf>,

    /// The input's format [default: by the file's extension, else text]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<InputFormat>())]
    pub input_format: Option<InputFormat>,

    /// The column of the text: its name, or its number from 1 where columns have none [default: text; conll: the first]
    #[arg(long, value_name = "C")]
    pub text_column: Option<String>,

    /// The first line of a csv or tsv file is a record; its columns are numbers then, from 1
    #[arg(long)]
    pub no_header: bool,

    /// What separates the columns of a csv or tsv file: one character, or `tab` [default: , for csv, a tab for tsv]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<Delimiter>,

    /// Texts are words separated by spaces, or lists of words in jsonl, json, parquet and arrow; conll and conllu always are
    #[arg(long)]
    pub pretokenized: bool,

    /// What to do with a line that cannot be taken: not UTF-8, ragged, without a text, an id twice, …
    #[arg(long, value_name = "HOW", value_parser = choice::<OnBadLine>(), default_value_t)]
    pub on_bad_line: OnBadLine,
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

    /// Where texts are and how they are read
    #[command(flatten)]
    pub input: InputArgs,

    /// The column of a second text, which is encoded together with the first
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub pair_column: Option<String>,

    /// The column of an id, of which no two may be the same; '' for none [default: id, if there is one]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub id_column: Option<String>,

    /// The column of a label; '' for none [default: label, if there is one; conll: the last; conllu: UPOS]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub label_column: Option<String>,

    /// The column of spans, for -e span: [start, end] in characters, or a list of such; in tables start:end
    ///
    /// Characters are those of Unicode, as in the `offsets` of tokens, from 0, and the end is not in the span. In tables several are
    /// separated by spaces. With texts of given words, spans count words. A list of labels has one for each span.
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub span_column: Option<String>,

    /// Further columns to copy into the output, a list
    #[arg(long, value_name = "C", value_delimiter = ',', help_heading = "Input")]
    pub carry: Vec<String>,

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

    /// With -e word and span: a vector out of those of the tokens [default: mean]
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

    /// The directory to write; without it, JSON Lines on standard output, or an Arrow stream with -f arrow
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// The files' format, or arrow for a stream on standard output [default: npy; without -o: JSON Lines]
    #[arg(short, long, value_parser = choice::<OutputFormat>(), help_heading = "Output")]
    pub format: Option<OutputFormat>,

    /// With -f parquet: texts of a part, after which files end [default: as many as have about 256 MiB of vectors, 64 to 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(16..=1 << 20), requires = "output", help_heading = "Output")]
    pub part_texts: Option<u64>,

    /// Answer each line as it comes, with the model kept loaded, until the input ends: text, jsonl or arrow in, JSON Lines out, or an
    /// Arrow stream with -f arrow
    ///
    /// A line that cannot be encoded is answered with an `error` in its place, and the exit code at the end is 1. Ids are not
    /// compared with each other.
    #[arg(long, conflicts_with_all = ["texts", "output", "dry_run", "shard"], help_heading = "Output")]
    pub stream: bool,

    /// The stored numbers' type
    #[arg(long, value_parser = choice::<Dtype>(), default_value_t, help_heading = "Output")]
    pub dtype: Dtype,

    /// A finished output directory whose rows are copied where texts and settings are the same; can be there several times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "output", help_heading = "Output")]
    pub reuse: Vec<PathBuf>,

    /// Start anew in a directory that holds something else; replaces only files that layerwise writes, a finished job's once the new
    /// one is complete, or before, with a warning, where the disk has no room for both
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

    /// Tokens encoded together at most [default: 4096, or 1152 for each thread if that is more], fewer where they take a second;
    /// never changes a number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Speed")]
    pub batch_tokens: Option<u32>,
}

/// Arguments of `compare`
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Texts; the first is compared with each of the others. Without them and without -i, standard input
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub texts: Vec<String>,

    /// Where texts are and how they are read
    #[command(flatten)]
    pub input: InputArgs,

    /// What to compare [default: mean; with --word: word]
    #[arg(short, long, value_name = "E", value_parser = compared(), help_heading = "Vectors")]
    pub emit: Option<VectorKind>,

    /// Compare this word, or several such as 'New York', wherever the texts have it, instead of whole texts
    #[arg(short, long, value_name = "W", help_heading = "Vectors")]
    pub word: Option<String>,

    /// With --word: its N-th occurrence in each text, from 1 [default: all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Vectors")]
    pub occurrence: Option<u16>,

    /// Layers to compare at: `all`, or numbers and ranges such as 0,3,-1 or 1..4 (both ends) or -4.. [default: all]
    #[arg(short, long, value_name = "S", allow_hyphen_values = true, help_heading = "Vectors")]
    pub layers: Option<LayerSelection>,

    /// The cosines of all texts with each other, as JSON
    #[arg(long, help_heading = "Output")]
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

    /// Layers to probe: `all`, or numbers and ranges, as for extract, and sets of layers that are learned from side by side,
    /// such as 3+4 [default: all that TRAIN_DIR holds, one by one]
    #[arg(short, long, value_name = "S", allow_hyphen_values = true, help_heading = "Data")]
    pub layers: Option<ProbedLayers>,

    /// The column of the label: `label`, or one that was carried [default: label]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub label: Option<String>,

    /// The column of what texts belong to together: a patient, an author, a document, a protein family. Folds, the choice of C,
    /// the control task and the bootstrap take whole groups then, and no group may be in two directories
    #[arg(long, value_name = "C", help_heading = "Data")]
    pub group: Option<String>,

    /// What to learn
    #[arg(long, value_name = "TASK", value_parser = choice::<TaskChoice>(), default_value_t, help_heading = "Fit")]
    pub task: TaskChoice,

    /// The score by which layers and C are chosen [default: accuracy; entity_f1 of entity tags; r2 of numbers]
    #[arg(long, value_name = "NAME", value_parser = score(), help_heading = "Fit")]
    pub score: Option<ScoreName>,

    /// How much the examples of each class count
    #[arg(long, value_name = "W", value_parser = choice::<ClassWeight>(), default_value_t, help_heading = "Fit")]
    pub class_weight: ClassWeight,

    /// Also fit a linear-chain CRF on each layer, which scores tags as sequences; predict decodes the best one
    #[arg(long, help_heading = "Fit")]
    pub crf: bool,

    /// Calibrate the probabilities of classes by a temperature, chosen on texts that are neither learned from nor scored
    #[arg(long, help_heading = "Fit")]
    pub calibrate: bool,

    /// Strengths to choose from, a list: C as scikit-learn has it, where smaller is stricter [default: 0.0001, 0.0003, 0.001,
    /// 0.003, 0.01, 0.03, 0.1, 0.3, 1]
    #[arg(
        long,
        value_name = "C",
        value_delimiter = ',',
        default_value = "0.0001,0.0003,0.001,0.003,0.01,0.03,0.1,0.3,1",
        hide_default_value = true, // it has no place where a narrow terminal could break it
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

    /// Look for the best set of up to N layers side by side: to the best layer, add each time the one that adds most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=8), help_heading = "Fit")]
    pub best_set: Option<u8>,

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

/// The scores, also by the other names they go by.
fn score() -> impl TypedValueParser<Value = ScoreName> {
    let values = ScoreName::ALL.iter().map(|score| {
        let others = ALIASES.iter().filter(|(_, of)| of == score).map(|(alias, _)| *alias);
        PossibleValue::new(score.name()).help(score.about()).aliases(others)
    });
    let named = |name: &str| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, score)| *score);
    PossibleValuesParser::new(values)
        .try_map(move |name| ScoreName::from_name(&name).or_else(|| named(&name)).ok_or("is not known"))
}

/// The kinds of vectors that `compare` can compare: those of which a text has one.
fn compared() -> impl TypedValueParser<Value = VectorKind> {
    let kinds = VectorKind::ALL.iter().filter(|kind| ![VectorKind::Token, VectorKind::Span].contains(kind));
    let values = kinds.map(|kind| {
        let about = if *kind == VectorKind::Word { "The vector of the word that --word names" } else { kind.about() };
        PossibleValue::new(kind.name()).help(about)
    });
    PossibleValuesParser::new(values).try_map(|name| VectorKind::from_name(&name).ok_or("is not known"))
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

    /// Where texts are and how they are read
    #[command(flatten)]
    pub input: InputArgs,

    /// The column of a second text, which is encoded together with the first
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub pair_column: Option<String>,

    /// The column of the spans to label, where the report was learned from spans: [start, end], or a list of such
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub span_column: Option<String>,

    /// The column of an id; '' for none [default: id, if there is one]
    #[arg(long, value_name = "C", help_heading = "Input")]
    pub id_column: Option<String>,

    /// The layer to use, or a set of layers that was probed, such as 3+4 [default: the report's best layer]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "Vectors")]
    pub layer: Option<ProbedLayers>,

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
    #[arg(long, help_heading = "Output")]
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
    #[arg(long, help_heading = "Output")]
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
