//! `--emit shared`: the command that turns the archive into a shared library.
//!
//! A linker is a process, and this crate starts none; the compiler runs the command. A missing symbol
//! is an error now rather than when the library is loaded.

use crate::targets::Target;
use target_lexicon::BinaryFormat;

/// File name of the shared library of the model `name`; none without an operating system to load it.
pub fn file_name(name: &str, target: &Target) -> Option<String> {
    match target.binary_format() {
        _ if target.is_bare_metal() => None,
        BinaryFormat::Coff => Some(format!("{name}.dll")),
        BinaryFormat::Macho => Some(format!("lib{name}.dylib")),
        _ => Some(format!("lib{name}.so")),
    }
}

/// Arguments for the C compiler of `target` that link `archive` into the shared library at `output`,
/// whose file will be called `file_name`.
pub fn link_arguments(
    target: &Target,
    file_name: &str,
    archive: &str,
    output: &str,
    libm_calls: &[String],
) -> Vec<String> {
    let mut arguments = target.c_options();
    arguments.extend(["-o".into(), output.into()]);
    match target.binary_format() {
        BinaryFormat::Macho => arguments.extend([
            "-dynamiclib".into(),
            format!("-Wl,-install_name,@rpath/{file_name}"),
            format!("-Wl,-force_load,{archive}"),
        ]),
        // All names are exported, the internal ones too: COFF has no visibility.
        BinaryFormat::Coff => {
            arguments.push("-shared".into());
            arguments.extend(whole_archive(archive));
        }
        _ => {
            let options = ["-shared", "-nostartfiles", "-Wl,-z,defs"].map(String::from);
            arguments.extend(options);
            arguments.push(format!("-Wl,-soname,{file_name}"));
            arguments.extend(whole_archive(archive));
        }
    }
    if !libm_calls.is_empty() {
        arguments.push("-lm".into());
    }
    arguments
}

fn whole_archive(archive: &str) -> [String; 3] {
    ["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"].map(String::from)
}
