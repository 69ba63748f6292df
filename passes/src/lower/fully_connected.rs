//! Fully connected layer: lists over the rows of the weight, then the matrix-vector kernel.

use super::conv2d::{add_lengths, list_rows, pad_rows};
use super::cost::ListCost;
use super::list_gemv::{ListGemv, ListGemvBuffers};
use super::{KernelBuilder, Lowering, summary};
use condensec_ir::ops::FullyConnected;
use condensec_ir::sparsity::formats::prefix_lists::{ListShape, PrefixLists};
use condensec_ir::{LevelId, NodeId};

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &FullyConnected,
) -> Result<(), String> {
    let graph = lowering.graph;
    let operands = graph.operands(id);
    let weight = graph.tensor(op.weight);
    let (m, k) = (weight.shape[0], weight.shape[1]);
    if k > usize::from(u16::MAX) {
        return Err(format!(
            "{k} input features, list indices reach {}",
            u16::MAX
        ));
    }
    let rows = list_rows(graph, op.weight, 1);
    let shape = ListShape {
        rows,
        channel_groups: 1,
        block_channels: k,
    };
    let lists = PrefixLists::encode(weight, graph.n_levels, shape, |column, _| column as u64)
        .map_err(|e| e.to_string())?;
    let indices: Vec<u16> = lists.columns.iter().map(|&c| c as u16).collect();
    let values = lowering.add_weights(&lists.values);
    let indices = lowering.add_indices(&indices);
    let starts = lowering.add_u32_table(&lists.starts);
    let lengths = add_lengths(lowering, &lists)?;
    let per_group = |values: &[f32]| pad_rows(values, 1, rows);
    let scale = op
        .scale
        .map(|scale| lowering.add_parameter(scale, per_group));
    let bias = op.bias.map(|bias| lowering.add_parameter(bias, per_group));
    let spec = ListGemv {
        rows,
        lanes: lowering.target.lanes,
        n_images: graph.node(id).shape.iter().product::<usize>() / m,
        k,
        m,
        activation: op.activation,
    };
    let mut kernel = KernelBuilder::new(&format!("fully_connected_lists_{rows}"), lowering);
    let buffers = ListGemvBuffers {
        x: kernel.buffer(lowering, operands[0]),
        y: kernel.buffer(lowering, id),
        residual: op.residual.then(|| kernel.buffer(lowering, operands[1])),
        values: kernel.data(values),
        indices: kernel.data(indices),
        starts: kernel.data(starts),
        lengths: kernel.level_data(lengths),
        scale: scale.map(|symbols| kernel.level_data(symbols)),
        bias: bias.map(|symbols| kernel.level_data(symbols)),
    };
    spec.emit(&mut kernel, buffers);
    let n_tasks = spec.n_tasks();
    let kernel = lowering.add_step(id, kernel, n_tasks).to_string();
    let cost = ListCost::gemv(spec.n_images, rows, spec.lanes, n_tasks);
    let kernels: Vec<(u64, String)> = (0..graph.n_levels)
        .map(|level| cost.cycles(lists.n_entries_at(LevelId(level))))
        .map(|cycles| (cycles, kernel.clone()))
        .collect();
    summary::add_layer(lowering, id, op.weight, &lists, spec.n_images, &kernels);
    Ok(())
}
