//! Errors of the library as Python's own kinds of exceptions.

use std::io::ErrorKind;

use layerwise::Error;
use pyo3::PyErr;
use pyo3::exceptions::{
    PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyPermissionError, PyRuntimeError, PyValueError,
};

/// The exception for an error. Its message is the library's.
pub(crate) fn exception(error: &Error) -> PyErr {
    let message = message(error);
    match error {
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
            ErrorKind::PermissionDenied => PyPermissionError::new_err(message),
            _ => PyOSError::new_err(message),
        },
        // A file that is named without its folder is one of the model's, wherever that is.
        Error::Model { path, .. } | Error::Output { path, .. } if path.components().count() > 1 && !path.exists() => {
            PyFileNotFoundError::new_err(message)
        }
        Error::Hub(_) | Error::DiskFull { .. } | Error::DiskFilledUp { .. } => PyOSError::new_err(message),
        Error::Encoder(_) => PyRuntimeError::new_err(message),
        Error::OtherInput(error) => exception(error),
        // Raised by the handler of a signal already; this is for those who never see that.
        Error::Interrupted { .. } => PyKeyboardInterrupt::new_err(()),
        _ => PyValueError::new_err(message),
    }
}

/// The message, in which what was asked for is named by Python's parameters. These are the fields of a request but for
/// one, which has the name of the command's option.
fn message(error: &Error) -> String {
    error.to_string().replace("`kinds`", "`emit`")
}

/// For `map_err`: an exception about a parameter.
pub(crate) fn about(parameter: &str) -> impl Fn(String) -> PyErr {
    move |problem| PyValueError::new_err(format!("{parameter}: {problem}"))
}
