//! Damaged files of arrays.

use std::fs;

use half::{bf16, f16};

use super::{JOBS, NPY_DATA, desk};

#[test]
fn every_field_of_a_npy_header_is_compared() {
    let desk = desk(JOBS[0]);
    let name = "out/mean/layer_02.npy";
    let bytes = desk.read(name);
    for (from, to, problem) in [
        ("NUMPY\x01", "NUMBY\x01", "is not a .npy file, as it does not begin with \\x93NUMPY"),
        ("NUMPY\x01", "NUMPY\x02", "the header has version 2.0; expected 1.0"),
        ("v\0{", "w\0{", "the header has 119 bytes; expected 118"),
        ("<f4", "<i4", "holds numbers of type '<i4'; expected '<f4'"),
        ("<f4", ">f4", "holds numbers of type '>f4'; expected '<f4'"),
        ("False", "True ", "is in Fortran order; expected C order"),
        ("(5, 128)", "(128, 5)", "has shape [128, 5]; expected [5, 128]"),
        ("(5, 128)", "(5,128) ", "the header means what it should, but byte 63 is not what layerwise writes"),
        ("    \n", "   x\n", "the header cannot be read"),
        ("    \n", "     ", "newline missing at end of header"),
    ] {
        desk.edit_text(name, from, to);
        let damages = desk.damages();
        assert!(damages.len() == 1 && damages[0].starts_with("mean/layer_02.npy: "), "{damages:?}");
        assert!(damages[0].contains(problem), "{damages:?} has not {problem:?}");
        desk.put(name, &bytes);
    }
}

#[test]
fn every_field_of_a_safetensors_header_is_compared() {
    let desk = desk(JOBS[3]);
    let name = "out/token.safetensors";
    let bytes = desk.read(name);
    let header = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let rows = desk.json("out/manifest.json")["counts"]["tokens"].as_u64().expect("a number");
    let shape = format!("[{rows},128]");
    assert!(header.contains(&shape));
    for (from, to, problem) in [
        ("I64", "U64", "tensor offsets is of type U64; expected I64"),
        ("F32", "U32", "tensor layer_00 is of type U32; expected F32"),
        (shape.as_str(), &format!("[128,{rows}]"), "tensor layer_00 has shape"),
        ("[0,48]", "[0,47]", "the header cannot be read"),
        ("layer_02", "layer_03", "has no tensor layer_02"),
        ("layer_02", "layer_03", "has a tensor \"layer_03\", which the manifest does not name"),
        ("layer_02", "layer_00", "the header cannot be read"),
        (" ", "\t", "the header means what it should"),
    ] {
        if from == " " && !header[..400].contains(from) {
            continue; // no room between header and data in this one
        }
        desk.edit_text(name, from, to);
        let damages = desk.damages();
        assert!(damages.iter().all(|line| line.starts_with("token.safetensors")), "{damages:?}");
        assert!(damages.iter().any(|line| line.contains(problem)), "{damages:?} has not {problem:?}");
        desk.put(name, &bytes);
    }
    // The two tensors' names exchanged: the same bytes in all, each tensor in the other's place.
    desk.edit_text(name, "layer_02", "layer_xx");
    desk.edit_text(name, "layer_04", "layer_02");
    desk.edit_text(name, "layer_xx", "layer_04");
    let damages = desk.damages();
    assert!(damages.iter().any(|line| line.contains("tensor layer_02 is at bytes")), "{damages:?}");
    // Another header length, beyond the file and beyond memory.
    for length in [0, 1, u64::MAX, 99_999_999] {
        desk.put(name, &bytes);
        desk.edit(name, |bytes| bytes[..8].copy_from_slice(&length.to_le_bytes()));
        let damages = desk.damages();
        assert_eq!(damages.len(), 1);
        assert!(damages[0].starts_with(&format!("token.safetensors: the header has {length} bytes; expected")));
    }
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_named_with_its_sizes() {
    for (job, name) in [(JOBS[0], "token/layer_04.npy"), (JOBS[0], "token/offsets.npy"), (JOBS[5], "mean.safetensors")]
    {
        let desk = desk(job);
        let path = format!("out/{name}");
        let bytes = desk.read(&path);
        for length in [0, 5, 40, bytes.len() - 1, bytes.len() + 1, bytes.len() + 5000] {
            desk.edit(&path, |bytes| bytes.resize(length, 0));
            let damages = desk.damages();
            assert!(damages.contains(&format!("{name}: has {length} bytes; expected {}", bytes.len())), "{damages:?}");
            assert!(damages.iter().all(|line| line.starts_with(name)), "{damages:?}");
            let is_cut = length <= 40;
            assert_eq!(damages.len(), 1 + usize::from(is_cut), "{damages:?}");
            desk.put(&path, &bytes);
        }
        desk.edit("out/texts.jsonl", |bytes| bytes.truncate(bytes.len() / 2));
        let damages = desk.damages();
        assert!(damages.iter().any(|line| line.starts_with("texts.jsonl: has ")), "{damages:?}");
    }
}

#[test]
fn files_that_are_missing_are_all_named() {
    let desk = desk(JOBS[0]);
    for name in ["texts.jsonl", "token/layer_00.npy", "word/offsets.npy", "sentence.npy"] {
        desk.remove(&format!("out/{name}"));
    }
    fs::create_dir(desk.path("out/sentence.npy")).expect("a directory");
    desk.is_damaged(&[
        "texts.jsonl: is missing",
        "token/layer_00.npy: is missing",
        "word/offsets.npy: is missing",
        "sentence.npy: is a directory; expected a file",
    ]);
    fs::remove_dir_all(desk.path("out/token")).expect("a directory");
    assert!(desk.damages().contains(&"token/layer_02.npy: is missing".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_pipe_under_the_name_of_a_file_is_not_waited_for() {
    let desk = desk(JOBS[0]);
    desk.remove("out/sentence.npy");
    let made = std::process::Command::new("mkfifo").arg(desk.path("out/sentence.npy")).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe");
    desk.is_damaged(&["sentence.npy: is a pipe; expected a file"]);
}

#[cfg(unix)]
#[test]
fn what_lies_in_place_of_a_file_is_called_what_it_is() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    let desk = desk("-e mean,token -l 0,2");
    let name = "mean/layer_02.npy";
    let path = desk.path("out").join(name);
    let whole = desk.read("out/mean/layer_02.npy");
    let links = [
        ("/dev/zero", "is a device; expected a file"),
        ("nowhere", "is a link to what does not exist"),
        ("..", "is a directory; expected a file"),
    ];
    for (target, problem) in links {
        fs::remove_file(&path).expect("a file");
        symlink(target, &path).expect("a link");
        desk.is_damaged(&[&format!("{name}: {problem}")]);
    }
    fs::remove_file(&path).expect("a link");
    let listener = UnixListener::bind(&path).expect("a socket");
    desk.is_damaged(&[&format!("{name}: is a socket; expected a file")]);
    drop(listener);
    fs::remove_file(&path).expect("a socket");
    desk.put("out/mean/layer_02.npy", whole);
    desk.verifies();
    fs::remove_dir_all(desk.path("out/mean")).expect("a directory");
    desk.put("out/mean", "");
    let problem = "is missing: its folder is no folder";
    desk.is_damaged(
        &["mean/layer_00.npy", "mean/layer_02.npy"]
            .map(|name| format!("{name}: {problem}"))
            .each_ref()
            .map(String::as_str),
    );
}

/// A file that opens and whose bytes the system does not give, to root neither.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let desk = desk("-e mean,token -l 0,2");
    let unreadable = |name: &str| {
        desk.remove(name);
        std::os::unix::fs::symlink("/proc/self/mem", desk.path(name)).expect("a link");
    };
    let texts = desk.read("out/texts.jsonl");
    unreadable("out/texts.jsonl");
    let ran = desk.types("verify out").ends_with(1).prints("texts.jsonl: cannot be read: ").does_not_say("damaged");
    ran.says_all(&["out: could not be read as a whole", "permissions", "verify it again"]);
    // Beside a damage it is one of the problems.
    desk.edit("out/mean/layer_00.npy", |bytes| *bytes.last_mut().expect("a byte") ^= 1);
    let damages = desk.damages();
    assert_eq!(damages.len(), 2, "{damages:?}");
    desk.remove("out/texts.jsonl");
    desk.put("out/texts.jsonl", texts);
    unreadable("out/manifest.json");
    desk.types("verify out").fails().says_all(&["cannot read out/manifest.json"]).does_not_say("damaged");
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_not_called_damaged() {
    use std::os::unix::fs::PermissionsExt;

    let desk = desk("-e mean -l 0,2");
    let may = |name: &str, mode: u32| {
        fs::set_permissions(desk.path(name), fs::Permissions::from_mode(mode)).expect("permissions");
    };
    may("out/mean/layer_02.npy", 0);
    if fs::File::open(desk.path("out/mean/layer_02.npy")).is_ok() {
        return; // Root reads everything; what it cannot read is in the test above.
    }
    let ran = desk.types("verify out").ends_with(1).says_all(&["out: could not be read as a whole", "permissions"]);
    ran.prints_exactly("mean/layer_02.npy: cannot be read: Permission denied (os error 13)\n");
    may("out/mean/layer_02.npy", 0o644);
    may("out/mean", 0);
    desk.types("verify out").ends_with(1).says("out: could not be read as a whole").prints("mean/layer_00.npy: cannot");
    may("out/mean", 0o755);
    may("out/manifest.json", 0);
    desk.types("verify out").fails().says_all(&["cannot read out/manifest.json", "Permission denied"]);
    may("out/manifest.json", 0o644);
    may("out", 0);
    desk.types("verify out").fails().says_all(&["cannot read out", "Permission denied"]);
    may("out", 0o755);
    desk.verifies();
}

#[test]
fn array_files_that_were_exchanged_are_both_named() {
    let desk = desk(JOBS[0]);
    let (a, b) = (desk.read("out/mean/layer_00.npy"), desk.read("out/mean/layer_04.npy"));
    desk.put("out/mean/layer_00.npy", b);
    desk.put("out/mean/layer_04.npy", a);
    let damages = desk.damages();
    assert_eq!(damages.len(), 2, "{damages:?}");
    assert!(damages[0].starts_with("mean/layer_00.npy: its bytes have checksum "), "{damages:?}");
    assert!(damages[1].starts_with("mean/layer_04.npy: its bytes have checksum "), "{damages:?}");
}

#[test]
fn numbers_that_are_not_finite_are_named_by_their_row_even_if_the_checksum_is_right() {
    let desk = desk("-e mean,token -l 2");
    let name = "out/mean/layer_02.npy";
    for (row, column, number) in [(0, 0, f32::NAN), (3, 127, f32::INFINITY), (4, 5, f32::NEG_INFINITY)] {
        let whole = desk.read(name);
        desk.edit(name, |bytes| {
            // A later row as well, which the first one speaks for.
            for row in row..5 {
                let at = NPY_DATA + 4 * (128 * row + column);
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
        });
        desk.fix_checksum("mean/layer_02.npy", &desk.read(name)[NPY_DATA..]);
        desk.is_damaged(&[&format!("mean/layer_02.npy: row {row} is not finite")]);
        desk.put(name, &whole);
    }
    for (dtype, nan) in [("f16", f16::NAN.to_le_bytes()), ("bf16", bf16::NEG_INFINITY.to_le_bytes())] {
        desk.types(&format!("extract -m width64 -i texts.txt -f safetensors --dtype {dtype} --overwrite -o out"))
            .succeeds();
        desk.verifies();
        let bytes = desk.read("out/mean.safetensors");
        let start = bytes.len() - 5 * 128 * 2;
        desk.edit("out/mean.safetensors", |bytes| bytes[start + 1000..start + 1002].copy_from_slice(&nan));
        desk.fix_checksum("mean.safetensors [layer_04]", &desk.read("out/mean.safetensors")[start..]);
        desk.is_damaged(&["mean.safetensors [layer_04]: row 3 is not finite"]);
    }
}
