//! Batch norm into the layer before it.
//!
//! With fixed statistics a batch norm is one factor and one addend per channel. Behind a
//! convolution they cost nothing: statistics that all levels share go into the weights and the
//! bias; per-level statistics become the convolution's per-level `scale` and `bias`, since there is
//! only one weight buffer. Behind anything else the batch norm becomes a multiplication and an
//! addition with constants, so that no later stage knows of batch norms.
//!
//! ```text
//! %c = conv2d %x {weight=@w} : f32[1, 8, 4, 4]
//! %y = batch_norm %c {scale=@s, bias=@b, mean=@m, var=@v, epsilon=1e-5} : f32[1, 8, 4, 4]
//! ; shared statistics:
//! %y = conv2d %x {weight=@y.weight, bias=@y.bias} : f32[1, 8, 4, 4]
//! ; per-level statistics:
//! %y = conv2d %x {weight=@w, scale=@y.scale, bias=@y.bias} : f32[1, 8, 4, 4]
//! ```

use crate::channel_affine::{ChannelAffine, ChannelRows};
use condensec_ir::ops::{BatchNorm, Binary, BinaryKind, Constant};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op, TensorId};

/// Name of the pass.
pub(crate) const NAME: &str = "fold-batch-norm";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let mut changed = false;
    for id in graph.order() {
        let Op::BatchNorm(norm) = &graph.node(id).op else {
            continue;
        };
        let affine = to_affine(graph, &norm.clone(), graph.node(id).shape[1]);
        let operand = graph.operands(id)[0];
        // The channel axis of a batch norm is 1, that of a fully connected layer its last.
        let layer = graph.node(operand);
        let is_other_axis = matches!(layer.op, Op::FullyConnected(_)) && layer.shape.len() != 2;
        if !is_other_axis && ChannelAffine::accepts(graph, operand, id) {
            affine.fold_into(graph, operand, id);
        } else {
            replace_by_arithmetic(graph, id, operand, &affine);
        }
        changed = true;
    }
    if changed {
        graph.remove_dead();
    }
    changed
}

/// `x * s + (bias - mean * s)` with `s = scale / sqrt(var + epsilon)`. A negative variance gives
/// NaN here as it does in the original.
fn to_affine(graph: &Graph, norm: &BatchNorm, n_channels: usize) -> ChannelAffine {
    let rows = |id: TensorId| ChannelRows::of_tensor(graph, id, n_channels);
    let epsilon = f64::from(norm.epsilon);
    let scale = rows(norm.scale).zip(&rows(norm.var), |gamma, var| gamma / (var + epsilon).sqrt());
    let moved = rows(norm.mean).zip(&scale, |mean, scale| mean * scale);
    let shift = rows(norm.bias).zip(&moved, |beta, moved| beta - moved);
    ChannelAffine { scale, shift }
}

/// `%y = batch_norm %x` becomes `binary mul` and `binary add`, whichever is needed.
fn replace_by_arithmetic(graph: &mut Graph, id: NodeId, x: NodeId, affine: &ChannelAffine) {
    let name = graph.node(id).name.clone();
    let needs_scale = !affine.scale.is_all(1.0);
    let needs_shift = !affine.shift.is_all(0.0);
    let mul = Op::from(Binary {
        kind: BinaryKind::Mul,
    });
    let add = Op::from(Binary {
        kind: BinaryKind::Add,
    });
    let broadcasts = "one element per channel broadcasts to the operand";
    match (needs_scale, needs_shift) {
        (false, false) => graph.replace_uses(id, x),
        (true, false) => {
            let scale = add_constant(graph, &affine.scale, id, &format!("{name}.scale"));
            graph.replace_node(id, mul, &[x, scale]).expect(broadcasts);
        }
        (false, true) => {
            let shift = add_constant(graph, &affine.shift, id, &format!("{name}.shift"));
            graph.replace_node(id, add, &[x, shift]).expect(broadcasts);
        }
        (true, true) => {
            let scale = add_constant(graph, &affine.scale, id, &format!("{name}.scale"));
            let shift = add_constant(graph, &affine.shift, id, &format!("{name}.shift"));
            let origin = graph.node(id).origin.clone();
            let scaled = graph
                .add_node(&format!("{name}.scaled"), mul, &[x, scale], origin)
                .expect(broadcasts);
            graph
                .replace_node(id, add, &[scaled, shift])
                .expect(broadcasts);
        }
    }
}

/// A constant of shape `[C, 1, 1, ..]`, which lines up with axis 1 of the node's result.
fn add_constant(graph: &mut Graph, rows: &ChannelRows, id: NodeId, name: &str) -> NodeId {
    let node = graph.node(id);
    let mut shape = vec![1; node.shape.len() - 1];
    shape[0] = node.shape[1];
    let origin = node.origin.clone();
    let tensor = rows.add_to(graph, name, &shape);
    graph
        .add_node(name, Constant { tensor }.into(), &[], origin)
        .expect("the tensor was just added")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{check, check_unchanged, mask, values};
    use condensec_ir::graph::Origin;
    use condensec_ir::ops::{Conv2d, FullyConnected, Unary, UnaryKind};
    use condensec_ir::tensor::{LevelRule, Tensor};
    use expect_test::expect;

    /// Which of a batch norm's parameters have one row per level.
    #[derive(Clone, Copy, PartialEq)]
    enum Statistics {
        Shared,
        PerLevel,
    }

    fn add_norm(graph: &mut Graph, name: &str, x: NodeId, statistics: Statistics) -> NodeId {
        let c = graph.node(x).shape[1];
        let n = c * graph.n_levels as usize;
        let mut parameter = |suffix: &str, low: f32| {
            let name = format!("{name}_{suffix}");
            graph.add_tensor(match statistics {
                Statistics::Shared => Tensor::shared(name, &[c], values(c, low)),
                Statistics::PerLevel => Tensor::per_level(name, &[c], values(n, low)),
            })
        };
        let norm = BatchNorm {
            scale: parameter("gamma", -1.0),
            bias: parameter("beta", -1.0),
            mean: parameter("mean", -1.0),
            var: parameter("var", 0.5),
            epsilon: 1e-3,
        };
        graph
            .add_node(name, norm.into(), &[x], Origin::default())
            .unwrap()
    }

    fn conv_graph(n_levels: u32) -> (Graph, NodeId, TensorId) {
        let mut graph = Graph::new("g", n_levels);
        let x = graph.add_input("x", &[1, 2, 3, 3]);
        let weight = graph.add_tensor(Tensor {
            rule: LevelRule::Masked(mask(4 * 2, n_levels)),
            ..Tensor::shared("w", &[4, 2, 1, 1], values(8, -1.0))
        });
        let conv = graph
            .add_node("c", Conv2d::new(weight).into(), &[x], Origin::default())
            .unwrap();
        (graph, conv, weight)
    }

    #[test]
    fn shared_statistics_go_into_the_weights() {
        let (mut graph, conv, weight) = conv_graph(3);
        let bias = graph.add_tensor(Tensor::per_level("b", &[4], values(12, -1.0)));
        let scale = graph.add_tensor(Tensor::shared("s", &[4], values(4, 0.5)));
        graph.node_mut(conv).op = Op::from(Conv2d {
            bias: Some(bias),
            scale: Some(scale),
            ..Conv2d::new(weight)
        });
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        graph.add_output("y", y);
        let after = check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@y.weight bias=@y.bias
        "#]],
        );
        let folded = after
            .tensors()
            .iter()
            .find(|t| t.name == "y.weight")
            .unwrap();
        assert_eq!(folded.rule, graph.tensor(weight).rule, "the mask is kept");
        let bias = after.tensors().iter().find(|t| t.name == "y.bias").unwrap();
        assert!(bias.is_per_level());
    }

    #[test]
    fn per_level_statistics_go_into_the_epilogue() {
        let (mut graph, conv, _) = conv_graph(3);
        let y = add_norm(&mut graph, "y", conv, Statistics::PerLevel);
        graph.add_output("y", y);
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@y.scale bias=@y.bias
        "#]],
        );
    }

    #[test]
    fn a_per_level_scale_keeps_shared_statistics_out_of_the_weights() {
        let (mut graph, conv, weight) = conv_graph(2);
        let scale = graph.add_tensor(Tensor::per_level("s", &[4], values(8, 0.5)));
        graph.node_mut(conv).op = Op::from(Conv2d {
            scale: Some(scale),
            ..Conv2d::new(weight)
        });
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        graph.add_output("y", y);
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@y.scale bias=@y.bias
        "#]],
        );
    }

    #[test]
    fn one_level_is_always_shared() {
        let (mut graph, conv, _) = conv_graph(1);
        let y = add_norm(&mut graph, "y", conv, Statistics::PerLevel);
        graph.add_output("y", y);
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@y.weight bias=@y.bias
        "#]],
        );
    }

    #[test]
    fn two_in_a_row() {
        let (mut graph, conv, _) = conv_graph(2);
        let y = add_norm(&mut graph, "y", conv, Statistics::PerLevel);
        let z = add_norm(&mut graph, "z", y, Statistics::Shared);
        graph.add_output("z", z);
        check(
            &graph,
            run,
            expect![[r#"
            z = conv2d x weight=@w scale=@z.scale bias=@z.bias
        "#]],
        );
    }

    #[test]
    fn a_shared_weight_stays_as_it_is_for_the_others() {
        let (mut graph, conv, weight) = conv_graph(2);
        let x = graph.inputs()[0];
        let other = graph
            .add_node("other", Conv2d::new(weight).into(), &[x], Origin::default())
            .unwrap();
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        graph.add_output("y", y);
        graph.add_output("other", other);
        let after = check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@y.weight bias=@y.bias
            other = conv2d x weight=@w
        "#]],
        );
        assert_eq!(after.tensor(weight), graph.tensor(weight));
    }

    #[test]
    fn behind_a_fully_connected_layer() {
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", &[2, 3]);
        let weight = graph.add_tensor(Tensor::shared("w", &[4, 3], values(12, -1.0)));
        let fc = graph
            .add_node(
                "f",
                FullyConnected::new(weight).into(),
                &[x],
                Origin::default(),
            )
            .unwrap();
        let y = add_norm(&mut graph, "y", fc, Statistics::Shared);
        graph.add_output("y", y);
        check(
            &graph,
            run,
            expect![[r#"
            y = fully_connected x weight=@y.weight bias=@y.bias
        "#]],
        );
    }

    #[test]
    fn the_axis_of_a_fully_connected_layer_is_another_one() {
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", &[2, 4, 3]);
        let weight = graph.add_tensor(Tensor::shared("w", &[4, 3], values(12, -1.0)));
        let fc = graph
            .add_node(
                "f",
                FullyConnected::new(weight).into(),
                &[x],
                Origin::default(),
            )
            .unwrap();
        let y = add_norm(&mut graph, "y", fc, Statistics::PerLevel);
        graph.add_output("y", y);
        check(
            &graph,
            run,
            expect![[r#"
            f = fully_connected x weight=@w
            y.scale = constant tensor=@y.scale
            y.scaled = binary f, y.scale kind=mul
            y.shift = constant tensor=@y.shift
            y = binary y.scaled, y.shift kind=add
        "#]],
        );
    }

    #[test]
    fn a_convolution_with_more_readers_keeps_its_result() {
        let (mut graph, conv, _) = conv_graph(2);
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        let z = add_norm(&mut graph, "z", conv, Statistics::PerLevel);
        graph.add_output("y", y);
        graph.add_output("z", z);
        check(
            &graph,
            run,
            expect![[r#"
            c = conv2d x weight=@w
            y.scale = constant tensor=@y.scale
            y.scaled = binary c, y.scale kind=mul
            y.shift = constant tensor=@y.shift
            y = binary y.scaled, y.shift kind=add
            z.scale = constant tensor=@z.scale
            z.scaled = binary c, z.scale kind=mul
            z.shift = constant tensor=@z.shift
            z = binary z.scaled, z.shift kind=add
        "#]],
        );
    }

    #[test]
    fn a_convolution_that_is_an_output_keeps_its_result() {
        let (mut graph, conv, _) = conv_graph(2);
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        graph.add_output("y", y);
        graph.add_output("c", conv);
        check(
            &graph,
            run,
            expect![[r#"
            c = conv2d x weight=@w
            y.scale = constant tensor=@y.scale
            y.scaled = binary c, y.scale kind=mul
            y.shift = constant tensor=@y.shift
            y = binary y.scaled, y.shift kind=add
        "#]],
        );
    }

    #[test]
    fn an_activation_or_a_residual_stands_between() {
        let (mut graph, conv, weight) = conv_graph(2);
        graph.node_mut(conv).op = Op::from(Conv2d {
            activation: Some(UnaryKind::Relu),
            ..Conv2d::new(weight)
        });
        let y = add_norm(&mut graph, "y", conv, Statistics::Shared);
        graph.add_output("y", y);
        let x = graph.inputs()[0];
        let relu = Unary {
            kind: UnaryKind::Relu,
        };
        let relu = graph
            .add_node("relu", relu.into(), &[x], Origin::default())
            .unwrap();
        let z = add_norm(&mut graph, "z", relu, Statistics::Shared);
        graph.add_output("z", z);
        let residual = Op::from(Conv2d {
            residual: true,
            ..Conv2d::new(weight)
        });
        let sum = graph
            .add_node("sum", residual, &[x, y], Origin::default())
            .unwrap();
        let t = add_norm(&mut graph, "t", sum, Statistics::Shared);
        graph.add_output("t", t);
        check(
            &graph,
            run,
            expect![[r#"
            c = conv2d x weight=@w activation=relu
            y.scale = constant tensor=@y.scale
            y.scaled = binary c, y.scale kind=mul
            y.shift = constant tensor=@y.shift
            y = binary y.scaled, y.shift kind=add
            relu = unary x kind=relu
            z.scale = constant tensor=@z.scale
            z.scaled = binary relu, z.scale kind=mul
            z.shift = constant tensor=@z.shift
            z = binary z.scaled, z.shift kind=add
            sum = conv2d x, y weight=@w residual
            t.scale = constant tensor=@t.scale
            t.scaled = binary sum, t.scale kind=mul
            t.shift = constant tensor=@t.shift
            t = binary t.scaled, t.shift kind=add
        "#]],
        );
    }

    /// A batch norm of the input with these parameters and no epsilon.
    fn norm_of_input(gamma: [f32; 2], beta: [f32; 2], var: [f32; 2]) -> Graph {
        let mut graph = Graph::new("g", 1);
        let x = graph.add_input("x", &[1, 2, 3]);
        let mut parameter =
            |name: &str, data: [f32; 2]| graph.add_tensor(Tensor::shared(name, &[2], data));
        let norm = BatchNorm {
            scale: parameter("gamma", gamma),
            bias: parameter("beta", beta),
            mean: parameter("mean", [0.0; 2]),
            var: parameter("var", var),
            epsilon: 0.0,
        };
        let y = graph
            .add_node("y", norm.into(), &[x], Origin::default())
            .unwrap();
        graph.add_output("y", y);
        graph
    }

    #[test]
    fn ones_and_zeros_are_left_out() {
        let graph = norm_of_input([1.0; 2], [0.0; 2], [1.0; 2]);
        check(&graph, run, expect![[""]]);
        let graph = norm_of_input([1.0; 2], [0.0, 3.0], [1.0; 2]);
        check(
            &graph,
            run,
            expect![[r#"
            y.shift = constant tensor=@y.shift
            y = binary x, y.shift kind=add
        "#]],
        );
        let graph = norm_of_input([1.0, 2.0], [0.0; 2], [1.0; 2]);
        check(
            &graph,
            run,
            expect![[r#"
            y.scale = constant tensor=@y.scale
            y = binary x, y.scale kind=mul
        "#]],
        );
    }

    #[test]
    fn a_negative_variance_stays_nan() {
        let graph = norm_of_input([1.0; 2], [0.0; 2], [1.0, -1.0]);
        check(
            &graph,
            run,
            expect![[r#"
            y.scale = constant tensor=@y.scale
            y.scaled = binary x, y.scale kind=mul
            y.shift = constant tensor=@y.shift
            y = binary y.scaled, y.shift kind=add
        "#]],
        );
    }

    #[test]
    fn nothing_to_do() {
        let (mut graph, conv, _) = conv_graph(2);
        graph.add_output("c", conv);
        check_unchanged(&graph, run);
    }
}
