//! How the passes are tested: the expected nodes, the same results at every level, a fixed point.

use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::ops::Attribute;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::verify::verify_graph;
use condensec_ir::{Graph, LevelId};
use expect_test::Expect;
use std::fmt::Write;

/// A pass's function.
pub(crate) type Run = fn(&mut Graph, &TargetInfo) -> bool;

/// 128-bit vectors, 16 registers.
pub(crate) const TARGET: TargetInfo = TargetInfo::typical(4, 16);

/// `n` numbers from `low` to `low + 2`, always the same ones, none of them zero.
pub(crate) fn values(n: usize, low: f32) -> Vec<f32> {
    let mut state = 0x2545_f491_u32 ^ n as u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        low + (state >> 9) as f32 / (1 << 22) as f32
    };
    (0..n).map(|_| next()).filter(|&v| v != 0.0).collect()
}

/// A mask of `n` elements that gives every level something of its own.
pub(crate) fn mask(n: usize, n_levels: u32) -> LevelMask {
    let values: Vec<u8> = (0..n)
        .map(|i| (i * 5 % (n_levels as usize + 1)) as u8)
        .collect();
    LevelMask::new(values, &[1; 4])
}

/// Runs the pass on a copy of `graph`, which it must change to the nodes of `expected` without a
/// change of meaning, and returns the copy.
pub(crate) fn check(graph: &Graph, run: Run, expected: Expect) -> Graph {
    let mut after = graph.clone();
    assert!(run(&mut after, &TARGET), "the pass has nothing to do");
    expected.assert_eq(&nodes(&after));
    assert_same_results(graph, &after);
    assert_eq!(verify_graph(&after), Ok(()));
    check_unchanged(&after, run);
    after
}

/// The pass must find nothing to do.
pub(crate) fn check_unchanged(graph: &Graph, run: Run) {
    let mut after = graph.clone();
    assert!(
        !run(&mut after, &TARGET),
        "the pass changes\n{}",
        nodes(graph)
    );
    assert_eq!(nodes(&after), nodes(graph));
    // As text, where NaN equals NaN.
    let tensors = |graph: &Graph| format!("{:?}", graph.tensors());
    assert_eq!(tensors(&after), tensors(graph));
}

/// One line per node, without inputs, types, and the values of tensors.
fn nodes(graph: &Graph) -> String {
    let mut out = String::new();
    for id in graph.order() {
        if graph.inputs().contains(&id) {
            continue;
        }
        let node = graph.node(id);
        write!(out, "{} = {}", node.name, node.op.mnemonic()).unwrap();
        let operands: Vec<&str> = graph
            .operands(id)
            .iter()
            .map(|&o| graph.node(o).name.as_str())
            .collect();
        if !operands.is_empty() {
            write!(out, " {}", operands.join(", ")).unwrap();
        }
        for (name, attribute) in node.op.attributes() {
            match attribute {
                Attribute::Tensor(id) => write!(out, " {name}=@{}", graph.tensor(id).name),
                Attribute::Flag => write!(out, " {name}"),
                Attribute::Word(word) => write!(out, " {name}={word}"),
                Attribute::Ints(values) => write!(out, " {name}={values:?}"),
                Attribute::Call(function, arguments) if arguments.is_empty() => {
                    write!(out, " {name}={function}")
                }
                other => write!(out, " {name}={other:?}"),
            }
            .unwrap();
        }
        out.push('\n');
    }
    out
}

/// Up to rounding: the passes reorder at most a few multiplications and additions, so errors stay
/// within some ulps of the largest element; 1e-4 of it leaves room for cancellation.
pub(crate) fn assert_same_results(before: &Graph, after: &Graph) {
    let input = |&id: &_| {
        let shape = &before.node(id).shape;
        Array::new(shape, values(shape.iter().product(), -1.0))
    };
    let inputs: Vec<Array> = before.inputs().iter().map(input).collect();
    for level in (0..before.n_levels).map(LevelId) {
        let expected = eval_graph(before, level, &inputs).unwrap();
        let found = eval_graph(after, level, &inputs).unwrap();
        assert_eq!(expected.len(), found.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected.shape, found.shape);
            let largest = expected.data.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            for (&e, &f) in expected.data.iter().zip(&found.data) {
                let is_close = (e - f).abs() <= 1e-4 * largest;
                assert!(
                    is_close || (e.is_nan() && f.is_nan()),
                    "{level}: {e} became {f}"
                );
            }
        }
    }
    let names = |graph: &Graph| {
        graph
            .outputs()
            .iter()
            .map(|o| o.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(before), names(after));
}
