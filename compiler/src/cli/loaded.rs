//! A model that runs: from a folder that condensec wrote, or compiled for this machine on the fly.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use condensec_backends::Texts;
use condensec_backends::companions::Manifest;
use condensec_ir::Diagnostic;

use super::arguments::{CodegenArgs, FormatArgs, ImportArgs};
use super::watch::Watch;
use crate::compiled::CompiledFolder;
use crate::driver::{self, Source};
use crate::engine::Engine;
use crate::report::{self, Failure};

/// The model of `run`, `bench`, `eval` and `profile`.
#[derive(Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// ONNX file, graph in text form (.cir), or folder that condensec wrote.
    pub model: PathBuf,

    #[command(flatten)]
    import: ImportArgs,

    #[command(flatten)]
    codegen: CodegenArgs,

    /// Threads of a run.
    #[arg(long, value_name = "N", default_value = "1")]
    pub threads: NonZeroUsize,
}

/// Whether `path` is something that condensec wrote rather than something to compile.
pub(super) fn is_compiled(path: &Path) -> bool {
    path.is_dir()
        || path
            .extension()
            .is_some_and(|extension| extension == "json")
}

/// What the manifest of a compiled model says, or would say of one that is compiled now.
///
/// # Errors
/// Whatever compiling or reading it may find.
pub(super) fn manifest(
    model: &Path,
    import: &ImportArgs,
    codegen: &CodegenArgs,
    format: FormatArgs,
) -> Result<Manifest, Failure> {
    if is_compiled(model) {
        return Ok(CompiledFolder::open(model)?.manifest);
    }
    let settings = codegen.settings(None, Texts::Skip)?;
    let mut watch = Watch::new(format.form(), None);
    let compiled = driver::compile(&import.source(model), &settings, &mut watch)?;
    Ok(compiled.library.manifest)
}

impl LoadArgs {
    /// The files that are read for the model.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.import.files(&self.model);
        files.chain(self.codegen.tuning.clone())
    }

    /// Loads the model; `given_shapes` fill in what an ONNX file leaves open, see [`Source::given_shapes`].
    ///
    /// # Errors
    /// Whatever compiling or loading it may find.
    pub fn load(
        &self,
        given_shapes: Vec<(String, Vec<usize>)>,
        format: FormatArgs,
    ) -> Result<Engine, Failure> {
        let mut engine = self.load_engine(given_shapes, format)?;
        engine.set_threads(self.threads)?;
        Ok(engine)
    }

    fn load_engine(
        &self,
        given_shapes: Vec<(String, Vec<usize>)>,
        format: FormatArgs,
    ) -> Result<Engine, Failure> {
        if is_compiled(&self.model) {
            if self.has_compile_options() {
                let message = "options for compiling have no effect on a compiled model";
                let diagnostic = Diagnostic::warning("option-without-effect", message)
                    .at_file(self.model.display().to_string());
                report::emit(&diagnostic, format.form());
            }
            return Engine::load(&self.model);
        }
        let settings = self.codegen.settings(None, Texts::Skip)?;
        if !settings.target.is_host() {
            let message = format!(
                "code for {} does not run on this machine",
                settings.target.name()
            );
            return Err(Diagnostic::error("target-not-host", message)
                .with_help("leave out --target, or use features that this machine has")
                .into());
        }
        let source = Source {
            given_shapes,
            ..self.import.source(&self.model)
        };
        let compiled = {
            let mut watch = Watch::new(format.form(), None);
            driver::compile(&source, &settings, &mut watch)?
        };
        Engine::from_library(&compiled.library)
    }

    /// Describes the model, for whatever machine it is.
    ///
    /// # Errors
    /// Whatever compiling or reading it may find.
    pub fn manifest(&self, format: FormatArgs) -> Result<Manifest, Failure> {
        manifest(&self.model, &self.import, &self.codegen, format)
    }

    fn has_compile_options(&self) -> bool {
        let CodegenArgs {
            target,
            cpu,
            features,
            backend,
            tuning,
            ..
        } = &self.codegen;
        self.import.masks.is_some()
            || !self.import.input_shape.is_empty()
            || target != "host"
            || cpu.is_some()
            || !features.is_empty()
            || backend.is_some()
            || tuning.is_some()
    }
}

/// The level that `wanted` means, by name or number (`2`, `L2`); `names` are those of the levels, L0 first.
///
/// # Errors
/// `bad-level`, with the levels that exist.
pub(super) fn find_level(wanted: &str, names: &[&str]) -> Result<usize, Failure> {
    let by_name = names.iter().position(|name| *name == wanted);
    let digits = wanted.strip_prefix(['L', 'l']).unwrap_or(wanted);
    let by_number = || {
        digits
            .parse()
            .ok()
            .filter(|&level: &usize| level < names.len())
    };
    by_name.or_else(by_number).ok_or_else(|| {
        let known: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(level, name)| match *name == format!("L{level}") {
                true => name.to_string(),
                false => format!("L{level} ({name})"),
            })
            .collect();
        Diagnostic::error("bad-level", format!("there is no level {wanted}"))
            .with_note(format!("the levels are {}", known.join(", ")))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_numbers_and_names() {
        let names = ["d05", "1", "full"];
        let find = |wanted| find_level(wanted, &names).ok();
        assert_eq!(find("0"), Some(0));
        assert_eq!(find("L2"), Some(2));
        assert_eq!(find("full"), Some(2));
        assert_eq!(find("1"), Some(1));
        assert_eq!(find("3"), None);
        assert_eq!(find("-1"), None);
        let Failure(diagnostics) = find_level("top", &["L0", "full"]).unwrap_err();
        assert_eq!(diagnostics[0].notes, ["the levels are L0, L1 (full)"]);
    }
}
