//! `condensec plan`.

use condensec::npz::NpzArray;

use crate::folder::{Folder, keys};
use crate::models;
use crate::nest;

/// `super.onnx` with four levels, and `train.npz` with and `plain.npz` without labels.
fn folder() -> Folder {
    let folder = nest::folder();
    let args = "nest chain.onnx --calibrate train.npz --sparsity 0.75,0.5,0.25,0 --names a,b,c,d -o super.onnx";
    folder.condensec(args).success();
    folder
}

#[test]
fn points_are_levels_between_the_lowest_and_the_highest() {
    let folder = folder();
    let report = folder
        .condensec("plan super.onnx --data train.npz --macs 1300 -o planned.onnx --json")
        .json();
    assert_eq!(
        keys(&report),
        [
            "output", "bytes", "samples", "seconds", "cost", "levels", "uniform", "layers"
        ]
    );
    assert_eq!(report["cost"], "MACs");
    assert_eq!(report["levels"][1]["name"], "1300");
    assert!(report["levels"][1]["macs"].as_u64().unwrap() <= 1300);
    // Lists in another order round another way.
    assert!(report["levels"][2]["loss"].as_f64().unwrap() < 1e-12);
    assert_eq!(report["uniform"].as_array().unwrap().len(), 4);

    let inspection = folder.condensec("inspect planned.onnx --json").json();
    let names: Vec<&str> = inspection["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "1300", "d"]);
}

#[test]
fn a_point_for_every_uniform_level() {
    let folder = folder();
    let report = folder
        .condensec(
            "plan super.onnx --data train.npz --as-uniform --names x,y -o planned.onnx --json",
        )
        .json();
    let levels = report["levels"].as_array().unwrap();
    for (planned, uniform) in levels.iter().zip(report["uniform"].as_array().unwrap()) {
        let cost = |level: &serde_json::Value| level["cost"].as_f64().unwrap();
        assert!(cost(planned) <= cost(uniform), "{planned} {uniform}");
    }
}

#[test]
fn what_cannot_be_planned() {
    let folder = folder();
    let code = |args: &str| folder.condensec(args).refused();
    for (args, expected) in [
        ("plan chain.onnx --data train.npz --points 2", "no-levels"),
        ("plan super.onnx --data train.npz --macs 3", "out-of-reach"),
        (
            "plan super.onnx --data train.npz --accuracy 0.5",
            "missing-labels",
        ),
        (
            "plan super.onnx --data train.npz --points 2 -o super.onnx",
            "overwrites-input",
        ),
        (
            "plan super.onnx --data nothing.npz --points 2",
            "file-not-found",
        ),
        (
            "plan super.onnx --data train.npz --points 2 --names a,b,c",
            "length-mismatch",
        ),
        (
            "plan super.onnx --data train.npz --latency 1ms --target aarch64",
            "target-not-host",
        ),
    ] {
        let error = code(args);
        assert!(error.contains(&format!("[{expected}]")), "{args}: {error}");
    }
    // One kind of budget, and not none.
    for usage in ["", "--points 2 --macs 3", "--latency 3", "--macs -1"] {
        let run = folder.condensec(&format!("plan super.onnx --data train.npz {usage}"));
        assert_eq!(run.code, 2, "{usage}");
    }
    let y = NpzArray::i64("y", &[20], vec![1; 20]);
    let x = NpzArray::f32("x", &[20, 2, 4, 4], models::numbers(640, 7));
    folder.write_arrays("labels.npz", &[x, y]);
    let error = code("plan super.onnx --data labels.npz --accuracy 1.5");
    assert!(error.contains("[out-of-reach]"), "{error}");
}
