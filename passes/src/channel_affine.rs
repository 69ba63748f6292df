//! `y[.., m, ..] = x[.., m, ..] * scale[m] + shift[m]`: what a batch norm, or arithmetic with one
//! constant per channel, does to the result of a convolution.
//!
//! Everything is computed in f64 and rounded once. Where all levels agree the factor goes into a
//! new copy of the weights; where they differ it becomes the epilogue's per-level `scale`, since
//! the levels share one weight buffer.

use condensec_ir::ops::LayerParameters;
use condensec_ir::tensor::LevelRule;
use condensec_ir::{Graph, LevelId, NodeId, Tensor, TensorId};

/// One number per channel, `[M]`, the same at all levels or with one row per level.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelRows {
    /// `[1, M]` or `[n_levels, M]`
    rows: Vec<Vec<f64>>,
}

impl ChannelRows {
    /// The values of a constant with one element per channel, or with one for all `m` of them.
    pub fn of_tensor(graph: &Graph, id: TensorId, m: usize) -> Self {
        let tensor = graph.tensor(id);
        let n_rows = match tensor.rule {
            LevelRule::Shared => 1,
            LevelRule::Masked(_) | LevelRule::PerLevel => graph.n_levels,
        };
        let row = |level| {
            let values = tensor.at_level(LevelId(level));
            let channel = |c: usize| f64::from(values[if values.len() == 1 { 0 } else { c }]);
            (0..m).map(channel).collect()
        };
        Self::new((0..n_rows).map(row).collect())
    }

    /// Levels that all say the same are no reason to keep several rows.
    fn new(mut rows: Vec<Vec<f64>>) -> Self {
        let is_same =
            |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        if rows.iter().all(|row| is_same(row, &rows[0])) {
            rows.truncate(1);
        }
        Self { rows }
    }

    /// `f(self, other)` for each channel and level.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let n_rows = self.rows.len().max(other.rows.len());
        let row = |rows: &[Vec<f64>], level: usize| rows[level.min(rows.len() - 1)].clone();
        let level = |level: usize| {
            let (a, b) = (row(&self.rows, level), row(&other.rows, level));
            a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect()
        };
        Self::new((0..n_rows).map(level).collect())
    }

    /// `f(self)` for each channel and level.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        self.zip(self, |value, _| f(value))
    }

    /// Whether two levels differ.
    pub fn is_per_level(&self) -> bool {
        self.rows.len() > 1
    }

    /// Whether all channels have `value` at every level.
    pub fn is_all(&self, value: f64) -> bool {
        self.rows.iter().flatten().all(|&v| v == value)
    }

    /// Whether any channel has `value` at any level.
    pub fn contains(&self, value: f64) -> bool {
        self.rows.iter().flatten().any(|&v| v == value)
    }

    /// Adds the rows to the graph as a constant of `shape`, which has one element per channel.
    pub fn add_to(&self, graph: &mut Graph, name: &str, shape: &[usize]) -> TensorId {
        let name = unique_tensor_name(graph, name);
        let data: Vec<f32> = self.rows.iter().flatten().map(|&v| v as f32).collect();
        graph.add_tensor(match self.is_per_level() {
            true => Tensor::per_level(name, shape, data),
            false => Tensor::shared(name, shape, data),
        })
    }
}

/// `y[m] = x[m] * scale[m] + shift[m]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChannelAffine {
    /// Factor of each channel.
    pub scale: ChannelRows,
    /// What is added to each channel then.
    pub shift: ChannelRows,
}

impl ChannelAffine {
    /// Whether the result of `node` can take part of its user's work: it is a convolution or fully
    /// connected layer that nobody else reads and whose epilogue ends with the bias.
    pub fn accepts(graph: &Graph, node: NodeId, user: NodeId) -> bool {
        let Some(epilogue) = LayerParameters::of(&graph.node(node).op) else {
            return false;
        };
        let is_open = !epilogue.residual && epilogue.activation.is_none();
        is_open && graph.sole_user(node) == Some(user)
    }

    /// Turns `user`, which applies the affine map to the result of `weighted`, into a copy of
    /// `weighted` that has the map in its parameters. [`Self::accepts`] holds for the two.
    pub fn fold_into(&self, graph: &mut Graph, weighted: NodeId, user: NodeId) {
        let mut op = graph.node(weighted).op.clone();
        let mut epilogue = LayerParameters::of(&op).expect("accepts() has found an epilogue");
        let name = graph.node(user).name.clone();
        let m = self.scale.rows[0].len();
        let old = |id: Option<TensorId>| id.map(|id| ChannelRows::of_tensor(graph, id, m));
        let (old_scale, old_bias) = (old(epilogue.scale), old(epilogue.bias));

        let has_factor = !self.scale.is_all(1.0);
        if has_factor {
            let scale = match &old_scale {
                Some(old) => old.zip(&self.scale, |old, new| old * new),
                None => self.scale.clone(),
            };
            if scale.is_per_level() {
                epilogue.scale = Some(scale.add_to(graph, &format!("{name}.scale"), &[m]));
            } else {
                epilogue.weight = scale_rows(graph, epilogue.weight, &scale, &name);
                epilogue.scale = None;
            }
        }
        let has_bias = old_bias.is_some() && has_factor;
        if has_bias || !self.shift.is_all(0.0) {
            let bias = match &old_bias {
                Some(old) => old
                    .zip(&self.scale, |old, new| old * new)
                    .zip(&self.shift, |old, new| old + new),
                None => self.shift.clone(),
            };
            epilogue.bias = Some(bias.add_to(graph, &format!("{name}.bias"), &[m]));
        }

        epilogue.write_to(&mut op);
        let operands = graph.operands(weighted);
        graph
            .replace_node(user, op, &operands)
            .expect("the parameters have the shapes of the old ones");
        graph.node_mut(user).origin = graph.node(weighted).origin.clone();
    }
}

/// A copy of the weight `[M, ..]` with row `m` times `scale[m]`. Zeros stay zeros, whatever the
/// factor, since a kernel never visits them.
fn scale_rows(graph: &mut Graph, weight: TensorId, scale: &ChannelRows, name: &str) -> TensorId {
    let tensor = graph.tensor(weight);
    let factors = &scale.rows[0];
    let row_len = tensor.n_elems() / factors.len().max(1);
    let scaled = |(i, &w): (usize, &f32)| match w == 0.0 {
        true => w,
        false => (f64::from(w) * factors[i / row_len % factors.len()]) as f32,
    };
    let folded = Tensor {
        name: unique_tensor_name(graph, &format!("{name}.weight")),
        data: tensor.data.iter().enumerate().map(scaled).collect(),
        shape: tensor.shape.clone(),
        rule: tensor.rule.clone(),
    };
    graph.add_tensor(folded)
}

/// `wanted`, with a number behind it if a tensor has that name.
fn unique_tensor_name(graph: &Graph, wanted: &str) -> String {
    let is_taken = |name: &str| graph.tensors().iter().any(|tensor| tensor.name == name);
    let mut name = wanted.to_string();
    let mut n = 1;
    while is_taken(&name) {
        name = format!("{wanted}.{n}");
        n += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_agree_become_one() {
        let mut graph = Graph::new("g", 2);
        let mut rows = |data: [f32; 4]| {
            let id = graph.add_tensor(Tensor::per_level("t", &[2], data));
            ChannelRows::of_tensor(&graph, id, 2)
        };
        assert!(!rows([1.0, 2.0, 1.0, 2.0]).is_per_level());
        let different = rows([1.0, 2.0, 3.0, 4.0]);
        assert!(different.is_per_level());
        assert!(!different.zip(&different, |a, b| a / b).is_per_level());
        assert!(!rows([f32::NAN; 4]).is_per_level());
    }

    #[test]
    fn a_scalar_is_for_all_channels() {
        let mut graph = Graph::new("g", 1);
        let id = graph.add_tensor(Tensor::shared("t", &[], [2.0]));
        assert_eq!(
            ChannelRows::of_tensor(&graph, id, 3),
            ChannelRows {
                rows: vec![vec![2.0; 3]]
            }
        );
    }

    #[test]
    fn names_stay_unique() {
        let mut graph = Graph::new("g", 1);
        for expected in ["t", "t.1", "t.2"] {
            let id = ChannelRows {
                rows: vec![vec![0.0]],
            }
            .add_to(&mut graph, "t", &[1]);
            assert_eq!(graph.tensor(id).name, expected);
        }
    }
}
