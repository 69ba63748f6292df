//! From an ONNX model to the graph IR.
//!
//! The importer walks the nodes in order and keeps, for every tensor name, what it stands for: a
//! node of the graph or a constant. Whatever follows from constants and shapes is computed on the
//! way, so the shape arithmetic of exporters is gone in the end. A node that cannot be imported is
//! reported and its results are marked as lost; nodes that read them are skipped silently, so that
//! one run names all independent faults. Nothing here panics on any model that decodes, and no
//! allocation is larger than the file justifies or a fixed bound.

mod context;
mod interface;
mod movement;
mod node_view;
mod operands;
mod structure;
mod value;
mod weight;

use std::collections::HashSet;

use condensec_ir::{Diagnostic, Graph, Severity};

use super::constants::Literal;
use super::masks::LevelTable;
use super::nodes;
use super::proto::{GraphProto, ModelProto, NEWEST_IR_VERSION, NodeProto};
use super::sidecar::MaskFile;

pub(super) use context::{Context, Outputs, check_size};
pub(super) use node_view::{NodeView, node_name};
pub(super) use structure::reads;
pub(super) use value::Value;
pub(super) use weight::Weight;

/// Operator sets of `ai.onnx` whose nodes can be imported.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Versions of the file format that can be read.
pub const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=NEWEST_IR_VERSION;

/// What the user may say about a model.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Name of the model; that of the ONNX graph by default.
    pub name: Option<String>,
    /// Shapes of inputs, by name. Symbolic dimensions that no shape fixes are 1.
    pub input_shapes: Vec<(String, Vec<usize>)>,
    /// Level data from a file of its own; it takes the place of that in the model.
    pub sidecar: Option<MaskFile>,
}

/// A model that could be imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Notes and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Imports `model`. External data must have been loaded before.
///
/// # Errors
/// All that is wrong with the model, as far as it can be told in one go: at least one error, with
/// the notes and warnings that came before it.
pub fn import_model(
    model: &ModelProto,
    options: &ImportOptions,
) -> Result<Imported, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let Some(graph) = &model.graph else {
        return Err(vec![Diagnostic::error(
            "no-graph",
            "the model holds no graph",
        )]);
    };
    let opset = check_versions(model, &mut diagnostics);
    let levels = collect_levels(model, graph, options.sidecar.as_ref(), &mut diagnostics);
    let Some(opset) = opset else {
        return Err(diagnostics);
    };

    let name = match (&options.name, graph.name()) {
        (Some(name), _) => name.as_str(),
        (None, "") => "model",
        (None, name) => name,
    };
    let mut imported = Graph::new(name, levels.n_levels);
    imported.level_names = levels.level_names.clone();
    let mut ctx = Context::new(imported, levels);
    ctx.diagnostics = diagnostics;

    interface::declare_inputs(&mut ctx, graph, options);
    if import_body(&mut ctx, graph, opset) {
        interface::declare_outputs(&mut ctx, graph, options);
    }
    report_unsupported(&mut ctx, model);
    if ctx
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(ctx.diagnostics);
    }
    ctx.graph.remove_dead();
    Ok(Imported {
        graph: ctx.graph,
        diagnostics: ctx.diagnostics,
    })
}

/// Imports constants and nodes of a graph or subgraph into the innermost scope; `false` if its
/// structure is at fault.
pub(super) fn import_body(ctx: &mut Context, graph: &GraphProto, opset: i64) -> bool {
    define_initializers(ctx, graph);
    let mut diagnostics = Vec::new();
    let is_defined = |name: &str| ctx.value(name).is_some();
    let order = structure::execution_order(&graph.node, &is_defined, &mut diagnostics);
    ctx.diagnostics.append(&mut diagnostics);
    let Some(order) = order else { return false };
    for position in order {
        import_node(ctx, &graph.node[position], opset);
    }
    true
}

fn define_initializers(ctx: &mut Context, graph: &GraphProto) {
    let mut names = HashSet::new();
    let dense = graph
        .initializer
        .iter()
        .map(|tensor| (tensor.name(), Some(tensor), None));
    let sparse = graph.sparse_initializer.iter().map(|tensor| {
        let name = tensor.values.as_ref().map_or("", |values| values.name());
        (name, None, Some(tensor))
    });
    for (name, dense, sparse) in dense.chain(sparse) {
        if ctx.levels.contains(name) {
            continue;
        }
        if name.is_empty() || !names.insert(name) {
            let message = match name {
                "" => "an initializer has no name".to_string(),
                _ => format!("there is more than one initializer `{name}`"),
            };
            ctx.diagnostics
                .push(Diagnostic::error("duplicate-name", message).at_tensor(name));
            continue;
        }
        let literal = match (dense, sparse) {
            (Some(tensor), _) => Literal::from_proto(tensor),
            (None, Some(tensor)) => Literal::from_sparse_proto(tensor),
            (None, None) => continue,
        };
        let value = match literal {
            Ok(literal) => ctx.new_constant(name, literal),
            // Only a fault if somebody reads it.
            Err(error) => {
                let fault = Diagnostic::error("bad-tensor", error).at_tensor(name);
                Value::Lost(Some(Box::new(fault)))
            }
        };
        ctx.define(name, value);
    }
}

fn import_node(ctx: &mut Context, proto: &NodeProto, opset: i64) {
    let node = NodeView::new(proto, opset);
    let outputs = import_outputs(ctx, proto, &node).unwrap_or_else(|diagnostic| {
        ctx.diagnostics.extend(diagnostic);
        vec![Value::Lost(None); proto.output.len()]
    });
    let mut outputs = outputs.into_iter();
    for (position, name) in proto.output.iter().enumerate() {
        let value = outputs.next().unwrap_or_else(|| {
            let fault = node
                .error(
                    "unsupported-output",
                    format!("output {position} is not supported"),
                )
                .at_tensor(name);
            Value::Lost(Some(Box::new(fault)))
        });
        if !name.is_empty() {
            ctx.define(name, value);
        }
    }
}

/// The values of a node's outputs; `Err(None)` where the fault is or will be reported elsewhere.
fn import_outputs(
    ctx: &mut Context,
    proto: &NodeProto,
    node: &NodeView,
) -> Result<Vec<Value>, Option<Diagnostic>> {
    let is_standard = matches!(proto.domain(), "" | "ai.onnx");
    let importer = nodes::find(node.op_type()).filter(|_| is_standard);
    let Some(importer) = importer else {
        let op_type = match is_standard {
            true => node.op_type().to_string(),
            false => format!("{}::{}", proto.domain(), node.op_type()),
        };
        ctx.unsupported
            .entry(op_type)
            .or_default()
            .push(node.name().to_string());
        return Err(None);
    };
    let first = importer.since.first().copied().map_or(0, i64::from);
    if node.opset < first {
        return Err(Some(node.error(
            "unsupported-opset",
            format!(
                "{} exists from operator set {first} on, the model has {}",
                node.op_type(),
                node.opset
            ),
        )));
    }
    // All of them, so that each fault that is due is reported.
    let inputs = proto.input.iter().filter(|name| !name.is_empty());
    let n_lost = inputs.filter(|name| ctx.is_lost(name)).count();
    if n_lost > 0 {
        return Err(None);
    }
    (importer.import)(ctx, node).map_err(Some)
}

/// One diagnostic per op type, so that the user sees at once all that stands in the way.
fn report_unsupported(ctx: &mut Context, model: &ModelProto) {
    /// Nodes that are named.
    const MAX_NAMED: usize = 3;

    let unsupported = std::mem::take(&mut ctx.unsupported);
    for (op_type, nodes) in unsupported {
        let count = match nodes.len() {
            1 => "1 node".to_string(),
            n => format!("{n} nodes"),
        };
        let named: Vec<String> = nodes
            .iter()
            .take(MAX_NAMED)
            .map(|name| format!("`{name}`"))
            .collect();
        let more = match nodes.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let is_function = model.functions.iter().any(|function| {
            op_type == format!("{}::{}", function.domain(), function.name())
                || op_type == function.name()
        });
        let help = match is_function {
            true => {
                "it is a function of the model: inline it first (in Python: \
                 onnx.inliner.inline_local_functions)"
            }
            false => "`condensec ops` lists what is supported",
        };
        ctx.diagnostics.push(
            Diagnostic::error(
                "unsupported-op",
                format!("{op_type} is not supported ({count})"),
            )
            .at_node(&nodes[0], &op_type)
            .with_note(format!("nodes: {}{more}", named.join(", ")))
            .with_help(help),
        );
    }
}

fn check_versions(model: &ModelProto, diagnostics: &mut Vec<Diagnostic>) -> Option<i64> {
    if !IR_VERSIONS.contains(&model.ir_version()) {
        let found = match model.ir_version {
            Some(version) => version.to_string(),
            None => "missing".to_string(),
        };
        diagnostics.push(Diagnostic::error(
            "unsupported-ir-version",
            format!(
                "the file's IR version is {found}, expected {} to {}",
                IR_VERSIONS.start(),
                IR_VERSIONS.end()
            ),
        ));
    }
    let mut standard = model
        .opset_import
        .iter()
        .filter(|set| matches!(set.domain(), "" | "ai.onnx"));
    let found = standard.next().map(|set| set.version());
    if let Some(version) = found.filter(|version| OPSETS.contains(version)) {
        return Some(version);
    }
    let found = match found {
        Some(version) => version.to_string(),
        None => "missing".to_string(),
    };
    diagnostics.push(
        Diagnostic::error(
            "unsupported-opset",
            format!(
                "the version of operator set ai.onnx is {found}, expected {} to {}",
                OPSETS.start(),
                OPSETS.end()
            ),
        )
        .with_help("convert the model (in Python: onnx.version_converter.convert_version)"),
    );
    None
}

fn collect_levels(
    model: &ModelProto,
    graph: &GraphProto,
    sidecar: Option<&MaskFile>,
    diagnostics: &mut Vec<Diagnostic>,
) -> LevelTable {
    let sparse = graph
        .sparse_initializer
        .iter()
        .filter_map(|tensor| tensor.values.as_ref());
    let initializers = graph
        .initializer
        .iter()
        .chain(sparse)
        .map(|tensor| tensor.name());
    let constants = graph
        .node
        .iter()
        .filter(|node| node.op_type() == "Constant")
        .flat_map(|node| node.output.iter().map(String::as_str));
    let tensors: HashSet<&str> = initializers.chain(constants).collect();
    let outputs = graph.output.iter().map(|output| output.name());
    let read: HashSet<&str> = graph
        .node
        .iter()
        .flat_map(structure::reads)
        .chain(outputs)
        .collect();
    LevelTable::collect(model, sidecar, &tensors, &read, diagnostics)
}

#[cfg(test)]
mod tests;
