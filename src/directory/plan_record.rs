//! The plan of a directory's job, and its form in the manifest.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::input::{Columns, Input};
use crate::plan::{ArrayPlan, Plan};
use crate::spec::{
    Combine, Compute, DeviceKind, Dtype, Format, InputFormat, OnBadLine, Overflow, RowKind, SpecialTokens, VectorKind,
    WordPooling,
};

/// What a job computes and writes, with every default filled in. Jobs with equal plans, models and inputs are the same
/// job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DirectoryPlan {
    /// What is computed. When read from a manifest, it lacks what only the model knows.
    pub plan: Plan,
    /// The formats of the input.
    pub input_format: Vec<InputFormat>,
    /// The roles of the input's columns, and whether words are given.
    pub columns: Columns,
    /// What happens to bad lines of the input.
    pub on_bad_line: OnBadLine,
    /// The format of the arrays.
    pub format: Format,
    /// Texts of a part of a directory of Parquet files; `None` for other formats.
    pub part_texts: Option<u64>,
}

/// Bytes of vectors that a part should have.
const PART_BYTES: u64 = 256 << 20;

/// Tokens, and words, that a text is taken to have for that.
const ROWS_OF_TEXT: u64 = 32;

/// Fewest and most texts of a part, if their number is not given: beyond, one text more or less in a shard would be many.
const FEWEST_PART_TEXTS: u64 = 64;
const MOST_PART_TEXTS: u64 = 8192;

impl DirectoryPlan {
    /// The plan for texts of `input`, written as files of `format`; `part_texts` is for Parquet.
    pub fn new(plan: Plan, input: &Input, format: Format, part_texts: Option<u64>) -> Self {
        let (input_format, columns) = (input.formats(), input.columns().clone());
        let part_texts = (format == Format::Parquet).then(|| part_texts.unwrap_or_else(|| default_part_texts(&plan)));
        Self { plan, input_format, columns, on_bad_line: input.bad_lines(), format, part_texts }
    }

    /// Refuses what the files of the format cannot have.
    ///
    /// # Errors
    /// Those of [`check_format`], and [`Error::Usage`] for a carried column that has the name of an array.
    pub fn check_format(&self) -> Result<()> {
        check_format(self.format, self.dtype)?;
        let name = self.format.name();
        let arrays = self.arrays();
        let of_arrays = |carried: &String| arrays.iter().any(|array| array.name() == *carried);
        match self.columns.carry.iter().find(|carried| self.format == Format::Parquet && of_arrays(carried)) {
            Some(carried) => Err(Error::Usage(format!(
                "--carry {carried}: with --format {name} the vectors have a column `{carried}`; rename the column in the input"
            ))),
            None => Ok(()),
        }
    }
}

/// Refuses a type of numbers that a format does not have, and Parquet in a build without it.
///
/// # Errors
/// [`Error::Usage`] with the way out.
pub fn check_format(format: Format, dtype: Dtype) -> Result<()> {
    if format == Format::Parquet && !cfg!(feature = "parquet") {
        return Err(Error::no_parquet("--format parquet"));
    }
    if dtype == Dtype::Bf16 && format != Format::Safetensors {
        let files = if format == Format::Npy { ".npy" } else { "Parquet" };
        return Err(Error::Usage(format!(
            "--dtype bf16 does not exist in {files} files; choose --format safetensors or --dtype f16"
        )));
    }
    Ok(())
}

/// Texts of a part: as many as have about [`PART_BYTES`] of vectors, as a power of two.
fn default_part_texts(plan: &Plan) -> u64 {
    let of_text = |array: &ArrayPlan| {
        let rows = if array.kind.rows() == RowKind::Text { 1 } else { ROWS_OF_TEXT };
        rows * array.columns as u64 * plan.dtype.size()
    };
    let bytes: u64 = plan.arrays().iter().map(of_text).sum();
    let texts = (PART_BYTES / bytes.max(1)).clamp(FEWEST_PART_TEXTS, MOST_PART_TEXTS);
    1 << texts.ilog2()
}

impl Deref for DirectoryPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

/// The manifest's key `plan`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// [`Plan::layers`].
    pub layers: Vec<usize>,
    /// [`Plan::kinds`].
    pub emit: Vec<VectorKind>,
    /// [`Plan::word_pooling`].
    pub word_pooling: WordPooling,
    /// [`Plan::special_tokens`].
    pub special_tokens: SpecialTokens,
    /// [`Plan::combine`].
    pub combine: Option<Combine>,
    /// [`Plan::normalize`].
    pub normalize: bool,
    /// [`Plan::prompt`]; like `truncate_dim`, it is absent if there is none, as in manifests of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// [`Plan::truncate_dim`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_dim: Option<usize>,
    /// [`Plan::max_length`].
    pub max_length: usize,
    /// [`Plan::overflow`].
    pub overflow: Overflow,
    /// [`Plan::stride`].
    pub stride: Option<usize>,
    /// [`DirectoryPlan::input_format`].
    pub input_format: Vec<InputFormat>,
    /// [`DirectoryPlan::columns`].
    #[serde(flatten)]
    pub columns: Columns,
    /// [`DirectoryPlan::on_bad_line`]; absent where they are an error, as in manifests of older versions.
    #[serde(default, skip_serializing_if = "OnBadLine::is_error")]
    pub on_bad_line: OnBadLine,
    /// [`DirectoryPlan::format`].
    pub format: Format,
    /// [`DirectoryPlan::part_texts`]; absent if there are no parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_texts: Option<u64>,
    /// [`Plan::dtype`].
    pub dtype: Dtype,
    /// [`Plan::compute`].
    pub compute: Compute,
    /// [`Plan::device`].
    pub device: DeviceKind,
    /// Keys of another version. They are kept so that a job with them differs from one without.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl From<&DirectoryPlan> for PlanRecord {
    fn from(of: &DirectoryPlan) -> Self {
        let DirectoryPlan { plan, input_format, columns, on_bad_line, format, part_texts } = of;
        Self {
            layers: plan.layers.clone(),
            emit: plan.kinds.clone(),
            word_pooling: plan.word_pooling,
            special_tokens: plan.special_tokens,
            combine: plan.combine,
            normalize: plan.normalize,
            prompt: plan.prompt.clone(),
            truncate_dim: plan.truncate_dim,
            max_length: plan.max_length,
            overflow: plan.overflow,
            stride: plan.stride,
            input_format: input_format.clone(),
            columns: columns.clone(),
            on_bad_line: *on_bad_line,
            format: *format,
            part_texts: *part_texts,
            dtype: plan.dtype,
            compute: plan.compute,
            device: plan.device,
            others: Map::new(),
        }
    }
}

impl PlanRecord {
    /// The plan, for a model with this number of layers and this width.
    pub fn to_plan(&self, num_hidden_layers: usize, hidden_size: usize) -> DirectoryPlan {
        let record = self.clone();
        let plan = Plan {
            layers: record.layers,
            kinds: record.emit,
            word_pooling: record.word_pooling,
            special_tokens: record.special_tokens,
            combine: record.combine,
            normalize: record.normalize,
            prompt: record.prompt,
            truncate_dim: record.truncate_dim,
            max_length: record.max_length,
            overflow: record.overflow,
            stride: record.stride,
            dtype: record.dtype,
            compute: record.compute,
            device: record.device,
            hidden_size,
            num_hidden_layers,
            sentence: None,
            prompt_tokens: 0,
        };
        DirectoryPlan {
            plan,
            input_format: record.input_format,
            columns: record.columns,
            on_bad_line: record.on_bad_line,
            format: record.format,
            part_texts: record.part_texts,
        }
    }
}
