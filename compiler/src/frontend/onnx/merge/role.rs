//! What a constant of the file is for, as far as its values may differ between levels.

use std::collections::HashMap;

use crate::frontend::onnx::import::{node_name, reads};
use crate::frontend::onnx::proto::{AttributeProto, GraphProto, NodeProto};

/// What a constant is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// The weight of a convolution or matrix product; may be masked.
    Weight {
        /// The axis of output channels, where it is known.
        channels: Option<usize>,
        /// A node that reads it.
        reader: Reader,
    },
    /// A small float tensor that may have other values at each level.
    Parameter,
    /// Anything else.
    Other {
        /// A node that reads it, if there is one.
        reader: Option<Reader>,
    },
}

/// A node, for diagnostics.
#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    /// Its name, or that of its first output.
    pub name: String,
    /// Its op type.
    pub op_type: String,
}

/// Who reads which tensor.
pub struct Roles<'m> {
    readers: HashMap<&'m str, Vec<(&'m NodeProto, usize)>>,
}

impl<'m> Roles<'m> {
    pub fn of(graph: Option<&'m GraphProto>) -> Roles<'m> {
        let mut readers: HashMap<&str, Vec<(&NodeProto, usize)>> = HashMap::new();
        for node in graph.iter().flat_map(|graph| &graph.node) {
            for name in reads(node) {
                let positions =
                    (0..node.input.len()).filter(|&position| node.input[position] == name);
                let positions: Vec<usize> = positions.collect();
                // What only a subgraph reads has no position.
                let positions = if positions.is_empty() {
                    vec![usize::MAX]
                } else {
                    positions
                };
                readers
                    .entry(name)
                    .or_default()
                    .extend(positions.into_iter().map(|at| (node, at)));
            }
        }
        Roles { readers }
    }

    /// The role of a tensor with `rank` axes.
    pub fn of_tensor(&self, name: &str, rank: usize) -> Role {
        self.through(name, Some(rank), 0)
    }

    /// `rank` is known where nothing has changed the shape.
    fn through(&self, name: &str, rank: Option<usize>, depth: usize) -> Role {
        /// Nodes between a weight and its user: a cast, a transposition, a mask, rarely more.
        const MAX_DEPTH: usize = 8;

        let readers = self.readers.get(name).map_or(&[][..], Vec::as_slice);
        let mut role: Option<Role> = None;
        for &(node, position) in readers {
            let one = match depth {
                MAX_DEPTH => other(node),
                _ => self.of_reader(node, position, rank, depth),
            };
            role = Some(match (role, one) {
                (None, one) => one,
                (
                    Some(Role::Weight {
                        channels: a,
                        reader,
                    }),
                    Role::Weight { channels: b, .. },
                ) => Role::Weight {
                    channels: a.filter(|_| a == b),
                    reader,
                },
                (Some(Role::Parameter), Role::Parameter) => Role::Parameter,
                (Some(_), _) => other(node),
            });
        }
        role.unwrap_or(Role::Other { reader: None })
    }

    fn of_reader(
        &self,
        node: &NodeProto,
        position: usize,
        rank: Option<usize>,
        depth: usize,
    ) -> Role {
        let weight = |channels: Option<usize>| Role::Weight {
            channels: channels.filter(|_| rank.is_some()),
            reader: reader(node),
        };
        let output = node.output.first().map_or("", String::as_str);
        let is_set = |name: &str| {
            node.attribute
                .iter()
                .find(|a| a.name() == name)
                .is_some_and(|a: &AttributeProto| a.i() != 0)
        };
        match (node.op_type(), position) {
            ("Conv", 1) => weight(Some(0)),
            ("ConvTranspose", 1) => weight(Some(1)),
            ("Gemm", 0) => weight(Some(usize::from(is_set("transA")))),
            ("Gemm", 1) => weight(Some(usize::from(!is_set("transB")))),
            ("MatMul", 0) => weight(rank.and_then(|rank| rank.checked_sub(2))),
            ("MatMul", 1) => weight(rank.filter(|&rank| rank >= 2).map(|rank| rank - 1)),
            ("Conv" | "ConvTranspose" | "Gemm", 2) | ("BatchNormalization", 1..=4) => {
                Role::Parameter
            }
            ("Identity" | "Cast", 0) => self.through(output, rank, depth + 1),
            ("Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten", 0) => {
                self.through(output, None, depth + 1)
            }
            // A mask beside its weight, or a factor of an activation.
            ("Mul", 0 | 1) => match self.through(output, rank, depth + 1) {
                weight @ Role::Weight { .. } => weight,
                Role::Parameter | Role::Other { .. } => Role::Parameter,
            },
            ("Add" | "Sub" | "Div" | "PRelu", 0 | 1) => Role::Parameter,
            _ => other(node),
        }
    }
}

fn reader(node: &NodeProto) -> Reader {
    Reader {
        name: node_name(node).to_string(),
        op_type: node.op_type().to_string(),
    }
}

fn other(node: &NodeProto) -> Role {
    Role::Other {
        reader: Some(reader(node)),
    }
}
