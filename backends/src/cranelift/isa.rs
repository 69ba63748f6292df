//! A [`Target`] as Cranelift's settings.

use super::{code_generator_error, error_text};
use crate::{BackendError, Target};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::BinaryFormat;

/// Our feature names (LLVM's) and Cranelift's settings for them.
const SETTINGS: &[(&str, &str)] = &[
    ("avx", "has_avx"),
    ("avx2", "has_avx2"),
    ("bmi", "has_bmi1"),
    ("bmi2", "has_bmi2"),
    ("c", "has_c"),
    ("fma", "has_fma"),
    ("lzcnt", "has_lzcnt"),
    ("popcnt", "has_popcnt"),
    ("sse3", "has_sse3"),
    ("sse4.1", "has_sse41"),
    ("sse4.2", "has_sse42"),
    ("ssse3", "has_ssse3"),
    ("v", "has_v"),
    ("zba", "has_zba"),
    ("zbb", "has_zbb"),
    ("zbs", "has_zbs"),
    ("zvl128b", "zvl128b"),
];

/// Settings of the generated code that do not depend on the target.
const SHARED: &[(&str, &str)] = &[
    // The mid-end of the other levels would undo the order of a kernel's loads: see `tidy`.
    ("opt_level", "none"),
    // A stack probe would be an undefined symbol, and kernels have small frames.
    ("enable_probestack", "false"),
    // No trap handler will ever read the tables.
    ("unwind_info", "false"),
    // Costs a tenth of the compile time; tests run with debug assertions.
    (
        "enable_verifier",
        if cfg!(debug_assertions) {
            "true"
        } else {
            "false"
        },
    ),
];

/// The code generator for `target`.
pub(super) fn build(target: &Target) -> Result<OwnedTargetIsa, BackendError> {
    let error = |e: &dyn std::error::Error| code_generator_error(error_text(e));
    let mut shared = settings::builder();
    // COFF has no table of addresses for data of another object to be found by, so code has them
    // itself, and Windows relocates it.
    let is_pic = (
        "is_pic",
        match target.binary_format() {
            BinaryFormat::Coff => "false",
            _ => "true",
        },
    );
    for (name, value) in SHARED.iter().chain([&is_pic]) {
        shared.set(name, value).map_err(|e| error(&e))?;
    }
    let mut builder = isa::lookup(target.lexicon()).map_err(|e| error(&e))?;
    for feature in target.features() {
        // A feature that Cranelift has no use for changes nothing.
        if let Some((_, setting)) = SETTINGS.iter().find(|(name, _)| *name == feature) {
            builder.enable(setting).map_err(|e| error(&e))?;
        }
    }
    builder
        .finish(settings::Flags::new(shared))
        .map_err(|e| error(&e))
}
