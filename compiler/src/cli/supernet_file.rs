//! What the makers of supernets share: names of levels, and the file to write.

use std::path::Path;

use condensec_ir::Diagnostic;

use crate::frontend::onnx::proto::{ModelProto, encode_model};
use crate::output;
use crate::report::Failure;

/// Bytes of a protobuf message at most; longer files no reader takes.
const MAX_FILE_BYTES: usize = (1 << 31) - 1;

/// Checks the names that the user gives to `n_levels` levels.
///
/// # Errors
/// `length-mismatch`, `duplicate-name`.
pub(super) fn check_level_names(names: &[String], n_levels: usize) -> Result<(), Failure> {
    if !names.is_empty() && names.len() != n_levels {
        let message = format!("{} level names for {n_levels} levels", names.len());
        return Err(Diagnostic::error("length-mismatch", message).into());
    }
    let is_twice = |(at, name): &(usize, &String)| names[..*at].contains(*name);
    match names.iter().enumerate().find(is_twice) {
        Some((_, twice)) => {
            let message = format!("two levels are called {twice:?}");
            Err(Diagnostic::error("duplicate-name", message).into())
        }
        None => Ok(()),
    }
}

/// Writes a supernet; returns its bytes.
///
/// # Errors
/// `too-large`, or the file cannot be written.
pub(super) fn write(path: &Path, supernet: &ModelProto) -> Result<usize, Failure> {
    let bytes = encode_model(supernet);
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!(
            "the supernet has {} bytes, an ONNX file at most {MAX_FILE_BYTES}",
            bytes.len()
        );
        return Err(Diagnostic::error("too-large", message)
            .with_help("keep the level data in a file of its own, see --masks")
            .into());
    }
    output::write_file(path, &bytes)?;
    Ok(bytes.len())
}
