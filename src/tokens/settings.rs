//! What a model's files say of its tokenizer, merged as transformers merges them.
//!
//! `tokenizer_config.json` holds keyword arguments of the tokenizer's class. Unless it lists all added tokens itself
//! (`added_tokens_decoder`), `special_tokens_map.json` is laid over it, and the tokens of `added_tokens.json` and of
//! `tokenizer.json` are added. Source: `PreTrainedTokenizerBase._from_pretrained` and the constructors that it calls, in
//! transformers 4.57 ([`Rules::Four`]) and 5.24 ([`Rules::Five`]).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::{ATTRIBUTES, Class, MadeBy, Rules, SpecialToken};

pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

const ADDED_TOKENS_DECODER: &str = "added_tokens_decoder";
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";

/// The files, as they were read.
#[derive(Debug, Default)]
pub(super) struct SettingsFiles {
    /// `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`.
    pub(super) special_tokens_map: Option<Map<String, Value>>,
    /// `added_tokens.json`: token → id.
    pub(super) added_tokens: Option<BTreeMap<String, u32>>,
    /// Arguments that sentence-transformers passes beside the files.
    pub(super) arguments: Map<String, Value>,
    /// The added tokens of `tokenizer.json` by id.
    pub(super) of_json: BTreeMap<u32, AddedToken>,
    /// The token that the padding of `tokenizer.json` uses.
    pub(super) padding_of_json: Option<String>,
    /// The added tokens of a tokenizer that was made of another file than `tokenizer.json`, by id.
    pub(super) of_conversion: Option<BTreeMap<u32, AddedToken>>,
}

impl SettingsFiles {
    /// A setting as the files have it, not merged.
    pub(super) fn setting(&self, key: &str) -> Option<&Value> {
        self.arguments.get(key).or_else(|| self.config.get(key))
    }
}

/// A setting that a class of transformers would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingsProblem {
    pub(super) file: &'static str,
    pub(super) key: String,
    pub(super) problem: String,
}

/// A special token as configurations write it.
#[derive(Debug, Clone, PartialEq)]
enum Declared {
    Text(String),
    Object(Flagged),
}

/// An `AddedToken`. Where nothing is said of `normalized`, special tokens are not and others are.
#[derive(Debug, Clone)]
struct Flagged {
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: Option<bool>,
    special: bool,
}

/// What is left of the files when they are merged.
#[derive(Debug)]
pub(super) struct TokenizerSettings {
    values: Map<String, Value>,
    /// Keys whose value `special_tokens_map.json` has given.
    from_map: Vec<String>,
    /// Special tokens of the model's own by name (`extra_special_tokens`).
    own: Map<String, Value>,
    /// The special tokens by attribute.
    named: Vec<(String, Declared)>,
    /// The texts of all special tokens.
    pub(super) special: Vec<String>,
    /// Tokens to be added, in order.
    pub(super) tokens: Vec<AddedToken>,
    /// Ids that `added_tokens_decoder` and `added_tokens.json` promise.
    pub(super) promised_ids: Vec<(u32, String)>,
}

impl TokenizerSettings {
    /// Merges the files by the rules of a version, for a class.
    ///
    /// # Errors
    /// The setting that this version does not take.
    pub(super) fn merge(files: &SettingsFiles, class: &Class, rules: Rules) -> Result<Self, SettingsProblem> {
        let mut values = files.config.clone();
        values.remove("tokenizer_class");
        values.extend(files.arguments.clone());
        let mut settings = Self {
            values,
            from_map: Vec::new(),
            own: Map::new(),
            named: Vec::new(),
            special: Vec::new(),
            tokens: Vec::new(),
            promised_ids: Vec::new(),
        };
        if rules == Rules::Five {
            if !is_filled(settings.values.get(EXTRA)) {
                settings.rename_additional();
            }
            // Tokens with names of their own stay, whatever special_tokens_map.json says.
            if let Some(Value::Object(own)) = settings.values.get(EXTRA).cloned() {
                settings.values.shift_remove(EXTRA);
                settings.own = own;
            }
        }

        let mut added: BTreeMap<u32, Flagged> = BTreeMap::new();
        // The added tokens by text: where a special token is one of them, it has its flags.
        let mut by_text: BTreeMap<String, Flagged> = BTreeMap::new();
        if let Some(decoder) = settings.values.get(ADDED_TOKENS_DECODER) {
            added = settings.added_tokens_decoder(decoder)?;
            by_text.extend(added.values().map(|token| (token.content.clone(), token.clone())));
            settings.promised_ids = added.iter().map(|(&id, token)| (id, token.content.clone())).collect();
        } else {
            if let Some(map) = &files.special_tokens_map {
                settings.lay_over(map, &files.arguments, rules);
            }
            let special: Vec<String> = settings.special_texts(rules)?;
            for (content, &id) in files.added_tokens.iter().flatten() {
                let special = special.contains(content);
                let token = Flagged { normalized: Some(!special), ..Flagged::new(content, special) };
                if rules == Rules::Five {
                    by_text.insert(content.clone(), token.clone());
                }
                added.insert(id, token);
                settings.promised_ids.push((id, content.clone()));
            }
            for (&id, token) in &files.of_json {
                by_text.insert(token.content.clone(), Flagged::from(token));
                added.insert(id, Flagged::from(token));
            }
        }

        settings.name(class, files, rules, &by_text)?;
        let list = settings.list_of(class, rules)?;
        let named = settings.named.iter().map(|(_, token)| token);
        settings.special = named.chain(&list).map(|token| token.content().to_owned()).collect();
        settings.tokens = settings.tokens_to_add(added, files, &list, rules);
        Ok(settings)
    }

    /// A flag.
    ///
    /// # Errors
    /// A value of another type.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, SettingsProblem> {
        self.optional_flag(key, Some(default))?
            .ok_or_else(|| self.problem(key, "is null; expected true or false".to_owned()))
    }

    /// A flag that may be null.
    ///
    /// # Errors
    /// A value of another type.
    pub(super) fn optional_flag(&self, key: &str, default: Option<bool>) -> Result<Option<bool>, SettingsProblem> {
        match self.values.get(key) {
            None => Ok(default),
            Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.problem(key, format!("expected true or false, found {other}"))),
        }
    }

    /// Any value; null counts as given.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The text of a special token; `None` where it was taken away with null.
    pub(super) fn token(&self, attribute: &str) -> Option<&str> {
        self.named.iter().find(|(name, _)| name == attribute).map(|(_, token)| token.content())
    }

    /// The longest text that the tokenizer's settings name, in tokens; `None` where they name none.
    ///
    /// # Errors
    /// A value that is no number.
    pub(super) fn model_max_length(&self) -> Result<Option<f64>, SettingsProblem> {
        // `max_len` is how it was spelled before; a null under the new name counts as given.
        let key = if self.values.contains_key("model_max_length") { "model_max_length" } else { "max_len" };
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(length) => Ok(Some(length)),
                None => Err(self.problem(key, format!("expected a number, found {value}"))),
            },
        }
    }

    /// Special tokens of the model's own that only version 5 knows: their keys and texts.
    pub(super) fn tokens_of_version_5(&self) -> Vec<(String, String)> {
        let own = self.values.iter().filter(|(key, _)| is_own_token(key));
        let read =
            own.filter_map(|(key, token)| Some((key.clone(), Declared::read(token).ok()??.content().to_owned())));
        read.filter(|(key, _)| !self.named.iter().any(|(named, _)| named == key)).collect()
    }

    /// What is wrong with a setting, in the file that gave it.
    pub(super) fn problem(&self, key: &str, problem: String) -> SettingsProblem {
        let file = if self.from_map.iter().any(|given| given == key) { SPECIAL_TOKENS_MAP } else { CONFIG };
        SettingsProblem { file, key: key.to_owned(), problem }
    }

    /// A class whose tokenizer cannot be built with these settings.
    pub(super) fn cannot_be_built(&self, why: impl fmt::Display) -> SettingsProblem {
        self.problem("tokenizer_class", format!("cannot be built: {why}"))
    }

    /// Version 5 calls `additional_special_tokens` by its new name.
    fn rename_additional(&mut self) {
        if let Some(tokens) = self.values.shift_remove(ADDITIONAL) {
            self.values.insert(EXTRA.to_owned(), tokens);
        }
    }

    fn added_tokens_decoder(&self, decoder: &Value) -> Result<BTreeMap<u32, Flagged>, SettingsProblem> {
        let wrong = |problem: String| self.problem(ADDED_TOKENS_DECODER, problem);
        let Value::Object(decoder) = decoder else {
            return Err(wrong(format!("expected an object of tokens by id, found {decoder}")));
        };
        let entry = |(id, token): (&String, &Value)| {
            let number = id.trim().parse().map_err(|_| wrong(format!("expected token ids as keys, found `{id}`")))?;
            match token {
                Value::Object(token) => Ok((number, Flagged::read(token).map_err(wrong)?)),
                other => Err(wrong(format!("expected an object with `content` for token {id}, found {other}"))),
            }
        };
        decoder.iter().map(entry).collect()
    }

    /// `special_tokens_map.json` over `tokenizer_config.json`: whatever it names is as it says. Lists are joined.
    fn lay_over(&mut self, map: &Map<String, Value>, arguments: &Map<String, Value>, rules: Rules) {
        let joined = if rules == Rules::Four { ADDITIONAL } else { EXTRA };
        for (key, value) in map {
            if is_filled(arguments.get(key)) {
                continue;
            }
            let value = match value {
                Value::Array(tokens) if key == joined => {
                    let mut all = self.values.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                    for token in tokens.iter().map(as_special) {
                        if !all.contains(&token) {
                            all.push(token);
                        }
                    }
                    Value::Array(all)
                }
                Value::Object(_) if rules == Rules::Five && key == EXTRA => value.clone(),
                value => as_special(value),
            };
            self.values.insert(key.clone(), value);
            self.from_map.push(key.clone());
        }
    }

    /// The texts of all special tokens that the files name, for `added_tokens.json`, which does not say what is special.
    /// Objects of `tokenizer_config.json` are not looked into yet at that point.
    fn special_texts(&self, rules: Rules) -> Result<Vec<String>, SettingsProblem> {
        let mut texts = Vec::new();
        for attribute in ATTRIBUTES {
            let of_map = self.from_map.iter().any(|key| key == attribute);
            match self.declared(attribute)? {
                Some(Declared::Object(_)) if !of_map => {}
                token => texts.extend(token.map(|token| token.content().to_owned())),
            }
        }
        let list = if rules == Rules::Four { ADDITIONAL } else { EXTRA };
        if let Some(Value::Array(_)) = self.values.get(list) {
            texts.extend(self.list(list)?.iter().map(|token| token.content().to_owned()));
        }
        Ok(texts)
    }

    /// Gives each attribute its token: that of the files, else that of the class.
    fn name(
        &mut self,
        class: &Class,
        files: &SettingsFiles,
        rules: Rules,
        by_text: &BTreeMap<String, Flagged>,
    ) -> Result<(), SettingsProblem> {
        for attribute in ATTRIBUTES {
            let of_class = class.special_tokens.iter().find(|token| token.attribute == attribute);
            let token = if self.values.contains_key(attribute) {
                let token = self.declared(attribute)?;
                token.map(|token| by_text.get(token.content()).cloned().map_or(token, Declared::Object))
            } else {
                let of_padding = files.padding_of_json.clone().filter(|_| attribute == "pad_token");
                let content = of_class.map(|token| token.content.to_owned()).or(of_padding);
                content.map(Declared::Text)
            };
            if let Some(token) = token {
                let made =
                    of_class.map_or(token.clone(), |class| token.made_by(class, rules, files.of_conversion.is_some()));
                self.named.push((attribute.to_owned(), made));
            }
        }
        if rules == Rules::Five {
            // Any other key that ends so is a special token of the model's own.
            let own: Vec<String> = self.values.keys().filter(|key| is_own_token(key)).cloned().collect();
            for key in own {
                if matches!(self.values[&key], Value::String(_) | Value::Object(_)) {
                    let token = self.declared(&key)?;
                    self.named.extend(token.map(|token| (key, token)));
                }
            }
        }
        let mut own = self.own.clone();
        match self.values.get(EXTRA) {
            Some(Value::Object(tokens)) => own.extend(tokens.clone()),
            Some(Value::Array(_) | Value::Null) if rules == Rules::Five => {}
            None => {}
            Some(other) => {
                return Err(self.problem(EXTRA, format!("expected an object of tokens by name, found {other}")));
            }
        }
        for (name, token) in own {
            let token = Declared::read(&token).map_err(|problem| self.problem(EXTRA, problem))?;
            let Some(token) = token else {
                return Err(self.problem(EXTRA, format!("has null for `{name}`; expected a token")));
            };
            self.named.retain(|(attribute, _)| *attribute != name);
            self.named.push((name, token));
        }
        Ok(())
    }

    /// The special tokens without names.
    fn list_of(&self, class: &Class, rules: Rules) -> Result<Vec<Declared>, SettingsProblem> {
        let is_given = |key: &str| self.values.contains_key(key);
        if !is_given(ADDITIONAL) && (rules == Rules::Four || !is_given(EXTRA) && self.own.is_empty()) {
            return Ok(class.additional.iter().map(|content| Declared::Text((*content).to_owned())).collect());
        }
        match rules {
            Rules::Four => self.list(ADDITIONAL),
            Rules::Five if matches!(self.values.get(EXTRA), Some(Value::Array(_))) => self.list(EXTRA),
            // The map of special tokens came after the renaming.
            Rules::Five if !self.values.contains_key(EXTRA) => self.list(ADDITIONAL),
            Rules::Five => Ok(Vec::new()),
        }
    }

    /// Which tokens are added to those of the vocabulary, and with which flags; `list` are the special ones without names.
    fn tokens_to_add(
        &self,
        added: BTreeMap<u32, Flagged>,
        files: &SettingsFiles,
        list: &[Declared],
        rules: Rules,
    ) -> Vec<AddedToken> {
        let in_order = |(attribute, _): &&(String, Declared)| ATTRIBUTES.contains(&attribute.as_str());
        let standard = self.named.iter().filter(in_order).map(|(_, token)| token);
        let own = self.named.iter().filter(|named| !in_order(named)).map(|(_, token)| token);
        let special: Vec<&Declared> = match rules {
            Rules::Four => standard.chain(list).chain(own).collect(),
            Rules::Five => standard.chain(own).chain(list).collect(),
        };
        let is_named = |content: &str| self.named.iter().any(|(_, token)| token.content() == content);
        let is_special = |content: &str| {
            is_named(content) || rules == Rules::Four && list.iter().any(|token| token.content() == content)
        };

        let known = |content: &str| {
            let added = added.values().map(|token| token.content.as_str());
            let of_tokenizer = files.of_json.values().chain(files.of_conversion.iter().flat_map(BTreeMap::values));
            added.chain(of_tokenizer.map(|token| token.content.as_str())).any(|known| known == content)
        };
        let mut tokens: Vec<AddedToken> =
            added.values().map(|token| token.resolve(token.special || is_special(&token.content))).collect();
        let mut seen: Vec<&str> = Vec::new();
        for token in special {
            let content = token.content();
            // Version 4 takes a token of the list as often as it is declared there, and the last declaration counts.
            let is_listed_again =
                rules == Rules::Four && !is_named(content) && list.iter().any(|listed| std::ptr::eq(listed, token));
            if content.is_empty() || seen.contains(&content) && !is_listed_again {
                continue;
            }
            seen.push(content);
            match token {
                // Version 4 looks for plain texts alone among the tokens that are known.
                Declared::Text(_) if known(content) => {}
                Declared::Object(_) if rules == Rules::Five && known(content) => {}
                Declared::Text(content) => tokens.push(AddedToken::from(content.as_str(), true)),
                Declared::Object(token) => {
                    tokens.push(token.resolve(rules == Rules::Four || token.special || is_named(content)));
                }
            }
        }
        tokens
    }

    fn declared(&self, key: &str) -> Result<Option<Declared>, SettingsProblem> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        Declared::read(value).map_err(|problem| self.problem(key, problem))
    }

    /// A list of special tokens; empty where there is none.
    fn list(&self, key: &str) -> Result<Vec<Declared>, SettingsProblem> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(tokens)) => {
                let read = |token: &Value| match Declared::read(token) {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) => Err(self.problem(key, "holds null; expected a token".to_owned())),
                    Err(problem) => Err(self.problem(key, problem)),
                };
                tokens.iter().map(read).collect()
            }
            Some(other) => Err(self.problem(key, format!("expected a list of tokens, found {other}"))),
        }
    }
}

/// Whether a key names a special token that only some models have.
fn is_own_token(key: &str) -> bool {
    key.ends_with("_token") && !ATTRIBUTES.contains(&key)
}

/// What Python calls true.
fn is_filled(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(items)) => !items.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Bool(true)) => true,
    }
}

/// Objects in `special_tokens_map.json` are special, whatever they say.
fn as_special(value: &Value) -> Value {
    let mut value = value.clone();
    if let Value::Object(token) = &mut value {
        token.insert("special".to_owned(), Value::Bool(true));
    }
    value
}

impl Declared {
    fn read(value: &Value) -> Result<Option<Self>, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Declared::Text(text.clone()))),
            Value::Object(token) => Flagged::read(token).map(|token| Some(Declared::Object(token))),
            other => Err(format!("expected a token, as text or as an object with `content`, found {other}")),
        }
    }

    fn content(&self) -> &str {
        match self {
            Declared::Text(content) => content,
            Declared::Object(token) => &token.content,
        }
    }

    /// Some classes make objects of plain texts.
    fn made_by(self, class: &SpecialToken, rules: Rules, is_converted: bool) -> Self {
        let made = class.as_object.filter(|made| match made.by {
            MadeBy::Both => true,
            MadeBy::Version4 => rules == Rules::Four,
            MadeBy::Version4WithoutJson => rules == Rules::Four && is_converted,
        });
        match (self, made) {
            (Declared::Text(content), Some(made)) => {
                let (lstrip, normalized) = (made.lstrip, made.normalized);
                Declared::Object(Flagged { lstrip, normalized, ..Flagged::new(&content, false) })
            }
            (token, _) => token,
        }
    }
}

impl Flagged {
    fn new(content: &str, special: bool) -> Self {
        let content = content.to_owned();
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized: None, special }
    }

    fn read(token: &Map<String, Value>) -> Result<Self, String> {
        let Some(Value::String(content)) = token.get("content") else {
            return Err("expected `content` with the token's text in each object".to_owned());
        };
        let flag = |name: &str| match token.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("`{content}`: expected true or false as `{name}`, found {other}")),
        };
        Ok(Self {
            content: content.clone(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        })
    }

    fn resolve(&self, special: bool) -> AddedToken {
        AddedToken::from(self.content.as_str(), special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!special))
    }
}

impl PartialEq for Flagged {
    fn eq(&self, other: &Self) -> bool {
        self.resolve(self.special) == other.resolve(other.special)
    }
}

impl From<&AddedToken> for Flagged {
    fn from(token: &AddedToken) -> Self {
        let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token.clone();
        Self { content, single_word, lstrip, rstrip, normalized: Some(normalized), special }
    }
}
