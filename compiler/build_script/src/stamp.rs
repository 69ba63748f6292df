//! Whether a model is compiled already: the command and a hash of the files that went into it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::BuildError;

/// What a library was made from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp(String);

impl Stamp {
    /// Of a compiler's call and the files that it reads.
    pub fn new<'a>(
        call: &str,
        files: impl Iterator<Item = &'a PathBuf>,
    ) -> Result<Self, BuildError> {
        let mut text = format!("{call}\n");
        for file in files {
            let bytes = fs::read(file)
                .map_err(|error| BuildError(format!("{}: {error}", file.display())))?;
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            text += &format!(
                "{} {} {:016x}\n",
                file.display(),
                bytes.len(),
                hasher.finish()
            );
        }
        Ok(Self(text))
    }

    /// Whether this is the stamp that an earlier build left.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::read_to_string(path).is_ok_and(|found| found == self.0)
    }

    /// Leaves it for the next build.
    pub fn write(&self, path: &Path) -> Result<(), BuildError> {
        fs::write(path, &self.0).map_err(|error| BuildError(format!("{}: {error}", path.display())))
    }
}
