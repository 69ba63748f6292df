//! Whether two models are the same network, but for the values of their constants.

use condensec_ir::Diagnostic;

use crate::frontend::onnx::import::node_name;
use crate::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto,
};

/// The first difference of two models, as an error of the first.
pub fn first_difference(
    model: &ModelProto,
    path: &str,
    top: &ModelProto,
    top_path: &str,
) -> Option<Diagnostic> {
    let differs = |message: String| {
        Diagnostic::error("graph-differs", message)
            .at_file(path)
            .with_note(format!("compared with {top_path}"))
            .with_note("levels of a supernet are the same network with other values")
    };
    let (Some(graph), Some(top_graph)) = (&model.graph, &top.graph) else {
        return Some(differs("a model holds no graph".into()));
    };
    let opsets = |model: &ModelProto| {
        let sets = model
            .opset_import
            .iter()
            .map(|set| (set.domain().to_string(), set.version()));
        let mut sets: Vec<(String, i64)> = sets.collect();
        sets.sort();
        sets
    };
    if opsets(model) != opsets(top) {
        return Some(differs(format!(
            "operator sets are {:?} and {:?}",
            opsets(model),
            opsets(top)
        )));
    }
    if graph.node.len() != top_graph.node.len() {
        return Some(differs(format!(
            "{} nodes and {}",
            graph.node.len(),
            top_graph.node.len()
        )));
    }
    for (node, other) in graph.node.iter().zip(&top_graph.node) {
        if let Some(message) = node_difference(node, other) {
            return Some(differs(message).at_node(node_name(node), node.op_type()));
        }
    }
    let interface = |graph: &GraphProto| (interface(&graph.input), interface(&graph.output));
    if interface(graph) != interface(top_graph) {
        return Some(differs("inputs or outputs differ in name or type".into()));
    }
    for name in constant_names(Some(top_graph)) {
        match (dims(graph, name), dims(top_graph, name)) {
            (None, _) => {
                return Some(differs(format!("there is no initializer `{name}`")).at_tensor(name));
            }
            (found, expected) if found != expected => {
                let (shape, other) = (found.unwrap_or_default(), expected.unwrap_or_default());
                let message = format!("`{name}` has type and shape {shape:?} and {other:?}");
                return Some(differs(message).at_tensor(name));
            }
            _ => {}
        }
    }
    let extra = constant_names(Some(graph)).find(|name| dims(top_graph, name).is_none());
    extra.map(|name| differs(format!("there is one more initializer, `{name}`")).at_tensor(name))
}

/// Names of all initializers.
pub fn constant_names(graph: Option<&GraphProto>) -> impl Iterator<Item = &str> {
    graph.into_iter().flat_map(|graph| {
        let sparse = graph
            .sparse_initializer
            .iter()
            .filter_map(|tensor| tensor.values.as_ref());
        graph
            .initializer
            .iter()
            .chain(sparse)
            .map(|tensor| tensor.name())
    })
}

/// Data type and dims of an initializer; whether it is stored sparsely does not matter.
fn dims(graph: &GraphProto, name: &str) -> Option<(i32, Vec<i64>)> {
    if let Some(tensor) = graph
        .initializer
        .iter()
        .find(|tensor| tensor.name() == name)
    {
        return Some((tensor.data_type(), tensor.dims.clone()));
    }
    let mut sparse = graph.sparse_initializer.iter();
    let found = sparse.find(|t| {
        t.values
            .as_ref()
            .is_some_and(|values| values.name() == name)
    })?;
    Some((found.values.as_ref()?.data_type(), found.dims.clone()))
}

fn node_difference(node: &NodeProto, other: &NodeProto) -> Option<String> {
    if (node.op_type(), node.domain()) != (other.op_type(), other.domain()) {
        return Some(format!(
            "the node is {} and {}",
            node.op_type(),
            other.op_type()
        ));
    }
    if node.input != other.input || node.output != other.output {
        return Some(format!(
            "the node reads {:?} and makes {:?}, against {:?} and {:?}",
            node.input, node.output, other.input, other.output
        ));
    }
    let differing = attribute_difference(&node.attribute, &other.attribute)?;
    Some(format!("attribute `{differing}` differs"))
}

/// Name of the first attribute that differs; their order does not matter.
fn attribute_difference(
    attributes: &[AttributeProto],
    others: &[AttributeProto],
) -> Option<String> {
    let find = |name: &str, among: &[AttributeProto]| {
        let found = among.iter().find(|attribute| attribute.name() == name)?;
        Some(AttributeProto {
            doc_string: None,
            ..found.clone()
        })
    };
    let all = attributes.iter().chain(others);
    let differing = all
        .into_iter()
        .find(|attribute| find(attribute.name(), attributes) != find(attribute.name(), others));
    differing.map(|attribute| attribute.name().to_string())
}

/// Names and types of inputs or outputs, without their comments.
fn interface(values: &[ValueInfoProto]) -> Vec<ValueInfoProto> {
    let plain = |value: &ValueInfoProto| ValueInfoProto {
        doc_string: None,
        metadata_props: Vec::new(),
        ..value.clone()
    };
    values.iter().map(plain).collect()
}
