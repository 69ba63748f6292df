//! The arrays of `eval --data` as samples and what is expected of them.

use std::path::Path;

use condensec_ir::Diagnostic;

use super::super::arrays;
use crate::engine::EnginePort;
use crate::npz::{NpzArray, NpzElems};
use crate::report::Failure;

/// A test set that fits a model.
#[derive(Debug)]
pub(super) struct TestSet<'a> {
    /// Samples, a multiple of `batch`.
    pub n_samples: usize,
    /// Samples of one run.
    pub batch: usize,
    /// What the outputs are compared with.
    pub goal: Goal<'a>,
    /// Elements of every input, all samples one after the other.
    inputs: Vec<&'a [f32]>,
    /// Elements of every input in one run.
    input_elems: Vec<usize>,
}

/// What the outputs are compared with.
#[derive(Debug)]
pub(super) enum Goal<'a> {
    /// The first output has a score per class; one label per sample.
    Labels {
        /// The right classes.
        labels: Vec<usize>,
        /// Scores per sample.
        n_classes: usize,
    },
    /// Reference elements of every output, all samples one after the other.
    Outputs(Vec<&'a [f32]>),
}

/// Shapes of one sample by array, for dimensions that a model leaves open.
pub(super) fn sample_shapes(arrays: &[NpzArray]) -> Vec<(String, Vec<usize>)> {
    let one_sample = |array: &NpzArray| {
        let mut shape = array.shape.clone();
        *shape.first_mut()? = 1;
        // `x` is the only input, whatever the model calls it.
        let name = if array.name == "x" {
            "in_0"
        } else {
            &array.name
        };
        Some((name.to_string(), shape))
    };
    arrays.iter().filter_map(one_sample).collect()
}

impl<'a> TestSet<'a> {
    /// Fits `arrays` to a model's inputs and outputs; at most `limit` samples.
    ///
    /// # Errors
    /// `missing-input`, `missing-labels`, `wrong-dtype`, `wrong-shape`, `bad-label`.
    pub fn new(
        arrays: &'a [NpzArray],
        inputs: &[EnginePort],
        outputs: &[EnginePort],
        file: &Path,
        limit: Option<usize>,
    ) -> Result<TestSet<'a>, Failure> {
        let file = file.display().to_string();
        let mut found = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            let x = || {
                arrays
                    .iter()
                    .find(|array| array.name == "x" && inputs.len() == 1)
            };
            let array = arrays::find(arrays, inputs, index, "in")
                .or_else(x)
                .ok_or_else(|| arrays::missing(&input.name, index, arrays, &file))?;
            found.push((array, arrays::f32_elems(array, &file)?));
        }
        let Some((input, (first, _))) = inputs.iter().zip(&found).next() else {
            return Err(Diagnostic::error("missing-input", "the model has no inputs").into());
        };
        // A model with another batch than 1 takes several samples at a time.
        let batch = input.shape.first().copied().unwrap_or(1);
        let n_stored = first.shape.first().copied().unwrap_or(1);
        for (port, (array, _)) in inputs.iter().zip(&found) {
            check_shape(array, port, n_stored, &file)?;
        }
        let n_samples = limit.map_or(n_stored, |limit| limit.min(n_stored));
        if n_samples == 0 || !n_samples.is_multiple_of(batch) {
            let message = match n_samples {
                0 => "the test set has no samples".into(),
                _ => format!("{n_samples} samples, the model takes {batch} at a time"),
            };
            return Err(Diagnostic::error("wrong-shape", message)
                .at_file(&file)
                .into());
        }
        let goal = find_goal(arrays, outputs, n_stored, batch, &file)?;
        Ok(TestSet {
            n_samples,
            batch,
            goal: goal.take(n_samples, n_stored),
            inputs: found.into_iter().map(|(_, elems)| elems).collect(),
            input_elems: inputs.iter().map(EnginePort::n_elems).collect(),
        })
    }

    /// Number of runs at one level.
    pub fn n_runs(&self) -> usize {
        self.n_samples / self.batch
    }

    /// Elements of every input in run number `run`.
    pub fn inputs(&self, run: usize) -> Vec<&'a [f32]> {
        let part = |(elems, &n): (&&'a [f32], &usize)| &elems[run * n..][..n];
        self.inputs
            .iter()
            .zip(&self.input_elems)
            .map(part)
            .collect()
    }
}

impl Goal<'_> {
    /// The part for the first `n_samples` of `n_stored`.
    fn take(self, n_samples: usize, n_stored: usize) -> Self {
        match self {
            Goal::Labels {
                mut labels,
                n_classes,
            } => {
                labels.truncate(n_samples);
                Goal::Labels { labels, n_classes }
            }
            Goal::Outputs(outputs) => {
                let part = |elems: &[f32]| elems.len() / n_stored * n_samples;
                Goal::Outputs(
                    outputs
                        .into_iter()
                        .map(|elems| &elems[..part(elems)])
                        .collect(),
                )
            }
        }
    }
}

/// All samples of `array` must have the shape of `port` without its batch.
fn check_shape(
    array: &NpzArray,
    port: &EnginePort,
    n_samples: usize,
    file: &str,
) -> Result<(), Failure> {
    let sample = port.shape.get(1..).unwrap_or_default();
    if array.shape.first() == Some(&n_samples) && array.shape[1..] == *sample {
        return Ok(());
    }
    let expected: Vec<usize> = [n_samples].iter().chain(sample).copied().collect();
    let message = format!(
        "array {:?} has shape {:?}, expected {expected:?}",
        array.name, array.shape
    );
    Err(Diagnostic::error("wrong-shape", message)
        .at_file(file)
        .at_tensor(&port.name)
        .with_note(format!(
            "the model's {:?} has shape {:?}",
            port.name, port.shape
        ))
        .into())
}

fn find_goal<'a>(
    arrays: &'a [NpzArray],
    outputs: &[EnginePort],
    n_samples: usize,
    batch: usize,
    file: &str,
) -> Result<Goal<'a>, Failure> {
    if let Some(y) = arrays.iter().find(|array| array.name == "y") {
        return match &y.elems {
            NpzElems::F32(elems) => {
                check_shape(y, &outputs[0], n_samples / batch * batch, file)?;
                Ok(Goal::Outputs(vec![elems]))
            }
            _ => labels(y, &outputs[0], n_samples, batch, file),
        };
    }
    let mut references = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let Some(array) = arrays::find(arrays, outputs, index, "out") else {
            let message = format!(
                "there are no labels y, and no reference for {:?}",
                output.name
            );
            return Err(Diagnostic::error("missing-labels", message)
                .at_file(file)
                .with_help("store integer labels as y, or reference outputs as floats")
                .into());
        };
        check_shape(array, output, n_samples, file)?;
        references.push(arrays::f32_elems(array, file)?);
    }
    Ok(Goal::Outputs(references))
}

fn labels<'a>(
    y: &NpzArray,
    output: &EnginePort,
    n_samples: usize,
    batch: usize,
    file: &str,
) -> Result<Goal<'a>, Failure> {
    let values = y.to_i64_vec().map_err(|_| {
        let found = y.elem_type().trim_matches('\'');
        let message = format!("array \"y\" is of type {found}, expected integers or floats");
        Diagnostic::error("wrong-dtype", message)
            .at_file(file)
            .at_tensor("y")
    })?;
    if !matches!(y.shape.as_slice(), [n] | [n, 1] if *n == n_samples) {
        let message = format!("labels y have shape {:?}, expected [{n_samples}]", y.shape);
        return Err(Diagnostic::error("wrong-shape", message)
            .at_file(file)
            .at_tensor("y")
            .into());
    }
    let n_classes = output.n_elems() / batch;
    let to_class = |&value: &i64| {
        usize::try_from(value)
            .ok()
            .filter(|&class| class < n_classes)
    };
    let labels: Vec<usize> = values.iter().map_while(to_class).collect();
    if let Some(&bad) = values.get(labels.len()) {
        let message = format!(
            "label {bad}, but output {:?} has {n_classes} classes",
            output.name
        );
        return Err(Diagnostic::error("bad-label", message)
            .at_file(file)
            .at_tensor("y")
            .at_index(&[labels.len()])
            .into());
    }
    Ok(Goal::Labels { labels, n_classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, shape: &[usize]) -> EnginePort {
        EnginePort {
            name: name.into(),
            shape: shape.to_vec(),
        }
    }

    fn set<'a>(arrays: &'a [NpzArray], limit: Option<usize>) -> Result<TestSet<'a>, &'static str> {
        let (inputs, outputs) = ([port("image", &[1, 2])], [port("logits", &[1, 3])]);
        TestSet::new(arrays, &inputs, &outputs, Path::new("t.npz"), limit)
            .map_err(|failure| failure.0[0].code)
    }

    fn x() -> NpzArray {
        NpzArray::f32("x", &[3, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    }

    #[test]
    fn samples_are_cut_from_the_arrays() {
        let arrays = [x(), NpzArray::i64("y", &[3], vec![2, 0, 1])];
        let all = set(&arrays, None).unwrap();
        assert_eq!((all.n_samples, all.n_runs()), (3, 3));
        assert_eq!(all.inputs(2), [&[4.0, 5.0]]);
        let two = set(&arrays, Some(2)).unwrap();
        let Goal::Labels {
            labels,
            n_classes: 3,
        } = two.goal
        else {
            panic!("{:?}", two.goal)
        };
        assert_eq!(labels, [2, 0]);
        assert_eq!(sample_shapes(&arrays)[0], ("in_0".into(), vec![1, 2]));
    }

    #[test]
    fn references_are_floats_by_any_of_their_names() {
        for name in ["y", "logits", "out_0"] {
            let arrays = [x(), NpzArray::f32(name, &[3, 3], vec![0.0; 9])];
            let two = set(&arrays, Some(2)).unwrap();
            let Goal::Outputs(references) = &two.goal else {
                panic!("{:?}", two.goal)
            };
            assert_eq!(references[0].len(), 6);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let y = |shape: &[usize], values: &[i64]| NpzArray::i64("y", shape, values.to_vec());
        let code = |arrays: &[NpzArray]| set(arrays, None).unwrap_err();
        assert_eq!(code(&[x()]), "missing-labels");
        assert_eq!(code(&[y(&[3], &[0, 0, 0])]), "missing-input");
        assert_eq!(code(&[x(), y(&[2], &[0, 0])]), "wrong-shape");
        assert_eq!(code(&[x(), y(&[3], &[0, 3, 0])]), "bad-label");
        assert_eq!(code(&[x(), y(&[3], &[0, -1, 0])]), "bad-label");
        assert_eq!(
            code(&[NpzArray::i64("x", &[3, 2], vec![0; 6])]),
            "wrong-dtype"
        );
        assert_eq!(
            code(&[NpzArray::f32("x", &[2, 3], vec![0.0; 6])]),
            "wrong-shape"
        );
        assert_eq!(code(&[NpzArray::f32("x", &[0, 2], vec![])]), "wrong-shape");
    }
}
