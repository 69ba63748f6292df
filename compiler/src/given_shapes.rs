//! Shapes of arrays at hand, as far as a model leaves them open.
//!
//! The user of `run` and `eval` has arrays already; it would be pedantic to ask for `--input-shape` as well. Only symbolic
//! dimensions are taken from them: where an array contradicts the model, the message belongs to whoever
//! hands the array in, and names it.

use std::collections::HashSet;

use crate::frontend::onnx::proto::{Extent, GraphProto, ModelProto, TypeValue, ValueInfoProto};

/// Shapes for the inputs of `model` that have open dimensions and an array in `given`, by name or place (`in_0`).
pub(crate) fn fill_open_shapes(
    model: &ModelProto,
    given: &[(String, Vec<usize>)],
) -> Vec<(String, Vec<usize>)> {
    let Some(graph) = &model.graph else {
        return Vec::new();
    };
    let find = |name: &str| given.iter().find(|(found, _)| found == name);
    let inputs = real_inputs(graph);
    let filled = inputs.iter().enumerate().filter_map(|(index, input)| {
        let alias = format!("in_{index}");
        let is_free = inputs.iter().all(|input| input.name() != alias);
        let by_place = || find(&alias).filter(|_| is_free);
        let (_, shape) = find(input.name()).or_else(by_place)?;
        is_choice(input, shape).then(|| (input.name().to_string(), shape.clone()))
    });
    filled.collect()
}

/// Inputs that a caller gives: those that are no initializers.
fn real_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
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
    graph
        .input
        .iter()
        .filter(|input| !constants.contains(input.name()))
        .collect()
}

/// Whether `shape` agrees with what the file fixes of `input`, and the file leaves something open.
fn is_choice(input: &ValueInfoProto, shape: &[usize]) -> bool {
    let value = input
        .r#type
        .as_ref()
        .and_then(|r#type| r#type.value.as_ref());
    let Some(TypeValue::TensorType(tensor)) = value else {
        return false;
    };
    let Some(dims) = tensor.shape.as_ref().map(|shape| &shape.dim) else {
        return true;
    };
    let fixed = |dim: &Option<Extent>| match dim {
        Some(Extent::DimValue(size)) => Some(*size),
        _ => None,
    };
    let agrees = |(dim, &size): (&Option<Extent>, &usize)| {
        fixed(dim).is_none_or(|fixed| usize::try_from(fixed) == Ok(size))
    };
    let extents: Vec<Option<Extent>> = dims.iter().map(|dim| dim.value.clone()).collect();
    extents.len() == shape.len()
        && extents.iter().zip(shape).all(agrees)
        && extents.iter().any(|dim| fixed(dim).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::onnx::proto::{DataType, Dimension, TensorProto};

    fn model() -> ModelProto {
        let dims = |first: Dimension| [first, Dimension::from(3)];
        let graph = GraphProto {
            input: vec![
                ValueInfoProto::tensor("w", DataType::Float, [1]),
                ValueInfoProto::tensor("open", DataType::Float, dims("N".into())),
                ValueInfoProto::tensor("fixed", DataType::Float, dims(2.into())),
            ],
            initializer: vec![TensorProto::from_f32("w", &[1], &[0.0])],
            ..Default::default()
        };
        ModelProto {
            graph: Some(graph),
            ..Default::default()
        }
    }

    fn filled(given: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
        let given: Vec<_> = given
            .iter()
            .map(|(name, shape)| (name.to_string(), shape.to_vec()))
            .collect();
        fill_open_shapes(&model(), &given)
    }

    #[test]
    fn only_open_dimensions_are_taken() {
        assert_eq!(filled(&[("open", &[8, 3])]), [("open".into(), vec![8, 3])]);
        assert_eq!(filled(&[("in_0", &[8, 3])]), [("open".into(), vec![8, 3])]);
        for given in [
            ("open", &[8, 4][..]),
            ("open", &[8, 3, 1]),
            ("fixed", &[2, 3]),
            ("fixed", &[8, 3]),
            ("w", &[4]),
            ("other", &[8, 3]),
        ] {
            assert_eq!(filled(&[given]), [], "{given:?}");
        }
    }
}
