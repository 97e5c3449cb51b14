//! `LAYERWISE_ISA` and `--compute`: the same bytes on every instruction set.

use std::collections::BTreeMap;

use crate::desk::Desk;

const VARIABLE: &str = "LAYERWISE_ISA";

/// The instruction sets of this machine, as the message about a wrong one names them.
fn available(desk: &Desk) -> Vec<String> {
    let ran = desk.types_with(VARIABLE, "mmx", "extract hello").fails_as_wrong_usage();
    let message = ran.stderr();
    let (_, names) = message.trim_end().split_once("it has ").expect("names");
    names.lines().next().expect("a line").split(", ").map(str::to_owned).collect()
}

#[test]
fn an_unknown_instruction_set_is_wrong_usage_and_the_message_names_those_there_are() {
    let desk = Desk::new();
    let names = available(&desk);
    assert_eq!(names.last().map(String::as_str), Some("portable"));
    let ran = desk.types_with(VARIABLE, "AVX512", "extract hello").fails_as_wrong_usage();
    ran.says_all(&[VARIABLE, "AVX512"]);
}

#[test]
fn every_instruction_set_writes_the_same_numbers() {
    let desk = Desk::new();
    let texts: Vec<String> = (0..40).map(|i| "the quick river's stone ".repeat(i % 11)).collect();
    desk.put("texts.txt", texts.join("\n"));
    for model in ["width1", "width3", "width16", "width32", "width64"] {
        desk.model(model);
        for compute in ["f32", "bf16", "int8"] {
            let job = format!("extract -m {model} -i texts.txt -e token,mean,weightedmean --compute {compute}");
            desk.types(&format!("{job} -o {model}-{compute}")).succeeds();
            // Tiles sum products of bfloat16 in an order of their own.
            let in_tiles = |isa: &str| isa == "amx" && compute == "bf16";
            let files = |out: &str| {
                let mut files = desk.job(out);
                files.remove("manifest.json");
                files
            };
            let chosen = desk.json(&format!("{model}-{compute}/manifest.json"))["instruction_set"].clone();
            let chosen = chosen.as_str().expect("a name");
            let mut expected = BTreeMap::from([(in_tiles(chosen), files(&format!("{model}-{compute}")))]);
            for isa in available(&desk) {
                for speed in ["--threads 1", "--threads 3 --batch-tokens 50"] {
                    let out = format!("{model}-{compute}-{isa}{}", speed.replace(' ', ""));
                    desk.types_with(VARIABLE, &isa, &format!("{job} {speed} -o {out}")).succeeds();
                    assert_eq!(desk.json(&format!("{out}/manifest.json"))["instruction_set"], isa.as_str());
                    let files = files(&out);
                    let expected = expected.entry(in_tiles(&isa)).or_insert_with(|| files.clone());
                    assert!(files.keys().eq(expected.keys()));
                    for (file, bytes) in &files {
                        assert!(*bytes == expected[file], "{out}: {file} differs");
                    }
                }
            }
        }
        let [f32, bf16, int8] = ["f32", "bf16", "int8"].map(|compute| format!("{model}-{compute}"));
        assert!(desk.job(&f32) != desk.job(&bf16), "bfloat16 is another arithmetic");
        assert!(desk.job(&bf16) != desk.job(&int8), "integers of 8 bits are another arithmetic");
        assert_eq!(desk.json(&format!("{bf16}/manifest.json"))["plan"]["compute"], "bf16");
        assert_eq!(desk.json(&format!("{int8}/manifest.json"))["plan"]["compute"], "int8");
    }
}

#[test]
fn another_arithmetic_is_another_job() {
    let desk = Desk::new();
    desk.types("extract hello -o out").succeeds();
    desk.types("extract hello -o out --compute bf16").fails().says("--compute");
}

#[test]
fn a_job_of_another_instruction_set_says_how_to_go_on() {
    let desk = Desk::new();
    for isa in available(&desk).iter().filter(|&isa| isa != "portable") {
        desk.types_with(VARIABLE, isa, &format!("extract hello -o {isa}")).succeeds();
        let ran = desk.types_with(VARIABLE, "portable", &format!("extract hello -o {isa}")).fails();
        ran.says_all(&["instruction set", &format!("{VARIABLE}={isa}"), "--overwrite"]);
    }
}
