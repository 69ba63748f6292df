//! Options that several subcommands share.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use condensec_backends::targets::TargetError;
use condensec_backends::{BackendError, Texts, find_backend, targets};
use condensec_ir::Diagnostic;
use condensec_passes::PIPELINE;
use condensec_passes::lower::Schedules;

use crate::driver::{self, Settings, Source};
use crate::report::{Failure, Form};
use crate::tuning::Tuning;

/// The form of results and diagnostics.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct FormatArgs {
    /// Print results as JSON, and diagnostics as one JSON object per line.
    #[arg(long)]
    pub json: bool,
}

impl FormatArgs {
    pub fn form(self) -> Form {
        match self.json {
            true => Form::Json,
            false => Form::Text,
        }
    }
}

/// How a model is read.
#[derive(Debug, Clone, Args)]
pub(super) struct ImportArgs {
    /// Level data (W__level, P__levels, W__scale) in a file of its own, for tool chains that strip unused tensors.
    #[arg(long, value_name = "NPZ", help_heading = "Model")]
    pub masks: Option<PathBuf>,

    /// Shape of an input where the model leaves dimensions open; they are 1 otherwise. May be repeated.
    #[arg(long, value_name = "NAME=1x3x224x224", value_parser = parse_shape, help_heading = "Model")]
    pub input_shape: Vec<(String, Vec<usize>)>,
}

impl ImportArgs {
    /// The files that are read to import `model`.
    pub fn files(&self, model: &Path) -> impl Iterator<Item = PathBuf> {
        driver::model_files(model).chain(self.masks.clone())
    }

    pub fn source(&self, path: &Path) -> Source {
        Source {
            path: path.to_path_buf(),
            masks: self.masks.clone(),
            input_shapes: self.input_shape.clone(),
            given_shapes: Vec::new(),
        }
    }
}

/// What code is generated.
#[derive(Debug, Clone, Args)]
pub(super) struct CodegenArgs {
    /// Machine to compile for; see `condensec targets`.
    #[arg(long, default_value = "host", help_heading = "Code")]
    pub target: String,

    /// CPU of that target; `native` is this machine's.
    #[arg(long, help_heading = "Code")]
    pub cpu: Option<String>,

    /// CPU features to add or take away, e.g. +avx2,-fma.
    #[arg(
        long,
        value_name = "+A,-B",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "Code"
    )]
    pub features: Vec<String>,

    /// Code generator; the best of this build if not given.
    #[arg(long, value_enum, help_heading = "Code")]
    pub backend: Option<BackendName>,

    /// Time to spend on better code: 0 compiles fastest, 3 runs fastest. The back end cranelift knows one way only.
    #[arg(
        short = 'O',
        value_name = "0..3",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(0..=3),
        help_heading = "Code"
    )]
    pub optimization: u8,

    /// Schedules of kernels that `condensec tune` found on the device.
    #[arg(long, value_name = "FILE", help_heading = "Code")]
    pub tuning: Option<PathBuf>,
}

/// All code generators of any build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendName {
    /// Through MLIR and LLVM: the fastest code, all targets.
    Llvm,
    /// Built in: compiles fastest, 64-bit targets.
    Cranelift,
}

impl BackendName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llvm => "llvm",
            Self::Cranelift => "cranelift",
        }
    }
}

impl CodegenArgs {
    /// # Errors
    /// Target, CPU, feature or back end do not exist, or not in this build.
    pub fn settings(&self, name: Option<String>, texts: Texts) -> Result<Settings, Failure> {
        let target = targets::resolve(&self.target, self.cpu.as_deref(), &self.features)
            .map_err(|error| target_failure(&error))?;
        let backend = find_backend(self.backend.map(BackendName::as_str), &target)
            .map_err(|error| backend_failure(&error))?;
        Ok(Settings {
            target,
            backend,
            name,
            optimization: self.optimization,
            texts,
            schedules: match &self.tuning {
                Some(path) => Tuning::read(path)?,
                None => Schedules::default(),
            },
        })
    }
}

fn backend_failure(error: &BackendError) -> Failure {
    let diagnostic = match error {
        BackendError::Target(error) => return target_failure(error),
        BackendError::UnsupportedTarget { .. } => {
            Diagnostic::error("unsupported-target", error.to_string())
                .with_help("leave out --backend; condensec targets lists which ones a target has")
        }
        _ => Diagnostic::error("not-in-this-build", error.to_string())
            .with_help("leave out --backend, or use a build with that back end"),
    };
    diagnostic.into()
}

fn target_failure(error: &TargetError) -> Failure {
    let code = match error {
        TargetError::UnknownTarget { .. } => "unknown-target",
        TargetError::NeedsLlvm { .. } => "not-in-this-build",
        TargetError::UnknownCpu { .. } => "unknown-cpu",
        TargetError::UnknownFeature { .. } => "unknown-feature",
        TargetError::NotNative { .. } => "target-not-host",
        TargetError::UnknownHost { .. } => "unknown-host",
    };
    Diagnostic::error(code, error.to_string())
        .with_help("condensec targets lists what there is")
        .into()
}

/// What to tell of the compiler's work.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct WatchArgs {
    /// Print the graph as this pass leaves it (the kernels after `lower`), to standard error. May be repeated.
    #[arg(
        long,
        value_name = "PASS",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(stages()),
        hide_possible_values = true,
        help_heading = "Insight"
    )]
    pub print_after: Vec<String>,

    /// Print how long each pass takes, to standard error.
    #[arg(long, help_heading = "Insight")]
    pub time_passes: bool,
}

/// Stages that have something to print, in their order.
fn stages() -> impl Iterator<Item = &'static str> {
    let passes = PIPELINE.iter().map(|pass| pass.name);
    [driver::IMPORT]
        .into_iter()
        .chain(passes)
        .chain([driver::LOWER, "all"])
}

/// `name=1x3x224x224`; a name may hold `=` itself.
fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let expected = || format!("expected NAME=1x3x224x224, found {text}");
    let (name, sizes) = text.rsplit_once('=').ok_or_else(expected)?;
    let sizes: Result<Vec<usize>, _> = match sizes {
        // A scalar.
        "" => Ok(Vec::new()),
        _ => sizes.split('x').map(str::parse).collect(),
    };
    match sizes {
        Ok(sizes) if !name.is_empty() && !sizes.contains(&0) => Ok((name.into(), sizes)),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_sizes_with_an_x_between() {
        assert_eq!(
            parse_shape("x=1x3x224x224"),
            Ok(("x".into(), vec![1, 3, 224, 224]))
        );
        assert_eq!(parse_shape("a=b=7"), Ok(("a=b".into(), vec![7])));
        assert_eq!(parse_shape("t="), Ok(("t".into(), vec![])));
        for wrong in [
            "x",
            "=1x2",
            "x=1,2",
            "x=1x0",
            "x=-1",
            "x=1x",
            "x=99999999999999999999",
        ] {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
    }
}
