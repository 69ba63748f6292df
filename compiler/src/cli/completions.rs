//! `condensec completions SHELL`: a completion script, from the same definitions as the help texts.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::report::Failure;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  condensec completions bash > ~/.local/share/bash-completion/completions/condensec"
)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "condensec", &mut script);
    Ok(String::from_utf8(script).expect("all help texts are UTF-8"))
}
