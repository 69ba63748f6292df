//! Activations that exporters write as several nodes.
//!
//! `x * sigmoid(x)` reads `x` twice, so it is no chain that `fuse-epilogue` could follow. Here the
//! usual spellings of Silu, HardSwish and Gelu become one `unary`.
//!
//! ```text
//! %g = unary %x {kind=sigmoid} : f32[1, 8]
//! %y = binary %x, %g {kind=mul} : f32[1, 8]
//! ; becomes
//! %y = unary %x {kind=silu} : f32[1, 8]
//! ```
//!
//! | product, factors in any order | is |
//! |---|---|
//! | `x * sigmoid(x)` | Silu |
//! | `x * hard_sigmoid(1/6, 1/2)(x)`, `x * clip(0, 6)(x + 3) / 6` | HardSwish |
//! | `x * (erf(x / sqrt(2)) + 1) / 2` | Gelu |
//!
//! Constants may be factors or divisors anywhere in the product; they are compared up to a few
//! roundings. Nodes in between must have no other reader, so no work is ever done twice.

use condensec_ir::ops::{Binary, BinaryKind, Constant, Unary, UnaryKind};
use condensec_ir::target_info::TargetInfo;
use condensec_ir::tensor::LevelRule;
use condensec_ir::{Graph, NodeId, Op};

/// Name of the pass.
pub(crate) const NAME: &str = "fuse-gated-activation";

/// Runs the pass; returns whether anything changed.
pub(crate) fn run(graph: &mut Graph, _: &TargetInfo) -> bool {
    let mut changed = false;
    for id in graph.order() {
        let Some((kind, x)) = gated_activation(graph, id) else {
            continue;
        };
        graph
            .replace_node(id, Unary { kind }.into(), &[x])
            .expect("a function of one number takes any shape");
        changed = true;
    }
    if changed {
        graph.remove_dead();
    }
    changed
}

/// The function and its operand, if the product `id` is one of those in the table.
fn gated_activation(graph: &Graph, id: NodeId) -> Option<(UnaryKind, NodeId)> {
    let product = Product::of(graph, id)?;
    let &[a, b] = product.values.as_slice() else {
        return None;
    };
    let gated = |x: NodeId, gate: NodeId| {
        // A constant with more axes than the value would change the shape.
        let same_shape = graph.node(x).shape == graph.node(id).shape;
        let is_private = graph.sole_user(gate).is_some();
        let kind = (same_shape && is_private).then(|| kind_of_gate(graph, product.factor, gate, x));
        Some((kind??, x))
    };
    gated(a, b).or_else(|| gated(b, a))
}

/// The activation that `factor * x * gate` is.
fn kind_of_gate(graph: &Graph, factor: f64, gate: NodeId, x: NodeId) -> Option<UnaryKind> {
    if let Op::Unary(Unary { kind }) = graph.node(gate).op {
        let operand = graph.operands(gate)[0];
        return match kind {
            UnaryKind::Sigmoid if operand == x => is_near(factor, 1.0).then_some(UnaryKind::Silu),
            UnaryKind::HardSigmoid { alpha, beta } if operand == x => {
                let is_gate = is_near(f64::from(alpha), 1.0 / 6.0) && is_near(f64::from(beta), 0.5);
                (is_gate && is_near(factor, 1.0)).then_some(UnaryKind::HardSwish)
            }
            UnaryKind::Clip { lo: 0.0, hi: 6.0 } => {
                let (shifted, shift) = sum_with_constant(graph, operand)?;
                let is_gate = shifted == x && shift == 3.0 && graph.sole_user(operand).is_some();
                (is_gate && is_near(factor, 1.0 / 6.0)).then_some(UnaryKind::HardSwish)
            }
            _ => None,
        };
    }
    // `factor * (k * erf(x / sqrt(2)) + c)`
    let (scaled_erf, c) = sum_with_constant(graph, gate)?;
    graph.sole_user(scaled_erf)?;
    let (k, erf) = Product::of_one_value(graph, scaled_erf)?;
    if graph.node(erf).op
        != Op::from(Unary {
            kind: UnaryKind::Erf,
        })
    {
        return None;
    }
    graph.sole_user(erf)?;
    let argument = graph.operands(erf)[0];
    graph.sole_user(argument)?;
    let (slope, operand) = Product::of_one_value(graph, argument)?;
    let is_gate = operand == x && is_near(slope, std::f64::consts::FRAC_1_SQRT_2);
    let is_gelu = is_gate && is_near(factor * k, 0.5) && is_near(factor * c, 0.5);
    is_gelu.then_some(UnaryKind::Gelu)
}

/// A product of values and constants, through multiplications and divisions that nobody else reads.
struct Product {
    factor: f64,
    values: Vec<NodeId>,
}

impl Product {
    /// Nodes that a product may consist of: the spellings above have at most four.
    const MAX_NODES: usize = 8;

    /// The product that `id` computes, if it is a multiplication or division.
    fn of(graph: &Graph, id: NodeId) -> Option<Self> {
        factors(graph, id)?;
        let mut product = Self {
            factor: 1.0,
            values: Vec::new(),
        };
        let mut inner = vec![id];
        for _ in 0..Self::MAX_NODES {
            let Some(node) = inner.pop() else {
                return Some(product);
            };
            let Factors { values, constant } = factors(graph, node)?;
            product.factor *= constant;
            for value in values {
                let is_inner = graph.sole_user(value).is_some() && factors(graph, value).is_some();
                let list = if is_inner {
                    &mut inner
                } else {
                    &mut product.values
                };
                list.push(value);
            }
        }
        None
    }

    /// `id` as a constant times a value; any node is 1 times itself.
    fn of_one_value(graph: &Graph, id: NodeId) -> Option<(f64, NodeId)> {
        let Some(product) = Self::of(graph, id) else {
            return Some((1.0, id));
        };
        match product.values.as_slice() {
            &[value] => Some((product.factor, value)),
            _ => None,
        }
    }
}

/// Operands of one multiplication.
struct Factors {
    values: Vec<NodeId>,
    constant: f64,
}

fn factors(graph: &Graph, id: NodeId) -> Option<Factors> {
    let Op::Binary(Binary { kind }) = graph.node(id).op else {
        return None;
    };
    let &[a, b] = graph.operands(id).as_slice() else {
        return None;
    };
    match (kind, scalar(graph, a), scalar(graph, b)) {
        (BinaryKind::Mul, None, None) => Some(Factors {
            values: vec![a, b],
            constant: 1.0,
        }),
        (BinaryKind::Mul, None, Some(constant)) => Some(Factors {
            values: vec![a],
            constant,
        }),
        (BinaryKind::Mul, Some(constant), None) => Some(Factors {
            values: vec![b],
            constant,
        }),
        (BinaryKind::Div, None, Some(divisor)) => Some(Factors {
            values: vec![a],
            constant: 1.0 / divisor,
        }),
        _ => None,
    }
}

/// `id` as a value plus a constant.
fn sum_with_constant(graph: &Graph, id: NodeId) -> Option<(NodeId, f64)> {
    if graph.node(id).op
        != Op::from(Binary {
            kind: BinaryKind::Add,
        })
    {
        return None;
    }
    let &[a, b] = graph.operands(id).as_slice() else {
        return None;
    };
    match (scalar(graph, a), scalar(graph, b)) {
        (None, Some(constant)) => Some((a, constant)),
        (Some(constant), None) => Some((b, constant)),
        _ => None,
    }
}

/// The value of a constant with one element that is the same at all levels.
fn scalar(graph: &Graph, id: NodeId) -> Option<f64> {
    let Op::Constant(Constant { tensor }) = graph.node(id).op else {
        return None;
    };
    let tensor = graph.tensor(tensor);
    match (&tensor.rule, &tensor.data[..]) {
        (LevelRule::Shared, &[value]) => Some(f64::from(value)),
        _ => None,
    }
}

/// Exporters round constants to f32, some to six digits; what is meant is never closer than 1e-3 to
/// another constant of the table.
fn is_near(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= 1e-5 * expected.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{TARGET, assert_same_results, check, check_unchanged};
    use condensec_ir::graph::Origin;
    use condensec_ir::tensor::Tensor;
    use expect_test::expect;
    use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

    /// A graph of one input, and short names for what is added to it.
    struct Builder {
        graph: Graph,
        x: NodeId,
    }

    impl Builder {
        fn new() -> Self {
            let mut graph = Graph::new("g", 2);
            let x = graph.add_input("x", &[2, 3]);
            Self { graph, x }
        }

        fn add(&mut self, op: impl Into<Op>, operands: &[NodeId]) -> NodeId {
            self.graph
                .add_node("v", op.into(), operands, Origin::default())
                .unwrap()
        }

        fn constant(&mut self, shape: &[usize], value: f32) -> NodeId {
            let name = format!("k{}", self.graph.tensors().len());
            let tensor = self.graph.add_tensor(Tensor::shared(name, shape, [value]));
            self.add(Constant { tensor }, &[])
        }

        fn k(&mut self, value: f32) -> NodeId {
            self.constant(&[], value)
        }

        fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
            self.add(
                Binary {
                    kind: BinaryKind::Mul,
                },
                &[a, b],
            )
        }

        fn div(&mut self, a: NodeId, b: f32) -> NodeId {
            let b = self.k(b);
            self.add(
                Binary {
                    kind: BinaryKind::Div,
                },
                &[a, b],
            )
        }

        fn times(&mut self, a: NodeId, b: f32) -> NodeId {
            let b = self.k(b);
            self.mul(a, b)
        }

        fn plus(&mut self, a: NodeId, b: f32) -> NodeId {
            let b = self.k(b);
            self.add(
                Binary {
                    kind: BinaryKind::Add,
                },
                &[a, b],
            )
        }

        fn unary(&mut self, kind: UnaryKind, x: NodeId) -> NodeId {
            self.add(Unary { kind }, &[x])
        }
    }

    /// The expression must become one node.
    fn becomes(expression: impl FnOnce(&mut Builder, NodeId) -> NodeId, kind: &str) {
        let mut b = Builder::new();
        let x = b.x;
        let y = expression(&mut b, x);
        b.graph.add_output("y", y);
        let mut after = b.graph.clone();
        assert!(run(&mut after, &TARGET), "{kind}");
        assert_same_results(&b.graph, &after);
        check_unchanged(&after, run);
        assert_eq!(after.order().len(), 2, "the input and the result");
        let after = after.node(after.outputs()[0].node);
        let Op::Unary(Unary { kind: found }) = after.op else {
            panic!("{after:?}")
        };
        assert_eq!((found.name(), &after.name), (kind, &b.graph.node(y).name));
    }

    /// The expression must stay as it is.
    fn stays(expression: impl FnOnce(&mut Builder, NodeId) -> NodeId) {
        let mut b = Builder::new();
        let x = b.x;
        let y = expression(&mut b, x);
        b.graph.add_output("y", y);
        check_unchanged(&b.graph, run);
    }

    const GATE: UnaryKind = UnaryKind::HardSigmoid {
        alpha: 1.0 / 6.0,
        beta: 0.5,
    };
    const RELU6: UnaryKind = UnaryKind::Clip { lo: 0.0, hi: 6.0 };

    #[test]
    fn silu() {
        becomes(
            |b, x| {
                let g = b.unary(UnaryKind::Sigmoid, x);
                b.mul(x, g)
            },
            "silu",
        );
        becomes(
            |b, x| {
                let g = b.unary(UnaryKind::Sigmoid, x);
                b.mul(g, x)
            },
            "silu",
        );
    }

    #[test]
    fn hard_swish() {
        becomes(
            |b, x| {
                let g = b.unary(GATE, x);
                b.mul(x, g)
            },
            "hard_swish",
        );
        let clipped = |b: &mut Builder, x| {
            let shifted = b.plus(x, 3.0);
            b.unary(RELU6, shifted)
        };
        becomes(
            |b, x| {
                let g = clipped(b, x);
                let p = b.mul(x, g);
                b.div(p, 6.0)
            },
            "hard_swish",
        );
        becomes(
            |b, x| {
                let g = clipped(b, x);
                let p = b.div(g, 6.0);
                b.mul(x, p)
            },
            "hard_swish",
        );
        becomes(
            |b, x| {
                let g = clipped(b, x);
                let p = b.times(g, 1.0 / 6.0);
                b.mul(p, x)
            },
            "hard_swish",
        );
        becomes(
            |b, x| {
                let g = clipped(b, x);
                let p = b.div(x, 6.0);
                b.mul(p, g)
            },
            "hard_swish",
        );
    }

    #[test]
    fn gelu() {
        let erf = |b: &mut Builder, x| {
            let argument = b.div(x, SQRT_2);
            b.unary(UnaryKind::Erf, argument)
        };
        // x * 0.5 * (1 + erf)
        becomes(
            |b, x| {
                let e = erf(b, x);
                let sum = b.plus(e, 1.0);
                let half = b.times(x, 0.5);
                b.mul(half, sum)
            },
            "gelu",
        );
        // x * (1 + erf) * 0.5, as PyTorch exports it
        becomes(
            |b, x| {
                let e = erf(b, x);
                let sum = b.plus(e, 1.0);
                let product = b.mul(x, sum);
                b.times(product, 0.5)
            },
            "gelu",
        );
        // x * (0.5 * (1 + erf))
        becomes(
            |b, x| {
                let e = erf(b, x);
                let sum = b.plus(e, 1.0);
                let half = b.times(sum, 0.5);
                b.mul(half, x)
            },
            "gelu",
        );
        // x * (0.5 + 0.5 * erf(x * 0.7071))
        becomes(
            |b, x| {
                let argument = b.times(x, FRAC_1_SQRT_2);
                let e = b.unary(UnaryKind::Erf, argument);
                let half = b.times(e, 0.5);
                let sum = b.plus(half, 0.5);
                b.mul(x, sum)
            },
            "gelu",
        );
    }

    #[test]
    fn inside_of_a_larger_product() {
        let mut b = Builder::new();
        let other = b.graph.add_input("other", &[2, 3]);
        let gate = b.unary(UnaryKind::Sigmoid, b.x);
        let product = b.mul(b.x, gate);
        let y = b.mul(product, other);
        b.graph.add_output("y", y);
        let expected = expect![[r#"
            v.1 = unary x kind=silu
            v.2 = binary v.1, other kind=mul
        "#]];
        check(&b.graph, run, expected);
    }

    #[test]
    fn other_constants_mean_something_else() {
        stays(|b, x| {
            let kind = UnaryKind::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            };
            let gate = b.unary(kind, x);
            b.mul(x, gate)
        });
        // Without the division, and with another one.
        for divisor in [None, Some(3.0)] {
            stays(|b, x| {
                let shifted = b.plus(x, 3.0);
                let gate = b.unary(RELU6, shifted);
                let product = b.mul(x, gate);
                divisor.map_or(product, |divisor| b.div(product, divisor))
            });
        }
        // The argument of erf, the addend and the factor of Gelu, one wrong each.
        for (slope, addend, factor) in [
            (0.7, 1.0, 0.5),
            (FRAC_1_SQRT_2, 0.9, 0.5),
            (FRAC_1_SQRT_2, 1.0, 1.0),
        ] {
            stays(|b, x| {
                let argument = b.times(x, slope);
                let erf = b.unary(UnaryKind::Erf, argument);
                let sum = b.plus(erf, addend);
                let product = b.mul(x, sum);
                b.times(product, factor)
            });
        }
    }

    #[test]
    fn a_level_with_another_factor() {
        let mut b = Builder::new();
        let shifted = b.plus(b.x, 3.0);
        let gate = b.unary(RELU6, shifted);
        let product = b.mul(b.x, gate);
        let sixths = Tensor::per_level("sixths", &[], [1.0 / 6.0, 0.2]);
        let tensor = b.graph.add_tensor(sixths);
        let sixth = b.add(Constant { tensor }, &[]);
        let y = b.mul(product, sixth);
        b.graph.add_output("y", y);
        check_unchanged(&b.graph, run);
    }

    #[test]
    fn a_constant_that_adds_an_axis() {
        stays(|b, x| {
            let gate = b.unary(UnaryKind::Sigmoid, x);
            let one = b.constant(&[1, 1, 1], 1.0);
            let gate = b.mul(gate, one);
            b.mul(x, gate)
        });
    }

    #[test]
    fn long_products_end() {
        stays(|b, x| {
            let mut y = b.unary(UnaryKind::Sigmoid, x);
            for _ in 0..50 {
                y = b.times(y, 1.0);
            }
            b.mul(x, y)
        });
    }

    #[test]
    fn a_gate_of_another_value() {
        stays(|b, x| {
            let y = b.unary(UnaryKind::Neg, x);
            let g = b.unary(UnaryKind::Sigmoid, y);
            b.mul(x, g)
        });
    }

    #[test]
    fn other_readers_need_the_gate() {
        let mut b = Builder::new();
        let gate = b.unary(UnaryKind::Sigmoid, b.x);
        let y = b.mul(b.x, gate);
        b.graph.add_output("y", y);
        b.graph.add_output("gate", gate);
        check_unchanged(&b.graph, run);
    }
}
