//! What nodes become, beyond their values: those are checked against ONNX itself.

use super::*;
use condensec_ir::Op;
use expect_test::expect;

/// Mnemonics in execution order, without inputs.
fn ops(graph: &Graph) -> Vec<&'static str> {
    let mnemonics = graph
        .order()
        .into_iter()
        .map(|id| graph.node(id).op.mnemonic());
    mnemonics.filter(|&mnemonic| mnemonic != "input").collect()
}

fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto::from_i64(name, &[values.len() as i64], values)
}

#[test]
fn shape_arithmetic_of_exporters_is_folded() {
    // x.view(x.size(0), -1) as PyTorch used to export it.
    let constant = |name: &str, value: TensorProto| {
        node(
            "Constant",
            &[],
            name,
            vec![AttributeProto::tensor("value", value)],
        )
    };
    let nodes = vec![
        node("Shape", &["x"], "shape", vec![]),
        constant("zero", TensorProto::from_i64("", &[], &[0])),
        node(
            "Gather",
            &["shape", "zero"],
            "batch",
            vec![AttributeProto::int("axis", 0)],
        ),
        node("Unsqueeze", &["batch", "axis"], "batch1", vec![]),
        node(
            "Concat",
            &["batch1", "rest"],
            "target",
            vec![AttributeProto::int("axis", 0)],
        ),
        node("Reshape", &["x", "target"], "y", vec![]),
    ];
    let initializers = vec![ints("axis", &[0]), ints("rest", &[-1])];
    let graph = import(&model(nodes, initializers, &[("x", &[2, 3, 4])], &["y"]));
    assert_eq!(ops(&graph), ["reshape"]);
    assert_eq!(graph.node(graph.outputs()[0].node).shape, [2, 12]);
}

#[test]
fn a_branch_with_a_known_condition_is_inlined() {
    let branch = |op_type: &str| GraphProto {
        node: vec![
            node("Add", &["x", "one"], "inner", vec![]),
            node(op_type, &["inner"], "result", vec![]),
        ],
        initializer: vec![TensorProto::from_f32("one", &[], &[1.0])],
        output: vec![ValueInfoProto::tensor("result", DataType::Float, [2])],
        ..Default::default()
    };
    let branches = || {
        vec![
            AttributeProto::graph("then_branch", branch("Neg")),
            AttributeProto::graph("else_branch", branch("LSTM")),
        ]
    };
    let build = |n: i64| {
        let nodes = vec![
            node("Equal", &["n", "two"], "condition", vec![]),
            node("If", &["condition"], "y", branches()),
            // The names of a branch are its own.
            node("Abs", &["y"], "inner", vec![]),
            node("Neg", &["inner"], "z", vec![]),
        ];
        model(
            nodes,
            vec![ints("n", &[n]), ints("two", &[2])],
            &[("x", &[2])],
            &["z"],
        )
    };
    assert_eq!(run(&import(&build(2)), 0, &[&[1.0, -3.0]]), [-2.0, -2.0]);
    // The other branch is read only where it is taken.
    assert_eq!(fault_codes(&build(3)), ["unsupported-op"]);
}

#[test]
fn a_shared_weight_is_stored_once() {
    let nodes = vec![
        node("MatMul", &["x", "w"], "a", vec![]),
        node("Gemm", &["x", "w"], "b", vec![]),
        node(
            "Gemm",
            &["x", "w"],
            "c",
            vec![AttributeProto::int("transB", 1)],
        ),
        node("Sum", &["a", "b", "c"], "y", vec![]),
    ];
    let w = TensorProto::from_f32("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let graph = import(&model(nodes, vec![w], &[("x", &[1, 2])], &["y"]));
    let names: Vec<&str> = graph
        .tensors()
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["w", "w.1"],
        "once transposed for two nodes, once as it is"
    );
    assert_eq!(
        run(&graph, 0, &[&[1.0, 10.0]]),
        [31.0 * 2.0 + 21.0, 42.0 * 2.0 + 43.0]
    );
}

#[test]
fn names_follow_the_last_step_of_a_composition() {
    let w = TensorProto::from_f32("w", &[2, 1, 3], &[1.0; 6]);
    let graph = import(&model(
        vec![node("Conv", &["x", "w"], "y", vec![])],
        vec![w],
        &[("x", &[1, 1, 5])],
        &["y"],
    ));
    let names: Vec<String> = graph
        .order()
        .iter()
        .map(|&id| graph.node(id).name.clone())
        .collect();
    assert_eq!(names, ["x", "y/lifted", "y/2d", "y"]);
}

#[test]
fn sparse_initializers_are_densified() {
    use crate::frontend::onnx::proto::SparseTensorProto;
    let sparse = |dims: &[i64], indices: TensorProto| SparseTensorProto {
        values: Some(TensorProto::from_f32("w", &[2], &[5.0, 7.0])),
        indices: Some(indices),
        dims: dims.to_vec(),
    };
    let build = |tensor: SparseTensorProto| {
        let mut model = model(
            vec![node("Mul", &["x", "w"], "y", vec![])],
            vec![],
            &[("x", &[2, 2])],
            &["y"],
        );
        graph_of(&mut model).sparse_initializer.push(tensor);
        model
    };
    let flat = build(sparse(&[2, 2], ints("", &[1, 2])));
    assert_eq!(run(&import(&flat), 0, &[&[1.0; 4]]), [0.0, 5.0, 7.0, 0.0]);
    let coordinates = TensorProto::from_i64("", &[2, 2], &[0, 0, 1, 1]);
    assert_eq!(
        run(
            &import(&build(sparse(&[2, 2], coordinates))),
            0,
            &[&[1.0; 4]]
        ),
        [5.0, 0.0, 0.0, 7.0]
    );
    assert_eq!(
        fault_codes(&build(sparse(&[2, 2], ints("", &[1, 4])))),
        ["bad-tensor"]
    );
    assert_eq!(
        fault_codes(&build(sparse(&[1 << 40, 2], ints("", &[1, 2])))),
        ["bad-tensor"]
    );
}

#[test]
fn outputs_that_nobody_makes_are_a_fault_only_if_read() {
    let pool = |reader: bool| {
        let mut nodes = vec![NodeProto::new(
            "MaxPool",
            "pool",
            &["x"],
            &["y", "indices"],
            vec![AttributeProto::ints("kernel_shape", &[2, 2])],
        )];
        if reader {
            nodes.push(node("Identity", &["indices"], "z", vec![]));
        }
        model(
            nodes,
            vec![],
            &[("x", &[1, 1, 2, 2])],
            &[if reader { "z" } else { "y" }],
        )
    };
    import(&pool(false));
    expect![[r#"
        error[unsupported-output]: output 1 is not supported
          --> node "pool" (MaxPool), tensor "indices"
    "#]]
    .assert_eq(&faults(&pool(true)));
}

#[test]
fn independent_faults_are_reported_together() {
    let nodes = vec![
        node("Conv", &["x", "w"], "a", vec![]),
        node("Relu", &["a"], "b", vec![]),
        node("Softmax", &["x"], "c", vec![AttributeProto::int("axis", 7)]),
        node(
            "Flatten",
            &["x"],
            "d",
            vec![AttributeProto::float("axis", 1.0)],
        ),
        node("Reshape", &["x", "x"], "e", vec![]),
    ];
    let w = TensorProto::from_f32("w", &[2, 3, 1, 1], &[1.0; 6]);
    expect![[r#"
        error[shape-mismatch]: weight [2, 3, 1, 1] with 1 groups does not fit 4 input channels
          --> node "the_a" (Conv)
        error[bad-axis]: axis 7 of a tensor with 4 axes
          --> node "the_c" (Softmax)
        error[bad-attribute]: attribute `axis` is of type Float, expected Int
          --> node "the_d" (Flatten)
        error[not-constant]: input 1 (shape) is computed at run time
          --> node "the_e" (Reshape), tensor "x"
          = help: shapes are static: only inputs that follow from constants and shapes are supported here
    "#]]
    .assert_eq(&faults(&model(nodes, vec![w], &[("x", &[1, 4, 5, 5])], &["b", "c", "d", "e"])));
}

#[test]
fn absurd_amounts_are_refused_without_being_tried() {
    let code = |nodes: Vec<NodeProto>, initializers: Vec<TensorProto>| {
        fault_codes(&model(nodes, initializers, &[("x", &[1, 1, 4, 4])], &["y"]))
    };
    let big = i64::MAX;
    let w = || TensorProto::from_f32("w", &[1, 1, 2, 2], &[1.0; 4]);
    let conv = |attribute: AttributeProto| {
        code(
            vec![node("Conv", &["x", "w"], "y", vec![attribute])],
            vec![w()],
        )
    };
    assert_eq!(
        conv(AttributeProto::ints("pads", &[big, 0, 0, 0])),
        ["bad-attribute"]
    );
    assert_eq!(
        conv(AttributeProto::ints("strides", &[0, 1])),
        ["bad-attribute"]
    );
    assert_eq!(
        conv(AttributeProto::ints("dilations", &[big, 1])),
        ["bad-attribute"]
    );
    assert_eq!(conv(AttributeProto::int("group", 0)), ["bad-attribute"]);
    let shaped = |op_type: &str, values: &[i64]| {
        code(
            vec![node(op_type, &["x", "s"], "y", vec![])],
            vec![ints("s", values)],
        )
    };
    assert_eq!(
        shaped("Expand", &[1 << 20, 1 << 20, 4, 4]),
        ["tensor-too-large"]
    );
    assert_eq!(
        shaped("Tile", &[1 << 20, 1 << 20, 1, 1]),
        ["tensor-too-large"]
    );
    assert_eq!(shaped("Tile", &[big, 1, 1, 1]), ["bad-attribute"]);
    assert_eq!(
        shaped("Pad", &[big, 0, 0, 0, 0, 0, 0, 0]),
        ["tensor-too-large"]
    );
    assert_eq!(shaped("Reshape", &[big, big]), ["shape-mismatch"]);
    let constant = code(
        vec![
            node("ConstantOfShape", &["s"], "c", vec![]),
            node("Add", &["x", "c"], "y", vec![]),
        ],
        vec![ints("s", &[1 << 30, 1 << 30])],
    );
    assert_eq!(constant, ["tensor-too-large"]);
}

#[test]
fn run_time_operands_of_either_kind_become_matmul() {
    let build = |op_type: &str| {
        model(
            vec![node(op_type, &["a", "b"], "y", vec![])],
            vec![],
            &[("a", &[2, 3]), ("b", &[3, 2])],
            &["y"],
        )
    };
    assert_eq!(ops(&import(&build("MatMul"))), ["matmul"]);
    let constant = model(
        vec![node("MatMul", &["a", "b"], "y", vec![])],
        vec![TensorProto::from_f32("b", &[3, 2], &[1.0; 6])],
        &[("a", &[5, 2, 3])],
        &["y"],
    );
    let graph = import(&constant);
    let Op::FullyConnected(op) = &graph.node(graph.outputs()[0].node).op else {
        panic!()
    };
    assert_eq!(graph.tensor(op.weight).shape, [2, 3]);
}
