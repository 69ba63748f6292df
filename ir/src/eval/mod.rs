//! The reference interpreter of the graph IR: slow, obvious, no cleverness.
//!
//! Every op evaluates itself in `ops/<op>.rs` on dense row-major arrays; masks are applied by
//! zeroing weights, so what a level means is visible in one line ([`crate::Tensor::at_level`]).

use crate::graph::Graph;
use crate::tensor::{LevelId, Tensor, TensorId};
use indexmap::IndexMap;
use std::borrow::Cow;
use thiserror::Error;

/// A dense row-major f32 array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub data: Vec<f32>,
}

impl Array {
    /// An array of `shape` from its elements. Panics if the count differs: our own bug.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?}");
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// An array whose element at each index is `value(index)`.
    pub fn from_fn(shape: &[usize], mut value: impl FnMut(&[usize]) -> f32) -> Self {
        let n = shape.iter().product();
        let mut data = Vec::with_capacity(n);
        let mut index = vec![0; shape.len()];
        for _ in 0..n {
            data.push(value(&index));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Self::new(shape, data)
    }

    /// The element at `index`.
    pub fn at(&self, index: &[usize]) -> f32 {
        self.data[index
            .iter()
            .zip(&self.shape)
            .fold(0, |at, (&i, &d)| at * d + i)]
    }

    /// An array of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::new(shape, vec![0.0; shape.iter().product()])
    }
}

/// What an op may read besides its operands.
pub struct EvalContext<'a> {
    /// Constants of the graph.
    pub tensors: &'a [Tensor],
    /// Level that is evaluated.
    pub level: LevelId,
    /// Shape of the result, as inferred.
    pub shape: &'a [usize],
}

impl EvalContext<'_> {
    /// Values of a constant at this level.
    pub fn tensor(&self, id: TensorId) -> Cow<'_, [f32]> {
        self.tensors[id.0 as usize].at_level(self.level)
    }
}

/// The caller's inputs do not fit the graph.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EvalError {
    /// Wrong number of inputs.
    #[error("{found} inputs given, the graph has {expected}")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input has another shape than the graph says.
    #[error("input {name} has shape {found:?}, expected {expected:?}")]
    InputShape {
        /// Name of the input.
        name: String,
        /// Shape in the graph.
        expected: Vec<usize>,
        /// Shape given.
        found: Vec<usize>,
    },
    /// No such level.
    #[error("level {level} does not exist, the graph has {n_levels}")]
    Level {
        /// Level asked for.
        level: LevelId,
        /// Number of levels.
        n_levels: u32,
    },
}

/// Evaluates `graph` at `level`; returns the outputs in graph order.
///
/// # Errors
/// See [`EvalError`].
pub fn eval_graph(
    graph: &Graph,
    level: LevelId,
    inputs: &[Array],
) -> Result<Vec<Array>, EvalError> {
    let mut values = eval_all(graph, level, inputs)?;
    Ok(graph
        .outputs()
        .iter()
        .map(|o| {
            values
                .get_mut(&o.node)
                .expect("outputs are in the order")
                .clone()
        })
        .collect())
}

/// Like [`eval_graph`], but returns the value of every node (for calibration and debugging).
///
/// # Errors
/// See [`EvalError`].
pub fn eval_all(
    graph: &Graph,
    level: LevelId,
    inputs: &[Array],
) -> Result<IndexMap<crate::NodeId, Array>, EvalError> {
    if level.0 >= graph.n_levels {
        return Err(EvalError::Level {
            level,
            n_levels: graph.n_levels,
        });
    }
    if inputs.len() != graph.inputs().len() {
        return Err(EvalError::InputCount {
            expected: graph.inputs().len(),
            found: inputs.len(),
        });
    }
    let mut values: IndexMap<crate::NodeId, Array> = IndexMap::new();
    for (&id, input) in graph.inputs().iter().zip(inputs) {
        let node = graph.node(id);
        if node.shape != input.shape {
            return Err(EvalError::InputShape {
                name: node.name.clone(),
                expected: node.shape.clone(),
                found: input.shape.clone(),
            });
        }
        values.insert(id, input.clone());
    }
    for id in graph.order() {
        if values.contains_key(&id) {
            continue;
        }
        let node = graph.node(id);
        let operands = graph.operands(id);
        let arrays: Vec<&Array> = operands.iter().map(|o| &values[o]).collect();
        let ctx = EvalContext {
            tensors: graph.tensors(),
            level,
            shape: &node.shape,
        };
        let result = node.op.eval(&arrays, &ctx);
        values.insert(id, result);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_graph;

    fn example() -> Graph {
        parse_graph(
            "graph @g levels(2) (%x: f32[1, 2], %unused: f32[1]) -> (%y, %x as \"echo\") {
               tensor @w : f32[2, 2] = [1, 2, 3, 4] level [0, 1, 1, 0]
               tensor @s : f32[2] = per_level [1, 1] [10, 100]
               %c = constant {tensor=@s} : f32[2]
               %f = fully_connected %x {weight=@w} : f32[1, 2]
               %y = binary %f, %c {kind=mul} : f32[1, 2]
             }",
        )
        .unwrap()
    }

    fn inputs() -> [Array; 2] {
        [Array::new(&[1, 2], vec![1.0, 1.0]), Array::zeros(&[1])]
    }

    #[test]
    fn each_level_has_its_weights_and_rows() {
        let eval = |level| eval_graph(&example(), LevelId(level), &inputs()).unwrap();
        assert_eq!(eval(0)[0].data, [1.0, 4.0]);
        assert_eq!(eval(1)[0].data, [30.0, 700.0]);
        assert_eq!(eval(1)[1], inputs()[0]);
    }

    #[test]
    fn every_value_is_there() {
        let graph = example();
        let values = eval_all(&graph, LevelId(1), &inputs()).unwrap();
        let named = values
            .iter()
            .map(|(&id, array)| (graph.node(id).name.as_str(), &array.shape));
        let shapes: Vec<(&str, &Vec<usize>)> = named.collect();
        let (row, pair, one) = (vec![1, 2], vec![2], vec![1]);
        let expected = [
            ("x", &row),
            ("unused", &one),
            ("f", &row),
            ("c", &pair),
            ("y", &row),
        ];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn wrong_inputs_are_errors() {
        let graph = example();
        let [x, unused] = inputs();
        let error = |level, inputs: &[Array]| {
            eval_graph(&graph, LevelId(level), inputs)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(2, &inputs()),
            "level L2 does not exist, the graph has 2"
        );
        assert_eq!(
            error(0, std::slice::from_ref(&x)),
            "1 inputs given, the graph has 2"
        );
        let swapped = [unused, x];
        assert_eq!(error(0, &swapped), "input x has shape [1], expected [1, 2]");
    }
}
