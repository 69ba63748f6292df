//! ONNX nodes one by one: the backend tests of ONNX itself, layers converted from PyTorch, and
//! cases for older operator sets, all written by `python/node_cases.py`.
//!
//! Every case runs in up to three forms: all float inputs at run time (`r`), all inputs but the
//! first as constants (`p`, as weights and parameters are), all of them constants (`c`). A form may
//! be refused; what is accepted must be right. `onnx_nodes.txt` lists the cases and the forms that
//! are accepted, so that neither a loss nor a gain goes unnoticed. `UPDATE_EXPECT=1` rewrites it.

use std::collections::BTreeMap;
use std::path::Path;

use condensec::frontend::onnx::proto::{
    AttributeProto, DataType, ModelProto, NodeProto, TensorProto, TypeValue, decode_model,
};
use condensec::frontend::onnx::{ImportOptions, import_model};
use condensec::npz::{NpzArray, read_npz_file};
use condensec_ir::LevelId;
use condensec_ir::eval::{Array, eval_graph};
use harness::python::Python;
use harness::{skip, workspace};

/// Relative to the largest expected value: sums in another order, other approximations of
/// functions.
const TOLERANCE: f32 = 1e-4;

/// The same for the tests of ONNX: their own bound, some of their values are rounded to four
/// digits.
const ONNX_TOLERANCE: f32 = 1e-3;

/// Tests of ONNX whose expectation is not what ONNX Runtime computes, and so not what we do.
const OTHER_THAN_ONNX_RUNTIME: &[&str] = &[
    // With corners aligned, the distance of two elements follows from the result size before or
    // after rounding.
    "test_resize_downsample_scales_linear_align_corners",
];

/// Which inputs are known at compile time.
const FORMS: [(char, fn(usize, DataType) -> bool); 3] = [
    ('r', |_, data_type| data_type != DataType::Float),
    ('p', |position, data_type| {
        position > 0 || data_type != DataType::Float
    }),
    ('c', |_, _| true),
];

/// `in_0`, `in_1`, .. or `out_0`, `out_1`, ..
fn numbered<'a>(arrays: &'a [NpzArray], prefix: &str) -> Vec<&'a NpzArray> {
    let name = |number: usize| format!("{prefix}_{number}");
    (0..)
        .map_while(|number| arrays.iter().find(|array| array.name == name(number)))
        .collect()
}

fn to_tensor(name: &str, data_type: DataType, array: &NpzArray) -> Option<TensorProto> {
    let dims: Vec<i64> = array.shape.iter().map(|&size| size as i64).collect();
    let floats = || array.to_f32_vec().ok();
    let ints = || array.to_i64_vec().ok();
    let bytes = |values: Vec<i64>| values.iter().map(|&value| value as u8).collect::<Vec<u8>>();
    match data_type {
        DataType::Float => Some(TensorProto::from_f32(name, &dims, &floats()?)),
        DataType::Double => {
            let raw = floats()?
                .iter()
                .flat_map(|&v| f64::from(v).to_le_bytes())
                .collect();
            Some(TensorProto::from_raw(name, data_type, &dims, raw))
        }
        DataType::Int64 => Some(TensorProto::from_i64(name, &dims, &ints()?)),
        DataType::Int32 => {
            let values: Vec<i32> = ints()?.iter().map(|&value| value as i32).collect();
            Some(TensorProto::from_i32(name, &dims, &values))
        }
        DataType::Uint8 | DataType::Bool => Some(TensorProto::from_raw(
            name,
            data_type,
            &dims,
            bytes(ints()?),
        )),
        _ => None,
    }
}

/// Runs a case in one form: `None` if it is refused, or what is wrong with the results.
fn run(
    model: &ModelProto,
    arrays: &[NpzArray],
    is_constant: fn(usize, DataType) -> bool,
    tolerance: f32,
) -> Option<Result<(), String>> {
    let mut model = model.clone();
    let graph = model.graph.as_mut()?;
    let known = |name: &str| graph.initializer.iter().any(|tensor| tensor.name() == name);
    let inputs: Vec<_> = graph
        .input
        .iter()
        .filter(|i| !known(i.name()))
        .cloned()
        .collect();
    let mut operands = Vec::new();
    let mut constants = Vec::new();
    for (position, (input, array)) in inputs.iter().zip(numbered(arrays, "in")).enumerate() {
        let Some(TypeValue::TensorType(tensor)) = &input.r#type.as_ref()?.value else {
            return None;
        };
        let data_type = DataType::try_from(tensor.elem_type()).ok()?;
        if is_constant(position, data_type) {
            constants.push(to_tensor(input.name(), data_type, array)?);
        } else {
            operands.push(Array::new(&array.shape, array.to_f32_vec().ok()?));
        }
    }
    // Integers and truth values leave the graph as floats, so that arithmetic on constants can be
    // seen.
    for output in &mut graph.output {
        let Some(TypeValue::TensorType(tensor)) = &output.r#type.as_ref()?.value else {
            return None;
        };
        if DataType::try_from(tensor.elem_type()) != Ok(DataType::Float) {
            let (made, cast) = (
                output.name().to_string(),
                format!("{}/float", output.name()),
            );
            let to = vec![AttributeProto::int("to", DataType::Float as i64)];
            graph
                .node
                .push(NodeProto::new("Cast", "", &[&made], &[&cast], to));
            output.name = Some(cast);
        }
    }
    graph
        .input
        .retain(|input| !constants.iter().any(|c| c.name() == input.name()));
    graph.initializer.extend(constants);

    let imported = import_model(&model, &ImportOptions::default()).ok()?;
    let outputs = match eval_graph(&imported.graph, LevelId(0), &operands) {
        Ok(outputs) => outputs,
        Err(error) => return Some(Err(error.to_string())),
    };
    for (number, (found, expected)) in outputs.iter().zip(numbered(arrays, "out")).enumerate() {
        if found.shape != expected.shape {
            let shapes = format!("{:?}, expected {:?}", found.shape, expected.shape);
            return Some(Err(format!("output {number} has shape {shapes}")));
        }
        let expected = expected.to_f32_vec().ok()?;
        let finite = expected.iter().filter(|value| value.is_finite());
        let largest = finite.fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (at, (found, expected)) in found.data.iter().zip(&expected).enumerate() {
            let is_equal = found == expected || (found.is_nan() && expected.is_nan());
            let error = (found - expected).abs();
            if !is_equal && (error.is_nan() || error > tolerance * largest + 1e-6) {
                return Some(Err(format!(
                    "output {number}[{at}] is {found}, expected {expected}"
                )));
            }
        }
    }
    Some(Ok(()))
}

fn accepted_forms(dir: &Path) -> BTreeMap<String, String> {
    let mut accepted = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut files: Vec<_> = dir
        .read_dir()
        .expect("readable")
        .map(|f| f.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "onnx")
    });
    files.sort();
    assert!(files.len() > 1000, "only {} cases", files.len());
    for file in files {
        let name = file
            .file_stem()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        if OTHER_THAN_ONNX_RUNTIME.contains(&name.as_str()) {
            continue;
        }
        let tolerance = if name.starts_with("test_") {
            ONNX_TOLERANCE
        } else {
            TOLERANCE
        };
        let Ok(model) = decode_model(&std::fs::read(&file).expect("readable")) else {
            continue;
        };
        let arrays = read_npz_file(&file.with_extension("npz")).expect("written by NumPy");
        let mut forms = String::new();
        for (form, is_constant) in FORMS {
            match run(&model, &arrays, is_constant, tolerance) {
                None => {}
                Some(Ok(())) => forms.push(form),
                Some(Err(error)) => wrong.push(format!("{name} ({form}): {error}")),
            }
        }
        if !forms.is_empty() {
            accepted.insert(name, forms);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    accepted
}

#[test]
fn accepted_nodes_are_right_and_as_listed() {
    let Some(python) = Python::find("import onnx, onnxruntime") else {
        return skip::report("onnx_nodes (no ONNX Runtime)");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    python.run("node_cases.py", [dir.path()]);
    let accepted = accepted_forms(dir.path());
    let found: String = accepted
        .iter()
        .map(|(name, forms)| format!("{name} {forms}\n"))
        .collect();
    let list = workspace::root().join("tests/onnx_nodes.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&list, &found).expect("writable");
    }
    let listed = std::fs::read_to_string(&list).unwrap_or_default();
    let is_in = |text: &str, line: &str| text.lines().any(|other| other == line);
    let gone: Vec<&str> = listed.lines().filter(|line| !is_in(&found, line)).collect();
    let new: Vec<&str> = found.lines().filter(|line| !is_in(&listed, line)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "tests/onnx_nodes.txt lists, but not accepted so:\n{}\naccepted, but not listed so:\n{}",
        gone.join("\n"),
        new.join("\n")
    );
}
