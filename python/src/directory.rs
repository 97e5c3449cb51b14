//! Arrays of output directories that cannot be mapped as they lie, as they are compressed.

use std::path::PathBuf;

use layerwise::directory::stored::Directory;
use layerwise::{Error, VectorKind};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::exception;
use crate::settings::choice;

/// Bytes of an array that are handed over at once.
const PIECE: u64 = 4 << 20;

/// A directory that is read by the library; `layerwise.Directory` has one for Parquet files.
#[pyclass(frozen, module = "layerwise._layerwise")]
pub(crate) struct OpenDirectory(Directory);

#[pymethods]
impl OpenDirectory {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        Directory::open(&path).map(Self).map_err(|error| exception(&error))
    }

    /// Gives the numbers of an array, as they are stored, piece by piece to `write`.
    fn unpack(&self, py: Python<'_>, kind: &str, name: &str, write: &Bound<'_, PyAny>) -> PyResult<()> {
        let kind: VectorKind = choice("kind", kind)?;
        let array = self.0.arrays().iter().find(|array| array.kind == kind && array.name() == name);
        let array = array.ok_or_else(|| {
            let problem = format!("holds no {name} of {} vectors", kind.name());
            exception(&Error::Output { path: self.0.path.clone(), problem })
        })?;
        let stored = py.detach(|| self.0.array(array)).map_err(|error| exception(&error))?;
        let row_bytes = array.columns as u64 * self.0.plan.dtype.size();
        let most = (PIECE / row_bytes.max(1)).max(1);
        let mut row = 0;
        while row < stored.rows() {
            let rows = row..stored.rows().min(row + most);
            row = rows.end;
            let mut bytes = vec![0; ((rows.end - rows.start) * row_bytes) as usize];
            stored.read_stored(rows, &mut bytes).map_err(|error| exception(&error))?;
            write.call1((PyBytes::new(py, &bytes),))?;
        }
        Ok(())
    }

    /// The row at which each text begins in the arrays of a kind, and their number.
    fn offsets<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let kind: VectorKind = choice("kind", kind)?;
        let offsets = py.detach(|| self.0.offsets(kind)).map_err(|error| exception(&error))?;
        let offsets: Vec<i64> = offsets.into_iter().map(|offset| offset as i64).collect();
        Ok(offsets.into_pyarray(py))
    }
}
