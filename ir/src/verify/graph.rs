//! What holds for every graph between two passes:
//!
//! - There are 1 to 64 levels; level names are missing, or there is one for each level.
//! - Names are unique: of values, of tensors, of outputs.
//! - A tensor has as many elements as its shape says, once for each level if it is per level. A
//!   mask has one value for each element, and its block has one size of at least 1 for each axis.
//! - Inputs are exactly the nodes with the op `input`; the nodes of inputs and outputs exist.
//! - No value depends on itself.
//! - The tensors that an op names exist.
//! - An op accepts its operands, and the shape of a node is the one that follows from them.
//! - A weight is not per level, since it exists once; an epilogue or batch norm parameter is not
//!   masked.
//! - The layout of a value holds all its elements; see `verify/layout.rs`.

use super::layout::check_layout;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Node, NodeId};
use crate::ops::{Op, checked_n_elems};
use crate::tensor::{LevelRule, Tensor, TensorId};
use indexmap::{IndexMap, IndexSet};

/// What a supernet file may say; masks store a level in a byte.
const MAX_LEVELS: u32 = 64;

/// Checks the invariants that the module lists.
///
/// # Errors
/// Everything that is wrong, with the node or tensor.
pub fn verify_graph(graph: &Graph) -> Result<(), Vec<Diagnostic>> {
    let mut found = Vec::new();
    check_levels(graph, &mut found);
    check_tensors(graph, &mut found);
    // What comes after follows edges from the outputs, so they must lead somewhere and end.
    if check_ends(graph, &mut found) && check_acyclic(graph, &mut found) {
        check_nodes(graph, &mut found);
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(found),
    }
}

fn check_levels(graph: &Graph, found: &mut Vec<Diagnostic>) {
    let (n_levels, n_names) = (graph.n_levels, graph.level_names.len());
    if !(1..=MAX_LEVELS).contains(&n_levels) {
        let message = format!("the graph has {n_levels} levels, expected 1 to {MAX_LEVELS}");
        found.push(Diagnostic::error("level-count", message));
    }
    if n_names != 0 && n_names != n_levels as usize {
        let message = format!("{n_names} level names for {n_levels} levels");
        found.push(Diagnostic::error("length-mismatch", message));
    }
}

fn check_tensors(graph: &Graph, found: &mut Vec<Diagnostic>) {
    let mut names = IndexSet::new();
    for tensor in graph.tensors() {
        if !names.insert(tensor.name.as_str()) {
            let message = "two tensors have this name";
            found.push(Diagnostic::error("duplicate-name", message).at_tensor(&tensor.name));
        }
        if let Err(message) = check_tensor(tensor, graph.n_levels) {
            found.push(Diagnostic::error("length-mismatch", message).at_tensor(&tensor.name));
        }
    }
}

fn check_tensor(tensor: &Tensor, n_levels: u32) -> Result<(), String> {
    let Tensor {
        shape, data, rule, ..
    } = tensor;
    let n_elems = checked_n_elems(shape).ok_or_else(|| format!("shape {shape:?} is too large"))?;
    let expected = match rule {
        LevelRule::PerLevel => n_elems.checked_mul(n_levels as usize),
        LevelRule::Shared | LevelRule::Masked(_) => Some(n_elems),
    };
    if expected != Some(data.len()) {
        return Err(format!(
            "{} elements do not fit shape {shape:?}",
            data.len()
        ));
    }
    let LevelRule::Masked(mask) = rule else {
        return Ok(());
    };
    if mask.values().len() != n_elems {
        return Err(format!(
            "a mask of {} values does not fit {shape:?}",
            mask.values().len()
        ));
    }
    if mask.block().len() != shape.len() || mask.block().contains(&0) {
        return Err(format!(
            "mask block {:?} does not fit {shape:?}",
            mask.block()
        ));
    }
    Ok(())
}

/// Inputs and outputs; true if all nodes exist.
fn check_ends(graph: &Graph, found: &mut Vec<Diagnostic>) -> bool {
    let mut all_exist = true;
    let mut inputs = IndexSet::new();
    for &input in graph.inputs() {
        if !graph.contains(input) {
            let message = format!("input {input} does not exist");
            found.push(Diagnostic::error("missing-node", message));
            all_exist = false;
            continue;
        }
        let node = graph.node(input);
        if !matches!(node.op, Op::Input(_)) || !inputs.insert(input) {
            let message = "a graph input is listed twice or computed";
            found.push(at(node, "bad-input", message));
        }
    }
    let mut names = IndexSet::new();
    for output in graph.outputs() {
        if !names.insert(output.name.as_str()) {
            let message = "two outputs have this name";
            found.push(Diagnostic::error("duplicate-name", message).at_tensor(&output.name));
        }
        if !graph.contains(output.node) {
            let message = format!("the output's node {} does not exist", output.node);
            found.push(Diagnostic::error("missing-node", message).at_tensor(&output.name));
            all_exist = false;
        }
    }
    all_exist
}

/// True if no value that an output needs depends on itself.
fn check_acyclic(graph: &Graph, found: &mut Vec<Diagnostic>) -> bool {
    /// Whether all operands of a node have been walked.
    #[derive(PartialEq)]
    enum Walk {
        Open,
        Done,
    }
    let mut walks: IndexMap<NodeId, Walk> = IndexMap::new();
    for output in graph.outputs() {
        let mut stack = vec![(output.node, Walk::Open)];
        while let Some((id, walk)) = stack.pop() {
            if walk == Walk::Done {
                walks.insert(id, Walk::Done);
                continue;
            }
            match walks.get(&id) {
                Some(Walk::Done) => continue,
                Some(Walk::Open) => {
                    found.push(at(
                        graph.node(id),
                        "cyclic-graph",
                        "the value depends on itself",
                    ));
                    return false;
                }
                None => {}
            }
            walks.insert(id, Walk::Open);
            stack.push((id, Walk::Done));
            let operands = graph.operands(id).into_iter();
            stack.extend(operands.map(|operand| (operand, Walk::Open)));
        }
    }
    true
}

fn check_nodes(graph: &Graph, found: &mut Vec<Diagnostic>) {
    let mut names = IndexSet::new();
    for id in graph.order() {
        let node = graph.node(id);
        if !names.insert(node.name.as_str()) {
            found.push(at(node, "duplicate-name", "two values have this name"));
        }
        let missing = node
            .op
            .tensors()
            .into_iter()
            .find(|t| t.0 as usize >= graph.tensors().len());
        if let Some(TensorId(number)) = missing {
            let message = format!(
                "tensor {number} of {} does not exist",
                graph.tensors().len()
            );
            found.push(at(node, "unknown-tensor", message));
            continue;
        }
        if let Err(message) = check_shape(graph, id) {
            found.push(at(node, "shape-mismatch", message));
            continue;
        }
        check_rules(graph, node, found);
        if let Err(message) = check_layout(&node.layout, &node.shape) {
            found.push(at(node, "bad-layout", message));
        }
    }
}

fn check_shape(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = graph.node(id);
    let operands = graph.operands(id);
    if matches!(node.op, Op::Input(_)) {
        let is_known = graph.inputs().contains(&id) && operands.is_empty();
        return match checked_n_elems(&node.shape) {
            _ if !is_known => Err("an input that the graph does not list, or with operands".into()),
            None => Err(format!("a value of shape {:?} is too large", node.shape)),
            Some(_) => Ok(()),
        };
    }
    let inferred = graph
        .infer_shape(&node.op, &operands)
        .map_err(|error| error.to_string())?;
    match inferred == node.shape {
        true => Ok(()),
        false => Err(format!(
            "the node says {:?}, its op gives {inferred:?}",
            node.shape
        )),
    }
}

/// Which level rules an op's tensors may have. The tensors exist.
fn check_rules(graph: &Graph, node: &Node, found: &mut Vec<Diagnostic>) {
    let (weight, parameters) = match &node.op {
        Op::Conv2d(op) => (Some(op.weight), vec![op.scale, op.bias]),
        Op::FullyConnected(op) => (Some(op.weight), vec![op.scale, op.bias]),
        Op::BatchNorm(op) => (
            None,
            vec![Some(op.scale), Some(op.bias), Some(op.mean), Some(op.var)],
        ),
        Op::AvgPool(_)
        | Op::Binary(_)
        | Op::Concat(_)
        | Op::Constant(_)
        | Op::Input(_)
        | Op::MatMul(_)
        | Op::MaxPool(_)
        | Op::Pad(_)
        | Op::Reduce(_)
        | Op::Relayout(_)
        | Op::Reshape(_)
        | Op::Resize(_)
        | Op::Slice(_)
        | Op::Softmax(_)
        | Op::Transpose(_)
        | Op::Unary(_) => (None, Vec::new()),
    };
    if let Some(tensor) = weight
        .map(|id| graph.tensor(id))
        .filter(|tensor| tensor.is_per_level())
    {
        let message = "a weight is per level, but exists once for all levels";
        found.push(at(node, "per-level-weight", message).at_tensor(&tensor.name));
    }
    for tensor in parameters.into_iter().flatten().map(|id| graph.tensor(id)) {
        if matches!(tensor.rule, LevelRule::Masked(_)) {
            let message = "a parameter is masked; it may be shared or per level";
            found.push(at(node, "masked-parameter", message).at_tensor(&tensor.name));
        }
    }
}

fn at(node: &Node, code: &'static str, message: impl Into<String>) -> Diagnostic {
    let op_type = match node.origin.op_type.is_empty() {
        true => node.op.mnemonic(),
        false => &node.origin.op_type,
    };
    let name = match node.origin.name.is_empty() {
        true => &node.name,
        false => &node.origin.name,
    };
    Diagnostic::error(code, message).at_node(name, op_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::ops::{Conv2d, Relayout, Unary, UnaryKind};
    use crate::sparsity::LevelMask;
    use crate::text::parse_graph;

    /// One convolution on `[1, 2, 4, 4]`, two levels.
    fn example() -> Graph {
        parse_graph(
            "graph @g levels(2) (%x: f32[1, 2, 4, 4]) -> (%y) {
               tensor @w : f32[1, 2, 1, 1] = [1, 2] level [0, 1]
               tensor @b : f32[1] = per_level [1] [2]
               %y = conv2d %x {weight=@w, bias=@b} : f32[1, 1, 4, 4]
             }",
        )
        .unwrap()
    }

    fn codes(graph: &Graph) -> Vec<&'static str> {
        let found = verify_graph(graph).err().unwrap_or_default();
        found.iter().map(|diagnostic| diagnostic.code).collect()
    }

    fn output(graph: &Graph) -> NodeId {
        graph.outputs()[0].node
    }

    #[test]
    fn a_good_graph_passes() {
        assert_eq!(verify_graph(&example()), Ok(()));
    }

    #[test]
    fn levels() {
        let mut graph = example();
        graph.n_levels = 65;
        graph.level_names = vec!["small".into()];
        // The bias has two rows, too.
        assert_eq!(
            codes(&graph),
            ["level-count", "length-mismatch", "length-mismatch"]
        );
    }

    #[test]
    fn tensors() {
        let check = |tensor: Tensor| {
            let mut graph = example();
            graph.add_tensor(tensor);
            codes(&graph)
        };
        let masked = |values: Vec<u8>, block: &[usize]| {
            let rule = LevelRule::Masked(LevelMask::new(values, block));
            check(Tensor {
                rule,
                ..Tensor::shared("m", &[2], [1.0, 2.0])
            })
        };
        assert_eq!(check(Tensor::shared("w", &[1], [1.0])), ["duplicate-name"]);
        assert_eq!(check(Tensor::shared("c", &[2], [1.0])), ["length-mismatch"]);
        assert_eq!(
            check(Tensor::shared("c", &[usize::MAX, 2], [1.0])),
            ["length-mismatch"]
        );
        assert_eq!(
            check(Tensor::per_level("c", &[1], [1.0])),
            ["length-mismatch"]
        );
        assert_eq!(masked(vec![0, 1], &[1]), [""; 0]);
        assert_eq!(masked(vec![0], &[1]), ["length-mismatch"]);
        assert_eq!(masked(vec![0, 1], &[0]), ["length-mismatch"]);
        assert_eq!(masked(vec![0, 1], &[1, 1]), ["length-mismatch"]);
    }

    #[test]
    fn ends() {
        let mut graph = example();
        graph.add_output("y", NodeId(99));
        assert_eq!(codes(&graph), ["duplicate-name", "missing-node"]);

        let mut graph = example();
        let x = graph.inputs()[0];
        graph.node_mut(x).op = Op::Relayout(Relayout);
        assert_eq!(codes(&graph), ["bad-input", "shape-mismatch"]);

        let mut graph = example();
        let y = output(&graph);
        graph.node_mut(y).op = Op::Input(crate::ops::Input);
        assert_eq!(codes(&graph), ["shape-mismatch"]);
    }

    #[test]
    fn cycles() {
        let mut graph = example();
        let y = output(&graph);
        let relu = Op::Unary(Unary {
            kind: UnaryKind::Relu,
        });
        let z = graph.add_node("z", relu, &[y], Origin::default()).unwrap();
        graph.set_output(0, z);
        assert_eq!(codes(&graph), [""; 0]);
        graph.set_operand(y, 0, z);
        assert_eq!(codes(&graph), ["cyclic-graph"]);
    }

    #[test]
    fn nodes() {
        let mut graph = example();
        let (x, y) = (graph.inputs()[0], output(&graph));
        graph.node_mut(y).name = graph.node(x).name.clone();
        assert_eq!(codes(&graph), ["duplicate-name"]);

        let mut graph = example();
        graph.node_mut(y).shape = vec![1, 1, 4, 5];
        let found = verify_graph(&graph).unwrap_err();
        assert_eq!(
            found[0].to_string(),
            "error[shape-mismatch]: the node says [1, 1, 4, 5], its op gives [1, 1, 4, 4]\n  \
             --> node \"y\" (conv2d)"
        );

        let mut graph = example();
        graph.node_mut(y).op = Op::Conv2d(Conv2d::new(TensorId(7)));
        assert_eq!(codes(&graph), ["unknown-tensor"]);
    }

    #[test]
    fn level_rules() {
        let mut graph = example();
        let y = output(&graph);
        let per_level = graph.add_tensor(Tensor::per_level("w2", &[1, 2, 1, 1], [0.0; 4]));
        let rule = LevelRule::Masked(LevelMask::new([1], &[1]));
        let masked = graph.add_tensor(Tensor {
            rule,
            ..Tensor::shared("b2", &[1], [0.0])
        });
        let op = Conv2d {
            bias: Some(masked),
            ..Conv2d::new(per_level)
        };
        graph.node_mut(y).op = Op::Conv2d(op);
        assert_eq!(codes(&graph), ["per-level-weight", "masked-parameter"]);
    }
}
