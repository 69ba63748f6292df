//! A temporary folder in which `condensec` runs, so that messages name files without a path.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ::condensec::frontend::onnx::proto::{ModelProto, encode_model};
use ::condensec::npz::NpzArray;
use harness::condensec;
use harness::npz;
use serde_json::Value;
use tempfile::TempDir;

use crate::models;

/// The folder; it goes with the value.
pub struct Folder(TempDir);

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    /// An empty folder.
    pub fn empty() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A folder with `net.onnx`, the small supernet of [`models`].
    pub fn with_net() -> Folder {
        let folder = Folder::empty();
        folder.write_model("net.onnx", &models::supernet());
        folder
    }

    /// A folder with `net.onnx`, and `out` compiled from it.
    pub fn with_library() -> Folder {
        let folder = Folder::with_net();
        folder.condensec("net.onnx -o out").success();
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).expect("the folder is ours");
    }

    pub fn write_model(&self, name: &str, model: &ModelProto) {
        self.write(name, encode_model(model));
    }

    pub fn write_arrays(&self, name: &str, arrays: &[NpzArray]) {
        npz::write(&self.path(name), arrays);
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names in the folder `name`, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The program, to be run in this folder with the words of `args`.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(condensec::executable());
        command
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs it.
    pub fn condensec(&self, args: &str) -> Ran {
        Ran::from(self.command(args).output().expect("the program starts"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    /// It must have worked.
    #[track_caller]
    pub fn success(self) -> Ran {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// The input must have been at fault; returns what was said.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{self:?}");
        self.stderr
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        let ran = self.success();
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}

/// Keys of a JSON object, in order.
#[track_caller]
pub fn keys(value: &Value) -> Vec<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    object.keys().map(String::as_str).collect()
}
