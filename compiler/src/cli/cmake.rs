//! `condensec cmake`: the package file for `find_package(condensec)`.

use std::path::PathBuf;

use super::arguments::FormatArgs;
use crate::output::{self, NewFile};
use crate::report::Failure;

/// Name that `find_package` looks for.
const FILE_NAME: &str = "condensec-config.cmake";
const PACKAGE: &str = include_str!("../../cmake/condensec-config.cmake");

/// Write the CMake package: find_package(condensec) and add_condensec_model().
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  condensec cmake -o cmake
  cmake -B build -D condensec_DIR=$PWD/cmake

In CMakeLists.txt:
  find_package(condensec REQUIRED)
  add_condensec_model(digits MODEL models/digits.onnx)
  target_link_libraries(app PRIVATE digits)")]
pub(super) struct Args {
    /// Folder for condensec-config.cmake; printed if not given.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    pub format: FormatArgs,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let Some(folder) = &args.output else {
        return Ok(PACKAGE.to_string());
    };
    let file = NewFile {
        name: FILE_NAME,
        bytes: PACKAGE.as_bytes(),
    };
    output::write_folder(folder, &[file])?;
    Ok(format!("{}\n", folder.join(FILE_NAME).display()))
}
