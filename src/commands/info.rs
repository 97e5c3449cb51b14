//! `info`: describes a model or an output directory.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::args::InfoArgs;
use super::console::Console;
use super::shared::builder;
use super::standard_output::print;
use crate::checkpoint::config::{Config, Positions};
use crate::directory::journal::JournalEntry;
use crate::directory::manifest::{self, Manifest, ShardRecord};
use crate::directory::names::{RUN, UNFINISHED};
use crate::encoder;
use crate::error::{Error, Result, bytes};
use crate::family::RelativeRule;
use crate::observer::Observer;
use crate::regular_file;
use crate::shard::{Shard, ShardRows};
use crate::spec::Dtype;

/// Prints what the target holds.
///
/// # Errors
/// Those of reading a model or a manifest.
pub(super) fn run(args: &InfoArgs, console: &Console) -> Result<()> {
    let directory = Path::new(&args.target);
    let (facts, text) = match manifest::read(directory) {
        Ok(Some(_)) if directory.is_dir() && args.hub.revision.is_some() => {
            return Err(Error::Usage(format!(
                "--revision is for models from the hub; {} is a directory written by extract",
                directory.display()
            )));
        }
        Ok(Some(manifest)) if directory.is_dir() => (with_run(&manifest, directory), describe_output(&manifest)),
        Err(error) if directory.is_dir() => return Err(error),
        Ok(None) if directory.join(UNFINISHED).exists() => {
            let how_far = JournalEntry::read(directory)?.map(|entry| how_far(&entry)).unwrap_or_default();
            return Err(Error::Output {
                path: directory.to_owned(),
                problem: format!("holds an unfinished job{how_far}; the command that began it, run again, goes on"),
            });
        }
        _ => {
            let facts = model_facts(args, console)?;
            let text = describe_model(&facts);
            (Value::Object(facts), text)
        }
    };
    let printed = if args.json { format!("{facts:#}\n") } else { text };
    print(&printed)
}

/// Which job a journal belongs to, and how far it is.
fn how_far(entry: &JournalEntry) -> String {
    let job = entry.job();
    let shard = job.shard.map(|ShardRecord { index, of, .. }| format!(", shard {}", Shard { index, of }));
    let progress = match entry {
        JournalEntry::Texts(_, done) => format!("{} texts are tokenized, none is encoded yet", group(done.texts)),
        JournalEntry::Arrays(manifest, done) => {
            format!("{} of {} texts are encoded", group(done.texts), group(manifest.counts.texts))
        }
        JournalEntry::Merging(..) => "shards are being merged, which starts over".to_owned(),
        JournalEntry::Swapping(..) => "it is whole and takes the place of what was there before".to_owned(),
    };
    format!(" (model {}{}): {progress}", job.model.id, shard.unwrap_or_default())
}

fn with_run(manifest: &Manifest, directory: &Path) -> Value {
    let run: Option<Value> =
        regular_file::read(&directory.join(RUN), 1 << 20).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut facts = json!(manifest);
    facts["run"] = run.unwrap_or(Value::Null);
    facts
}

/// The facts about a model.
fn model_facts(args: &InfoArgs, console: &Console) -> Result<Map<String, Value>> {
    let model = builder(Some(&args.target), &args.hub).observer(Arc::new(console.clone())).open()?;
    let (checkpoint, config, weights) = (model.checkpoint(), model.config(), model.weights());
    let sentence = match checkpoint.sentence_recipe() {
        Ok(_) => true,
        Err(Error::Config { .. } | Error::Model { .. }) => false, // there, but not one that `extract` can make
        Err(error) => return Err(error),
    };
    let parameters = encoder::parameter_count(weights, config);
    if console.is_verbose() {
        let beyond = checkpoint.beyond_the_table()?;
        for line in &beyond {
            console.detail(&format!("beyond what is known of published models: {line}"));
        }
        if beyond.is_empty() {
            console.detail("every file and key of this model is known (docs/published-models.md)");
        }
    }
    let layers = config.num_hidden_layers + 1;
    let facts = json!({
        "model": model.id(),
        "family": config.family.name(),
        "revision": model.revision(),
        "description": checkpoint.is_bundled().then_some(BUNDLED_DESCRIPTION),
        "num_hidden_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "hidden_act": config.hidden_act,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "longest_text": config.longest_text,
        "is_limited": config.is_limited,
        "positions": positions(config),
        "final_norm": config.family.has_final_norm().then(|| format!("layer {}", config.num_hidden_layers)),
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.layer_norm_eps,
        "parameters": parameters,
        "weights_dtype": weights.stored_dtype(),
        "pooler": encoder::has_pooler(weights),
        "sentence": sentence,
        "bytes_per_token": layers as u64 * config.hidden_size as u64 * Dtype::F32.size(),
        "bytes_per_token_and_layer": config.hidden_size as u64 * Dtype::F32.size(),
    });
    match facts {
        Value::Object(facts) => Ok(facts),
        _ => Ok(Map::new()),
    }
}

/// What tells the model where a token is.
fn positions(config: &Config) -> String {
    let mut kinds = Vec::new();
    if config.positions != Positions::None {
        kinds.push("a table".to_owned());
    }
    let mut bases: Vec<f64> = config.layers.iter().filter_map(|layer| Some(layer.rotary?.theta)).collect();
    bases.sort_unstable_by(f64::total_cmp);
    bases.dedup();
    if !bases.is_empty() {
        let bases: Vec<String> = bases.iter().map(f64::to_string).collect();
        kinds.push(format!("rotary (base {})", bases.join(", ")));
    }
    match config.family.relative {
        RelativeRule::None => {}
        RelativeRule::Buckets => kinds.push("a number for each head and distance".to_owned()),
        RelativeRule::Disentangled if config.disentangled.is_some() => {
            kinds.push("embeddings of distances".to_owned());
        }
        RelativeRule::Disentangled => {}
    }
    let local = config.layers.iter().filter(|layer| layer.window.is_some()).count();
    if let Some(window) = config.layers.iter().find_map(|layer| layer.window) {
        kinds.push(format!("{local} layers see {window} tokens to each side"));
    }
    if kinds.is_empty() { "none".to_owned() } else { kinds.join("; ") }
}

/// The description of the bundled model.
const BUNDLED_DESCRIPTION: &str =
    "a small model distilled from all-MiniLM-L6-v2, in the binary itself (models/bert-4x160 has its card)";

fn describe_model(facts: &Map<String, Value>) -> String {
    let get = |key: &str| match &facts[key] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let yes_no = |key: &str| if facts[key] == json!(true) { "yes" } else { "no" };
    let number = |key: &str| facts[key].as_u64().unwrap_or(0);
    let mut lines = vec![("model", get("model"))];
    if !facts["revision"].is_null() {
        lines.push(("revision", get("revision")));
    }
    if !facts["description"].is_null() {
        lines.push(("which is", get("description")));
    }
    let after = if facts["final_norm"].is_null() { "" } else { ", the last one behind the final norm" };
    lines.extend([
        ("family", get("family")),
        ("layers", format!("{0} (0 is the embedding output, 1 to {0} the encoder's{after})", get("num_hidden_layers"))),
        (
            "width",
            format!(
                "{} ({} heads, {} between)",
                get("hidden_size"),
                get("num_attention_heads"),
                get("intermediate_size")
            ),
        ),
        ("activation", get("hidden_act")),
        ("parameters", format!("{} stored as {}", group(number("parameters")), get("weights_dtype"))),
        ("positions", get("positions")),
        (
            "longest text",
            format!(
                "{} tokens{}",
                get("longest_text"),
                if facts["is_limited"] == json!(true) { "" } else { ", as the model has no limit" }
            ),
        ),
        ("vocabulary", group(number("vocab_size"))),
        ("pooler", yes_no("pooler").to_owned()),
        ("sentence", yes_no("sentence").to_owned()),
        (
            "a token takes",
            format!(
                "{} a layer, {} in all layers (f32)",
                bytes(number("bytes_per_token_and_layer")),
                bytes(number("bytes_per_token"))
            ),
        ),
    ]);
    table(&lines)
}

fn describe_output(manifest: &Manifest) -> String {
    let Manifest { job, input, counts, arrays, .. } = manifest;
    let layers: Vec<String> = job.plan.layers.iter().map(usize::to_string).collect();
    let mut lines = vec![("model", job.model.id.clone())];
    if let Some(revision) = &job.model.revision {
        lines.push(("revision", revision.clone()));
    }
    if let Some(ShardRecord { index, of, first_row, all_texts }) = job.shard {
        let part = ShardRows { first_row: first_row.unwrap_or_default(), counts: *counts };
        lines.push(("shard", format!("{}: {}", Shard { index, of }, part.rows(all_texts.unwrap_or_default()))));
    }
    lines.extend([
        ("layers", format!("{} of 0 to {}", layers.join(" "), job.model.num_hidden_layers)),
        ("texts", group(counts.texts)),
        ("tokens", group(counts.tokens)),
        ("truncated", format!("{} texts, {} tokens", group(counts.truncated_texts), group(counts.truncated_tokens))),
    ]);
    if input.skipped.is_some() {
        lines.push(("skipped", format!("{} bad lines of the input", group(input.skipped()))));
    }
    if counts.windowed_texts > 0 {
        lines.push(("windows", format!("{} of {} texts", group(counts.windows), group(counts.windowed_texts))));
    }
    lines.push(("made by", format!("layerwise {} ({})", job.layerwise, job.instruction_set)));
    let mut description = table(&lines);
    description.push_str("arrays\n");
    for array in arrays {
        let tensor =
            array.tensor.as_ref().or(array.column.as_ref()).map(|tensor| format!(" [{tensor}]")).unwrap_or_default();
        let [rows, columns] = array.shape;
        description.push_str(&format!("  {}{tensor}  ({rows}, {columns}) {}\n", array.file, array.dtype));
    }
    description
}

fn table(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    lines.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
}

fn group(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
