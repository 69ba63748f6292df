//! Depthwise convolutions behind an elementwise op, into planes and into strips, on vectors of every
//! width, against the interpreter of the graph.

use super::super::testing::check_graph;
use super::*;
use crate::{Pass, choose_layouts};
use condensec_ir::Op;
use condensec_ir::ops::Unary;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::tensor::Tensor;

const CHOOSE_LAYOUTS: Pass = Pass {
    name: choose_layouts::NAME,
    run: choose_layouts::run,
};

/// What follows the convolution, and so the layout of its result.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    /// A 1x1 convolution, which reads strips.
    Pointwise,
    /// Another op, which reads planes.
    Other,
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7 % 11) as f32 / 4.0 - 1.0).collect()
}

/// The convolution of `[N, C, H, W]` with a window of `kernel`.
fn network(
    x: [usize; 4],
    kernel: [usize; 2],
    reader: Reader,
    change: impl FnOnce(&mut Graph, &mut Conv2d),
) -> Graph {
    let mut graph = Graph::new("test", 2);
    let negate = Unary {
        kind: UnaryKind::Neg,
    };
    let input = graph.add_input("x", &x);
    let x_node = graph
        .add_node("n", negate.into(), &[input], Default::default())
        .unwrap();
    let shape = [x[1], 1, kernel[0], kernel[1]];
    let weight = Tensor::shared("w", &shape, values(shape.iter().product()));
    let mut conv = Conv2d {
        groups: x[1],
        ..Conv2d::new(graph.add_tensor(weight))
    };
    change(&mut graph, &mut conv);
    assert!(is_direct(&graph, &conv));
    let mut operands = vec![x_node];
    if conv.residual {
        operands.push(x_node);
    }
    let y = graph
        .add_node("y", conv.into(), &operands, Default::default())
        .unwrap();
    let last = match reader {
        Reader::Other => Op::from(negate),
        Reader::Pointwise => {
            let shape = [2, x[1], 1, 1];
            let weight = Tensor::shared("p", &shape, values(shape.iter().product()));
            Conv2d::new(graph.add_tensor(weight)).into()
        }
    };
    let last = graph
        .add_node("last", last, &[y], Default::default())
        .unwrap();
    graph.add_output("last", last);
    graph
}

fn check(x: [usize; 4], kernel: [usize; 2], strides: [usize; 2], pads: [usize; 4]) {
    for reader in [Reader::Pointwise, Reader::Other] {
        let graph = network(x, kernel, reader, |_, conv| {
            (conv.strides, conv.pads) = (strides, pads);
        });
        check_graph(&graph, &[CHOOSE_LAYOUTS]);
    }
}

#[test]
fn rows_of_every_length() {
    for w in 1..40 {
        check([1, 3, 5, w], [3, 3], [1, 1], [1; 4]);
        check([1, 3, 5, w], [3, 3], [2, 2], [1; 4]);
    }
}

#[test]
fn maps_of_networks() {
    for size in [112, 56, 28, 14, 7] {
        check([1, 2, size, size], [3, 3], [2, 2], [1; 4]);
        check([1, 2, size, size], [5, 5], [2, 2], [2; 4]);
        check([1, 2, size, size], [5, 5], [1, 1], [2; 4]);
    }
}

#[test]
fn every_padding() {
    for top in 0..3 {
        for left in 0..3 {
            for [bottom, right] in [[0, 0], [1, 2], [2, 1]] {
                let pads = [top, left, bottom, right];
                check([2, 2, 7, 21], [3, 3], [2, 2], pads);
                check([1, 2, 6, 18], [3, 4], [1, 1], pads);
            }
        }
    }
}

#[test]
fn every_window() {
    for kh in 1..5 {
        for kw in 1..8 {
            check([1, 2, 7, 19], [kh, kw], [1, 1], [1, 2, 1, 2]);
            check([1, 2, 7, 19], [kh, kw], [3, 1], [1, 2, 1, 2]);
            if kw > 1 {
                check([1, 2, 7, 19], [kh, kw], [1, 2], [1, 2, 1, 2]);
            }
        }
    }
    check([1, 2, 15, 20], [8, 8], [2, 2], [3, 3, 4, 4]);
}

#[test]
fn dilation() {
    for (strides, dilations) in [([1, 1], [2, 3]), ([2, 1], [2, 2]), ([2, 2], [3, 1])] {
        let graph = network([1, 3, 9, 23], [3, 3], Reader::Pointwise, |_, conv| {
            (conv.strides, conv.dilations, conv.pads) = (strides, dilations, [2; 4]);
        });
        check_graph(&graph, &[CHOOSE_LAYOUTS]);
    }
}

#[test]
fn the_epilogue() {
    for reader in [Reader::Pointwise, Reader::Other] {
        for (strides, residual) in [([1, 1], false), ([1, 1], true), ([2, 2], false)] {
            for has_scale in [false, true] {
                let graph = network([2, 3, 9, 13], [3, 3], reader, |graph, conv| {
                    let bias = Tensor::per_level("b", &[3], values(6));
                    conv.bias = Some(graph.add_tensor(bias));
                    let scale = Tensor::per_level("s", &[3], values(6));
                    conv.scale = has_scale.then(|| graph.add_tensor(scale));
                    (conv.strides, conv.pads, conv.residual) = (strides, [1; 4], residual);
                    conv.activation = Some(UnaryKind::Clip { lo: 0.0, hi: 6.0 });
                });
                check_graph(&graph, &[CHOOSE_LAYOUTS]);
            }
        }
    }
}

#[test]
fn the_padding_of_a_value_with_two_readers() {
    for second_groups in [1, 4] {
        let mut graph = network([1, 4, 6, 11], [3, 3], Reader::Other, |_, conv| {
            conv.pads = [1; 4];
        });
        let order = graph.order();
        let is_read = |&&id: &&NodeId| graph.node(id).name == "n";
        let x = order.iter().find(is_read).copied().unwrap();
        let shape = [4, 4 / second_groups, 3, 3];
        let weight = Tensor::shared("v", &shape, values(shape.iter().product()));
        let conv = Conv2d {
            groups: second_groups,
            pads: [1; 4],
            ..Conv2d::new(graph.add_tensor(weight))
        };
        let y = graph
            .add_node("z", conv.into(), &[x], Default::default())
            .unwrap();
        graph.add_output("z", y);
        check_graph(&graph, &[CHOOSE_LAYOUTS]);
    }
}

#[test]
fn strides_need_no_copy() {
    let graph = network([1, 3, 8, 8], [3, 3], Reader::Pointwise, |_, conv| {
        (conv.strides, conv.pads) = ([2, 2], [1; 4]);
    });
    let mut lowered = graph.clone();
    choose_layouts::run(&mut lowered, &TargetInfo::typical(4, 16));
    let n_relayouts = |graph: &Graph| {
        let order = graph.order();
        let is_relayout = |&&id: &&NodeId| matches!(graph.node(id).op, Op::Relayout(_));
        order.iter().filter(is_relayout).count()
    };
    // The one for the caller's output.
    assert_eq!(n_relayouts(&lowered), 1);
}

#[test]
fn other_convolutions_are_not_direct() {
    let is_direct_with = |shape: &[usize], rule: Option<LevelRule>, change: fn(&mut Conv2d)| {
        let mut graph = Graph::new("test", 1);
        let mut weight = Tensor::shared("w", shape, values(shape.iter().product()));
        weight.rule = rule.unwrap_or(weight.rule);
        let mut conv = Conv2d {
            groups: 4,
            ..Conv2d::new(graph.add_tensor(weight))
        };
        change(&mut conv);
        is_direct(&graph, &conv)
    };
    assert!(is_direct_with(&[4, 1, 3, 3], None, |_| ()));
    assert!(!is_direct_with(&[8, 1, 3, 3], None, |_| ()));
    assert!(!is_direct_with(&[4, 2, 3, 3], None, |_| ()));
    assert!(!is_direct_with(&[4, 1, 9, 9], None, |_| ()));
    assert!(!is_direct_with(&[4, 1, 3, 3], None, |conv| conv.strides = [1, 3]));
    assert!(!is_direct_with(&[4, 1, 3, 1], None, |conv| conv.strides = [2, 2]));
    let masked = LevelRule::Masked(LevelMask::new(vec![0; 36], &[1; 4]));
    assert!(!is_direct_with(&[4, 1, 3, 3], Some(masked), |_| ()));
}

/// Narrow maps have no pad columns, unless another convolution wants them on one side: then rows of the
/// input and of the result lie apart differently.
#[test]
fn rows_without_padding() {
    for w in [1, 2, 5, 7, 14, 16, 17] {
        for (kw, left, right) in [(3, 1, 1), (5, 2, 2), (3, 2, 2), (3, 0, 2), (4, 3, 0)] {
            check([2, 3, 6, w], [3, kw], [1, 1], [1, left, 1, right]);
        }
        for (kernel, pads) in [(3, 1), (5, 2)] {
            for is_before in [false, true] {
                let graph = beside_full_convolution([1, 3, 6, w], kernel, pads, is_before);
                check_graph(&graph, &[CHOOSE_LAYOUTS]);
            }
        }
    }
}

/// A depthwise 3x3 and a full convolution with padding, one behind the other.
fn beside_full_convolution(x: [usize; 4], kernel: usize, pads: usize, is_before: bool) -> Graph {
    let mut graph = Graph::new("test", 1);
    let input = graph.add_input("x", &x);
    let c = x[1];
    let add = |graph: &mut Graph, name: &str, shape: [usize; 4], groups, pads, from| {
        let weight = Tensor::shared(name, &shape, values(shape.iter().product()));
        let conv = Conv2d {
            groups,
            pads: [pads; 4],
            ..Conv2d::new(graph.add_tensor(weight))
        };
        graph
            .add_node(name, conv.into(), &[from], Default::default())
            .unwrap()
    };
    let full = [c, c, kernel, kernel];
    let depthwise = [c, 1, 3, 3];
    let last = if is_before {
        let y = add(&mut graph, "full", full, 1, pads, input);
        add(&mut graph, "depthwise", depthwise, c, 1, y)
    } else {
        let y = add(&mut graph, "depthwise", depthwise, c, 1, input);
        add(&mut graph, "full", full, 1, pads, y)
    };
    graph.add_output("last", last);
    graph
}
