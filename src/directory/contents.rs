//! The expected content of a directory, according to its manifest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::error::Category;
use serde_json::{Value, json};

use super::arrays::{kinds_with_offsets, offsets_place};
use super::damage::{Damage, Findings};
use super::keys;
use super::layout::{File, Region, files};
use super::manifest::{ArrayRecord, FORMAT_VERSION, ModelIdentity, ShardRecord, layer_names};
use super::names::{MANIFEST, REPORT, TEXTS, UNFINISHED};
use super::parts;
use super::plan_record::{DirectoryPlan, PlanRecord};
use crate::counts::Counts;
use crate::error::{Error, Result, json_problem};
use crate::input::{InputRecord, SkippedLines};
use crate::plan::ArrayPlan;
use crate::regular_file;
use crate::spec::{Format, OnBadLine, SpecialTokens, VectorKind};

/// Largest size of a manifest in bytes. It has some hundred bytes for each array, and takes thirty times that when
/// parsed.
pub(crate) const LARGEST_MANIFEST: u64 = 16 << 20;

/// The expected content of a directory.
#[derive(Debug)]
pub struct Contents {
    /// The plan of the job.
    pub plan: DirectoryPlan,
    /// The counts of its texts.
    pub counts: Counts,
    /// The row of the first text in the input; 0 except in a shard.
    pub first_row: u64,
    /// The arrays, with their widths.
    pub planned: Vec<ArrayPlan>,
    /// The model, input and program that the directory was made with.
    pub(crate) origin: Origin,
    /// crc32 of `texts.jsonl`.
    pub(crate) texts_crc32: Option<u32>,
    /// The files that hold arrays.
    pub(crate) files: Vec<File>,
}

/// The model, input and program that a directory was made with; complete if the manifest is sound.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The version of the program.
    pub(crate) layerwise: String,
    pub(crate) instruction_set: String,
    pub(crate) input: InputRecord,
    pub(crate) model: ModelIdentity,
}

impl Contents {
    /// Reads a manifest from any bytes. Returns the content of the directory, if the manifest tells it, and everything
    /// that is wrong with the manifest. `None` when the bytes are not a manifest of layerwise.
    pub fn parse(bytes: &[u8]) -> Option<(Option<Self>, Vec<Damage>)> {
        let mut findings = Findings::new(MANIFEST);
        let manifest = match serde_json::from_slice::<Value>(bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.add(match error.classify() {
                    _ if bytes.is_empty() => "is empty".to_owned(),
                    Category::Eof => format!("is cut off in line {}", error.line()),
                    _ => format!("is not JSON that can be read: {}", json_problem(&error)),
                });
                return Some((None, findings.into_damages()));
            }
        };
        if !["format_version", "layerwise"].iter().any(|key| manifest.get(key).is_some()) {
            return None;
        }
        let contents = read(&manifest, &mut findings);
        Some((contents, findings.into_damages()))
    }

    /// An array, or offsets, by its name in the manifest, and the file that holds it.
    pub(crate) fn find(&self, place: &str) -> Option<(&File, &Region)> {
        let regions = self.files.iter().flat_map(|file| file.regions.iter().map(move |region| (file, region)));
        regions.into_iter().find(|(_, region)| region.place == place)
    }

    /// The Parquet files of a kind of vector, each with the directory's texts whose rows it has.
    #[cfg(feature = "parquet")]
    pub(crate) fn parts(&self, kind: VectorKind) -> impl Iterator<Item = (String, std::ops::Range<u64>)> {
        let (first_row, texts, of_part) = (self.first_row, self.counts.texts, self.plan.part_texts.unwrap_or(1));
        parts::numbers(first_row, texts, of_part).map(move |number| {
            let start = number.saturating_mul(of_part).saturating_sub(first_row);
            (parts::name(kind, number), start..start.saturating_add(of_part).min(texts))
        })
    }

    /// Number of arrays, including offsets.
    pub(crate) fn arrays(&self) -> usize {
        self.files.iter().map(|file| file.regions.len()).sum()
    }

    /// Size of all array files in bytes, but for Parquet files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.bytes).sum()
    }
}

fn read(manifest: &Value, findings: &mut Findings) -> Option<Contents> {
    if let Some(version) = keys::value::<u64>(manifest, "format_version", findings)
        && version != u64::from(FORMAT_VERSION)
    {
        findings.add(format!("format_version is {version}; this layerwise knows version {FORMAT_VERSION}"));
        return None; // the rest may have another meaning
    }
    let [layerwise, instruction_set] = ["layerwise", "instruction_set"].map(|key| {
        let text = keys::value::<String>(manifest, key, findings);
        if text.as_ref().is_some_and(String::is_empty) {
            findings.add(format!("{key} is empty"));
        }
        text.unwrap_or_default()
    });
    let input = keys::object::<InputRecord>(manifest, "input", findings);
    if let Some(input) = &input {
        check_sha256("input.sha256", &input.sha256, findings);
    }
    let model = keys::object::<ModelIdentity>(manifest, "model", findings);
    let plan = keys::object::<PlanRecord>(manifest, "plan", findings);
    let counts = keys::object::<Counts>(manifest, "counts", findings);
    let layers = keys::value::<Value>(manifest, "layers", findings);
    let described = keys::value::<Vec<Value>>(manifest, "arrays", findings);
    let checksums = keys::value::<BTreeMap<String, Value>>(manifest, "crc32", findings);
    let first_row = first_row(manifest, counts.as_ref(), findings);

    if let Some(model) = &model {
        check_model(model, findings);
    }
    if let (Some(plan), Some(counts)) = (&plan, &counts) {
        check_counts(plan, counts, findings);
    }
    if let (Some(plan), Some(input)) = (&plan, &input) {
        check_skipped(plan, input, findings);
    }
    let (model, plan, counts) = (model?, plan?, counts?);
    let plan = plan.to_plan(model.num_hidden_layers, model.hidden_size);
    if !check_plan(&plan, findings) {
        return None;
    }
    if let Some(layers) = layers {
        keys::compare(&layers, &json!(layer_names(&plan)), "layers", findings);
    }
    let arrays = planned_arrays(&plan, described.as_deref());
    if let Some(described) = described {
        check_described(&described, &arrays, &plan, &counts, findings);
    }
    let checksums = check_checksums(checksums, &plan, (&arrays, &counts, first_row), findings);
    let files = files(&plan, &counts, first_row, &arrays, &checksums);
    let files = files.map_err(|problem| findings.add(problem)).ok()?;
    let origin = Origin { layerwise, instruction_set, input: input.unwrap_or_default(), model };
    Some(Contents {
        texts_crc32: checksums.get(TEXTS).copied(),
        plan,
        counts,
        first_row,
        planned: arrays,
        origin,
        files,
    })
}

/// The row of the first text in the input, which is not 0 in a shard.
fn first_row(manifest: &Value, counts: Option<&Counts>, findings: &mut Findings) -> u64 {
    if manifest.get("shard").is_none() {
        return 0;
    }
    let Some(shard) = keys::object::<ShardRecord>(manifest, "shard", findings) else { return 0 };
    if !(1..=shard.of).contains(&shard.index) {
        findings.add(format!("shard.index is {} of {}", shard.index, shard.of));
    }
    let texts = counts.map_or(0, |counts| counts.texts);
    let mut known = |key: &str, value: Option<u64>| {
        if value.is_none() {
            findings.add(format!("shard.{key} is missing"));
        }
        value
    };
    let (first, all) = (known("first_row", shard.first_row), known("all_texts", shard.all_texts));
    let (Some(first), Some(all)) = (first, all) else { return 0 };
    if first.checked_add(texts).is_none_or(|end| end > all) {
        findings.add(format!("shard.first_row is {first}, which with {texts} texts is beyond shard.all_texts, {all}"));
    }
    first
}

fn check_sha256(key: &str, digest: &str, findings: &mut Findings) {
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        findings.add(format!("{key} is not a sha256; expected 64 hexadecimal digits"));
    }
}

/// Checks that what was left out of the input is what the plan allows, in the order of the input.
fn check_skipped(plan: &PlanRecord, input: &InputRecord, findings: &mut Findings) {
    let Some(SkippedLines { count, sha256, lines }) = &input.skipped else {
        if plan.on_bad_line == OnBadLine::Skip {
            findings.add("input.skipped is missing; expected it, as plan.on_bad_line is skip");
        }
        return;
    };
    if plan.on_bad_line == OnBadLine::Error {
        findings.add("input.skipped is not expected, as plan.on_bad_line is not skip");
    }
    check_sha256("input.skipped.sha256", sha256, findings);
    let expected = usize::try_from(*count).unwrap_or(usize::MAX).min(SkippedLines::LISTED);
    if lines.len() != expected {
        findings.add(format!("input.skipped.lines has {} entries; expected {expected} of {count} lines", lines.len()));
    }
    if !lines.is_sorted_by_key(|line| line.place) {
        findings.add("input.skipped.lines are not in the order of the input");
    }
}

fn check_model(model: &ModelIdentity, findings: &mut Findings) {
    if model.id.is_empty() {
        findings.add("model.id is empty");
    }
    if model.sha256.is_empty() {
        findings.add("model.sha256 names no file");
    }
    for (file, digest) in &model.sha256 {
        check_sha256(&format!("model.sha256.{file}"), digest, findings);
    }
}

/// Largest width of a sentence embedding that is accepted, beyond that of any model.
const MOST_COLUMNS: usize = 1 << 20;

/// Largest number of encoder layers that is accepted, beyond that of any model; there is an array for each.
const MOST_LAYERS: usize = 10_000;

/// Checks that the arrays of a plan can be listed.
fn check_plan(plan: &DirectoryPlan, findings: &mut Findings) -> bool {
    let mut is_sound = true;
    let mut expect = |holds: bool, problem: &dyn Fn() -> String| {
        if !holds {
            findings.add(problem());
            is_sound = false;
        }
    };
    let last = plan.num_hidden_layers;
    expect(plan.hidden_size > 0, &|| "model.hidden_size is 0".to_owned());
    expect(last <= MOST_LAYERS, &|| format!("model.num_hidden_layers is {last}, which no model has"));
    expect(!plan.layers.is_empty(), &|| "plan.layers is empty".to_owned());
    expect(plan.layers.is_sorted_by(|a, b| a < b), &|| "plan.layers are not ascending, each once".to_owned());
    expect(plan.layers.iter().all(|&layer| layer <= last), &|| {
        format!("plan.layers has a layer beyond {last}, the model's last (model.num_hidden_layers)")
    });
    expect(!plan.kinds.is_empty(), &|| "plan.emit is empty".to_owned());
    expect(plan.kinds.is_sorted_by(|a, b| a < b), &|| {
        "plan.emit are not in the order of `extract --help`, each once".to_owned()
    });
    expect(plan.max_length > 0, &|| "plan.max_length is 0".to_owned());
    let has_parts = plan.format == Format::Parquet;
    expect(plan.part_texts.is_some_and(|texts| texts > 0) == has_parts, &|| {
        format!("plan.part_texts does not go with plan.format, {}", plan.format)
    });
    expect(plan.hidden_size.checked_mul(plan.layers.len()).is_some(), &|| {
        format!("model.hidden_size is {}, which no model has", plan.hidden_size)
    });
    is_sound
}

fn check_counts(plan: &PlanRecord, counts: &Counts, findings: &mut Findings) {
    let keeps = plan.special_tokens == SpecialTokens::Keep;
    if counts.token_rows > counts.tokens || (keeps && counts.token_rows != counts.tokens) {
        findings.add(format!("counts.token_rows is {} with {} tokens", counts.token_rows, counts.tokens));
    }
    for (key, count) in [("truncated_texts", counts.truncated_texts), ("empty_texts", counts.empty_texts)] {
        if count > counts.texts {
            findings.add(format!("counts.{key} is {count} of {} texts", counts.texts));
        }
    }
    if counts.deleted_words > counts.words {
        findings.add(format!("counts.deleted_words is {} of {} words", counts.deleted_words, counts.words));
    }
}

/// The arrays of a plan. The width of a sentence embedding depends on the model, so it is taken from the manifest's
/// array.
fn planned_arrays(plan: &DirectoryPlan, described: Option<&[Value]>) -> Vec<ArrayPlan> {
    let mut arrays = plan.arrays();
    for array in arrays.iter_mut().filter(|array| array.kind == VectorKind::Sentence) {
        let entry = described.into_iter().flatten().find(|entry| entry["kind"] == VectorKind::Sentence.name());
        let columns = entry.and_then(|entry| entry["shape"].get(1)?.as_u64());
        let columns = columns.and_then(|columns| usize::try_from(columns).ok());
        array.columns = columns.filter(|columns| (1..=MOST_COLUMNS).contains(columns)).unwrap_or(plan.hidden_size);
    }
    arrays
}

fn check_described(
    described: &[Value],
    arrays: &[ArrayPlan],
    plan: &DirectoryPlan,
    counts: &Counts,
    findings: &mut Findings,
) {
    for (index, array) in arrays.iter().enumerate() {
        let expected = json!(ArrayRecord::new(array, plan, counts));
        match described.get(index) {
            Some(found) => keys::compare(found, &expected, &format!("arrays[{index}]"), findings),
            None => findings.add(format!("arrays lacks {}, which the plan has", array.place(plan.format))),
        }
    }
    if described.len() > arrays.len() {
        findings.add(format!("arrays has {} entries; the plan has {} arrays", described.len(), arrays.len()));
    }
}

/// Place → checksum, for the plan's places that have one.
fn check_checksums(
    checksums: Option<BTreeMap<String, Value>>,
    plan: &DirectoryPlan,
    (arrays, counts, first_row): (&[ArrayPlan], &Counts, u64),
    findings: &mut Findings,
) -> BTreeMap<String, u32> {
    let Some(mut found) = checksums else { return BTreeMap::new() };
    let of_offsets = kinds_with_offsets(plan).map(|emit| offsets_place(emit, plan.format));
    let places: Vec<String> = if let Some(part_texts) = plan.part_texts {
        let numbers = parts::numbers(first_row, counts.texts, part_texts);
        // Those beyond are lacking in any case, and a number that is made up would name more than memory holds.
        let numbers = numbers.take(found.len() + 1);
        plan.kinds.iter().flat_map(|&kind| numbers.clone().map(move |number| parts::name(kind, number))).collect()
    } else {
        arrays.iter().map(|array| array.place(plan.format)).chain(of_offsets).collect()
    };
    let mut checksums = BTreeMap::new();
    for place in std::iter::once(TEXTS.to_owned()).chain(places) {
        let Some(value) = found.remove(&place) else {
            findings.add(format!("crc32 lacks {place}"));
            continue;
        };
        let digits = value.as_str().filter(|text| text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|text| u32::from_str_radix(text, 16).ok()) {
            Some(crc32) => drop(checksums.insert(place, crc32)),
            None => findings.add(format!("crc32 of {place} is {value}; expected a string of 8 hexadecimal digits")),
        }
    }
    for place in found.keys() {
        findings.add(format!("crc32 has {place:?}, which the plan has not"));
    }
    checksums
}

/// Reads the manifest of a complete directory.
pub(crate) fn read_manifest(directory: &Path) -> Result<Vec<u8>> {
    const EXPECTED: &str = "expected a directory that `layerwise extract` wrote";
    let refuse = |path: &Path, problem: &str| {
        Err(Error::Output { path: path.to_owned(), problem: format!("{problem}; {EXPECTED}") })
    };
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(metadata) => return refuse(directory, &format!("is {}", regular_file::what(metadata.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound => return refuse(directory, missing(directory)),
        Err(error) => return Err(Error::io("read", directory)(error)),
    }
    let path = directory.join(MANIFEST);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(metadata) => return refuse(&path, &format!("is {}", regular_file::what(metadata.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => return refuse(&path, missing(&path)),
        Err(error) if error.kind() == ErrorKind::NotFound && directory.join(UNFINISHED).exists() => {
            let problem = "holds an unfinished job; run its command again to finish it".to_owned();
            return Err(Error::Output { path: directory.to_owned(), problem });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let holds = [(REPORT, ", and is a report of `layerwise probe`"), ("config.json", ", and is a model")];
            let holds = holds.iter().find(|(name, _)| directory.join(name).exists()).map_or("", |(_, what)| what);
            return refuse(directory, &format!("has no {MANIFEST}{holds}"));
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    let mut manifest = Vec::new();
    let opened = regular_file::open(&path);
    let read = opened.and_then(|file| file.take(LARGEST_MANIFEST + 1).read_to_end(&mut manifest));
    if read.map_err(Error::io("read", &path))? as u64 > LARGEST_MANIFEST {
        return refuse(&path, "is larger than any manifest of layerwise");
    }
    Ok(manifest)
}

/// The problem of a path under which nothing is found.
pub(crate) fn missing(path: &Path) -> &'static str {
    if path.is_symlink() { "is a link to what does not exist" } else { "does not exist" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::sentence::{SentenceRecipe, TokenizerArguments};
    use crate::directory::manifest::{JobRecord, Manifest};
    use crate::plan::Plan;
    use crate::spec::Pooling;
    use proptest::prelude::*;

    /// A manifest as a job writes it.
    fn manifest() -> String {
        let digest = "0123456789abcdef".repeat(4);
        let model = ModelIdentity {
            id: "a model".to_owned(),
            revision: None,
            sha256: BTreeMap::from([("config.json".to_owned(), digest.clone())]),
            family: "bert".to_owned(),
            num_hidden_layers: 4,
            hidden_size: 128,
            final_norm: None,
        };
        let poolings = vec![Pooling::Cls, Pooling::Mean];
        let recipe = SentenceRecipe {
            layers: None,
            poolings,
            include_prompt: true,
            steps: Vec::new(),
            max_seq_length: None,
            tokenizer: TokenizerArguments::default(),
            config: serde_json::Map::new(),
            notes: Vec::new(),
        };
        let plan = Plan {
            layers: vec![0, 2],
            kinds: vec![VectorKind::Token, VectorKind::Sentence],
            max_length: 3,
            hidden_size: 128,
            num_hidden_layers: 4,
            sentence: Some(recipe),
            ..Plan::default()
        };
        let counts = Counts { texts: 3, tokens: 8, token_rows: 8, words: 2, ..Counts::default() };
        let plan = DirectoryPlan { plan, ..DirectoryPlan::default() };
        let job = JobRecord::new(model, &plan, None, "portable");
        let input = InputRecord { sha256: digest, skipped: None };
        let mut manifest = json!(Manifest::new(job, &plan, input, &counts));
        manifest["crc32"] = json!({
            "texts.jsonl": "0fae29df",
            "token/layer_00.npy": "c7b32527",
            "token/layer_02.npy": "5d2d6b20",
            "sentence.npy": "92c0c986",
            "token/offsets.npy": "e8a83a26",
        });
        format!("{manifest:#}")
    }

    #[test]
    fn a_manifest_tells_what_there_is() {
        let (contents, damages) = Contents::parse(manifest().as_bytes()).expect("a manifest of ours");
        assert_eq!(damages, []);
        let contents = contents.expect("contents");
        assert_eq!((contents.counts.texts, contents.first_row), (3, 0));
        let names: Vec<&str> = contents.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["token/layer_00.npy", "token/layer_02.npy", "token/offsets.npy", "sentence.npy"]);
        let sizes: Vec<u64> = contents.files.iter().map(|file| file.regions[0].bytes).collect();
        assert_eq!(sizes, [8 * 128 * 4, 8 * 128 * 4, 4 * 8, 3 * 256 * 4]);
    }

    #[test]
    fn what_is_no_manifest_is_told_apart_from_a_damaged_one() {
        for foreign in ["[]", "{}", "3", "null", "{\"name\": \"a web page\"}"] {
            assert!(Contents::parse(foreign.as_bytes()).is_none(), "{foreign}");
        }
        for damaged in ["", "{", "{\"format_version\": 1}", "{\"format_version\": 2, \"layerwise\": \"9\"}"] {
            let (contents, damages) = Contents::parse(damaged.as_bytes()).expect("a manifest of ours");
            assert!(contents.is_none() && !damages.is_empty(), "{damaged}");
        }
    }

    #[test]
    fn numbers_too_large_for_any_file_are_refused_before_anything_is_allocated() {
        let text = manifest();
        for (from, to) in [
            ("\"hidden_size\": 128", "\"hidden_size\": 18446744073709551615"),
            ("\"hidden_size\": 128", "\"hidden_size\": 0"),
            ("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 18446744073709551615"),
            ("\"texts\": 3", "\"texts\": 18446744073709551615"),
            ("\"texts\": 3", "\"texts\": 9223372036854775807"),
            ("\"token_rows\": 8", "\"token_rows\": 18446744073709551615"),
            ("\"token_rows\": 8", "\"token_rows\": 36028797018963968"),
        ] {
            assert!(text.contains(from), "{from}");
            let (contents, damages) = Contents::parse(text.replace(from, to).as_bytes()).expect("ours");
            assert!(contents.is_none() && !damages.is_empty(), "{to}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_a_manifest_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Contents::parse(&bytes);
        }

        #[test]
        fn a_manifest_with_any_part_replaced_is_taken_or_named(
            at in any::<prop::sample::Index>(), length in 0usize..12, part in "[-0-9a-z\"{}\\[\\],:. ]{0,12}",
        ) {
            let mut bytes = manifest().into_bytes();
            let start = at.index(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, part.bytes());
            if let Some((None, damages)) = Contents::parse(&bytes) {
                prop_assert!(!damages.is_empty());
            }
        }
    }
}
