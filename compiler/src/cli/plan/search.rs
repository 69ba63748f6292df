//! A chain of operating points from the highest level down to the lowest, cheap ones as good as may be.
//!
//! Every round measures, for each layer on its own, what a step down by one level loses, starting from where the chain
//! is, and takes the steps that lose least per cost that they save. Losses of several layers do not add up, which is
//! why they are measured anew after every part of the layers. That the chain only goes down makes its points
//! nested: they are levels of one supernet.

use condensec_nest::Assignment;

use super::layers::Costs;
use super::loss::Losses;
use crate::report::Failure;

/// Share of the layers that go down by a level in one round.
const SHARE_OF_ROUND: f64 = 0.4;

/// A point of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainPoint {
    /// Level of every layer.
    pub point: Assignment,
    /// What a run costs.
    pub cost: f64,
}

/// From the highest level to the lowest, costs falling. `measure` tells the losses of a point and of the layers of a list
/// going down from there; `progress` gets how many of so many steps down are done.
///
/// # Errors
/// Those of `measure`.
pub fn descend(
    top: Assignment,
    costs: &Costs,
    measure: &mut dyn FnMut(&[usize], &[usize]) -> Result<Losses, Failure>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<ChainPoint>, Failure> {
    let total: usize = top.iter().sum();
    let mut point = top;
    let mut chain = vec![ChainPoint {
        cost: costs.of(&point),
        point: point.clone(),
    }];
    loop {
        let movable: Vec<usize> = (0..point.len()).filter(|&layer| point[layer] > 0).collect();
        if movable.is_empty() {
            return Ok(chain);
        }
        let losses = measure(&point, &movable)?;
        let mut steps: Vec<(f64, usize)> = movable
            .iter()
            .zip(&losses.below)
            .map(|(&layer, below)| {
                let levels = &costs.by_layer[layer];
                let saved = levels[point[layer]] - levels[point[layer] - 1];
                (loss_per_cost(below - losses.at_point, saved), layer)
            })
            .collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n_taken = (steps.len() as f64 * SHARE_OF_ROUND).ceil() as usize;
        for &(_, layer) in &steps[..n_taken] {
            point[layer] -= 1;
            chain.push(ChainPoint {
                cost: costs.of(&point),
                point: point.clone(),
            });
        }
        progress(total - point.iter().sum::<usize>(), total);
    }
}

/// What orders the steps: loss per saved cost. A step that loses nothing comes first, one that saves nothing last.
fn loss_per_cost(loss: f64, saved: f64) -> f64 {
    match (loss > 0.0, saved > 0.0) {
        (true, true) => loss / saved,
        (true, false) => f64::INFINITY,
        // The more it gains the sooner.
        (false, _) => loss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer 0 costs much and matters little, layer 1 the other way round.
    #[test]
    fn layers_that_matter_stay_high() {
        let costs = Costs {
            by_layer: vec![vec![1.0, 10.0], vec![1.0, 2.0]],
            rest: 1.0,
        };
        let loss = |point: &[usize]| (1 - point[0]) as f64 * 0.1 + (1 - point[1]) as f64;
        let mut measure = |point: &[usize], layers: &[usize]| {
            let below = |&layer: &usize| {
                let mut point = point.to_vec();
                point[layer] -= 1;
                loss(&point)
            };
            Ok(Losses {
                at_point: loss(point),
                below: layers.iter().map(below).collect(),
            })
        };
        let chain = descend(vec![1, 1], &costs, &mut measure, &mut |_, _| {}).unwrap();
        let points: Vec<&[usize]> = chain.iter().map(|c| c.point.as_slice()).collect();
        assert_eq!(points, [&[1, 1][..], &[0, 1], &[0, 0]]);
        let costs: Vec<f64> = chain.iter().map(|c| c.cost).collect();
        assert_eq!(costs, [13.0, 4.0, 3.0]);
    }
}
