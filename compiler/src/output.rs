//! Files out, all or nothing: what a failed run leaves behind is what was there before.
//!
//! New contents go into a temporary folder in the target folder first (so on the same file system: a rename
//! is then atomic, and a full disk shows before anything is replaced). Only when every file is complete do they move
//! to their places, one rename each; should one fail, those before it are undone. A folder that did not exist
//! before is removed again. Devices and pipes (`-o /dev/null`) are written to directly, since replacing one would
//! be a bad surprise.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use condensec_ir::Diagnostic;
use tempfile::TempDir;

use crate::report::Failure;

/// A file to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Name without a folder.
    pub name: &'a str,
    /// Contents.
    pub bytes: &'a [u8],
}

/// Writes `files` into the folder `dir`, which is made if it does not exist.
///
/// # Errors
/// `output-not-written`, with the file and what the operating system says.
pub fn write_folder(dir: &Path, files: &[NewFile<'_>]) -> Result<(), Failure> {
    let made = make_folder(dir).map_err(|(path, error)| not_written(&path, &error))?;
    let written = write_into(dir, files);
    if written.is_err() {
        for folder in made.iter().rev() {
            // Not empty means that somebody else uses it by now.
            let _ = fs::remove_dir(folder);
        }
    }
    written
}

/// Refuses to write `output` over one of `inputs`, files that it is made of: a wrong word on the command line must
/// not cost the user a model.
///
/// # Errors
/// `overwrites-input`.
pub fn check_is_no_input(
    output: &Path,
    inputs: impl IntoIterator<Item = impl AsRef<Path>>,
) -> Result<(), Failure> {
    let Ok(output) = fs::canonicalize(output) else {
        return Ok(());
    };
    let is_same = |input: &Path| fs::canonicalize(input).is_ok_and(|input| input == output);
    match inputs.into_iter().find(|input| is_same(input.as_ref())) {
        Some(input) => Err(Diagnostic::error(
            "overwrites-input",
            "the output would replace a file that it is made of",
        )
        .at_file(input.as_ref().display().to_string())
        .with_help("give the output another name")
        .into()),
        None => Ok(()),
    }
}

/// Writes one file; its folder must exist.
///
/// # Errors
/// As [`write_folder`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_files(&[(path, bytes)])
}

/// Writes files wherever they are; their folders must exist.
///
/// # Errors
/// `same-output` if two are the same file; as [`write_folder`].
pub fn write_files(files: &[(&Path, &[u8])]) -> Result<(), Failure> {
    let mut staged: Vec<Staged> = Vec::new();
    let mut devices = Vec::new();
    for &(path, bytes) in files {
        let failed = |error: io::Error| not_written(path, &error);
        match fs::metadata(path) {
            Ok(existing) if existing.is_dir() => {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Ok(existing) if !existing.is_file() => {
                devices.push((path, bytes));
                continue;
            }
            _ => {}
        }
        // Through a symbolic link, the file that it names is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let Some(name) = path.file_name() else {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        };
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let file =
            stage(&staging_folder(dir).map_err(failed)?, dir, name, bytes).map_err(failed)?;
        if staged.iter().any(|other| other.path == file.path) {
            let message = format!("{} is to be written twice", path.display());
            return Err(Diagnostic::error("same-output", message).into());
        }
        staged.push(file);
    }
    move_all(&staged)?;
    for (path, bytes) in devices {
        fs::write(path, bytes).map_err(|error| not_written(path, &error))?;
    }
    Ok(())
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "it, or a part of its path, is a file and not a folder".to_string()
        }
        io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        _ => describe(error),
    };
    let message = format!("cannot write {}: {reason}", path.display());
    Diagnostic::error("output-not-written", message)
        .at_file(path.display().to_string())
        .with_note("nothing was written; files from before are unchanged")
        .into()
}

/// What the operating system says, without its number.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// Makes `dir` and its parents; returns those that were missing, outermost first.
fn make_folder(dir: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    let mut made: Vec<PathBuf> = Vec::new();
    for folder in missing.into_iter().rev() {
        if let Err(error) = fs::create_dir(folder) {
            for folder in made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
            return Err((dir.to_path_buf(), error));
        }
        made.push(folder.to_path_buf());
    }
    if !dir.is_dir() {
        return Err((dir.to_path_buf(), io::ErrorKind::NotADirectory.into()));
    }
    Ok(made)
}

fn write_into(dir: &Path, files: &[NewFile<'_>]) -> Result<(), Failure> {
    let staging = staging_folder(dir).map_err(|error| not_written(dir, &error))?;
    let staged: Result<Vec<Staged>, Failure> = files
        .iter()
        .map(|file| {
            stage(&staging, dir, OsStr::new(file.name), file.bytes)
                .map_err(|error| not_written(&dir.join(file.name), &error))
        })
        .collect();
    move_all(&staged?)
}

/// A folder in `dir` that goes with the last file in it.
fn staging_folder(dir: &Path) -> io::Result<Rc<TempDir>> {
    let folder = tempfile::Builder::new()
        .prefix(".condensec-")
        .tempdir_in(dir)?;
    Ok(Rc::new(folder))
}

/// A complete file beside its place.
struct Staged {
    folder: Rc<TempDir>,
    path: PathBuf,
}

impl Staged {
    fn name(&self) -> &OsStr {
        self.path.file_name().expect("a name was joined to it")
    }
}

fn stage(folder: &Rc<TempDir>, dir: &Path, name: &OsStr, bytes: &[u8]) -> io::Result<Staged> {
    let mut file = fs::File::create(folder.path().join(name))?;
    file.write_all(bytes)?;
    // Some file systems report a full disk only when the data really goes there.
    file.sync_data()?;
    Ok(Staged {
        folder: Rc::clone(folder),
        path: dir.join(name),
    })
}

fn move_all(files: &[Staged]) -> Result<(), Failure> {
    let mut moves = Moves::default();
    for file in files {
        if let Err(error) = moves.replace(file) {
            moves.undo();
            return Err(not_written(&file.path, &error));
        }
    }
    Ok(())
}

/// The renames so far, so that they can be undone.
#[derive(Default)]
struct Moves {
    /// Place of a new file, and where its predecessor went.
    done: Vec<(PathBuf, Option<PathBuf>)>,
}

impl Moves {
    fn replace(&mut self, file: &Staged) -> io::Result<()> {
        let path = &file.path;
        let previous = match fs::symlink_metadata(path) {
            Ok(existing) if existing.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => {
                let mut name = file.name().to_os_string();
                name.push(".previous");
                let kept = file.folder.path().join(name);
                // A second name keeps the old file in its place until the new one takes it. Some file
                // systems have no such thing.
                fs::hard_link(path, &kept).or_else(|_| fs::rename(path, &kept))?;
                Some(kept)
            }
            Err(_) => None,
        };
        let moved = fs::rename(file.folder.path().join(file.name()), path);
        match (&moved, previous) {
            (Ok(()), previous) => self.done.push((path.to_path_buf(), previous)),
            (Err(_), Some(kept)) if !path.exists() => fs::rename(kept, path)?,
            (Err(_), _) => {}
        }
        moved
    }

    fn undo(self) {
        for (path, previous) in self.done.into_iter().rev() {
            // The best that can be done where even a rename back fails is to go on with the others.
            let _ = match previous {
                Some(kept) => fs::rename(kept, &path),
                None => fs::remove_file(&path),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    const A: NewFile<'_> = NewFile {
        name: "a",
        bytes: b"new a",
    };
    const B: NewFile<'_> = NewFile {
        name: "b",
        bytes: b"new b",
    };

    #[test]
    fn files_are_replaced_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("x/y");
        write_folder(&dir, &[A]).unwrap();
        fs::write(dir.join("c"), "other").unwrap();
        write_folder(
            &dir,
            &[
                NewFile {
                    bytes: b"newer a",
                    ..A
                },
                B,
            ],
        )
        .unwrap();
        assert_eq!(names(&dir), ["a", "b", "c"]);
        assert_eq!(fs::read(dir.join("a")).unwrap(), b"newer a");
        assert_eq!(fs::read(dir.join("b")).unwrap(), b"new b");
    }

    #[test]
    fn a_failure_on_the_way_restores_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "old a").unwrap();
        // The second file cannot move to its place.
        fs::create_dir(root.path().join("b")).unwrap();
        let Failure(diagnostics) = write_folder(root.path(), &[A, B]).unwrap_err();
        assert_eq!(diagnostics[0].code, "output-not-written");
        assert!(diagnostics[0].message.ends_with("b: it is a folder"));
        assert_eq!(names(root.path()), ["a", "b"]);
        assert_eq!(fs::read(root.path().join("a")).unwrap(), b"old a");
    }

    #[test]
    fn a_folder_that_was_made_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let bad = NewFile {
            name: "no/such/folder",
            bytes: b"",
        };
        assert!(write_folder(&root.path().join("x/y"), &[A, bad]).is_err());
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn a_file_in_the_way_of_the_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("out");
        fs::write(&file, "mine").unwrap();
        for dir in [file.clone(), file.join("deeper")] {
            let Failure(diagnostics) = write_folder(&dir, &[A]).unwrap_err();
            assert!(
                diagnostics[0]
                    .message
                    .contains("is a file and not a folder")
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn one_file_goes_through_links_and_into_devices() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        fs::write(&real, "old").unwrap();
        #[cfg(unix)]
        {
            let link = root.path().join("link");
            std::os::unix::fs::symlink(&real, &link).unwrap();
            write_file(&link, b"new").unwrap();
            assert!(link.is_symlink());
            write_file(Path::new("/dev/null"), b"new").unwrap();
        }
        write_file(&real, b"newest").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"newest");
        assert!(write_file(root.path(), b"").is_err());
        assert!(write_file(&root.path().join("no/such"), b"").is_err());
    }

    #[test]
    fn files_of_several_folders_are_all_replaced_or_none() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("x")).unwrap();
        fs::write(at("a"), "old").unwrap();
        let (a, b) = (at("a"), at("x/b"));
        let code = |files: &[(&Path, &[u8])]| write_files(files).unwrap_err().0[0].code;
        let missing = at("no/such");
        assert_eq!(code(&[(&a, b"new"), (&missing, b"")]), "output-not-written");
        assert_eq!(code(&[(&a, b"new"), (&a, b"newer")]), "same-output");
        assert_eq!(fs::read(&a).unwrap(), b"old");
        write_files(&[(&a, b"new"), (&b, b"new")]).unwrap();
        assert_eq!(fs::read(&a).unwrap(), b"new");
        assert_eq!(
            (names(root.path()), names(&at("x"))),
            (vec!["a".into(), "x".into()], vec!["b".into()])
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt as _;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(OsStr::from_bytes(b"\xff.onnx"));
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
