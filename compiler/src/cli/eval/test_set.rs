//! The arrays of `eval --data` as samples and what is expected of them.

use std::path::Path;

use condensec_ir::Diagnostic;

use super::super::arrays;
use super::super::samples::{Samples, check_shape};
use crate::engine::EnginePort;
use crate::npz::{NpzArray, NpzElems};
use crate::report::Failure;

/// A test set that fits a model.
#[derive(Debug)]
pub(in crate::cli) struct TestSet<'a> {
    /// The inputs.
    pub samples: Samples<'a>,
    /// What the outputs are compared with.
    pub goal: Goal<'a>,
}

/// What the outputs are compared with.
#[derive(Debug)]
pub(in crate::cli) enum Goal<'a> {
    /// The first output has a score per class; one label per sample.
    Labels(Labels),
    /// Reference elements of every output, all samples one after the other.
    Outputs(Vec<&'a [f32]>),
}

/// The right class of every sample.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Labels {
    /// One per sample.
    pub classes: Vec<usize>,
    /// Scores per sample.
    pub n_classes: usize,
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
        let samples = Samples::new(arrays, inputs, file, limit)?;
        let file = file.display().to_string();
        let (n_stored, batch) = (samples.n_stored, samples.batch);
        let goal = find_goal(arrays, outputs, n_stored, batch, &file)?;
        Ok(TestSet {
            goal: goal.take(samples.n_samples, n_stored),
            samples,
        })
    }
}

impl Goal<'_> {
    /// The part for the first `n_samples` of `n_stored`.
    fn take(self, n_samples: usize, n_stored: usize) -> Self {
        match self {
            Goal::Labels(mut labels) => {
                labels.classes.truncate(n_samples);
                Goal::Labels(labels)
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
                check_shape(y, &outputs[0], (n_samples, batch), file)?;
                Ok(Goal::Outputs(vec![elems]))
            }
            _ => Labels::new(y, &outputs[0], n_samples, batch, file).map(Goal::Labels),
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
        check_shape(array, output, (n_samples, batch), file)?;
        references.push(arrays::f32_elems(array, file)?);
    }
    Ok(Goal::Outputs(references))
}

impl Labels {
    /// Integers `y`, one per sample, as classes of `output`.
    ///
    /// # Errors
    /// `wrong-dtype`, `wrong-shape`, `bad-label`.
    pub fn new(
        y: &NpzArray,
        output: &EnginePort,
        n_samples: usize,
        batch: usize,
        file: &str,
    ) -> Result<Self, Failure> {
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
        let classes: Vec<usize> = values.iter().map_while(to_class).collect();
        if let Some(&bad) = values.get(classes.len()) {
            let message = format!(
                "label {bad}, but output {:?} has {n_classes} classes",
                output.name
            );
            return Err(Diagnostic::error("bad-label", message)
                .at_file(file)
                .at_tensor("y")
                .at_index(&[classes.len()])
                .into());
        }
        Ok(Self { classes, n_classes })
    }
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
        assert_eq!((all.samples.n_samples, all.samples.n_runs()), (3, 3));
        assert_eq!(all.samples.inputs(2), [&[4.0, 5.0]]);
        let two = set(&arrays, Some(2)).unwrap();
        let Goal::Labels(labels) = two.goal else {
            panic!("{:?}", two.goal)
        };
        assert_eq!((labels.classes, labels.n_classes), (vec![2, 0], 3));
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
