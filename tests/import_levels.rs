//! Every level of small supernets: the imported graph, run by the interpreter, against ONNX Runtime
//! on the plain model that `python/supernet.py` makes of the level. Each supernet brings its weight
//! to the layer on another way.

use condensec::frontend::onnx::proto::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto, encode_model,
};
use condensec::frontend::onnx::{ImportOptions, import_model, merge_levels};
use condensec::npz::NpzArray;
use condensec_ir::LevelId;
use condensec_ir::eval::{Array, eval_graph};
use harness::numbers::seeded;
use harness::python::Python;
use harness::{npz, skip};

/// Relative to the largest output: sums in another order.
const TOLERANCE: f32 = 1e-5;

const N_LEVELS: u32 = 3;

/// A supernet in the making.
struct Supernet {
    name: &'static str,
    model: ModelProto,
    input_shape: Vec<usize>,
}

fn n_elems(dims: &[i64]) -> usize {
    dims.iter().product::<i64>() as usize
}

fn floats(name: &str, dims: &[i64], seed: u32) -> TensorProto {
    TensorProto::from_f32(name, dims, &seeded(n_elems(dims), seed))
}

/// Seeded mask values below the number of levels.
fn mask(name: &str, dims: &[i64]) -> TensorProto {
    let values = seeded(n_elems(dims), 77);
    let level = |value: &f32| ((value + 1.0) / 2.0 * N_LEVELS as f32) as u8;
    TensorProto::from_u8(name, dims, &values.iter().map(level).collect::<Vec<u8>>())
}

/// Rows per level whose last is `base`; `least` bounds them from below.
fn rows(base: &TensorProto, suffix: &str, least: f32) -> TensorProto {
    let top = base.to_f32_vec().expect("floats");
    let lower = seeded(top.len() * (N_LEVELS as usize - 1), 5);
    let values: Vec<f32> = lower.iter().map(|v| v.max(least)).chain(top).collect();
    let dims = [&[i64::from(N_LEVELS)], &base.dims[..]].concat();
    TensorProto::from_f32(&format!("{}{suffix}", base.name()), &dims, &values)
}

impl Supernet {
    fn new(
        name: &'static str,
        nodes: Vec<NodeProto>,
        dims: &[i64],
        initializer: Vec<TensorProto>,
    ) -> Supernet {
        let mut model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(13),
            }],
            graph: Some(GraphProto {
                name: Some(name.into()),
                node: nodes,
                initializer,
                input: vec![ValueInfoProto::tensor("x", DataType::Float, dims)],
                output: vec![ValueInfoProto::tensor("y", DataType::Float, [""; 0])],
                ..Default::default()
            }),
            ..Default::default()
        };
        // The shape of the output is ONNX Runtime's business.
        model.graph.as_mut().expect("just made").output[0] = ValueInfoProto {
            name: Some("y".into()),
            r#type: Some(condensec::frontend::onnx::proto::TypeProto {
                value: Some(condensec::frontend::onnx::proto::TypeValue::TensorType(
                    condensec::frontend::onnx::proto::TensorType {
                        elem_type: Some(DataType::Float as i32),
                        shape: None,
                    },
                )),
                denotation: None,
            }),
            ..Default::default()
        };
        model.set_metadata("condense.version", "1");
        model.set_metadata("condense.levels", N_LEVELS.to_string());
        Supernet {
            name,
            model,
            input_shape: dims.iter().map(|&dim| dim as usize).collect(),
        }
    }

    fn block(mut self, weight: &str, block: &str) -> Supernet {
        self.model
            .set_metadata(&format!("condense.block:{weight}"), block);
        self
    }
}

fn node(
    op_type: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<AttributeProto>,
) -> NodeProto {
    NodeProto::new(op_type, "", inputs, &[output], attributes)
}

fn scale(weight: &str, channels: i64) -> TensorProto {
    let ones = TensorProto::from_f32(weight, &[channels], &vec![1.0; channels as usize]);
    rows(&ones, "__scale", 0.5)
}

fn supernets() -> Vec<Supernet> {
    let int = AttributeProto::int;
    let ints = AttributeProto::ints;
    let w = |dims: &[i64]| floats("w", dims, 1);
    let level = |dims: &[i64]| mask("w__level", dims);
    let mut all = Vec::new();

    let conv = |inputs: &[&str], attributes| vec![node("Conv", inputs, "y", attributes)];
    let b = floats("b", &[6], 2);
    all.push(
        Supernet::new(
            "conv with blocks, bias per level and scale",
            conv(&["x", "w", "b"], vec![ints("pads", &[1, 1, 1, 1])]),
            &[1, 3, 5, 6],
            vec![
                w(&[6, 3, 3, 3]),
                level(&[2, 3, 3, 3]),
                rows(&b, "__levels", -1.0),
                b.clone(),
                scale("w", 6),
            ],
        )
        .block("w", "4x1x1x1"),
    );
    all.push(Supernet::new(
        "grouped conv",
        conv(&["x", "w"], vec![int("group", 2), ints("strides", &[2, 1])]),
        &[1, 4, 5, 6],
        vec![w(&[6, 2, 3, 3]), level(&[6, 2, 3, 3])],
    ));
    all.push(
        Supernet::new(
            "conv with one spatial axis",
            conv(&["x", "w"], vec![ints("dilations", &[2])]),
            &[2, 4, 9],
            vec![w(&[8, 4, 3]), level(&[2, 4, 3]), scale("w", 8)],
        )
        .block("w", "4x1x1"),
    );

    let transpose = |attributes| vec![node("ConvTranspose", &["x", "w"], "y", attributes)];
    all.push(
        Supernet::new(
            "transposed conv",
            transpose(vec![ints("strides", &[2, 3]), ints("pads", &[1, 0, 0, 1])]),
            &[1, 3, 4, 5],
            vec![w(&[3, 8, 3, 2]), level(&[3, 2, 3, 2]), scale("w", 8)],
        )
        .block("w", "1x4x1x1"),
    );
    all.push(Supernet::new(
        "grouped transposed conv",
        transpose(vec![int("group", 2), ints("strides", &[2, 2])]),
        &[1, 4, 3, 3],
        vec![w(&[4, 3, 2, 2]), level(&[4, 3, 2, 2]), scale("w", 6)],
    ));
    all.push(
        Supernet::new(
            "transposed conv with blocks of the kernel",
            transpose(vec![]),
            &[1, 3, 4, 5],
            vec![w(&[3, 2, 3, 4]), level(&[3, 2, 2, 2])],
        )
        .block("w", "1x1x2x2"),
    );

    let gemm = |inputs: &[&str], attributes| vec![node("Gemm", inputs, "y", attributes)];
    let factors = || {
        vec![
            AttributeProto::float("alpha", 0.5),
            AttributeProto::float("beta", 2.0),
        ]
    };
    let c = floats("c", &[5], 3);
    all.push(
        Supernet::new(
            "gemm with factors",
            gemm(&["x", "w", "c"], factors()),
            &[2, 6],
            vec![
                w(&[6, 5]),
                level(&[6, 2]),
                rows(&c, "__levels", -1.0),
                c.clone(),
                scale("w", 5),
            ],
        )
        .block("w", "1x4"),
    );
    all.push(
        Supernet::new(
            "gemm, transposed",
            gemm(&["x", "w"], vec![int("transB", 1), int("transA", 1)]),
            &[6, 2],
            vec![w(&[5, 6]), level(&[2, 6]), scale("w", 5)],
        )
        .block("w", "4x1"),
    );
    all.push(Supernet::new(
        "gemm with the weight on the left",
        gemm(&["w", "x"], vec![int("transA", 1)]),
        &[6, 3],
        vec![w(&[6, 5]), level(&[6, 5]), scale("w", 5)],
    ));

    all.push(Supernet::new(
        "matmul",
        vec![node("MatMul", &["x", "w"], "y", vec![])],
        &[2, 3, 6],
        vec![w(&[6, 5]), level(&[6, 5]), scale("w", 5)],
    ));
    all.push(Supernet::new(
        "matmul with the weight on the left",
        vec![node("MatMul", &["w", "x"], "y", vec![])],
        &[2, 6, 3],
        vec![w(&[5, 6]), level(&[5, 6]), scale("w", 5)],
    ));
    all.push(Supernet::new(
        "matmul with a batch of weights",
        vec![node("MatMul", &["x", "w"], "y", vec![])],
        &[2, 3, 6],
        vec![w(&[2, 6, 5]), level(&[2, 6, 5])],
    ));
    all.push(Supernet::new(
        "matmul with a bias per level that is added later",
        vec![
            node("MatMul", &["x", "w"], "p", vec![]),
            node("Add", &["p", "c"], "y", vec![]),
        ],
        &[2, 6],
        vec![
            w(&[6, 5]),
            level(&[6, 5]),
            rows(&c, "__levels", -1.0),
            c.clone(),
        ],
    ));

    all.push(Supernet::new(
        "a weight that is cast, transposed and reshaped",
        vec![
            node("Cast", &["w"], "w1", vec![int("to", 1)]),
            node("Transpose", &["w1"], "w2", vec![ints("perm", &[1, 0])]),
            node("Unsqueeze", &["w2", "axes"], "w3", vec![]),
            node("Conv", &["x", "w3"], "y", vec![]),
        ],
        &[1, 4, 3, 3],
        vec![
            w(&[4, 6]),
            level(&[4, 6]),
            TensorProto::from_i64("axes", &[2], &[2, 3]),
        ],
    ));
    all.push(Supernet::new(
        "a weight that is computed from another",
        vec![
            node("Sub", &["w", "c"], "w1", vec![]),
            node("Mul", &["w1", "m"], "w2", vec![]),
            node("Div", &["w2", "two"], "w3", vec![]),
            node("MatMul", &["x", "w3"], "y", vec![]),
        ],
        &[2, 6],
        vec![
            w(&[6, 5]),
            floats("c", &[6, 5], 4),
            TensorProto::from_f32("m", &[6, 5], &[1.0; 30]),
            mask("m__level", &[6, 5]),
            TensorProto::from_f32("two", &[], &[2.0]),
        ],
    ));

    let parameters: Vec<TensorProto> = ["s", "b", "m", "v"]
        .iter()
        .zip(2..)
        .map(|(name, seed)| floats(name, &[6], seed))
        .collect();
    let mut batch_norm = vec![w(&[6, 3, 1, 1]), level(&[6, 3, 1, 1])];
    for parameter in parameters {
        let (least, values) = match parameter.name() {
            "v" => (
                0.1,
                parameter
                    .to_f32_vec()
                    .unwrap()
                    .iter()
                    .map(|v| v.abs() + 0.1)
                    .collect(),
            ),
            _ => (-1.0, parameter.to_f32_vec().unwrap()),
        };
        let parameter = TensorProto::from_f32(parameter.name(), &[6], &values);
        batch_norm.push(rows(&parameter, "__levels", least));
        batch_norm.push(parameter);
    }
    all.push(Supernet::new(
        "batch norm per level",
        vec![
            node("Conv", &["x", "w"], "c", vec![]),
            node(
                "BatchNormalization",
                &["c", "s", "b", "m", "v"],
                "y",
                vec![],
            ),
        ],
        &[1, 3, 4, 4],
        batch_norm,
    ));
    all
}

/// Outputs of the reference at every level.
fn reference(python: &Python, net: &Supernet, input: &[f32]) -> Vec<Vec<f32>> {
    let work = tempfile::tempdir().expect("a temporary folder");
    let path = work.path().join("supernet.onnx");
    std::fs::write(&path, encode_model(&net.model)).expect("writable");
    let inputs = work.path().join("in.npz");
    npz::write(
        &inputs,
        &[NpzArray::f32("x", &net.input_shape, input.to_vec())],
    );
    let args = [
        "run".as_ref(),
        path.as_os_str(),
        "--inputs".as_ref(),
        inputs.as_os_str(),
    ];
    let prefix = ["--outputs-prefix".as_ref(), work.path().as_os_str()];
    python.run("supernet.py", args.into_iter().chain(prefix));
    let level = |level: u32| npz::read_f32(&work.path().join(format!("out_L{level}.npz")), "y");
    (0..N_LEVELS).map(level).collect()
}

fn check(net: &Supernet, input: &[f32], expected: &[Vec<f32>]) {
    let imported = import_model(&net.model, &ImportOptions::default()).unwrap_or_else(|errors| {
        let text: Vec<String> = errors.iter().map(|error| error.to_string()).collect();
        panic!("{}: {}", net.name, text.join("\n"))
    });
    assert_eq!(imported.graph.n_levels, N_LEVELS);
    for (level, expected) in (0..).zip(expected) {
        let input = Array::new(&net.input_shape, input.to_vec());
        let outputs = eval_graph(&imported.graph, LevelId(level), &[input]).expect("fits");
        let found = &outputs[0].data;
        assert_eq!(found.len(), expected.len(), "{}", net.name);
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let differences = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
        let error = differences.fold(
            0.0f32,
            |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) },
        );
        assert!(
            error <= TOLERANCE * largest,
            "{} L{level}: {error} of {largest}",
            net.name
        );
    }
}

#[test]
fn every_level_means_what_the_format_says() {
    let Some(python) = Python::find("import onnx, onnxruntime") else {
        return skip::report("import_levels (no ONNX Runtime)");
    };
    for net in supernets() {
        let input = seeded(net.input_shape.iter().product(), 9);
        let expected = reference(&python, &net, &input);
        assert_ne!(
            expected[0], expected[1],
            "{}: the levels do not differ",
            net.name
        );
        check(&net, &input, &expected);
    }
}

/// Splitting a supernet into one model per level and merging these is the same supernet.
#[test]
fn merged_levels_mean_what_their_models_say() {
    let Some(python) = Python::find("import onnx, onnxruntime") else {
        return skip::report("import_levels merge (no ONNX Runtime)");
    };
    for net in supernets() {
        // A scale is not a value of the weight, so the levels do not share one.
        let graph = net.model.graph.as_ref().expect("made with a graph");
        if graph
            .initializer
            .iter()
            .any(|tensor| tensor.name().ends_with("__scale"))
        {
            continue;
        }
        let work = tempfile::tempdir().expect("a temporary folder");
        let supernet = work.path().join("supernet.onnx");
        std::fs::write(&supernet, encode_model(&net.model)).expect("writable");
        let mut levels = Vec::new();
        for level in 0..N_LEVELS {
            let path = work.path().join(format!("L{level}.onnx"));
            let number = level.to_string();
            let args = [
                "materialize".as_ref(),
                supernet.as_os_str(),
                number.as_ref(),
                path.as_os_str(),
            ];
            python.run("supernet.py", args);
            let bytes = std::fs::read(&path).expect("readable");
            let model =
                condensec::frontend::onnx::proto::decode_model(&bytes).expect("an ONNX file");
            levels.push((path.display().to_string(), model));
        }
        let merged =
            merge_levels(&levels).unwrap_or_else(|errors| panic!("{}: {}", net.name, errors[0]));
        let input = seeded(net.input_shape.iter().product(), 9);
        let expected = reference(&python, &net, &input);
        let merged = Supernet {
            name: net.name,
            model: merged,
            input_shape: net.input_shape.clone(),
        };
        assert_eq!(
            reference(&python, &merged, &input),
            expected,
            "{}",
            net.name
        );
        check(&merged, &input, &expected);
    }
}
