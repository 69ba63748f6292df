//! Loading of weights stored beside the model: everywhere in a model, and nothing outside its folder.

use std::fs;
use std::path::Path;

use condensec::frontend::onnx::external_data::{ExternalDataError, resolve_external};
use condensec::frontend::onnx::proto::{
    AttributeProto, DataLocation, DataType, FunctionProto, GraphProto, ModelProto, NodeProto,
    SparseTensorProto, StringStringEntryProto, TensorProto, TrainingInfoProto,
};
use tempfile::TempDir;

/// An INT8 tensor with its data elsewhere.
fn external(name: &str, dims: &[i64], keys: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_string()),
        value: Some(value.to_string()),
    };
    TensorProto {
        name: Some(name.to_string()),
        data_type: Some(DataType::Int8 as i32),
        dims: dims.to_vec(),
        data_location: Some(DataLocation::External as i32),
        external_data: keys.iter().map(entry).collect(),
        ..Default::default()
    }
}

fn model_of(tensor: TensorProto) -> ModelProto {
    ModelProto {
        graph: Some(GraphProto {
            initializer: vec![tensor],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Resolves a model of one tensor and returns the tensor.
fn resolved(tensor: TensorProto, base_dir: &Path) -> Result<TensorProto, ExternalDataError> {
    let mut model = model_of(tensor);
    resolve_external(&mut model, base_dir)?;
    Ok(model.graph.unwrap().initializer.remove(0))
}

/// A folder with `weights.bin` of the bytes 0, 1, .. 9.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("weights.bin"), (0..10).collect::<Vec<u8>>()).unwrap();
    dir
}

#[test]
fn a_tensor_takes_its_part_of_the_file() {
    let dir = folder();
    let keys = [
        ("location", "weights.bin"),
        ("offset", "4"),
        ("length", "6"),
    ];
    let tensor = resolved(external("w", &[2, 3], &keys), dir.path()).unwrap();
    // Nothing is left of the other file.
    assert_eq!(
        tensor,
        TensorProto::from_i8("w", &[2, 3], &[4, 5, 6, 7, 8, 9])
    );
}

#[test]
fn offset_and_length_may_be_left_out() {
    let dir = folder();
    let tensor = resolved(
        external("w", &[3], &[("location", "./weights.bin")]),
        dir.path(),
    )
    .unwrap();
    assert_eq!(tensor.to_i64_vec().unwrap(), [0, 1, 2]);
}

#[test]
fn tensors_are_found_everywhere_in_a_model() {
    let dir = folder();
    let tensor = |name| external(name, &[1], &[("location", "weights.bin"), ("offset", "9")]);
    let sparse = |name| SparseTensorProto {
        values: Some(tensor(name)),
        indices: Some(tensor("indices")),
        dims: vec![4],
    };
    let graph = |name| GraphProto {
        initializer: vec![tensor(name)],
        sparse_initializer: vec![sparse("sparse initializer")],
        ..Default::default()
    };
    let attribute = AttributeProto {
        t: Some(Box::new(tensor("t"))),
        tensors: vec![tensor("tensors")],
        sparse_tensor: Some(Box::new(sparse("sparse_tensor"))),
        sparse_tensors: vec![sparse("sparse_tensors")],
        g: Some(Box::new(graph("g"))),
        graphs: vec![graph("graphs")],
        ..Default::default()
    };
    let mut model = ModelProto {
        graph: Some(GraphProto {
            node: vec![NodeProto::new("If", "", &[], &[], vec![attribute.clone()])],
            ..graph("graph")
        }),
        functions: vec![FunctionProto {
            node: vec![NodeProto::new("F", "", &[], &[], vec![attribute.clone()])],
            attribute_proto: vec![attribute],
            ..Default::default()
        }],
        training_info: vec![TrainingInfoProto {
            algorithm: Some(graph("algorithm")),
            ..Default::default()
        }],
        ..Default::default()
    };
    // Three attributes of 6 tensors and 2 graphs, and two graphs of 3 tensors.
    let n_tensors = 3 * (6 + 2 * 3) + 2 * 3;
    let n_printed = |model: &ModelProto, text| format!("{model:?}").matches(text).count();
    assert_eq!(n_printed(&model, "raw_data: None"), n_tensors);

    resolve_external(&mut model, dir.path()).unwrap();

    assert_eq!(n_printed(&model, "raw_data: Some([9])"), n_tensors);
    // An absent graph must not come into being.
    assert_eq!(model.training_info[0].initialization, None);
}

/// The parent of a bare file name: the current folder, which for a test is that of its package.
#[test]
fn the_empty_path_is_the_current_folder() {
    let tensor = external("w", &[1], &[("location", "Cargo.toml")]);
    let tensor = resolved(tensor, Path::new("")).unwrap();
    assert_eq!(tensor.raw_data(), b"[");
}

#[test]
fn a_model_without_external_data_needs_no_folder() {
    let tensor = TensorProto::from_i8("w", &[1], &[1]);
    assert_eq!(
        resolved(tensor.clone(), Path::new("/no/such/folder")).unwrap(),
        tensor
    );
}

#[track_caller]
fn check_refused(tensor: TensorProto, base_dir: &Path, message: &str) {
    let error = resolved(tensor, base_dir).expect_err("accepted");
    assert_eq!(error.to_string(), message);
}

#[test]
fn locations_outside_the_folder_are_refused() {
    let parent = folder();
    let dir = parent.path().join("model");
    fs::create_dir(&dir).unwrap();
    let absolute = parent.path().join("weights.bin");
    let absolute = absolute.to_str().unwrap();
    for location in ["../weights.bin", "x/../../weights.bin", "..", "/", absolute] {
        let message =
            format!("tensor `w`: external data file `{location}` is outside the model's folder");
        check_refused(
            external("w", &[3], &[("location", location)]),
            &dir,
            &message,
        );
    }
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_may_lead_inside_the_folder_only() {
    let parent = folder();
    let dir = parent.path().join("model");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink("../weights.bin", dir.join("link.bin")).unwrap();
    let tensor = external("w", &[3], &[("location", "link.bin")]);
    let message = "tensor `w`: external data file `link.bin` is outside the model's folder";
    check_refused(tensor.clone(), &dir, message);

    fs::write(dir.join("real.bin"), [7, 8, 9]).unwrap();
    fs::remove_file(dir.join("link.bin")).unwrap();
    std::os::unix::fs::symlink("real.bin", dir.join("link.bin")).unwrap();
    assert_eq!(
        resolved(tensor, &dir).unwrap().to_i64_vec().unwrap(),
        [7, 8, 9]
    );
}

#[test]
fn bad_keys_are_named() {
    let dir = folder();
    check_refused(
        external("w", &[3], &[("offset", "0")]),
        dir.path(),
        "tensor `w`: external data key `location` is missing",
    );
    for (key, value) in [
        ("offset", "-1"),
        ("length", "3 bytes"),
        ("offset", "99999999999999999999"),
    ] {
        check_refused(
            external("w", &[3], &[("location", "weights.bin"), (key, value)]),
            dir.path(),
            &format!("tensor `w`: external data key `{key}` is `{value}`, not a number of bytes"),
        );
    }
}

#[test]
fn sizes_that_disagree_are_refused() {
    let dir = folder();
    check_refused(
        external(
            "w",
            &[2, 3],
            &[("location", "weights.bin"), ("length", "5")],
        ),
        dir.path(),
        "tensor `w`: dims [2, 3] need 6 bytes, but `length` of the external data is 5",
    );
    check_refused(
        external(
            "w",
            &[2, 3],
            &[("location", "weights.bin"), ("offset", "5")],
        ),
        dir.path(),
        "tensor `w`: external data file `weights.bin` has 10 bytes, too few for 6 from offset 5",
    );
    let last = u64::MAX.to_string();
    check_refused(
        external(
            "w",
            &[2, 3],
            &[("location", "weights.bin"), ("offset", &last)],
        ),
        dir.path(),
        &format!(
            "tensor `w`: external data file `weights.bin` has 10 bytes, too few for 6 from offset {last}"
        ),
    );
}

/// Would abort the process if memory were allocated before the file's size is known.
#[test]
fn absurd_dims_do_not_allocate() {
    let dir = folder();
    let absurd = 1 << 60;
    check_refused(
        external("w", &[absurd], &[("location", "weights.bin")]),
        dir.path(),
        &format!(
            "tensor `w`: external data file `weights.bin` has 10 bytes, too few for {absurd} from offset 0"
        ),
    );
    check_refused(
        external("w", &[absurd, absurd], &[("location", "weights.bin")]),
        dir.path(),
        &format!("tensor `w`: impossible dims [{absurd}, {absurd}]"),
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = folder();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for location in ["missing.bin", "sub", "."] {
        check_refused(
            external("w", &[3], &[("location", location)]),
            dir.path(),
            &format!("tensor `w`: cannot read external data file `{location}`"),
        );
    }
}
