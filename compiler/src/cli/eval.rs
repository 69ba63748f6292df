//! `condensec eval MODEL`: how good each level is on a test set.

mod idx_data;
pub(super) mod test_set;

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize};

use self::test_set::{Goal, TestSet};
use super::arguments::FormatArgs;
use super::loaded::LoadArgs;
use super::progress::Progress;
use super::samples;
use super::table::{self, Column};
use crate::driver;
use crate::engine::Engine;
use crate::report::Failure;

/// Measure the accuracy of every level on a test set.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archive has the samples as x (or one array per ONNX input, under its name), the first axis counting them, and
either integer labels y, which give top-1 and top-5 accuracy, or reference outputs as floats (y, or one array per
ONNX output), which give the largest and the mean absolute error. Images and labels may also be two IDX files, gzipped
or not, as those of MNIST. Samples run one by one, levels in turn.

Examples:
  condensec eval supernet.onnx --data t10k-images-idx3-ubyte.gz --labels t10k-labels-idx1-ubyte.gz --mean 0.286 --deviation 0.353
  condensec eval supernet.onnx --data test.npz --json
  {samples, levels: [{level, name, density, macs, weight_bytes, top1, top5, min_ms}]}  (or max_abs_err, mean_abs_err)")]
pub(super) struct Args {
    #[command(flatten)]
    load: LoadArgs,

    /// Archive with the test set, or IDX file with its images.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// IDX file with the labels of IDX images.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    #[command(flatten)]
    scaling: idx_data::Scaling,

    /// Use only the first samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,

    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `--json` prints, and `report` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluation {
    pub samples: usize,
    /// All levels, L0 first.
    pub levels: Vec<LevelScore>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelScore {
    pub level: usize,
    pub name: String,
    pub density: f64,
    pub macs: u64,
    pub weight_bytes: u64,
    #[serde(flatten)]
    pub score: Score,
    /// Fastest run.
    pub min_ms: f64,
}

/// The keys that depend on the kind of test set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Score {
    /// Shares of the samples, in [0, 1].
    Accuracy { top1: f64, top5: f64 },
    /// Over all samples and outputs.
    Error {
        #[serde(deserialize_with = "number_or_infinity")]
        max_abs_err: f64,
        #[serde(deserialize_with = "number_or_infinity")]
        mean_abs_err: f64,
    },
}

/// JSON has no infinity; where it stood is null.
fn number_or_infinity<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
    Option::deserialize(json).map(|number| number.unwrap_or(f64::INFINITY))
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let idx = idx_data::read(&args.data, args.labels.as_ref(), args.scaling)?;
    let arrays = match idx {
        Some(arrays) => arrays,
        None => driver::read_arrays(&args.data)?,
    };
    let mut engine = args
        .load
        .load(samples::sample_shapes(&arrays), args.format)?;
    let limit = args
        .samples
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let set = TestSet::new(
        &arrays,
        engine.inputs(),
        engine.outputs(),
        &args.data,
        limit,
    )?;
    let levels = evaluate(&mut engine, &set)?;
    let evaluation = Evaluation {
        samples: set.samples.n_samples,
        levels,
    };
    Ok(match args.format.json {
        true => super::to_json(&evaluation),
        false => describe(&evaluation),
    })
}

/// What a level has scored so far.
#[derive(Clone, Copy)]
struct Tally {
    n_top1: usize,
    n_top5: usize,
    max_abs_err: f64,
    sum_abs_err: f64,
    min_seconds: f64,
}

fn evaluate(engine: &mut Engine, set: &TestSet<'_>) -> Result<Vec<LevelScore>, Failure> {
    let n_levels = engine.levels().len();
    let mut outputs: Vec<Vec<f32>> = engine
        .outputs()
        .iter()
        .map(|port| vec![0.0; port.n_elems()])
        .collect();
    let empty = Tally {
        n_top1: 0,
        n_top5: 0,
        max_abs_err: 0.0,
        sum_abs_err: 0.0,
        min_seconds: f64::INFINITY,
    };
    let mut tallies = vec![empty; n_levels];
    let mut progress = Progress::new("evaluating", set.samples.n_runs() as u64);
    for run in 0..set.samples.n_runs() {
        let inputs = set.samples.inputs(run);
        for (level, tally) in tallies.iter_mut().enumerate() {
            engine.set_level(level)?;
            let start = Instant::now();
            engine.run_into(&inputs, &mut outputs)?;
            tally.min_seconds = tally.min_seconds.min(start.elapsed().as_secs_f64());
            tally.add(set, run, &outputs);
        }
        progress.set(run as u64 + 1);
    }
    let score = |(level, tally): (usize, Tally)| {
        let info = &engine.levels()[level];
        LevelScore {
            level,
            name: info.name.clone(),
            density: info.density,
            macs: info.macs,
            weight_bytes: info.weight_bytes,
            score: tally.score(set),
            min_ms: tally.min_seconds * 1e3,
        }
    };
    Ok(tallies.into_iter().enumerate().map(score).collect())
}

impl Tally {
    fn add(&mut self, set: &TestSet<'_>, run: usize, outputs: &[Vec<f32>]) {
        match &set.goal {
            Goal::Labels(labels) => {
                let classes = &labels.classes[run * set.samples.batch..][..set.samples.batch];
                for (scores, &label) in outputs[0].chunks(labels.n_classes).zip(classes) {
                    let rank = rank(scores, label);
                    self.n_top1 += usize::from(rank < 1);
                    self.n_top5 += usize::from(rank < 5);
                }
            }
            Goal::Outputs(references) => {
                for (found, reference) in outputs.iter().zip(references) {
                    let reference = &reference[run * found.len()..][..found.len()];
                    for (&a, &b) in found.iter().zip(reference) {
                        let error = difference(a, b);
                        self.max_abs_err = self.max_abs_err.max(error);
                        self.sum_abs_err += error;
                    }
                }
            }
        }
    }

    fn score(&self, set: &TestSet<'_>) -> Score {
        match &set.goal {
            Goal::Labels(_) => Score::Accuracy {
                top1: self.n_top1 as f64 / set.samples.n_samples as f64,
                top5: self.n_top5 as f64 / set.samples.n_samples as f64,
            },
            Goal::Outputs(references) => {
                let n_elems: usize = references.iter().map(|reference| reference.len()).sum();
                Score::Error {
                    max_abs_err: self.max_abs_err,
                    mean_abs_err: self.sum_abs_err / n_elems.max(1) as f64,
                }
            }
        }
    }
}

/// How many classes score higher than `label`; of equal scores the first counts, as in `argmax`. What is no
/// number is never right.
fn rank(scores: &[f32], label: usize) -> usize {
    let own = scores[label];
    if own.is_nan() {
        return scores.len();
    }
    let is_before = |(class, &score): (usize, &f32)| score > own || (score == own && class < label);
    scores
        .iter()
        .enumerate()
        .filter(|&pair| is_before(pair))
        .count()
}

/// Absolute difference; equal infinities and two NaNs agree, and a single NaN is infinitely far off.
fn difference(a: f32, b: f32) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let difference = (f64::from(a) - f64::from(b)).abs();
    if difference.is_nan() {
        f64::INFINITY
    } else {
        difference
    }
}

fn describe(evaluation: &Evaluation) -> String {
    let is_accuracy = matches!(
        evaluation.levels.first(),
        Some(LevelScore {
            score: Score::Accuracy { .. },
            ..
        })
    );
    let (first, second) = match is_accuracy {
        true => ("top-1", "top-5"),
        false => ("max error", "mean error"),
    };
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("density"),
        Column::Number("MACs"),
        Column::Number("weights"),
        Column::Number(first),
        Column::Number(second),
        Column::Number("min ms"),
    ];
    let rows = evaluation.levels.iter().map(|level| {
        let (first, second) = match level.score {
            Score::Accuracy { top1, top5 } => (table::fraction(top1), table::fraction(top5)),
            Score::Error {
                max_abs_err,
                mean_abs_err,
            } => (format!("{max_abs_err:.3e}"), format!("{mean_abs_err:.3e}")),
        };
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::fraction(level.density),
            table::count(level.macs),
            table::bytes(level.weight_bytes),
            first,
            second,
            table::milliseconds(level.min_ms),
        ]
    });
    let noun = if evaluation.samples == 1 {
        "sample"
    } else {
        "samples"
    };
    format!(
        "{} {noun}\n\n{}",
        evaluation.samples,
        table::render(&columns, rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_break_ties_like_argmax_and_distrust_nan() {
        let scores = [0.5, 2.0, 2.0, f32::NAN];
        assert_eq!(rank(&scores, 1), 0);
        assert_eq!(rank(&scores, 2), 1);
        assert_eq!(rank(&scores, 0), 2);
        assert_eq!(rank(&scores, 3), 4);
    }

    #[test]
    fn differences_of_what_is_no_number() {
        assert_eq!(difference(1.0, -1.5), 2.5);
        assert_eq!(difference(f32::INFINITY, f32::INFINITY), 0.0);
        assert_eq!(difference(f32::NAN, f32::NAN), 0.0);
        assert_eq!(difference(f32::NAN, 1.0), f64::INFINITY);
    }
}
