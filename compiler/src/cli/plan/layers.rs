//! A compiled supernet whose layers run at levels of their own, and what each costs at every level.

use std::collections::HashMap;

use condensec_ir::kernel::{LayerLevel, LevelSummary, Program};
use condensec_ir::{Graph, NodeId};
use condensec_nest::MaskedLayers;

use super::super::measuring::{empty_outputs, pseudo_random_inputs};
use super::super::progress::Progress;
use crate::driver::Compiled;
use crate::engine::{Branch, Engine};
use crate::report::Failure;

/// Runs per level when latency is measured; the fastest of each step counts.
const RUNS: u64 = 30;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Milliseconds on this machine, measured.
    Latency,
    /// Cycles that the cost model predicts.
    Cycles,
    /// Multiply-adds.
    Macs,
}

impl Cost {
    /// Heading of a column with such costs.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Latency => "ms",
            Self::Cycles => "cycles",
            Self::Macs => "MACs",
        }
    }
}

/// The engine, and which steps belong to which layer.
pub struct Layers {
    /// The compiled supernet.
    pub engine: Engine,
    /// Number of levels.
    pub n_levels: usize,
    /// Number of masked layers.
    n_layers: usize,
    /// See [`numbers`].
    number: Vec<usize>,
    /// Layer whose level a step has.
    followed: Vec<usize>,
    /// Layer that a step is the work of.
    own: Vec<Option<usize>>,
    compiled: Compiled,
}

impl Layers {
    /// Finds the steps of the layers of `supernet`, from which `compiled` was made.
    ///
    /// # Errors
    /// The library cannot be loaded.
    pub fn new(compiled: Compiled, supernet: &Graph) -> Result<Self, Failure> {
        let engine = Engine::from_library(&compiled.library)?;
        let graph = &compiled.graph;
        let lowered = MaskedLayers::of(graph);
        let number = numbers(graph, &lowered, supernet);
        let node_of: HashMap<&str, NodeId> = graph
            .order()
            .into_iter()
            .map(|node| (graph.node(node).name.as_str(), node))
            .collect();
        let (mut own, mut followed) = (Vec::new(), Vec::new());
        for name in engine.step_nodes() {
            let node = node_of.get(name.as_str());
            own.push(node.and_then(|&node| Some(number[lowered.at(node)?])));
            let before = followed.last().copied().unwrap_or(0);
            followed.push(node.map_or(before, |&node| number[lowered.followed_by(node)]));
        }
        Ok(Self {
            n_levels: engine.levels().len(),
            n_layers: MaskedLayers::of(supernet).len(),
            number,
            engine,
            followed,
            own,
            compiled,
        })
    }

    /// One inference at an operating point.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run(
        &mut self,
        point: &[usize],
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
    ) -> Result<(), Failure> {
        let mut level_of = |step: usize, _| point[self.followed[step]];
        self.engine.run_adaptive(&mut level_of, inputs, outputs)
    }

    /// One inference at an operating point, and one for each of `steps_down`, layers that go down by a level from there:
    /// `visit` gets their places in `steps_down` and the outputs.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn run_steps_down(
        &mut self,
        point: &[usize],
        steps_down: &[usize],
        inputs: &[&[f32]],
        outputs: &mut [Vec<f32>],
        visit: &mut dyn FnMut(usize, &[Vec<f32>]),
    ) -> Result<(), Failure> {
        let levels: Vec<usize> = self.followed.iter().map(|&layer| point[layer]).collect();
        let branch = |&layer: &usize| Branch {
            steps: (0..levels.len())
                .filter(|&step| self.followed[step] == layer)
                .collect(),
            level: point[layer] - 1,
        };
        let branches: Vec<Branch> = steps_down.iter().map(branch).collect();
        self.engine
            .run_branches(&levels, &branches, inputs, outputs, visit)
    }

    /// What every layer costs at every level.
    ///
    /// # Errors
    /// As [`Engine::run_into`].
    pub fn costs(&mut self, cost: Cost) -> Result<Costs, Failure> {
        match cost {
            Cost::Latency => self.measure(),
            Cost::Cycles | Cost::Macs => {
                let Compiled { graph, program, .. } = &self.compiled;
                Ok(told(cost, graph, program, &self.number))
            }
        }
    }

    fn measure(&mut self) -> Result<Costs, Failure> {
        let inputs = pseudo_random_inputs(&self.engine);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs = empty_outputs(&self.engine);
        let mut fastest = vec![vec![f64::INFINITY; self.own.len()]; self.n_levels];
        let mut progress = Progress::new("measuring", RUNS);
        for run in 0..RUNS {
            for (level, fastest) in fastest.iter_mut().enumerate() {
                self.engine.set_level(level)?;
                let times = self.engine.run_steps(&inputs, &mut outputs)?;
                for (fastest, time) in fastest.iter_mut().zip(times) {
                    *fastest = fastest.min(time.seconds * 1e3);
                }
            }
            progress.set(run + 1);
        }
        let mut costs = Costs {
            by_layer: vec![vec![0.0; self.n_levels]; self.n_layers],
            rest: 0.0,
        };
        for (step, own) in self.own.iter().enumerate() {
            for (level, times) in fastest.iter().enumerate() {
                match own {
                    Some(layer) => costs.by_layer[*layer][level] += times[step],
                    None => costs.rest += times[step] / self.n_levels as f64,
                }
            }
        }
        Ok(costs)
    }
}

/// For every masked layer of `lowered`, which passes made of `supernet`, its number there: passes rename weights and may
/// change the order of layers, but each knows the ONNX node it came from.
fn numbers(graph: &Graph, lowered: &MaskedLayers, supernet: &Graph) -> Vec<usize> {
    let layers = MaskedLayers::of(supernet);
    let at = |node: NodeId| Some((supernet.node(node).origin.name.as_str(), layers.at(node)?));
    let known: HashMap<&str, usize> = supernet.order().into_iter().filter_map(at).collect();
    let mut numbers = vec![0; lowered.len()];
    for node in graph.order() {
        let number = known.get(graph.node(node).origin.name.as_str());
        if let (Some(layer), Some(&number)) = (lowered.at(node), number) {
            numbers[layer] = number;
        }
    }
    numbers
}

/// Cycles that the cost model gives to the layers of `supernet`, or their multiply-adds.
pub fn predicted(cost: Cost, graph: &Graph, program: &Program, supernet: &Graph) -> Costs {
    let lowered = MaskedLayers::of(graph);
    told(cost, graph, program, &numbers(graph, &lowered, supernet))
}

fn told(cost: Cost, graph: &Graph, program: &Program, numbers: &[usize]) -> Costs {
    let of_layer = |level: &LayerLevel| match cost {
        Cost::Macs => level.macs as f64,
        Cost::Latency | Cost::Cycles => level.predicted_cycles as f64,
    };
    let of_level = |level: &LevelSummary| match cost {
        Cost::Macs => level.macs as f64,
        Cost::Latency | Cost::Cycles => level.predicted_cycles as f64,
    };
    let layers = MaskedLayers::of(graph);
    // Summaries name ONNX nodes.
    let at = |node: NodeId| {
        let layer = numbers[layers.at(node)?];
        Some((graph.node(node).origin.name.as_str(), layer))
    };
    let layer_of: HashMap<&str, usize> = graph.order().into_iter().filter_map(at).collect();
    let n_layers = numbers.iter().max().map_or(0, |last| last + 1);
    let n_levels = program.levels.len();
    let mut by_layer = vec![vec![0.0; n_levels]; n_layers];
    for summary in program.layers.iter().filter(|layer| layer.is_maskable) {
        if let Some(&layer) = layer_of.get(summary.name.as_str()) {
            for (sum, level) in by_layer[layer].iter_mut().zip(&summary.per_level) {
                *sum += of_layer(level);
            }
        }
    }
    let top: f64 = by_layer.iter().map(|levels| levels[n_levels - 1]).sum();
    let rest = of_level(&program.levels[n_levels - 1]) - top;
    Costs { by_layer, rest }
}

/// Costs of all layers at all levels, in one unit.
#[derive(Debug, Clone)]
pub struct Costs {
    /// Per layer and level.
    pub by_layer: Vec<Vec<f64>>,
    /// Of everything else.
    pub rest: f64,
}

impl Costs {
    /// Cost of a run at `point`.
    pub fn of(&self, point: &[usize]) -> f64 {
        let layers = self.by_layer.iter().zip(point);
        self.rest + layers.map(|(levels, &level)| levels[level]).sum::<f64>()
    }
}
