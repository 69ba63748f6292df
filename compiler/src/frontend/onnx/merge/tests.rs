//! Small exports and what they become together.

use super::*;
use crate::frontend::onnx::import::{ImportOptions, import_model};
use crate::frontend::onnx::proto::{
    AttributeProto, DataType, GraphProto, NodeProto, ValueInfoProto,
};
use condensec_ir::LevelId;

/// Conv `[4, 1, 1, 1]` with batch norm, then MatMul `[4, 2]`.
fn model(conv: [f32; 4], mean: [f32; 4], matrix: [f32; 8]) -> ModelProto {
    let initializer = vec![
        TensorProto::from_f32("conv.w", &[4, 1, 1, 1], &conv),
        TensorProto::from_f32("bn.one", &[4], &[1.0; 4]),
        TensorProto::from_f32("bn.mean", &[4], &mean),
        TensorProto::from_f32("fc.w", &[4, 2], &matrix),
        TensorProto::from_i64("shape", &[2], &[1, 4]),
    ];
    let bn = ["c", "bn.one", "bn.mean", "bn.mean", "bn.one"];
    ModelProto::of_graph(
        GraphProto {
            name: Some("net".into()),
            node: vec![
                NodeProto::new("Conv", "conv", &["x", "conv.w"], &["c"], vec![]),
                NodeProto::new("BatchNormalization", "bn", &bn, &["b"], vec![]),
                NodeProto::new("Reshape", "flat", &["b", "shape"], &["f"], vec![]),
                NodeProto::new("MatMul", "fc", &["f", "fc.w"], &["y"], vec![]),
            ],
            initializer,
            input: vec![ValueInfoProto::tensor("x", DataType::Float, [1, 1, 1, 1])],
            output: vec![ValueInfoProto::tensor("y", DataType::Float, [1, 2])],
            ..Default::default()
        },
        13,
    )
}

fn named(models: Vec<ModelProto>) -> Vec<(String, ModelProto)> {
    models
        .into_iter()
        .enumerate()
        .map(|(at, model)| (format!("l{at}.onnx"), model))
        .collect()
}

fn tensor<'m>(model: &'m ModelProto, name: &str) -> Option<&'m TensorProto> {
    model
        .graph
        .as_ref()?
        .initializer
        .iter()
        .find(|tensor| tensor.name() == name)
}

const CONV: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
const MATRIX: [f32; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];

#[test]
fn masks_and_parameters_become_level_data() {
    let sparse = model([0.0; 4], [1.0; 4], [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 7.0, 8.0]);
    let middle = model(CONV, [2.0; 4], [1.0, 2.0, 0.0, 0.0, 5.0, 6.0, 7.0, 8.0]);
    let top = model(CONV, [2.0; 4], MATRIX);
    let merged = merge_levels(&named(vec![sparse.clone(), middle, top.clone()])).unwrap();

    assert_eq!(merged.metadata("condense.version"), Some("1"));
    assert_eq!(merged.metadata("condense.levels"), Some("3"));
    // All four output channels agree.
    assert_eq!(merged.metadata("condense.block:conv.w"), Some("4x1x1x1"));
    let mask = tensor(&merged, "conv.w__level").unwrap();
    assert_eq!(
        (&mask.dims[..], mask.to_u8_vec().unwrap()),
        (&[1, 1, 1, 1][..], vec![1])
    );
    // The output channels of a right factor are its columns.
    assert_eq!(merged.metadata("condense.block:fc.w"), Some("1x2"));
    let mask = tensor(&merged, "fc.w__level").unwrap();
    assert_eq!(
        (&mask.dims[..], mask.to_u8_vec().unwrap()),
        (&[4, 1][..], vec![0, 2, 1, 0])
    );
    let rows = tensor(&merged, "bn.mean__levels").unwrap();
    assert_eq!(rows.dims, [3, 4]);
    assert_eq!(rows.to_f32_vec().unwrap()[3..5], [1.0, 2.0]);
    assert!(tensor(&merged, "bn.one__levels").is_none());
    assert_eq!(tensor(&merged, "conv.w"), tensor(&top, "conv.w"));

    let imported = import_model(&merged, &ImportOptions::default()).unwrap();
    assert_eq!(imported.graph.n_levels, 3);
    let weight = imported
        .graph
        .tensors()
        .iter()
        .find(|t| t.name == "fc.w")
        .unwrap();
    assert_eq!(
        weight.at_level(LevelId(0))[..],
        [1.0, 0.0, 0.0, 7.0, 2.0, 0.0, 0.0, 8.0]
    );
}

#[test]
fn unstructured_masks_keep_the_shape_and_zeros_are_never_active() {
    let sparse = model([1.0, 0.0, 0.0, 0.0], [1.0; 4], MATRIX);
    let top = model([1.0, 2.0, 0.0, 4.0], [1.0; 4], MATRIX);
    let merged = merge_levels(&named(vec![sparse, top])).unwrap();
    assert_eq!(merged.metadata("condense.block:conv.w"), None);
    let mask = tensor(&merged, "conv.w__level").unwrap();
    assert_eq!(
        (&mask.dims[..], mask.to_u8_vec().unwrap()),
        (&[4, 1, 1, 1][..], vec![0, 1, 2, 1])
    );
    assert!(tensor(&merged, "fc.w__level").is_none());
}

#[test]
fn a_mask_beside_its_weight_may_differ() {
    let with_mask = |mask: [f32; 4]| {
        let mut model = model(CONV, [1.0; 4], MATRIX);
        let graph = model.graph.as_mut().unwrap();
        graph.node[0].input[1] = "masked".into();
        graph.node.insert(
            0,
            NodeProto::new("Mul", "mul", &["conv.w", "mask"], &["masked"], vec![]),
        );
        graph
            .initializer
            .push(TensorProto::from_f32("mask", &[4, 1, 1, 1], &mask));
        model
    };
    let models = vec![
        with_mask([0.0, 1.0, 0.0, 0.0]),
        with_mask([1.0, 1.0, 0.0, 1.0]),
    ];
    let merged = merge_levels(&named(models)).unwrap();
    let imported = import_model(&merged, &ImportOptions::default()).unwrap();
    let weight = imported
        .graph
        .tensors()
        .iter()
        .find(|t| t.name == "conv.w")
        .unwrap();
    assert_eq!(weight.at_level(LevelId(0))[..], [0.0, 2.0, 0.0, 0.0]);
    assert_eq!(weight.at_level(LevelId(1))[..], [1.0, 2.0, 0.0, 4.0]);
}

#[test]
fn what_cannot_be_shared_is_named_with_both_sides() {
    let check = |low: ModelProto, top: ModelProto| {
        let found = merge_levels(&named(vec![low, top])).unwrap_err();
        found
            .iter()
            .map(|diagnostic| format!("{diagnostic}\n"))
            .collect::<String>()
    };
    let text = check(
        model([1.0, 0.0, 3.0, 0.0], [1.0; 4], MATRIX),
        model([1.0, 2.0, 0.0, 0.0], [1.0; 4], MATRIX),
    );
    expect_test::expect![[r#"
        error[mask-not-nested]: L1 drops 1 weight of `conv.w` that L0 keeps
          --> node "conv" (Conv), tensor "conv.w", first at [2, 0, 0, 0]
          = note: the first is 3 at L0 (l0.onnx) and 0 at L1 (l1.onnx)
          = note: levels share one weight buffer, so masks must grow with the level
          = help: export cumulative masks, or list the models by density, the sparsest first
    "#]]
    .assert_eq(&text);
    let mut other = MATRIX;
    other[5] = 6.5;
    let text = check(model(CONV, [1.0; 4], other), model(CONV, [1.0; 4], MATRIX));
    expect_test::expect![[r#"
        error[shared-value-differs]: L0 and L1 disagree on 1 weight of `fc.w`
          --> node "fc" (MatMul), tensor "fc.w", first at [2, 1]
          = note: the first is 6.5 at L0 (l0.onnx) and 6 at L1 (l1.onnx)
          = note: levels share one weight buffer: a weight has one value wherever it is kept
          = help: train all levels with shared weights, or prune one network further and further
    "#]]
    .assert_eq(&text);
    let mut low = model(CONV, [1.0; 4], MATRIX);
    low.graph.as_mut().unwrap().initializer[4] = TensorProto::from_i64("shape", &[2], &[1, -1]);
    assert!(
        check(low, model(CONV, [1.0; 4], MATRIX)).starts_with("error[constant-differs]: `shape`")
    );
}

#[test]
fn other_networks_are_refused() {
    let top = model(CONV, [1.0; 4], MATRIX);
    let code = |change: &dyn Fn(&mut ModelProto)| {
        let mut low = top.clone();
        change(&mut low);
        let found = merge_levels(&named(vec![low, top.clone()])).unwrap_err();
        (found[0].code, found[0].message.clone())
    };
    fn graph(model: &mut ModelProto) -> &mut GraphProto {
        model.graph.as_mut().unwrap()
    }
    let differs = |message: &str| ("graph-differs", message.to_string());
    assert_eq!(
        code(&|m| graph(m).node[0].op_type = Some("Relu".into())),
        differs("the node is Relu and Conv")
    );
    assert_eq!(
        code(&|m| graph(m).node[0]
            .attribute
            .push(AttributeProto::int("group", 1))),
        differs("attribute `group` differs")
    );
    assert_eq!(
        code(&|m| drop(graph(m).node.pop())),
        differs("3 nodes and 4")
    );
    assert_eq!(
        code(&|m| graph(m).initializer[1].dims = vec![4, 1]),
        differs("`bn.one` has type and shape (1, [4, 1]) and (1, [4])")
    );
    assert_eq!(
        code(&|m| drop(graph(m).initializer.remove(1))),
        differs("there is no initializer `bn.one`")
    );
    assert_eq!(
        code(&|m| m.set_metadata("condense.levels", "2")).0,
        "already-supernet"
    );
    assert_eq!(merge_levels(&[]).unwrap_err()[0].code, "bad-level-count");
}

#[test]
fn old_files_list_the_new_initializers_as_inputs() {
    let mut models = vec![
        model([0.0; 4], [1.0; 4], MATRIX),
        model(CONV, [1.0; 4], MATRIX),
    ];
    for model in &mut models {
        model.ir_version = Some(3);
    }
    let merged = merge_levels(&named(models)).unwrap();
    let inputs: Vec<&str> = merged
        .graph
        .as_ref()
        .unwrap()
        .input
        .iter()
        .map(|i| i.name())
        .collect();
    assert_eq!(inputs, ["x", "conv.w__level"]);
}
