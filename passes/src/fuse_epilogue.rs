//! Residual additions and activations into the layer before them.
//!
//! A convolution holds its result in registers when it is done; adding another value and applying
//! a function there saves a pass over memory for each. What is fused takes the name of the last
//! node, since that is the value it computes, and the origin of the convolution.
//!
//! ```text
//! %c = conv2d %x {weight=@w, bias=@b} : f32[1, 8, 4, 4]
//! %s = binary %c, %r {kind=add} : f32[1, 8, 4, 4]
//! %y = unary %s {kind=relu} : f32[1, 8, 4, 4]
//! ; becomes
//! %y = conv2d %x, %r {weight=@w, bias=@b, residual, activation=relu} : f32[1, 8, 4, 4]
//! ```
//!
//! In a sum of two convolutions the later one takes the other as its residual. There is never a
//! cycle: the fused node stands where the addition stood, which read both.

use condensec_ir::ops::{Binary, BinaryKind, LayerParameters, Unary, UnaryKind};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Graph, NodeId, Op};
use indexmap::IndexSet;

/// Name of the pass.
pub(crate) const NAME: &str = "fuse-epilogue";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let order: IndexSet<NodeId> = graph.order().into_iter().collect();
    let mut changed = false;
    // A fused node stands where the last of its parts stood, so it is still ahead in the order.
    for &id in &order {
        changed |= fuse_residual(graph, &order, id) || fuse_activation(graph, id);
    }
    if changed {
        graph.remove_dead();
    }
    changed
}

/// `%s = binary %id, %r {kind=add}` becomes a copy of `id` with `%r` as its residual.
fn fuse_residual(graph: &mut Graph, order: &IndexSet<NodeId>, id: NodeId) -> bool {
    let Some(sum) = residual_sum(graph, id) else {
        return false;
    };
    let Some(&other) = graph.operands(sum).iter().find(|&&operand| operand != id) else {
        return false;
    };
    let (node, residual) = (graph.node(id), graph.node(other));
    let is_constant = matches!(residual.op, Op::Constant(_));
    let is_later = order.get_index_of(&other) > order.get_index_of(&id);
    let other_will_do_it = is_later && residual_sum(graph, other) == Some(sum);
    if is_constant || residual.shape != node.shape || other_will_do_it {
        return false;
    }
    let operands = [graph.operands(id)[0], other];
    fuse(graph, id, sum, &operands, |epilogue| {
        epilogue.residual = true
    });
    true
}

/// The addition that reads the result of `id`, if `id` could do it.
fn residual_sum(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let epilogue = LayerParameters::of(&graph.node(id).op)?;
    let user = graph.sole_user(id)?;
    let add = Op::from(Binary {
        kind: BinaryKind::Add,
    });
    let is_open = !epilogue.residual && epilogue.activation.is_none();
    (is_open && graph.node(user).op == add).then_some(user)
}

/// `%y = unary %id` becomes a copy of `id` with the activation.
fn fuse_activation(graph: &mut Graph, id: NodeId) -> bool {
    let is_open = LayerParameters::of(&graph.node(id).op).is_some_and(|e| e.activation.is_none());
    let Some(user) = graph.sole_user(id).filter(|_| is_open) else {
        return false;
    };
    let Op::Unary(Unary { kind }) = graph.node(user).op else {
        return false;
    };
    if !is_fusible(kind) {
        return false;
    }
    let operands = graph.operands(id);
    fuse(graph, id, user, &operands, |epilogue| {
        epilogue.activation = Some(kind)
    });
    true
}

/// Whether epilogues have the function: all of them, so far. A function that needs so many
/// registers that it spills the accumulators would better stay a step of its own.
fn is_fusible(_: UnaryKind) -> bool {
    true
}

/// Turns `user` into `id` with a changed epilogue.
fn fuse(
    graph: &mut Graph,
    id: NodeId,
    user: NodeId,
    operands: &[NodeId],
    change: impl FnOnce(&mut LayerParameters),
) {
    let mut op = graph.node(id).op.clone();
    let mut epilogue = LayerParameters::of(&op).expect("the caller has seen an epilogue");
    change(&mut epilogue);
    epilogue.write_to(&mut op);
    graph
        .replace_node(user, op, operands)
        .expect("a residual has the shape of the result");
    graph.node_mut(user).origin = graph.node(id).origin.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{TARGET, check, check_unchanged, values};
    use condensec_ir::graph::Origin;
    use condensec_ir::ops::{Constant, Conv2d, FullyConnected};
    use condensec_ir::tensor::Tensor;
    use expect_test::expect;

    struct Builder {
        graph: Graph,
        x: NodeId,
    }

    impl Builder {
        fn new() -> Self {
            let mut graph = Graph::new("g", 2);
            let x = graph.add_input("x", &[1, 2, 3, 3]);
            Self { graph, x }
        }

        fn add(&mut self, name: &str, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
            let origin = Origin {
                name: name.into(),
                op_type: "Test".into(),
            };
            self.graph
                .add_node(name, op.into(), operands, origin)
                .unwrap()
        }

        /// A 1x1 convolution of 2 channels to 2.
        fn conv(&mut self, name: &str, x: NodeId) -> NodeId {
            let weight = format!("{name}.w");
            let weight =
                self.graph
                    .add_tensor(Tensor::shared(weight, &[2, 2, 1, 1], values(4, -1.0)));
            self.add(name, Conv2d::new(weight), &[x])
        }

        fn sum(&mut self, name: &str, a: NodeId, b: NodeId) -> NodeId {
            self.add(
                name,
                Binary {
                    kind: BinaryKind::Add,
                },
                &[a, b],
            )
        }

        fn unary(&mut self, name: &str, kind: UnaryKind, x: NodeId) -> NodeId {
            self.add(name, Unary { kind }, &[x])
        }

        fn output(mut self, nodes: &[NodeId]) -> Graph {
            for &node in nodes {
                let name = self.graph.node(node).name.clone();
                self.graph.add_output(&name, node);
            }
            self.graph
        }
    }

    #[test]
    fn every_activation() {
        for &kind in UnaryKind::ALL {
            let mut b = Builder::new();
            let conv = b.conv("c", b.x);
            let y = b.unary("y", kind, conv);
            let graph = b.output(&[y]);
            let mut after = graph.clone();
            assert!(run(&mut after, &TARGET));
            let node = after.node(after.outputs()[0].node);
            assert_eq!(
                LayerParameters::of(&node.op).unwrap().activation,
                Some(kind)
            );
            assert_eq!((node.name.as_str(), node.origin.name.as_str()), ("y", "c"));
        }
    }

    #[test]
    fn residual_and_activation() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let sum = b.sum("s", b.x, conv);
        let y = b.unary("y", UnaryKind::Relu, sum);
        check(
            &b.output(&[y]),
            run,
            expect![[r#"
            y = conv2d x, x weight=@c.w residual activation=relu
        "#]],
        );
    }

    #[test]
    fn nothing_is_added_after_the_activation() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let relu = b.unary("r", UnaryKind::Relu, conv);
        let sum = b.sum("s", relu, b.x);
        let y = b.unary("y", UnaryKind::Relu, sum);
        check(
            &b.output(&[y]),
            run,
            expect![[r#"
            r = conv2d x weight=@c.w activation=relu
            s = binary r, x kind=add
            y = unary s kind=relu
        "#]],
        );
    }

    #[test]
    fn one_activation_each() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let relu = b.unary("r", UnaryKind::Relu, conv);
        let y = b.unary("y", UnaryKind::Neg, relu);
        check(
            &b.output(&[y]),
            run,
            expect![[r#"
            r = conv2d x weight=@c.w activation=relu
            y = unary r kind=neg
        "#]],
        );
    }

    #[test]
    fn the_later_of_two_convolutions_does_the_sum() {
        for swapped in [false, true] {
            let mut b = Builder::new();
            let first = b.conv("a", b.x);
            let second = b.conv("b", b.x);
            let (l, r) = if swapped {
                (second, first)
            } else {
                (first, second)
            };
            let y = b.sum("y", l, r);
            let expected = match swapped {
                true => expect![[r#"
                    b = conv2d x weight=@b.w
                    y = conv2d x, b weight=@a.w residual
                "#]],
                false => expect![[r#"
                    a = conv2d x weight=@a.w
                    y = conv2d x, a weight=@b.w residual
                "#]],
            };
            check(&b.output(&[y]), run, expected);
        }
    }

    #[test]
    fn the_earlier_one_does_it_if_the_later_one_cannot() {
        let mut b = Builder::new();
        let first = b.conv("a", b.x);
        let second = b.conv("b", b.x);
        let y = b.sum("y", first, second);
        check(
            &b.output(&[y, second]),
            run,
            expect![[r#"
            b = conv2d x weight=@b.w
            y = conv2d x, b weight=@a.w residual
        "#]],
        );
    }

    #[test]
    fn a_second_sum_stays() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let sum = b.sum("s", conv, b.x);
        let y = b.sum("y", sum, b.x);
        check(
            &b.output(&[y]),
            run,
            expect![[r#"
            s = conv2d x, x weight=@c.w residual
            y = binary s, x kind=add
        "#]],
        );
    }

    #[test]
    fn a_chain_of_blocks() {
        let mut b = Builder::new();
        let mut value = b.x;
        for block in ["p", "q"] {
            let conv = b.conv(&format!("{block}.c1"), value);
            let relu = b.unary(&format!("{block}.r1"), UnaryKind::Relu, conv);
            let conv = b.conv(&format!("{block}.c2"), relu);
            let down = b.conv(&format!("{block}.down"), value);
            let sum = b.sum(&format!("{block}.sum"), conv, down);
            value = b.unary(block, UnaryKind::Relu, sum);
        }
        check(
            &b.output(&[value]),
            run,
            expect![[r#"
            p.r1 = conv2d x weight=@p.c1.w activation=relu
            p.c2 = conv2d p.r1 weight=@p.c2.w
            p = conv2d x, p.c2 weight=@p.down.w residual activation=relu
            q.r1 = conv2d p weight=@q.c1.w activation=relu
            q.c2 = conv2d q.r1 weight=@q.c2.w
            q = conv2d p, q.c2 weight=@q.down.w residual activation=relu
        "#]],
        );
    }

    #[test]
    fn fully_connected() {
        let mut graph = Graph::new("g", 2);
        let x = graph.add_input("x", &[2, 3]);
        let weight = graph.add_tensor(Tensor::shared("w", &[3, 3], values(9, -1.0)));
        let mut b = Builder { graph, x };
        let fc = b.add("f", FullyConnected::new(weight), &[x]);
        let sum = b.sum("s", fc, x);
        let y = b.unary("y", UnaryKind::Gelu, sum);
        check(
            &b.output(&[y]),
            run,
            expect![[r#"
            y = fully_connected x, x weight=@w residual activation=gelu
        "#]],
        );
    }

    #[test]
    fn other_readers_and_outputs_need_the_value_itself() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let relu = b.unary("r", UnaryKind::Relu, conv);
        let neg = b.unary("n", UnaryKind::Neg, conv);
        check_unchanged(&b.output(&[relu, neg]), run);

        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let relu = b.unary("r", UnaryKind::Relu, conv);
        check_unchanged(&b.output(&[relu, conv]), run);

        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let twice = b.sum("twice", conv, conv);
        check_unchanged(&b.output(&[twice]), run);
    }

    #[test]
    fn a_residual_is_a_computed_value_of_the_same_shape() {
        let mut b = Builder::new();
        let conv = b.conv("c", b.x);
        let tensor = b
            .graph
            .add_tensor(Tensor::shared("k", &[1, 2, 3, 3], values(18, -1.0)));
        let constant = b.add("k", Constant { tensor }, &[]);
        let y = b.sum("y", conv, constant);
        check_unchanged(&b.output(&[y]), run);

        for shape in [[2, 2, 3, 3], [1, 2, 1, 1]] {
            let mut b = Builder::new();
            let other = b.graph.add_input("other", &shape);
            let conv = b.conv("c", b.x);
            let y = b.sum("y", conv, other);
            check_unchanged(&b.output(&[y]), run);
        }
    }
}
