//! An independent reader of what the program writes: `.npy`, `.safetensors`, and the numbers of JSON Lines.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::SafeTensors;

use crate::desk::Desk;

/// An array as it lies in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    /// `f32`, `f16`, `bf16` or `i64`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Array {
    /// Reads the bytes of a `.npy` file by the letter of the format.
    pub(crate) fn from_npy(file: &[u8]) -> Self {
        assert_eq!(file[..8], *b"\x93NUMPY\x01\x00", "magic and version 1.0");
        let end = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert!(end.is_multiple_of(16), "the data is aligned");
        let header = std::str::from_utf8(&file[10..end]).expect("an ASCII header");
        assert!(header.ends_with('\n') && header.contains("'fortran_order': False"), "{header}");
        let between = |left: &str, right: &str| {
            let start = header.find(left).unwrap_or_else(|| panic!("{left} in {header}")) + left.len();
            &header[start..start + header[start..].find(right).expect("an end")]
        };
        let dtype = match between("'descr': '", "'") {
            "<f4" => "f32",
            "<f2" => "f16",
            "<i8" => "i64",
            other => panic!("unexpected dtype {other}"),
        };
        let shape = between("'shape': (", ")").split(',').map(str::trim).filter(|part| !part.is_empty());
        let shape = shape.map(|part| part.parse().expect("a number")).collect();
        Self { dtype: dtype.to_owned(), shape, bytes: file[end..].to_vec() }.checked()
    }

    /// The numbers, widened.
    pub(crate) fn numbers(&self) -> Vec<f32> {
        let pairs = || self.bytes.as_chunks::<2>().0.iter();
        match self.dtype.as_str() {
            "f32" => self.bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            "f16" => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            "bf16" => pairs().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => panic!("{other} holds no vectors"),
        }
    }

    /// The numbers of offsets.
    pub(crate) fn integers(&self) -> Vec<i64> {
        assert_eq!((self.dtype.as_str(), self.shape.len()), ("i64", 1));
        self.bytes.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect()
    }

    /// The rows of a matrix.
    pub(crate) fn rows(&self) -> Vec<Vec<f32>> {
        assert_eq!(self.shape.len(), 2);
        let rows: Vec<Vec<f32>> = self.numbers().chunks_exact(self.shape[1]).map(<[f32]>::to_vec).collect();
        assert_eq!(rows.len(), self.shape[0]);
        rows
    }

    /// As many bytes as the shape says.
    fn checked(self) -> Self {
        let size = match self.dtype.as_str() {
            "i64" => 8,
            "f32" => 4,
            _ => 2,
        };
        assert_eq!(self.bytes.len(), self.shape.iter().product::<usize>() * size, "{:?}", self.shape);
        self
    }
}

impl Desk {
    /// An array of a `.npy` file.
    pub(crate) fn npy(&self, name: &str) -> Array {
        Array::from_npy(&self.read(name))
    }

    /// The tensors of a `.safetensors` file.
    pub(crate) fn safetensors(&self, name: &str) -> BTreeMap<String, Array> {
        let file = self.read(name);
        let tensors = SafeTensors::deserialize(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let array = |view: &safetensors::tensor::TensorView<'_>| {
            let dtype = view.dtype().to_string().to_lowercase();
            Array { dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() }.checked()
        };
        tensors.tensors().iter().map(|(name, view)| (name.clone(), array(view))).collect()
    }

    /// Every array of a job in `.npy` files: `mean/layer_00` → array.
    pub(crate) fn npy_arrays(&self, directory: &str) -> BTreeMap<String, Array> {
        let files = self.files(directory);
        let arrays = files.iter().filter_map(|(name, file)| Some((name.strip_suffix(".npy")?, file)));
        arrays.map(|(name, file)| (name.to_owned(), Array::from_npy(file))).collect()
    }

    /// Every array of a job in `.safetensors` files, under the names it would have in `.npy` files.
    pub(crate) fn safetensors_arrays(&self, directory: &str) -> BTreeMap<String, Array> {
        let names = self.file_names(directory);
        let kinds = names.iter().filter_map(|name| name.strip_suffix(".safetensors"));
        kinds
            .flat_map(|kind| {
                self.safetensors(&format!("{directory}/{kind}.safetensors")).into_iter().map(move |(name, array)| {
                    let whole = ["pooler", "sentence"].contains(&kind);
                    (if whole { name } else { format!("{kind}/{name}") }, array)
                })
            })
            .collect()
    }
}

/// The numbers that follow the `n`-th `"key":` of a JSON line, read exactly as written; lists in lists are joined.
pub(crate) fn numbers_after(line: &str, key: &str, n: usize) -> Vec<f32> {
    let key = format!("\"{key}\":");
    let (start, _) = line.match_indices(&key).nth(n).unwrap_or_else(|| panic!("{key} in {line}"));
    let list = &line[start + key.len()..];
    let mut depth = 0;
    let end = list.find(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        depth == 0
    });
    let numbers = list[..end.expect("the list's end")].split([',', '[', ']']).filter(|part| !part.is_empty());
    numbers.map(|number| number.parse().unwrap_or_else(|_| panic!("{number} is no number"))).collect()
}

/// Fails unless two vectors are equal but for the rounding of a few operations.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = 1e-6 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{what}, number {index}: {found} is not {expected}");
    }
}
