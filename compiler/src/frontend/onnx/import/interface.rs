//! Inputs and outputs of the model.

use std::collections::HashSet;

use condensec_ir::Diagnostic;
use indexmap::IndexMap;

use super::context::check_shape;
use super::{Context, ImportOptions, NodeView, Value};
use crate::frontend::onnx::constants::ByLevel;
use crate::frontend::onnx::proto::{
    DataType, Dimension, Extent, GraphProto, NodeProto, TensorShapeProto, TypeValue, ValueInfoProto,
};

/// A dimension of an input as the file gives it.
#[derive(Debug, Clone, PartialEq)]
enum Dim<'m> {
    Fixed(usize),
    /// Empty where the file gives it no name.
    Symbolic(&'m str),
}

/// Adds the inputs that are no initializers to the graph.
pub fn declare_inputs(ctx: &mut Context, graph: &GraphProto, options: &ImportOptions) {
    let sparse = graph
        .sparse_initializer
        .iter()
        .filter_map(|tensor| tensor.values.as_ref());
    let constants: HashSet<&str> = graph
        .initializer
        .iter()
        .chain(sparse)
        .map(|tensor| tensor.name())
        .collect();
    // Up to IR version 3 every initializer is an input too; later that makes it a default, which
    // nobody overrides here.
    let inputs: Vec<&ValueInfoProto> = graph
        .input
        .iter()
        .filter(|input| !constants.contains(input.name()))
        .collect();
    let mut names = HashSet::new();
    for input in &inputs {
        if input.name().is_empty() || !names.insert(input.name()) {
            let message = format!(
                "there is more than one input `{}`, or it has no name",
                input.name()
            );
            ctx.diagnostics
                .push(Diagnostic::error("duplicate-name", message).at_tensor(input.name()));
        }
    }
    for (name, _) in &options.input_shapes {
        if !names.contains(name.as_str()) {
            let known: Vec<String> = inputs
                .iter()
                .map(|input| format!("`{}`", input.name()))
                .collect();
            ctx.diagnostics.push(
                Diagnostic::error(
                    "unknown-input",
                    format!("a shape is given for `{name}`, which is no input of the model"),
                )
                .at_tensor(name)
                .with_help(format!("the inputs are {}", known.join(", "))),
            );
        }
    }
    let given = |name: &str| {
        options
            .input_shapes
            .iter()
            .rev()
            .find(|(given, _)| given == name)
            .map(|(_, shape)| shape)
    };

    // A symbol has one value in the whole model.
    let mut symbols: IndexMap<&str, usize> = IndexMap::new();
    for input in &inputs {
        let (Some(shape), Some(dims)) = (given(input.name()), dims(input)) else {
            continue;
        };
        for (dim, &size) in dims.iter().zip(shape) {
            match dim {
                Dim::Symbolic(name) if !name.is_empty() => {
                    let bound = *symbols.entry(name).or_insert(size);
                    if bound != size {
                        ctx.diagnostics.push(
                            Diagnostic::error(
                                "input-shape-mismatch",
                                format!(
                                    "dimension `{name}` is {bound} and {size} in the shapes given"
                                ),
                            )
                            .at_tensor(input.name()),
                        );
                    }
                }
                Dim::Symbolic(_) | Dim::Fixed(_) => {}
            }
        }
    }
    for input in inputs {
        let name = input.name();
        let value = match resolve(input, given(name).map(Vec::as_slice), &symbols) {
            Ok((shape, note)) => {
                ctx.diagnostics.extend(note);
                Value::Node(ctx.graph.add_input(name, &shape))
            }
            Err(diagnostic) => {
                ctx.diagnostics.push(diagnostic.at_tensor(name));
                Value::Lost(None)
            }
        };
        ctx.define(name, value);
    }
}

/// Shape of an input, and a note if part of it is a guess.
fn resolve(
    input: &ValueInfoProto,
    given: Option<&[usize]>,
    symbols: &IndexMap<&str, usize>,
) -> Result<(Vec<usize>, Option<Diagnostic>), Diagnostic> {
    let name = input.name();
    let type_value = input
        .r#type
        .as_ref()
        .and_then(|r#type| r#type.value.as_ref());
    let Some(TypeValue::TensorType(tensor)) = type_value else {
        return Err(Diagnostic::error(
            "unsupported-dtype",
            format!("input `{name}` is no tensor"),
        ));
    };
    let data_type = DataType::try_from(tensor.elem_type());
    if data_type != Ok(DataType::Float) {
        let found = data_type.map_or("of an unknown type".to_string(), |found| found.to_string());
        return Err(Diagnostic::error(
            "unsupported-dtype",
            format!("input `{name}` is {found}, expected FLOAT"),
        )
        .with_note("everything that is computed at run time is FLOAT"));
    }
    let help = format!("give its shape: --input-shape {name}=..");
    let shape = match (given, dims(input)) {
        (None, None) => {
            return Err(Diagnostic::error(
                "unknown-shape",
                format!("input `{name}` has no shape in the file"),
            )
            .with_help(help));
        }
        (Some(given), None) => given.to_vec(),
        (given, Some(dims)) => {
            // Some exporters write 0 where they do not know.
            let fits = |(dim, size): (&Dim, &usize)| match dim {
                Dim::Fixed(fixed) => *fixed == 0 || fixed == size,
                Dim::Symbolic(_) => true,
            };
            let matches =
                |given: &[usize]| given.len() == dims.len() && dims.iter().zip(given).all(fits);
            match given {
                Some(given) if !matches(given) => {
                    return Err(Diagnostic::error(
                        "input-shape-mismatch",
                        format!(
                            "input `{name}` is {} in the file, {given:?} was given",
                            dims_text(&dims)
                        ),
                    )
                    .with_help(
                        "only symbolic dimensions can be chosen; export the model with \
                         dynamic axes to change others",
                    ));
                }
                Some(given) => given.to_vec(),
                None => dims
                    .iter()
                    .map(|dim| match dim {
                        Dim::Fixed(size) => *size,
                        Dim::Symbolic(symbol) => symbols.get(symbol).copied().unwrap_or(1),
                    })
                    .collect(),
            }
        }
    };
    check_shape(&shape).map_err(|(code, message)| {
        let diagnostic = Diagnostic::error(code, format!("input `{name}`: {message}"));
        if shape.contains(&0) {
            diagnostic.with_help(help)
        } else {
            diagnostic
        }
    })?;
    let open: Vec<String> = match (given, dims(input)) {
        (None, Some(dims)) => dims
            .into_iter()
            .enumerate()
            .filter_map(|(axis, dim)| match dim {
                Dim::Symbolic("") => Some(format!("dimension {axis}")),
                Dim::Symbolic(symbol) if !symbols.contains_key(symbol) => {
                    Some(format!("`{symbol}`"))
                }
                Dim::Symbolic(_) | Dim::Fixed(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    if open.is_empty() {
        return Ok((shape, None));
    }
    let note = Diagnostic::note(
        "symbolic-dimension",
        format!("input `{name}`: {} taken as 1", open.join(", ")),
    )
    .at_tensor(name)
    .with_help(format!(
        "--input-shape {name}={} says otherwise",
        sizes_text(&shape)
    ));
    Ok((shape, Some(note)))
}

/// Makes the graph's outputs.
pub fn declare_outputs(ctx: &mut Context, graph: &GraphProto, options: &ImportOptions) {
    if graph.output.is_empty() {
        ctx.diagnostics
            .push(Diagnostic::error("no-outputs", "the model has no outputs"));
    }
    let mut names = HashSet::new();
    for output in &graph.output {
        let name = output.name();
        if !names.insert(name) {
            let message = format!("there is more than one output `{name}`");
            ctx.diagnostics
                .push(Diagnostic::error("duplicate-name", message).at_tensor(name));
            continue;
        }
        if ctx.is_lost(name) {
            continue;
        }
        let Some(value) = ctx.value(name).cloned() else {
            let message = format!("no node, input or initializer makes the output `{name}`");
            ctx.diagnostics
                .push(Diagnostic::error("undefined-tensor", message).at_tensor(name));
            continue;
        };
        match as_node(ctx, name, &value) {
            Ok(node) => {
                ctx.graph.add_output(name, node);
                // With other input shapes than the file's, its output shapes say nothing.
                if options.input_shapes.is_empty() {
                    let shape = ctx.graph.node(node).shape.clone();
                    ctx.diagnostics.extend(declared_otherwise(output, &shape));
                }
            }
            Err(diagnostic) => ctx.diagnostics.push(diagnostic.at_tensor(name)),
        }
    }
}

/// The node behind an output; a constant becomes one.
fn as_node(
    ctx: &mut Context,
    name: &str,
    value: &Value,
) -> Result<condensec_ir::NodeId, Diagnostic> {
    if let Value::Constant(constant) = value {
        if constant.literal.as_f32().is_none() {
            return Err(Diagnostic::error(
                "unsupported-dtype",
                format!(
                    "output `{name}` is {}, expected FLOAT",
                    constant.literal.elems
                ),
            ));
        }
        if matches!(constant.levels, ByLevel::Masked(_)) || constant.scale.is_some() {
            return Err(Diagnostic::error(
                "mask-not-on-weight",
                format!("output `{name}` is a constant with a mask or scale, and no weight"),
            ));
        }
    }
    let proto = NodeProto {
        name: Some(name.to_string()),
        ..NodeProto::default()
    };
    ctx.value_operand(&NodeView::new(&proto, 0), value)
}

fn declared_otherwise(output: &ValueInfoProto, shape: &[usize]) -> Option<Diagnostic> {
    let dims = dims(output)?;
    let fits = |(dim, size): (&Dim, &usize)| !matches!(dim, Dim::Fixed(fixed) if fixed != size);
    if dims.len() == shape.len() && dims.iter().zip(shape).all(fits) {
        return None;
    }
    let message = format!(
        "output `{}` is {} in the file, its nodes make {shape:?}",
        output.name(),
        dims_text(&dims)
    );
    Some(Diagnostic::warning("declared-shape-differs", message).at_tensor(output.name()))
}

/// Dimensions of a tensor, if the file gives them. Some exporters write -1 for what is not known.
fn dims(value: &ValueInfoProto) -> Option<Vec<Dim<'_>>> {
    let Some(TypeValue::TensorType(tensor)) = value.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let TensorShapeProto { dim } = tensor.shape.as_ref()?;
    fn known(dim: &Dimension) -> Dim<'_> {
        match &dim.value {
            Some(Extent::DimValue(size)) => {
                usize::try_from(*size).map_or(Dim::Symbolic(""), Dim::Fixed)
            }
            Some(Extent::DimParam(name)) => Dim::Symbolic(name),
            None => Dim::Symbolic(""),
        }
    }
    Some(dim.iter().map(known).collect())
}

fn dims_text(dims: &[Dim]) -> String {
    let text = |dim: &Dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Symbolic("") => "?".to_string(),
        Dim::Symbolic(name) => name.to_string(),
    };
    format!("[{}]", dims.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn sizes_text(shape: &[usize]) -> String {
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}
