//! Finds the trained models that tests read. They are too large for the repository, and a machine may lack them.

use std::path::PathBuf;

use crate::workspace;

/// The folder of model files: `CONDENSEC_ASSETS`, or `../shared/assets/models` beside the workspace when it exists.
///
/// # Panics
/// When `CONDENSEC_ASSETS` names no folder: a typing error must not look like a machine without models.
pub fn models_dir() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CONDENSEC_ASSETS") {
        let dir = PathBuf::from(named);
        assert!(
            dir.is_dir(),
            "CONDENSEC_ASSETS names no folder: {}",
            dir.display()
        );
        return Some(dir);
    }
    let dir = workspace::root().join("../shared/assets/models");
    dir.is_dir().then_some(dir)
}

/// All `.onnx` files of [`models_dir`] by name; `None` where there is no such folder.
///
/// # Panics
/// When the folder cannot be read or holds no model, since a test over no files shows nothing.
pub fn onnx_files() -> Option<Vec<PathBuf>> {
    let dir = models_dir()?;
    let entries = dir
        .read_dir()
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "onnx")
        })
        .collect();
    assert!(!files.is_empty(), "no .onnx file in {}", dir.display());
    files.sort();
    Some(files)
}
