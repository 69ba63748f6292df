//! The recipe, layer by layer in order of execution.

use crate::layers::{self, Layer};
use crate::moments::Moments;
use crate::patches;
use crate::ranking::{self, RankedBlocks};
use crate::recipe::{Calibration, NestError, Ranking, Recipe};
use crate::repair::{self, Fit};
use crate::results::ResultLayout;
use crate::rewrite::{self, Settled};
use crate::states::{self, Samples, States};
use crate::statistics::{ChannelMap, ChannelStatistics};
use condensec_ir::eval::Array;
use condensec_ir::{Graph, NodeId, Op};
use std::collections::HashSet;
use std::sync::Arc;

/// Levels whose inputs the repair looks at, at most: bounds memory where there are many levels.
const MAX_REPAIR_LEVELS: usize = 8;

/// Inputs that the repair wants to see per weight of a row where it is free not to repair: fewer would be learnt by
/// heart.
const MIN_INPUTS_PER_COLUMN: usize = 4;

/// Steps of a layer that [`Progress`] counts: ranked, repaired, matched at every level.
const STEPS_PER_LAYER: usize = 3;

/// How far the recipe is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Steps that are done; a layer has several.
    pub done: usize,
    /// All steps.
    pub total: usize,
}

/// What was done to a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct NestedLayer {
    /// Convolution or fully connected node.
    pub node: NodeId,
    /// Whether weights were masked.
    pub is_pruned: bool,
    /// Whether rows of a block do not follow each other.
    pub is_regrouped: bool,
    /// Whether the layer is too wide for moments (see [`Recipe::max_columns`]).
    pub is_too_wide: bool,
}

/// A supernet.
#[derive(Debug, Clone)]
pub struct Nested {
    /// The graph with masks and values per level.
    pub graph: Graph,
    /// Its layers in order of execution.
    pub layers: Vec<NestedLayer>,
}

/// Makes a supernet of `graph`.
///
/// # Errors
/// See [`NestError`].
pub fn nest(
    graph: &Graph,
    calibration: Calibration,
    recipe: &Recipe,
    progress: &mut dyn FnMut(Progress),
) -> Result<Nested, NestError> {
    check(graph, &calibration, recipe)?;
    let layers = layers::find(graph, recipe);
    if !layers.iter().any(|layer| layer.is_pruned) {
        return Err(NestError::NoLayers);
    }
    check_weights(graph, &layers)?;
    let mut settled = Vec::with_capacity(layers.len());
    if recipe.needs_calibration() {
        let mut n_done = 0;
        let mut walk = Walk {
            graph,
            recipe,
            states: States::new(graph, calibration, recipe.n_levels()),
            step: &mut || {
                n_done += 1;
                let total = STEPS_PER_LAYER * layers.len();
                progress(Progress {
                    done: n_done,
                    total,
                });
            },
        };
        let [first, behind @ ..] = &stretches(graph, &layers)[..] else {
            unreachable!("there is one stretch more than layers")
        };
        walk.states.eval(first);
        for (layer, behind) in layers.iter().zip(behind) {
            settled.push(walk.settle(layer, behind)?);
        }
    } else {
        for layer in &layers {
            let ranked = layer
                .is_pruned
                .then(|| ranking::rank(graph, layer, recipe, None));
            settled.push(Settled::by_mask(graph, layer, ranked.as_ref(), recipe));
        }
    }
    let described = settled
        .iter()
        .map(|settled| NestedLayer {
            node: settled.layer.node,
            is_pruned: settled.level_of.is_some(),
            is_regrouped: settled.is_regrouped,
            is_too_wide: is_too_wide(recipe, &settled.layer),
        })
        .collect();
    Ok(Nested {
        graph: rewrite::rewrite(graph, recipe, settled),
        layers: described,
    })
}

fn check(graph: &Graph, calibration: &Calibration, recipe: &Recipe) -> Result<(), NestError> {
    let n_levels = recipe.n_levels();
    if graph.n_levels != 1 {
        return Err(NestError::HasLevels(graph.n_levels));
    }
    if !(1..=64).contains(&n_levels) {
        return Err(NestError::LevelCount(n_levels));
    }
    let in_range = recipe.densities.iter().all(|d| *d > 0.0 && *d <= 1.0);
    if !in_range || recipe.densities.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(NestError::Densities(recipe.densities.clone()));
    }
    if !recipe.needs_calibration() {
        return Ok(());
    }
    calibration.check(graph)
}

fn check_weights(graph: &Graph, layers: &[Layer]) -> Result<(), NestError> {
    for layer in layers {
        if graph
            .tensor(layer.weight)
            .data
            .iter()
            .any(|w| !w.is_finite())
        {
            return Err(NestError::NotFinite {
                layer: graph.node(layer.node).name.clone(),
                what: "weights",
            });
        }
    }
    Ok(())
}

fn is_too_wide(recipe: &Recipe, layer: &Layer) -> bool {
    layer.is_pruned && recipe.needs_calibration() && layer.columns > recipe.max_columns
}

/// The nodes before the first layer, then those behind each layer and before the next, in order of execution.
/// The end of a layer is part of it.
fn stretches(graph: &Graph, layers: &[Layer]) -> Vec<Vec<NodeId>> {
    let starts: HashSet<NodeId> = layers.iter().map(|layer| layer.node).collect();
    let ends: HashSet<NodeId> = layers.iter().map(|layer| layer.end).collect();
    let mut stretches = vec![Vec::new()];
    for node in graph.order() {
        if starts.contains(&node) {
            stretches.push(Vec::new());
        } else if !ends.contains(&node) && !matches!(graph.node(node).op, Op::Input(_)) {
            let last = stretches.last_mut().expect("the first is there");
            last.push(node);
        }
    }
    stretches
}

struct Walk<'g> {
    graph: &'g Graph,
    recipe: &'g Recipe,
    states: States<'g>,
    /// Called when a step of a layer is done.
    step: &'g mut dyn FnMut(),
}

impl Walk<'_> {
    /// Masks, repairs and matches one layer, and sets the values up to the next layer.
    fn settle(&mut self, layer: &Layer, behind: &[NodeId]) -> Result<Settled, NestError> {
        let graph = self.graph;
        let input = graph.operands(layer.node)[0];
        let ranked = layer.is_pruned.then(|| self.rank(layer));
        (self.step)();
        let mut settled = Settled::by_mask(graph, layer, ranked.as_ref(), self.recipe);
        let bias = rewrite::bias(graph, layer);
        let layout = ResultLayout::new(graph, layer);

        // What the layer is to compute: its dense result, bias included.
        let weight = graph.tensor(layer.weight);
        let mut dense = states::products(graph, layer, &weight.data, self.states.dense(input));
        layout.apply(&ChannelMap::identity(&bias), &mut dense);
        if dense.iter().any(|y| y.data.iter().any(|v| !v.is_finite())) {
            return Err(NestError::NotFinite {
                layer: graph.node(layer.node).name.clone(),
                what: "results",
            });
        }
        let statistics = ChannelStatistics::of(graph, layer, &dense);
        if self.is_repaired(layer) {
            settled.weights = self.repair(layer, &dense, &statistics.deviation, &settled);
        }
        (self.step)();
        let mut dense_end = None;
        for level in 0..self.recipe.n_levels() {
            let is_dense =
                self.states.is_dense(level, input) && settled.is_dense_at(level, &weight.data);
            if is_dense {
                settled.maps.push(ChannelMap::identity(&bias));
                let end =
                    dense_end.get_or_insert_with(|| self.behind_norm(layer, dense.clone(), &bias));
                self.states.pass_level_dense(level, layer, end, behind);
                continue;
            }
            let weights = settled.weights_at(level);
            let mut results =
                states::products(graph, layer, &weights, self.states.level(level, input));
            let map = match self.recipe.matches_statistics {
                true => {
                    let found = ChannelStatistics::of(graph, layer, &results);
                    let target = match self.target(layer, level, &dense) {
                        Some(target) => ChannelStatistics::of(graph, layer, &target).mean,
                        None => statistics.mean.clone(),
                    };
                    ChannelMap::matching(&found, &statistics, &target)
                }
                false => ChannelMap::identity(&bias),
            };
            layout.apply(&rewrite::through_norm(graph, layer, &map), &mut results);
            settled.maps.push(map);
            let result = results.into_iter().map(Arc::new).collect();
            self.states.pass_level(level, layer, result, behind);
        }
        let dense = match dense_end {
            Some(end) => end,
            None => self.behind_norm(layer, dense, &bias),
        };
        self.states.pass_dense(layer, dense, behind);
        (self.step)();
        Ok(settled)
    }

    /// The dense result behind the batch norm.
    fn behind_norm(&self, layer: &Layer, mut results: Vec<Array>, bias: &[f32]) -> Samples {
        let identity = ChannelMap::identity(&vec![0.0; bias.len()]);
        let map = rewrite::through_norm(self.graph, layer, &identity);
        ResultLayout::new(self.graph, layer).apply(&map, &mut results);
        results.into_iter().map(Arc::new).collect()
    }

    fn rank(&self, layer: &Layer) -> RankedBlocks {
        let inputs = self.states.dense(self.graph.operands(layer.node)[0]);
        let has_moments = self.recipe.ranking == Ranking::Obs && !is_too_wide(self.recipe, layer);
        let moments = has_moments.then(|| -> Vec<Moments> {
            (0..layer.channel_groups)
                .map(|g| Moments::of(self.graph, layer, g, inputs, None, self.recipe.positions))
                .collect()
        });
        ranking::rank(self.graph, layer, self.recipe, moments.as_deref())
    }

    /// The dense result plus what the level's shortcut lacks; `None` where there is nothing to add.
    fn target(&self, layer: &Layer, level: usize, dense: &[Array]) -> Option<Vec<Array>> {
        let shortcut = layer
            .shortcut
            .filter(|&shortcut| self.states.has(shortcut))?;
        if self.states.is_dense(level, shortcut) {
            return None;
        }
        let mut target = dense.to_vec();
        // A channel that its batch norm all but drops cannot make up for anything.
        let inverse = |factor: &f32| match factor.abs() > 1e-3 {
            true => factor.recip(),
            false => 0.0,
        };
        let factors: Vec<f32> = layer.norm_factors(self.graph).iter().map(inverse).collect();
        let (dense, level) = (
            self.states.dense(shortcut),
            self.states.level(level, shortcut),
        );
        ResultLayout::new(self.graph, layer).add_difference(&mut target, dense, level, &factors);
        Some(target)
    }

    /// Whether the layer's weights are fitted to all levels: where some are dropped, and where its inputs have
    /// changed, since a layer that stays dense can make up for a part of what those before it have lost. A depthwise
    /// convolution's few weights have too little to give.
    fn is_repaired(&self, layer: &Layer) -> bool {
        let (graph, recipe) = (self.graph, self.recipe);
        if !recipe.repairs || layer.columns > recipe.max_columns {
            return false;
        }
        let input = graph.operands(layer.node)[0];
        let n_positions = patches::n_positions(graph, layer).min(recipe.positions);
        let n_inputs = self.states.dense(input).len() * n_positions;
        let has_changed = || (0..recipe.n_levels()).any(|l| !self.states.is_dense(l, input));
        layer.is_pruned
            || !layer.is_depthwise
                && n_inputs >= MIN_INPUTS_PER_COLUMN * layer.columns
                && has_changed()
    }

    fn repair(
        &self,
        layer: &Layer,
        dense: &[Array],
        deviations: &[f64],
        settled: &Settled,
    ) -> Vec<f32> {
        let input = self.graph.operands(layer.node)[0];
        let n_levels = self.recipe.n_levels();
        // The levels that are looked at, evenly spread, and for every level the first of them that has
        // its weights.
        let looked_at: Vec<usize> = match n_levels > MAX_REPAIR_LEVELS {
            true => (0..MAX_REPAIR_LEVELS)
                .map(|i| i * (n_levels - 1) / (MAX_REPAIR_LEVELS - 1))
                .collect(),
            false => (0..n_levels).collect(),
        };
        let first_with = |&v: &u8| looked_at.partition_point(|&level| level < usize::from(v)) as u8;
        let level_of: Vec<u8> = match &settled.level_of {
            Some(level_of) => level_of.iter().map(first_with).collect(),
            None => vec![0; settled.weights.len()],
        };

        let (per, columns) = (layer.rows_per_group(), layer.columns);
        let weight = &graph_weight(self.graph, layer);
        let mut repaired = Vec::with_capacity(weight.len());
        for channel_group in 0..layer.channel_groups {
            let moments: Vec<Moments> = looked_at
                .iter()
                .map(|&level| {
                    let target = self.target(layer, level, dense);
                    Moments::of(
                        self.graph,
                        layer,
                        channel_group,
                        self.states.level(level, input),
                        Some(target.as_deref().unwrap_or(dense)),
                        self.recipe.positions,
                    )
                })
                .collect();
            let first = channel_group * per;
            let range = first * columns..(first + per) * columns;
            let fit = Fit {
                moments: &moments,
                level_of: &level_of[range.clone()],
                weights: &weight[range],
                deviations: (self.recipe.matches_statistics)
                    .then(|| &deviations[first..first + per]),
                ridge: self.recipe.ridge,
            };
            repaired.extend(fit.solve(repair::TOLERANCE));
        }
        repaired
    }
}

fn graph_weight<'g>(graph: &'g Graph, layer: &Layer) -> &'g [f32] {
    &graph.tensor(layer.weight).data
}
