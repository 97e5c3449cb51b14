//! The same job gives the same bytes, whatever threads, batches, company and order.

use crate::arrays::Array;
use crate::desk::Desk;

const KINDS: &str = "token,word,mean,cls,max,mean_sqrt_len,weightedmean,lasttoken";

/// Texts of many lengths, some of them beyond the golden models' limits.
fn texts() -> Vec<String> {
    let words = ["the", "river", "stone's", "light", "quick", "numbering", "don't", "世界", "wind"];
    (0..60usize)
        .map(|i| (0..(i * 7) % 23).map(|j| words[(i * 3 + j * j) % words.len()]).collect::<Vec<_>>().join(" "))
        .collect()
}

fn desk() -> Desk {
    let desk = Desk::new();
    for name in ["width3", "width16", "width64"] {
        desk.model(name);
    }
    desk.put("texts.txt", texts().join("\n"));
    desk
}

/// The rows of text `i` in an array of a directory.
fn rows_of(desk: &Desk, out: &str, name: &str, array: &Array, text: usize) -> Vec<u8> {
    let kind = name.split('/').next().expect("a kind");
    let rows = match kind {
        "token" | "word" => {
            let offsets = desk.npy(&format!("{out}/{kind}/offsets.npy")).integers();
            offsets[text] as usize..offsets[text + 1] as usize
        }
        _ => text..text + 1,
    };
    let width = array.bytes.len() / array.shape[0];
    array.bytes[rows.start * width..rows.end * width].to_vec()
}

#[test]
fn threads_and_batches_change_no_byte() {
    let desk = desk();
    for model in ["bundled", "width3", "width16", "width64"] {
        let job = format!("extract -m {model} -i texts.txt -e token,word,mean,weightedmean,pooler");
        desk.types(&format!("{job} -o {model}-usual")).succeeds();
        let expected = desk.job(&format!("{model}-usual"));
        for speed in [
            "--threads 1",
            "--threads 2",
            "--threads 3",
            "--threads 8",
            "--batch-tokens 1",
            "--batch-tokens 7",
            "--batch-tokens 100",
            "--batch-tokens 100000",
            "--threads 1 --batch-tokens 1",
            "--threads 3 --batch-tokens 50",
        ] {
            let out = format!("{model}{}", speed.replace(' ', ""));
            desk.types(&format!("{job} {speed} -o {out}")).succeeds();
            let found = desk.job(&out);
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (file, bytes) in &expected {
                assert!(found[file] == *bytes, "{model}, {speed}: {file} differs");
            }
        }
    }
}

#[test]
fn windows_do_not_depend_on_threads_and_batches_either() {
    let desk = desk();
    for model in ["bundled", "width3", "width16", "width64"] {
        let job =
            format!("extract -m {model} -i texts.txt -e {KINDS},pooler --max-length 11 --overflow window --stride 3");
        desk.types(&format!("{job} -o {model}-usual")).succeeds().says("in windows");
        let expected = desk.job(&format!("{model}-usual"));
        for speed in [
            "--threads 1 --batch-tokens 1",
            "--threads 2 --batch-tokens 12",
            "--threads 3 --batch-tokens 23",
            "--threads 8 --batch-tokens 100",
        ] {
            let out = format!("{model}{}", speed.replace(' ', ""));
            desk.types(&format!("{job} {speed} -o {out}")).succeeds();
            assert!(desk.job(&out) == expected, "{model}, {speed}");
        }
        for combine in ["concat", "mean"] {
            let job = format!("{job} --combine {combine} -f safetensors");
            desk.types(&format!("{job} -o {model}-{combine}")).succeeds();
            desk.types(&format!("{job} --batch-tokens 15 -o {model}-{combine}-small")).succeeds();
            assert!(desk.job(&format!("{model}-{combine}")) == desk.job(&format!("{model}-{combine}-small")));
        }
    }
}

#[test]
fn safetensors_do_not_depend_on_threads_and_batches_either() {
    let desk = desk();
    let job = "extract -m width16 -i texts.txt -e token,mean --combine mean -f safetensors --dtype bf16";
    desk.types(&format!("{job} -o usual")).succeeds();
    desk.types(&format!("{job} --threads 3 --batch-tokens 5 -o other")).succeeds();
    assert!(desk.job("usual") == desk.job("other"));
}

#[test]
fn json_lines_do_not_depend_on_threads_and_batches_either() {
    let desk = desk();
    let job = "extract -m width16 -i texts.txt -e token,mean";
    let usual = desk.types(job).succeeds().stdout();
    for speed in ["--threads 1 --batch-tokens 1", "--threads 5 --batch-tokens 33"] {
        assert!(desk.types(&format!("{job} {speed}")).succeeds().stdout() == usual, "{speed}");
    }
}

#[test]
fn the_model_in_the_binary_is_the_one_in_its_folder() {
    let desk = desk();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/bert-4x160");
    for (model, out) in [("bundled", "binary"), (folder, "folder")] {
        desk.types(&format!("extract -m '{model}' -i texts.txt -e token,pooler,sentence -o {out}")).succeeds();
    }
    assert!(desk.npy_arrays("binary").len() > 7);
    for (name, array) in desk.npy_arrays("binary") {
        assert!(array.bytes == desk.npy_arrays("folder")[&name].bytes, "{name}");
    }
    assert_eq!(
        desk.json("binary/manifest.json")["model"]["sha256"]["model.safetensors"],
        desk.json("folder/manifest.json")["model"]["sha256"]["model.safetensors"]
    );
}

#[test]
fn a_text_alone_has_the_rows_it_has_in_company() {
    let desk = desk();
    for model in ["bundled", "width16"] {
        let job = format!("extract -m {model} -e {KINDS}");
        desk.types(&format!("{job} -i texts.txt -o {model}-all")).succeeds();
        let all = desk.npy_arrays(&format!("{model}-all"));
        for text in [0, 1, 7, 20, 23, 59] {
            let out = format!("{model}-{text}");
            desk.types_into(&format!("{job} -o {out}"), texts()[text].clone() + "\n").succeeds();
            for (name, array) in desk.npy_arrays(&out) {
                if !name.ends_with("offsets") {
                    let expected = rows_of(&desk, &format!("{model}-all"), &name, &all[&name], text);
                    assert!(array.bytes == expected, "{model}, text {text}: {name}");
                }
            }
        }
    }
}

#[test]
fn in_another_order_rows_move_and_bits_stay() {
    let desk = desk();
    let order: Vec<usize> = (0..60).map(|i| (i * 37 + 11) % 60).collect();
    let shuffled: Vec<String> = order.iter().map(|&i| texts()[i].clone()).collect();
    desk.put("shuffled.txt", shuffled.join("\n") + "\n");
    let job = format!("extract -m width64 -e {KINDS} --batch-tokens 64");
    desk.types(&format!("{job} -i texts.txt -o straight")).succeeds();
    desk.types(&format!("{job} -i shuffled.txt -o shuffled")).succeeds();
    let (straight, shuffled) = (desk.npy_arrays("straight"), desk.npy_arrays("shuffled"));
    for (name, array) in straight.iter().filter(|(name, _)| !name.ends_with("offsets")) {
        for (place, &text) in order.iter().enumerate() {
            let expected = rows_of(&desk, "straight", name, array, text);
            let found = rows_of(&desk, "shuffled", name, &shuffled[name], place);
            assert!(found == expected, "text {text}: {name}");
        }
    }
}

#[test]
fn what_else_is_written_changes_no_byte() {
    let desk = desk();
    desk.types(&format!("extract -m width64 -i texts.txt -e {KINDS},pooler,sentence -o everything")).succeeds();
    desk.types("extract -m width64 -i texts.txt -e max -l 2 -o one").succeeds();
    assert_eq!(desk.read("one/max/layer_02.npy"), desk.read("everything/max/layer_02.npy"));
}

#[test]
fn every_length_up_to_the_limit_and_texts_repeated() {
    let desk = desk();
    let limit = desk.json("width16/config.json")["max_position_embeddings"].as_u64().expect("a limit") as usize;
    // Each length thrice, far apart; and beyond the limit, where texts are cut.
    let text = |length: usize| ["stone"; 600][..length].join(" ");
    let texts: Vec<String> = (0..3).flat_map(|_| (0..limit + 3).map(text)).collect();
    desk.put("lengths.txt", texts.join("\n") + "\n");
    for compute in ["f32", "bf16", "int8"] {
        let job = format!("extract -m width16 -e token,mean --compute {compute}");
        desk.types(&format!("{job} -i lengths.txt -o {compute}-all")).succeeds();
        let all = desk.npy_arrays(&format!("{compute}-all"));
        for (name, array) in all.iter().filter(|(name, _)| !name.ends_with("offsets")) {
            let rows = |text: usize| rows_of(&desk, &format!("{compute}-all"), name, array, text);
            for text in 0..limit + 3 {
                let first = rows(text);
                assert!(rows(text + limit + 3) == first, "{compute}, length {text}: {name}");
                assert!(rows(text + 2 * (limit + 3)) == first, "{compute}, length {text}: {name}");
            }
        }
        for length in [0, 1, 2, 15, 16, 17, limit - 2, limit + 2] {
            let out = format!("{compute}-{length}");
            desk.types_into(&format!("{job} -o {out}"), text(length) + "\n").succeeds();
            for (name, array) in desk.npy_arrays(&out).iter().filter(|(name, _)| !name.ends_with("offsets")) {
                let expected = rows_of(&desk, &format!("{compute}-all"), name, &all[name], length);
                assert!(array.bytes == expected, "{compute}, length {length} alone: {name}");
            }
        }
    }
}
