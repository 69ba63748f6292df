//! Results out. A reader that has seen enough (`condensec ops | head`) is no error.

use std::io::{self, Write as _};

use condensec_ir::Diagnostic;

use crate::output::describe;
use crate::report::Failure;

/// Writes `text` to standard output.
///
/// # Errors
/// `output-not-written`, e.g. on a full disk; not for a closed pipe.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write to standard output: {}", describe(&error));
            Err(Diagnostic::error("output-not-written", message).into())
        }
        _ => Ok(()),
    }
}
