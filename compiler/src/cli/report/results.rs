//! What was measured: the files of `eval`, `bench` and `plan`, checked against the model that they must be of.

use std::path::{Path, PathBuf};

use condensec_backends::companions::Manifest;
use condensec_ir::Diagnostic;
use serde::de::DeserializeOwned;

use crate::cli::bench::{Benchmark, LevelTime};
use crate::cli::eval::{Evaluation, LevelScore, Score};
use crate::cli::plan::Plan;
use crate::driver::read_bytes;
use crate::report::Failure;

/// Densities further apart are those of different levels. Printed numbers are exact, so this only allows for
/// programs that rewrite them.
const SAME_DENSITY: f64 = 1e-6;

/// What is known; each fits the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// `--eval`
    pub evaluation: Option<Evaluation>,
    /// `--bench`
    pub benchmark: Option<Benchmark>,
    /// `--plan`
    pub plan: Option<Plan>,
}

impl Results {
    /// Median time of `level` in milliseconds, if it was measured.
    pub fn median_ms(&self, level: usize) -> Option<f64> {
        self.time(level).map(|time| time.median_ms)
    }

    /// All about the time of `level`, if it was measured.
    pub fn time(&self, level: usize) -> Option<&LevelTime> {
        let levels = &self.benchmark.as_ref()?.levels;
        levels.iter().find(|time| time.level == level)
    }
}

/// The files as they were read, not yet known to be of the model.
pub struct Files {
    evaluation: Option<(PathBuf, Evaluation)>,
    benchmark: Option<(PathBuf, Benchmark)>,
    plan: Option<(PathBuf, Plan)>,
}

impl Files {
    /// Reads what is given.
    ///
    /// # Errors
    /// `bad-results`, or the file cannot be read.
    pub fn read(
        evaluation: Option<&Path>,
        benchmark: Option<&Path>,
        plan: Option<&Path>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            evaluation: read(evaluation, "eval")?,
            benchmark: read(benchmark, "bench")?,
            plan: read(plan, "plan")?,
        })
    }

    /// What they say of the model of `manifest`.
    ///
    /// # Errors
    /// `other-results` if they are of another one, `bad-results` if their numbers are none.
    pub fn check(self, manifest: &Manifest) -> Result<Results, Failure> {
        if let Some((path, found)) = &self.evaluation {
            let levels = found.levels.iter();
            let levels = levels.map(|l| (l.level, l.name.as_str(), l.density));
            check_levels(path, manifest, levels.collect(), Coverage::All)?;
            let numbers = found.levels.iter().flat_map(|level| match level.score {
                Score::Accuracy { top1, top5 } => [level.min_ms, top1, top5],
                Score::Error {
                    max_abs_err,
                    mean_abs_err,
                } => [level.min_ms, max_abs_err, mean_abs_err],
            });
            check_numbers(path, numbers)?;
            let is_accuracy = |level: &LevelScore| matches!(level.score, Score::Accuracy { .. });
            let n_accuracies = found.levels.iter().filter(|l| is_accuracy(l)).count();
            if n_accuracies != 0 && n_accuracies != found.levels.len() {
                return Err(bad(path, "some levels have an accuracy, some an error"));
            }
        }
        if let Some((path, found)) = &self.benchmark {
            let levels = found.levels.iter();
            let levels = levels.map(|l| (l.level, l.name.as_str(), l.density));
            check_levels(path, manifest, levels.collect(), Coverage::Some)?;
            let numbers = found.levels.iter().flat_map(|level| {
                let LevelTime {
                    min_ms,
                    median_ms,
                    p95_ms,
                    ..
                } = level;
                [*min_ms, *median_ms, *p95_ms]
            });
            check_numbers(path, numbers.chain([found.switch_ns]))?;
        }
        if let Some((path, found)) = &self.plan {
            let levels = found.levels.iter();
            let levels = levels.map(|l| (l.level, l.name.as_str(), l.density));
            check_levels(path, manifest, levels.collect(), Coverage::All)?;
            let all = found.levels.iter().chain(&found.uniform);
            let numbers = all.flat_map(|level| [level.cost, level.loss, level.top1.unwrap_or(0.0)]);
            check_numbers(path, numbers)?;
        }
        Ok(Results {
            evaluation: self.evaluation.map(|(_, found)| found),
            benchmark: self.benchmark.map(|(_, found)| found),
            plan: self.plan.map(|(_, found)| found),
        })
    }
}

fn read<T: DeserializeOwned>(
    path: Option<&Path>,
    command: &str,
) -> Result<Option<(PathBuf, T)>, Failure> {
    let Some(path) = path else { return Ok(None) };
    match serde_json::from_slice(&read_bytes(path)?) {
        Ok(found) => Ok(Some((path.to_path_buf(), found))),
        Err(error) => {
            let message = format!("not what condensec {command} --json prints: {error}");
            Err(Diagnostic::error("bad-results", message)
                .at_file(path.display().to_string())
                .with_help(format!(
                    "condensec {command} .. --json > {}",
                    path.display()
                ))
                .into())
        }
    }
}

/// Which levels a file must have.
#[derive(Clone, Copy, PartialEq)]
enum Coverage {
    All,
    Some,
}

fn check_levels(
    path: &Path,
    manifest: &Manifest,
    found: Vec<(usize, &str, f64)>,
    coverage: Coverage,
) -> Result<(), Failure> {
    let own = &manifest.levels;
    let mut seen = vec![false; own.len()];
    for &(level, name, density) in &found {
        let note = match own.get(level) {
            None => format!(
                "the file has a level L{level}, the model {} levels",
                own.len()
            ),
            Some(entry) if entry.name != name => format!(
                "L{level} is called {name:?} in the file, {:?} in the model",
                entry.name
            ),
            Some(entry) if (entry.density - density).abs() > SAME_DENSITY => format!(
                "L{level} has density {density} in the file, {} in the model",
                entry.density
            ),
            Some(_) if seen[level] => return Err(bad(path, &format!("two entries for L{level}"))),
            Some(_) => {
                seen[level] = true;
                continue;
            }
        };
        return Err(other(path, note));
    }
    let n_seen = seen.iter().filter(|&&seen| seen).count();
    match coverage {
        Coverage::All if n_seen != own.len() => Err(other(
            path,
            format!("the file has {n_seen} levels, the model {}", own.len()),
        )),
        _ if n_seen == 0 => Err(bad(path, "there are no levels")),
        _ if !found.is_sorted_by_key(|&(level, ..)| level) => {
            Err(bad(path, "levels are not in order"))
        }
        _ => Ok(()),
    }
}

/// Times, shares and errors are none of them negative.
fn check_numbers(path: &Path, numbers: impl IntoIterator<Item = f64>) -> Result<(), Failure> {
    let is_wrong = |number: &f64| !number.is_finite() || *number < 0.0;
    match numbers.into_iter().find(is_wrong) {
        Some(number) => Err(bad(path, &format!("{number} is no measurement"))),
        None => Ok(()),
    }
}

fn bad(path: &Path, message: &str) -> Failure {
    Diagnostic::error("bad-results", message)
        .at_file(path.display().to_string())
        .into()
}

fn other(path: &Path, note: String) -> Failure {
    Diagnostic::error("other-results", "the results are of another model")
        .at_file(path.display().to_string())
        .with_note(note)
        .with_help("measure this supernet, or give the one that was measured")
        .into()
}
