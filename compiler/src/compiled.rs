//! A folder that condensec wrote: its manifest, and the archive to link.

use std::fs;
use std::path::{Path, PathBuf};

use condensec_backends::companions::Manifest;
use condensec_backends::targets;
use condensec_ir::Diagnostic;

use crate::linker::is_host_architecture;
use crate::output::describe;
use crate::report::Failure;

/// A compiled model on disk.
#[derive(Debug, Clone)]
pub struct CompiledFolder {
    /// The static library.
    pub archive: PathBuf,
    /// Contents of `<name>.json`.
    pub manifest: Manifest,
}

impl CompiledFolder {
    /// Reads what `path` names: the folder, or the manifest in it.
    ///
    /// # Errors
    /// No library there, several of them, or a manifest that cannot be read.
    pub fn open(path: &Path) -> Result<CompiledFolder, Failure> {
        let manifest_path = match path.is_dir() {
            true => find_manifest(path)?,
            false => path.to_path_buf(),
        };
        let file = manifest_path.display().to_string();
        let text = fs::read_to_string(&manifest_path).map_err(|error| {
            let message = format!("cannot read {file}: {}", describe(&error));
            Diagnostic::error("cannot-read", message).at_file(&file)
        })?;
        let manifest = Manifest::from_json(&text).map_err(|error| {
            Diagnostic::error(
                "bad-manifest",
                format!("not a manifest of condensec: {error}"),
            )
            .at_file(&file)
            .with_help("compile the model again")
        })?;
        let archive = manifest_path.with_file_name(&manifest.library);
        if !archive.is_file() {
            let message = format!("there is no {} beside the manifest", archive.display());
            return Err(Diagnostic::error("not-a-library", message)
                .at_file(&file)
                .into());
        }
        Ok(CompiledFolder { archive, manifest })
    }

    /// Whether its code can run on this machine.
    ///
    /// # Errors
    /// `target-not-host`, with what is missing.
    pub fn check_runs_here(&self) -> Result<(), Failure> {
        let Manifest {
            name,
            target,
            cpu,
            features,
            ..
        } = &self.manifest;
        let refuse = |why: String| {
            Diagnostic::error(
                "target-not-host",
                format!("{name} is compiled for {target}; {why}"),
            )
            .at_file(self.archive.display().to_string())
            .with_help("compile the model for this machine: leave out --target, or --target host")
        };
        let signed: Vec<String> = features
            .iter()
            .map(|feature| format!("+{feature}"))
            .collect();
        // A CPU name that this machine cannot know (`native` of another one) says nothing that its features do not.
        let known = targets::resolve(target, Some(cpu), &signed)
            .or_else(|_| targets::resolve(target, None, &signed));
        match known {
            Ok(known) if known.is_host() => Ok(()),
            Ok(known) if is_host_architecture(&known) => {
                let features = features.join(", ");
                Err(refuse(format!(
                    "this machine lacks some of its features ({features})"
                ))
                .into())
            }
            _ => {
                use std::env::consts::{ARCH, OS};
                Err(refuse(format!("this machine is {ARCH} with {OS}")).into())
            }
        }
    }
}

/// The one manifest in `dir` that has its archive beside it.
fn find_manifest(dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.display().to_string();
    let entries = fs::read_dir(dir).map_err(|error| {
        let message = format!("cannot read {folder}: {}", describe(&error));
        Diagnostic::error("cannot-read", message).at_file(&folder)
    })?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .filter(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let names = [format!("lib{name}.a"), format!("{name}.lib")];
            names.iter().any(|library| dir.join(library).is_file())
        })
        .collect();
    found.sort();
    match found.as_slice() {
        [manifest] => Ok(manifest.clone()),
        [] => Err(Diagnostic::error(
            "not-a-library",
            format!("{folder} is a folder without a compiled model"),
        )
        .at_file(&folder)
        .with_note("a compiled model is <name>.json with the static library beside it")
        .with_help("compile one: condensec MODEL -o DIR")
        .into()),
        [first, ..] => {
            let names: Vec<String> = found
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let message = format!("{folder} holds {} compiled models", found.len());
            Err(Diagnostic::error("several-libraries", message)
                .at_file(&folder)
                .with_note(format!("they are {}", names.join(", ")))
                .with_help(format!("name one of them, e.g. {}", first.display()))
                .into())
        }
    }
}
