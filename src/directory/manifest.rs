//! `manifest.json`, which describes a directory's content, and `run.json`, which describes the run that wrote it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::time::SystemTime;

use indexmap::IndexMap;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::names::MANIFEST;
use super::parts;
use super::plan_record::{DirectoryPlan, PlanRecord};
use crate::column_types::ColumnTypes;
use crate::counts::Counts;
use crate::encode::EncodingStats;
use crate::error::{Error, Result, json_problem};
use crate::family;
use crate::input::InputRecord;
use crate::plan::{ArrayPlan, Slot};
use crate::regular_file;
use crate::shard::Shard;
use crate::spec::{Dtype, Format, RowKind, VectorKind};

/// Largest size of a manifest or journal in bytes, which have some hundred for each array.
const LARGEST_JSON: u64 = 64 << 20;

/// The version of the directory's layout.
pub const FORMAT_VERSION: u32 = 1;

/// The identity of the model that made the vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The name that the model was opened by.
    pub id: String,
    /// The commit, for models from the hub.
    pub revision: Option<String>,
    /// File name → sha256, for every file that decides the vectors.
    pub sha256: BTreeMap<String, String>,
    /// The model's family, by its `model_type`; manifests of older versions, all of BERT's, do not have it.
    #[serde(default = "bert")]
    pub family: String,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// The layer whose hidden state is behind the norm after all layers (`layer 12`); there for families with such a norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<String>,
}

fn bert() -> String {
    family::bert().name().to_owned()
}

/// What identifies a job before its input is read: the beginning of its manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The version of the directory's layout.
    pub format_version: u32,
    /// The version of layerwise.
    pub layerwise: String,
    /// The instruction set that computed.
    pub instruction_set: String,
    /// The model.
    pub model: ModelIdentity,
    /// What is computed and written.
    pub plan: PlanRecord,
    /// The part of the input, for a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardRecord>,
}

/// The manifest's key `shard`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The number of the part, from 1.
    pub index: u32,
    /// The number of parts.
    pub of: u32,
    /// The row of its first text in the input; like `all_texts`, it is known once the input is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_row: Option<u64>,
    /// Number of texts of the whole input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_texts: Option<u64>,
}

/// The manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What was known before the input was read.
    #[serde(flatten)]
    pub job: JobRecord,
    /// The input.
    pub input: InputRecord,
    /// The counts of the texts.
    pub counts: Counts,
    /// Layer name → layer.
    pub layers: IndexMap<String, usize>,
    /// The arrays, in the order of [`Plan::arrays`](crate::plan::Plan::arrays).
    pub arrays: Vec<ArrayRecord>,
    /// The types of the input's columns, in directories of Parquet files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnTypes>,
    /// Checksums of `texts.jsonl` and of every array, or of every Parquet file, by place.
    #[serde(default)]
    pub crc32: Checksums,
}

/// The manifest's entry for an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArrayRecord {
    /// The kind of vector.
    pub kind: VectorKind,
    /// What a row belongs to.
    pub rows: RowKind,
    /// The layer, or the combination of layers; `null` for vectors of the model as a whole.
    pub layer: Slot,
    /// The file, relative to the directory, with slashes.
    pub file: String,
    /// (rows, columns).
    pub shape: [u64; 2],
    /// The type of a number.
    pub dtype: Dtype,
    /// The tensor in the file, for formats that hold several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// The column of the files, for Parquet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The offsets at which each text's rows start: a file, or a tensor in the array's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<String>,
}

/// Place → checksum.
pub type Checksums = IndexMap<String, Crc32>;

/// A crc32, written as 8 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crc32(pub u32);

impl Serialize for Crc32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:08x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Crc32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = Some(&text).filter(|text| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| {
            D::Error::custom(format!("a checksum is {text:?}; expected a string of 8 hexadecimal digits"))
        })
    }
}

impl JobRecord {
    /// The record of a job of this version of layerwise.
    pub fn new(model: ModelIdentity, plan: &DirectoryPlan, shard: Option<Shard>, instruction_set: &str) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            layerwise: env!("CARGO_PKG_VERSION").to_owned(),
            instruction_set: instruction_set.to_owned(),
            model,
            plan: PlanRecord::from(plan),
            shard: shard.map(|Shard { index, of }| ShardRecord { index, of, first_row: None, all_texts: None }),
        }
    }

    /// The differences between two jobs: options, files of the model, version. Inputs are compared once both are known.
    pub fn differences(&self, theirs: &Self) -> Vec<String> {
        // A key that one of the two lacks is an option that was not given.
        let keys = |record: &PlanRecord| match serde_json::to_value(record) {
            Ok(Value::Object(keys)) => keys,
            _ => Map::new(),
        };
        let (ours_plan, theirs_plan) = (keys(&self.plan), keys(&theirs.plan));
        let more = theirs_plan.keys().filter(|key| !ours_plan.contains_key(*key));
        let value = |plan: &Map<String, Value>, key: &str| plan.get(key).cloned().unwrap_or_default();
        let both = |option: &str, theirs: &Value, ours: &Value| {
            let values = format!(" ({} there, {} here)", spelled(theirs), spelled(ours));
            // Recipes of the model's own sentence vectors are objects that nobody typed.
            let is_typed = !theirs.is_object() && !ours.is_object() && values.len() < 200;
            if is_typed { option.to_owned() + &values } else { option.to_owned() }
        };
        let options =
            ours_plan.keys().chain(more).filter(|key| value(&ours_plan, key) != value(&theirs_plan, key)).map(|key| {
                let option = format!("--{}", key.replace('_', "-"));
                both(&option, &value(&theirs_plan, key), &value(&ours_plan, key))
            });
        // A model is identified by its files, wherever they are.
        let model = (self.model.sha256 != theirs.model.sha256).then(|| "the model".to_owned());
        let part = |job: &Self| job.shard.map(|shard| (shard.index, shard.of));
        let name = |job: &Self| part(job).map_or(Value::Null, |(index, of)| json!(format!("{index}/{of}")));
        let shard = (part(self) != part(theirs)).then(|| both("--shard", &name(theirs), &name(self)));
        let version = (self.format_version != theirs.format_version)
            .then(|| both("format version", &json!(theirs.format_version), &json!(self.format_version)));
        let program = (self.layerwise != theirs.layerwise)
            .then(|| both("layerwise's version", &json!(theirs.layerwise), &json!(self.layerwise)));
        let instruction_set = (self.instruction_set != theirs.instruction_set).then(|| {
            let name = &theirs.instruction_set;
            format!("the instruction set (LAYERWISE_ISA={name} chooses that one, on a machine that has it)")
        });
        options.chain(shard).chain(model).chain(program).chain(instruction_set).chain(version).collect()
    }
}

/// Whether a name is that of a file in the directory: a manifest that is made up cannot name what is elsewhere.
pub(super) fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A setting as it is typed, more or less.
fn spelled(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(spelled).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Manifest {
    /// The manifest of a job whose input is read, without the checksums of its arrays. It is the same for every run of
    /// the job.
    pub fn new(job: JobRecord, plan: &DirectoryPlan, input: InputRecord, counts: &Counts) -> Self {
        Self {
            job,
            input,
            counts: *counts,
            layers: layer_names(plan),
            arrays: plan.arrays().iter().map(|array| ArrayRecord::new(array, plan, counts)).collect(),
            columns: None,
            crc32: Checksums::new(),
        }
    }

    /// The plan.
    pub fn plan(&self) -> DirectoryPlan {
        self.job.plan.to_plan(self.job.model.num_hidden_layers, self.job.model.hidden_size)
    }

    /// The differences between the jobs of two manifests, including their inputs.
    pub fn differences(&self, theirs: &Self) -> Vec<String> {
        let mut differences = self.job.differences(&theirs.job);
        if self.input != theirs.input {
            differences.push("the input".to_owned());
        }
        differences
    }

    /// The row of the first text in the input; 0 except in a shard.
    pub(super) fn first_row(&self) -> u64 {
        self.job.shard.and_then(|shard| shard.first_row).unwrap_or_default()
    }

    /// The names of the Parquet files, part by part and then kind by kind; none for other formats.
    pub(super) fn part_names(&self) -> impl Iterator<Item = String> + '_ {
        let PlanRecord { format, part_texts, emit, .. } = &self.job.plan;
        let part_texts = part_texts.filter(|_| *format == Format::Parquet);
        let numbers = part_texts.map_or(0..0, |texts| parts::numbers(self.first_row(), self.counts.texts, texts));
        numbers.flat_map(move |number| emit.iter().map(move |&kind| parts::name(kind, number)))
    }

    /// The names of the files of arrays and offsets, or of Parquet files with a checksum, relative to the directory.
    pub fn file_names(&self) -> Vec<String> {
        if self.job.plan.format == Format::Parquet {
            let kinds = &self.job.plan.emit;
            let of_kind = |name: &str, kind: &VectorKind| {
                let file = name.strip_prefix(kind.name()).and_then(|name| name.strip_prefix('/'));
                file.is_some_and(parts::is_part)
            };
            let names = self.crc32.keys().filter(|name| kinds.iter().any(|kind| of_kind(name, kind)));
            return names.cloned().collect();
        }
        let of_array = |array: &ArrayRecord| {
            let offsets = array.offsets.clone().filter(|_| array.tensor.is_none());
            std::iter::once(array.file.clone()).chain(offsets)
        };
        let names = self.arrays.iter().flat_map(of_array);
        names.filter(|name| is_inside(name)).collect()
    }

    /// The counts, if none is impossibly large.
    ///
    /// # Errors
    /// A message that names the count.
    pub fn sound_counts(&self) -> std::result::Result<Counts, String> {
        const TOO_MANY: u64 = 1 << 48;
        let counts = serde_json::to_value(self.counts).unwrap_or_default();
        let too_large = counts.as_object().into_iter().flatten().find(|(_, count)| count.as_u64() >= Some(TOO_MANY));
        match too_large {
            Some((key, value)) => Err(format!("counts.{key}: {value} is not a number of things")),
            None => Ok(self.counts),
        }
    }
}

/// The names of a plan's layers, each with its layer.
pub fn layer_names(plan: &DirectoryPlan) -> IndexMap<String, usize> {
    plan.layers.iter().map(|&layer| (format!("layer_{layer:02}"), layer)).collect()
}

impl ArrayRecord {
    /// The manifest's entry for an array.
    pub fn new(array: &ArrayPlan, plan: &DirectoryPlan, counts: &Counts) -> Self {
        let (in_tensors, in_columns) = (plan.format == Format::Safetensors, plan.format == Format::Parquet);
        let has_offsets = array.kind.rows() != RowKind::Text && !in_columns;
        let offsets = || if in_tensors { "offsets".to_owned() } else { format!("{}/offsets.npy", array.kind.name()) };
        Self {
            kind: array.kind,
            rows: array.kind.rows(),
            layer: array.slot,
            file: array.file(plan.format),
            shape: [counts.rows(array.kind), array.columns as u64],
            dtype: plan.dtype,
            tensor: in_tensors.then(|| array.name()),
            column: in_columns.then(|| array.name()),
            offsets: has_offsets.then(offsets),
        }
    }
}

/// Reads a directory's manifest.
///
/// # Errors
/// [`Error::Io`] when the manifest cannot be read, [`Error::Output`] when it is not of this version.
pub fn read(directory: &Path) -> Result<Option<Manifest>> {
    let Some(value) = read_json(directory, MANIFEST)? else { return Ok(None) };
    parse(directory, MANIFEST, value).map(Some)
}

/// Reads the JSON file `name` of a directory, which begins like a manifest; `None` when there is none.
///
/// # Errors
/// Those of [`read`].
pub(super) fn read_json(directory: &Path, name: &str) -> Result<Option<Value>> {
    let path = directory.join(name);
    let text = match regular_file::read(&path, LARGEST_JSON) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let problem = |problem: String| Error::Output { path: path.clone(), problem };
    let manifest: Value = serde_json::from_slice(&text).map_err(|error| {
        problem(format!("is damaged: {}; start anew in its directory with --overwrite", json_problem(&error)))
    })?;
    match manifest["format_version"].as_u64() {
        Some(version) if version == u64::from(FORMAT_VERSION) => Ok(Some(manifest)),
        Some(version) => {
            Err(problem(format!("has format version {version}; this layerwise knows version {FORMAT_VERSION}; choose another directory, or start anew in this one with --overwrite")))
        }
        None => Err(problem("is not a manifest of layerwise, as it has no format_version; choose another directory, or start anew in this one with --overwrite"
                .to_owned())),
    }
}

/// Converts a JSON file of a directory to a type.
///
/// # Errors
/// [`Error::Output`] when it does not have the type's keys and values.
pub(super) fn parse<T: DeserializeOwned>(directory: &Path, name: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Output {
        path: directory.join(name),
        problem: format!("is damaged: {error}; start anew in its directory with --overwrite"),
    })
}

/// A time as RFC 3339 has it, to the second. A clock that is before 1970, as of a board without a battery, is taken for 1970.
pub(super) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// The content of `run.json`: everything that may differ between two runs of a job.
pub fn run(started: SystemTime, stats: &EncodingStats, threads: usize, batch_tokens: u32) -> Value {
    let finished = SystemTime::now();
    let seconds = finished.duration_since(started).unwrap_or_default().as_secs_f64();
    json!({
        "started": timestamp(started),
        "finished": timestamp(finished),
        "seconds": seconds,
        "seconds_encoding": stats.time.as_secs_f64(),
        "tokens_encoded": stats.tokens + stats.tokens_ahead,
        "tokens_per_second": stats.tokens_per_second(),
        "repeated_texts": stats.repeated_texts,
        "threads": threads,
        "batch_tokens": batch_tokens,
        "host": gethostname::gethostname().to_string_lossy(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}
