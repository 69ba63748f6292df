//! Functions of one or two values, element by element, with numpy broadcasting; also the loop that
//! the ops which only move elements share.
//!
//! ```text
//! for outer dims
//!   for i in the row by lanes
//!     y[i] = compute(a[i], b[i])       an operand that repeats along the row is loaded before it
//! ```
//! The result may be stored over an operand: every element is read before it is written.

use super::copy_row;
use super::math::emit_unary;
use super::view::{Dim, TaskDims, View, for_dims, for_lanes, merge_dims};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, MemoryType, Value};
use condensec_ir::ops::{Binary, BinaryKind, Unary};

pub(super) fn lower_unary(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &Unary,
) -> Result<(), String> {
    let operand = lowering.graph.operands(id)[0];
    let map = Map {
        name: format!("unary_{}", op.kind.name()),
        shape: lowering.node(id).shape.clone(),
        result: View::of(lowering, id)?,
        operands: vec![(operand, View::of(lowering, operand)?)],
        lanes: lowering.target.lanes,
    };
    map.lower(lowering, id, &|f, _, values| {
        emit_unary(f, op.kind, values[0])
    });
    Ok(())
}

pub(super) fn lower_binary(
    lowering: &mut Lowering<'_>,
    id: NodeId,
    op: &Binary,
) -> Result<(), String> {
    let shape = lowering.node(id).shape.clone();
    let mut operands = Vec::new();
    for operand in lowering.graph.operands(id) {
        let own_shape = &lowering.node(operand).shape;
        let view = View::of(lowering, operand)?.broadcast(own_shape, shape.len());
        operands.push((operand, view));
    }
    let map = Map {
        name: format!("binary_{}", op.kind.name()),
        result: View::of(lowering, id)?,
        operands,
        lanes: match op.kind {
            // A call of libm takes one element.
            BinaryKind::Pow => 1,
            _ => lowering.target.lanes,
        },
        shape,
    };
    map.lower(lowering, id, &|f, _, values| {
        emit_binary(f, op.kind, values[0], values[1])
    });
    Ok(())
}

fn emit_binary(f: &mut FunctionBuilder, kind: BinaryKind, a: Value, b: Value) -> Value {
    match kind {
        BinaryKind::Add => f.fadd(a, b),
        BinaryKind::Div => f.fdiv(a, b),
        BinaryKind::Max => f.fmax(a, b),
        BinaryKind::Min => f.fmin(a, b),
        BinaryKind::Mul => f.fmul(a, b),
        BinaryKind::Pow => f.call_libm("powf", &[a, b]),
        BinaryKind::Sub => f.fsub(a, b),
    }
}

/// A step that computes every element of `shape` from the elements of the operands at its index.
pub(super) struct Map {
    /// Name of the kernel.
    pub name: String,
    /// Index space of all views.
    pub shape: Vec<usize>,
    /// Where results go; may be a part of the node's value.
    pub result: View,
    /// What is read.
    pub operands: Vec<(NodeId, View)>,
    /// Vector width.
    pub lanes: usize,
}

impl Map {
    /// Adds the step. `compute` gets the number of lanes and one value per operand, scalars or
    /// vectors of that width.
    pub fn lower(
        &self,
        lowering: &mut Lowering<'_>,
        id: NodeId,
        compute: &dyn Fn(&mut FunctionBuilder, usize, &[Value]) -> Value,
    ) {
        if self.shape.contains(&0) {
            return;
        }
        let mut kernel = KernelBuilder::new(&self.name, lowering);
        let mut bases = vec![kernel.buffer(lowering, id)];
        for &(operand, _) in &self.operands {
            bases.push(kernel.buffer(lowering, operand));
        }
        let mut views = vec![&self.result];
        views.extend(self.operands.iter().map(|(_, view)| view));
        for (base, view) in bases.iter_mut().zip(&views) {
            *base = view.origin(&mut kernel, *base);
        }
        let mut dims = merge_dims(&self.shape, &views);
        if dims.is_empty() {
            dims.push(Dim {
                size: 1,
                strides: vec![1; views.len()],
            });
        }
        let shared = TaskDims::choose(&mut dims, self.lanes, 1);
        let (outer, row) = dims.split_at(dims.len() - 1);
        let (tasks, middle) = outer.split_at(shared.n_dims);
        let n_tasks = shared.for_each(&mut kernel, tasks, &bases, |f, bases| {
            for_dims(f, middle, bases, |f, bases| {
                self.emit_row(f, &row[0], bases, compute)
            });
        });
        lowering.add_step(id, kernel, n_tasks);
    }

    fn emit_row(
        &self,
        f: &mut FunctionBuilder,
        row: &Dim,
        bases: &[Value],
        compute: &dyn Fn(&mut FunctionBuilder, usize, &[Value]) -> Value,
    ) {
        let (result, operands) = (row.strides[0], &row.strides[1..]);
        if row.strides[..] == [1, 2] {
            let compute = |f: &mut FunctionBuilder, lanes, value| compute(f, lanes, &[value]);
            copy_row::every_other(f, bases[1], bases[0], row.size, self.lanes, compute);
            return;
        }
        let is_unit = result == 1 && operands.iter().all(|&s| s == 0 || s == 1);
        let lanes = if is_unit { self.lanes } else { 1 };
        // In scalars and in vectors, since the end of a row needs scalars.
        let mut repeated: Vec<Option<[Value; 2]>> = Vec::new();
        for (&base, &stride) in bases[1..].iter().zip(operands) {
            repeated.push((stride == 0).then(|| {
                let value = f.load(MemoryType::F32, base, 0);
                [value, f.splat(value, lanes)]
            }));
        }
        for_lanes(f, row.size, lanes, |f, width, i| {
            let at = row.advance(f, bases, i);
            let load = |(&at, repeated): (&Value, &Option<[Value; 2]>)| match repeated {
                Some([scalar, vector]) => {
                    if width == 1 {
                        *scalar
                    } else {
                        *vector
                    }
                }
                None => f.load_lanes(width, at, 0),
            };
            let values: Vec<Value> = at[1..].iter().zip(&repeated).map(load).collect();
            let value = compute(f, width, &values);
            f.store_lanes(value, at[0], 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_graph, check_op, op_graph};
    use super::*;
    use condensec_ir::ops::{Constant, UnaryKind};
    use condensec_ir::{Graph, Tensor};

    fn binary(kind: BinaryKind) -> Binary {
        Binary { kind }
    }

    #[test]
    fn every_unary_kind() {
        for &kind in UnaryKind::ALL {
            check_op(Unary { kind }, &[&[2, 3, 5, 7]]);
        }
    }

    #[test]
    fn every_binary_kind() {
        for &(_, kind) in BinaryKind::ALL {
            check_op(binary(kind), &[&[1, 3, 5, 17], &[1, 3, 5, 17]]);
        }
    }

    #[test]
    fn every_rank_and_size() {
        let shapes: [&[usize]; 8] = [
            &[],
            &[1],
            &[3],
            &[4],
            &[5, 1],
            &[3, 7],
            &[2, 1, 3, 2, 5],
            &[1, 1, 1, 17],
        ];
        for shape in shapes {
            check_op(
                Unary {
                    kind: UnaryKind::Abs,
                },
                &[shape],
            );
            check_op(binary(BinaryKind::Sub), &[shape, shape]);
        }
        check_graph(
            &op_graph(
                Unary {
                    kind: UnaryKind::Abs,
                },
                &[&[0, 3]],
            ),
            &[],
        );
    }

    #[test]
    fn broadcasting() {
        let image: &[usize] = &[2, 3, 5, 7];
        let others: [&[usize]; 8] = [
            &[],
            &[7],
            &[5, 1],
            &[3, 1, 1],
            &[1, 3, 1, 1],
            &[2, 1, 5, 7],
            &[2, 3, 1, 1],
            &[1, 1, 1, 7],
        ];
        for other in others {
            check_op(binary(BinaryKind::Sub), &[image, other]);
            check_op(binary(BinaryKind::Sub), &[other, image]);
        }
        check_op(binary(BinaryKind::Mul), &[&[3, 1, 5], &[1, 17, 1]]);
    }

    #[test]
    fn long_rows_are_cut_into_tasks() {
        check_graph(
            &op_graph(
                Unary {
                    kind: UnaryKind::Relu,
                },
                &[&[5, 64 * 64]],
            ),
            &[],
        );
        check_graph(
            &op_graph(
                Unary {
                    kind: UnaryKind::Relu,
                },
                &[&[16_411]],
            ),
            &[],
        );
        check_op(binary(BinaryKind::Add), &[&[3, 64, 8, 9], &[64, 1, 1]]);
    }

    #[test]
    fn constants_per_level() {
        let mut graph = Graph::new("test", 2);
        let x = graph.add_input("x", &[1, 3, 2, 5]);
        let data = vec![1.0, 2.0, 3.0, -1.0, -2.0, -3.0];
        let tensor = graph.add_tensor(Tensor::per_level("c", &[3, 1, 1], data));
        let c = graph
            .add_node("c", Constant { tensor }.into(), &[], Default::default())
            .unwrap();
        let op = binary(BinaryKind::Mul).into();
        let y = graph
            .add_node("y", op, &[x, c], Default::default())
            .unwrap();
        graph.add_output("y", y);
        check_graph(&graph, &[]);
    }

    #[test]
    fn results_over_their_operands() {
        // All values after the first are stored over it, also where one node is both operands.
        let mut graph = Graph::new("test", 1);
        let x = graph.add_input("x", &[2, 19]);
        let mut y = x;
        for kind in [
            BinaryKind::Mul,
            BinaryKind::Add,
            BinaryKind::Sub,
            BinaryKind::Max,
        ] {
            let operands = if kind == BinaryKind::Sub {
                [x, y]
            } else {
                [y, y]
            };
            y = graph
                .add_node("y", binary(kind).into(), &operands, Default::default())
                .unwrap();
        }
        let op = Unary {
            kind: UnaryKind::Tanh,
        };
        y = graph
            .add_node("y", op.into(), &[y], Default::default())
            .unwrap();
        graph.add_output("y", y);
        check_graph(&graph, &[]);
    }
}
