//! The pipeline as the user follows it: warnings, dumps, times, a spinner.

use std::io::Write as _;
use std::time::Duration;

use condensec_ir::kernel::{Program, print_function};
use condensec_ir::text::{PrintOptions, print_graph_with};
use condensec_ir::{Diagnostic, Graph};

use super::arguments::WatchArgs;
use super::progress::Spinner;
use super::table::{self, Column};
use crate::driver::{self, Observer, Outcome};
use crate::report::{self, Form};

/// Longer lists of a dump are shown as their length and a hash, so that one can read the rest.
const MAX_DUMPED_ELEMS: usize = 64;

/// Watches one run of the pipeline.
pub(super) struct Watch<'a> {
    form: Form,
    args: Option<&'a WatchArgs>,
    spinner: Spinner,
    times: Vec<(&'static str, Outcome, Duration)>,
}

impl<'a> Watch<'a> {
    /// Shows diagnostics in `form`, and what `args` ask for.
    pub fn new(form: Form, args: Option<&'a WatchArgs>) -> Watch<'a> {
        Watch {
            form,
            args,
            spinner: Spinner::new(),
            times: Vec::new(),
        }
    }

    fn is_dumped(&self, stage: &str) -> bool {
        let wanted = self.args.map_or(&[][..], |args| &args.print_after);
        wanted.iter().any(|name| name == stage || name == "all")
    }

    fn write(&self, text: &str) {
        self.spinner.suspend(|| {
            let _ = std::io::stderr().write_all(text.as_bytes());
        });
    }
}

impl Observer for Watch<'_> {
    fn diagnostic(&mut self, diagnostic: &Diagnostic) {
        self.spinner.suspend(|| report::emit(diagnostic, self.form));
    }

    fn begin(&mut self, stage: &'static str) {
        self.spinner.stage(stage);
    }

    fn end(&mut self, stage: &'static str, outcome: Outcome, time: Duration) {
        self.times.push((stage, outcome, time));
    }

    fn graph(&mut self, stage: &'static str, graph: &Graph) {
        if self.is_dumped(stage) {
            let options = PrintOptions {
                max_elems: Some(MAX_DUMPED_ELEMS),
            };
            self.write(&format!(
                "; after {stage}\n{}\n",
                print_graph_with(graph, options)
            ));
        }
    }

    fn program(&mut self, program: &Program) {
        if self.is_dumped(driver::LOWER) {
            let functions: String = program.functions.iter().map(print_function).collect();
            self.write(&format!("; after {}\n{functions}\n", driver::LOWER));
        }
    }
}

/// The table of `--time-passes`, also of a run that failed half-way.
impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.args.is_some_and(|args| args.time_passes) {
            let rows = self.times.iter().map(|(stage, outcome, time)| {
                let unchanged = match outcome {
                    Outcome::Changed => String::new(),
                    Outcome::Unchanged => "(unchanged)".into(),
                };
                vec![
                    stage.to_string(),
                    table::milliseconds(time.as_secs_f64() * 1e3),
                    unchanged,
                ]
            });
            let columns = [
                Column::Text("stage"),
                Column::Number("ms"),
                Column::Text(""),
            ];
            self.write(&table::render(&columns, rows));
        }
    }
}
