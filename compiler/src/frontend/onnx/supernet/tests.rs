//! What `nest` makes of a model, written into the file and read again.

use super::*;
use crate::frontend::onnx::import::{ImportOptions, import_model};
use crate::frontend::onnx::proto::{AttributeProto, DataType, ValueInfoProto};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::{LevelId, verify::verify_graph};
use condensec_nest::{BlockShape, Calibration, Recipe, nest};

const X: [usize; 4] = [1, 2, 4, 4];

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    let one = |i: usize| ((i * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
    (0..n).map(one).collect()
}

/// Conv; Conv and batch norm; Conv with a Constant weight; Gemm, transposed and not; MatMul; MatMul.
fn model() -> ModelProto {
    let f32s = |name: &str, dims: &[i64], seed: usize| {
        let n = dims.iter().product::<i64>() as usize;
        TensorProto::from_f32(name, dims, &numbers(n, seed))
    };
    let ones = |name: &str| TensorProto::from_f32(name, &[8], &[1.0; 8]);
    let constant = AttributeProto::tensor("value", f32s("", &[8, 8, 1, 1], 5));
    // A factor of the bias that it does not have.
    let trans_b = vec![
        AttributeProto::int("transB", 1),
        AttributeProto::float("beta", 0.5),
    ];
    let bn = ["c1", "bn.gamma", "bn.beta", "bn.mean", "bn.var"];
    let node = NodeProto::new;
    ModelProto::of_graph(
        GraphProto {
            name: Some("net".into()),
            node: vec![
                node("Conv", "stem", &["x", "stem.w"], &["c0"], vec![]),
                node("Relu", "relu0", &["c0"], &["r0"], vec![]),
                node("Conv", "conv1", &["r0", "conv1.w"], &["c1"], vec![]),
                node("BatchNormalization", "bn1", &bn, &["b1"], vec![]),
                node("Relu", "relu1", &["b1"], &["r1"], vec![]),
                node("Constant", "k", &[], &["conv2.w"], vec![constant]),
                node(
                    "Conv",
                    "conv2",
                    &["r1", "conv2.w", "conv2.b"],
                    &["c2"],
                    vec![],
                ),
                node("GlobalAveragePool", "pool", &["c2"], &["p"], vec![]),
                node("Flatten", "flat", &["p"], &["f"], vec![]),
                node("Gemm", "fc1", &["f", "fc1.w"], &["g1"], trans_b),
                node("Relu", "relu2", &["g1"], &["r2"], vec![]),
                node("Gemm", "fc2", &["r2", "fc2.w", "fc2.b"], &["g2"], vec![]),
                node("Relu", "relu3", &["g2"], &["r3"], vec![]),
                node("MatMul", "fc3", &["r3", "fc3.w"], &["g3"], vec![]),
                node("Relu", "relu4", &["g3"], &["r4"], vec![]),
                node("MatMul", "fc4", &["r4", "fc4.w"], &["y"], vec![]),
            ],
            initializer: vec![
                f32s("stem.w", &[8, 2, 1, 1], 1),
                f32s("conv1.w", &[8, 8, 1, 1], 2),
                ones("bn.gamma"),
                f32s("bn.beta", &[8], 3),
                f32s("bn.mean", &[8], 4),
                ones("bn.var"),
                f32s("conv2.b", &[8], 6),
                f32s("fc1.w", &[12, 8], 7),
                f32s("fc2.w", &[12, 8], 8),
                f32s("fc2.b", &[8], 9),
                f32s("fc3.w", &[8, 8], 10),
                f32s("fc4.w", &[8, 5], 11),
            ],
            input: vec![ValueInfoProto::tensor("x", DataType::Float, [1, 2, 4, 4])],
            output: vec![ValueInfoProto::tensor("y", DataType::Float, [1, 5])],
            ..Default::default()
        },
        13,
    )
}

fn import(model: &ModelProto) -> Graph {
    let imported = import_model(model, &ImportOptions::default()).unwrap();
    verify_graph(&imported.graph).unwrap();
    imported.graph
}

fn samples() -> Vec<Array> {
    (0..16)
        .map(|s| Array::new(&X, numbers(32, s + 20)))
        .collect()
}

/// The graph of [`model`] with levels.
fn nested(graph: &Graph) -> Graph {
    let mut recipe = Recipe::new(vec![0.25, 0.5, 1.0], BlockShape(vec![4]));
    recipe.groups_rows = false;
    let calibration = Calibration {
        inputs: vec![samples()],
    };
    nest(graph, calibration, &recipe, &mut |_| {})
        .unwrap()
        .graph
}

#[test]
fn the_file_says_what_the_graph_says() {
    let model = model();
    let graph = import(&model);
    assert!(fixed_layers(&model, &graph).is_empty());
    let nested = nested(&graph);
    let written = write_levels(&model, &graph, &nested).unwrap();
    let read = import(&written);
    assert_eq!(read.n_levels, 3);
    for level in 0..3 {
        for x in samples() {
            let inputs = std::slice::from_ref(&x);
            let expected = &eval_graph(&nested, LevelId(level), inputs).unwrap()[0].data;
            let found = &eval_graph(&read, LevelId(level), inputs).unwrap()[0].data;
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1e-5,
                    "{level} {found} {expected}"
                );
            }
        }
    }
    // Masks of matrices that are stored the other way round have their blocks the other way round.
    assert_eq!(written.metadata("condense.block:fc1.w"), Some("4x1"));
    assert_eq!(written.metadata("condense.block:fc2.w"), Some("1x4"));
    let nodes = &written.graph.as_ref().unwrap().node;
    assert!(nodes.iter().all(|node| node.op_type() != "Constant"));
}

#[test]
fn without_level_data_the_file_means_the_top_level() {
    let model = model();
    let graph = import(&model);
    let nested = nested(&graph);
    let mut plain = write_levels(&model, &graph, &nested).unwrap();
    plain.metadata_props.clear();
    let level_data = |tensor: &TensorProto| {
        tensor.name().contains("__level") || tensor.name().contains("__scale")
    };
    plain
        .graph
        .as_mut()
        .unwrap()
        .initializer
        .retain(|tensor| !level_data(tensor));
    let plain = import(&plain);
    for x in samples() {
        let inputs = std::slice::from_ref(&x);
        let expected = &eval_graph(&nested, LevelId(2), inputs).unwrap()[0].data;
        let found = &eval_graph(&plain, LevelId(0), inputs).unwrap()[0].data;
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5, "{found} {expected}");
        }
    }
}

#[test]
fn names_of_other_levels_go() {
    let mut model = model();
    model.set_metadata("condense.version", "1");
    model.set_metadata("condense.levels", "1");
    model.set_metadata("condense.level_names", "full");
    let graph = import(&model);
    let mut nested = nested(&graph);
    nested.level_names.clear();
    let written = write_levels(&model, &graph, &nested).unwrap();
    assert_eq!(import(&written).n_levels, 3);
}

#[test]
fn layers_that_are_stored_otherwise_are_named() {
    let mut model = model();
    let graph = model.graph.as_mut().unwrap();
    // alpha is multiplied into the weight; conv1 and another node share one.
    graph.node[11]
        .attribute
        .push(AttributeProto::float("alpha", 2.0));
    graph.node[6].input[1] = "conv1.w".into();
    let imported = import(&model);
    let fixed = fixed_layers(&model, &imported);
    let names: Vec<&str> = fixed
        .iter()
        .map(|&n| imported.node(n).name.as_str())
        .collect();
    assert_eq!(names, ["c1", "c2", "g2"]);
}
