//! Small models and what becomes of them.

mod interface;
mod level_data;
mod nodes;

use super::*;
use crate::frontend::onnx::proto::{
    AttributeProto, DataType, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use condensec_ir::LevelId;
use condensec_ir::eval::{Array, eval_graph};

/// A model of operator set 13 with float inputs of these dims.
pub fn model(
    nodes: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
    inputs: &[(&str, &[i64])],
    outputs: &[&str],
) -> ModelProto {
    let output = |name: &&str| ValueInfoProto {
        name: Some(name.to_string()),
        ..Default::default()
    };
    let input =
        |(name, dims): &(&str, &[i64])| ValueInfoProto::tensor(name, DataType::Float, *dims);
    ModelProto::of_graph(
        GraphProto {
            name: Some("test".into()),
            node: nodes,
            initializer,
            input: inputs.iter().map(input).collect(),
            output: outputs.iter().map(output).collect(),
            ..Default::default()
        },
        13,
    )
}

pub fn graph_of(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().expect("made with a graph")
}

pub fn node(
    op_type: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto::new(
        op_type,
        &format!("the_{output}"),
        inputs,
        &[output],
        attributes,
    )
}

pub fn text(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect()
}

/// What is said about a model that cannot be imported.
pub fn faults(model: &ModelProto) -> String {
    match import_model(model, &ImportOptions::default()) {
        Ok(imported) => panic!("imported, with\n{}", text(&imported.diagnostics)),
        Err(diagnostics) => text(&diagnostics),
    }
}

pub fn codes(diagnostics: &[Diagnostic]) -> Vec<&'static str> {
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

/// Codes of the faults of a model.
pub fn fault_codes(model: &ModelProto) -> Vec<&'static str> {
    match import_model(model, &ImportOptions::default()) {
        Ok(imported) => panic!("imported, with\n{}", text(&imported.diagnostics)),
        Err(diagnostics) => codes(&diagnostics),
    }
}

/// A model that can be imported without a word.
pub fn import(model: &ModelProto) -> Graph {
    match import_model(model, &ImportOptions::default()) {
        Ok(imported) if imported.diagnostics.is_empty() => imported.graph,
        Ok(imported) => panic!("{}", text(&imported.diagnostics)),
        Err(diagnostics) => panic!("{}", text(&diagnostics)),
    }
}

/// The first output of a model at a level.
pub fn run(graph: &Graph, level: u32, inputs: &[&[f32]]) -> Vec<f32> {
    let arrays: Vec<Array> = graph
        .inputs()
        .iter()
        .zip(inputs)
        .map(|(&id, values)| Array::new(&graph.node(id).shape, values.to_vec()))
        .collect();
    eval_graph(graph, LevelId(level), &arrays).expect("inputs fit")[0]
        .data
        .clone()
}
