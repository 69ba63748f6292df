//! What can go wrong between kernel IR and the files of a library.

use crate::targets::TargetError;
use thiserror::Error;

/// Why no library came out.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The target does not exist. The user's choice of options.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The back end cannot compile for the target. The user's choice of options.
    #[error("back end {backend} cannot compile for {target}")]
    UnsupportedTarget {
        /// Name of the back end.
        backend: &'static str,
        /// Name of the target.
        target: &'static str,
    },
    /// No back end of this name in this build. The user's choice of options.
    #[error("there is no back end \"{name}\" in this build; there are {known}")]
    UnknownBackend {
        /// What the user asked for.
        name: String,
        /// What exists.
        known: String,
    },
    /// The model's name cannot prefix C symbols. The user's choice of `--name`.
    #[error(
        "\"{name}\" cannot be the name of a library: it must be a C identifier, no keyword, and no name that the header uses"
    )]
    BadName {
        /// What the user asked for.
        name: String,
    },
    /// The model does not fit the target's address space. The user's choice of target.
    #[error("{what} take {bytes} bytes, more than {target} can address")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// Name of the target.
        target: &'static str,
    },
    /// The program contradicts itself. A bug in whatever built it.
    #[error("program \"{program}\": {message}")]
    BadProgram {
        /// Name of the program.
        program: String,
        /// What is wrong.
        message: String,
    },
    /// The kernel uses something that the back end does not have, e.g. wider vectors than the
    /// target information says. A bug in whatever built the kernel.
    #[error("back end {backend}, kernel {kernel}: {message}")]
    Kernel {
        /// Name of the back end.
        backend: &'static str,
        /// Symbol of the kernel.
        kernel: String,
        /// What is wrong.
        message: String,
    },
    /// The code generator failed. A bug of ours or of the code generator.
    #[error("back end {backend}: {message}")]
    CodeGenerator {
        /// Name of the back end.
        backend: &'static str,
        /// What it said.
        message: String,
    },
    /// An object or archive could not be written. A bug of ours.
    #[error("writing {file}: {message}")]
    Format {
        /// File in the making.
        file: String,
        /// What the writer said.
        message: String,
    },
}
