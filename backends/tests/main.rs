//! The tests of this crate, one program: a program with LLVM in it takes a minute to link.

mod companions;
mod entry_points;
mod expressions;
mod foreign_objects;
mod inner_loops;
mod library;
mod llvm_names;
mod run_parallel;
mod statements;
mod support;
