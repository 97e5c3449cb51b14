//! What is fuzzed: everything that parses what somebody else wrote. Each takes bytes, and must end without a panic and in
//! little memory, whatever they are. `tests/fuzz_corpus.rs` runs them on the corpus.

use std::path::Path;
use std::sync::Arc;

use layerwise::checkpoint::config::Config;
use layerwise::checkpoint::weights::Weights;
use layerwise::checkpoint::{Checkpoint, ModelLocation};
use layerwise::directory::contents::Contents;
use layerwise::directory::manifest::JobRecord;
use layerwise::directory::merge::merge;
use layerwise::directory::output_directory::OutputDirectory;
use layerwise::directory::{existing, names};
use layerwise::encoder::{self, Encoder, EncoderSettings, Ops};
use layerwise::error::Result;
use layerwise::family;
use layerwise::input::{self, Columns, Skipped, Text};
use layerwise::kernels::InstructionSet;
use layerwise::spec::{Compute, Delimiter, InputFormat, OnBadLine};
use layerwise::tokens::Tokenizer;
use sha2::{Digest, Sha256};

const CONFIG: &[u8] = include_bytes!("../tests/golden/width1/config.json");
const SMALL_CONFIG: &[u8] = include_bytes!("../tests/pickles/config.json");
const VOCABULARY: &[u8] = include_bytes!("../tests/golden/width1/vocab.txt");
const FORMATS: [InputFormat; 8] = [
    InputFormat::Text,
    InputFormat::Jsonl,
    InputFormat::Csv,
    InputFormat::Tsv,
    InputFormat::Conll,
    InputFormat::Conllu,
    InputFormat::Json,
    InputFormat::Fasta,
];

/// A directory with these files.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("a file");
    }
    directory
}

fn find(directory: &Path) -> Result<Checkpoint> {
    let model = directory.to_str().expect("UTF-8");
    Checkpoint::find(&ModelLocation::local(model))
}

/// Input in every format, compressed or not, in any encoding; the first byte chooses format and options.
pub(crate) fn readers(data: &[u8]) {
    let Some((&options, content)) = data.split_first() else { return };
    let format = FORMATS[usize::from(options) % FORMATS.len()];
    let table = format.is_table();
    let no_header = table && options & 64 != 0;
    let name = |number: &str, name: &str| Some(if no_header { number } else { name }.to_owned());
    let has_columns = table || matches!(format, InputFormat::Jsonl | InputFormat::Json);
    let columns = Columns {
        text_column: if has_columns { name("1", "text") } else { None },
        pair_column: if has_columns && options & 32 != 0 { name("2", "pair") } else { None },
        carry: if format == InputFormat::Fasta { vec!["description".to_owned()] } else { Vec::new() },
        no_header,
        delimiter: Delimiter::new(b';').filter(|_| table && options & 16 != 0),
        pretokenized: options & 128 != 0,
        ..Columns::default()
    };
    let on_bad_line = if options & 8 == 0 { OnBadLine::Error } else { OnBadLine::Skip };
    let Ok(mut records) = input::records_of(content, format, &columns, on_bad_line) else { return };
    let mut digest = Sha256::new();
    for record in records.by_ref() {
        match record {
            Ok(record) => {
                let text = &record.text;
                assert!(text.words.iter().flatten().all(|word| text.text.get(word.clone()).is_some()));
                record.digest_into(&mut digest);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let warning = records.skipped().and_then(Skipped::warning);
    assert!(warning.is_none() || on_bad_line == OnBadLine::Skip);
}

/// `config.json`.
pub(crate) fn config(data: &[u8]) {
    let _ = Config::parse(data, Path::new("config.json"));
}

/// `tokenizer.json`, then a text of many kinds of characters through it.
pub(crate) fn tokenizer(data: &[u8]) {
    let directory = directory(&[("config.json", CONFIG), ("tokenizer.json", data)]);
    let load = || -> Result<()> {
        let checkpoint = find(directory.path())?;
        let config = checkpoint.config()?;
        encode(&Tokenizer::load(&checkpoint, config.vocab_size, config.longest_text)?)
    };
    let _ = load();
}

/// A model of the SentencePiece library, then a text through it. The first byte chooses the class that reads it, and whether it
/// is converted as transformers 4 or, for settings that this one does not load, as transformers 5 does it.
pub(crate) fn sentence_piece(data: &[u8]) {
    const CLASSES: [(&str, &str, &str); 5] = [
        ("albert", "AlbertTokenizer", "spiece.model"),
        ("bert-generation", "BertGenerationTokenizer", "spiece.model"),
        ("camembert", "CamembertTokenizer", "sentencepiece.bpe.model"),
        ("deberta-v2", "DebertaV2Tokenizer", "spm.model"),
        ("xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model"),
    ];
    let Some((&options, model)) = data.split_first() else { return };
    let (model_type, class, file) = CLASSES[usize::from(options & 127) % CLASSES.len()];
    let config = format!(r#"{{"model_type": "{model_type}"}}"#);
    let only_for_5 = if options & 128 == 0 { "" } else { r#", "extra_special_tokens": ["<sym>"]"# };
    let settings = format!(r#"{{"tokenizer_class": "{class}"{only_for_5}}}"#);
    let directory =
        directory(&[("config.json", config.as_bytes()), ("tokenizer_config.json", settings.as_bytes()), (file, model)]);
    let load = || encode(&Tokenizer::load(&find(directory.path())?, 1 << 20, 512)?);
    let _ = load();
}

/// A text of many kinds of characters.
fn encode(tokenizer: &Tokenizer) -> Result<()> {
    let text = "Hello [MASK] naïve WORLD, 中国 x\0y \u{200b} 🙂 unlitly".to_owned();
    tokenizer.encode(0, &Text { text, words: None }, None).map(drop)
}

/// `model.safetensors`, every tensor of it read.
pub(crate) fn safetensors(data: &[u8]) {
    let directory = directory(&[("model.safetensors", data)]);
    let _ = Weights::from_safetensors(&[directory.path().join("model.safetensors")], family::bert())
        .and_then(|weights| load(weights, CONFIG));
}

/// `pytorch_model.bin`, every tensor of it read: as it is, and as what follows the head of the format before PyTorch 1.6,
/// which no checksum guards.
pub(crate) fn pickle(data: &[u8]) {
    const HEAD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    for data in [data, &[HEAD, data].concat()] {
        let directory = directory(&[("pytorch_model.bin", data)]);
        let _ = Weights::from_pickle(&directory.path().join("pytorch_model.bin"), family::bert())
            .and_then(|weights| load(weights, SMALL_CONFIG));
    }
}

/// Reads every tensor that a configuration asks for.
fn load(weights: Weights, config: &[u8]) -> Result<()> {
    let config = Config::parse(config, Path::new("config.json"))?;
    let (deepest, pooler) = (config.num_hidden_layers, encoder::has_pooler(&weights));
    encoder::check(&weights, &config, deepest, pooler)?;
    let compute = Compute::F32;
    let instruction_set = InstructionSet::from_env(compute)?;
    let settings = EncoderSettings { compute, ops: Ops::Kernels, instruction_set };
    Encoder::new(Arc::new(weights), config, settings).load(deepest, pooler)
}

/// `model.safetensors.index.json`, whose files may not lie elsewhere.
pub(crate) fn index(data: &[u8]) {
    let outside = directory(&[(
        "outside.safetensors",
        &[8, 0, 0, 0, 0, 0, 0, 0, b'{', b'}', b' ', b' ', b' ', b' ', b' ', b' '],
    )]);
    let inside = outside.path().join("model");
    std::fs::create_dir(&inside).expect("a directory");
    let files = [("config.json", CONFIG), ("vocab.txt", VOCABULARY), ("model.safetensors.index.json", data)];
    for (name, content) in files {
        std::fs::write(inside.join(name), content).expect("a file");
    }
    let Ok(checkpoint) = find(&inside) else { return };
    if data.windows(b"outside".len()).any(|window| window == b"outside") {
        // There is nothing of that name inside.
        assert!(checkpoint.weights(family::bert()).is_err());
    } else {
        let _ = checkpoint.weights(family::bert());
    }
}

/// `unfinished.json`, with a job that would go on.
pub(crate) fn journal(data: &[u8]) {
    let tokens = (".layerwise-tokens", &[0u8; 24][..]);
    for journal in [data, &sealed(data)] {
        let directory = directory(&[(names::UNFINISHED, journal), tokens, (".layerwise-texts.jsonl", b"{}\n")]);
        let _ = existing::examine(directory.path(), false);
        if let Ok(prepared) = OutputDirectory::new(directory.path(), false) {
            let _ = prepared.start(&JobRecord::default());
        }
    }
}

/// A journal with the checksum that it needs to be believed.
fn sealed(data: &[u8]) -> Vec<u8> {
    let Ok(serde_json::Value::Object(mut journal)) = serde_json::from_slice(data) else { return data.to_vec() };
    journal.shift_remove("checksum");
    if let Some(progress) = journal.shift_remove("progress") {
        journal.insert("progress".to_owned(), progress);
    }
    let mut journal = serde_json::Value::Object(journal);
    journal["checksum"] = format!("{:08x}", crc32fast::hash(journal.to_string().as_bytes())).into();
    journal.to_string().into_bytes()
}

/// `manifest.json`: of a directory to verify, of one that is there already, of a shard to merge.
pub(crate) fn manifest(data: &[u8]) {
    let _ = Contents::parse(data);
    let directory = directory(&[("manifest.json", data), ("texts.jsonl", b"")]);
    let _ = existing::examine(directory.path(), false);
    let _ = merge(&[directory.path().to_owned()], &directory.path().join("merged"), false);
}
