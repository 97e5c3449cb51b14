//! `--dry-run`: prints what would be written.

use std::path::Path;
use std::time::Duration;

use super::progress::rough;
use super::{estimate, standard_output};
use crate::encoder;
use crate::error::{Result, bytes};
use crate::job::{Job, Outlook, Rehearsal};
use crate::model::Model;

/// Prints what a job would do; `output` is the directory, if there would be one, and `stream` what would go to standard output
/// otherwise.
pub(super) fn print(job: &Job<'_>, rehearsal: &Rehearsal, output: Option<&Path>, stream: &str) -> Result<()> {
    let Job { model, plan, .. } = *job;
    let Rehearsal { part, all_texts, input, longest, beside, reused, outlook } = rehearsal;
    let counts = &part.counts;
    let layers: Vec<String> = plan.layers.iter().map(usize::to_string).collect();
    let kinds: Vec<&str> = plan.kinds.iter().map(|kind| kind.name()).collect();
    let mut text = format!(
        "model     {}{}\nlayers    {}\nemit      {}\n{}texts     {}\ntokens    {} ({} cut off of {} texts)\n",
        model.id(),
        model.revision().map(|revision| format!(" at {revision}")).unwrap_or_default(),
        layers.join(" "),
        kinds.join(" "),
        job.shard.map(|shard| format!("shard     {shard}: {}\n", part.rows(*all_texts))).unwrap_or_default(),
        counts.texts,
        counts.tokens,
        counts.truncated_tokens,
        counts.truncated_texts,
    );
    if input.skipped() > 0 {
        text.push_str(&format!("skipped   {} bad lines of the input\n", input.skipped()));
    }
    if counts.windowed_texts > 0 {
        text.push_str(&format!(
            "windows   {} of {} texts, {} tokens to encode beside the above, {:.2} times as many in all\n",
            counts.windows,
            counts.windowed_texts,
            counts.overlap_tokens,
            counts.encoded_tokens() as f64 / counts.tokens.max(1) as f64
        ));
    }
    if let Some(reused) = reused {
        text.push_str(&format!("reuse     {}\n", reused.told("would be copied")));
    }
    let memory = memory_needed(model, job.batch_tokens, plan.max_length.min(*longest));
    text.push_str(&format!("memory    about {}\n", bytes(memory)));
    let left = match outlook {
        Outlook::Begins | Outlook::TokenizedSome(_) => counts.texts,
        Outlook::EncodedSome(texts) => counts.texts.saturating_sub(*texts),
        Outlook::WasThere => 0,
    };
    if left > 0 && counts.encoded_tokens() > 0 {
        let rate = estimate::tokens_per_second(job, counts)?;
        let encoded = reused.as_ref().map_or(counts.encoded_tokens(), |reused| reused.new_tokens);
        let tokens = encoded as f64 * (left as f64 / counts.texts.max(1) as f64);
        let time = rough(Duration::from_secs_f64((tokens / rate).min(1e9)));
        text.push_str(&format!("time      about {time} to encode, at {rate:.0} tokens/s as measured just now\n"));
    }
    match outlook {
        Outlook::Begins => {}
        Outlook::TokenizedSome(texts) => {
            text.push_str(&format!("goes on   {texts} texts are tokenized; none is encoded yet\n"));
        }
        Outlook::EncodedSome(texts) => text.push_str(&format!(
            "goes on   {texts} of {} texts are encoded; {} are left\n",
            counts.texts,
            counts.texts.saturating_sub(*texts)
        )),
        Outlook::WasThere => text.push_str("goes on   the directory already holds this job; nothing to do\n"),
    }
    match output {
        None => text.push_str(&format!("output    {stream} on standard output\n")),
        Some(path) => {
            let parts = match plan.part_texts {
                None => String::new(),
                Some(_) => format!(" before they are compressed, {} beside them until the end", bytes(*beside)),
            };
            let free = path
                .ancestors()
                .map(|ancestor| if ancestor.as_os_str().is_empty() { ".".as_ref() } else { ancestor })
                .find_map(|ancestor| fs4::available_space(ancestor).ok());
            text.push_str(&format!(
                "output    {}: {} of arrays{}, {} free\n",
                path.display(),
                bytes(plan.bytes(counts)),
                parts,
                free.map_or_else(|| "unknown".to_owned(), bytes)
            ));
            if let Some(texts) = plan.part_texts {
                let files = counts.texts.div_ceil(texts);
                text.push_str(&format!("parts     {files} of up to {texts} texts\n"));
            }
            let files: Vec<String> = plan.arrays().iter().map(|array| array.place(plan.format)).collect();
            let width = files.iter().map(String::len).max().unwrap_or(0);
            for (array, file) in plan.arrays().iter().zip(&files) {
                let (rows, columns) = (counts.rows(array.kind), array.columns);
                text.push_str(&format!("  {file:width$}  ({rows}, {columns}) {}\n", plan.dtype.name()));
            }
        }
    }
    standard_output::print(&text)
}

/// A rough upper bound of a job's memory use in bytes: the weights, and the intermediate results of a batch in one
/// layer, which holds all tokens of the longest text.
fn memory_needed(model: &Model, batch_tokens: u32, longest: usize) -> u64 {
    let config = model.config();
    const FLOAT: u64 = 4;
    let tokens = u64::from(batch_tokens).max(longest as u64);
    let per_token = 8 * config.hidden_size + config.intermediate_size;
    FLOAT * (encoder::parameter_count(model.weights(), config) + tokens * per_token as u64) + (32 << 20)
}
