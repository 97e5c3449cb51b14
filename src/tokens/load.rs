//! Loads a tokenizer as transformers does: from `tokenizer.json` or the files of its class, and the settings beside them.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Sequence};
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerImpl,
};

use super::byte_level::{self, BytePairs};
use super::class::{
    self, ByteLevelKind, Class, Known, NormalizerFlags, Rules, SentencePieceKind, TOKENIZERS_BACKEND, Vocabulary,
};
use super::sentence_piece::{ConversionProblem, SentencePieceModel};
use super::settings::{ADDED_TOKENS, CONFIG, SPECIAL_TOKENS_MAP, SettingsFiles, SettingsProblem, TokenizerSettings};
use super::unigram::UnigramParts;
use super::{esm, word_piece};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::foreign::without_panic;
use crate::checkpoint::sentence::TokenizerArguments;
use crate::error::{Error, Result, json_problem};

const MODEL_CONFIG: &str = "config.json";
const JSON: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
/// Files that some class makes a tokenizer of.
const OF_CLASSES: [&str; 5] = [VOCABULARY, "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model"];

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
    /// Whether there is something to put between the texts of a pair, as some classes demand.
    pub(super) takes_pairs: bool,
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
    let refuse = |problem| refusal(checkpoint, problem);
    let mut notes = Vec::new();
    let (mut class, mut rules) = choose_class(checkpoint, &files, &mut notes)?;
    refuse_what_is_not_done(&files, class).map_err(refuse)?;

    let mut from_json = if class.vocabulary.is_alone() { None } else { read_json(checkpoint)? };
    let mut truncation = TruncationDirection::Right;
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
    let own_files = class.vocabulary.files();
    let has_own_files = !own_files.is_empty() && own_files.iter().all(|name| checkpoint.has(name));
    match files.setting(if from_json.is_some() { "tokenizer_file" } else { "vocab_file" }) {
        None => {}
        Some(Value::Null) if from_json.is_some() && has_own_files => from_json = None,
        Some(_) => rules = Rules::Five,
    }
    let sentence_piece = match class.vocabulary {
        Vocabulary::SentencePiece(kind) if from_json.is_none() => {
            let model = read_sentence_piece(checkpoint, class)?;
            files.of_conversion = Some(model.added_tokens(kind));
            Some(model)
        }
        _ => None,
    };
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
    let made = match from_json {
        Some(tokenizer) if is_rebuilt => Made::alone(rebuild(checkpoint, &tokenizer, class, &settings)?),
        Some(tokenizer) => Made::alone(follow_json(checkpoint, tokenizer, class, &settings, &mut notes)?),
        None => make_of_files(checkpoint, sentence_piece.as_ref(), class, &settings, rules)?,
    };
    let lacking = if made.is_of_words { word_piece::lacking(&made.tokenizer, &settings) } else { Vec::new() };
    let takes_pairs = made.takes_pairs;
    let loaded = finish(made.tokenizer, &settings, class, rules, arguments, truncation, notes).map_err(refuse)?;
    Ok(Loaded { lacking, takes_pairs, ..loaded })
}

/// A tokenizer, and what has to be known of how it was made.
struct Made {
    tokenizer: Tokenizer,
    takes_pairs: bool,
    /// Whether it was made of a `vocab.txt` of WordPiece.
    is_of_words: bool,
}

impl Made {
    fn alone(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, takes_pairs: true, is_of_words: false }
    }
}

/// The tokenizer of `tokenizer.json`, with what its class adds and overrides.
fn follow_json(
    checkpoint: &Checkpoint,
    mut tokenizer: Tokenizer,
    class: &Class,
    settings: &TokenizerSettings,
    notes: &mut Vec<String>,
) -> Result<Tokenizer> {
    let damaged = |error: tokenizers::Error| Error::model(checkpoint.path_of(JSON), format!("is damaged: {error}"));
    if class.normalizer != NormalizerFlags::None {
        let own = word_piece::spelled_out_otherwise(&tokenizer, settings);
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
    follow_class(&mut tokenizer, class, settings).map_err(|problem| refusal(checkpoint, problem))?;
    Ok(tokenizer)
}

/// The tokenizer that version 5 makes of what it keeps of a `tokenizer.json`.
fn rebuild(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    class: &Class,
    settings: &TokenizerSettings,
) -> Result<Tokenizer> {
    let refuse = |problem| refusal(checkpoint, problem);
    let is_of_another_kind = |needs: &str| {
        refuse(SettingsProblem {
            file: CONFIG,
            key: "tokenizer_class".to_owned(),
            problem: format!("`{}` needs a vocabulary of {needs}, which tokenizer.json does not have", class.name),
        })
    };
    match class.vocabulary {
        Vocabulary::WordPiece { separators } => {
            let vocabulary = word_piece::vocabulary_of(tokenizer).ok_or_else(|| is_of_another_kind("WordPiece"))?;
            word_piece::build(vocabulary, separators, settings).map_err(refuse)
        }
        Vocabulary::ByteLevel(kind) => {
            let pairs = byte_level::vocabulary_of(tokenizer).ok_or_else(|| is_of_another_kind("BPE"))?;
            let model = without_panic(|| byte_level::model(pairs));
            let damaged = |problem| Error::model(checkpoint.path_of(JSON), format!("is damaged: {problem}"));
            let processor = tokenizer.get_post_processor().cloned();
            byte_level::build(model.map_err(damaged)?, kind, settings, Rules::Five, processor).map_err(refuse)
        }
        Vocabulary::SentencePiece(kind) => {
            let parts = UnigramParts::of_json(tokenizer).ok_or_else(|| is_of_another_kind("Unigram"))?;
            parts.build(kind, settings).map_err(|problem| conversion_error(checkpoint, JSON, problem))
        }
        Vocabulary::Residues | Vocabulary::None => Err(is_of_another_kind("its own")),
    }
}

/// The tokenizer that a class makes of its own files.
fn make_of_files(
    checkpoint: &Checkpoint,
    sentence_piece: Option<&SentencePieceModel>,
    class: &Class,
    settings: &TokenizerSettings,
    rules: Rules,
) -> Result<Made> {
    let refuse = |problem| refusal(checkpoint, problem);
    let wrong = |name: &'static str| move |problem: String| Error::model(checkpoint.path_of(name), problem);
    match class.vocabulary {
        Vocabulary::WordPiece { separators } => {
            let bytes = read_needed(checkpoint, class, VOCABULARY)?;
            let vocabulary = word_piece::parse_vocabulary(&bytes).map_err(wrong(VOCABULARY))?;
            let tokenizer = word_piece::build(vocabulary, separators, settings).map_err(refuse)?;
            Ok(Made { is_of_words: true, ..Made::alone(tokenizer) })
        }
        Vocabulary::Residues => {
            let bytes = read_needed(checkpoint, class, VOCABULARY)?;
            let lines = esm::parse_vocabulary(&bytes).map_err(wrong(VOCABULARY))?;
            let (tokenizer, takes_pairs) = esm::build(&lines, settings).map_err(refuse)?;
            Ok(Made { takes_pairs, ..Made::alone(tokenizer) })
        }
        Vocabulary::ByteLevel(kind) => {
            const FILES: [&str; 2] = ["vocab.json", "merges.txt"];
            let vocabulary = byte_level::parse_vocabulary(&read_needed(checkpoint, class, FILES[0])?);
            let vocabulary =
                vocabulary.map_err(|error| wrong(FILES[0])(format!("is damaged: {}", json_problem(&error))))?;
            let merges = byte_level::parse_merges(&read_needed(checkpoint, class, FILES[1])?, rules);
            let merges = merges.map_err(wrong(FILES[1]))?;
            // The library does not look at how long merges are, and panics.
            let model = without_panic(|| byte_level::model(BytePairs { vocabulary, merges }));
            let model = model.map_err(|problem| wrong(FILES[1])(format!("cannot be used: {problem}")))?;
            Ok(Made::alone(byte_level::build(model, kind, settings, rules, None).map_err(refuse)?))
        }
        Vocabulary::SentencePiece(kind) => {
            let name = class.vocabulary.files()[0];
            let Some(model) = sentence_piece else { return Err(lacks_files(checkpoint, class, name)) };
            let made = without_panic(|| {
                Ok::<_, String>(if rules == Rules::Four || kind == SentencePieceKind::BertGeneration {
                    model.build(kind, settings)
                } else {
                    let parts = UnigramParts::of_sentence_piece(model, kind, settings);
                    parts.map_err(ConversionProblem::File).and_then(|parts| parts.build(kind, settings))
                })
            });
            let tokenizer = made.map_err(|problem| wrong(name)(format!("cannot be used: {problem}")))?;
            Ok(Made::alone(tokenizer.map_err(|problem| conversion_error(checkpoint, name, problem))?))
        }
        Vocabulary::None if checkpoint.has(VOCABULARY) => Err(refuse(SettingsProblem {
            file: CONFIG,
            key: "tokenizer_class".to_owned(),
            problem: format!(
                "`{}` cannot be built from vocab.txt; save the tokenizer as tokenizer.json (save_pretrained of its fast version)",
                class.name
            ),
        })),
        Vocabulary::None => Err(lacks_files(checkpoint, class, JSON)),
    }
}

/// A file that a class cannot do without.
fn read_needed(checkpoint: &Checkpoint, class: &Class, name: &'static str) -> Result<Cow<'static, [u8]>> {
    checkpoint.read(name)?.ok_or_else(|| lacks_files(checkpoint, class, name))
}

fn read_sentence_piece(checkpoint: &Checkpoint, class: &Class) -> Result<SentencePieceModel> {
    let name = class.vocabulary.files()[0];
    let bytes = read_needed(checkpoint, class, name)?;
    let parsed = without_panic(|| SentencePieceModel::parse(&bytes));
    parsed.map_err(|problem| Error::model(checkpoint.path_of(name), problem))
}

/// The error for a model that lacks `name`, of which its class makes a tokenizer.
fn lacks_files(checkpoint: &Checkpoint, class: &Class, name: &str) -> Error {
    let files = class.vocabulary.files();
    let others = OF_CLASSES.iter().find(|other| !files.contains(other) && checkpoint.has(other));
    let instead = others.map_or_else(String::new, |other| {
        format!(
            "; it has {other}, which `{}` does not read: is its class another one (tokenizer_class of tokenizer_config.json)?",
            class.name
        )
    });
    if class.vocabulary.is_alone() {
        let problem = format!("is missing, and `{}` reads no other file for its tokens{instead}", class.name);
        return Error::model(checkpoint.path_of(name), problem);
    }
    let problem = match files {
        [] => format!("is missing, and `{}` knows no other file{instead}", class.name),
        [file] => format!("is missing, and so is {file}; a model needs one of them{instead}"),
        files => format!("is missing, and so is {name}; a model needs it, or {}{instead}", files.join(" and ")),
    };
    Error::model(checkpoint.path_of(JSON), problem)
}

fn refusal(checkpoint: &Checkpoint, SettingsProblem { file, key, problem }: SettingsProblem) -> Error {
    Error::Config { path: checkpoint.path_of(file), key, problem }
}

fn conversion_error(checkpoint: &Checkpoint, file: &str, problem: ConversionProblem) -> Error {
    match problem {
        ConversionProblem::File(problem) => Error::model(checkpoint.path_of(file), problem),
        ConversionProblem::Setting(problem) => refusal(checkpoint, problem),
    }
}

/// Applies the settings that hold for a tokenizer from either file.
fn finish(
    mut tokenizer: Tokenizer,
    settings: &TokenizerSettings,
    class: &Class,
    rules: Rules,
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
        token_type_ids: token_type_ids(settings, class, rules)?,
        model_max_length: settings.model_max_length()?.map(|length| length as usize),
        unk_token: unk_token(&tokenizer, settings),
        takes_pairs: true,
        lacking: Vec::new(),
        special_ids: settings.special.iter().filter_map(|token| tokenizer.token_to_id(token)).collect(),
        tokenizer,
        notes,
    })
}

/// The class that transformers would choose, and the version whose rules it has: that of `tokenizer_config.json`, else of
/// `config.json`, else the `model_type`'s.
fn choose_class(
    checkpoint: &Checkpoint,
    files: &SettingsFiles,
    notes: &mut Vec<String>,
) -> Result<(&'static Class, Rules)> {
    let of_model: Map<String, Value> = checkpoint.read_json(MODEL_CONFIG)?.unwrap_or_default();
    let named = |map: &Map<String, Value>| map.get("tokenizer_class").filter(|name| !name.is_null()).cloned();
    let (file, key, name, rules) = match (named(&files.config), named(&of_model), of_model.get("model_type")) {
        (Some(name), _, _) => (CONFIG, "tokenizer_class", name, Rules::Four),
        (None, Some(name), _) => (MODEL_CONFIG, "tokenizer_class", name, Rules::Four),
        (None, None, Some(Value::String(model_type))) => match class::of_model_type(model_type) {
            Some((name, rules)) => (MODEL_CONFIG, "model_type", Value::from(name), rules),
            None => return Ok((TOKENIZERS_BACKEND, Rules::Five)),
        },
        _ => return Ok((class::BERT, Rules::Four)),
    };
    let refuse = |problem: String| Error::Config { path: checkpoint.path_of(file), key: key.to_owned(), problem };
    let Value::String(name) = name else { return Err(refuse(format!("expected the name of a class, found {name}"))) };
    match class::find(&name) {
        Known::Yes(class) if std::ptr::eq(class, TOKENIZERS_BACKEND) => Ok((class, Rules::Five)),
        Known::Yes(class) => Ok((class, rules)),
        Known::ByName if name.starts_with("RoFormerTokenizer") => Err(refuse(format!(
            "`{name}` is not supported: it cuts Chinese words with a dictionary (jieba) before it looks for pieces, which no \
             tokenizer.json can hold"
        ))),
        Known::ByName => Err(refuse(format!(
            "`{name}` is not supported: it does more than tokenizer.json says; save the tokenizer with \
             PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained, where it has one"
        ))),
        Known::No => {
            notes.push(format!(
                "{file} names the tokenizer class `{name}`, which is not part of transformers: tokenizer.json is taken as \
                 it is, as transformers does"
            ));
            Ok((TOKENIZERS_BACKEND, Rules::Five))
        }
    }
}

/// Refuses settings that would make the tokenizer from other files or by other rules.
fn refuse_what_is_not_done(files: &SettingsFiles, class: &Class) -> std::result::Result<(), SettingsProblem> {
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
    // Those of the SentencePiece library, which transformers itself uses for this class alone.
    if class.vocabulary == Vocabulary::SentencePiece(SentencePieceKind::BertGeneration)
        && let Some(Value::Object(arguments)) = files.setting("sp_model_kwargs")
        && !arguments.is_empty()
    {
        return refuse("sp_model_kwargs", "is not empty, which is not supported".to_owned());
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

/// Applies what the tokenizer's class overrides in its `tokenizer.json`.
fn follow_class(
    tokenizer: &mut Tokenizer,
    class: &Class,
    settings: &TokenizerSettings,
) -> std::result::Result<(), SettingsProblem> {
    if let Some(NormalizerWrapper::BertNormalizer(spelled_out)) = tokenizer.get_normalizer()
        && class.normalizer != NormalizerFlags::None
    {
        let mut settled = word_piece::bert_normalizer(spelled_out.clean_text, settings)?;
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
    if class.vocabulary == Vocabulary::ByteLevel(ByteLevelKind::Roberta) {
        byte_level::follow_settings(tokenizer, settings)?;
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
fn token_type_ids(
    settings: &TokenizerSettings,
    class: &Class,
    rules: Rules,
) -> std::result::Result<bool, SettingsProblem> {
    match settings.get("model_input_names") {
        None => Ok(class.token_type_ids.by(rules)),
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
