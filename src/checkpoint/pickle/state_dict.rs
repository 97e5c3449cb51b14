//! From the values of a pickle to tensors by name.

use std::collections::{BTreeMap, HashSet};

use super::limits::most_unfolded;
use super::machine::{Id, Pickle, PickleValue};
use super::problem::PickleProblem;
use super::storage::{Element, LocatedStorage, Storage};
use super::tensor::{Tensor, Tensors};
use super::view::{MOST_DIMENSIONS, View};
use crate::checkpoint::numbers::unsupported_type;

/// Keys under which training scripts keep a `state_dict()` beside other things. What else a checkpoint holds (the
/// optimizer's tensors, a copy with averaged weights) is not the model.
const NESTED_UNDER: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];
/// How deep such keys are looked under; two are found in the wild.
const MOST_NESTED: usize = 8;
/// Entries of all dicts that are looked through. Dicts may be shared, so this also bounds what sharing costs.
const MOST_ENTRIES: usize = 1 << 18;
/// Keys that a message names.
const NAMED_KEYS: usize = 5;

/// The tensors of a pickle. `locate` says where in the file a storage is.
pub(super) fn tensors(
    pickle: &Pickle,
    file_size: u64,
    mut locate: impl FnMut(&Storage<'_>) -> Result<LocatedStorage, String>,
) -> Result<Tensors, PickleProblem> {
    let mut tensors = BTreeMap::new();
    let mut seen = HashSet::from([pickle.root()]);
    let mut dicts = vec![(String::new(), 0, pickle.root())];
    let mut entries = 0;
    while let Some((path, depth, dict)) = dicts.pop() {
        for entry in entries_of(pickle, dict) {
            entries += 1;
            if entries > MOST_ENTRIES {
                return Err(PickleProblem::Refused(format!(
                    "holds more than {MOST_ENTRIES} entries; save the model's `state_dict()` alone"
                )));
            }
            let Some((key, value)) = entry else { continue };
            let Some(key) = pickle.text(key) else { continue };
            if let Some(rebuilt) = Rebuilt::of(pickle, value) {
                let tensor = rebuilt.and_then(|rebuilt| rebuilt.tensor(file_size, &mut locate));
                tensors.insert(format!("{path}{key}"), tensor);
            } else if NESTED_UNDER.contains(&key) && depth < MOST_NESTED && seen.insert(value) {
                dicts.push((format!("{path}{key}."), depth + 1, value));
            }
        }
    }
    if tensors.is_empty() {
        return Err(PickleProblem::Refused(format!(
            "holds no tensors by name, but {}; expected what `model.state_dict()` gives, by itself or under the key `{}`; \
             save it so: `torch.save(model.state_dict(), 'pytorch_model.bin')`",
            what_it_is(pickle, pickle.root()),
            NESTED_UNDER.join("` or `"),
        )));
    }
    Ok(tensors)
}

/// The entries of a dict in order, later ones in the place of earlier ones with their key; none of what is no dict. `None`
/// where an entry is not one.
fn entries_of(pickle: &Pickle, dict: Id) -> impl Iterator<Item = Option<(Id, Id)>> {
    let (given, set) = match pickle.get(dict) {
        PickleValue::Dict(items) => (None, &items[..]),
        // Python 2 made an OrderedDict of a list of pairs.
        PickleValue::Called { callable, arguments, items }
            if pickle.global(*callable) == Some("collections.OrderedDict") =>
        {
            let first = pickle.tuple(*arguments).and_then(|arguments| arguments.first());
            (first.and_then(|&pairs| pickle.sequence(pairs)), &items[..])
        }
        PickleValue::Called { items, .. } => (None, &items[..]),
        _ => (None, &[][..]),
    };
    let pair = |&pair| match pickle.sequence(pair)? {
        &[key, value] => Some((key, value)),
        _ => None,
    };
    given.into_iter().flatten().map(pair).chain(set.iter().copied().map(Some))
}

/// What a pickle without tensors is of, for a message.
fn what_it_is(pickle: &Pickle, id: Id) -> String {
    let keys = entries_of(pickle, id).flatten().filter_map(|(key, _)| pickle.text(key));
    let keys: Vec<&str> = keys.take(NAMED_KEYS + 1).collect();
    if !keys.is_empty() {
        let more = if keys.len() > NAMED_KEYS { ", …" } else { "" };
        return format!("a dict with the keys `{}`{more}", keys[..keys.len().min(NAMED_KEYS)].join("`, `"));
    }
    match pickle.get(id) {
        PickleValue::Called { callable, arguments, .. } => match pickle.global(*callable) {
            Some("collections.OrderedDict") | None => "an empty dict".to_owned(),
            // How protocols before 2 make an object: its class is the first argument.
            Some(name @ ("copy_reg._reconstructor" | "copyreg._reconstructor")) => {
                let class = pickle.tuple(*arguments).and_then(|arguments| pickle.global(*arguments.first()?));
                format!("one object, `{}`", class.unwrap_or(name))
            }
            Some(name) => format!("one object, `{name}`"),
        },
        PickleValue::Dict(_) => "an empty dict".to_owned(),
        PickleValue::List(_) | PickleValue::Tuple(_) => "a list".to_owned(),
        _ => "a single value".to_owned(),
    }
}

/// A tensor as a pickle asks for it.
struct Rebuilt<'p> {
    storage: Storage<'p>,
    /// The type, where it is not the storage's.
    dtype: Option<&'p str>,
    view: View,
}

impl<'p> Rebuilt<'p> {
    /// What a value says of a tensor; `None` if it is none.
    fn of(pickle: &'p Pickle, mut id: Id) -> Option<Result<Self, String>> {
        // A parameter of a tensor of a class of its own: not deeper.
        for _ in 0..4 {
            let PickleValue::Called { callable, arguments, .. } = pickle.get(id) else { return None };
            let (callable, arguments) = (pickle.global(*callable)?, pickle.tuple(*arguments)?);
            match (callable, arguments) {
                ("torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", &[tensor, ..]) => {
                    id = tensor;
                }
                // Function, class, its arguments: what the pickle would call at last is the function.
                (
                    "torch._tensor._rebuild_from_type_v2" | "torch._tensor._rebuild_from_type",
                    &[function, _, inner, ..],
                ) => {
                    return match (pickle.global(function), pickle.tuple(inner)) {
                        (Some(function), Some(inner)) => Self::by(pickle, function, inner),
                        _ => Some(Err(NO_SENSE.to_owned())),
                    };
                }
                _ => return Self::by(pickle, callable, arguments),
            }
        }
        Some(Err(NO_SENSE.to_owned()))
    }

    /// What one of PyTorch's functions would make of its arguments.
    fn by(pickle: &'p Pickle, function: &'p str, arguments: &[Id]) -> Option<Result<Self, String>> {
        let (dtype, metadata) = match function {
            "torch._utils._rebuild_tensor" => (None, None),
            "torch._utils._rebuild_tensor_v2" => (None, arguments.get(6)),
            "torch._utils._rebuild_tensor_v3" => (arguments.get(6), arguments.get(7)),
            // Sparse and quantized tensors, and those of other devices.
            _ if function.starts_with("torch.") && function.contains("._rebuild_") => {
                return Some(Err(format!("is of a kind that is not read (`{function}`); save it as a plain tensor")));
            }
            _ => return None,
        };
        let lazy = metadata.is_some_and(|&metadata| entries_of(pickle, metadata).next().is_some());
        if lazy {
            return Some(Err(
                "is a view that is yet to be negated or conjugated; save it with `.resolve_neg()`".to_owned()
            ));
        }
        Some(Self::from_parts(pickle, arguments, dtype).unwrap_or_else(|| Err(NO_SENSE.to_owned())))
    }

    fn from_parts(pickle: &'p Pickle, arguments: &[Id], dtype: Option<&Id>) -> Option<Result<Self, String>> {
        let &[storage, offset, shape, strides, ..] = arguments else { return None };
        let storage = Storage::of(pickle, storage)?;
        let counts = |id| -> Option<Vec<u64>> {
            // A tuple may be shared by many tensors; more than this has no tensor.
            let items = pickle.sequence(id).filter(|items| items.len() <= MOST_DIMENSIONS)?;
            items.iter().map(|&item| pickle.count(item)).collect()
        };
        let view = View::new(pickle.count(offset)?, &counts(shape)?, &counts(strides)?);
        let dtype = match dtype {
            Some(&dtype) => Some(pickle.global(dtype)?),
            None => None,
        };
        Some(view.map(|view| Self { storage, dtype, view }))
    }

    /// The tensor, with its place in the file.
    fn tensor(
        self,
        file_size: u64,
        locate: impl FnOnce(&Storage<'_>) -> Result<LocatedStorage, String>,
    ) -> Result<Tensor, String> {
        let Self { storage, dtype, view } = self;
        let element = match dtype {
            Some(dtype) => Element::of_dtype(dtype).ok_or_else(|| unsupported_type(dtype))?,
            None => storage.element.ok_or_else(|| unsupported_type(storage.class))?,
        };
        let size = element.size as u64;
        let larger = |bytes: Option<u64>| bytes.is_none_or(|bytes| bytes > most_unfolded(file_size));
        if larger(view.count().checked_mul(size)) {
            return Err(format!("of shape {:?} is larger than the file", view.shape()));
        }
        let view = match storage.part {
            None => Some(view),
            Some((first, count)) => (view.span().end <= count).then(|| view.moved(first)).flatten(),
        };
        let storage = locate(&storage)?;
        match view {
            Some(view) if view.span().end.checked_mul(size).is_some_and(|end| end <= storage.region.size) => {
                Ok(Tensor { element, view, storage })
            }
            _ => Err(format!(
                "does not fit into its storage of {} bytes; the file is damaged, so download it again",
                storage.region.size
            )),
        }
    }
}

/// What is wrong with a tensor whose description is not PyTorch's.
const NO_SENSE: &str = "has a description that makes no sense; the file is damaged, so download it again";
