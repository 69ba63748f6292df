//! Arrays of an `.npz` file as the inputs of a model.
//!
//! Arrays go by the names of the inputs; `in_0`, `in_1`, .. name them by their place, for data that was stored
//! without knowing the names. An exact name always wins.

use std::path::Path;

use condensec_ir::Diagnostic;

use crate::engine::EnginePort;
use crate::npz::{NpzArray, NpzElems};
use crate::report::Failure;

/// The array for port number `index` of `ports`, by name or as `<prefix>_<index>`.
pub(super) fn find<'a>(
    arrays: &'a [NpzArray],
    ports: &[EnginePort],
    index: usize,
    prefix: &str,
) -> Option<&'a NpzArray> {
    let by_name = |name: &str| arrays.iter().find(|array| array.name == name);
    let alias = format!("{prefix}_{index}");
    let is_free = ports.iter().all(|port| port.name != alias);
    by_name(&ports[index].name).or_else(|| by_name(&alias).filter(|_| is_free))
}

/// The elements of every input, and warnings about arrays that no input takes.
///
/// # Errors
/// `missing-input`, `wrong-dtype`, `wrong-shape`; all of them at once.
pub(super) fn bind<'a>(
    arrays: &'a [NpzArray],
    inputs: &[EnginePort],
    file: &Path,
) -> Result<(Vec<&'a [f32]>, Vec<Diagnostic>), Failure> {
    let file = file.display().to_string();
    let mut errors = Vec::new();
    let mut taken = Vec::new();
    let mut bound = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let Some(array) = find(arrays, inputs, index, "in") else {
            errors.push(missing(&input.name, index, arrays, &file));
            continue;
        };
        taken.push(array.name.as_str());
        match f32_elems(array, &file) {
            Err(Failure(found)) => errors.extend(found),
            Ok(_) if array.shape != input.shape => {
                let message = format!(
                    "array {:?} has shape {:?}, input {:?} needs {:?}",
                    array.name, array.shape, input.name, input.shape
                );
                errors.push(
                    Diagnostic::error("wrong-shape", message)
                        .at_file(&file)
                        .at_tensor(&input.name)
                        .with_note("the shapes of a compiled model are fixed"),
                );
            }
            Ok(elems) => bound.push(elems),
        }
    }
    if !errors.is_empty() {
        return Err(errors.into());
    }
    let unused = |array: &&NpzArray| !taken.contains(&array.name.as_str());
    let warnings = arrays.iter().filter(unused).map(|array| {
        let message = format!("no input is called {:?}; the array is not used", array.name);
        Diagnostic::warning("unused-array", message)
            .at_file(&file)
            .at_tensor(&array.name)
    });
    Ok((bound, warnings.collect()))
}

/// The elements of an array that must be f32.
///
/// # Errors
/// `wrong-dtype`.
pub(super) fn f32_elems<'a>(array: &'a NpzArray, file: &str) -> Result<&'a [f32], Failure> {
    match &array.elems {
        NpzElems::F32(elems) => Ok(elems),
        _ => {
            let found = array.elem_type().trim_matches('\'');
            let message = format!(
                "array {:?} is of type {found}, expected float32",
                array.name
            );
            Err(Diagnostic::error("wrong-dtype", message)
                .at_file(file)
                .at_tensor(&array.name)
                .with_help("convert it: array.astype(numpy.float32)")
                .into())
        }
    }
}

/// The input `name` has no array.
pub(super) fn missing(name: &str, index: usize, arrays: &[NpzArray], file: &str) -> Diagnostic {
    let found: Vec<&str> = arrays.iter().map(|array| array.name.as_str()).collect();
    let note = match found.is_empty() {
        true => "the file has no arrays".to_string(),
        false => format!("the file has {}", found.join(", ")),
    };
    Diagnostic::error(
        "missing-input",
        format!("there is no array for input {name:?}"),
    )
    .at_file(file)
    .at_tensor(name)
    .with_note(note)
    .with_help(format!("store it as {name:?} or in_{index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, shape: &[usize]) -> EnginePort {
        EnginePort {
            name: name.into(),
            shape: shape.to_vec(),
        }
    }

    fn codes(result: Result<(Vec<&[f32]>, Vec<Diagnostic>), Failure>) -> Vec<&'static str> {
        result
            .unwrap_err()
            .0
            .iter()
            .map(|diagnostic| diagnostic.code)
            .collect()
    }

    #[test]
    fn arrays_go_by_name_or_place() {
        let inputs = [port("a", &[2]), port("b", &[1])];
        let a = NpzArray::f32("a", &[2], vec![1.0, 2.0]);
        let b = NpzArray::f32("in_1", &[1], vec![3.0]);
        let extra = NpzArray::i64("labels", &[1], vec![0]);
        let arrays = [b, extra, a];
        let (bound, warnings) = bind(&arrays, &inputs, Path::new("f.npz")).unwrap();
        assert_eq!(bound, [&[1.0, 2.0][..], &[3.0]]);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].code, "unused-array");
    }

    #[test]
    fn the_name_of_another_input_is_no_alias() {
        let inputs = [port("in_1", &[1]), port("b", &[1])];
        let arrays = [NpzArray::f32("in_1", &[1], vec![1.0])];
        assert_eq!(
            codes(bind(&arrays, &inputs, Path::new("f.npz"))),
            ["missing-input"]
        );
    }

    #[test]
    fn all_that_does_not_fit_is_reported() {
        let inputs = [port("a", &[2]), port("b", &[1]), port("c", &[1])];
        let arrays = [
            NpzArray::f32("a", &[1, 2], vec![0.0; 2]),
            NpzArray::i64("b", &[1], vec![0]),
        ];
        let found = codes(bind(&arrays, &inputs, Path::new("f.npz")));
        assert_eq!(found, ["wrong-shape", "wrong-dtype", "missing-input"]);
    }
}
