//! How far results are from those of the highest level.
//!
//! The squared error of the outputs, of classifiers too. One chain by the divergence of class probabilities was less accurate
//! on images that the search had not seen (ResNet-20), but it had 256 images and the other 512: which of the two made
//! the difference was not measured.

use super::super::eval::test_set::Labels;
use super::super::measuring::empty_outputs;
use super::super::samples::Samples;
use super::layers::Layers;
use crate::engine::Engine;
use crate::report::Failure;

/// Inputs, and what the highest level makes of them.
pub struct Judge<'a> {
    samples: Samples<'a>,
    labels: Option<Labels>,
    /// Outputs of the highest level per run.
    references: Vec<Vec<Vec<f32>>>,
    /// Sum of squared deviations of the references from their mean.
    spread: f64,
}

/// How good a level or a point is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Squared error over the variance of the outputs of the highest level.
    pub loss: f64,
    /// Share of the samples with the right class, in [0, 1], where there are labels.
    pub top1: Option<f64>,
}

impl<'a> Judge<'a> {
    /// Takes the results of `engine` at its highest level as the reference.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn new(
        samples: Samples<'a>,
        labels: Option<Labels>,
        engine: &mut Engine,
    ) -> Result<Self, Failure> {
        engine.set_level(engine.levels().len() - 1)?;
        let mut outputs = empty_outputs(engine);
        let mut references = Vec::with_capacity(samples.n_runs());
        for run in 0..samples.n_runs() {
            engine.run_into(&samples.inputs(run), &mut outputs)?;
            references.push(outputs.clone());
        }
        let elems = || references.iter().flatten().flatten().map(|&y| f64::from(y));
        let mean = elems().sum::<f64>() / elems().count().max(1) as f64;
        let spread: f64 = elems().map(|y| (y - mean).powi(2)).sum();
        Ok(Self {
            samples,
            labels,
            references,
            // Constant outputs have no scale, but no errors either.
            spread: spread.max(f64::MIN_POSITIVE),
        })
    }

    /// The score of what `infer` makes of the inputs.
    ///
    /// # Errors
    /// Those of `infer`.
    pub fn score(
        &self,
        outputs: &mut [Vec<f32>],
        mut infer: impl FnMut(&[&[f32]], &mut [Vec<f32>]) -> Result<(), Failure>,
    ) -> Result<Score, Failure> {
        let (mut error, mut n_right) = (0.0, 0);
        for run in 0..self.references.len() {
            infer(&self.samples.inputs(run), outputs)?;
            error += self.error(run, outputs);
            n_right += self.n_right(run, outputs);
        }
        let share = |n: usize| n as f64 / self.samples.n_samples as f64;
        Ok(Score {
            loss: error / self.spread,
            top1: self.labels.as_ref().map(|_| share(n_right)),
        })
    }

    /// The losses of a point and of each of `steps_down` from there, see [`Layers::run_steps_down`].
    ///
    /// # Errors
    /// As there.
    pub fn losses(
        &self,
        layers: &mut Layers,
        point: &[usize],
        steps_down: &[usize],
        outputs: &mut [Vec<f32>],
    ) -> Result<Losses, Failure> {
        let (mut at_point, mut below) = (0.0, vec![0.0; steps_down.len()]);
        for run in 0..self.references.len() {
            let inputs = self.samples.inputs(run);
            let mut add = |at: usize, outputs: &[Vec<f32>]| below[at] += self.error(run, outputs);
            layers.run_steps_down(point, steps_down, &inputs, outputs, &mut add)?;
            at_point += self.error(run, outputs);
        }
        Ok(Losses {
            at_point: at_point / self.spread,
            below: below.iter().map(|error| error / self.spread).collect(),
        })
    }

    /// Squared error of the outputs of a run.
    fn error(&self, run: usize, outputs: &[Vec<f32>]) -> f64 {
        let pairs = outputs
            .iter()
            .flatten()
            .zip(self.references[run].iter().flatten());
        pairs
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum()
    }

    /// Samples of a run with the right class.
    fn n_right(&self, run: usize, outputs: &[Vec<f32>]) -> usize {
        let Some(labels) = &self.labels else { return 0 };
        let classes = labels.classes[run * self.samples.batch..].iter();
        outputs[0]
            .chunks(labels.n_classes)
            .zip(classes)
            .filter(|&(row, &class)| best(row) == Some(class))
            .count()
    }
}

/// Losses of a point and of points near it.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Of the point itself.
    pub at_point: f64,
    /// Of each step down from there.
    pub below: Vec<f64>,
}

/// The class with the highest score, the first of equals.
fn best(scores: &[f32]) -> Option<usize> {
    let classes = (0..scores.len()).rev();
    classes.max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_scores_is_the_best() {
        assert_eq!(best(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(best(&[]), None);
    }
}
