//! Import of trained models: the graph, run by the interpreter, gives the reference outputs.

use std::path::Path;
use std::time::Instant;

use condensec::frontend::onnx::proto::{ModelProto, decode_model};
use condensec::frontend::onnx::{ImportOptions, Imported, import_model};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::{Diagnostic, LevelId, Severity};
use harness::{assets, npz, skip};

/// Max abs error relative to the largest output: sums in another order, over some hundred layers.
const TOLERANCE: f32 = 1e-4;

/// Models with ops or types that are not supported.
const UNSUPPORTED: &[&str] = &["kws_dscnn_int8_qdq", "silero_vad_16k_op15"];

fn read_model(path: &Path) -> ModelProto {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    decode_model(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect()
}

/// Names of the inputs that are no initializers.
fn input_names(model: &ModelProto) -> Vec<String> {
    let graph = model.graph.as_ref().expect("decoded models have a graph");
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name() == name);
    let names = graph
        .input
        .iter()
        .map(|input| input.name())
        .filter(|name| !is_constant(name));
    names.map(str::to_string).collect()
}

fn check(path: &Path) {
    let model = read_model(path);
    let reference = path.with_extension("ref.npz");
    let mut inputs = Vec::new();
    let mut options = ImportOptions::default();
    for (position, name) in input_names(&model).into_iter().enumerate() {
        let array = npz::read(&reference, &format!("in_{position}"));
        options.input_shapes.push((name, array.shape.clone()));
        inputs.push(Array::new(
            &array.shape,
            array.to_f32_vec().expect("numbers"),
        ));
    }
    let began = Instant::now();
    let Imported { graph, diagnostics } =
        import_model(&model, &options).unwrap_or_else(|errors| panic!("{}", text(&errors)));
    assert!(
        diagnostics.is_empty(),
        "{}:\n{}",
        path.display(),
        text(&diagnostics)
    );
    let import_ms = began.elapsed().as_millis();

    let top = LevelId(graph.n_levels - 1);
    let outputs = eval_graph(&graph, top, &inputs).expect("inputs of the graph's shapes");
    for (position, output) in outputs.iter().enumerate() {
        let expected = npz::read(&reference, &format!("out_{position}"));
        assert_eq!(output.shape, expected.shape, "{}", path.display());
        let expected = expected.to_f32_vec().expect("numbers");
        let largest = expected
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        let error = output
            .data
            .iter()
            .zip(&expected)
            .fold(0.0f32, |worst, (found, expected)| {
                let error = (found - expected).abs();
                if error.is_nan() {
                    f32::INFINITY
                } else {
                    worst.max(error)
                }
            });
        let name = path.file_stem().expect("a file").to_string_lossy();
        println!(
            "{name} output {position}: {:.1e} of the largest, import {import_ms} ms, all {:.1} s",
            error / largest,
            began.elapsed().as_secs_f32()
        );
        assert!(
            error <= TOLERANCE * largest,
            "{name} output {position}: {error} of {largest}"
        );
    }
}

fn check_named(name: &str) {
    match assets::models_dir() {
        Some(dir) => check(&dir.join(format!("{name}.onnx"))),
        None => skip::report(&format!("import of {name} (no assets)")),
    }
}

macro_rules! trained_models {
    ($($test:ident: $name:literal,)*) => {
        /// All models that are checked.
        const CHECKED: &[&str] = &[$($name,)*];
        $(
            #[test]
            fn $test() {
                check_named($name);
            }
        )*
    };
}

trained_models! {
    ad01_autoencoder: "ad01_autoencoder",
    espcn_x3: "espcn_x3",
    kws_dscnn_float: "kws_dscnn_float",
    mnist: "mnist-8",
    mobilenetv2_bn_backbone: "mobilenetv2_bn_backbone",
    resnet20_cifar10: "resnet20_cifar10",
    resnet56_cifar10: "resnet56_cifar10",
    squeezenet_deepcompressed: "squeezenet1.0_deepcompressed",
    squeezenet: "squeezenet1.1",
    ultraface_slim_320: "ultraface_slim_320",
    yolox_nano: "yolox_nano",
}

#[test]
fn every_model_is_checked_or_known_to_be_unsupported() {
    let Some(files) = assets::onnx_files() else {
        return skip::report("list of trained models (no assets)");
    };
    for file in files {
        let stem = file
            .file_stem()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        let listed = CHECKED.iter().chain(UNSUPPORTED).any(|name| *name == stem);
        assert!(listed, "{stem} is in neither list of this file");
    }
}

#[test]
fn unsupported_models_are_refused_with_all_reasons() {
    let Some(dir) = assets::models_dir() else {
        return skip::report("refusal of unsupported models (no assets)");
    };
    let codes = |name: &str, shapes: &[(&str, &[usize])]| -> Vec<(&'static str, Option<String>)> {
        let model = read_model(&dir.join(format!("{name}.onnx")));
        let input_shapes = shapes
            .iter()
            .map(|(name, shape)| (name.to_string(), shape.to_vec()));
        let options = ImportOptions {
            input_shapes: input_shapes.collect(),
            ..Default::default()
        };
        let found = import_model(&model, &options).expect_err("unsupported");
        println!("{}", text(&found));
        let errors = found
            .into_iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error);
        errors
            .map(|diagnostic| (diagnostic.code, diagnostic.at.op_type))
            .collect()
    };
    let op = |name: &str| ("unsupported-op", Some(name.to_string()));
    assert_eq!(
        codes("kws_dscnn_int8_qdq", &[]),
        [
            ("unsupported-dtype", None),
            op("DequantizeLinear"),
            op("QuantizeLinear")
        ]
    );
    let shapes: [(&str, &[usize]); 2] = [("input", &[1, 512]), ("state", &[2, 1, 128])];
    assert_eq!(
        codes("silero_vad_16k_op15", &shapes),
        [("unsupported-dtype", None), op("LSTM")]
    );
}
