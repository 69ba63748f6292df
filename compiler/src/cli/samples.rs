//! The arrays of an `.npz` file as samples of a model's inputs.

use std::path::Path;

use condensec_ir::Diagnostic;
use condensec_ir::eval::Array;
use condensec_nest::Calibration;

use super::arrays;
use crate::engine::EnginePort;
use crate::npz::NpzArray;
use crate::report::Failure;

/// Samples that fit a model.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    /// Samples that are used, a multiple of `batch`.
    pub n_samples: usize,
    /// Samples in the file.
    pub n_stored: usize,
    /// Samples of one run.
    pub batch: usize,
    /// Elements of every input, all samples one after the other.
    inputs: Vec<&'a [f32]>,
    /// Elements of every input in one run.
    input_elems: Vec<usize>,
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

impl<'a> Samples<'a> {
    /// Fits `arrays` to a model's inputs, the first axis counting samples; at most `limit` of them.
    ///
    /// # Errors
    /// `missing-input`, `wrong-dtype`, `wrong-shape`.
    pub fn new(
        arrays: &'a [NpzArray],
        inputs: &[EnginePort],
        file: &Path,
        limit: Option<usize>,
    ) -> Result<Samples<'a>, Failure> {
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
            check_shape(array, port, (n_stored, batch), &file)?;
        }
        let n_samples = limit.map_or(n_stored, |limit| limit.min(n_stored));
        if n_samples == 0 || !n_samples.is_multiple_of(batch) {
            let message = match n_samples {
                0 => "there are no samples".into(),
                _ => format!("{n_samples} samples, the model takes {batch} at a time"),
            };
            return Err(Diagnostic::error("wrong-shape", message)
                .at_file(&file)
                .into());
        }
        Ok(Samples {
            n_samples,
            n_stored,
            batch,
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

impl Samples<'_> {
    /// The samples to calibrate a model with these inputs.
    pub fn to_calibration(&self, ports: &[EnginePort]) -> Calibration {
        let mut inputs = vec![Vec::with_capacity(self.n_runs()); ports.len()];
        for run in 0..self.n_runs() {
            for ((input, port), elems) in inputs.iter_mut().zip(ports).zip(self.inputs(run)) {
                input.push(Array::new(&port.shape, elems.to_vec()));
            }
        }
        Calibration { inputs }
    }
}

/// All samples of `array` must have the shape of `port` without its batch. Where the batch is 1, ports that do not
/// lead with it belong to one sample as a whole.
pub(super) fn check_shape(
    array: &NpzArray,
    port: &EnginePort,
    (n_samples, batch): (usize, usize),
    file: &str,
) -> Result<(), Failure> {
    let sample = match port.shape.split_first() {
        Some((first, rest)) if *first == batch => Some(rest),
        _ if batch == 1 => Some(port.shape.as_slice()),
        _ => None,
    };
    let message = match sample {
        Some(sample) => {
            let expected: Vec<usize> = [n_samples].iter().chain(sample).copied().collect();
            if array.shape == expected {
                return Ok(());
            }
            format!(
                "array {:?} has shape {:?}, expected {expected:?}",
                array.name, array.shape
            )
        }
        None => format!("{:?} does not lead with the batch of {batch}", port.name),
    };
    Err(Diagnostic::error("wrong-shape", message)
        .at_file(file)
        .at_tensor(&port.name)
        .with_note(format!(
            "the model's {:?} has shape {:?}",
            port.name, port.shape
        ))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_shape_of_its_array_without_the_count() {
        let arrays = [NpzArray::f32("x", &[3, 2], vec![0.0; 6])];
        assert_eq!(sample_shapes(&arrays), [("in_0".into(), vec![1, 2])]);
    }
}
