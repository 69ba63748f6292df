//! Masks, values per level and scales, and what is wrong with them.

use super::*;
use crate::frontend::onnx::sidecar::MaskFile;
use crate::npz::{NpzArray, NpzElems};
use condensec_ir::tensor::{LevelRule, Tensor};
use expect_test::expect;

/// `model` with this number of levels.
fn leveled(mut model: ModelProto, n_levels: u32) -> ModelProto {
    model.set_metadata("condense.version", "1");
    model.set_metadata("condense.levels", n_levels.to_string());
    model
}

/// `y = x * w` with `w` `[4, 2]`, three levels, and these initializers.
fn matrix(level_data: Vec<TensorProto>) -> ModelProto {
    let w = TensorProto::from_f32("w", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let initializers = [vec![w], level_data].concat();
    leveled(
        model(
            vec![node("MatMul", &["x", "w"], "y", vec![])],
            initializers,
            &[("x", &[1, 4])],
            &["y"],
        ),
        3,
    )
}

fn warnings(model: &ModelProto) -> String {
    match import_model(model, &ImportOptions::default()) {
        Ok(imported) => text(&imported.diagnostics),
        Err(diagnostics) => panic!("{}", text(&diagnostics)),
    }
}

fn tensor<'g>(graph: &'g Graph, name: &str) -> &'g Tensor {
    graph
        .tensors()
        .iter()
        .find(|tensor| tensor.name == name)
        .expect("imported")
}

fn block(graph: &Graph, name: &str) -> Vec<usize> {
    match &tensor(graph, name).rule {
        LevelRule::Masked(mask) => mask.block().to_vec(),
        rule => panic!("{rule:?}"),
    }
}

#[test]
fn a_mask_follows_its_weight_into_the_layer() {
    let graph = import(&matrix(vec![TensorProto::from_u8(
        "w__level",
        &[4, 2],
        &[0, 1, 2, 0, 0, 0, 1, 2],
    )]));
    assert_eq!(graph.n_levels, 3);
    let ones: &[f32] = &[1.0; 4];
    assert_eq!(run(&graph, 0, &[ones]), [1.0 + 5.0, 4.0 + 6.0]);
    assert_eq!(run(&graph, 1, &[ones]), [1.0 + 5.0 + 7.0, 2.0 + 4.0 + 6.0]);
    assert_eq!(run(&graph, 2, &[ones]), [16.0, 20.0]);
}

#[test]
fn a_weight_may_be_the_value_of_a_constant_node() {
    let mut model = matrix(vec![TensorProto::from_u8(
        "w__level",
        &[4, 2],
        &[0, 1, 2, 0, 0, 0, 1, 2],
    )]);
    let graph = graph_of(&mut model);
    let w = graph.initializer.remove(0);
    let value = vec![AttributeProto::tensor("value", w)];
    graph.node.insert(0, node("Constant", &[], "w", value));
    assert_eq!(run(&import(&model), 0, &[&[1.0; 4]]), [6.0, 10.0]);
}

#[test]
fn masks_may_be_given_by_block() {
    let mut model = matrix(vec![TensorProto::from_u8("w__level", &[2, 1], &[1, 0])]);
    model.set_metadata("condense.block:w", "2x2");
    let graph = import(&model);
    assert_eq!(block(&graph, "w"), [2, 2]);
    assert_eq!(run(&graph, 0, &[&[1.0; 4]]), [12.0, 14.0]);
    // The weight is stored transposed, and so is its block.
    model.set_metadata("condense.block:w", "4x1");
    graph_of(&mut model).initializer[1] = TensorProto::from_u8("w__level", &[1, 2], &[0, 2]);
    let graph = import(&model);
    assert_eq!(block(&graph, "w"), [1, 4]);
    assert_eq!(run(&graph, 1, &[&[1.0; 4]]), [16.0, 0.0]);
}

#[test]
fn a_block_that_a_full_mask_does_not_keep_to_is_ignored() {
    let mut model = matrix(vec![TensorProto::from_u8(
        "w__level",
        &[4, 2],
        &[0, 1, 0, 1, 0, 1, 0, 0],
    )]);
    model.set_metadata("condense.block:w", "4x1");
    expect![[r#"
        warning[mask-block-differs]: the values of `w__level` differ within blocks of 4x1; the block is ignored
          --> tensor "w__level"
    "#]]
    .assert_eq(&warnings(&model));
    let graph = import_model(&model, &ImportOptions::default())
        .unwrap()
        .graph;
    assert_eq!(block(&graph, "w"), [1, 1]);
}

#[test]
fn level_data_that_does_not_fit_is_refused() {
    let wrong_shape = matrix(vec![TensorProto::from_u8("w__level", &[2, 4], &[0; 8])]);
    expect![[r#"
        error[mask-shape-mismatch]: `w__level` has shape [2, 4], the weight `w` needs [4, 2]
          --> tensor "w__level"
          = help: for one value per block, say which block in the metadata `condense.block:w`, as in 4x1x1x1
    "#]]
    .assert_eq(&faults(&wrong_shape));
    let mut wrong_grid = matrix(vec![TensorProto::from_u8("w__level", &[2, 2], &[0; 4])]);
    wrong_grid.set_metadata("condense.block:w", "4x1");
    expect![[r#"
        error[mask-shape-mismatch]: `w__level` has shape [2, 2], the weight `w` needs [4, 2], or [1, 2] in blocks of 4x1
          --> tensor "w__level"
          = help: a mask has one value per weight, or one per block
    "#]]
    .assert_eq(&faults(&wrong_grid));
    let wrong_type = matrix(vec![TensorProto::from_i64("w__level", &[4, 2], &[0; 8])]);
    expect![[r#"
        error[mask-dtype-mismatch]: `w__level` is int64, expected uint8
          --> tensor "w__level"
          = note: value v means: the weight is active at every level from v up
    "#]]
    .assert_eq(&faults(&wrong_type));
    let code = |level_data: TensorProto| fault_codes(&matrix(vec![level_data]));
    assert_eq!(
        code(TensorProto::from_f32("w__levels", &[2, 4, 2], &[0.0; 16])),
        ["levels-shape-mismatch"]
    );
    assert_eq!(
        code(TensorProto::from_u8("w__levels", &[3, 4, 2], &[0; 24])),
        ["levels-dtype-mismatch"]
    );
    assert_eq!(
        code(TensorProto::from_f32("w__scale", &[3, 4], &[1.0; 12])),
        ["scale-shape-mismatch"]
    );
    assert_eq!(
        code(TensorProto::from_u8("w__scale", &[3, 2], &[1; 6])),
        ["scale-dtype-mismatch"]
    );
    assert_eq!(
        code(TensorProto::from_u8("v__level", &[1], &[1])),
        ["level-data-without-tensor"]
    );
    for text in ["2", "2x0", "2xtwo", "", "2x2x1"] {
        let mut model = matrix(vec![TensorProto::from_u8("w__level", &[4, 2], &[0; 8])]);
        model.set_metadata("condense.block:w", text);
        assert_eq!(fault_codes(&model), ["mask-block-invalid"], "{text}");
    }
}

#[test]
fn metadata_is_checked() {
    let with = |version: Option<&str>, levels: Option<&str>, names: Option<&str>| {
        let mut model = matrix(vec![TensorProto::from_u8("w__level", &[4, 2], &[0; 8])]);
        model.metadata_props.clear();
        let given = [
            ("condense.version", version),
            ("condense.levels", levels),
            ("condense.level_names", names),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                model.set_metadata(key, value);
            }
        }
        model
    };
    assert_eq!(
        fault_codes(&with(None, Some("3"), None)),
        ["unsupported-version"]
    );
    assert_eq!(
        fault_codes(&with(Some("2"), Some("3"), None)),
        ["unsupported-version"]
    );
    for levels in ["0", "65", "-1", "many", ""] {
        assert_eq!(
            fault_codes(&with(Some("1"), Some(levels), None)),
            ["bad-level-count"],
            "{levels}"
        );
    }
    expect![[r#"
        error[level-count-missing]: level data `w__level`, but the metadata `condense.levels` is missing
          --> tensor "w__level"
          = help: set the metadata `condense.version` to 1 and `condense.levels` to the number of levels, or put the array `condense.levels` into the masks file
    "#]]
    .assert_eq(&faults(&with(Some("1"), None, None)));
    assert_eq!(
        fault_codes(&with(Some("1"), Some("3"), Some("small,large"))),
        ["level-names-mismatch"]
    );
    let named = import(&with(Some("1"), Some("3"), Some("small, medium,large")));
    assert_eq!(named.level_names, ["small", "medium", "large"]);
}

#[test]
fn names_of_ordinary_tensors_are_left_alone() {
    let nodes = vec![node("Mul", &["x", "w__scale"], "y", vec![])];
    let scale = TensorProto::from_f32("w__scale", &[1], &[2.0]);
    let graph = import(&model(nodes, vec![scale], &[("x", &[1])], &["y"]));
    assert_eq!(run(&graph, 0, &[&[3.0]]), [6.0]);
    // Nobody reads it and its base does not exist: not ours.
    let unread = TensorProto::from_f32("other__level", &[1], &[2.0]);
    import(&model(
        vec![node("Relu", &["x"], "y", vec![])],
        vec![unread],
        &[("x", &[1])],
        &["y"],
    ));
}

#[test]
fn masks_belong_to_weights_only() {
    let build = |nodes: Vec<NodeProto>, name: &str, level_data: TensorProto| {
        let p = TensorProto::from_f32(name, &[2], &[1.0, 2.0]);
        let w = TensorProto::from_f32("w", &[2, 2, 1, 1], &[1.0; 4]);
        leveled(
            model(
                nodes,
                vec![p, w, level_data],
                &[("x", &[1, 2, 1, 1])],
                &["y"],
            ),
            2,
        )
    };
    let mask = || TensorProto::from_u8("p__level", &[2], &[0, 1]);
    let add = vec![node("Add", &["x", "p"], "y", vec![])];
    expect![[r#"
        error[mask-not-on-weight]: `p__level` masks `p`, which is no weight here
          --> node "the_y" (Add), tensor "p"
          = note: weights are the constant operands of Conv, ConvTranspose, Gemm and MatMul
          = help: give a parameter its values per level as `p__levels`
    "#]]
    .assert_eq(&faults(&build(add.clone(), "p", mask())));
    let conv = vec![node("Conv", &["x", "w", "p"], "y", vec![])];
    assert_eq!(
        fault_codes(&build(conv.clone(), "p", mask())),
        ["mask-not-on-weight"]
    );
    let scale = TensorProto::from_f32("p__scale", &[2, 2], &[1.0; 4]);
    assert_eq!(
        fault_codes(&build(add.clone(), "p", scale)),
        ["scale-not-on-weight"]
    );
    let clip = vec![node("Clip", &["x", "lo"], "y", vec![])];
    let mut clipped = build(
        clip,
        "lo",
        TensorProto::from_f32("lo__levels", &[2, 2], &[1.0, 2.0, 1.0, 2.0]),
    );
    graph_of(&mut clipped).initializer[0] = TensorProto::from_f32("lo", &[], &[1.0]);
    graph_of(&mut clipped).initializer[2] = TensorProto::from_f32("lo__levels", &[2], &[0.0, 1.0]);
    assert_eq!(fault_codes(&clipped), ["levels-not-on-parameter"]);
    // Where the values are added, they may differ.
    let rows = TensorProto::from_f32("p__levels", &[2, 2], &[10.0, 20.0, 1.0, 2.0]);
    let mut parameter = build(conv, "p", rows);
    let graph = import(&parameter);
    assert_eq!(run(&graph, 0, &[&[1.0, 1.0]]), [12.0, 22.0]);
    assert_eq!(run(&graph, 1, &[&[1.0, 1.0]]), [3.0, 4.0]);
    graph_of(&mut parameter).initializer.push(mask());
    assert_eq!(fault_codes(&parameter), ["level-data-conflict"]);
}

#[test]
fn doubtful_level_data_is_a_warning() {
    let dropping = TensorProto::from_u8("w__level", &[4, 2], &[0, 3, 0, 0, 0, 0, 0, 255]);
    let scaled = TensorProto::from_f32("w__scale", &[3, 2], &[1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    expect![[r#"
        warning[top-level-differs]: 2 of 8 values of `w` differ at the highest level: 2 in the plain file, 0 there
          --> tensor "w", first at [0, 1]
          = note: the plain file should mean the highest level; where it does not, level data wins
    "#]]
    .assert_eq(&warnings(&matrix(vec![dropping])));
    expect![[r#"
        warning[layer-never-active]: no weight of `w` is active at any of 3 levels
          --> tensor "w__level"
          = note: values run from 0 to 2; larger ones mean never active
    "#]]
    .assert_eq(&warnings(&matrix(vec![TensorProto::from_u8(
        "w__level",
        &[4, 2],
        &[3; 8],
    )])));
    expect![[r#"
        warning[top-level-differs]: 1 of 2 values of `w__scale` differ at the highest level: 1 in the plain file, 2 there
          --> tensor "w__scale", first at [1]
          = note: the plain file should mean the highest level; where it does not, level data wins
    "#]]
    .assert_eq(&warnings(&matrix(vec![scaled])));
    let mut unread = matrix(vec![]);
    graph_of(&mut unread).initializer.extend([
        TensorProto::from_f32("v", &[1], &[1.0]),
        TensorProto::from_u8("v__level", &[1], &[0]),
    ]);
    unread.set_metadata("condense.block:w", "4x1");
    expect![[r#"
        warning[level-data-unused]: no node reads `v`, so its level data has no effect
          --> tensor "v__level"
        warning[block-without-mask]: `condense.block:w` has no effect: there is no mask `w__level`
          --> tensor "w"
    "#]]
    .assert_eq(&warnings(&unread));
}

#[test]
fn a_scale_multiplies_the_sum_of_its_channel() {
    let rows = [0.5, 2.0, 1.0, 3.0, 1.0, 1.0];
    let graph = import(&matrix(vec![TensorProto::from_f32(
        "w__scale",
        &[3, 2],
        &rows,
    )]));
    assert_eq!(run(&graph, 0, &[&[1.0; 4]]), [8.0, 40.0]);
    assert_eq!(run(&graph, 1, &[&[1.0; 4]]), [16.0, 60.0]);
    assert_eq!(run(&graph, 2, &[&[1.0; 4]]), [16.0, 20.0]);
}

#[test]
fn a_mask_in_the_graph_goes_into_the_weight() {
    let pruned = |level_data: Vec<TensorProto>| {
        let nodes = vec![
            node("Mul", &["w_orig", "w_mask"], "w", vec![]),
            node("Transpose", &["w"], "wt", vec![]),
            node("MatMul", &["x", "wt"], "y", vec![]),
        ];
        let mut initializers = vec![
            TensorProto::from_f32("w_orig", &[2, 2], &[1.0, -2.0, 3.0, 4.0]),
            TensorProto::from_f32("w_mask", &[2, 2], &[1.0, 0.0, 1.0, 1.0]),
        ];
        initializers.extend(level_data);
        leveled(model(nodes, initializers, &[("x", &[1, 2])], &["y"]), 2)
    };
    let graph = import(&pruned(vec![]));
    let weight = tensor(&graph, "w_orig");
    assert_eq!(
        (&weight.data[..], &weight.rule),
        (&[1.0, -0.0, 3.0, 4.0][..], &LevelRule::Shared)
    );
    assert_eq!(weight.n_kept(LevelId(1)), 3);

    // Level data of the weight, of the mask as a mask, and of the mask as zeros and ones per level.
    for level_data in [
        TensorProto::from_u8("w_orig__level", &[2, 2], &[0, 0, 1, 0]),
        TensorProto::from_u8("w_mask__level", &[2, 2], &[0, 0, 1, 0]),
        TensorProto::from_f32(
            "w_mask__levels",
            &[2, 2, 2],
            &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
        ),
    ] {
        let graph = import(&pruned(vec![level_data]));
        let weight = tensor(&graph, "w_orig");
        assert_eq!(weight.at_level(LevelId(0))[..], [1.0, 0.0, 0.0, 4.0]);
        assert_eq!(weight.at_level(LevelId(1))[..], [1.0, 0.0, 3.0, 4.0]);
    }
    let shrinking = TensorProto::from_f32(
        "w_mask__levels",
        &[2, 2, 2],
        &[1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0],
    );
    let mut model = pruned(vec![shrinking]);
    graph_of(&mut model).initializer[1] =
        TensorProto::from_f32("w_mask", &[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    expect![[r#"
        error[mask-not-nested]: a weight of `w` is 3 at L0 and 0 at L1
          --> node "the_y" (MatMul), tensor "w", first at [0, 1]
          = note: levels share one set of weights: a level may only add weights to those of the level below
    "#]]
    .assert_eq(&faults(&model));
}

#[test]
fn a_sidecar_takes_the_place_of_the_file() {
    let mut plain = matrix(vec![]);
    plain.metadata_props.clear();
    let array = |name: &str, shape: &[usize], values: Vec<u8>| NpzArray {
        name: name.into(),
        shape: shape.to_vec(),
        elems: NpzElems::U8(values),
    };
    let mask = || array("w__level", &[2, 1], vec![1, 0]);
    let levels = |n: i64| NpzArray::i64("condense.levels", &[], vec![n]);
    let block = || NpzArray::i64("condense.block:w", &[2], vec![2, 2]);
    let import = |model: &ModelProto, arrays: Vec<NpzArray>| {
        let options = ImportOptions {
            sidecar: Some(MaskFile::new("masks.npz", arrays)),
            ..Default::default()
        };
        import_model(model, &options)
    };
    let graph = import(&plain, vec![mask(), levels(2), block()])
        .unwrap()
        .graph;
    assert_eq!((graph.n_levels, block_of(&graph)), (2, vec![2, 2]));
    assert_eq!(run(&graph, 0, &[&[1.0; 4]]), [12.0, 14.0]);

    fn block_of(graph: &Graph) -> Vec<usize> {
        super::level_data::block(graph, "w")
    }
    // The model's own mask is replaced; its level count must agree.
    let own = matrix(vec![TensorProto::from_u8("w__level", &[4, 2], &[0; 8])]);
    let graph = import(&own, vec![mask(), levels(3), block()])
        .unwrap()
        .graph;
    assert_eq!(block_of(&graph), [2, 2]);
    assert_eq!(
        codes(&import(&own, vec![mask(), levels(2), block()]).unwrap_err()),
        ["level-count-conflict"]
    );
    assert_eq!(
        codes(&import(&plain, vec![mask()]).unwrap_err()),
        ["level-count-missing"]
    );
    assert_eq!(
        codes(&import(&plain, vec![levels(99)]).unwrap_err()),
        ["bad-level-count"]
    );
    let wrong = NpzArray::f32("condense.levels", &[], vec![2.0]);
    assert_eq!(
        codes(&import(&plain, vec![mask(), wrong]).unwrap_err()),
        ["bad-metadata"]
    );
    let unknown = import(&plain, vec![levels(1), array("x", &[1], vec![1])])
        .unwrap()
        .diagnostics;
    expect![[r#"
        warning[mask-file-entry-unknown]: `x` is no level data and is ignored
          --> masks.npz, tensor "x"
          = help: names end in __level, __levels or __scale, or are condense.levels or condense.block:NAME
    "#]]
    .assert_eq(&text(&unknown));
}
