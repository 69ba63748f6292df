//! Fully connected layer: lists over the rows of the weight, then the matrix-vector kernel.

use super::conv2d::{add_lengths, list_rows, pad_rows, with_lists_ahead};
use super::cost::ListCost;
use super::list_gemv::{ListGemv, ListGemvBuffers};
use super::tasks::{balanced_ranges, n_tasks};
use super::{KernelBuilder, Lowering, summary};
use condensec_ir::ops::FullyConnected;
use condensec_ir::sparsity::formats::prefix_lists::{ListBlock, ListShape, PrefixLists};
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
        blocks: ListBlock::cover(k, k, 0..graph.n_levels),
    };
    let lists = PrefixLists::encode(weight, graph.n_levels, &shape, |column, _| column as u64)
        .map_err(|e| e.to_string())?;
    let indices: Vec<u16> = lists.columns.iter().map(|&c| c as u16).collect();
    let values = lowering.add_weights(&lists.values);
    let indices = lowering.add_indices(&indices);
    let starts = lowering.add_u32_table(&with_lists_ahead(&lists.starts));
    let lengths = add_lengths(lowering, &lists)?;
    let per_group = |values: &[f32]| pad_rows(values, 1, rows);
    let scale = op
        .scale
        .map(|scale| lowering.add_parameter(scale, per_group));
    let bias = op.bias.map(|bias| lowering.add_parameter(bias, per_group));
    let spec = ListGemv {
        rows,
        lanes: lowering.target.lanes,
        vector_registers: lowering.target.vector_registers,
        n_images: graph.node(id).shape.iter().product::<usize>() / m,
        k,
        m,
        activation: op.activation,
    };
    let cost = ListCost::gemv(lowering.target, spec.n_images, rows, lists.n_groups);
    let mut ranges = Vec::with_capacity(lists.lengths.len());
    let mut n_level_tasks = Vec::with_capacity(lists.lengths.len());
    for lengths in &lists.lengths {
        let costs: Vec<u64> = lengths.iter().map(|&n| cost.list_cycles(n)).collect();
        let n_tasks = n_tasks(costs.iter().sum::<u64>() as usize);
        ranges.push(lowering.add_u32_table(&balanced_ranges(&costs, n_tasks)));
        n_level_tasks.push(n_tasks);
    }
    let mut kernel = KernelBuilder::new(&format!("fully_connected_lists_{rows}"), lowering);
    let buffers = ListGemvBuffers {
        x: kernel.buffer(lowering, operands[0]),
        y: kernel.buffer(lowering, id),
        residual: op.residual.then(|| kernel.buffer(lowering, operands[1])),
        values: kernel.data(values),
        indices: kernel.data(indices),
        starts: kernel.data(starts),
        lengths: kernel.level_data(lengths),
        ranges: kernel.level_data(ranges),
        scale: scale.map(|symbols| kernel.level_data(symbols)),
        bias: bias.map(|symbols| kernel.level_data(symbols)),
    };
    spec.emit(&mut kernel, buffers);
    let kernel = lowering
        .add_level_steps(id, kernel, &n_level_tasks)
        .to_string();
    let kernels: Vec<(u64, String)> = (0..graph.n_levels)
        .map(|level| cost.cycles(lists.n_entries_at(LevelId(level))))
        .map(|cycles| (cycles, kernel.clone()))
        .collect();
    summary::add_layer(lowering, id, op.weight, &lists, spec.n_images, &kernels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_graph, lowered};
    use condensec_ir::kernel::print_function;
    use condensec_ir::ops::FullyConnected;
    use condensec_ir::sparsity::LevelMask;
    use condensec_ir::target_info::TargetInfo;
    use condensec_ir::tensor::LevelRule;
    use condensec_ir::{Graph, Tensor};

    /// L0 keeps the first rows only, so its tasks end elsewhere than those of L1, and are fewer.
    #[test]
    fn tasks_are_balanced_at_every_level() {
        let (m, k) = (203, 300);
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", &[2, k]);
        let mask = (0..m * k)
            .map(|i| u8::from(i / k >= 52))
            .collect::<Vec<_>>();
        let weight = graph.add_tensor(Tensor {
            rule: LevelRule::Masked(LevelMask::new(mask, &[4, 1])),
            ..Tensor::shared("w", &[m, k], crate::check::values(m * k, -1.0))
        });
        let layer = FullyConnected::new(weight);
        let y = graph.add_node("y", layer.into(), &[x], Default::default());
        graph.add_output("y", y.unwrap());
        check_graph(&graph, &[]);

        let program = lowered(&graph, &[], &TargetInfo::typical(4, 16));
        let n_tasks: Vec<u32> = program.steps.iter().map(|s| s[0].n_tasks).collect();
        assert_eq!(n_tasks, [3, 11]);
        // Groups of four rows: the dense ones of L0 are 0..13.
        let tables = &program.data[2].bytes;
        let table = |first: &[u32]| {
            let bytes: Vec<u8> = first.iter().flat_map(|v| v.to_le_bytes()).collect();
            tables.windows(bytes.len()).any(|window| window == bytes)
        };
        assert!(table(&[0, 5, 10, 51]));
        assert!(table(&[0, 5, 9, 14, 19, 23, 28, 32, 37, 42, 46, 51]));
    }

    #[test]
    fn lists_ask_for_the_next_ones() {
        let mut graph = Graph::new("g", 1);
        let x = graph.add_input("x", &[1, 40]);
        let weight = Tensor::shared("w", &[12, 40], crate::check::values(12 * 40, -1.0));
        let layer = FullyConnected::new(graph.add_tensor(weight));
        let y = graph.add_node("y", layer.into(), &[x], Default::default());
        graph.add_output("y", y.unwrap());
        let program = lowered(&graph, &[], &TargetInfo::typical(4, 16));
        let code = print_function(&program.functions[0]);
        // Two lists that take turns, what is left of each, and a list without company.
        assert_eq!(code.matches("prefetch").count(), 5, "{code}");
    }
}
