//! The files and keys of a published model, and how each is treated: one table for the code, the documentation and
//! `info -v`.
//!
//! A key that changes a token or a number is applied as transformers and sentence-transformers apply it, or refused by
//! name. Keys that change nothing are listed as well, so that anything beyond the table can be reported.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::files::{Checkpoint, ModelSource};
use super::modules::{TRANSFORMER_SETTINGS, encoder_folder};
use crate::error::Result;

/// How a key is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Applied as in transformers or sentence-transformers.
    Applied,
    /// Refused by name if its value asks for a computation that is not supported.
    Refused,
    /// Ignored, as it changes no token and no number.
    NoEffect,
}

/// Keys of one file that are treated alike.
#[derive(Debug)]
pub struct Row {
    /// The file's name, or the end of it.
    pub file: &'static str,
    /// The keys, separated by spaces; `*` for any.
    pub keys: &'static str,
    /// How they are treated.
    pub treatment: Treatment,
    /// An explanation, if one is needed.
    pub remark: &'static str,
}

const fn applied(file: &'static str, keys: &'static str, remark: &'static str) -> Row {
    Row { file, keys, treatment: Treatment::Applied, remark }
}

const fn refused(file: &'static str, keys: &'static str, remark: &'static str) -> Row {
    Row { file, keys, treatment: Treatment::Refused, remark }
}

const fn no_effect(file: &'static str, keys: &'static str, remark: &'static str) -> Row {
    Row { file, keys, treatment: Treatment::NoEffect, remark }
}

const MODEL: &str = "config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SENTENCES: &str = "config_sentence_transformers.json";
const TRANSFORMER: &str = "sentence_bert_config.json";
const POOLING: &str = "N_Pooling/config.json";
const DENSE: &str = "N_Dense/config.json";
const LAYER_NORM: &str = "N_LayerNorm/config.json";
const WEIGHTED: &str = "N_WeightedLayerPooling/config.json";
const NORMALIZE: &str = "N_Normalize/config.json";
const DROPOUT: &str = "N_Dropout/config.json";

/// The table.
pub const TABLE: &[Row] = &[
    applied(
        MODEL,
        "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act max_position_embeddings type_vocab_size layer_norm_eps",
        "the shape of the encoder",
    ),
    applied(
        MODEL,
        "dim n_layers n_heads hidden_dim activation n_embd n_layer n_head n_inner layer_norm_epsilon hidden_activation activation_function norm_eps rms_norm_eps",
        "the same, as DistilBERT, NomicBERT, ModernBERT and EuroBERT call it",
    ),
    applied(MODEL, "model_type", "the family (docs/families.md); others are refused"),
    applied(
        MODEL,
        "embedding_size num_hidden_groups num_key_value_heads head_dim use_task_id task_type_vocab_size emb_layer_norm_before norm_bias attention_bias mlp_bias qkv_proj_bias mlp_fc1_bias mlp_fc2_bias token_dropout mask_token_id",
        "in the families that have them",
    ),
    applied(MODEL, "pad_token_id", "where positions begin after it, as in RoBERTa; else no effect"),
    applied(
        MODEL,
        "rope_theta rotary_emb_base rope_parameters rope_scaling global_rope_theta local_rope_theta layer_types global_attn_every_n_layers local_attention max_trained_positions",
        "rotary positions and windows; types of scaling other than linear, and GTE's ntk, are refused",
    ),
    applied(
        MODEL,
        "relative_attention position_buckets max_relative_positions pos_att_type share_att_key norm_rel_ebd position_biased_input conv_kernel_size conv_act",
        "DeBERTa's distances and convolution",
    ),
    refused(
        MODEL,
        "inner_group_num is_folding_model prenorm rotary_emb_fraction rotary_emb_interleaved rotary_emb_scale_base num_experts moe_every_n_layers use_rms_norm use_cls_token layer_norm_type logn_attention_scale logn_attention_clip1 talking_head attention_head_size conv_groups rotary_value causal parallel_block scale_attn_by_inverse_layer_idx",
        "where they ask for what the family here does not compute",
    ),
    applied(
        MODEL,
        "tokenizer_class",
        "where tokenizer_config.json names none; where this one names none either, the class is that of the `model_type`",
    ),
    applied(
        MODEL,
        "architectures",
        "a `…ForCausalLM` without modules.json has the last token's vector as its `sentence`",
    ),
    applied(MODEL, "output_hidden_states", "for WeightedLayerPooling; else no effect"),
    refused(
        MODEL,
        "auto_map",
        "where it names an AutoModel, but for the families whose own code on the hub came before transformers': the model's own code is not run",
    ),
    refused(MODEL, "is_causal", "true; transformers 5 masks later tokens, 4 does not know it"),
    refused(MODEL, "is_decoder add_cross_attention is_encoder_decoder", "true"),
    refused(MODEL, "position_embedding_type", "other than that of the family, `absolute` in most"),
    refused(MODEL, "tie_last_hidden_states", "false"),
    refused(MODEL, "pruned_heads quantization_config", "where they are not empty"),
    no_effect(
        MODEL,
        "attention_probs_dropout_prob hidden_dropout_prob classifier_dropout layerdrop initializer_range initializer_factor gradient_checkpointing use_cache tie_word_embeddings output_attentions output_scores return_dict return_dict_in_generate torchscript use_bfloat16 dtype torch_dtype transformers_version _name_or_path name_or_path _commit_hash _attn_implementation attn_implementation _attn_implementation_autoset _attn_implementation_internal chunk_size_feed_forward cross_attention_hidden_size bos_token_id eos_token_id sep_token_id cls_token_id unk_token_id decoder_start_token_id directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type id2label label2id num_labels problem_type finetuning_task task_specific_params prefix language adapters custom_pipelines model_max_length model_name is_composition sentence_transformers dropout attention_dropout activation_dropout embedding_dropout mlp_dropout qa_dropout seq_classif_dropout classifier_dropout_prob pooler_dropout pooler_hidden_act resid_pdrop attn_pdrop embd_pdrop summary_activation summary_first_dropout summary_last_dropout summary_proj_to_labels summary_type summary_use_proj sinusoidal_pos_embds relative_attention_num_buckets n_positions initializer_cutoff_factor decoder_bias classifier_bias classifier_activation classifier_pooling deterministic_flash_attn sparse_prediction sparse_pred_ignore_index reference_compile repad_logits_with_grad legacy net_type down_scale_factor gap_size num_memory_blocks vocab_list esmfold_config pack_qkv unpad_inputs use_memory_efficient_attention use_flash_attn fused_bias_fc fused_dropout_add_ln pad_vocab_size_multiple scale_attn_weights reorder_and_upcast_attn mask_padding parallel_block_tied_norm rotary_scaling_factor use_xentropy mup_embeddings emb_pooler lora_adaptations lora_alpha lora_dropout_p lora_main_params_trainable lora_prompts lora_rank load_trained_adapters matryoshka_dimensions truncate_dim task_instructions pretraining_tp mlm_probability output_past",
        "weights of other types are widened to float32, in which the forward pass runs",
    ),
    no_effect(
        MODEL,
        "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences exponential_decay_length_penalty suppress_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id remove_invalid_values tf_legacy_loss",
        "for models that generate text",
    ),
    applied(
        TOKENIZER_CONFIG,
        "do_lower_case strip_accents tokenize_chinese_chars",
        "before what tokenizer.json says, with the defaults of the class, for the classes of BERT's kind",
    ),
    applied(
        TOKENIZER_CONFIG,
        "bos_token eos_token unk_token sep_token pad_token cls_token mask_token",
        "as text, object or null; beside tokenizer.json they are tokens in texts, and its template stays",
    ),
    applied(
        TOKENIZER_CONFIG,
        "additional_special_tokens extra_special_tokens added_tokens_decoder",
        "with their flags",
    ),
    applied(TOKENIZER_CONFIG, "split_special_tokens truncation_side model_input_names add_prefix_space", ""),
    applied(TOKENIZER_CONFIG, "trim_offsets", "RobertaTokenizer, over tokenizer.json"),
    applied(
        TOKENIZER_CONFIG,
        "keep_accents split_by_punct",
        "AlbertTokenizer and DebertaV2Tokenizer, as do_lower_case, where there is no tokenizer.json",
    ),
    applied(TOKENIZER_CONFIG, "add_bos_token add_eos_token", "GPT2Tokenizer, where there is no tokenizer.json"),
    refused(TOKENIZER_CONFIG, "sp_model_kwargs", "where it is not empty, for BertGenerationTokenizer; else no effect"),
    applied(
        TOKENIZER_CONFIG,
        "model_max_length max_len",
        "the limit of `sentence`; of other jobs a note where texts are longer",
    ),
    refused(
        TOKENIZER_CONFIG,
        "tokenizer_class",
        "BertJapaneseTokenizer, RoFormerTokenizer and others that do more than tokenizer.json says; a class that transformers does not have is taken as TokenizersBackend",
    ),
    refused(
        TOKENIZER_CONFIG,
        "chat_template",
        "for `sentence` of a model without modules.json, of whose texts sentence-transformers makes messages; else no effect",
    ),
    refused(TOKENIZER_CONFIG, "fast_tokenizer_files", "where it names another file than tokenizer.json"),
    refused(TOKENIZER_CONFIG, "from_slow fix_mistral_regex init_inputs", "true, or not empty"),
    no_effect(
        TOKENIZER_CONFIG,
        "do_basic_tokenize never_split clean_text wordpieces_prefix word_tokenizer_type subword_tokenizer_type mecab_kwargs sudachi_kwargs jumanpp_kwargs",
        "the class of BERT does not look at them; with BertJapaneseTokenizer the class is refused",
    ),
    no_effect(
        TOKENIZER_CONFIG,
        "padding_side pad_token_type_id pad_to_multiple_of padding truncation max_length stride truncation_strategy clean_up_tokenization_spaces name_or_path special_tokens_map_file tokenizer_file vocab_file merges_file remove_space auto_map processor_class backend is_local local_files_only use_fast return_tensors errors model_type device_map torch_dtype verbose trust_remote_code",
        "",
    ),
    applied("special_tokens_map.json", "*", "over tokenizer_config.json, unless that has added_tokens_decoder"),
    applied("added_tokens.json", "*", "unless tokenizer_config.json has added_tokens_decoder"),
    applied(
        "tokenizer.json",
        "added_tokens model normalizer pre_tokenizer post_processor",
        "as spelled out, but for the flags of the normalizer above",
    ),
    applied("tokenizer.json", "truncation", "its direction, where tokenizer_config.json has no truncation_side"),
    no_effect("tokenizer.json", "version padding decoder", ""),
    applied("vocab.txt", "*", "WordPiece, where there is no tokenizer.json; EsmTokenizer, always"),
    applied(
        "vocab.json",
        "*",
        "with merges.txt: RobertaTokenizer and GPT2Tokenizer, where there is no tokenizer.json, as the next ones",
    ),
    applied("merges.txt", "*", ""),
    applied("sentencepiece.bpe.model", "*", "XLMRobertaTokenizer and CamembertTokenizer"),
    applied("spiece.model", "*", "AlbertTokenizer, and BertGenerationTokenizer always"),
    applied("spm.model", "*", "DebertaV2Tokenizer"),
    applied(
        "modules.json",
        "path type",
        "Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout, WeightedLayerPooling; others are refused",
    ),
    no_effect("modules.json", "idx name kwargs", ""),
    applied(
        SENTENCES,
        "prompts default_prompt_name truncate_dim model_type",
        "another model_type than SentenceTransformer: modules are not followed, as there",
    ),
    no_effect(SENTENCES, "__version__ similarity_fn_name requirements", ""),
    applied(TRANSFORMER, "max_seq_length do_lower_case", "also under the file's six older names"),
    applied(
        TRANSFORMER,
        "tokenizer_args processor_kwargs",
        "laid over tokenizer_config.json; the older name goes first",
    ),
    applied(TRANSFORMER, "config_args config_kwargs", "laid over config.json; the older name goes first"),
    applied(TRANSFORMER, "processing_kwargs", "max_length; what changes tokens otherwise is refused"),
    refused(TRANSFORMER, "model_args model_kwargs", "what changes numbers, such as torch_dtype float16"),
    refused(
        TRANSFORMER,
        "transformer_task module_output_name modality_config tokenizer_name_or_path",
        "other than the last layer of texts",
    ),
    no_effect(TRANSFORMER, "unpad_inputs query_length document_length query_expansion backend", ""),
    applied(
        POOLING,
        "pooling_mode pooling_mode_cls_token pooling_mode_max_tokens pooling_mode_mean_tokens pooling_mode_mean_sqrt_len_tokens pooling_mode_weightedmean_tokens pooling_mode_lasttoken include_prompt",
        "",
    ),
    no_effect(POOLING, "word_embedding_dimension embedding_dimension", ""),
    applied(
        DENSE,
        "in_features out_features bias activation_function use_residual",
        "Identity, Tanh, ReLU, GELU, Sigmoid, SiLU; other activations are refused",
    ),
    refused(DENSE, "module_input_name module_output_name", "other than sentence_embedding"),
    applied(LAYER_NORM, "dimension", ""),
    applied(
        WEIGHTED,
        "num_hidden_layers layer_start",
        "where the model is asked for all layers (output_hidden_states)",
    ),
    no_effect(WEIGHTED, "word_embedding_dimension embedding_dimension", ""),
    refused(NORMALIZE, "module_input_name module_output_name", "other than sentence_embedding"),
    no_effect(DROPOUT, "dropout", ""),
];

/// Files whose bytes matter as a whole.
const READ_WHOLE: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "adapter_config.json"];

/// Files that neither library reads for a vector, by the end of their name.
const NOT_READ: [&str; 23] = [
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    ".gitattributes",
    ".gitignore",
    ".keep",
    "generation_config.json",
    "training_args.bin",
    "trainer_state.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot",
    "data_config.json",
    "train_script.py",
    "similarity_evaluation_results.csv",
    "chat_template.jinja",
    "bert_config.json",
    "pytorch_model.bin.index.json",
    "unigram.json",
    ".safetensors",
];

impl Checkpoint {
    /// The files of a model's folder, and the keys of files that are read, that are not in the table; one line for
    /// each.
    ///
    /// # Errors
    /// Those of reading the model's files.
    pub fn beyond_the_table(&self) -> Result<Vec<String>> {
        let mut beyond = Vec::new();
        let modules = self.modules()?.unwrap_or_default();
        let mut files: Vec<(String, String)> = Vec::new(); // where, and its name in the table
        for name in [MODEL, TOKENIZER_CONFIG, "tokenizer.json"] {
            files.push((self.of_encoder(name), name.to_owned()));
        }
        for name in TRANSFORMER_SETTINGS {
            files.push((self.of_encoder(name), TRANSFORMER.to_owned()));
        }
        files.push((SENTENCES.to_owned(), SENTENCES.to_owned()));
        for module in modules.iter().filter(|module| !module.path.is_empty() && module.path != self.encoder) {
            let class = module.class.rsplit('.').next().unwrap_or_default();
            files.push((format!("{}/config.json", module.path), format!("N_{class}/config.json")));
        }
        for (file, in_table) in &files {
            let Ok(Some(keys)) = self.read_root_json::<Map<String, Value>>(file) else { continue };
            let known = keys_of(in_table);
            let unknown: Vec<&str> =
                keys.keys().map(String::as_str).filter(|key| !known.contains(key) && !known.contains("*")).collect();
            beyond.extend(unknown.into_iter().map(|key| format!("{file}: {key}")));
        }
        let read: BTreeSet<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
        for file in self.files() {
            let name = file.rsplit('/').next().unwrap_or(&file);
            let in_table = TABLE.iter().any(|row| row.file == name) || TRANSFORMER_SETTINGS.contains(&name);
            let is_known = in_table || READ_WHOLE.contains(&name) || NOT_READ.iter().any(|end| name.ends_with(end));
            if !is_known && !read.contains(file.as_str()) {
                beyond.push(format!("{file}: is not read"));
            }
        }
        Ok(beyond)
    }

    /// The files in the model's folder and in those of its modules.
    fn files(&self) -> Vec<String> {
        let ModelSource::Directory(directory) = &self.source else { return Vec::new() };
        let modules = self.modules().ok().flatten().unwrap_or_default();
        let folders = modules.iter().map(|module| module.path.as_str()).chain(encoder_folder(&modules));
        let folders: BTreeSet<&str> = folders.chain([""]).collect();
        let mut files = Vec::new();
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(directory.join(folder)) else { continue };
            for entry in entries.filter_map(std::result::Result::ok).filter(|entry| entry.path().is_file()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
            }
        }
        files.sort_unstable();
        files
    }
}

/// The keys that the table lists for a file.
fn keys_of(file: &str) -> BTreeSet<&'static str> {
    TABLE.iter().filter(|row| row.file == file).flat_map(|row| row.keys.split_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation's table, made from this one.
    fn as_markdown() -> String {
        let mut text = String::from("| file | keys | |\n|---|---|---|\n");
        for row in TABLE {
            let keys: Vec<String> = row.keys.split_whitespace().map(|key| format!("`{key}`")).collect();
            let treatment = match row.treatment {
                Treatment::Applied => "applied",
                Treatment::Refused => "refused by name",
                Treatment::NoEffect => "no effect",
            };
            let remark = if row.remark.is_empty() { String::new() } else { format!(": {}", row.remark) };
            text.push_str(&format!("| `{}` | {} | {treatment}{remark} |\n", row.file, keys.join(" ")));
        }
        text
    }

    #[test]
    fn the_docs_have_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/published-models.md");
        let docs = std::fs::read_to_string(path).unwrap();
        let table = as_markdown();
        assert!(docs.contains(&table), "docs/published-models.md: put in this table:\n{table}");
    }

    #[test]
    fn no_key_is_in_the_table_twice() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            for key in row.keys.split_whitespace() {
                assert!(seen.insert((row.file, key)), "{} {key}", row.file);
            }
        }
    }
}
