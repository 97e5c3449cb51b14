//! `--dry-run`: what would be written.

use std::io::{self, Write};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Config;
use crate::checkpoint::weights::Weights;
use crate::commands::args::ExtractArgs;
use crate::encoder;
use crate::error::{Error, Result, bytes};
use crate::plan::{Counts, Plan};

/// Prints the plan on standard output.
pub(super) fn print(
    args: &ExtractArgs,
    checkpoint: &Checkpoint,
    weights: &Weights,
    config: &Config,
    plan: &Plan,
    counts: &Counts,
) -> Result<()> {
    let layers: Vec<String> = plan.layers.iter().map(usize::to_string).collect();
    let emit: Vec<&str> = plan.emit.iter().map(|emit| emit.name()).collect();
    let mut text = format!(
        "model     {}{}\nlayers    {}\nemit      {}\ntexts     {}\ntokens    {} ({} cut off of {} texts)\n",
        checkpoint.id,
        checkpoint.revision.as_ref().map(|revision| format!(" at {revision}")).unwrap_or_default(),
        layers.join(" "),
        emit.join(" "),
        counts.texts,
        counts.tokens,
        counts.truncated_tokens,
        counts.truncated_texts,
    );
    if counts.windowed_texts > 0 {
        text.push_str(&format!(
            "windows   {} of {} texts, {} tokens to encode beside the above\n",
            counts.windows, counts.windowed_texts, counts.overlap_tokens
        ));
    }
    let memory = memory_needed(weights, config, args.batch_tokens);
    text.push_str(&format!("memory    about {}\n", bytes(memory)));
    match &args.output {
        None => text.push_str("output    JSON Lines on standard output\n"),
        Some(path) => {
            let free = path
                .ancestors()
                .map(|ancestor| if ancestor.as_os_str().is_empty() { ".".as_ref() } else { ancestor })
                .find_map(|ancestor| fs4::available_space(ancestor).ok());
            text.push_str(&format!(
                "output    {}: {} of arrays, {} free\n",
                path.display(),
                bytes(plan.bytes(counts)),
                free.map_or_else(|| "unknown".to_owned(), bytes)
            ));
            let files: Vec<String> = plan.arrays().iter().map(|array| array.place(plan.format)).collect();
            let width = files.iter().map(String::len).max().unwrap_or(0);
            for (array, file) in plan.arrays().iter().zip(&files) {
                let (rows, columns) = (counts.rows(array.emit), array.columns);
                text.push_str(&format!("  {file:width$}  ({rows}, {columns}) {}\n", plan.dtype.name()));
            }
        }
    }
    io::stdout().write_all(text.as_bytes()).map_err(Error::stdout)
}

/// A rough upper bound of the memory a job takes: the weights, and what a batch needs between two layers.
fn memory_needed(weights: &Weights, config: &Config, batch_tokens: u32) -> u64 {
    const FLOAT: u64 = 4;
    let tokens = u64::from(batch_tokens).max(config.max_position_embeddings as u64);
    let per_token = 8 * config.hidden_size + config.intermediate_size;
    FLOAT * (encoder::parameter_count(weights, config) + tokens * per_token as u64) + (32 << 20)
}
