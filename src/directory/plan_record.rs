//! The plan of a directory's job, and its form in the manifest.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::input::{Columns, Input};
use crate::plan::Plan;
use crate::spec::{
    Combine, Compute, DeviceKind, Dtype, Format, InputFormat, OnBadLine, Overflow, SpecialTokens, VectorKind,
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
}

impl DirectoryPlan {
    /// The plan for texts of `input`, written as files of `format`.
    pub fn new(plan: Plan, input: &Input, format: Format) -> Self {
        let (input_format, columns) = (input.formats(), input.columns().clone());
        Self { plan, input_format, columns, on_bad_line: input.bad_lines(), format }
    }
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
        let DirectoryPlan { plan, input_format, columns, on_bad_line, format } = of;
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
        }
    }
}
