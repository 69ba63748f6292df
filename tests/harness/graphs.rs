//! Graphs as the importer makes them, before all passes: what the interpreter takes as the truth.

use condensec::driver::{self, Observer, Outcome, Source};
use condensec_ir::kernel::Program;
use condensec_ir::{Diagnostic, Graph};
use std::path::Path;
use std::time::Duration;

/// The graph of the model in the file `path`, its input `input` of `shape`.
///
/// # Panics
/// When something is wrong with the model.
pub fn read(path: &Path, input: &str, shape: &[usize]) -> Graph {
    let source = Source {
        path: path.to_path_buf(),
        input_shapes: vec![(input.into(), shape.to_vec())],
        ..Source::default()
    };
    let read = driver::read_graph(&source, &mut Silent);
    read.unwrap_or_else(|failure| panic!("{}: {failure:?}", path.display()))
}

struct Silent;

impl Observer for Silent {
    fn diagnostic(&mut self, _: &Diagnostic) {}
    fn begin(&mut self, _: &'static str) {}
    fn end(&mut self, _: &'static str, _: Outcome, _: Duration) {}
    fn graph(&mut self, _: &'static str, _: &Graph) {}
    fn program(&mut self, _: &Program) {}
}
