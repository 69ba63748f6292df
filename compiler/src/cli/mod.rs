//! The command line: one file per subcommand, and what they share.
//!
//! Each subcommand has an `Args` struct, whose doc comments are the help texts, and `run(&Args) -> Result<String, Failure>`
//! that returns what goes to standard output. Diagnostics and progress go to standard error on the way.

mod arguments;
mod arrays;
mod bench;
pub mod bug_report;
mod cmake;
mod compile;
mod completions;
mod eval;
mod inspect;
mod loaded;
mod measuring;
mod merge;
mod nest;
mod ops;
mod plan;
mod profile;
mod progress;
mod quantities;
mod report;
mod run;
mod samples;
mod simulate;
pub mod standard_output;
mod statistics;
mod supernet_file;
mod table;
mod targets;
mod tune;
mod watch;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::report::{Failure, Form};

/// After the options of the main job.
const EXAMPLES: &str = "\
Examples:
  condensec resnet50.onnx                          a library for this machine, in condensec-out/
  condensec resnet50.onnx --target aarch64 -o out  a library for 64-bit Arm
  condensec resnet50.onnx --emit asm,kernel-ir     the library, and what is in it as text
  condensec inspect resnet50.onnx                  levels and layers as a table
  condensec bench out --level all                  time per level of a compiled model

Exit codes: 0 success, 1 the input is at fault, 2 wrong usage, 70 a bug in condensec.";

/// Compiles adaptive neural networks (ONNX supernets with nested sparsity) into static libraries.
#[derive(Debug, Parser)]
#[command(
    name = "condensec",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    subcommand_help_heading = "Other commands",
    after_help = EXAMPLES,
    override_usage = "condensec [OPTIONS] <MODEL>\n       condensec <COMMAND>"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    compile: compile::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(bench::Args),
    Cmake(cmake::Args),
    Completions(completions::Args),
    Eval(eval::Args),
    Inspect(inspect::Args),
    Merge(merge::Args),
    Nest(nest::Args),
    Ops(ops::Args),
    Plan(plan::Args),
    Profile(profile::Args),
    Report(report::Args),
    Run(run::Args),
    Simulate(simulate::Args),
    Targets(targets::Args),
    Tune(tune::Args),
}

impl Cli {
    /// Does what the arguments say; returns what goes to standard output.
    ///
    /// # Errors
    /// Everything that is wrong with the input.
    pub fn run(&self) -> Result<String, Failure> {
        match &self.command {
            Some(Command::Bench(args)) => bench::run(args),
            Some(Command::Cmake(args)) => cmake::run(args),
            Some(Command::Completions(args)) => completions::run(args),
            Some(Command::Eval(args)) => eval::run(args),
            Some(Command::Inspect(args)) => inspect::run(args),
            Some(Command::Merge(args)) => merge::run(args),
            Some(Command::Nest(args)) => nest::run(args),
            Some(Command::Ops(args)) => ops::run(args),
            Some(Command::Plan(args)) => plan::run(args),
            Some(Command::Profile(args)) => profile::run(args),
            Some(Command::Report(args)) => report::run(args),
            Some(Command::Run(args)) => run::run(args),
            Some(Command::Simulate(args)) => simulate::run(args),
            Some(Command::Targets(args)) => targets::run(args),
            Some(Command::Tune(args)) => tune::run(args),
            None => compile::run(&self.compile),
        }
    }

    /// The form in which the user wants diagnostics.
    pub fn form(&self) -> Form {
        let format = match &self.command {
            Some(Command::Bench(args)) => &args.format,
            Some(Command::Cmake(args)) => &args.format,
            Some(Command::Completions(_)) => return Form::Text,
            Some(Command::Eval(args)) => &args.format,
            Some(Command::Inspect(args)) => &args.format,
            Some(Command::Merge(args)) => &args.format,
            Some(Command::Nest(args)) => &args.format,
            Some(Command::Ops(args)) => &args.format,
            Some(Command::Plan(args)) => &args.format,
            Some(Command::Profile(args)) => &args.format,
            Some(Command::Report(args)) => &args.format,
            Some(Command::Run(args)) => &args.format,
            Some(Command::Simulate(args)) => &args.format,
            Some(Command::Targets(args)) => &args.format,
            Some(Command::Tune(args)) => &args.format,
            None => &self.compile.format,
        };
        format.form()
    }
}

/// JSON for people and programs: indented, keys in the order of their declaration.
fn to_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("strings and numbers always serialize") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_needs_no_subcommand() {
        let cli = Cli::try_parse_from(["condensec", "net.onnx", "-O", "3"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["condensec", "inspect", "net.onnx", "--json"]).unwrap();
        assert_eq!(cli.form(), Form::Json);
        for wrong in [
            &["condensec"][..],
            &["condensec", "net.onnx", "--no-such-flag"],
            &["condensec", "net.onnx", "-O", "4"],
            &["condensec", "net.onnx", "--input-shape", "x=1x?"],
            &["condensec", "net.onnx", "--print-after", "no-such-pass"],
            &["condensec", "inspect"],
        ] {
            assert_eq!(
                Cli::try_parse_from(wrong).unwrap_err().exit_code(),
                2,
                "{wrong:?}"
            );
        }
    }
}
