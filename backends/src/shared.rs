//! `--emit shared`: the command that turns the archive into a shared library.
//!
//! A linker is a process, and this crate starts none; the compiler runs the command.

/// Arguments for a C compiler driver that link `archive` into the shared library `output`.
///
/// `-z defs` makes a missing symbol an error now rather than when the library is loaded.
pub fn link_arguments(
    name: &str,
    archive: &str,
    output: &str,
    libm_calls: &[String],
) -> Vec<String> {
    let mut arguments: Vec<String> = vec![
        "-shared".into(),
        "-nostartfiles".into(),
        format!("-Wl,-soname,{}", file_name(name)),
        "-Wl,-z,defs".into(),
        "-o".into(),
        output.into(),
        "-Wl,--whole-archive".into(),
        archive.into(),
        "-Wl,--no-whole-archive".into(),
    ];
    if !libm_calls.is_empty() {
        arguments.push("-lm".into());
    }
    arguments
}

/// File name of the shared library of the model `name`.
pub fn file_name(name: &str) -> String {
    format!("lib{name}.so")
}
