//! Loads a tokenizer as transformers does: from `tokenizer.json` or `vocab.txt`, and the settings beside them.

use ahash::AHashMap;
use serde_json::{Map, Value};
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{
    DecoderWrapper, Encoding, Model, NormalizerWrapper, PostProcessor, PostProcessorWrapper, PreTokenizerWrapper,
    Token, Tokenizer, TokenizerImpl,
};

use super::class::{self, Class, Known, NormalizerFlags, TOKENIZERS_BACKEND};
use super::settings::{
    ADDED_TOKENS, CONFIG, Rules, SPECIAL_TOKENS_MAP, SettingsFiles, SettingsProblem, TokenizerSettings,
};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::foreign::without_panic;
use crate::checkpoint::sentence::TokenizerArguments;
use crate::error::{Error, Result, json_problem};

const MODEL_CONFIG: &str = "config.json";
const JSON: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";

/// A tokenizer and its settings.
pub(super) struct Loaded {
    /// The tokenizer without truncation and padding, which layerwise does itself.
    pub(super) tokenizer: Tokenizer,
    /// The end at which texts are cut.
    pub(super) truncation: TruncationDirection,
    /// Whether the model takes token types (`model_input_names`); all are 0 otherwise.
    pub(super) token_type_ids: bool,
    /// The limit in tokens that the settings name.
    pub(super) model_max_length: Option<usize>,
    /// The unknown token (`[UNK]`).
    pub(super) unk_token: Option<String>,
    /// The ids of the special tokens that the settings name.
    pub(super) special_ids: Vec<u32>,
    /// Special tokens that `vocab.txt` lacks, with the ids that they get after the vocabulary's last one.
    pub(super) lacking: Vec<(String, u32)>,
    /// Notes for the user.
    pub(super) notes: Vec<String>,
}

/// Loads a model's tokenizer.
///
/// # Errors
/// [`Error::Model`] when there is no tokenizer or a damaged one, [`Error::Config`] for a setting that is not supported.
pub(super) fn load(checkpoint: &Checkpoint, arguments: &TokenizerArguments) -> Result<Loaded> {
    let mut files = SettingsFiles {
        config: checkpoint.read_json(CONFIG)?.unwrap_or_default(),
        special_tokens_map: checkpoint.read_json(SPECIAL_TOKENS_MAP)?,
        added_tokens: checkpoint.read_json(ADDED_TOKENS)?,
        arguments: arguments.settings.clone(),
        ..SettingsFiles::default()
    };
    let refuse =
        |SettingsProblem { file, key, problem }| Error::Config { path: checkpoint.path_of(file), key, problem };
    let mut notes = Vec::new();
    let mut class = choose_class(checkpoint, &files, &mut notes)?;
    refuse_what_is_not_done(&files).map_err(refuse)?;

    let mut from_json = read_json(checkpoint)?;
    let mut truncation = TruncationDirection::Right;
    let mut rules = if std::ptr::eq(class, TOKENIZERS_BACKEND) { Rules::Five } else { Rules::Four };
    if let Some(tokenizer) = &from_json {
        files.of_json = tokenizer.get_added_tokens_decoder().into_iter().collect();
        files.padding_of_json = tokenizer.get_padding().map(|padding| padding.pad_token.clone());
        truncation = tokenizer.get_truncation().map_or(truncation, |params| params.direction);
        if class.normalizer != NormalizerFlags::None && tokenizer.get_normalizer().is_none() {
            rules = Rules::Five; // version 4 asks the normalizer for its flags, whether there is one or not
        }
    }
    // In version 4 a path in the settings goes before the file that is there: null is no file, and the path of another
    // machine is an error.
    match files.setting(if from_json.is_some() { "tokenizer_file" } else { "vocab_file" }) {
        None => {}
        Some(Value::Null) if from_json.is_some() && class.separators.is_some() && checkpoint.has(VOCABULARY) => {
            from_json = None;
        }
        Some(_) => rules = Rules::Five,
    }
    let settings = match TokenizerSettings::merge(&files, class, rules) {
        Err(_) if rules == Rules::Four => {
            rules = Rules::Five;
            TokenizerSettings::merge(&files, class, rules)
        }
        settings => settings,
    };
    let settings = settings.map_err(refuse)?;

    // Version 5 knows PreTrainedTokenizerFast by another name, and gives it no token types.
    if rules == Rules::Five && class.special_tokens.is_empty() {
        class = TOKENIZERS_BACKEND;
    }
    // Version 5 makes the tokenizer of a class anew, out of the vocabulary alone.
    let is_rebuilt = rules == Rules::Five && !class.special_tokens.is_empty();
    let damaged = |error: tokenizers::Error| Error::model(checkpoint.path_of(JSON), format!("is damaged: {error}"));
    let mut is_of_vocabulary = false;
    let tokenizer = match from_json {
        Some(mut tokenizer) if !is_rebuilt => {
            if class.normalizer != NormalizerFlags::None {
                let own = spelled_out_otherwise(&tokenizer, &settings);
                if !own.is_empty() {
                    notes.push(format!(
                        "tokenizer.json has a {} of its own, which {} used, as in transformers 4; transformers 5 builds {}'s instead",
                        own.join(" and a "),
                        if own.len() == 1 { "is" } else { "are" },
                        class.name
                    ));
                }
            }
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(damaged)?;
            tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(damaged)?;
            follow_class(&mut tokenizer, class, &settings).map_err(refuse)?;
            tokenizer
        }
        Some(tokenizer) => {
            from_vocabulary(vocabulary_of(&tokenizer, class).map_err(refuse)?, class, &settings).map_err(refuse)?
        }
        None => {
            is_of_vocabulary = true;
            let Some(bytes) = checkpoint.read(VOCABULARY)? else {
                let problem = "is missing, and so is vocab.txt; a model needs one of them";
                return Err(Error::model(checkpoint.path_of(JSON), problem));
            };
            let vocabulary =
                parse_vocabulary(&bytes).map_err(|problem| Error::model(checkpoint.path_of(VOCABULARY), problem))?;
            from_vocabulary(vocabulary, class, &settings).map_err(refuse)?
        }
    };
    let lacking = if is_of_vocabulary { lacking(&tokenizer, &settings) } else { Vec::new() };
    let loaded = finish(tokenizer, &settings, class, arguments, truncation, notes).map_err(refuse)?;
    Ok(Loaded { lacking, ..loaded })
}

/// The special tokens around a text, and the unknown token unless the settings name another, that the vocabulary does
/// not have.
fn lacking(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Vec<(String, u32)> {
    let needed = ["unk_token", "cls_token", "sep_token"];
    let needed = needed.into_iter().filter(|key| *key != "unk_token" || settings.get(key).is_none());
    let tokens = needed.filter_map(|key| settings.token(key));
    let lacking = tokens.filter(|token| tokenizer.get_model().token_to_id(token).is_none());
    lacking.filter_map(|token| Some((token.to_owned(), tokenizer.token_to_id(token)?))).collect()
}

/// Applies the settings that hold for a tokenizer from either file.
fn finish(
    mut tokenizer: Tokenizer,
    settings: &TokenizerSettings,
    class: &Class,
    arguments: &TokenizerArguments,
    truncation: TruncationDirection,
    mut notes: Vec<String>,
) -> std::result::Result<Loaded, SettingsProblem> {
    for (id, content) in &settings.promised_ids {
        if let Some(found) = tokenizer.token_to_id(content).filter(|found| found != id) {
            notes.push(format!(
                "the tokenizer's settings give token `{content}` the id {id}; it has {found}, as it has in transformers"
            ));
        }
    }
    for (key, content) in settings.tokens_of_version_5() {
        if tokenizer.get_added_vocabulary().get_vocab().contains_key(&content) {
            continue;
        }
        notes.push(format!(
            "`{content}` ({key}) is split like other text, as in transformers 4; in transformers 5 it is one token"
        ));
    }
    tokenizer.set_encode_special_tokens(settings.flag("split_special_tokens", false)?);
    if arguments.lower_case {
        lower_case_first(&mut tokenizer).map_err(|error| settings.problem("do_lower_case", error.to_string()))?;
    }
    Ok(Loaded {
        truncation: truncation_side(settings, truncation)?,
        token_type_ids: token_type_ids(settings, class)?,
        model_max_length: settings.model_max_length()?.map(|length| length as usize),
        unk_token: unk_token(&tokenizer, settings),
        lacking: Vec::new(),
        special_ids: settings.special.iter().filter_map(|token| tokenizer.token_to_id(token)).collect(),
        tokenizer,
        notes,
    })
}

/// The class that transformers would choose: that of `tokenizer_config.json`, else of `config.json`, else BERT's.
fn choose_class(checkpoint: &Checkpoint, files: &SettingsFiles, notes: &mut Vec<String>) -> Result<&'static Class> {
    let of_model: Option<Map<String, Value>> = checkpoint.read_json(MODEL_CONFIG)?;
    let named = |map: &Map<String, Value>| map.get("tokenizer_class").filter(|name| !name.is_null()).cloned();
    let (file, name) = match named(&files.config) {
        Some(name) => (CONFIG, name),
        None => match of_model.as_ref().and_then(named) {
            Some(name) => (MODEL_CONFIG, name),
            None => return Ok(class::BERT),
        },
    };
    let refuse =
        |problem: String| Error::Config { path: checkpoint.path_of(file), key: "tokenizer_class".to_owned(), problem };
    let Value::String(name) = name else { return Err(refuse(format!("expected the name of a class, found {name}"))) };
    match class::find(&name) {
        Known::Yes(class) => Ok(class),
        Known::ByName => Err(refuse(format!(
            "`{name}` is not supported: it does more than tokenizer.json says; save the tokenizer with \
             PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained, where it has one"
        ))),
        Known::No => {
            notes.push(format!(
                "{file} names the tokenizer class `{name}`, which is not part of transformers: tokenizer.json is taken as \
                 it is, as transformers does"
            ));
            Ok(TOKENIZERS_BACKEND)
        }
    }
}

/// Refuses settings that would make the tokenizer from other files or by other rules.
fn refuse_what_is_not_done(files: &SettingsFiles) -> std::result::Result<(), SettingsProblem> {
    let refuse = |key: &str, problem: String| Err(SettingsProblem { file: CONFIG, key: key.to_owned(), problem });
    if let Some(Value::Array(names)) = files.config.get("fast_tokenizer_files")
        && let Some(other) = names.iter().find(|name| name.as_str() != Some(JSON))
    {
        return refuse(
            "fast_tokenizer_files",
            format!(
                "names {other}, a tokenizer for some versions of transformers only; rename the one to be used to {JSON}"
            ),
        );
    }
    for key in ["from_slow", "fix_mistral_regex"] {
        if files.config.get(key).or(files.arguments.get(key)) == Some(&Value::Bool(true)) {
            return refuse(key, "true is not supported; save the tokenizer as tokenizer.json".to_owned());
        }
    }
    if files.config.get("init_inputs").and_then(Value::as_array).is_some_and(|inputs| !inputs.is_empty()) {
        return refuse("init_inputs", "is not empty, which is not supported; save the tokenizer again".to_owned());
    }
    Ok(())
}

/// Parses the model's `tokenizer.json`, if it has one.
///
/// The tokenizers library first reads the model into a tree of values to see its kind, which takes three times as long.
/// As BERT's is nearly always WordPiece, that is tried first, and the library reads anything else.
fn read_json(checkpoint: &Checkpoint) -> Result<Option<Tokenizer>> {
    type WordPieceTokenizer =
        TokenizerImpl<WordPiece, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;
    let Some(bytes) = checkpoint.read(JSON)? else { return Ok(None) };
    let parse = || match serde_json::from_slice::<WordPieceTokenizer>(&bytes) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => Tokenizer::from_bytes(&bytes),
    };
    let tokenizer = without_panic(parse);
    tokenizer
        .map(Some)
        .map_err(|problem| Error::model(checkpoint.path_of(JSON), format!("is damaged: {}", json_problem(&problem))))
}

/// A line's token has the line's number, from 0, as its id. Lines end as Python takes them to end: with `\n`, `\r\n` or
/// `\r`.
fn parse_vocabulary(bytes: &[u8]) -> std::result::Result<AHashMap<String, u32>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8 after {} bytes", error.valid_up_to()))?;
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n');
    Ok(lines.enumerate().map(|(id, line)| (line.to_owned(), id as u32)).collect())
}

/// The vocabulary that version 5 takes out of a `tokenizer.json`.
fn vocabulary_of(tokenizer: &Tokenizer, class: &Class) -> std::result::Result<AHashMap<String, u32>, SettingsProblem> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(_) => Ok(tokenizer.get_vocab(false).into_iter().collect()),
        _ => Err(SettingsProblem {
            file: CONFIG,
            key: "tokenizer_class".to_owned(),
            problem: format!("`{}` needs a vocabulary of WordPiece, which tokenizer.json does not have", class.name),
        }),
    }
}

/// BERT's tokenizer out of a WordPiece vocabulary, as transformers' class builds it.
fn from_vocabulary(
    vocabulary: AHashMap<String, u32>,
    class: &Class,
    settings: &TokenizerSettings,
) -> std::result::Result<Tokenizer, SettingsProblem> {
    let Some(separators) = class.separators else {
        return Err(SettingsProblem {
            file: CONFIG,
            key: "tokenizer_class".to_owned(),
            problem: format!(
                "`{}` cannot be built from vocab.txt; save the tokenizer as tokenizer.json (save_pretrained of its fast version)",
                class.name
            ),
        });
    };
    let wrong = |error: tokenizers::Error| settings.problem("tokenizer_class", format!("cannot be built: {error}"));
    let unk_token = settings.token("unk_token").unwrap_or("None").to_owned();
    let model = WordPiece::builder().vocab(vocabulary).unk_token(unk_token).build().map_err(wrong)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(bert_normalizer(true, settings)?)).map_err(wrong)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.add_tokens(settings.tokens.iter().cloned()).map_err(wrong)?;

    let around = |attribute: &str| -> std::result::Result<(String, u32), SettingsProblem> {
        let Some(token) = settings.token(attribute) else {
            return Err(settings.problem(attribute, "is null, and every text needs it; name a token".to_owned()));
        };
        match tokenizer.token_to_id(token) {
            Some(id) => Ok((token.to_owned(), id)),
            None => Err(settings.problem(attribute, format!("is `{token}`, which is no token"))),
        }
    };
    let (cls, sep) = (around("cls_token")?, around("sep_token")?);
    let post_processor: PostProcessorWrapper = if separators == 1 {
        BertProcessing::new(sep, cls).into()
    } else {
        RobertaProcessing::new(sep, cls).trim_offsets(false).into()
    };
    tokenizer.with_post_processor(Some(post_processor));
    Ok(tokenizer)
}

fn bert_normalizer(
    clean_text: bool,
    settings: &TokenizerSettings,
) -> std::result::Result<BertNormalizer, SettingsProblem> {
    Ok(BertNormalizer::new(
        clean_text,
        settings.flag("tokenize_chinese_chars", true)?,
        settings.optional_flag("strip_accents", None)?,
        settings.flag("do_lower_case", true)?,
    ))
}

/// The parts of a `tokenizer.json` that version 5 would build anew and differently.
fn spelled_out_otherwise(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Vec<&'static str> {
    let mut own = Vec::new();
    if !matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(normalizer)) if normalizer.clean_text)
    {
        own.push("normalizer");
    }
    if !matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_))) {
        own.push("pre-tokenizer");
    }
    let is_standard = |model: &WordPiece| {
        model.max_input_chars_per_word == 100
            && model.continuing_subword_prefix == "##"
            && settings.token("unk_token").is_none_or(|unk| unk == model.unk_token)
    };
    if !matches!(tokenizer.get_model(), ModelWrapper::WordPiece(model) if is_standard(model)) {
        own.push("model");
    }
    if !has_template_of_class(tokenizer, settings) {
        own.push("template");
    }
    own
}

/// Whether texts and pairs get the special tokens and token types that BERT's class gives them.
fn has_template_of_class(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> bool {
    let id = |attribute: &str| tokenizer.token_to_id(settings.token(attribute)?);
    let (Some(cls), Some(sep), Some(processor)) = (id("cls_token"), id("sep_token"), tokenizer.get_post_processor())
    else {
        return false;
    };
    let text = |type_id| Encoding::from_tokens(vec![Token::new(u32::MAX, "text".to_owned(), (0, 4))], type_id);
    let types = |joined: Option<Encoding>| {
        joined.map(|joined| (joined.get_ids().to_vec(), joined.get_type_ids().to_vec())).unwrap_or_default()
    };
    let single = processor.process(text(0), None, true).ok();
    let pair = processor.process(text(0), Some(text(1)), true).ok();
    types(single) == (vec![cls, u32::MAX, sep], vec![0; 3])
        && types(pair) == (vec![cls, u32::MAX, sep, u32::MAX, sep], vec![0, 0, 0, 1, 1])
}

/// Applies what the tokenizer's class overrides in its `tokenizer.json`.
fn follow_class(
    tokenizer: &mut Tokenizer,
    class: &Class,
    settings: &TokenizerSettings,
) -> std::result::Result<(), SettingsProblem> {
    if let Some(NormalizerWrapper::BertNormalizer(spelled_out)) = tokenizer.get_normalizer()
        && class.normalizer != NormalizerFlags::None
    {
        let mut settled = bert_normalizer(spelled_out.clean_text, settings)?;
        if class.normalizer == NormalizerFlags::CaseAndAccents {
            settled.handle_chinese_chars = spelled_out.handle_chinese_chars;
        }
        let flags = |own: &BertNormalizer| (own.lowercase, own.strip_accents, own.handle_chinese_chars);
        if flags(&settled) != flags(spelled_out) {
            let wrong = |error: tokenizers::Error| settings.problem("do_lower_case", error.to_string());
            tokenizer.with_normalizer(Some(settled)).map_err(wrong)?;
        }
    }
    // All classes hold a pre-tokenizer of bytes to this setting, which is false where nobody sets it.
    if let Some(PreTokenizerWrapper::ByteLevel(spelled_out)) = tokenizer.get_pre_tokenizer() {
        let add_prefix_space = settings.flag("add_prefix_space", false)?;
        if spelled_out.add_prefix_space != add_prefix_space {
            let settled = spelled_out.add_prefix_space(add_prefix_space);
            tokenizer.with_pre_tokenizer(Some(settled));
        }
    }
    Ok(())
}

/// Converts texts to lower case before any other step, as sentence-transformers does.
fn lower_case_first(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    let own: Vec<NormalizerWrapper> = match tokenizer.get_normalizer() {
        None => Vec::new(),
        Some(NormalizerWrapper::Sequence(sequence)) => sequence.as_ref().to_vec(),
        Some(normalizer) => vec![normalizer.clone()],
    };
    if !own.iter().any(|normalizer| matches!(normalizer, NormalizerWrapper::Lowercase(_))) {
        let all = [NormalizerWrapper::Lowercase(Lowercase)].into_iter().chain(own).collect();
        tokenizer.with_normalizer(Some(Sequence::new(all)))?;
    }
    Ok(())
}

/// The end at which texts are cut: that of the settings, else of `tokenizer.json`.
fn truncation_side(
    settings: &TokenizerSettings,
    of_json: TruncationDirection,
) -> std::result::Result<TruncationDirection, SettingsProblem> {
    match settings.get("truncation_side") {
        None => Ok(of_json),
        Some(Value::String(side)) if side == "right" => Ok(TruncationDirection::Right),
        Some(Value::String(side)) if side == "left" => Ok(TruncationDirection::Left),
        Some(other) => {
            Err(settings.problem("truncation_side", format!("expected \"left\" or \"right\", found {other}")))
        }
    }
}

/// Whether the model takes token types.
fn token_type_ids(settings: &TokenizerSettings, class: &Class) -> std::result::Result<bool, SettingsProblem> {
    match settings.get("model_input_names") {
        None => Ok(class.token_type_ids),
        Some(Value::Array(names)) => Ok(names.iter().any(|name| name == "token_type_ids")),
        Some(other) => Err(settings.problem("model_input_names", format!("expected a list of names, found {other}"))),
    }
}

/// The unknown token (`[UNK]`).
fn unk_token(tokenizer: &Tokenizer, settings: &TokenizerSettings) -> Option<String> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
        ModelWrapper::BPE(model) => model.unk_token.clone(),
        ModelWrapper::Unigram(_) => settings.token("unk_token").map(str::to_owned),
    }
}
