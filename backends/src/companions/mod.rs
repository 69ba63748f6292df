//! The files beside the library: how a user's program and build system get at it.
//!
//! All are generated from the same [`Manifest`], so they cannot disagree about names and sizes.

mod c_header;
mod cmake;
mod cpp_header;
mod identifier;
mod manifest;
mod pkg_config;
mod rust_bindings;

pub use manifest::{
    LayerEntry, LayerLevelEntry, LevelEntry, Manifest, PortEntry, SizeEntry, TableParts,
};

use crate::BackendError;
use crate::library::LibraryFile;

/// Whether `name` can prefix the C symbols of a library.
///
/// # Errors
/// [`BackendError::BadName`].
pub fn check_name(name: &str) -> Result<(), BackendError> {
    if identifier::is_c_identifier(name) && !identifier::is_taken_in_header(name) {
        return Ok(());
    }
    Err(BackendError::BadName { name: name.into() })
}

/// What the companions say beyond the manifest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linking {
    /// Size of a pointer on the target.
    pub pointer_bytes: usize,
    /// Whether the kernels call libm.
    pub needs_libm: bool,
    /// Whether there is a `<name>_weights`.
    pub has_weights: bool,
}

/// All companion files.
pub(crate) fn files(manifest: &Manifest, linking: Linking) -> Vec<LibraryFile> {
    let name = &manifest.name;
    let file = |extension: &str, text: String| LibraryFile {
        name: format!("{name}.{extension}"),
        bytes: text.into_bytes(),
    };
    vec![
        file("h", c_header::write(manifest, linking)),
        file("hpp", cpp_header::write(manifest)),
        file("rs", rust_bindings::write(manifest, linking)),
        file("json", manifest.to_json()),
        file("cmake", cmake::write(manifest, linking)),
        file("pc", pkg_config::write(manifest, linking)),
    ]
}
