//! Density, multiply-adds, bytes and predicted cycles per layer and level.

use super::Lowering;
use condensec_ir::kernel::{LayerLevel, LayerSummary, LevelSummary};
use condensec_ir::sparsity::formats::prefix_lists::PrefixLists;
use condensec_ir::tensor::LevelRule;
use condensec_ir::{LevelId, NodeId, TensorId};

/// Records a layer whose weights all levels read as they are, once its step has been added; `kernels` are the kernels
/// of the levels.
pub(super) fn add_dense_layer(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    weight: TensorId,
    cycles: u64,
    kernels: &[String],
) {
    add_cycles(lowering, &vec![cycles; lowering.n_levels()]);
    let (node, tensor) = (lowering.graph.node(id), lowering.graph.tensor(weight));
    let n_positions = node.shape[0] * node.shape[2..].iter().product::<usize>();
    let per_level = (0..lowering.graph.n_levels)
        .zip(kernels)
        .map(|(level, kernel)| {
            let n_kept = tensor.n_kept(LevelId(level)) as u64;
            LayerLevel {
                n_kept,
                macs: n_kept * n_positions as u64,
                weight_bytes: 4 * tensor.n_elems() as u64,
                predicted_cycles: cycles,
                kernel: kernel.clone(),
            }
        });
    let summary = LayerSummary {
        name: node.origin.name.clone(),
        op_type: node.origin.op_type.clone(),
        shape: tensor.shape.clone(),
        block: vec![1; tensor.shape.len()],
        format: "dense",
        is_maskable: false,
        n_weights: tensor.n_elems() as u64,
        per_level: per_level.collect(),
    };
    lowering.program.layers.push(summary);
}

/// Records a layer with weights in lists, once its step has been added; `n_positions` is how often each weight is used in a run,
/// `kernels` the predicted cycles and the kernel of each level.
pub(super) fn add_layer(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    weight: TensorId,
    lists: &PrefixLists,
    n_positions: usize,
    kernels: &[(u64, String)],
) {
    let cycles: Vec<u64> = kernels.iter().map(|(cycles, _)| *cycles).collect();
    add_cycles(lowering, &cycles);
    let origin = &lowering.graph.node(id).origin;
    let tensor = lowering.graph.tensor(weight);
    let (is_maskable, block) = match &tensor.rule {
        LevelRule::Masked(mask) => (true, mask.block().to_vec()),
        _ => {
            let mut block = vec![1; tensor.shape.len()];
            block[0] = lists.rows;
            (false, block)
        }
    };
    let per_level = (0..lowering.graph.n_levels)
        .map(LevelId)
        .map(|level| {
            let n_kept = tensor.n_kept(level) as u64;
            let n_entries = lists.n_entries_at(level);
            let (cycles, kernel) = &kernels[level.0 as usize];
            LayerLevel {
                n_kept,
                macs: n_kept * n_positions as u64,
                weight_bytes: (n_entries * lists.rows * 4) as u64,
                predicted_cycles: *cycles,
                kernel: kernel.clone(),
            }
        })
        .collect();
    let summary = LayerSummary {
        name: origin.name.clone(),
        op_type: origin.op_type.clone(),
        shape: tensor.shape.clone(),
        block,
        format: "prefix-lists",
        is_maskable,
        n_weights: tensor.n_elems() as u64,
        per_level,
    };
    lowering.program.layers.push(summary);
}

/// Adds what the layer costs at each level to the last step, which is the layer's or that of several.
fn add_cycles(lowering: &mut Lowering<'_>, cycles: &[u64]) {
    for (steps, &cycles) in lowering.program.steps.iter_mut().zip(cycles) {
        let step = steps.last_mut().expect("a layer has a step");
        step.predicted_cycles += cycles;
    }
}

/// Sums the layers up by level.
pub(super) fn summarize_levels(lowering: &mut Lowering<'_>) {
    let layers = &lowering.program.layers;
    // Without any mask every layer counts: the density then shows plain zeros in the weights.
    let has_masks = layers.iter().any(|l| l.is_maskable);
    let counts = |l: &&LayerSummary| l.is_maskable || !has_masks;
    let n_weights: u64 = layers.iter().filter(counts).map(|l| l.n_weights).sum();
    let levels = (0..lowering.n_levels())
        .map(|level| {
            let n_kept: u64 = layers
                .iter()
                .filter(counts)
                .map(|l| l.per_level[level].n_kept)
                .sum();
            let sum = |part: fn(&LayerLevel) -> u64| -> u64 {
                layers.iter().map(|l| part(&l.per_level[level])).sum()
            };
            let name = lowering.graph.level_names.get(level);
            LevelSummary {
                name: name
                    .cloned()
                    .unwrap_or_else(|| LevelId(level as u32).to_string()),
                density: match n_weights {
                    0 => 1.0,
                    _ => n_kept as f64 / n_weights as f64,
                },
                macs: sum(|l| l.macs),
                weight_bytes: sum(|l| l.weight_bytes),
                predicted_cycles: lowering.program.steps[level]
                    .iter()
                    .map(|step| step.predicted_cycles)
                    .sum(),
            }
        })
        .collect();
    lowering.program.levels = levels;
}
