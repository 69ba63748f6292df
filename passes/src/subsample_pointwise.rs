//! Strided 1x1 convolutions into a subsampling and an ordinary 1x1 convolution.
//!
//! A 1x1 convolution with stride 2 reads every fourth pixel. Kernels read vectors of neighbouring
//! pixels, so instead of a strided variant of each of them the pixels are gathered once, which
//! costs one pass over a quarter of the input, however many output channels there are.
//!
//! ```text
//! %y = conv2d %x {weight=@w, strides=[2, 2]} : f32[1, 8, 4, 4]
//! ; becomes
//! %x.subsampled = slice %x {starts=[0, 0, 0, 0], sizes=[1, 2, 4, 4], steps=[1, 1, 2, 2]} : f32[1, 2, 4, 4]
//! %y = conv2d %x.subsampled {weight=@w} : f32[1, 8, 4, 4]
//! ```
//!
//! Convolutions that read the same pixels of one value share the slice.

use condensec_ir::ops::{Conv2d, Slice};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};

/// Name of the pass.
pub(crate) const NAME: &str = "subsample-pointwise";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let mut changed = false;
    for id in graph.order() {
        let Op::Conv2d(conv) = &graph.node(id).op else {
            continue;
        };
        let is_pointwise = graph.tensor(conv.weight).shape[2..] == [1, 1];
        if !is_pointwise || conv.strides == [1, 1] || conv.pads != [0; 4] {
            continue;
        }
        let dense = Conv2d {
            strides: [1, 1],
            dilations: [1, 1],
            ..conv.clone()
        };
        let strides = conv.strides;
        let mut operands = graph.operands(id);
        operands[0] = subsample(graph, id, operands[0], strides);
        graph
            .replace_node(id, dense.into(), &operands)
            .expect("the slice has one pixel for each of the result");
        changed = true;
    }
    if changed {
        graph.remove_dead();
    }
    changed
}

/// The pixels of `x` that the convolution `id` reads.
fn subsample(graph: &mut Graph, id: NodeId, x: NodeId, strides: [usize; 2]) -> NodeId {
    let conv = graph.node(id);
    let source = graph.node(x);
    let sizes = vec![
        source.shape[0],
        source.shape[1],
        conv.shape[2],
        conv.shape[3],
    ];
    if sizes == source.shape {
        // One pixel along each strided axis.
        return x;
    }
    let step = |axis: usize| i64::try_from(strides[axis]).expect("a stride inside the input");
    // A stride that takes no second step may be larger than anything.
    let steps = [0, 1].map(|axis| {
        if conv.shape[2 + axis] > 1 {
            step(axis)
        } else {
            1
        }
    });
    let slice = Op::from(Slice {
        starts: vec![0; 4],
        sizes,
        steps: vec![1, 1, steps[0], steps[1]],
    });
    let same = graph
        .users(x)
        .into_iter()
        .find(|&(user, _)| graph.node(user).op == slice);
    if let Some((slice, _)) = same {
        return slice;
    }
    let (name, origin) = (format!("{}.subsampled", source.name), conv.origin.clone());
    graph
        .add_node(&name, slice, &[x], origin)
        .expect("a pointwise convolution reads inside its input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, check_unchanged, values};
    use condensec_ir::graph::Origin;
    use condensec_ir::ops::UnaryKind;
    use condensec_ir::tensor::{Tensor, TensorId};
    use expect_test::expect;

    fn graph_of(x: [usize; 4]) -> Graph {
        let mut graph = Graph::new("g", 2);
        graph.add_input("x", &x);
        graph
    }

    /// A convolution of the input with a weight `[2, .., kernel, kernel]`, made an output.
    fn add_conv(graph: &mut Graph, name: &str, kernel: usize, change: impl FnOnce(&mut Conv2d)) {
        let mut operands = graph.inputs().to_vec();
        let id = TensorId(graph.tensors().len() as u32);
        let mut conv = Conv2d::new(id);
        change(&mut conv);
        operands.truncate(1 + usize::from(conv.residual));
        let channels = graph.node(operands[0]).shape[1] / conv.groups;
        let shape = [2, channels, kernel, kernel];
        let data = values(shape.iter().product(), -1.0);
        graph.add_tensor(Tensor::shared(format!("{name}.w"), &shape, data));
        let node = graph
            .add_node(name, conv.into(), &operands, Origin::default())
            .unwrap();
        graph.add_output(name, node);
    }

    #[test]
    fn stride_two() {
        for size in [4, 5] {
            let mut graph = graph_of([1, 3, size, 4]);
            add_conv(&mut graph, "y", 1, |conv| conv.strides = [2, 2]);
            let expected = match size {
                4 => expect![[r#"
                    x.subsampled = slice x starts=[0, 0, 0, 0] sizes=[1, 3, 2, 2] steps=[1, 1, 2, 2]
                    y = conv2d x.subsampled weight=@y.w
                "#]],
                _ => expect![[r#"
                    x.subsampled = slice x starts=[0, 0, 0, 0] sizes=[1, 3, 3, 2] steps=[1, 1, 2, 2]
                    y = conv2d x.subsampled weight=@y.w
                "#]],
            };
            check(&graph, run, expected);
        }
    }

    #[test]
    fn strides_and_dilations_without_effect_go_away() {
        let mut graph = graph_of([1, 3, 1, 5]);
        add_conv(&mut graph, "y", 1, |conv| {
            conv.strides = [usize::MAX, 3];
            conv.dilations = [2, 7];
        });
        check(
            &graph,
            run,
            expect![[r#"
            x.subsampled = slice x starts=[0, 0, 0, 0] sizes=[1, 3, 1, 2] steps=[1, 1, 1, 3]
            y = conv2d x.subsampled weight=@y.w
        "#]],
        );
        let mut graph = graph_of([1, 3, 1, 1]);
        add_conv(&mut graph, "y", 1, |conv| conv.strides = [2, 2]);
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@y.w
        "#]],
        );
    }

    #[test]
    fn the_epilogue_stays() {
        let mut graph = graph_of([2, 4, 4, 4]);
        graph.add_input("r", &[2, 2, 2, 2]);
        add_conv(&mut graph, "y", 1, |conv| {
            conv.strides = [2, 2];
            conv.groups = 2;
            conv.residual = true;
            conv.activation = Some(UnaryKind::Relu);
        });
        check(
            &graph,
            run,
            expect![[r#"
            x.subsampled = slice x starts=[0, 0, 0, 0] sizes=[2, 4, 2, 2] steps=[1, 1, 2, 2]
            y = conv2d x.subsampled, r weight=@y.w groups=Int(2) residual activation=relu
        "#]],
        );
    }

    #[test]
    fn equal_strides_share_a_slice() {
        let mut graph = graph_of([1, 3, 4, 4]);
        add_conv(&mut graph, "a", 1, |conv| conv.strides = [2, 2]);
        add_conv(&mut graph, "b", 1, |conv| conv.strides = [2, 2]);
        add_conv(&mut graph, "c", 1, |conv| conv.strides = [3, 2]);
        check(
            &graph,
            run,
            expect![[r#"
            x.subsampled = slice x starts=[0, 0, 0, 0] sizes=[1, 3, 2, 2] steps=[1, 1, 2, 2]
            a = conv2d x.subsampled weight=@a.w
            b = conv2d x.subsampled weight=@b.w
            x.subsampled.1 = slice x starts=[0, 0, 0, 0] sizes=[1, 3, 2, 2] steps=[1, 1, 3, 2]
            c = conv2d x.subsampled.1 weight=@c.w
        "#]],
        );
    }

    #[test]
    fn other_convolutions_stay() {
        let mut graph = graph_of([1, 3, 4, 4]);
        add_conv(&mut graph, "dense", 1, |_| ());
        add_conv(&mut graph, "padded", 1, |conv| {
            conv.strides = [2, 2];
            conv.pads = [1, 0, 0, 0];
        });
        add_conv(&mut graph, "wide", 3, |conv| conv.strides = [2, 2]);
        check_unchanged(&graph, run);
    }
}
