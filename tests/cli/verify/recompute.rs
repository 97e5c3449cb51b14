//! `verify --recompute`: vectors that are not those of the model are found, whatever the checksums say.

use std::fs;

use serde_json::json;

use super::{JOBS, NPY_DATA, TEXTS, desk};
use crate::desk::Desk;

impl Desk {
    /// Recomputes the texts of `out`; `how` is the rest of the command.
    #[track_caller]
    fn recomputes(&self, how: &str, texts: &str) {
        let before = self.files("out");
        let ran = self.types(&format!("verify out --recompute {how}")).succeeds().prints_nothing();
        ran.says_all(&["out is whole", &format!("{texts} texts recomputed")]);
        assert!(self.files("out") == before, "nothing is written");
    }

    /// What is found by recomputing, each as `place: problem`.
    #[track_caller]
    fn finds(&self, how: &str) -> Vec<String> {
        let ran = self.types(&format!("verify out --recompute {how}")).ends_with(1).says("out is damaged");
        ran.stdout().lines().map(str::to_owned).collect()
    }

    /// Flips the lowest bit of a number of a `.npy` file, `index` from the first, and has the manifest agree.
    fn flip(&self, place: &str, index: usize, size: usize) {
        let name = format!("out/{place}");
        self.edit(&name, |bytes| bytes[NPY_DATA + index * size] ^= 1);
        self.fix_checksum(place, &self.read(&name)[NPY_DATA..]);
    }
}

#[test]
fn what_extract_writes_is_what_the_model_gives() {
    for job in JOBS {
        let desk = desk(job);
        desk.recomputes("3 -i texts.txt", "3 of 5");
        desk.recomputes("99 -i texts.txt --seed 7", "5 of 5");
    }
    let desk = desk("-e mean,cls");
    desk.types_into("verify out --recompute 2", TEXTS).succeeds().says("2 of 5 texts recomputed");
    desk.types_into("verify out --recompute 2 -i -", TEXTS).succeeds().says("2 of 5 texts recomputed");
    for job in [
        "-e pooler,mean,sentence --compute bf16",
        "-e pooler,token --compute int8",
        "-e token --batch-tokens 7 --threads 1",
    ] {
        desk.types(&format!("extract -i texts.txt {job} --overwrite -o out")).succeeds();
        desk.recomputes("4 -i texts.txt", "4 of 5");
    }
}

#[test]
fn so_are_tables_windows_and_shards() {
    let desk = Desk::with("width64");
    desk.put("pairs.csv", "id,text,other,label,n\na,hello world,the river bank,yes,1\nb,,the people,no,2\nc,good,,,\n");
    desk.put("tagged.data", "the DET\nriver NOUN\n\nhello INTJ\n\n");
    desk.put("more.conll", "the DET\nworld NOUN\n\n");
    desk.put("texts.txt", "some people make a good world by the house \n".repeat(3) + TEXTS);
    for (job, input, texts) in [
        ("--pair-column other --carry n -e token,word,mean --max-length 6", "-i pairs.csv", "3 of 3"),
        (
            "--input-format conll -e word,token --overflow window --max-length 4",
            "-i tagged.data -i more.conll",
            "3 of 3",
        ),
        ("-e word,token,mean,lasttoken --overflow window --max-length 5 --stride 1", "-i texts.txt", "8 of 8"),
        (
            "--overflow window --max-length 6 --special-tokens drop -e token,mean --combine max",
            "-i texts.txt",
            "8 of 8",
        ),
        ("-e token,mean", "-i texts.txt -i pairs.csv", "11 of 11"),
    ] {
        desk.types(&format!("extract -m width64 {input} {job} --overwrite -o out")).succeeds();
        desk.recomputes(&format!("99 {input}"), texts);
    }
    let mut rows = 0;
    for (shard, texts) in [("1/2", 3), ("2/2", 5)] {
        desk.types(&format!("extract -m width64 -i texts.txt -e token,cls --shard {shard} --overwrite -o out"))
            .succeeds();
        desk.recomputes("99 -i texts.txt", &format!("{texts} of {texts}"));
        rows += texts;
        desk.flip("cls/layer_01.npy", 128 * 2 + 3, 4);
        let found = desk.finds("99 -i texts.txt");
        assert!(found.len() == 1 && found[0].starts_with("cls/layer_01.npy: row 2 differs"), "{found:?}");
    }
    assert_eq!(rows, 8);
    // A shard without a text.
    desk.put("texts.txt", "hello\n");
    desk.types("extract -m width64 -i texts.txt --shard 2/2 --overwrite -o out").succeeds();
    desk.recomputes("5 -i texts.txt", "0 of 0");
}

#[test]
fn a_bit_is_found_though_the_checksum_agrees() {
    // What is changed: the array, the row, its column, the bytes of a number.
    for (job, place, row, part) in [
        (JOBS[0], "mean/layer_02.npy", 3, ""),
        (JOBS[0], "sentence.npy", 4, ""),
        (JOBS[0], "token/layer_04.npy", 7, " (token 1 of text 2)"),
        (JOBS[0], "word/layer_00.npy", 4, " (word 2 of text 2)"),
        (JOBS[1], "cls/layer_04.npy", 0, ""),
        (JOBS[1], "pooler.npy", 1, ""),
        (JOBS[2], "max/concat.npy", 2, ""),
    ] {
        let desk = desk(job);
        let array = desk.npy(&format!("out/{place}"));
        let (columns, size) = (array.shape[1], if array.dtype == "f16" { 2 } else { 4 });
        desk.flip(place, row * columns + 7, size);
        desk.verifies();
        let now = desk.npy(&format!("out/{place}")).numbers()[row * columns + 7];
        let was = array.numbers()[row * columns + 7];
        assert_eq!(
            desk.finds("5 -i texts.txt"),
            [format!(
                "{place}: row {row}{part} differs from what the model gives: 1 of {columns} numbers, the first in column 7: {now:?} instead of {was:?}"
            )]
        );
    }
}

#[test]
fn a_bit_of_a_tensor_is_found_too() {
    for job in [JOBS[3], JOBS[4], JOBS[5]] {
        let desk = desk(job);
        let manifest = desk.read("out/manifest.json");
        for (name, bytes) in desk.files("out") {
            if !name.ends_with(".safetensors") {
                continue;
            }
            // The last number of the file is one of the last layer's, of the last text.
            let size = if job.contains("f16") { 2 } else { 4 };
            let at = bytes.len() - size;
            desk.edit(&format!("out/{name}"), |bytes| bytes[at] ^= 1);
            let tensors = desk.safetensors(&format!("out/{name}"));
            let last = tensors.iter().rfind(|(tensor, _)| *tensor != "offsets").expect("a tensor");
            desk.fix_checksum(&format!("{name} [{}]", last.0), &last.1.bytes);
            desk.verifies();
            let found = desk.finds("5 -i texts.txt");
            let row = last.1.shape[0] - 1;
            let expected = format!("{name} [{}]: row {row}", last.0);
            assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?} is not {expected}");
            desk.put(&format!("out/{name}"), &bytes);
            desk.put("out/manifest.json", &manifest);
        }
    }
}

#[test]
fn a_seed_chooses_the_texts() {
    let desk = desk("-e mean -l 2");
    desk.flip("mean/layer_02.npy", 128 * 3, 4);
    let is_found = |seed: u32| {
        let ran = desk.types(&format!("verify out --json --recompute 1 -i texts.txt --seed {seed}"));
        let found = ran.json().as_array().expect("a list").len();
        assert_eq!(ran.code(), Some(i32::from(found > 0)));
        found > 0
    };
    let found: Vec<bool> = (0..16).map(is_found).collect();
    assert!(found.contains(&true) && found.contains(&false), "{found:?}");
    assert!((0..4).map(is_found).eq(found[..4].iter().copied()), "the same seed chooses the same text");
}

#[test]
fn files_that_are_damaged_otherwise_are_recomputed_as_far_as_they_go() {
    let desk = desk(JOBS[0]);
    desk.remove("out/sentence.npy");
    desk.edit("out/mean/layer_02.npy", |bytes| bytes.truncate(NPY_DATA + 4 * 128));
    desk.edit("out/mean/layer_04.npy", |bytes| bytes[NPY_DATA + 3] ^= 1);
    desk.edit("out/token/offsets.npy", |bytes| bytes[NPY_DATA + 8 * 3] -= 1);
    let found = desk.finds("5 -i texts.txt");
    let has = |start: &str| assert!(found.iter().any(|line| line.starts_with(start)), "{found:?} has not {start}");
    has("sentence.npy: is missing");
    has("mean/layer_02.npy: has 640 bytes");
    has("mean/layer_04.npy: its bytes have checksum");
    has("mean/layer_04.npy: row 0 differs from what the model gives: 1 of 128 numbers, the first in column 0");
    has("token/offsets.npy: text 2 has 5 rows; what the tokenizer gives has 6");
    assert!(!found.iter().any(|line| line.starts_with("token/layer_")), "{found:?}");
    desk.edit_manifest(|manifest| drop(manifest.as_object_mut().expect("an object").remove("instruction_set")));
    let ran = desk.types("verify out --recompute 5 -i nowhere.txt").ends_with(1);
    ran.says("no text could be recomputed by such a manifest").prints("manifest.json: instruction_set is missing");
}

#[test]
fn another_input_is_refused() {
    let desk = desk("-e mean -l 2");
    desk.put("changed.txt", TEXTS.replace("good", "great"));
    desk.put("first.txt", "hello world\n\n");
    desk.put("second.txt", TEXTS.strip_prefix("hello world\n\n").expect("its beginning"));
    desk.put("empty.txt", "");
    let refuses = |input: &str, names: &str| {
        let ran = desk.types(&format!("verify out --recompute 5 {input}")).fails();
        ran.says_all(&[names, "not the input out was made of", "-i"]);
    };
    refuses("-i changed.txt", "changed.txt: holds 5 texts");
    refuses("-i first.txt", "first.txt: holds 2 texts");
    refuses("-i second.txt -i first.txt", "second.txt, first.txt");
    refuses("-i empty.txt", "empty.txt");
    refuses("", "standard input");
    desk.recomputes("5 -i first.txt -i second.txt", "5 of 5");
    desk.types("verify out --recompute 5 -i nowhere.txt").fails().says("nowhere.txt");
}

#[test]
fn another_model_version_or_instruction_set_is_refused() {
    let desk = desk("-e mean -l 2");
    desk.model_as("width64", "other").config("layer_norm_eps", 1e-5);
    desk.types("verify out --recompute 5 -i texts.txt -m other").fails().says_all(&[
        "other: is not the model that out was made with",
        "config.json differ",
        "-m",
    ]);
    desk.types("verify out --recompute 5 -i texts.txt -m bundled").fails().says("model.safetensors");
    fs::rename(desk.path("width64"), desk.path("moved")).expect("a folder");
    desk.types("verify out --recompute 5 -i texts.txt").fails().says_all(&["width64", "with -m"]);
    desk.recomputes("5 -i texts.txt -m moved", "5 of 5");
    desk.model_as("width64", "width64");
    let refused = |key: &str, value: &str, says: &[&str]| {
        let before = desk.read("out/manifest.json");
        desk.edit_manifest(|manifest| manifest[key] = json!(value));
        desk.verifies();
        desk.types("verify out --recompute 5 -i texts.txt").fails().says_all(says);
        desk.put("out/manifest.json", before);
    };
    refused("layerwise", "0.0.0", &["out: was written by layerwise 0.0.0", env!("CARGO_PKG_VERSION")]);
    refused("instruction_set", "abacus", &["instruction set abacus", "LAYERWISE_ISA=abacus"]);
    let before = desk.read("out/manifest.json");
    desk.edit_manifest(|manifest| manifest["plan"]["device"] = json!("cuda"));
    desk.types("verify out --recompute 5 -i texts.txt").fails().says("--device cuda");
    desk.put("out/manifest.json", before);
    desk.edit_manifest(|manifest| manifest["plan"]["max_length"] = json!(100_000));
    desk.types("verify out --recompute 5 -i texts.txt").fails_as_wrong_usage().says("beyond the model's limit");
}

#[test]
fn options_of_recomputing_go_with_it() {
    let desk = desk("-e mean -l 2");
    for line in ["-i texts.txt", "-m width64", "--seed 1", "--recompute 0 -i texts.txt", "--recompute x"] {
        desk.types(&format!("verify out {line}")).fails_as_wrong_usage().says("--recompute");
    }
}

#[cfg(feature = "parquet")]
mod of_tables {
    use std::sync::Arc;

    use arrow_array::builder::{Float32Builder, ListBuilder};
    use arrow_array::cast::AsArray;
    use arrow_array::types::Float32Type;
    use arrow_array::{ArrayRef, RecordBatch};
    use arrow_schema::{Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// The rows of a part, changed and written again, with a checksum that agrees.
    fn rewrite(desk: &Desk, part: &str, change: impl Fn(RecordBatch) -> RecordBatch) {
        let name = format!("out/{part}");
        let file = fs::File::open(desk.path(&name)).expect("a part");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader");
        let batches: Vec<RecordBatch> = reader.map(|batch| change(batch.expect("a batch"))).collect();
        let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), None).expect("a writer");
        batches.iter().for_each(|batch| writer.write(batch).expect("memory"));
        let bytes = writer.into_inner().expect("memory");
        desk.fix_checksum(part, &bytes);
        desk.put(&name, bytes);
    }

    /// With other vectors in a column, made of each row's.
    fn with_vectors(batch: &RecordBatch, column: &str, make: impl Fn(usize, &[f32]) -> Vec<f32>) -> RecordBatch {
        let mut lists = ListBuilder::new(Float32Builder::new());
        for (row, list) in batch.column_by_name(column).expect("a column").as_list::<i32>().iter().enumerate() {
            lists.values().append_slice(&make(row, list.expect("a vector").as_primitive::<Float32Type>().values()));
            lists.append(true);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let replaced = batch.schema().index_of(column).expect("a column");
        let mut columns = batch.columns().to_vec();
        let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().cloned().collect();
        fields[replaced] = Arc::new(Field::new(column, lists.data_type().clone(), true));
        columns[replaced] = lists;
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
    }

    /// With the lowest bit of a number of a column flipped.
    fn flipped(batch: &RecordBatch, column: &str, row: usize, number: usize) -> RecordBatch {
        with_vectors(batch, column, |at, vector| {
            let mut vector = vector.to_vec();
            if at == row {
                vector[number] = f32::from_bits(vector[number].to_bits() ^ 1);
            }
            vector
        })
    }

    fn texts(count: usize) -> String {
        (0..count).map(|row| format!("{}the river {row}\n", "hello world ".repeat(row * 7 % 5))).collect()
    }

    #[test]
    fn tables_are_what_the_model_gives() {
        let desk = Desk::with("width64");
        desk.put("texts.txt", texts(50));
        for options in [
            "-e token,word,mean,cls,pooler,sentence",
            "-e mean,token --dtype f16 -l 1",
            "-e token,mean --overflow window --max-length 6 --stride 1 --special-tokens drop",
            "-e mean,word --combine concat",
        ] {
            let job = format!("extract -m width64 -i texts.txt -f parquet --part-texts 16 {options}");
            desk.types(&format!("{job} -o out --overwrite")).succeeds();
            desk.recomputes("7 -i texts.txt", "7 of 50");
            desk.recomputes("99 -i texts.txt", "50 of 50");
            for (shard, texts) in [("1/2", 32), ("2/2", 18)] {
                let ran = desk.types(&format!("{job} --shard {shard} -o out --overwrite")).succeeds();
                ran.says(&format!("{texts} texts"));
                desk.recomputes("99 -i texts.txt", &format!("{texts} of {texts}"));
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_found_in_its_part() {
        let desk = Desk::with("width64");
        desk.put("texts.txt", texts(50));
        let job = "extract -m width64 -i texts.txt -f parquet --part-texts 16 -e mean,token";
        desk.types(&format!("{job} -o out")).succeeds();
        rewrite(&desk, "mean/part-00001.parquet", |batch| batch);
        desk.recomputes("50 -i texts.txt", "50 of 50");
        rewrite(&desk, "mean/part-00001.parquet", |batch| flipped(&batch, "layer_01", 3, 5));
        desk.types("verify out").succeeds();
        let found = desk.finds("50 -i texts.txt");
        assert_eq!(found.len(), 1, "{found:#?}");
        let said = "mean/part-00001.parquet [layer_01]: row 3 (text 19) differs from what the model gives: 1 of 128 numbers, the first in column 5: ";
        assert!(found[0].starts_with(said), "{found:#?}");
        rewrite(&desk, "mean/part-00001.parquet", |batch| flipped(&batch, "layer_01", 3, 5));
        // The third token of the second text of the last part; before it are the tokens of one text.
        let lines = desk.json_lines("out/texts.jsonl");
        let row = lines[48]["tokens"].as_array().expect("tokens").len() + 2;
        rewrite(&desk, "token/part-00003.parquet", |batch| flipped(&batch, "layer_00", row, 0));
        let found = desk.finds("50 -i texts.txt");
        let said = format!("token/part-00003.parquet [layer_00]: row {row} (token 2 of text 49) differs");
        assert!(found.len() == 1 && found[0].starts_with(&said), "{found:#?}");
    }

    #[test]
    fn parts_that_are_no_such_tables_are_named() {
        let desk = Desk::with("width64");
        desk.put("texts.txt", texts(50));
        let job = "extract -m width64 -i texts.txt -f parquet --part-texts 16 -e mean,token";
        desk.types(&format!("{job} -o out")).succeeds();
        let parts = ["mean/part-00000.parquet", "token/part-00002.parquet"];
        let good = parts.map(|part| desk.read(&format!("out/{part}")));
        let garbage = b"PAR1 and nothing more PAR1".to_vec();
        for (content, change, says) in [
            (Some(garbage), None, "cannot be read as Parquet"),
            (None, Some("without"), "has no column `layer_0"),
            (None, Some("fewer"), "rows; what the tokenizer gives has"),
            (None, Some("short"), "has a vector in `layer_01` that is not of 128 numbers"),
        ] {
            for (part, good) in parts.iter().zip(&good) {
                let name = format!("out/{part}");
                desk.put(&name, good);
                match &content {
                    Some(content) => {
                        desk.put(&name, content);
                        desk.fix_checksum(part, content);
                    }
                    None => rewrite(&desk, part, |batch| match change {
                        Some("fewer") => batch.slice(0, batch.num_rows() - 1),
                        Some("short") => with_vectors(&batch, "layer_01", |_, vector| vector[1..].to_vec()),
                        _ => {
                            let kept: Vec<usize> = (0..batch.num_columns() - 3).collect();
                            batch.project(&kept).expect("columns")
                        }
                    }),
                }
                let found = desk.finds("50 -i texts.txt");
                assert!(found.iter().all(|damage| damage.starts_with(part) && damage.contains(says)), "{found:#?}");
                assert!(!found.is_empty());
                desk.put(&name, good);
                desk.fix_checksum(part, good);
            }
        }
        // Bytes that are damaged under an honest checksum are told once more as what cannot be read, or as what differs.
        let mut bad = good[0].clone();
        bad[200] ^= 1;
        desk.put("out/mean/part-00000.parquet", bad);
        let found = desk.finds("50 -i texts.txt");
        assert!(found.iter().any(|damage| damage.contains("checksum")), "{found:#?}");
    }
}
