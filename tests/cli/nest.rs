//! `condensec nest`.

use condensec::frontend::onnx::proto::{DataType, GraphProto, decode_model};
use condensec::frontend::onnx::proto::{ModelProto, NodeProto, TensorProto, ValueInfoProto};
use condensec::npz::NpzArray;
use expect_test::expect;

use crate::folder::{Folder, keys};
use crate::models;

const N_SAMPLES: usize = 20;

/// Three 1x1 convolutions with ReLUs between them; the second is neither the first nor the last.
fn chain() -> ModelProto {
    let node = |op: &str, name: &str, inputs: &[&str], output: &str| {
        NodeProto::new(op, name, inputs, &[output], vec![])
    };
    let weight = |name: &str, m: i64, c: i64, seed: u32| {
        TensorProto::from_f32(
            name,
            &[m, c, 1, 1],
            &models::numbers((m * c) as usize, seed),
        )
    };
    let image = |name: &str, c: i64| ValueInfoProto::tensor(name, DataType::Float, [1, c, 4, 4]);
    models::plain_model(GraphProto {
        name: Some("chain".into()),
        node: vec![
            node("Conv", "first", &["image", "first.w"], "a"),
            node("Relu", "relu1", &["a"], "b"),
            node("Conv", "second", &["b", "second.w"], "c"),
            node("Relu", "relu2", &["c"], "d"),
            node("Conv", "third", &["d", "third.w"], "scores"),
        ],
        initializer: vec![
            weight("first.w", 8, 2, 1),
            weight("second.w", 8, 8, 2),
            weight("third.w", 3, 8, 3),
        ],
        input: vec![image("image", 2)],
        output: vec![image("scores", 3)],
        ..Default::default()
    })
}

/// `chain.onnx` and `train.npz`.
pub fn folder() -> Folder {
    let folder = Folder::empty();
    folder.write_model("chain.onnx", &chain());
    let shape = [N_SAMPLES, 2, 4, 4];
    let x = NpzArray::f32("x", &shape, models::numbers(shape.iter().product(), 7));
    folder.write_arrays("train.npz", &[x]);
    folder
}

fn read(folder: &Folder, name: &str) -> ModelProto {
    decode_model(&folder.read(name)).unwrap()
}

fn has(model: &ModelProto, name: &str) -> bool {
    let initializers = &model.graph.as_ref().unwrap().initializer;
    initializers.iter().any(|tensor| tensor.name() == name)
}

#[test]
fn a_supernet_that_compiles_at_every_level() {
    let folder = folder();
    let args = "nest chain.onnx --calibrate train.npz --sparsity 0.75,0.5,0 --names a,b,c -o super.onnx --json";
    let report = folder.condensec(args).json();
    assert_eq!(
        keys(&report),
        ["output", "bytes", "samples", "seconds", "levels", "layers"]
    );
    assert_eq!(report["samples"], N_SAMPLES);
    assert_eq!(report["layers"][1]["kept"][0], 0.25);
    assert_eq!(report["layers"][0]["kept"][0], 1.0);

    let inspection = folder.condensec("inspect super.onnx --json").json();
    for (level, (name, density)) in [("a", 0.25), ("b", 0.5), ("c", 1.0)].iter().enumerate() {
        assert_eq!(inspection["levels"][level]["name"], *name);
        assert_eq!(inspection["levels"][level]["density"], *density);
    }
    folder.condensec("super.onnx -o out").success();
    let evaluation = "nest super.onnx --calibrate train.npz";
    let refused = folder.condensec(evaluation);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    expect![[r#"
        error[already-supernet]: the model has 3 levels already
          --> super.onnx
          = help: start from the trained model
    "#]]
    .assert_eq(&refused.stderr);
}

#[test]
fn the_top_level_stays_exact_on_request() {
    let folder = folder();
    let nest = "nest chain.onnx --calibrate train.npz --sparsity 0.5,0 --exact-top --no-grouping";
    folder.condensec(nest).success();
    let supernet = read(&folder, "chain.supernet.onnx");
    let weight = |model: &ModelProto| {
        let tensors = model.graph.as_ref().unwrap().initializer.iter();
        let mut second = tensors.filter(|t| t.name() == "second.w");
        second.next().unwrap().to_f32_vec().unwrap()
    };
    assert_eq!(weight(&supernet), weight(&chain()));
    assert_eq!(
        supernet.metadata("condense.block:second.w"),
        Some("4x1x1x1")
    );
    assert!(has(&supernet, "second.w__level") && has(&supernet, "second.w__scale"));
}

#[test]
fn without_inputs_blocks_are_ranked_by_magnitude() {
    let folder = folder();
    let said = folder
        .condensec("nest chain.onnx --sparsity 0.5,0")
        .success()
        .stdout;
    assert!(said.contains("second  0.500  1.000"), "{said}");
    assert!(!has(
        &read(&folder, "chain.supernet.onnx"),
        "second.w__scale"
    ));
}

#[test]
fn levels_spread_in_density_or_latency() {
    let folder = folder();
    let densities = |spacing: &str| -> Vec<f64> {
        let args =
            format!("nest chain.onnx --levels 5 --min-density 0.2 --spacing {spacing} --json");
        let report = folder.condensec(&args).json();
        let levels = report["levels"].as_array().unwrap();
        levels
            .iter()
            .map(|level| level["density"].as_f64().unwrap())
            .collect()
    };
    let even = densities("density");
    assert!((even[1] - 0.4).abs() < 1e-9 && even[4] == 1.0, "{even:?}");
    let by_latency = densities("latency");
    assert_eq!(by_latency.len(), 5);
    assert!(
        by_latency.is_sorted() && by_latency[4] == 1.0,
        "{by_latency:?}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = folder();
    let code = |args: &str| {
        let ran = folder.condensec(&format!("nest chain.onnx {args} --json"));
        assert_eq!(ran.code, 1, "{args}: {}", ran.stderr);
        let line: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
        line["code"].as_str().unwrap().to_string()
    };
    assert_eq!(code("--sparsity 0,0.5"), "bad-sparsity");
    assert_eq!(code("--sparsity 1.0,0.5"), "bad-sparsity");
    assert_eq!(code("--names a,b"), "length-mismatch");
    assert_eq!(code("--rank obs"), "missing-input");
    assert_eq!(code("--dense second"), "nothing-to-prune");
    assert_eq!(code("--dense nowhere"), "unknown-layer");
    assert_eq!(code("--dense relu1"), "unknown-layer");
    assert_eq!(code("--names a,b,c,d,a"), "duplicate-name");
    assert_eq!(code("-o chain.onnx"), "overwrites-input");
    assert_eq!(code("--levels 3 --min-density nan"), "bad-sparsity");
    assert!(!folder.path("chain.supernet.onnx").exists());
    folder.write_arrays(
        "other.npz",
        &[NpzArray::f32("x", &[4, 2, 5, 5], vec![0.0; 200])],
    );
    assert_eq!(code("--calibrate other.npz"), "wrong-shape");
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = folder();
    folder.write("empty.onnx", "");
    folder.write("garbage.onnx", [0xff; 64]);
    let whole = folder.read("chain.onnx");
    folder.write("half.onnx", &whole[..whole.len() / 2]);
    folder.write("garbage.npz", "no archive");
    for args in [
        "empty.onnx",
        "garbage.onnx",
        "half.onnx",
        "missing.onnx",
        "chain.onnx --calibrate garbage.npz",
        "chain.onnx --calibrate missing.npz",
        "chain.onnx -o no/such/folder/out.onnx",
    ] {
        let ran = folder.condensec(&format!("nest {args}"));
        assert_eq!(ran.code, 1, "{args}: {}", ran.stderr);
        assert!(ran.stderr.contains("error["), "{args}: {}", ran.stderr);
    }
    assert_eq!(folder.read("chain.onnx"), whole);
}
