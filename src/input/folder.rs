//! A folder of Parquet or Arrow files, as Spark, Dask and Ray write a table: its files, in the order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::Source;
use crate::error::{Error, Result};
use crate::spec::InputFormat;

/// The log of a Delta table, by which alone it is known which of the files are of its present state.
const DELTA_LOG: &str = "_delta_log";

/// The files of a folder that are read, by name, byte by byte. Names that begin with `_` or `.` are passed over, as Spark and pyarrow do.
///
/// # Errors
/// [`Error::Input`] for a folder that holds anything else than files of `format`, or, where none is given, of Parquet and Arrow by
/// their names, and for one that holds none; [`Error::Io`] when it cannot be read.
pub(super) fn files(folder: &Path, format: Option<InputFormat>) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::io("read", folder)(error);
    let refuse = |problem: String| Err(Error::Input { source_name: folder.display().to_string(), problem });
    if format.is_some_and(|format| !format.is_columnar()) {
        return refuse("is a directory; expected a file of texts; name the files in it, each with -i".to_owned());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if name == DELTA_LOG {
            return refuse(
                "is a Delta table, some of whose files may be of earlier states; write what is to be read into a folder of its own, with Spark or deltalake".to_owned(),
            );
        }
        if !name.as_encoded_bytes().starts_with(b"_") && !name.as_encoded_bytes().starts_with(b".") {
            files.push(entry.path());
        }
    }
    files.sort_unstable_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    if files.is_empty() {
        return refuse(
            "is a directory without a file to read (names that begin with _ or . are passed over); expected a file of texts, or a folder of Parquet or Arrow files".to_owned(),
        );
    }
    for path in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = Source::File(path.clone()).format();
        let metadata = path.metadata().map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return refuse(format!(
                "is a directory that holds another, `{name}`, into which it is not followed; name the folder that holds the files, with -i {}",
                path.display()
            ));
        }
        // Hive and Hadoop write files without an extension.
        let is_of_format = match format {
            Some(format) => found == format || path.extension().is_none(),
            None => found.is_columnar(),
        };
        if !is_of_format || !metadata.is_file() {
            let expected = format.map_or("Parquet or Arrow".to_owned(), |format| format!("`{}`", format.name()));
            return refuse(format!(
                "is a directory that holds `{name}`; expected a file of texts, or a folder whose files are all {expected} by their names, but for those that begin with _ or .; name the files in it, each with -i"
            ));
        }
    }
    Ok(files)
}
