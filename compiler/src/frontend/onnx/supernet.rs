//! Levels of a graph written back into the model that the graph was imported from.
//!
//! A supernet is the user's file with other values and some initializers more: whatever the importer
//! does not understand, and whatever the user knows the file by, stays. That takes weights and parameters
//! that can be found in the file as the graph has them; [`fixed_layers`] names the layers whose cannot.

use std::collections::{HashMap, HashSet};

use condensec_ir::ops::LayerParameters;
use condensec_ir::tensor::{LevelRule, Tensor};
use condensec_ir::{Diagnostic, Graph, NodeId, Op, TensorId};

use super::constants::Literal;
use super::masks::SUFFIXES;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto};

/// How the file stores a tensor of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// Element by element.
    AsIs,
    /// A matrix, columns first.
    Transposed,
}

/// Constants of a layer that its levels would change.
fn constants(graph: &Graph, node: NodeId) -> Option<(TensorId, Vec<TensorId>)> {
    let layer = LayerParameters::of(&graph.node(node).op)?;
    let mut parameters: Vec<TensorId> = layer.bias.into_iter().collect();
    if let Some(user) = graph.sole_user(node)
        && let Op::BatchNorm(norm) = &graph.node(user).op
    {
        parameters.extend([norm.scale, norm.bias]);
    }
    Some((layer.weight, parameters))
}

/// Layers of `graph` whose constants the file has in another form, so that levels could not be
/// written back.
pub fn fixed_layers(model: &ModelProto, graph: &Graph) -> Vec<NodeId> {
    let file = File::new(model);
    let is_fixed = |node: NodeId| {
        let (weight, parameters) = constants(graph, node)?;
        let is_found = file.stored(graph.tensor(weight)).is_some()
            && file.has_sole_reader(&graph.tensor(weight).name)
            && parameters.iter().all(|&id| {
                let tensor = graph.tensor(id);
                file.stored(tensor) == Some(Stored::AsIs) && file.has_sole_reader(&tensor.name)
            });
        (!is_found).then_some(node)
    };
    graph.order().into_iter().filter_map(is_fixed).collect()
}

/// The highest level of a supernet as a plain model: the same file without its level data.
pub fn without_levels(model: &ModelProto) -> ModelProto {
    let mut plain = model.clone();
    plain
        .metadata_props
        .retain(|entry| !entry.key().starts_with("condense."));
    if let Some(graph) = &mut plain.graph {
        let names: HashSet<String> = graph
            .initializer
            .iter()
            .map(|tensor| tensor.name().to_string())
            .collect();
        let is_level_data = |name: &str| {
            let bases = SUFFIXES
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix));
            bases.into_iter().any(|base| names.contains(base))
        };
        graph.initializer.retain(|t| !is_level_data(t.name()));
        graph.input.retain(|input| !is_level_data(input.name()));
    }
    plain
}

/// Gives `model` the levels of `nested`, which has been made of `graph`, the import of `model`.
///
/// # Errors
/// `not-in-file`: a constant that has changed is one of [`fixed_layers`].
pub fn write_levels(
    model: &ModelProto,
    graph: &Graph,
    nested: &Graph,
) -> Result<ModelProto, Diagnostic> {
    let file = File::new(model);
    let mut edits = Edits {
        model: model.clone(),
        n_levels: nested.n_levels,
    };
    // Names that a single level may have had.
    edits
        .model
        .metadata_props
        .retain(|entry| entry.key() != "condense.level_names");
    edits.model.set_metadata("condense.version", "1");
    edits
        .model
        .set_metadata("condense.levels", nested.n_levels.to_string());
    if !nested.level_names.is_empty() {
        let names = nested.level_names.join(",");
        edits.model.set_metadata("condense.level_names", names);
    }
    for (before, after) in graph.tensors().iter().zip(nested.tensors()) {
        if before == after {
            continue;
        }
        let stored = file.stored(before).ok_or_else(|| {
            let message = format!("`{}` is not in the file as it is used", before.name);
            Diagnostic::error("not-in-file", message).at_tensor(&before.name)
        })?;
        edits.replace(after, stored);
    }
    for node in graph.order() {
        edits.add_epilogue(graph, nested, node);
    }
    Ok(edits.model)
}

/// The constants of a model and their readers.
struct File<'m> {
    graph: Option<&'m GraphProto>,
    readers: HashMap<&'m str, usize>,
}

impl<'m> File<'m> {
    fn new(model: &'m ModelProto) -> Self {
        let graph = model.graph.as_ref();
        let mut readers: HashMap<&str, usize> = HashMap::new();
        for node in graph.iter().flat_map(|graph| &graph.node) {
            for name in super::import::reads(node) {
                *readers.entry(name).or_default() += 1;
            }
        }
        Self { graph, readers }
    }

    /// Whether only one node reads a constant.
    fn has_sole_reader(&self, name: &str) -> bool {
        self.readers.get(name) == Some(&1)
    }

    fn literal(&self, name: &str) -> Option<Literal> {
        let graph = self.graph?;
        let is_named = |tensor: &&TensorProto| tensor.name() == name;
        if let Some(tensor) = graph.initializer.iter().find(is_named) {
            return Literal::from_proto(tensor).ok();
        }
        let node = graph.node.iter().find(|node| is_constant(node, name))?;
        let value = node.attribute.iter().find(|a| a.name() == "value")?;
        Literal::from_proto(value.t.as_ref()?).ok()
    }

    /// How the file stores `tensor`, if it has it with the same values.
    fn stored(&self, tensor: &Tensor) -> Option<Stored> {
        let literal = self.literal(&tensor.name)?;
        let values = literal.as_f32()?;
        // Axes that the file has more, as `[1, columns, 1]` for a matrix, a mask's blocks would lack.
        let has_rows = literal.shape.first() == tensor.shape.first();
        let has_axes = literal.shape.len() <= tensor.shape.len().max(2);
        if same_bits(values, &tensor.data) && has_rows && has_axes {
            return Some(Stored::AsIs);
        }
        let &[rows, columns] = tensor.shape.as_slice() else {
            return None;
        };
        let is_transposed = literal.shape == [columns, rows]
            && same_bits(&transposed(values, columns, rows), &tensor.data);
        is_transposed.then_some(Stored::Transposed)
    }
}

fn is_constant(node: &NodeProto, name: &str) -> bool {
    node.op_type() == "Constant" && node.output.first().is_some_and(|output| output == name)
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A row-major matrix `[rows, columns]` with its axes exchanged.
fn transposed<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let at = |i: usize| values[i % rows * columns + i / rows];
    (0..rows * columns).map(at).collect()
}

/// The model that is being written.
struct Edits {
    model: ModelProto,
    n_levels: u32,
}

impl Edits {
    fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_default()
    }

    fn add_initializer(&mut self, tensor: TensorProto) {
        let ir_version = self.model.ir_version();
        self.graph().add_initializer(tensor, ir_version);
    }

    /// Writes a tensor of the graph over the constant it came from, with its level data beside it.
    fn replace(&mut self, tensor: &Tensor, stored: Stored) {
        let name = tensor.name.as_str();
        let n = tensor.n_elems();
        let top = match tensor.rule {
            LevelRule::PerLevel => &tensor.data[tensor.data.len() - n..],
            LevelRule::Shared | LevelRule::Masked(_) => &tensor.data[..],
        };
        let values = match (stored, tensor.shape.as_slice()) {
            (Stored::Transposed, &[rows, columns]) => transposed(top, rows, columns),
            _ => top.to_vec(),
        };
        let dims = self.set_values(name, &values);
        match &tensor.rule {
            LevelRule::Shared => {}
            LevelRule::PerLevel => {
                let dims = [&[i64::from(self.n_levels)], dims.as_slice()].concat();
                let rows = TensorProto::from_f32(&format!("{name}__levels"), &dims, &tensor.data);
                self.add_initializer(rows);
            }
            LevelRule::Masked(mask) => {
                let rank = dims.len();
                let mut block = mask.block().to_vec();
                let mut levels = mask.values().to_vec();
                if let (Stored::Transposed, &[rows, columns]) = (stored, tensor.shape.as_slice()) {
                    block.reverse();
                    levels = transposed(&levels, rows, columns);
                }
                block.truncate(rank);
                self.add_mask(name, &dims, &block, &levels);
            }
        }
    }

    /// Replaces the values of a constant; returns its dimensions.
    fn set_values(&mut self, name: &str, values: &[f32]) -> Vec<i64> {
        let graph = self.graph();
        if let Some(at) = graph.node.iter().position(|node| is_constant(node, name)) {
            let node = graph.node.remove(at);
            let value = node.attribute.iter().find(|a| a.name() == "value");
            let dims = value.and_then(|a| a.t.as_ref()).map(|t| t.dims.clone());
            let dims = dims.unwrap_or_default();
            self.add_initializer(TensorProto::from_f32(name, &dims, values));
            return dims;
        }
        let found = graph.initializer.iter_mut().find(|t| t.name() == name);
        let tensor = found.expect("File::stored has found it");
        let dims = tensor.dims.clone();
        *tensor = TensorProto::from_f32(name, &dims, values);
        dims
    }

    /// Writes a mask, on its block grid where it has blocks.
    fn add_mask(&mut self, name: &str, dims: &[i64], block: &[usize], levels: &[u8]) {
        let shape: Vec<usize> = dims
            .iter()
            .map(|&d| usize::try_from(d).unwrap_or(0))
            .collect();
        let grid: Vec<usize> = shape
            .iter()
            .zip(block)
            .map(|(d, b)| d.div_ceil(*b))
            .collect();
        let first_of = |mut at: usize| {
            let mut position = 0;
            let mut stride = 1;
            for axis in (0..shape.len()).rev() {
                position += at % grid[axis] * block[axis] * stride;
                at /= grid[axis];
                stride *= shape[axis];
            }
            levels[position]
        };
        let values: Vec<u8> = (0..grid.iter().product()).map(first_of).collect();
        let dims: Vec<i64> = grid.iter().map(|&d| d as i64).collect();
        self.add_initializer(TensorProto::from_u8(
            &format!("{name}__level"),
            &dims,
            &values,
        ));
        if block.iter().any(|&size| size > 1) {
            let text: Vec<String> = block.iter().map(usize::to_string).collect();
            let key = format!("condense.block:{name}");
            self.model.set_metadata(&key, text.join("x"));
        }
    }

    /// Adds the scale, and the bias where the file has none, that a layer has got.
    fn add_epilogue(&mut self, graph: &Graph, nested: &Graph, node: NodeId) {
        let parameters = |graph: &Graph| LayerParameters::of(&graph.node(node).op);
        let (Some(before), Some(after)) = (parameters(graph), parameters(nested)) else {
            return;
        };
        if before.scale.is_some() {
            return;
        }
        let weight = graph.tensor(before.weight).name.clone();
        let per_level = |tensor: &Tensor, name: String| {
            let n = tensor.n_elems() as i64;
            TensorProto::from_f32(&name, &[(tensor.data.len() as i64) / n, n], &tensor.data)
        };
        if let Some(scale) = after.scale {
            self.add_initializer(per_level(nested.tensor(scale), format!("{weight}__scale")));
        }
        let (None, Some(bias)) = (before.bias, after.bias) else {
            return;
        };
        let bias = nested.tensor(bias);
        let name = format!("{weight}__bias");
        let n = bias.n_elems();
        let top = &bias.data[bias.data.len() - n..];
        self.add_initializer(TensorProto::from_f32(&name, &[n as i64], top));
        self.add_initializer(per_level(bias, format!("{name}__levels")));
        self.add_bias_input(&weight, &name);
    }

    /// Makes the node that reads `weight` add `bias`.
    fn add_bias_input(&mut self, weight: &str, bias: &str) {
        let nodes = &mut self.graph().node;
        let reads = |node: &NodeProto| node.input.iter().any(|input| input == weight);
        let Some(at) = nodes.iter().position(reads) else {
            return;
        };
        let node = &mut nodes[at];
        if node.op_type() != "MatMul" {
            node.input.resize(node.input.len().max(3), String::new());
            node.input[2] = bias.to_string();
            // A Gemm that had no bias may say anything of its factor.
            node.attribute
                .retain(|attribute| attribute.name() != "beta");
            return;
        }
        // A matrix product has no bias: an addition behind it takes its name.
        let Some(output) = node.output.first_mut() else {
            return;
        };
        let product = format!("{output}__product");
        let result = std::mem::replace(output, product.clone());
        let name = format!("{}__bias", node.name());
        let inputs = [product.as_str(), bias];
        nodes.insert(
            at + 1,
            NodeProto::new("Add", &name, &inputs, &[&result], Vec::new()),
        );
    }
}

#[cfg(test)]
mod tests;
