//! The files of a model by name, wherever it comes from, and which of them decide its vectors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::config::Config;
use super::modules::{DEFAULTS, Module, TRANSFORMER_SETTINGS, encoder_folder};
use super::weights::Weights;
use super::{bundled, hub, other_kinds};
use crate::error::{Error, Result, json_problem};
use crate::family::Family;
use crate::observer::{Observer, Unobserved};
use crate::regular_file;
use crate::sha256::{hex, sha256_of_file};

/// The name of the model in the binary.
pub const BUNDLED: &str = "bundled";

/// Weights in one file.
const SAFETENSORS: &str = "model.safetensors";
/// The weights as `torch.save` writes them.
const PICKLE: &str = "pytorch_model.bin";

/// No file of a model but its weights has more bytes; the largest `tokenizer.json` have some tens of millions.
const LARGEST_SMALL_FILE: u64 = 1 << 30;

/// Files of the encoder, beside the weights, that decide what a text's vectors are.
const DECIDING_FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Files that decide as well where there is no `tokenizer.json`, beside which no tokenizer reads them.
const WITHOUT_JSON: [&str; 5] = ["vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "spm.model"];

/// A model's files, found but not yet read.
pub struct Checkpoint {
    /// The model as the user named it: `bundled`, a folder, or a hub id.
    pub id: String,
    /// The commit on the hub, for models from there.
    pub revision: Option<String>,
    /// Notes for the user on how the model was found.
    pub notes: Vec<String>,
    pub(super) source: ModelSource,
    /// The folder of the encoder and its tokenizer within the model's; empty except for old sentence-transformers
    /// models.
    pub(super) encoder: String,
    /// Whether a missing file may exist on the hub, as only the cache was searched.
    pub(super) may_lack_files: bool,
}

pub(super) enum ModelSource {
    Bundled,
    Directory(PathBuf),
}

/// Whether a model's name can only be meant as a path, so that it is not for the hub to find.
fn is_path(model: &str) -> bool {
    model.starts_with(['.', '/', '~']) || model.ends_with('/') || model.contains('\\') || model.matches('/').count() > 1
}

/// How to find a model.
pub struct ModelLocation<'a> {
    /// `bundled`, an existing directory, or a hub id.
    pub model: &'a str,
    /// The hub's branch, tag or commit.
    pub revision: Option<&'a str>,
    /// Never touch the network.
    pub offline: bool,
    /// The observer that is told of downloads.
    pub observer: &'a dyn Observer,
}

impl<'a> ModelLocation<'a> {
    /// The location of a model that is bundled, in a folder, or in the hub's cache already.
    pub fn local(model: &'a str) -> Self {
        Self { model, revision: None, offline: true, observer: &Unobserved }
    }
}

impl Checkpoint {
    /// Finds a model's files, downloading what is missing from the hub.
    ///
    /// # Errors
    /// [`Error::Usage`] for a revision of a model that is not from the hub, [`Error::Model`] for a file in place of a
    /// folder and for a folder that does not exist, [`Error::Hub`] when the hub does not have the model or cannot be reached.
    pub fn find(request: &ModelLocation<'_>) -> Result<Self> {
        let ModelLocation { model, revision, offline, observer } = *request;
        let path = Path::new(model);
        let local = if model == BUNDLED {
            if bundled::file("config.json").is_none() {
                return Err(Error::Usage(
                    "this build has no model in it (it was made without the feature `bundled`): choose one with -m, such as -m google-bert/bert-base-uncased"
                        .to_owned(),
                ));
            }
            Some(ModelSource::Bundled)
        } else if path.is_dir() {
            Some(ModelSource::Directory(path.to_owned()))
        } else if path.exists() {
            return Err(Error::model(path, "is a file; a model is a folder with config.json, weights and a tokenizer"));
        } else if is_path(model) {
            let home = if model.starts_with('~') {
                " (`~` stands for a home directory only where a shell puts it in)"
            } else {
                ""
            };
            return Err(Error::model(
                path,
                format!(
                    "does not exist{home}; expected a folder with config.json, weights and a tokenizer, or an id of the hub as `owner/name`"
                ),
            ));
        } else {
            None
        };
        if let Some(source) = local {
            if revision.is_some() {
                return Err(Error::Usage(format!(
                    "--revision is for models from the hub; `{model}` is not from there"
                )));
            }
            let notes = Vec::new();
            let id = model.to_owned();
            return Self { id, revision: None, notes, source, encoder: String::new(), may_lack_files: false }
                .with_encoder();
        }
        let hub::Found { snapshot, from_cache } = hub::find(&hub::HubQuery { id: model, revision, offline, observer })
            .map_err(|error| Error::Hub(Box::new(error)))?;
        Self {
            id: model.to_owned(),
            revision: Some(snapshot.commit),
            notes: snapshot.notes,
            source: ModelSource::Directory(snapshot.dir),
            encoder: String::new(),
            may_lack_files: from_cache,
        }
        .with_encoder()
    }

    /// Finds the encoder's folder: that of the Transformer module, if `modules.json` names one.
    fn with_encoder(mut self) -> Result<Self> {
        let modules = self.modules()?.unwrap_or_default();
        if let Some(path) = encoder_folder(&modules)
            && self.read_root(&format!("{path}/config.json"))?.is_some()
        {
            self.encoder = path.to_owned();
        }
        Ok(self)
    }

    /// Whether this is the model in the binary.
    pub fn is_bundled(&self) -> bool {
        matches!(self.source, ModelSource::Bundled)
    }

    /// The model's folder; `None` for the bundled model.
    pub fn directory(&self) -> Option<&Path> {
        match &self.source {
            ModelSource::Bundled => None,
            ModelSource::Directory(directory) => Some(directory),
        }
    }

    /// The path of a file of the encoder or its tokenizer, whether it exists or not; for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.root_path_of(&self.of_encoder(name))
    }

    /// The path of a file of the model as a whole, whether it exists or not.
    pub(super) fn root_path_of(&self, name: &str) -> PathBuf {
        match &self.source {
            ModelSource::Bundled => Path::new(BUNDLED).join(name),
            ModelSource::Directory(directory) => directory.join(name),
        }
    }

    pub(super) fn of_encoder(&self, name: &str) -> String {
        if self.encoder.is_empty() { name.to_owned() } else { format!("{}/{name}", self.encoder) }
    }

    /// The bytes of a small file of the encoder or its tokenizer; `None` when the model has no such file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        self.read_root(&self.of_encoder(name))
    }

    /// Whether the encoder or its tokenizer has a file.
    pub fn has(&self, name: &str) -> bool {
        match &self.source {
            ModelSource::Bundled => bundled::file(name).is_some(),
            ModelSource::Directory(_) => self.path_of(name).is_file(),
        }
    }

    pub(super) fn read_root(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match &self.source {
            ModelSource::Bundled => Ok(bundled::file(name).map(Cow::Borrowed)),
            ModelSource::Directory(directory) => {
                let path = directory.join(name);
                match regular_file::read(&path, LARGEST_SMALL_FILE) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io("read", path)(error)),
                }
            }
        }
    }

    /// The content of a small JSON file of the encoder or its tokenizer; `None` when the model has no such file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Model`] when it is not what `T` expects.
    pub fn read_json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>> {
        self.read_root_json(&self.of_encoder(name))
    }

    pub(super) fn read_root_json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.read_root(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::model(self.root_path_of(name), format!("is damaged: {}", json_problem(&error))))
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// Those of [`Config::parse`], and [`Error::Model`] when there is no `config.json`.
    pub fn config(&self) -> Result<Config> {
        self.config_with(&Map::new())
    }

    /// The model's configuration, with keys that override those of `config.json`.
    ///
    /// # Errors
    /// Those of [`Checkpoint::config`].
    pub fn config_with(&self, keys: &Map<String, Value>) -> Result<Config> {
        let bytes = self.read("config.json")?.ok_or_else(|| {
            let path = self.path_of("config.json");
            let instead = path.parent().map(|folder| self.what_else(folder)).unwrap_or_default();
            Error::model(
                path,
                format!(
                    "is missing; a model folder holds config.json, model.safetensors (or pytorch_model.bin) and tokenizer.json (or vocab.txt){instead}"
                ),
            )
        })?;
        if self.read("adapter_config.json")?.is_some() {
            return Err(Error::model(
                self.path_of("adapter_config.json"),
                "makes the weights an adapter of another model, which is not supported; merge them with Python: `from peft import AutoPeftModel; AutoPeftModel.from_pretrained(FOLDER).merge_and_unload().save_pretrained(NEW_FOLDER)`",
            ));
        }
        Config::parse_with(&bytes, keys, &self.path_of("config.json"))
    }

    /// The model's tensors: `model.safetensors`, else its shards, else `pytorch_model.bin`.
    ///
    /// # Errors
    /// Those of [`Weights::from_safetensors`], and [`Error::Model`] when there are no weights.
    pub fn weights(&self, family: &'static Family) -> Result<Weights> {
        match &self.source {
            ModelSource::Bundled => {
                let bytes = bundled::file(SAFETENSORS).unwrap_or_default();
                Weights::from_embedded(&format!("{BUNDLED}/{SAFETENSORS}"), bytes, family)
            }
            ModelSource::Directory(directory) => {
                let paths = self.weight_files()?.iter().map(|name| directory.join(name)).collect::<Vec<_>>();
                if paths[0].extension().is_some_and(|extension| extension == "bin") {
                    Weights::from_pickle(&paths[0], family)
                } else {
                    Weights::from_safetensors(&paths, family)
                }
            }
        }
    }

    /// sha256 of every file that decides what a text's vectors are: file name → hexadecimal digest.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read.
    pub fn digests(&self) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        let modules = self.modules()?.unwrap_or_default();
        let without_json = WITHOUT_JSON.iter().filter(|_| !self.has("tokenizer.json"));
        let of_encoder = DECIDING_FILES.iter().chain(without_json).map(|name| self.of_encoder(name));
        let of_sentences = TRANSFORMER_SETTINGS.iter().map(|name| self.of_encoder(name));
        let of_model = ["modules.json", DEFAULTS].map(str::to_owned);
        let of_modules = modules.iter().filter(|module| !module.path.is_empty() && module.path != self.encoder);
        let of_modules = of_modules.flat_map(|module| {
            ["config.json", SAFETENSORS, PICKLE].into_iter().map(|name| format!("{}/{name}", module.path))
        });
        for name in of_encoder.chain(of_sentences).chain(of_model).chain(of_modules) {
            if let Some(bytes) = self.read_root(&name)? {
                digests.insert(name, hex(&Sha256::digest(&bytes)));
            }
        }
        for name in self.weight_files()? {
            let digest = match &self.source {
                ModelSource::Bundled => hex(&Sha256::digest(bundled::file(&name).unwrap_or_default())),
                ModelSource::Directory(directory) => sha256_of_file(&directory.join(&name))?,
            };
            digests.insert(name, digest);
        }
        Ok(digests)
    }

    /// The modules of a sentence-transformers model, in order; `None` when it is not one.
    ///
    /// # Errors
    /// [`Error::Model`] when `modules.json` is damaged or names a path outside the model's folder.
    pub fn modules(&self) -> Result<Option<Vec<Module>>> {
        let Some(modules) = self.read_root_json::<Vec<Module>>("modules.json")? else { return Ok(None) };
        for module in &modules {
            self.refuse_paths_outside("modules.json", &module.path)?;
        }
        Ok(Some(modules))
    }

    /// The files that hold the weights, relative to the model's folder.
    fn weight_files(&self) -> Result<Vec<String>> {
        const INDEX: &str = "model.safetensors.index.json";
        let ModelSource::Directory(directory) = &self.source else { return Ok(vec![SAFETENSORS.to_owned()]) };
        if self.path_of(SAFETENSORS).exists() {
            return Ok(vec![self.of_encoder(SAFETENSORS)]);
        }
        if let Some(index) = self.read_json::<ShardIndex>(INDEX)? {
            let mut shards: Vec<String> = index.weight_map.into_values().collect();
            shards.sort_unstable();
            shards.dedup();
            if shards.is_empty() {
                return Err(Error::model(self.path_of(INDEX), "names no weights file"));
            }
            for shard in &shards {
                self.refuse_paths_outside(INDEX, shard)?;
                if !self.path_of(shard).exists() {
                    return Err(Error::model(
                        self.path_of(shard),
                        format!("is missing, but {INDEX} says that it holds part of the weights"),
                    ));
                }
            }
            return Ok(shards.iter().map(|shard| self.of_encoder(shard)).collect());
        }
        if self.path_of(PICKLE).exists() {
            return Ok(vec![self.of_encoder(PICKLE)]);
        }
        let folder = directory.join(&self.encoder);
        let instead = self.what_else(&folder);
        Err(Error::model(
            folder,
            format!("holds no weights; expected {SAFETENSORS}, {INDEX} with its files, or {PICKLE}{instead}"),
        ))
    }

    /// What a folder without a model holds instead, as a continuation of a message.
    fn what_else(&self, folder: &Path) -> String {
        let held = other_kinds::describe(folder).map(|kind| format!("; it holds {kind}")).unwrap_or_default();
        let hides = matches!(self.source, ModelSource::Directory(_)) && self.revision.is_none() && hub::is_id(&self.id);
        let hides = if hides {
            format!(
                "; a local folder is taken before the model of that name on the hub: rename the folder `{}` to use that one",
                self.id
            )
        } else {
            String::new()
        };
        held + &hides
    }

    /// Refuses a path, named in one of the model's files, that leads out of the model's folder.
    pub(super) fn refuse_paths_outside(&self, named_in: &str, path: &str) -> Result<()> {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            Ok(())
        } else {
            Err(Error::model(self.path_of(named_in), format!("names `{path}`, which is outside the model's folder")))
        }
    }
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}
