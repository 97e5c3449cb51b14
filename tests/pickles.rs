//! What `torch.save` wrote, in all its forms, and what only looks like it. `tests/pickles/README.md` says what the files are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::Write;
use std::path::{Path, PathBuf};

use layerwise::checkpoint::weights::Weights;
use layerwise::family;
use safetensors::SafeTensors;

/// All hold the tensors of `tensors.safetensors`.
const WHOLE: [&str; 8] = [
    "strided.bin",
    "nested.bin",
    "deflated.bin",
    "without_checksums.bin",
    "before_1_6.bin",
    "before_1_6_strided.bin",
    "before_1_6_nested.bin",
    "before_1_6_protocol_1.bin",
];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pickles").join(file)
}

/// Opens a file with this content.
fn open(content: &[u8]) -> layerwise::error::Result<Weights> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pytorch_model.bin");
    std::fs::write(&path, content).unwrap();
    Weights::from_pickle(&path, family::bert())
}

/// What is said of a file that is refused as a whole.
fn refused(content: &[u8]) -> String {
    let message = open(content).map(drop).unwrap_err().to_string();
    assert!(message.contains("pytorch_model.bin: "), "{message}");
    message
}

#[test]
fn every_way_of_saving_holds_the_same_numbers() {
    let bytes = std::fs::read(path("tensors.safetensors")).unwrap();
    let truth = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(truth.len(), 23);
    for file in WHOLE {
        let weights = Weights::from_pickle(&path(file), family::bert()).unwrap();
        assert_eq!(weights.stored_dtype(), "f32");
        for (name, tensor) in truth.iter() {
            let expected: Vec<u32> = tensor.data().as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
            let bits = |numbers: Vec<f32>| numbers.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
            assert_eq!(bits(weights.tensor(name, tensor.shape()).unwrap()), expected, "{file}: {name}");
            // And the rows but for the first, in two parts.
            let (rows, row) = (tensor.shape()[0], expected.len() / tensor.shape()[0]);
            let (reader, mut numbers) = (weights.open(name, tensor.shape()).unwrap(), Vec::new());
            reader.rows(1..rows / 2, &mut numbers).unwrap();
            reader.rows((rows / 2).max(1)..rows, &mut numbers).unwrap();
            assert_eq!(bits(numbers), expected[row..], "{file}: {name}");
        }
    }
}

#[test]
fn what_is_refused_says_what_it_is_and_what_helps() {
    for (file, says) in [
        ("big_endian.bin", ["byte order `big`", "torch.load"]),
        ("whole_object.bin", ["one object, `torch.nn.modules.linear.Linear`", "torch.save(model.state_dict()"]),
        (
            "numbers_by_name.bin",
            ["a dict with the keys `epoch`, `net`", "`state_dict` or `model_state_dict` or `model`"],
        ),
        ("plain_pickle.bin", ["not one that torch.save wrote", "torch.save(model.state_dict()"]),
    ] {
        let message = refused(&std::fs::read(path(file)).unwrap());
        assert!(says.iter().all(|says| message.contains(says)), "{file}: {message}");
    }
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(refused(&tar).contains("is a tar file"));
    assert!(refused(&[7; 1024]).contains("is not a PyTorch checkpoint"));
    // An archive of something else.
    assert!(refused(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").contains("is not a PyTorch checkpoint"));
}

#[test]
fn a_pickle_that_was_changed_is_damaged() {
    let mut bytes = std::fs::read(path("strided.bin")).unwrap();
    let at = bytes.windows(10).position(|part| part == b"LayerNorm.").unwrap();
    bytes[at] = b'l';
    assert!(refused(&bytes).contains("data.pkl does not have its checksum"));
}

#[test]
fn every_byte_of_a_number_is_under_a_checksum() {
    let truth = std::fs::read(path("tensors.safetensors")).unwrap();
    let truth = SafeTensors::deserialize(&truth).unwrap();
    // Reads all tensors and gives the problems, of which each has the tensor's name.
    let problems = |bytes: &[u8]| -> Vec<String> {
        let weights = open(bytes).unwrap();
        let read = truth.iter().map(|(name, tensor)| weights.tensor(name, tensor.shape()));
        read.filter_map(|read| read.err().map(|error| error.to_string())).collect()
    };
    for file in ["strided.bin", "nested.bin"] {
        let whole = std::fs::read(path(file)).unwrap();
        assert_eq!(problems(&whole), [""; 0]);
        // The numbers of the first storage of the zip file, from behind its header on.
        let name = whole.windows(7).position(|part| part == b"/data/0").unwrap();
        let header = whole[..name].windows(4).rposition(|part| part == b"PK\x03\x04").unwrap();
        let length = |at: usize| usize::from(u16::from_le_bytes([whole[header + at], whole[header + at + 1]]));
        let start = header + 30 + length(26) + length(28);
        let mut changed = whole;
        changed[start + 1] ^= 1;
        let problems = problems(&changed);
        assert!(!problems.is_empty() && problems.len() < truth.len(), "{file}: {problems:?}");
        let says = "is stored as `0`, which does not have the checksum that the file gives for it";
        assert!(problems.iter().all(|problem| problem.contains(says)), "{file}: {problems:?}");
    }
}

#[test]
fn files_cut_anywhere_are_errors() {
    for file in WHOLE {
        let whole = std::fs::read(path(file)).unwrap();
        for length in (1..whole.len()).step_by(whole.len() / 150) {
            let message = refused(&whole[..length]);
            assert!(message.contains("damaged or incomplete") || length < 4, "{file} at {length}: {message}");
        }
    }
}

// Files made by hand, in the format before PyTorch 1.6: it has no checksums in the way.

const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A file of one pickle, and of storages by key, each with as many float32 numbers as it says and as it has.
fn file_of(pickle: &[u8], storages: &[(&str, u64, &[f32])]) -> Vec<u8> {
    let mut file = [MAGIC, b"\x80\x02", pickle, b".\x80\x02]("].concat();
    storages.iter().for_each(|(key, ..)| file.extend(text(key)));
    file.extend(b"e.");
    for (_, count, numbers) in storages {
        file.extend(count.to_le_bytes());
        numbers.iter().for_each(|number| file.extend(number.to_le_bytes()));
    }
    file
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &number.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &items.concat(), b"t"].concat()
}

fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&number| int(number)).collect::<Vec<_>>())
}

fn call(function: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    let (module, name) = function.rsplit_once('.').unwrap();
    [format!("c{module}\n{name}\n").as_bytes(), &tuple(arguments), b"R"].concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, value)| [text(key), value.clone()]);
    [&b"}("[..], &entries.collect::<Vec<_>>().concat(), b"u"].concat()
}

/// A persistent id: a storage, or a part of one.
fn storage(class: &str, key: &str, count: i64, part: &[i64]) -> Vec<u8> {
    let part = match *part {
        [first, count] => tuple(&[text("a part"), int(first), int(count)]),
        _ => b"N".to_vec(),
    };
    let class = format!("ctorch\n{class}\n").into_bytes();
    [tuple(&[text("storage"), class, text(key), text("cpu"), int(count), part]), b"Q".to_vec()].concat()
}

fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call("collections.OrderedDict", &[]);
    let arguments = [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks];
    call("torch._utils._rebuild_tensor_v2", &arguments)
}

fn floats(count: i64) -> Vec<u8> {
    storage("FloatStorage", "7", count, &[])
}

/// A checkpoint whose word embeddings are this value.
fn anchor(value: Vec<u8>) -> Vec<u8> {
    dict(&[(ANCHOR, value)])
}

const ANCHOR: &str = "embeddings.word_embeddings.weight";
const SIX: [f32; 6] = [0., 1., 2., 3., 4., 5.];

/// The numbers of the word embeddings, or what is wrong with them.
fn numbers(file: &[u8], shape: &[usize]) -> Result<Vec<f32>, String> {
    open(file).and_then(|weights| weights.tensor(ANCHOR, shape)).map_err(|error| error.to_string())
}

#[test]
fn views_parameters_and_parts_of_storages() {
    let plain = tensor(floats(6), 0, &[2, 3], &[3, 1]);
    let in_order: &[f32] = &SIX;
    let with_dtype = |dtype: &str, class: &str, count| {
        let dtype = format!("ctorch\n{dtype}\n").into_bytes();
        let arguments = [
            storage(class, "7", count, &[]),
            int(0),
            ints(&[2, 3]),
            ints(&[3, 1]),
            b"\x89".to_vec(),
            b"}".to_vec(),
            dtype,
        ];
        call("torch._utils._rebuild_tensor_v3", &arguments)
    };
    let first = [floats(6), int(0), ints(&[2, 3]), ints(&[3, 1])];
    for (value, expected) in [
        (plain.clone(), in_order),
        (tensor(floats(6), 0, &[2, 3], &[1, 2]), &[0., 2., 4., 1., 3., 5.]),
        (tensor(floats(6), 1, &[2, 3], &[1, 1]), &[1., 2., 3., 2., 3., 4.]),
        (tensor(floats(6), 5, &[2, 3], &[0, 0]), &[5.; 6]),
        (call("torch._utils._rebuild_tensor", &first), in_order),
        (call("torch._utils._rebuild_parameter", &[plain.clone(), b"\x88".to_vec(), b"}".to_vec()]), in_order),
        (with_dtype("float32", "UntypedStorage", 24), in_order),
    ] {
        let count = if value.windows(7).any(|part| part == b"Untyped") { 24 } else { 6 };
        // The old format counts in the storage's own numbers: bytes here.
        let file = file_of(&anchor(value), &[("7", count, &SIX)]);
        assert_eq!(numbers(&file, &[2, 3]).unwrap(), expected);
    }
    // Of numbers 1 to 4, a tensor that begins with the second.
    let part = tensor(storage("FloatStorage", "7", 6, &[1, 4]), 1, &[3, 1], &[1, 1]);
    assert_eq!(numbers(&file_of(&anchor(part), &[("7", 6, &SIX)]), &[3, 1]).unwrap(), [2., 3., 4.]);
    let beyond = tensor(storage("FloatStorage", "7", 6, &[1, 4]), 2, &[3, 1], &[1, 1]);
    assert!(numbers(&file_of(&anchor(beyond), &[("7", 6, &SIX)]), &[3, 1]).unwrap_err().contains("does not fit"));
}

#[test]
fn long_rows_with_others_between_them_are_read_where_they_lie() {
    // 3 rows of 200 numbers, each 211 after the last one, in float32 and in float16.
    let all: Vec<f32> = (0..700u16).map(|number| f32::from(number) / 8.0).collect();
    let rows: Vec<f32> = (0..3).flat_map(|row| all[50 + row * 211..][..200].to_vec()).collect();
    let of_all = |class: &str| anchor(tensor(storage(class, "7", 700, &[]), 50, &[3, 200], &[211, 1]));
    let halves: Vec<u8> = all.iter().flat_map(|&number| half::f16::from_f32(number).to_le_bytes()).collect();
    let halves: Vec<f32> = halves.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    for (class, stored) in [("FloatStorage", &all), ("HalfStorage", &halves)] {
        let file = file_of(&of_all(class), &[("7", 700, stored)]);
        assert_eq!(numbers(&file, &[3, 200]).unwrap(), rows, "{class}");
        let (weights, mut last) = (open(&file).unwrap(), Vec::new());
        weights.open(ANCHOR, &[3, 200]).unwrap().rows(1..3, &mut last).unwrap();
        assert_eq!(last, rows[200..], "{class}");
    }
    let mut poisoned = all;
    poisoned[50 + 211 + 7] = f32::NAN;
    let message = numbers(&file_of(&of_all("FloatStorage"), &[("7", 700, &poisoned)]), &[3, 200]).unwrap_err();
    assert!(message.contains("holds NaN at index 207"), "{message}");
}

#[test]
fn an_ordered_dict_of_python_2_is_a_list_of_pairs() {
    let value = tensor(floats(6), 0, &[2, 3], &[3, 1]);
    // Strings were bytes, and pairs were lists.
    let key = [&b"U"[..], &[ANCHOR.len() as u8], ANCHOR.as_bytes()].concat();
    let pairs = [b"](](".to_vec(), key, value, b"ee".to_vec()].concat();
    let file = file_of(&call("collections.OrderedDict", &[pairs]), &[("7", 6, &SIX)]);
    assert_eq!(numbers(&file, &[2, 3]).unwrap(), SIX);
}

#[test]
fn nested_dicts_are_looked_through_and_others_are_not() {
    let value = || tensor(floats(6), 0, &[2, 3], &[3, 1]);
    let model = || anchor(value());
    for object in [
        dict(&[("state_dict", model())]),
        dict(&[("module", dict(&[("model", model())])), ("epoch", int(3))]),
        dict(&[("model_state_dict", model()), ("ema", model()), ("optimizer", model())]),
        dict(&[
            ("model", text("bert")),
            (
                "state_dict",
                dict(&[("_orig_mod.module.bert", int(1)), (&format!("_orig_mod.module.bert.{ANCHOR}"), value())]),
            ),
        ]),
        // A dict of a class of the user's own.
        dict(&[("model", [call("mine.Dict", &[]), b"(".to_vec(), text(ANCHOR), value(), b"u".to_vec()].concat())]),
        // One dict under two keys is one model.
        [b"}(".to_vec(), text("model"), model(), b"q\x05".to_vec(), text("state_dict"), b"h\x05u".to_vec()].concat(),
        // One that is in itself, too.
        [b"}q\x05(".to_vec(), text("model"), b"h\x05".to_vec(), text("state_dict"), model(), b"u".to_vec()].concat(),
    ] {
        assert_eq!(numbers(&file_of(&object, &[("7", 6, &SIX)]), &[2, 3]).unwrap(), SIX);
    }
    let two = file_of(&dict(&[("model", model()), ("state_dict", model())]), &[("7", 6, &SIX)]);
    assert!(refused(&two).contains("more than one encoder, with the prefixes `model.`, `state_dict.`"));
    let elsewhere = file_of(&dict(&[("optimizer", model())]), &[("7", 6, &SIX)]);
    assert!(refused(&elsewhere).contains("a dict with the keys `optimizer`"));
    for (object, says) in [(b"]".to_vec(), "a list"), (b"}".to_vec(), "an empty dict"), (int(7), "a single value")] {
        assert!(refused(&file_of(&object, &[])).contains(says), "{says}");
    }
}

#[test]
fn what_is_wrong_with_a_tensor_matters_where_it_is_needed() {
    let lazy = {
        let negated = dict(&[("neg", b"\x88".to_vec())]);
        let arguments = [floats(6), int(0), ints(&[2, 3]), ints(&[3, 1]), b"\x89".to_vec(), b"}".to_vec(), negated];
        call("torch._utils._rebuild_tensor_v2", &arguments)
    };
    for (value, says) in [
        (
            tensor(storage("LongStorage", "7", 3, &[]), 0, &[2, 3], &[0, 1]),
            "has type i64; expected float32, float16 or bfloat16",
        ),
        (tensor(floats(6), 1, &[2, 3], &[3, 1]), "does not fit into its storage of 24 bytes"),
        (tensor(floats(6), 0, &[1 << 40, 1 << 40], &[1, 1]), "no sensible shape"),
        (tensor(floats(6), 0, &[1 << 30, 1 << 10], &[0, 0]), "is larger than the file"),
        (tensor(floats(6), 0, &[2, -3], &[3, 1]), "makes no sense"),
        (tensor(int(7), 0, &[2, 3], &[3, 1]), "makes no sense"),
        (call("torch._utils._rebuild_tensor_v2", &[]), "makes no sense"),
        (call("torch._utils._rebuild_sparse_tensor", &[int(1)]), "`torch._utils._rebuild_sparse_tensor`"),
        (lazy, "negated or conjugated"),
    ] {
        let class_count = if says.contains("i64") { 3 } else { 6 };
        let storages: &[(&str, u64, &[f32])] = &[("7", class_count, &SIX)];
        let storages = if value.windows(7).any(|part| part == b"storage") { storages } else { &[] };
        let message = numbers(&file_of(&anchor(value.clone()), storages), &[2, 3]).unwrap_err();
        assert!(message.contains(says) && message.contains(ANCHOR), "{message}");
        // Beside the encoder it may be anything.
        let good = tensor(storage("FloatStorage", "8", 6, &[]), 0, &[2, 3], &[3, 1]);
        let storages = [storages, &[("8", 6, &SIX)]].concat();
        let file = file_of(&dict(&[(ANCHOR, good), ("cls.weight", value)]), &storages);
        assert_eq!(numbers(&file, &[2, 3]).unwrap(), SIX, "{says}");
    }
    let nowhere = file_of(&anchor(tensor(floats(6), 0, &[2, 3], &[3, 1])), &[]);
    assert!(numbers(&nowhere, &[2, 3]).unwrap_err().contains("is stored as `7`, which the file does not hold"));
}

#[test]
fn nothing_that_is_named_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("made");
    let shell = call("posix.system", &[text(&format!("touch {}", made.display()))]);
    let value = tensor(floats(6), 0, &[2, 3], &[3, 1]);
    let file = file_of(&dict(&[("hook", shell.clone()), (ANCHOR, value)]), &[("7", 6, &SIX)]);
    assert_eq!(numbers(&file, &[2, 3]).unwrap(), SIX);
    assert!(refused(&file_of(&anchor(shell), &[])).contains("no tensors by name"));
    assert!(!made.exists());
}

#[test]
fn storages_of_senseless_sizes() {
    let value = || anchor(tensor(floats(6), 0, &[2, 3], &[3, 1]));
    for (count, says) in [(7, "has 7 numbers; expected 6"), (u64::MAX, "numbers; expected 6")] {
        assert!(refused(&file_of(&value(), &[("7", count, &SIX)])).contains(says));
    }
    let huge = anchor(tensor(floats(i64::MAX), 0, &[2, 3], &[3, 1]));
    assert!(refused(&file_of(&huge, &[("7", i64::MAX as u64, &SIX)])).contains("ends within its storage `7`"));
    assert!(refused(&file_of(&value(), &[("8", 6, &SIX)])).contains("nothing in it is stored as `8`"));
    let unknown = anchor(tensor(storage("NewStorage", "7", 6, &[]), 0, &[2, 3], &[3, 1]));
    assert!(refused(&file_of(&unknown, &[("7", 6, &SIX)])).contains("`torch.NewStorage`, which is not known"));
}

// Zip files made by hand.

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A zip file of these, each with its method, flags, and the size and bytes that it says and has.
fn zip_of(entries: &[(&str, u16, u16, usize, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for &(name, method, flags, size, bytes) in entries {
        let start = (file.len() as u32).to_le_bytes();
        // What both headers have: version, flags, method, time, checksum (none), sizes, lengths of names.
        let mut common = Vec::new();
        [20, flags, method, 0, 0, 0, 0].iter().for_each(|number| common.extend(number.to_le_bytes()));
        [bytes.len(), size].iter().for_each(|&number| common.extend((number as u32).to_le_bytes()));
        [name.len() as u16, 0].iter().for_each(|number| common.extend(number.to_le_bytes()));
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10], &start, name.as_bytes()].concat());
    }
    let (count, start) = (entries.len() as u16, file.len() as u32);
    let length = (directory.len() as u32).to_le_bytes();
    let count = [count.to_le_bytes(), count.to_le_bytes()].concat();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &length, &start.to_le_bytes(), &[0; 2]].concat()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn zip_files_that_are_not_as_pytorch_writes_them() {
    let pickle = [&b"\x80\x02"[..], &anchor(tensor(floats(6), 0, &[2, 3], &[3, 1])), b"."].concat();
    let six: Vec<u8> = SIX.iter().flat_map(|number| number.to_le_bytes()).collect();
    let with = |method, flags, size, bytes: &[u8]| {
        let pickle = ("x/data.pkl", STORED, 0, pickle.len(), &pickle[..]);
        numbers(&zip_of(&[pickle, ("x/data/7", method, flags, size, bytes)]), &[2, 3])
    };
    assert_eq!(with(STORED, 0, 24, &six).unwrap(), SIX);
    assert_eq!(with(DEFLATED, 0, 24, &deflated(&six)).unwrap(), SIX);
    for (method, flags, size, bytes, says) in [
        (STORED, 0, 20, &six[..20], "has a storage of 20 bytes; expected 24"),
        (STORED, 0, 25, &six, "`data/7` cannot have 25 bytes"),
        (STORED, 1, 24, &six, "`data/7` is encrypted"),
        (12, 0, 24, &six, "`data/7` is compressed by"),
        (DEFLATED, 0, 24, &deflated(&six[..20]), "cannot be read"),
        (DEFLATED, 0, 24, &six, "cannot be read"),
        (DEFLATED, 0, 1 << 30, &deflated(&six), "is deflated from 1073741824 bytes"),
    ] {
        let message = with(method, flags, size, bytes).unwrap_err();
        assert!(message.contains(says) && message.contains(ANCHOR), "{message}");
    }
    // Without a folder, as some tools zip.
    let flat = [("data.pkl", STORED, 0, pickle.len(), &pickle[..]), ("data/7", STORED, 0, 24, &six)];
    assert_eq!(numbers(&zip_of(&flat), &[2, 3]).unwrap(), SIX);
    let bomb = deflated(&b"]".repeat(1 << 24));
    assert!(refused(&zip_of(&[("x/data.pkl", DEFLATED, 0, 1 << 24, &bomb)])).contains("more than weights can be"));
    // One that says less than it is.
    assert!(refused(&zip_of(&[("x/data.pkl", DEFLATED, 0, 1 << 10, &bomb)])).contains("ends too early"));
    assert!(refused(&zip_of(&[("x/readme.txt", STORED, 0, 2, b"hi")])).contains("another zip file, without data.pkl"));
}

#[test]
fn what_unfolds_is_bounded() {
    // A dict that is under three keys of a dict that is under three keys, and so on: the one dict it is.
    let doubled = |levels: u8| {
        let tensor = tensor(floats(6), 0, &[6], &[1]);
        let mut object = [dict(&[("weight", tensor)]), b"q\x00".to_vec()].concat();
        for level in 0..levels {
            let keys = ["state_dict", "model", "module"].map(|key| [text(key), vec![b'h', level]].concat());
            object = [object, b"}(".to_vec(), keys.concat(), vec![b'u', b'q', level + 1]].concat();
        }
        refused(&file_of(&object, &[("7", 6, &SIX)]))
    };
    assert!(doubled(8).contains("none of its 1 tensors"));
    assert!(doubled(200).contains("holds no tensors by name"));
    // Deeper than any stack.
    let nested = [b"]".repeat(100_000), b"a".repeat(99_999)].concat();
    assert!(refused(&file_of(&nested, &[])).contains("a list"));
    let nested = [[b"}".to_vec(), text("model")].concat().repeat(50_000), b"}".to_vec(), b"s".repeat(50_000)].concat();
    assert!(refused(&file_of(&nested, &[])).contains("a dict with the keys `model`"));
    // More entries than any checkpoint has.
    let many = [b"}(".to_vec(), b"NN".repeat(300_000), b"u".to_vec()].concat();
    assert!(refused(&file_of(&many, &[])).contains("more than 262144 entries"));
}
