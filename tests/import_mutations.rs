//! Damaged models: whatever is changed in a small model, the importer imports it or says what is
//! wrong, and never panics.

use condensec::frontend::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto, decode_model, encode_model,
};
use condensec::frontend::onnx::{ImportOptions, NODE_IMPORTERS, import_model, merge_levels};
use condensec_ir::{Diagnostic, Severity};
use harness::{assets, skip};
use proptest::prelude::*;
use proptest::sample::Index;

/// One change to a model.
#[derive(Debug, Clone)]
enum Change {
    DropInput(Index, Index),
    RenameInput(Index, Index, Index),
    SwapInputs(Index),
    OpType(Index, Index),
    DropNode(Index),
    RepeatNode(Index),
    DropAttribute(Index, Index),
    AttributeInt(Index, Index, i64),
    AttributeFloat(Index, Index, f32),
    AttributeType(Index, Index, i32),
    AddAttribute(Index, Index, i64),
    InitializerDim(Index, Index, i64),
    InitializerType(Index, i32),
    InitializerBytes(Index, Vec<u8>),
    InitializerInts(Index, Vec<i64>),
    DropInitializer(Index),
    InputDim(Index, i64),
    InputType(Index, i32),
    Opset(i64),
    Levels(String),
    Block(String),
}

/// Attribute names that some node knows.
const ATTRIBUTES: [&str; 24] = [
    "axis",
    "axes",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "group",
    "alpha",
    "beta",
    "transA",
    "transB",
    "perm",
    "keepdims",
    "ceil_mode",
    "auto_pad",
    "output_padding",
    "output_shape",
    "mode",
    "to",
    "split",
    "starts",
    "ends",
    "blocksize",
    "allowzero",
];

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        -4i64..8,
        -300i64..300,
        any::<i64>(),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(1 << 31),
        Just(1 << 20)
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), at()).prop_map(|(n, i)| Change::DropInput(n, i)),
        (at(), at(), at()).prop_map(|(n, i, to)| Change::RenameInput(n, i, to)),
        at().prop_map(Change::SwapInputs),
        (at(), at()).prop_map(|(n, op)| Change::OpType(n, op)),
        at().prop_map(Change::DropNode),
        at().prop_map(Change::RepeatNode),
        (at(), at()).prop_map(|(n, a)| Change::DropAttribute(n, a)),
        (at(), at(), number()).prop_map(|(n, a, value)| Change::AttributeInt(n, a, value)),
        (at(), at(), any::<f32>()).prop_map(|(n, a, value)| Change::AttributeFloat(n, a, value)),
        (at(), at(), 0..15).prop_map(|(n, a, value)| Change::AttributeType(n, a, value)),
        (at(), at(), number()).prop_map(|(n, a, value)| Change::AddAttribute(n, a, value)),
        (at(), at(), number()).prop_map(|(t, d, value)| Change::InitializerDim(t, d, value)),
        (at(), 0..30).prop_map(|(t, value)| Change::InitializerType(t, value)),
        (at(), prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(t, v)| Change::InitializerBytes(t, v)),
        (at(), prop::collection::vec(number(), 0..6))
            .prop_map(|(t, v)| Change::InitializerInts(t, v)),
        at().prop_map(Change::DropInitializer),
        (at(), number()).prop_map(|(d, value)| Change::InputDim(d, value)),
        (at(), 0..30).prop_map(|(i, value)| Change::InputType(i, value)),
        prop_oneof![5i64..30, any::<i64>()].prop_map(Change::Opset),
        prop_oneof![Just("1".to_string()), Just("64".into()), "[0-9a-]{0,3}"]
            .prop_map(Change::Levels),
        prop_oneof![Just("4x1x1x1".to_string()), "[0-9x]{0,9}"].prop_map(Change::Block),
    ]
}

fn pick<'a, T>(items: &'a mut [T], index: &Index) -> Option<&'a mut T> {
    let n = items.len();
    if n == 0 {
        None
    } else {
        Some(&mut items[index.index(n)])
    }
}

/// Does what can be done; a change whose target is not there changes nothing.
fn apply(model: &mut ModelProto, change: &Change) -> Option<()> {
    let names: Vec<String> = {
        let graph = model.graph.as_ref()?;
        let made = graph.node.iter().flat_map(|node| node.output.clone());
        let constants = graph
            .initializer
            .iter()
            .map(|tensor| tensor.name().to_string());
        made.chain(constants)
            .chain(["x".into(), String::new(), "nowhere".into()])
            .collect()
    };
    let graph = model.graph.as_mut()?;
    match change {
        Change::DropInput(n, i) => {
            let inputs = &mut pick(&mut graph.node, n)?.input;
            if !inputs.is_empty() {
                inputs.remove(i.index(inputs.len()));
            }
        }
        Change::RenameInput(n, i, to) => {
            *pick(&mut pick(&mut graph.node, n)?.input, i)? = names[to.index(names.len())].clone();
        }
        Change::SwapInputs(n) => pick(&mut graph.node, n)?.input.reverse(),
        Change::OpType(n, op) => {
            let op_type = NODE_IMPORTERS[op.index(NODE_IMPORTERS.len())].op_type;
            pick(&mut graph.node, n)?.op_type = Some(op_type.to_string());
        }
        Change::DropNode(n) => {
            if !graph.node.is_empty() {
                graph.node.remove(n.index(graph.node.len()));
            }
        }
        Change::RepeatNode(n) => {
            let mut node = pick(&mut graph.node, n)?.clone();
            let reader = node.output.first()?.clone();
            node.output = vec![format!("{reader}/again")];
            graph.output.push(ValueInfoProto {
                name: node.output.first().cloned(),
                ..Default::default()
            });
            graph.node.push(node);
        }
        Change::DropAttribute(n, a) => {
            let attributes = &mut pick(&mut graph.node, n)?.attribute;
            if !attributes.is_empty() {
                attributes.remove(a.index(attributes.len()));
            }
        }
        Change::AttributeInt(n, a, value) => {
            let attribute = pick(&mut pick(&mut graph.node, n)?.attribute, a)?;
            attribute.i = attribute.i.map(|_| *value);
            if let Some(first) = attribute.ints.first_mut() {
                *first = *value;
            }
        }
        Change::AttributeFloat(n, a, value) => {
            pick(&mut pick(&mut graph.node, n)?.attribute, a)?.f = Some(*value);
        }
        Change::AttributeType(n, a, value) => {
            pick(&mut pick(&mut graph.node, n)?.attribute, a)?.r#type = Some(*value);
        }
        Change::AddAttribute(n, a, value) => {
            let name = ATTRIBUTES[a.index(ATTRIBUTES.len())];
            let attribute = match value % 3 {
                0 => AttributeProto::ints(name, &[*value; 2]),
                1 => AttributeProto::ints(name, &[1, *value, 0, 2]),
                _ => AttributeProto::int(name, *value),
            };
            pick(&mut graph.node, n)?.attribute.push(attribute);
        }
        Change::InitializerDim(t, d, value) => {
            *pick(&mut pick(&mut graph.initializer, t)?.dims, d)? = *value;
        }
        Change::InitializerType(t, value) => {
            pick(&mut graph.initializer, t)?.data_type = Some(*value);
        }
        Change::InitializerBytes(t, bytes) => {
            pick(&mut graph.initializer, t)?.raw_data = Some(bytes.clone());
        }
        Change::InitializerInts(t, values) => {
            let tensor = pick(&mut graph.initializer, t)?;
            *tensor = TensorProto::from_i64(tensor.name(), &[values.len() as i64], values);
        }
        Change::DropInitializer(t) => {
            if !graph.initializer.is_empty() {
                graph.initializer.remove(t.index(graph.initializer.len()));
            }
        }
        Change::InputDim(d, value) => {
            let mut dims = vec![1, 4, 6, 6];
            *pick(&mut dims, d)? = *value;
            dims.truncate(1 + d.index(9).min(3));
            *pick(&mut graph.input, d)? = ValueInfoProto::tensor("x", DataType::Float, &dims);
        }
        Change::InputType(i, value) => {
            let data_type = DataType::try_from(*value).ok()?;
            *pick(&mut graph.input, i)? = ValueInfoProto::tensor("x", data_type, [1, 4, 6, 6]);
        }
        Change::Opset(version) => {
            model.opset_import = vec![OperatorSetIdProto {
                domain: None,
                version: Some(*version),
            }];
        }
        Change::Levels(text) => model.set_metadata("condense.levels", text.clone()),
        Change::Block(text) => model.set_metadata("condense.block:w", text.clone()),
    }
    Some(())
}

/// A bit of everything on `x` `[1, 4, 6, 6]`.
fn seed_model() -> ModelProto {
    let int = AttributeProto::int;
    let ints = AttributeProto::ints;
    let node = |op_type: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>| {
        NodeProto::new(op_type, output, inputs, &[output], attributes)
    };
    let pool = || {
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 2]),
            int("ceil_mode", 1),
        ]
    };
    let nodes = vec![
        node(
            "Conv",
            &["x", "w", "b"],
            "conv",
            vec![ints("pads", &[1, 1, 1, 1]), int("group", 2)],
        ),
        node(
            "BatchNormalization",
            &["conv", "b", "b", "b", "b"],
            "bn",
            vec![AttributeProto::float("epsilon", 1e-3)],
        ),
        node("Clip", &["bn", "lo", "hi"], "clip", vec![]),
        node("MaxPool", &["clip"], "pool", pool()),
        node("AveragePool", &["clip"], "mean", pool()),
        node("Add", &["pool", "mean"], "add", vec![]),
        node(
            "ConvTranspose",
            &["add", "wt"],
            "up",
            vec![ints("strides", &[2, 2]), ints("output_padding", &[1, 0])],
        ),
        node(
            "Pad",
            &["up", "amounts"],
            "pad",
            vec![AttributeProto::string("mode", "reflect")],
        ),
        node(
            "Resize",
            &["pad", "", "scales"],
            "resized",
            vec![AttributeProto::string("mode", "linear")],
        ),
        node("Slice", &["resized", "starts", "ends"], "part", vec![]),
        NodeProto::new(
            "Split",
            "split",
            &["part"],
            &["s0", "s1"],
            vec![int("axis", 1)],
        ),
        node("Concat", &["s1", "s0"], "joined", vec![int("axis", 1)]),
        node(
            "DepthToSpace",
            &["joined"],
            "spread",
            vec![int("blocksize", 2)],
        ),
        node("Shape", &["spread"], "shape", vec![]),
        node("Gather", &["shape", "zero"], "batch", vec![]),
        node("Concat", &["batch", "rest"], "target", vec![int("axis", 0)]),
        node("Reshape", &["spread", "target"], "flat", vec![]),
        node(
            "Gemm",
            &["flat", "fc", "fcb"],
            "gemm",
            vec![int("transB", 0), AttributeProto::float("alpha", 0.5)],
        ),
        node("Mul", &["fc2", "mask"], "masked", vec![]),
        node("MatMul", &["gemm", "masked"], "product", vec![]),
        node("Softmax", &["product"], "soft", vec![int("axis", -1)]),
        node("Gather", &["soft", "picks"], "picked", vec![int("axis", 1)]),
        node("Tile", &["picked", "repeats"], "tiled", vec![]),
        node(
            "ReduceMean",
            &["tiled"],
            "reduced",
            vec![ints("axes", &[1])],
        ),
        node("Where", &["condition", "reduced", "lo"], "chosen", vec![]),
        node("Transpose", &["chosen"], "y", vec![ints("perm", &[1, 0])]),
    ];
    let floats = |name: &str, dims: &[i64]| {
        let n = dims.iter().product::<i64>() as usize;
        TensorProto::from_f32(
            name,
            dims,
            &(0..n).map(|i| i as f32 % 5.0 - 2.0).collect::<Vec<f32>>(),
        )
    };
    let longs =
        |name: &str, values: &[i64]| TensorProto::from_i64(name, &[values.len() as i64], values);
    let initializer = vec![
        floats("w", &[4, 2, 3, 3]),
        TensorProto::from_u8(
            "w__level",
            &[1, 2, 3, 3],
            &[0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0],
        ),
        floats("b", &[4]),
        TensorProto::from_f32(
            "b__levels",
            &[2, 4],
            &[1.0, 2.0, 3.0, 4.0, -2.0, -1.0, 0.0, 1.0],
        ),
        TensorProto::from_f32("lo", &[], &[0.0]),
        TensorProto::from_f32("hi", &[], &[6.0]),
        floats("wt", &[4, 8, 2, 2]),
        TensorProto::from_f32("wt__scale", &[2, 8], &[1.0; 16]),
        longs("amounts", &[0, 0, 1, 0, 0, 0, 0, 1]),
        TensorProto::from_f32("scales", &[4], &[1.0, 1.0, 1.5, 0.5]),
        longs("starts", &[0, 0, 1, 0]),
        longs("ends", &[1, 8, 100, -1]),
        longs("zero", &[0]),
        longs("rest", &[-1]),
        floats("fc", &[176, 3]),
        floats("fcb", &[3]),
        floats("fc2", &[3, 4]),
        floats("mask", &[3, 4]),
        longs("picks", &[0, 2, 1]),
        longs("repeats", &[2, 2]),
        TensorProto::from_raw("condition", DataType::Bool, &[2, 1], vec![1, 0]),
    ];
    let mut model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(13),
        }],
        graph: Some(GraphProto {
            name: Some("seed".into()),
            node: nodes,
            initializer,
            input: vec![ValueInfoProto::tensor("x", DataType::Float, [1, 4, 6, 6])],
            output: vec![ValueInfoProto {
                name: Some("y".into()),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    model.set_metadata("condense.version", "1");
    model.set_metadata("condense.levels", "2");
    model.set_metadata("condense.block:w", "4x1x1x1");
    model
}

#[test]
fn the_seed_itself_is_imported() {
    match import_model(&seed_model(), &ImportOptions::default()) {
        Ok(imported) => assert!(
            imported.diagnostics.is_empty(),
            "{:?}",
            imported.diagnostics
        ),
        Err(diagnostics) => panic!("{diagnostics:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn changed_models_never_panic(changes in prop::collection::vec(change(), 1..5)) {
        let mut model = seed_model();
        for change in &changes {
            let _ = apply(&mut model, change);
        }
        let result = import_model(&model, &ImportOptions::default());
        if let Err(diagnostics) = &result {
            let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
            prop_assert!(diagnostics.iter().any(is_error), "refused without an error");
        }
    }

    #[test]
    fn merging_changed_models_never_panics(changes in prop::collection::vec(change(), 1..3)) {
        let mut plain = seed_model();
        plain.metadata_props.clear();
        let mut changed = plain.clone();
        for change in &changes {
            let _ = apply(&mut changed, change);
        }
        let (plain, changed) = (("plain".to_string(), plain), ("changed".to_string(), changed));
        let _ = merge_levels(&[changed.clone(), plain.clone()]);
        let _ = merge_levels(&[plain, changed]);
    }

    #[test]
    fn changed_bytes_never_panic(
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode_model(&seed_model());
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(model) = decode_model(&bytes) {
            let _ = import_model(&model, &ImportOptions::default());
        }
    }
}

/// Trained models, with one node after the other changed into every other op.
#[test]
fn trained_models_with_other_ops_never_panic() {
    let Some(dir) = assets::models_dir() else {
        return skip::report("import_mutations of trained models (no assets)");
    };
    for name in ["mnist-8", "kws_dscnn_float", "espcn_x3"] {
        let bytes = std::fs::read(dir.join(format!("{name}.onnx"))).expect("readable");
        let model = decode_model(&bytes).expect("an ONNX file");
        let n_nodes = model.graph.as_ref().map_or(0, |graph| graph.node.len());
        for position in 0..n_nodes {
            for importer in NODE_IMPORTERS {
                let mut changed = model.clone();
                let graph = changed.graph.as_mut().expect("decoded models have a graph");
                graph.node[position].op_type = Some(importer.op_type.to_string());
                let _ = import_model(&changed, &ImportOptions::default());
            }
        }
    }
}
