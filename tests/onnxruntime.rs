//! The compiled program against ONNX Runtime: the reference outputs of trained models, and every
//! level of supernets made of them, where ONNX Runtime runs the masked weights as a plain model.

use ::condensec::frontend::onnx::proto::{ModelProto, TensorProto, decode_model, encode_model};
use ::condensec::npz::NpzArray;
use harness::python::Python;
use harness::random_graph::Random;
use harness::{assets, condensec, npz, skip};
use std::path::{Path, PathBuf};

/// Bound of the contract: max abs error relative to the largest output. Sums in another order.
const TOLERANCE: f32 = 1e-4;

/// Models that are refused: recurrent, and 8-bit.
const UNSUPPORTED: &[&str] = &["kws_dscnn_int8_qdq", "silero_vad_16k_op15"];

fn stem(path: &Path) -> String {
    path.file_stem()
        .expect("a file")
        .to_string_lossy()
        .into_owned()
}

/// Largest difference relative to the largest expected value.
fn relative_error(expected: &[f32], found: &[f32]) -> f32 {
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let differences = expected.iter().zip(found).map(|(e, f)| (e - f).abs());
    differences.fold(0.0f32, |m, d| if d.is_nan() { f32::NAN } else { m.max(d) }) / largest
}

fn run(model: &Path, level: Option<u32>, inputs: &Path, outputs: &Path) {
    let mut args = vec!["run".into(), model.as_os_str().to_owned()];
    if let Some(level) = level {
        args.extend(["--level".into(), level.to_string().into()]);
    }
    args.extend([
        "--inputs".into(),
        inputs.into(),
        "--outputs".into(),
        outputs.into(),
    ]);
    let result = condensec::run(&args);
    assert!(
        result.status.success(),
        "{}: {}",
        model.display(),
        String::from_utf8_lossy(&result.stderr)
    );
}

#[test]
fn trained_models_equal_their_reference_outputs() {
    let Some(files) = assets::onnx_files() else {
        return skip::report("onnxruntime trained models (no assets)");
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in files
        .iter()
        .filter(|f| !UNSUPPORTED.contains(&stem(f).as_str()))
    {
        let reference = file.with_extension("ref.npz");
        let outputs = dir.path().join(format!("{}.npz", stem(file)));
        run(file, None, &reference, &outputs);
        let model = decode_model(&std::fs::read(file).expect("readable")).expect("an ONNX file");
        let names = model.graph.expect("a graph").output;
        for (number, output) in names.iter().enumerate() {
            let expected = npz::read_f32(&reference, &format!("out_{number}"));
            let found = npz::read_f32(&outputs, output.name());
            let error = relative_error(&expected, &found);
            println!("{}: {}: {error:.1e}", stem(file), output.name());
            assert!(
                error <= TOLERANCE,
                "{}: {}: {error:e}",
                stem(file),
                output.name()
            );
        }
    }
}

/// Shape of mask blocks.
#[derive(Clone, Copy)]
enum Blocks {
    /// 4 output channels x 1 column.
    FourByOne,
    /// Every weight for itself.
    Unstructured,
}

/// `model` with seeded nested masks on every convolution and matrix weight. The share of weights
/// that appear at each level varies from layer to layer; the last level is dense.
fn masked(model: &ModelProto, blocks: Blocks, n_levels: u8) -> ModelProto {
    let mut model = model.clone();
    let graph = model.graph.as_mut().expect("a graph");
    let mut random = Random(7);
    let weights: Vec<String> = graph
        .node
        .iter()
        .filter(|n| matches!(n.op_type(), "Conv" | "Gemm"))
        .map(|n| n.input[1].clone())
        .collect();
    let mut levels = Vec::new();
    let mut metadata = vec![
        ("condense.version".to_string(), "1".to_string()),
        ("condense.levels".to_string(), n_levels.to_string()),
    ];
    for weight in weights {
        let Some(tensor) = graph.initializer.iter().find(|t| t.name() == weight) else {
            continue;
        };
        let mut dims = tensor.dims.clone();
        if let Blocks::FourByOne = blocks {
            dims[0] = (dims[0] + 3) / 4;
            let mut block = vec!["1".to_string(); dims.len()];
            block[0] = "4".into();
            metadata.push((format!("condense.block:{weight}"), block.join("x")));
        }
        let n: i64 = dims.iter().product();
        let skew = 1 + random.below(3);
        let values: Vec<u8> = (0..n)
            .map(|_| {
                (0..skew)
                    .map(|_| random.below(n_levels.into()))
                    .max()
                    .unwrap_or(0) as u8
            })
            .collect();
        levels.push(TensorProto::from_u8(
            &format!("{weight}__level"),
            &dims,
            &values,
        ));
    }
    graph.initializer.extend(levels);
    for (key, value) in metadata {
        model.set_metadata(&key, &value);
    }
    model
}

fn check_supernet(name: &str, blocks: Blocks) {
    check_levels(name, |model, _| masked(model, blocks, 4));
}

/// Every level of what `make` makes of a trained model, against ONNX Runtime on that level's weights.
fn check_levels(name: &str, make: impl Fn(&ModelProto, &Path) -> ModelProto) {
    let Some(dir) = assets::models_dir() else {
        return skip::report(&format!("onnxruntime supernet of {name} (no assets)"));
    };
    let Some(python) = Python::find("import onnx, onnxruntime") else {
        return skip::report(&format!("onnxruntime supernet of {name} (no ONNX Runtime)"));
    };
    let bytes = std::fs::read(dir.join(format!("{name}.onnx"))).expect("readable");
    let work = tempfile::tempdir().expect("a temporary folder");
    let supernet = make(&decode_model(&bytes).expect("an ONNX file"), work.path());
    let path = work.path().join("supernet.onnx");
    std::fs::write(&path, encode_model(&supernet)).expect("writable");
    let n_levels: u32 = supernet
        .metadata("condense.levels")
        .and_then(|levels| levels.parse().ok())
        .expect("a supernet");
    let graph = supernet.graph.as_ref().expect("a graph");
    let input = graph.input[0].name();
    let reference = dir.join(format!("{name}.ref.npz"));
    let inputs = work.path().join("inputs.npz");
    npz::copy_array(&reference, "in_0", &inputs, input);
    let args = [path.as_os_str(), "--inputs".as_ref(), inputs.as_os_str()];
    let prefix = ["--outputs-prefix".as_ref(), work.path().as_os_str()];
    python.run(
        "supernet.py",
        ["run".as_ref()].into_iter().chain(args).chain(prefix),
    );
    let output = graph.output[0].name();
    for level in 0..n_levels {
        let outputs = work.path().join("ours.npz");
        run(&path, Some(level), &inputs, &outputs);
        let expected = npz::read_f32(&work.path().join(format!("out_L{level}.npz")), output);
        let error = relative_error(&expected, &npz::read_f32(&outputs, output));
        println!("{name} L{level}: {error:.1e}");
        assert!(error <= TOLERANCE, "{name} L{level}: {error:e}");
    }
}

/// `condensec nest` on a few random images: the levels are bad ones, but the same everywhere.
fn nested(model: &ModelProto, work: &Path, options: &[&str]) -> ModelProto {
    let model_path = work.join("model.onnx");
    std::fs::write(&model_path, encode_model(model)).expect("writable");
    let shape = [24, 3, 32, 32];
    let mut random = Random(11);
    let images = random.values(shape.iter().product());
    let calibration = work.join("train.npz");
    npz::write(&calibration, &[NpzArray::f32("x", &shape, images)]);
    let output = work.join("nested.onnx");
    let mut args = vec!["nest".into(), model_path];
    args.extend(["--calibrate".into(), calibration]);
    args.extend(options.iter().map(PathBuf::from));
    written(args, &output)
}

/// `condensec plan` of what [`nested`] makes.
fn planned(model: &ModelProto, work: &Path, options: &[&str]) -> ModelProto {
    nested(model, work, &["--sparsity", "0.8,0.6,0.4,0"]);
    let mut args = vec!["plan".into(), work.join("nested.onnx")];
    args.extend(["--data".into(), work.join("train.npz")]);
    args.extend(options.iter().map(PathBuf::from));
    written(args, &work.join("planned.onnx"))
}

/// The model that condensec writes to `output`.
fn written(mut args: Vec<PathBuf>, output: &Path) -> ModelProto {
    args.extend(["-o".into(), output.to_path_buf()]);
    let result = condensec::run(&args);
    let stderr = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{stderr}");
    decode_model(&std::fs::read(output).expect("readable")).expect("an ONNX file")
}

#[test]
fn planned_resnet20_equals_its_levels() {
    check_levels("resnet20_cifar10", |model, work| {
        planned(model, work, &["--points", "2"])
    });
}

#[test]
fn nested_resnet20_equals_its_levels() {
    let options = ["--sparsity", "0.8,0.5,0"];
    check_levels("resnet20_cifar10", |model, work| {
        nested(model, work, &options)
    });
}

#[test]
fn nested_resnet20_without_grouping_equals_its_levels() {
    let options = ["--sparsity", "0.7,0", "--no-grouping", "--exact-top"];
    check_levels("resnet20_cifar10", |model, work| {
        nested(model, work, &options)
    });
}

#[test]
fn resnet20_with_blocks_equals_masked_weights() {
    check_supernet("resnet20_cifar10", Blocks::FourByOne);
}

#[test]
fn resnet20_unstructured_equals_masked_weights() {
    check_supernet("resnet20_cifar10", Blocks::Unstructured);
}

#[test]
fn squeezenet_with_blocks_equals_masked_weights() {
    check_supernet("squeezenet1.1", Blocks::FourByOne);
}

#[test]
fn squeezenet_unstructured_equals_masked_weights() {
    check_supernet("squeezenet1.1", Blocks::Unstructured);
}

#[test]
fn digits_supernet_equals_masked_weights_at_every_level() {
    let Some(python) = Python::find("import onnx, onnxruntime") else {
        return skip::report("onnxruntime digits supernet (no ONNX Runtime)");
    };
    let root = harness::workspace::root();
    let path = root.join("examples/digits/digits_supernet.onnx");
    let work = tempfile::tempdir().expect("a temporary folder");
    let inputs = work.path().join("inputs.npz");
    npz::copy_array(
        &root.join("examples/digits/digits_test.npz"),
        "x",
        &inputs,
        "image",
    );
    let args = [path.as_os_str(), "--inputs".as_ref(), inputs.as_os_str()];
    let prefix = ["--outputs-prefix".as_ref(), work.path().as_os_str()];
    python.run(
        "supernet.py",
        ["run".as_ref()].into_iter().chain(args).chain(prefix),
    );
    for level in 0..5 {
        let outputs = work.path().join("ours.npz");
        run(&path, Some(level), &inputs, &outputs);
        let expected = npz::read_f32(&work.path().join(format!("out_L{level}.npz")), "logits");
        let error = relative_error(&expected, &npz::read_f32(&outputs, "logits"));
        println!("digits L{level}: {error:.1e}");
        assert!(error <= TOLERANCE, "digits L{level}: {error:e}");
    }
}
