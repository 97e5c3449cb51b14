//! The golden models as a user has them, and the ways in which models come broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::desk::Desk;

pub(crate) const MODELS: [&str; 5] = ["width1", "width3", "width16", "width32", "width64"];

/// Where a golden model is in the repository.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A copy of a model at a desk, which may be broken.
pub(crate) struct Model {
    directory: PathBuf,
}

/// A tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Desk {
    /// Copies a golden model to the desk, under its name.
    pub(crate) fn model(&self, name: &str) -> Model {
        self.model_as(name, name)
    }

    /// Copies a golden model to the desk, under another name.
    pub(crate) fn model_as(&self, golden_name: &str, name: &str) -> Model {
        let directory = self.path(name);
        copy(&golden(golden_name), &directory);
        Model { directory }
    }

    /// A desk with a copy of a model on it.
    pub(crate) fn with(name: &str) -> Self {
        let desk = Self::new();
        desk.model(name);
        desk
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a golden model") {
        let entry = entry.expect("an entry");
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if !name.to_string_lossy().starts_with("golden.") {
            fs::copy(&path, to.join(name)).expect("a copy");
        }
    }
}

impl Model {
    /// Sets a key of `config.json`.
    pub(crate) fn config(self, key: &str, value: impl Into<Value>) -> Self {
        self.json("config.json", |config| config[key] = value.into())
    }

    /// Changes a JSON file.
    pub(crate) fn json(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&self.read(file)).expect("JSON");
        change(&mut value);
        self.put(file, value.to_string())
    }

    /// Writes a file.
    pub(crate) fn put(self, file: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.directory.join(file), content).expect("a file");
        self
    }

    /// Removes a file.
    pub(crate) fn without(self, file: &str) -> Self {
        fs::remove_file(self.directory.join(file)).expect("a file to remove");
        self
    }

    /// Puts a directory in the place of a file.
    pub(crate) fn directory_for(self, file: &str) -> Self {
        let model = self.without(file);
        fs::create_dir(model.directory.join(file)).expect("a directory");
        model
    }

    /// Cuts a file off after a part of its bytes.
    pub(crate) fn cut(self, file: &str, keep: impl FnOnce(usize) -> usize) -> Self {
        let mut content = self.read(file);
        content.truncate(keep(content.len()));
        self.put(file, content)
    }

    /// Changes a text file.
    pub(crate) fn text(self, file: &str, change: impl FnOnce(String) -> String) -> Self {
        let content = String::from_utf8(self.read(file)).expect("UTF-8");
        self.put(file, change(content))
    }

    /// Changes the tensors of `model.safetensors`.
    pub(crate) fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let content = self.read("model.safetensors");
        let mut tensors: BTreeMap<String, Tensor> = SafeTensors::deserialize(&content)
            .expect("safetensors")
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let tensor = Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() };
                (name, tensor)
            })
            .collect();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
            (name, view.expect("a tensor"))
        });
        let content = safetensors::serialize(views, None).expect("safetensors");
        self.put("model.safetensors", content)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Tensor {
    /// A float32 tensor's number at an index replaced.
    pub(crate) fn set(&mut self, index: usize, value: f32) {
        assert_eq!(self.dtype, Dtype::F32);
        self.bytes[index * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }

    /// All numbers of a float32 tensor replaced.
    pub(crate) fn fill(&mut self, value: f32) {
        (0..self.bytes.len() / 4).for_each(|index| self.set(index, value));
    }
}
