//! Operating points: a level of its own for every layer, as levels of the same supernet.
//!
//! A uniform level gives all layers one density. The weights are stored in the order of the levels, layer by
//! layer, so that any other choice runs on the same buffer; a chain of choices in which no layer goes
//! back is a nested mask again, and needs nothing that a supernet does not have:
//! ```text
//! weight of level v in layer i  ->  level of the first point p with p[i] >= v
//! row of parameter P at point p ->  row p[i] of P, where i is the layer that P belongs to
//! ```

use condensec_ir::ops::LayerParameters;
use condensec_ir::sparsity::LevelMask;
use condensec_ir::tensor::{LevelRule, Tensor};
use condensec_ir::{Graph, NodeId, TensorId};
use std::collections::HashMap;

/// The level of every masked layer, in their order.
pub type Assignment = Vec<usize>;

/// The weights with masks of a graph, in order of execution, and the nodes that follow each.
#[derive(Debug, Clone)]
pub struct MaskedLayers {
    names: Vec<String>,
    own: HashMap<NodeId, usize>,
    followed: HashMap<NodeId, usize>,
}

impl MaskedLayers {
    /// Looks for them. What belongs to none follows the one before it: the first operand's, or the first of all.
    pub fn of(graph: &Graph) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut own: HashMap<NodeId, usize> = HashMap::new();
        let mut followed: HashMap<NodeId, usize> = HashMap::new();
        for node in graph.order() {
            let weight = graph.node(node).op.tensors().into_iter().find_map(|id| {
                let tensor = graph.tensor(id);
                matches!(tensor.rule, LevelRule::Masked(_)).then_some(&tensor.name)
            });
            let layer = match weight {
                Some(name) => {
                    let known = names.iter().position(|other| other == name);
                    let layer = known.unwrap_or_else(|| {
                        names.push(name.clone());
                        names.len() - 1
                    });
                    own.insert(node, layer);
                    layer
                }
                None => {
                    let operands = graph.operands(node);
                    let before = operands.iter().find_map(|operand| followed.get(operand));
                    before.copied().unwrap_or(0)
                }
            };
            followed.insert(node, layer);
        }
        Self {
            names,
            own,
            followed,
        }
    }

    /// Names of the weights.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no weight has a mask.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The layer whose weight `node` reads.
    pub fn at(&self, node: NodeId) -> Option<usize> {
        self.own.get(&node).copied()
    }

    /// The layer that `node` follows, itself if it has a mask; 0 if there are none.
    pub fn followed_by(&self, node: NodeId) -> usize {
        self.followed.get(&node).copied().unwrap_or(0)
    }
}

/// `plain`, the highest level of `supernet` on its own, with one level per point. The points count the layers of
/// [`MaskedLayers::of`] `supernet`, and grow: no layer's level is lower at a later point.
///
/// # Panics
/// If the points do not grow, or have another number of layers.
pub fn with_points(
    plain: &Graph,
    supernet: &Graph,
    points: &[Assignment],
    names: Vec<String>,
) -> Graph {
    let layers = MaskedLayers::of(supernet);
    for pair in points.windows(2) {
        assert!(
            pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b),
            "points grow"
        );
    }
    let layer_of_tensor = layer_of_tensor(supernet, &layers);
    let by_name: HashMap<&str, TensorId> = (0..)
        .map(TensorId)
        .zip(supernet.tensors())
        .map(|(id, tensor)| (tensor.name.as_str(), id))
        .collect();
    let at_points = |id: TensorId| -> Tensor {
        let layer = layer_of_tensor.get(&id).copied().unwrap_or(0);
        let levels: Vec<usize> = points.iter().map(|point| point[layer]).collect();
        tensor_at(supernet.tensor(id), supernet.n_levels as usize, &levels)
    };

    let mut graph = plain.clone();
    graph.n_levels = u32::try_from(points.len()).expect("at most 64 points");
    graph.level_names = names;
    for index in 0..plain.tensors().len() {
        let id = TensorId(u32::try_from(index).expect("tensors are counted in u32"));
        if let Some(&other) = by_name.get(plain.tensor(id).name.as_str())
            && supernet.tensor(other).rule != LevelRule::Shared
        {
            graph.set_tensor(id, at_points(other));
        }
    }
    // A scale per level is all ones in the plain file, which therefore has none.
    let scales: HashMap<&str, TensorId> = supernet
        .order()
        .into_iter()
        .filter_map(|node| {
            let layer = LayerParameters::of(&supernet.node(node).op)?;
            Some((supernet.tensor(layer.weight).name.as_str(), layer.scale?))
        })
        .collect();
    for node in plain.order() {
        let Some(mut layer) = LayerParameters::of(&plain.node(node).op) else {
            continue;
        };
        let Some(&scale) = scales.get(plain.tensor(layer.weight).name.as_str()) else {
            continue;
        };
        layer.scale = Some(graph.add_tensor(at_points(scale)));
        layer.write_to(&mut graph.node_mut(node).op);
    }
    graph
}

/// The layer that each tensor is read for.
fn layer_of_tensor(graph: &Graph, layers: &MaskedLayers) -> HashMap<TensorId, usize> {
    let mut found = HashMap::new();
    for node in graph.order() {
        for tensor in graph.node(node).op.tensors() {
            found
                .entry(tensor)
                .or_insert_with(|| layers.followed_by(node));
        }
    }
    found
}

/// `tensor` with one level for each of `levels`, which grow.
fn tensor_at(tensor: &Tensor, n_levels: usize, levels: &[usize]) -> Tensor {
    let (data, rule) = match &tensor.rule {
        LevelRule::Shared => (tensor.data.clone(), LevelRule::Shared),
        LevelRule::PerLevel => {
            let n = tensor.n_elems();
            let rows = levels.iter().map(|level| &tensor.data[level * n..][..n]);
            (rows.flatten().copied().collect(), LevelRule::PerLevel)
        }
        LevelRule::Masked(mask) => {
            let first_point = |&v: &u8| match usize::from(v) < n_levels {
                true => levels.partition_point(|&level| level < usize::from(v)) as u8,
                false => u8::MAX,
            };
            let values: Vec<u8> = mask.values().iter().map(first_point).collect();
            let mask = LevelMask::new(values, mask.block());
            (tensor.data.clone(), LevelRule::Masked(mask))
        }
    };
    Tensor {
        data,
        rule,
        ..tensor.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(values: &[u8]) -> Tensor {
        let data: Vec<f32> = values.iter().map(|&v| f32::from(v) + 1.0).collect();
        Tensor {
            rule: LevelRule::Masked(LevelMask::new(values.to_vec(), &[1])),
            ..Tensor::shared("w", &[values.len()], data)
        }
    }

    #[test]
    fn a_weight_comes_in_at_the_first_point_that_is_dense_enough() {
        let tensor = tensor_at(&masked(&[0, 1, 2, 3]), 3, &[0, 0, 2, 2]);
        let LevelRule::Masked(mask) = &tensor.rule else {
            panic!("{:?}", tensor.rule)
        };
        // The last weight belongs to no level.
        assert_eq!(mask.values(), [0, 2, 2, u8::MAX]);
    }

    #[test]
    fn a_parameter_has_the_row_of_its_layers_level() {
        let rows = Tensor::per_level("p", &[2], vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        let tensor = tensor_at(&rows, 3, &[0, 2, 2]);
        assert_eq!(*tensor.data, [0.0, 0.5, 2.0, 2.5, 2.0, 2.5]);
    }
}
