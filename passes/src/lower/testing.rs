//! The check that every lowering must pass: kernels give what the interpreter of the graph gives.

use super::{Schedules, lower_with};
use crate::Pass;
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::kernel::{FunctionBuilder, FunctionId, Machine, Program, Symbol, Type};
use condensec_ir::layout::{Layout, Planes};
use condensec_ir::ops::{Op, Unary, UnaryKind};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, LevelId, NodeId};

/// Largest relative error; sums are ordered differently.
const TOLERANCE: f32 = 1e-5;

/// The kernel IR of `graph` after `passes`.
pub(crate) fn lowered(graph: &Graph, passes: &[Pass], target: &TargetInfo) -> Program {
    scheduled(graph, passes, target, &Schedules::default())
}

fn scheduled(
    graph: &Graph,
    passes: &[Pass],
    target: &TargetInfo,
    schedules: &Schedules,
) -> Program {
    let mut graph = graph.clone();
    for pass in passes {
        (pass.run)(&mut graph, target);
    }
    lower_with(&graph, "t", target, schedules).unwrap_or_else(|e| panic!("{e:?}"))
}

/// Lowers `graph` after `passes` for vector and scalar targets, runs it at every level in the
/// checked machine, and compares with the interpreter's results of `graph` as given. The tasks of a
/// step must be independent: run one by one, backwards, they give the same bits.
pub(crate) fn check_graph(graph: &Graph, passes: &[Pass]) {
    let sizes = [(4, 16), (4, 32), (8, 16), (16, 32), (1, 32)];
    let near = sizes.map(|(lanes, registers)| TargetInfo::typical(lanes, registers));
    // Everything comes from afar.
    let far = TargetInfo {
        l2_bytes: 0,
        ..near[2].clone()
    };
    check_graph_on(graph, passes, &near);
    check_graph_on(graph, passes, &[far]);
}

/// [`check_graph`] on some targets.
pub(crate) fn check_graph_on(graph: &Graph, passes: &[Pass], targets: &[TargetInfo]) {
    check_scheduled(graph, passes, targets, &Schedules::default());
}

/// [`check_graph`] on some targets, with these schedules where layers can run by them.
pub(crate) fn check_scheduled(
    graph: &Graph,
    passes: &[Pass],
    targets: &[TargetInfo],
    schedules: &Schedules,
) {
    for target in targets {
        let program = scheduled(graph, passes, target, schedules);
        let one_by_one = reverse_tasks(&program);
        for level in (0..graph.n_levels).map(LevelId) {
            let inputs = seeded_inputs(graph);
            let expected = eval_graph(graph, level, &inputs).unwrap();
            let slices: Vec<&[f32]> = inputs.iter().map(|i| i.data.as_slice()).collect();
            let what = format!("{level}, {} lanes, L2 of {}", target.lanes, target.l2_bytes);
            let run = |program: &Program| {
                Machine::run(program, level, &slices).unwrap_or_else(|e| panic!("{what}: {e}"))
            };
            let found = run(&program);
            let bits = |values: &[Vec<f32>]| -> Vec<u32> {
                values.iter().flatten().map(|v| v.to_bits()).collect()
            };
            assert_eq!(
                bits(&found),
                bits(&run(&one_by_one)),
                "{what}: depends on its tasks' order"
            );
            assert_eq!(found.len(), expected.len());
            for (expected, found) in expected.iter().zip(&found) {
                compare(&expected.data, found, &what);
            }
        }
    }
}

/// The program with every step's tasks in calls of their own, last one first.
fn reverse_tasks(program: &Program) -> Program {
    let mut reversed = program.clone();
    for step in reversed.steps.iter_mut().flatten() {
        let parameters = [Type::Ptr, Type::Ptr, Type::Index, Type::Index];
        let mut f = FunctionBuilder::new("one_by_one", &parameters);
        let [bases, words, begin, end] = f.parameters();
        let kernel = f.address(Symbol::Function(step.kernel));
        f.for_each(begin, end, 1, |f, i| {
            let task_end = f.sub(end, i);
            let one = f.index(1);
            let task = f.sub(task_end, one);
            f.call_indirect(kernel, &[bases, words, task, task_end]);
        });
        step.kernel = FunctionId(reversed.functions.len() as u32);
        reversed.functions.push(f.finish());
    }
    reversed
}

fn compare(expected: &[f32], found: &[f32], what: &str) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let largest = expected
        .iter()
        .filter(|v| v.is_finite())
        .fold(0.0f32, |m, v| m.max(v.abs()));
    for (at, (e, f)) in expected.iter().zip(found).enumerate() {
        // Small results of large terms carry the terms' rounding errors.
        let close = (e - f).abs() <= TOLERANCE * e.abs().max(largest / 16.0);
        let same = e == f || (e.is_nan() && f.is_nan());
        assert!(close || same, "{what}: element {at} is {f}, expected {e}");
    }
}

/// Inputs between -2 and 2, the same on every run.
pub(crate) fn seeded_inputs(graph: &Graph) -> Vec<Array> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    let inputs = graph.inputs().iter();
    inputs
        .map(|&id| Array::from_fn(&graph.node(id).shape, |_| next()))
        .collect()
}

/// A graph of one op on inputs of `shapes`.
pub(crate) fn op_graph(op: impl Into<Op>, shapes: &[&[usize]]) -> Graph {
    let mut graph = Graph::new("test", 1);
    let names = ["a", "b", "c", "d"];
    let operands: Vec<NodeId> = shapes
        .iter()
        .zip(names)
        .map(|(shape, name)| graph.add_input(name, shape))
        .collect();
    let y = graph
        .add_node("y", op.into(), &operands, Default::default())
        .unwrap();
    graph.add_output("y", y);
    graph
}

/// The same with operands and result in planes where they have rank 4.
pub(crate) fn planes_graph(op: impl Into<Op>, shapes: &[&[usize]]) -> Graph {
    let mut graph = Graph::new("test", 1);
    let names = ["a", "b", "c", "d"];
    let negate = Op::from(Unary {
        kind: UnaryKind::Neg,
    });
    let mut operands = Vec::new();
    for (shape, name) in shapes.iter().zip(names) {
        let input = graph.add_input(name, shape);
        let operand = graph
            .add_node(name, negate.clone(), &[input], Default::default())
            .unwrap();
        set_planes(&mut graph, operand, 1 + operands.len());
        operands.push(operand);
    }
    let y = graph
        .add_node("y", op.into(), &operands, Default::default())
        .unwrap();
    set_planes(&mut graph, y, 2);
    let output = graph
        .add_node("output", negate, &[y], Default::default())
        .unwrap();
    graph.add_output("y", output);
    graph
}

/// Gives `node` planes with padding of `padding` on all sides, if it has rank 4.
fn set_planes(graph: &mut Graph, node: NodeId, padding: usize) {
    let node = graph.node_mut(node);
    let &[_, channels, height, width] = node.shape.as_slice() else {
        return;
    };
    let (pitch, rows) = (width + padding, height + 2 * padding);
    let plane = rows * pitch + padding;
    node.layout = Layout::Planes(Planes {
        phases: [1, 1],
        top: padding,
        left: padding,
        pitch,
        rows,
        plane,
        // A vector may reach beyond the last plane.
        image: channels * plane + 16,
    });
}

/// Checks one op on plain values and on planes.
pub(crate) fn check_op(op: impl Into<Op>, shapes: &[&[usize]]) {
    let op = op.into();
    check_graph(&op_graph(op.clone(), shapes), &[]);
    check_graph(&planes_graph(op, shapes), &[]);
}
