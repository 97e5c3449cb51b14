//! A file of texts into a directory of arrays, as `layerwise extract -i FILE -o DIR -e mean,token -l -2..` does it. Stopped at
//! any moment and started again, it goes on where it was.
//!
//! `cargo run --release --example file_to_directory -- texts.txt out`

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::Path;

use layerwise::{DirectoryOptions, Error, Input, Model, Request, VectorKind};

fn main() -> layerwise::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Usage("expected a file of texts and a directory".to_owned()));
    };
    let request = Request {
        kinds: vec![VectorKind::Mean, VectorKind::Token],
        layers: Some("-2..".parse().map_err(Error::Usage)?),
        ..Request::default()
    };
    let model = Model::builder("bundled").threads(2).open()?;
    let input = Input::of_files([&file])?;
    model.encode_to_directory(&input, &request, Path::new(&directory), DirectoryOptions::default())?;
    println!("{file} → {directory}");
    Ok(())
}
