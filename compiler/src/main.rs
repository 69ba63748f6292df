//! The command `condensec`: parse arguments, print diagnostics, exit code.

use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::Parser as _;
use condensec::cli::{Cli, bug_report, standard_output};
use condensec::report;

/// The input is at fault. (clap exits with 2 for wrong usage.)
const INPUT_AT_FAULT: u8 = 1;

/// A bug of ours, `EX_SOFTWARE` of `sysexits.h`.
const BUG: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    bug_report::install();
    let done = catch_unwind(|| cli.run().and_then(|text| standard_output::write(&text)));
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            for diagnostic in &failure.0 {
                report::emit(diagnostic, cli.form());
            }
            ExitCode::from(INPUT_AT_FAULT)
        }
        Err(_) => ExitCode::from(BUG),
    }
}
