//! The ONNX messages against the published schema, other readers and real files.
//!
//! prost drops what it does not know, and the compiler rewrites files, so the schema must be complete. That is checked
//! twice: the declarations against the descriptor of Python's `onnx`, and their effect by rewriting a file
//! with every field set. Tests that need models or Python report themselves skipped where there are none.

#[path = "onnx_proto/declarations.rs"]
mod declarations;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use condensec::frontend::onnx::proto::{
    DataType, ModelProto, NEWEST_IR_VERSION, TensorProto, decode_model, encode_model,
};
use declarations::{Field, Schema};
use harness::{assets, python::Python, skip, workspace};
use protobuf::Message as _;

/// A Python whose `onnx` knows all of our schema; an older one would call our newest fields unknown.
fn python_with_onnx() -> Option<Python> {
    Python::find(&format!(
        "import onnx; assert onnx.IR_VERSION >= {NEWEST_IR_VERSION}"
    ))
}

fn decode_file(path: &Path) -> ModelProto {
    let bytes = fs::read(path).unwrap();
    decode_model(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_asset_survives_the_round_trip() {
    let Some(files) = assets::onnx_files() else {
        return skip::report("onnx_proto assets");
    };
    for file in files {
        let model = decode_file(&file);
        let bytes = encode_model(&model);
        // Not assert_eq: it would print megabytes of weights.
        assert!(
            decode_model(&bytes).as_ref() == Ok(&model),
            "{}",
            file.display()
        );
        let again = encode_model(&decode_model(&bytes).unwrap());
        assert!(
            again == bytes,
            "{}: encoding differs the second time",
            file.display()
        );
    }
}

#[test]
fn rewritten_assets_equal_the_originals_in_python() {
    let Some(files) = assets::onnx_files() else {
        return skip::report("onnx_proto assets");
    };
    let Some(python) = python_with_onnx() else {
        return skip::report("onnx_proto rewritten assets (no Python with onnx)");
    };
    let dir = tempfile::tempdir().unwrap();
    let pairs = files
        .into_iter()
        .flat_map(|file| rewrite_into(dir.path(), file));
    python.run("onnx_equal.py", pairs);
}

#[test]
fn a_rewritten_file_keeps_every_field_of_the_schema() {
    let Some(python) = python_with_onnx() else {
        return skip::report("onnx_proto every field (no Python with onnx)");
    };
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original.onnx");
    python.run("onnx_every_field.py", [&original]);
    let rewritten = dir.path().join("rewritten");
    fs::create_dir(&rewritten).unwrap();
    python.run("onnx_equal.py", rewrite_into(&rewritten, original));
}

/// Decodes a file and encodes it again under the same name in `dir`; returns both paths.
fn rewrite_into(dir: &Path, original: PathBuf) -> [PathBuf; 2] {
    let rewritten = dir.join(original.file_name().unwrap());
    fs::write(&rewritten, encode_model(&decode_file(&original))).unwrap();
    [original, rewritten]
}

#[derive(serde::Deserialize)]
struct Descriptor {
    onnx: String,
    ir_version: i64,
    messages: BTreeMap<String, BTreeMap<String, Field>>,
    enums: BTreeMap<String, BTreeMap<String, i32>>,
}

/// Schema enums without a counterpart: IR versions are numbers here, and no field has an operator status.
const ENUMS_LEFT_OUT: [&str; 2] = ["OperatorStatus", "Version"];

#[test]
fn declarations_match_the_descriptor() {
    let Some(python) = python_with_onnx() else {
        return skip::report("onnx_proto descriptor (no Python with onnx)");
    };
    let output = python.run("onnx_descriptor.py", [""; 0]);
    let descriptor: Descriptor = serde_json::from_str(&output).unwrap();
    let folder = workspace::root().join("compiler/src/frontend/onnx/proto");
    let schema = Schema::read(&folder);

    let mut differences = Vec::new();
    compare(
        "message",
        &schema.messages,
        &descriptor.messages,
        &mut differences,
        |name, ours, theirs| {
            let mut inner = Vec::new();
            compare(
                &format!("{name}:"),
                ours,
                theirs,
                &mut inner,
                |field, ours, theirs| {
                    (ours != theirs)
                        .then(|| vec![format!("{name}.{field}: {ours:?}, in onnx {theirs:?}")])
                },
            );
            Some(inner)
        },
    );

    // Capitals and underscores carry no meaning that two names of one enum would differ in.
    let plain = |values: &BTreeMap<String, i32>| -> BTreeMap<String, i32> {
        let plain_name = |name: &String| name.replace('_', "").to_uppercase();
        values
            .iter()
            .map(|(name, &number)| (plain_name(name), number))
            .collect()
    };
    let mut enums = descriptor.enums;
    for name in ENUMS_LEFT_OUT {
        enums.remove(name).expect("an enum of the schema");
    }
    compare(
        "enum",
        &schema.enums,
        &enums,
        &mut differences,
        |name, ours, theirs| {
            let (ours, theirs) = (plain(ours), plain(theirs));
            (ours != theirs).then(|| vec![format!("{name}: {ours:?}, in onnx {theirs:?}")])
        },
    );

    let onnx = descriptor.onnx;
    assert!(
        differences.is_empty(),
        "against onnx {onnx}:\n{}",
        differences.join("\n")
    );
    assert_eq!(
        NEWEST_IR_VERSION, descriptor.ir_version,
        "against onnx {onnx}"
    );
}

/// Adds what only one side has, and what `differ` finds in entries of both.
fn compare<T>(
    what: &str,
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
    differences: &mut Vec<String>,
    differ: impl Fn(&str, &T, &T) -> Option<Vec<String>>,
) {
    for (name, entry) in ours {
        match theirs.get(name) {
            Some(other) => differences.extend(differ(name, entry, other).unwrap_or_default()),
            None => differences.push(format!("{what} {name} is not in onnx")),
        }
    }
    for name in theirs.keys().filter(|&name| !ours.contains_key(name)) {
        differences.push(format!("{what} {name} is missing here"));
    }
}

#[test]
fn data_types_print_as_the_schema_spells_them() {
    let Some(python) = python_with_onnx() else {
        return skip::report("onnx_proto data type names (no Python with onnx)");
    };
    let output = python.run("onnx_descriptor.py", [""; 0]);
    let mut descriptor: Descriptor = serde_json::from_str(&output).unwrap();
    for (name, number) in descriptor.enums.remove("TensorProto.DataType").unwrap() {
        assert_eq!(DataType::try_from(number).unwrap().to_string(), name);
    }
}

#[test]
fn tensors_of_all_number_types_read_as_in_python() {
    let Some(python) = python_with_onnx() else {
        return skip::report("onnx_proto tensor values (no Python with onnx)");
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tensors.onnx");
    let output = python.run("onnx_tensor_cases.py", [&file]);
    let expected: BTreeMap<String, Vec<serde_json::Number>> =
        serde_json::from_str(&output).unwrap();

    let model = decode_file(&file);
    let tensors = &model.graph.as_ref().unwrap().initializer;
    assert_eq!(tensors.len(), 2 * expected.len());
    for tensor in tensors {
        let (data_type, _) = tensor.name().split_once(' ').unwrap();
        check_values(tensor, &expected[data_type]);
    }
}

/// `expected` has integers as they are and floats as the bits of a float64.
fn check_values(tensor: &TensorProto, expected: &[serde_json::Number]) {
    let name = tensor.name();
    let is_float =
        name.starts_with("FLOAT") || name.starts_with("BFLOAT") || name.starts_with("DOUBLE");
    if is_float {
        let values = tensor.to_f64_vec().unwrap();
        assert_eq!(values.len(), expected.len(), "{name}");
        for (index, (value, bits)) in values.iter().zip(expected).enumerate() {
            let wanted = f64::from_bits(bits.as_u64().unwrap());
            // A NaN's payload says nothing; of a zero, the sign counts.
            let is_same =
                value.to_bits() == wanted.to_bits() || (value.is_nan() && wanted.is_nan());
            assert!(is_same, "{name}[{index}]: {value}, wanted {wanted}");
        }
        if !name.starts_with("DOUBLE") {
            let narrow = tensor.to_f32_vec().unwrap();
            let widened = narrow.iter().map(|&value| f64::from(value).to_bits());
            let is_nan = |bits: u64| f64::from_bits(bits).is_nan();
            let mut pairs = widened.zip(values.iter().map(|value| value.to_bits()));
            assert!(
                pairs.all(|(a, b)| a == b || (is_nan(a) && is_nan(b))),
                "{name} as f32"
            );
        }
        assert!(tensor.to_i64_vec().is_err(), "{name} read as integers");
    } else if name.starts_with("UINT64") {
        let wanted: Vec<u64> = expected
            .iter()
            .map(|value| value.as_u64().unwrap())
            .collect();
        assert_eq!(tensor.to_u64_vec().unwrap(), wanted, "{name}");
        assert!(tensor.to_i64_vec().is_err(), "{name} beyond i64");
    } else {
        let wanted: Vec<i64> = expected
            .iter()
            .map(|value| value.as_i64().unwrap())
            .collect();
        assert_eq!(tensor.to_i64_vec().unwrap(), wanted, "{name}");
        assert!(tensor.to_f64_vec().is_err(), "{name} read as floats");
    }
}

#[test]
fn another_reader_sees_the_same_assets() {
    let Some(files) = assets::onnx_files() else {
        return skip::report("onnx_proto assets");
    };
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let ours = decode_model(&bytes).unwrap().graph.unwrap();
        let theirs = onnx_protobuf::ModelProto::parse_from_bytes(&bytes).unwrap();
        let theirs = theirs.graph.unwrap();
        let file = file.display();

        assert_eq!(ours.node.len(), theirs.node.len(), "{file}");
        for (ours, theirs) in ours.node.iter().zip(&theirs.node) {
            assert_eq!(ours.name(), theirs.name, "{file}");
            assert_eq!(ours.op_type(), theirs.op_type, "{file}");
            assert_eq!(ours.domain(), theirs.domain, "{file}");
            assert_eq!(ours.input, theirs.input, "{file}");
            assert_eq!(ours.output, theirs.output, "{file}");
            assert_eq!(ours.attribute.len(), theirs.attribute.len(), "{file}");
            for (ours, theirs) in ours.attribute.iter().zip(&theirs.attribute) {
                assert_eq!(ours.name(), theirs.name, "{file}");
                assert_eq!(ours.r#type() as i32, theirs.type_.value(), "{file}");
                assert_eq!(
                    (ours.i(), ours.f(), ours.s()),
                    (theirs.i, theirs.f, &theirs.s[..]),
                    "{file}"
                );
                assert_eq!(
                    (&ours.ints, &ours.floats),
                    (&theirs.ints, &theirs.floats),
                    "{file}"
                );
            }
        }
        assert_eq!(ours.initializer.len(), theirs.initializer.len(), "{file}");
        for (ours, theirs) in ours.initializer.iter().zip(&theirs.initializer) {
            let tensor = ours.name();
            assert_eq!(tensor, theirs.name, "{file}");
            assert_eq!(ours.dims, theirs.dims, "{file}: {tensor}");
            assert_eq!(ours.data_type(), theirs.data_type, "{file}: {tensor}");
            // Not assert_eq: it would print megabytes of weights.
            let is_same_data = ours.raw_data() == theirs.raw_data
                && ours.float_data == theirs.float_data
                && ours.int32_data == theirs.int32_data
                && ours.int64_data == theirs.int64_data
                && ours.double_data == theirs.double_data
                && ours.uint64_data == theirs.uint64_data;
            assert!(is_same_data, "{file}: data of {tensor}");
            assert_eq!(ours.check_data(), Ok(()), "{file}");
        }
    }
}
