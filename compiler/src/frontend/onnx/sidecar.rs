//! Level data in a file of its own, for tool chains that strip unused initializers.
//!
//! The file is an `.npz` with the tensors under the names that they would have in the model. What
//! would be metadata is an array too: `condense.levels` an integer, `condense.block:W` one integer
//! per axis of `W`.

use std::path::Path;

use condensec_ir::Diagnostic;

use crate::npz::{self, NpzArray, NpzElems, NpzError};

/// The contents of a mask file.
#[derive(Debug, Clone, Default)]
pub struct MaskFile {
    path: String,
    arrays: Vec<NpzArray>,
}

impl MaskFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file is missing, damaged, or no NumPy archive.
    pub fn read(path: &Path) -> Result<MaskFile, NpzError> {
        Ok(MaskFile::new(
            path.display().to_string(),
            npz::read_npz_file(path)?,
        ))
    }

    /// A mask file from its arrays; `path` names it in diagnostics.
    pub fn new(path: impl Into<String>, arrays: Vec<NpzArray>) -> MaskFile {
        MaskFile {
            path: path.into(),
            arrays,
        }
    }

    /// Name of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The arrays that are tensors, not metadata.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &NpzArray> {
        self.arrays
            .iter()
            .filter(|array| !array.name.starts_with("condense."))
    }

    /// An array of integers that stands for metadata.
    pub(super) fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, Diagnostic> {
        let Some(array) = self.arrays.iter().find(|array| array.name == key) else {
            return Ok(None);
        };
        match array.to_i64_vec() {
            Ok(values) => Ok(Some(values)),
            Err(_) => Err(Diagnostic::error(
                "bad-metadata",
                format!(
                    "`{key}` has elements of type {}, expected integers",
                    array.elem_type()
                ),
            )
            .at_file(&self.path)
            .at_tensor(key)),
        }
    }

    /// Keys of the arrays that stand for metadata.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let names = self.arrays.iter().map(|array| array.name.as_str());
        names.filter(|name| name.starts_with("condense."))
    }

    /// The level names, where they are given as one string of bytes.
    pub(super) fn has_unread_text(&self, key: &str) -> bool {
        self.arrays
            .iter()
            .any(|array| array.name == key && matches!(array.elems, NpzElems::Other(_)))
    }
}
