//! `manifest.json`, which says what a directory holds, and `run.json`, which says how it came about.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::kernels::InstructionSet;
use crate::plan::{ArrayPlan, Counts, Plan, Slot};
use crate::shard::Shard;
use crate::spec::{Format, RowKind};

/// The file that makes a directory complete.
pub const MANIFEST: &str = "manifest.json";
/// The file that may differ between two runs of one job.
pub const RUN: &str = "run.json";

/// The version of the directory's layout.
pub const FORMAT_VERSION: u32 = 1;

/// Which model made the vectors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// As it was asked for.
    pub id: String,
    /// The commit, for models from the hub.
    pub revision: Option<String>,
    /// sha256 of every file that decides what a text's vectors are.
    pub sha256: BTreeMap<String, String>,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
}

/// What tells a job from others before its input is read: the beginning of its manifest.
pub fn job(model: &ModelIdentity, plan: &Plan, shard: Option<Shard>, instruction_set: InstructionSet) -> Value {
    let mut job = json!({
        "format_version": FORMAT_VERSION,
        "layerwise": env!("CARGO_PKG_VERSION"),
        "instruction_set": instruction_set.name(),
        "model": model,
        "plan": plan,
    });
    if let Some(shard) = shard {
        job["shard"] = json!(shard);
    }
    job
}

/// The manifest of a job, but for the checksums of its arrays. It is the same for every run of the job.
pub fn manifest(job: &Value, plan: &Plan, input_sha256: &str, counts: &Counts) -> Value {
    let arrays: Vec<Value> = plan.arrays().iter().map(|array| describe(array, plan, counts)).collect();
    let mut manifest = job.clone();
    manifest["input"] = json!({ "sha256": input_sha256 });
    manifest["counts"] = json!(counts);
    manifest["layers"] = layer_map(plan);
    manifest["arrays"] = json!(arrays);
    manifest
}

/// The names of a plan's layers.
pub fn layer_map(plan: &Plan) -> Value {
    let layers: Map<String, Value> =
        plan.layers.iter().map(|&layer| (format!("layer_{layer:02}"), json!(layer))).collect();
    json!(layers)
}

/// What a manifest says of an array.
pub fn describe(array: &ArrayPlan, plan: &Plan, counts: &Counts) -> Value {
    let mut description = json!({
        "kind": array.emit.name(),
        "rows": array.emit.rows(),
        "layer": match array.slot {
            Slot::Layer(layer) => json!(layer),
            Slot::Combined(combine) => json!(combine.name()),
            Slot::Whole => Value::Null,
        },
        "file": array.file(plan.format),
        "shape": [counts.rows(array.emit), array.columns as u64],
        "dtype": plan.dtype.name(),
    });
    let in_tensors = plan.format == Format::Safetensors;
    if in_tensors {
        description["tensor"] = json!(array.name());
    }
    if array.emit.rows() != RowKind::Text {
        // Where the rows of each text start: a file of its own, or a tensor beside the array's.
        let name = array.emit.name();
        description["offsets"] = if in_tensors { json!("offsets") } else { json!(format!("{name}/offsets.npy")) };
    }
    description
}

/// The counts of a manifest.
///
/// # Errors
/// A message when they are not there, or so large that nobody has as much.
pub fn counts(manifest: &Value) -> std::result::Result<Counts, String> {
    const TOO_MANY: u64 = 1 << 48;
    let counts = manifest["counts"].as_object().ok_or("counts: is missing")?;
    if let Some((key, value)) = counts.iter().find(|(_, value)| value.as_u64().is_none_or(|count| count >= TOO_MANY)) {
        return Err(format!("counts.{key}: {value} is not a number of things"));
    }
    serde_json::from_value(manifest["counts"].clone()).map_err(|error| format!("counts: {error}"))
}

/// In what two jobs differ, judged by their manifests: options, parts of the model, the input, the program.
pub fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    // Options that were not given may have no key.
    let differing = |part: &'static str| {
        let more = keys(&theirs[part]).into_iter().filter(move |key| ours[part].get(key.as_str()).is_none());
        let all = keys(&ours[part]).into_iter().chain(more);
        all.filter(move |key| ours[part][key.as_str()] != theirs[part][key.as_str()])
    };
    let options = differing("plan").map(|key| format!("--{}", key.replace('_', "-")));
    // A model is its files, wherever they lie.
    let model = differing("model").filter(|key| key == "sha256").map(|_| "the model".to_owned());
    let shard = |manifest: &Value| (manifest["shard"]["index"].clone(), manifest["shard"]["of"].clone());
    let shard = (shard(ours) != shard(theirs)).then(|| "--shard".to_owned());
    // The other keys follow from these. The input is not known before it is read.
    let rest = ["input", "layerwise", "instruction_set", "format_version"];
    let differ = |key: &str| !ours[key].is_null() && !theirs[key].is_null() && ours[key] != theirs[key];
    let rest = rest.into_iter().filter(|key| differ(key)).map(|key| match key {
        "input" => "the input".to_owned(),
        "layerwise" => "layerwise's version".to_owned(),
        "instruction_set" => match theirs[key].as_str() {
            Some(name) => {
                format!("the instruction set (LAYERWISE_ISA={name} chooses that one, on a machine that has it)")
            }
            None => "the instruction set".to_owned(),
        },
        key => key.replace('_', " "),
    });
    options.chain(shard).chain(model).chain(rest).collect()
}

/// Reads a directory's manifest, which is called `name`; `None` when there is none.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Output`] when it is no manifest.
pub fn read(directory: &Path, name: &str) -> Result<Option<Value>> {
    let path = directory.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let problem = |problem: String| Error::Output { path: path.clone(), problem };
    let manifest: Value = serde_json::from_slice(&text)
        .map_err(|error| problem(format!("is damaged: {error}; start anew in its directory with --overwrite")))?;
    match manifest["format_version"].as_u64() {
        Some(version) if version == u64::from(FORMAT_VERSION) => Ok(Some(manifest)),
        Some(version) => {
            Err(problem(format!("has format version {version}; this layerwise knows version {FORMAT_VERSION}; choose another directory, or start anew in this one with --overwrite")))
        }
        None => Err(problem("is not a manifest of layerwise, as it has no format_version; choose another directory, or start anew in this one with --overwrite"
                .to_owned())),
    }
}

/// How the encoding went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Encoding {
    /// How long it took.
    pub time: Duration,
    /// Tokens that went through the encoder.
    pub tokens: u64,
    /// Texts that were in a batch with one that has the same tokens, and took no work.
    pub repeated_texts: u64,
}

impl Encoding {
    /// Tokens that went through the encoder in a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// What `run.json` says: all that may differ between two runs of one job.
pub fn run(started: SystemTime, encoding: &Encoding, threads: usize, batch_tokens: u32) -> Value {
    let finished = SystemTime::now();
    let seconds = finished.duration_since(started).unwrap_or_default().as_secs_f64();
    json!({
        "started": humantime::format_rfc3339_seconds(started).to_string(),
        "finished": humantime::format_rfc3339_seconds(finished).to_string(),
        "seconds": seconds,
        "seconds_encoding": encoding.time.as_secs_f64(),
        "tokens_encoded": encoding.tokens,
        "tokens_per_second": encoding.tokens_per_second(),
        "repeated_texts": encoding.repeated_texts,
        "threads": threads,
        "batch_tokens": batch_tokens,
        "host": gethostname::gethostname().to_string_lossy(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// Writes a JSON file beside its place and then puts it there, so that nobody sees half of it.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write_json(directory: &Path, name: &str, value: &Value) -> Result<()> {
    let path = directory.join(name);
    let write = || -> io::Result<()> {
        let mut file = temporary_file(directory)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        sync_directory(directory)
    };
    write().map_err(Error::io("write", &path))
}

/// Brings the names in a directory to the disk, where the system needs to be told.
fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

/// How the names of files begin that are not yet under their own.
pub(crate) const TEMPORARY: &str = ".layerwise-";

/// A file beside its later place.
pub(crate) fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; these become ordinary ones, as the user's umask has them.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(TEMPORARY).tempfile_in(directory)
}
