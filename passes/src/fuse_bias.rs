//! Arithmetic with one constant per channel into the layer before it.
//!
//! Exporters write a bias as `Add`, a learned scale as `Mul`, and what `fold-batch-norm` could not
//! fold arrives as both. Behind a convolution or a fully connected layer these are free: addends
//! become its bias, factors go into the weights, or into the epilogue's `scale` if levels differ.
//!
//! ```text
//! %c = conv2d %x {weight=@w} : f32[1, 8, 4, 4]
//! %k = constant {tensor=@k} : f32[8, 1, 1]
//! %y = binary %c, %k {kind=add} : f32[1, 8, 4, 4]
//! ; becomes
//! %y = conv2d %x {weight=@w, bias=@y.bias} : f32[1, 8, 4, 4]
//! ```

use crate::channel_affine::{ChannelAffine, ChannelRows};
use condensec_ir::ops::{Binary, BinaryKind, Constant};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};

/// Name of the pass.
pub(crate) const NAME: &str = "fuse-bias";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let mut changed = false;
    for id in graph.order() {
        let Op::Binary(Binary { kind }) = graph.node(id).op else {
            continue;
        };
        let &[left, right] = graph.operands(id).as_slice() else {
            unreachable!("infer_shape checks the arity of {}", graph.node(id).name)
        };
        let on_left = channel_constant(graph, id, left, right).and_then(|c| layer_first(kind, &c));
        let on_right =
            || channel_constant(graph, id, right, left).and_then(|c| layer_last(kind, &c));
        let (layer, affine) = match on_left {
            Some(affine) => (left, affine),
            None => match on_right() {
                Some(affine) => (right, affine),
                None => continue,
            },
        };
        affine.fold_into(graph, layer, id);
        changed = true;
    }
    if changed {
        graph.remove_dead();
    }
    changed
}

/// The constant operand of `id` as one value per output channel of `layer`, the other operand, if
/// that is what it is and `layer` can take it in.
fn channel_constant(
    graph: &Graph,
    id: NodeId,
    layer: NodeId,
    constant: NodeId,
) -> Option<ChannelRows> {
    let Op::Constant(Constant { tensor }) = graph.node(constant).op else {
        return None;
    };
    let result = &graph.node(layer).shape;
    if !ChannelAffine::accepts(graph, layer, id) || graph.node(id).shape != *result {
        return None;
    }
    let channel_axis = match &graph.node(layer).op {
        Op::Conv2d(_) => 1,
        _ => result.len() - 1,
    };
    // Broadcasting lines the shapes up at their last axes.
    let shape = &graph.tensor(tensor).shape;
    let offset = result.len().checked_sub(shape.len())?;
    let is_one = |(axis, &size): (usize, &usize)| size == 1 || axis + offset == channel_axis;
    let is_per_channel = shape.iter().enumerate().all(is_one);
    is_per_channel.then(|| ChannelRows::of_tensor(graph, tensor, result[channel_axis]))
}

/// `layer (kind) constant`
fn layer_first(kind: BinaryKind, constant: &ChannelRows) -> Option<ChannelAffine> {
    let fill = |value| constant.map(|_| value);
    let (scale, shift) = match kind {
        BinaryKind::Add => (fill(1.0), constant.clone()),
        BinaryKind::Sub => (fill(1.0), constant.map(|c| -c)),
        BinaryKind::Mul => (constant.clone(), fill(0.0)),
        // A division by zero is left to the model's author.
        BinaryKind::Div if constant.contains(0.0) => return None,
        BinaryKind::Div => (constant.map(|c| 1.0 / c), fill(0.0)),
        BinaryKind::Max | BinaryKind::Min | BinaryKind::Pow => return None,
    };
    Some(ChannelAffine { scale, shift })
}

/// `constant (kind) layer`
fn layer_last(kind: BinaryKind, constant: &ChannelRows) -> Option<ChannelAffine> {
    match kind {
        BinaryKind::Add | BinaryKind::Mul => layer_first(kind, constant),
        BinaryKind::Sub => Some(ChannelAffine {
            scale: constant.map(|_| -1.0),
            shift: constant.clone(),
        }),
        BinaryKind::Div | BinaryKind::Max | BinaryKind::Min | BinaryKind::Pow => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{TARGET, check, check_unchanged, mask, values};
    use condensec_ir::TensorId;
    use condensec_ir::graph::Origin;
    use condensec_ir::ops::{Conv2d, FullyConnected, UnaryKind};
    use condensec_ir::tensor::{LevelRule, Tensor};
    use expect_test::expect;

    /// Which operand the layer is.
    #[derive(Clone, Copy, PartialEq)]
    enum Side {
        Left,
        Right,
    }

    fn add(graph: &mut Graph, name: &str, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
        graph
            .add_node(name, op.into(), operands, Origin::default())
            .unwrap()
    }

    /// A masked 1x1 convolution of 2 channels to 3, with 2 levels, as the node `c`.
    fn conv_graph(change: impl FnOnce(&mut Graph, &mut Conv2d)) -> (Graph, NodeId) {
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", &[1, 2, 2, 2]);
        let weight = graph.add_tensor(Tensor {
            rule: LevelRule::Masked(mask(6, 2)),
            ..Tensor::shared("w", &[3, 2, 1, 1], values(6, -1.0))
        });
        let mut conv = Conv2d::new(weight);
        change(&mut graph, &mut conv);
        let conv = add(&mut graph, "c", conv, &[x]);
        (graph, conv)
    }

    /// Adds `y = layer (kind) constant`, or the other way round, and makes it the output.
    fn with(
        (mut graph, layer): (Graph, NodeId),
        kind: BinaryKind,
        side: Side,
        tensor: Tensor,
    ) -> Graph {
        let tensor = graph.add_tensor(tensor);
        let constant = add(&mut graph, "k", Constant { tensor }, &[]);
        let operands = match side {
            Side::Left => [layer, constant],
            Side::Right => [constant, layer],
        };
        let y = add(&mut graph, "y", Binary { kind }, &operands);
        graph.add_output("y", y);
        graph
    }

    fn shared(shape: &[usize]) -> Tensor {
        Tensor::shared("k", shape, values(shape.iter().product(), 0.5))
    }

    fn per_level(shape: &[usize]) -> Tensor {
        Tensor::per_level("k", shape, values(2 * shape.iter().product::<usize>(), 0.5))
    }

    fn biased(graph: &mut Graph, conv: &mut Conv2d) {
        conv.bias = Some(graph.add_tensor(Tensor::shared("b", &[3], values(3, -1.0))));
    }

    #[test]
    fn a_sum_becomes_the_bias() {
        for shape in [&[3, 1, 1][..], &[1, 3, 1, 1], &[1], &[], &[1, 1, 1]] {
            for (kind, side) in [
                (BinaryKind::Add, Side::Left),
                (BinaryKind::Add, Side::Right),
                (BinaryKind::Sub, Side::Left),
            ] {
                let graph = with(conv_graph(|_, _| ()), kind, side, shared(shape));
                check(
                    &graph,
                    run,
                    expect![[r#"
                    y = conv2d x weight=@w bias=@y.bias
                "#]],
                );
            }
        }
    }

    #[test]
    fn a_factor_goes_into_the_weights() {
        for (kind, side) in [
            (BinaryKind::Mul, Side::Left),
            (BinaryKind::Mul, Side::Right),
            (BinaryKind::Div, Side::Left),
            (BinaryKind::Sub, Side::Right),
        ] {
            let graph = with(conv_graph(biased), kind, side, shared(&[3, 1, 1]));
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
            assert_eq!(folded.rule, graph.tensors()[0].rule, "the mask is kept");
        }
    }

    #[test]
    fn a_factor_per_level_becomes_the_scale() {
        let graph = with(
            conv_graph(biased),
            BinaryKind::Mul,
            Side::Left,
            per_level(&[3, 1, 1]),
        );
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@y.scale bias=@y.bias
        "#]],
        );
        // A masked constant prunes whole channels.
        let mask = condensec_ir::sparsity::LevelMask::new([1, 0, 0], &[1; 3]);
        let masked = Tensor {
            rule: LevelRule::Masked(mask),
            ..shared(&[3, 1, 1])
        };
        let graph = with(conv_graph(|_, _| ()), BinaryKind::Mul, Side::Left, masked);
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@y.scale
        "#]],
        );
    }

    #[test]
    fn sums_add_up_over_levels() {
        let graph = with(
            conv_graph(biased),
            BinaryKind::Add,
            Side::Left,
            per_level(&[3, 1, 1]),
        );
        let after = check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w bias=@y.bias
        "#]],
        );
        assert!(after.tensors().last().unwrap().is_per_level());
    }

    #[test]
    fn an_old_scale_is_kept() {
        let scaled = |graph: &mut Graph, conv: &mut Conv2d| {
            biased(graph, conv);
            let scale = Tensor::per_level("s", &[3], values(6, 0.5));
            conv.scale = Some(graph.add_tensor(scale));
        };
        let graph = with(
            conv_graph(scaled),
            BinaryKind::Add,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@s bias=@y.bias
        "#]],
        );
        let graph = with(
            conv_graph(scaled),
            BinaryKind::Mul,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        check(
            &graph,
            run,
            expect![[r#"
            y = conv2d x weight=@w scale=@y.scale bias=@y.bias
        "#]],
        );
    }

    #[test]
    fn a_chain() {
        let (mut graph, mut value) = conv_graph(|_, _| ());
        for (name, kind) in [
            ("p", BinaryKind::Mul),
            ("q", BinaryKind::Add),
            ("r", BinaryKind::Mul),
        ] {
            let tensor = graph.add_tensor(Tensor::shared(name, &[3, 1, 1], values(3, 0.5)));
            let constant = add(&mut graph, &format!("{name}.k"), Constant { tensor }, &[]);
            value = add(&mut graph, name, Binary { kind }, &[value, constant]);
        }
        graph.add_output("y", value);
        check(
            &graph,
            run,
            expect![[r#"
            r = conv2d x weight=@r.weight bias=@r.bias
        "#]],
        );
    }

    #[test]
    fn zeros_in_the_weights_stay_zeros() {
        let (graph, conv) = conv_graph(|graph, conv| {
            let data = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0];
            conv.weight = graph.add_tensor(Tensor::shared("zeros", &[3, 2, 1, 1], data));
        });
        let constant = Tensor::shared("k", &[3, 1, 1], [1.0, -2.0, f32::INFINITY]);
        let graph = with((graph, conv), BinaryKind::Mul, Side::Left, constant);
        let mut after = graph.clone();
        assert!(run(&mut after, &TARGET));
        let Op::Conv2d(conv) = &after.node(after.outputs()[0].node).op else {
            panic!()
        };
        assert_eq!(
            after.tensor(conv.weight).data[..],
            [0.0, 1.0, -4.0, 0.0, 0.0, 0.0]
        );
    }

    fn fully_connected(x: &[usize]) -> (Graph, NodeId) {
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", x);
        let weight = graph.add_tensor(Tensor::shared("w", &[4, 2], values(8, -1.0)));
        let layer = add(&mut graph, "f", FullyConnected::new(weight), &[x]);
        (graph, layer)
    }

    #[test]
    fn behind_a_fully_connected_layer() {
        for shape in [&[4][..], &[1, 4], &[1, 1, 4], &[1]] {
            let graph = with(
                fully_connected(&[2, 3, 2]),
                BinaryKind::Add,
                Side::Left,
                shared(shape),
            );
            check(
                &graph,
                run,
                expect![[r#"
                y = fully_connected x weight=@w bias=@y.bias
            "#]],
            );
        }
        let graph = with(
            fully_connected(&[1, 2]),
            BinaryKind::Mul,
            Side::Right,
            per_level(&[4]),
        );
        check(
            &graph,
            run,
            expect![[r#"
            y = fully_connected x weight=@w scale=@y.scale
        "#]],
        );
    }

    #[test]
    fn other_constants_stay() {
        // Along another axis, with more results than the layer has, without a linear meaning.
        for shape in [
            &[2][..],
            &[1, 2, 1],
            &[1, 3, 2, 2],
            &[5, 3, 1, 1],
            &[1, 1, 1, 1, 1],
        ] {
            let graph = with(
                conv_graph(|_, _| ()),
                BinaryKind::Add,
                Side::Left,
                shared(shape),
            );
            check_unchanged(&graph, run);
        }
        for shape in [&[3, 1][..], &[3, 4], &[2, 1, 1]] {
            let graph = with(
                fully_connected(&[2, 3, 2]),
                BinaryKind::Add,
                Side::Left,
                shared(shape),
            );
            check_unchanged(&graph, run);
        }
        for (kind, side) in [
            (BinaryKind::Max, Side::Left),
            (BinaryKind::Pow, Side::Left),
            (BinaryKind::Pow, Side::Right),
            (BinaryKind::Div, Side::Right),
        ] {
            let graph = with(conv_graph(|_, _| ()), kind, side, shared(&[3, 1, 1]));
            check_unchanged(&graph, run);
        }
        let zero = Tensor::shared("k", &[3, 1, 1], [1.0, 0.0, 2.0]);
        check_unchanged(
            &with(conv_graph(|_, _| ()), BinaryKind::Div, Side::Left, zero),
            run,
        );
    }

    #[test]
    fn a_constant_that_makes_more_channels_stays() {
        let (graph, conv) = conv_graph(|graph, conv| {
            let one_channel = Tensor::shared("one", &[1, 2, 1, 1], [1.0, 2.0]);
            conv.weight = graph.add_tensor(one_channel);
        });
        let graph = with(
            (graph, conv),
            BinaryKind::Add,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        assert_eq!(graph.node(graph.outputs()[0].node).shape, [1, 3, 2, 2]);
        check_unchanged(&graph, run);
    }

    #[test]
    fn layers_that_are_read_elsewhere_or_closed_stay() {
        let mut graph = with(
            conv_graph(|_, _| ()),
            BinaryKind::Add,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        let conv = graph.operands(graph.outputs()[0].node)[0];
        graph.add_output("c", conv);
        check_unchanged(&graph, run);

        let (mut graph, conv) = conv_graph(|_, _| ());
        let square = add(
            &mut graph,
            "square",
            Binary {
                kind: BinaryKind::Mul,
            },
            &[conv, conv],
        );
        graph.add_output("square", square);
        check_unchanged(
            &with((graph, conv), BinaryKind::Add, Side::Left, shared(&[1])),
            run,
        );

        let relu = |_: &mut Graph, conv: &mut Conv2d| conv.activation = Some(UnaryKind::Relu);
        let graph = with(
            conv_graph(relu),
            BinaryKind::Add,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        check_unchanged(&graph, run);
    }

    #[test]
    fn a_weight_or_constant_that_others_use_is_not_changed() {
        let (mut graph, conv) = conv_graph(|_, _| ());
        let x = graph.inputs()[0];
        let other = add(&mut graph, "other", Conv2d::new(TensorId(0)), &[x]);
        graph.add_output("other", other);
        let graph = with(
            (graph, conv),
            BinaryKind::Mul,
            Side::Left,
            shared(&[3, 1, 1]),
        );
        let after = check(
            &graph,
            run,
            expect![[r#"
            other = conv2d x weight=@w
            y = conv2d x weight=@y.weight
        "#]],
        );
        assert_eq!(after.tensors()[..2], graph.tensors()[..2]);
    }
}
