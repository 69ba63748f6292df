//! Inputs, outputs, versions and the structure of the file.

use super::*;
use crate::frontend::onnx::proto::Dimension;
use expect_test::expect;

fn relu() -> ModelProto {
    model(
        vec![node("Relu", &["x"], "y", vec![])],
        vec![],
        &[("x", &[2, 3])],
        &["y"],
    )
}

fn with_shapes(shapes: &[(&str, &[usize])]) -> ImportOptions {
    let shapes = shapes
        .iter()
        .map(|(name, shape)| (name.to_string(), shape.to_vec()));
    ImportOptions {
        input_shapes: shapes.collect(),
        ..Default::default()
    }
}

/// Two inputs `[N, 3]` and `[N, M]`.
fn symbolic() -> ModelProto {
    let nodes = vec![
        node("Relu", &["a"], "y", vec![]),
        node("Relu", &["b"], "z", vec![]),
    ];
    let mut model = model(nodes, vec![], &[], &["y", "z"]);
    let dims = |last: Dimension| [Dimension::from("N"), last];
    graph_of(&mut model).input = vec![
        ValueInfoProto::tensor("a", DataType::Float, dims(3.into())),
        ValueInfoProto::tensor("b", DataType::Float, dims("M".into())),
    ];
    model
}

#[test]
fn nodes_are_named_after_their_outputs() {
    let graph = import(&relu());
    assert_eq!(graph.name, "test");
    let output = graph.node(graph.outputs()[0].node);
    assert_eq!(
        (output.name.as_str(), &output.shape[..]),
        ("y", &[2, 3][..])
    );
    assert_eq!(
        (output.origin.name.as_str(), output.origin.op_type.as_str()),
        ("the_y", "Relu")
    );
    let named = ImportOptions {
        name: Some("mine".into()),
        ..Default::default()
    };
    assert_eq!(import_model(&relu(), &named).unwrap().graph.name, "mine");
}

#[test]
fn symbolic_dimensions_are_one_with_a_note() {
    let imported = import_model(&symbolic(), &ImportOptions::default()).unwrap();
    let shapes: Vec<_> = imported
        .graph
        .inputs()
        .iter()
        .map(|&i| imported.graph.node(i).shape.clone())
        .collect();
    assert_eq!(shapes, [[1, 3], [1, 1]]);
    expect![[r#"
        note[symbolic-dimension]: input `a`: `N` taken as 1
          --> tensor "a"
          = help: --input-shape a=1x3 says otherwise
        note[symbolic-dimension]: input `b`: `N`, `M` taken as 1
          --> tensor "b"
          = help: --input-shape b=1x1 says otherwise
    "#]]
    .assert_eq(&text(&imported.diagnostics));
}

#[test]
fn a_symbol_has_one_value() {
    let imported = import_model(&symbolic(), &with_shapes(&[("a", &[8, 3])])).unwrap();
    let b = imported.graph.inputs()[1];
    assert_eq!(imported.graph.node(b).shape, [8, 1]);
    assert_eq!(imported.diagnostics[0].message, "input `b`: `M` taken as 1");
    let error =
        import_model(&symbolic(), &with_shapes(&[("a", &[8, 3]), ("b", &[4, 1])])).unwrap_err();
    assert_eq!(
        error[0].message,
        "dimension `N` is 8 and 4 in the shapes given"
    );
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let error = import_model(&relu(), &with_shapes(&[("x", &[4, 3]), ("u", &[1])])).unwrap_err();
    expect![[r#"
        error[unknown-input]: a shape is given for `u`, which is no input of the model
          --> tensor "u"
          = help: the inputs are `x`
        error[input-shape-mismatch]: input `x` is [2, 3] in the file, [4, 3] was given
          --> tensor "x"
          = help: only symbolic dimensions can be chosen; export the model with dynamic axes to change others
    "#]]
    .assert_eq(&text(&error));
}

#[test]
fn inputs_that_are_no_float_tensors_are_refused() {
    let mut model = symbolic();
    let graph = graph_of(&mut model);
    graph.input[0] = ValueInfoProto::tensor("a", DataType::Int64, [1]);
    graph.input[1].r#type = None;
    expect![[r#"
        error[unsupported-dtype]: input `a` is INT64, expected FLOAT
          --> tensor "a"
          = note: everything that is computed at run time is FLOAT
        error[unsupported-dtype]: input `b` is no tensor
          --> tensor "b"
    "#]]
    .assert_eq(&faults(&model));
}

#[test]
fn impossible_sizes_are_refused() {
    let code = |dims: &[i64]| {
        let mut model = relu();
        graph_of(&mut model).input[0] = ValueInfoProto::tensor("x", DataType::Float, dims);
        fault_codes(&model)
    };
    assert_eq!(code(&[0, 3]), ["empty-tensor"]);
    assert_eq!(code(&[1 << 16, 1 << 16]), ["tensor-too-large"]);
    assert_eq!(code(&[i64::MAX, i64::MAX]), ["tensor-too-large"]);
    assert_eq!(code(&[1; 9]), ["too-many-axes"]);
    // An exporter that wrote 0 for "unknown" can be helped.
    let mut model = relu();
    graph_of(&mut model).input[0] = ValueInfoProto::tensor("x", DataType::Float, [0, 3]);
    let imported = import_model(&model, &with_shapes(&[("x", &[5, 3])])).unwrap();
    assert_eq!(
        imported.graph.node(imported.graph.inputs()[0]).shape,
        [5, 3]
    );
}

#[test]
fn initializers_among_the_inputs_are_constants() {
    let mut model = model(
        vec![node("Add", &["x", "w"], "y", vec![])],
        vec![TensorProto::from_f32("w", &[2], &[1.0, 2.0])],
        &[("x", &[2]), ("w", &[2])],
        &["y"],
    );
    model.ir_version = Some(3);
    let graph = import(&model);
    assert_eq!(graph.inputs().len(), 1);
    assert_eq!(run(&graph, 0, &[&[10.0, 20.0]]), [11.0, 22.0]);
}

#[test]
fn other_versions_are_refused() {
    let code = |ir_version: Option<i64>, opset: Option<i64>, domain: Option<&str>| {
        let mut model = relu();
        model.ir_version = ir_version;
        model.opset_import = vec![OperatorSetIdProto {
            domain: domain.map(str::to_string),
            version: opset,
        }];
        import_model(&model, &ImportOptions::default()).map_or_else(|e| codes(&e), |_| vec![])
    };
    assert_eq!(code(Some(8), Some(13), Some("ai.onnx")), [""; 0]);
    assert_eq!(code(Some(2), Some(13), None), ["unsupported-ir-version"]);
    assert_eq!(
        code(None, Some(6), None),
        ["unsupported-ir-version", "unsupported-opset"]
    );
    assert_eq!(
        code(Some(15), Some(29), None),
        ["unsupported-ir-version", "unsupported-opset"]
    );
    assert_eq!(
        code(Some(8), Some(1), Some("com.example")),
        ["unsupported-opset"]
    );
}

#[test]
fn unsupported_ops_are_listed_by_type() {
    let mut nodes: Vec<NodeProto> = (0..5)
        .map(|n| node("LSTM", &["x"], &format!("l{n}"), vec![]))
        .collect();
    nodes.push(NodeProto {
        domain: Some("com.example".into()),
        ..node("Relu", &["l0"], "r", vec![])
    });
    nodes.push(node("Gelu", &["x"], "g", vec![]));
    // Depends on what is not there, and stays silent.
    nodes.push(node("Conv", &["r"], "y", vec![]));
    let model = model(nodes, vec![], &[("x", &[2, 3])], &["y", "g"]);
    expect![[r#"
        error[unsupported-opset]: Gelu exists from operator set 20 on, the model has 13
          --> node "the_g" (Gelu)
        error[unsupported-op]: LSTM is not supported (5 nodes)
          --> node "the_l0" (LSTM)
          = note: nodes: `the_l0`, `the_l1`, `the_l2` and 2 more
          = help: `condensec ops` lists what is supported
        error[unsupported-op]: com.example::Relu is not supported (1 node)
          --> node "the_r" (com.example::Relu)
          = note: nodes: `the_r`
          = help: `condensec ops` lists what is supported
    "#]]
    .assert_eq(&faults(&model));
}

#[test]
fn broken_graphs_are_refused() {
    let broken = model(
        vec![
            node("Relu", &["u"], "y", vec![]),
            node("Relu", &["x"], "y", vec![]),
        ],
        vec![],
        &[("x", &[1])],
        &["y", "nowhere"],
    );
    assert_eq!(fault_codes(&broken), ["duplicate-name", "undefined-tensor"]);

    let mut missing = relu();
    graph_of(&mut missing)
        .output
        .push(ValueInfoProto::tensor("nowhere", DataType::Float, [1]));
    assert_eq!(fault_codes(&missing), ["undefined-tensor"]);
    let mut none = relu();
    graph_of(&mut none).output.clear();
    assert_eq!(fault_codes(&none), ["no-outputs"]);
    let mut twice = relu();
    graph_of(&mut twice)
        .input
        .push(ValueInfoProto::tensor("x", DataType::Float, [1]));
    assert_eq!(fault_codes(&twice)[0], "duplicate-name");
    assert_eq!(fault_codes(&ModelProto::default()), ["no-graph"]);
    assert_eq!(
        fault_codes(&model(
            vec![node("Relu", &[], "y", vec![])],
            vec![],
            &[],
            &["y"]
        )),
        ["missing-input"]
    );
}

#[test]
fn a_wrong_declaration_is_a_warning() {
    let mut model = relu();
    graph_of(&mut model).output[0] = ValueInfoProto::tensor("y", DataType::Float, [3, 3]);
    let imported = import_model(&model, &ImportOptions::default()).unwrap();
    expect![[r#"
        warning[declared-shape-differs]: output `y` is [3, 3] in the file, its nodes make [2, 3]
          --> tensor "y"
    "#]]
    .assert_eq(&text(&imported.diagnostics));
}

#[test]
fn constants_and_inputs_may_be_outputs() {
    let constant = TensorProto::from_f32("c", &[2], &[1.0, 2.0]);
    let number = TensorProto::from_i64("n", &[1], &[1]);
    let direct = model(vec![], vec![constant, number], &[("x", &[2])], &["c", "x"]);
    let graph = import(&direct);
    assert_eq!(run(&graph, 0, &[&[3.0, 4.0]]), [1.0, 2.0]);
    let mut wrong = direct.clone();
    graph_of(&mut wrong).output.push(ValueInfoProto {
        name: Some("n".into()),
        ..Default::default()
    });
    assert_eq!(fault_codes(&wrong), ["unsupported-dtype"]);
}
