//! What a panic looks like: an apology with what a bug report needs, no backtrace.

use std::io::Write as _;
use std::panic::{self, PanicHookInfo};

/// Where bugs are reported.
const ISSUES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// Replaces Rust's message about a panicked thread. `RUST_BACKTRACE=full` adds a backtrace; other values do not, since
/// many have one set for their own programs.
pub fn install() {
    let verbose = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = writeln!(anstream::stderr(), "{}", message(info));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "full") {
            verbose(info);
        }
    }));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no message");
    let place = info
        .location()
        .map_or(String::new(), |place| format!("\n  --> {place}"));
    format!(
        "error[bug]: {what}{place}\n  = note: this is a bug in condensec {}, not in your input\n  \
         = help: please report it, with the command line and if possible the model: {ISSUES}",
        env!("CARGO_PKG_VERSION"),
    )
}
