//! `condensec inspect`.

use crate::folder::{Folder, keys};
use crate::models;

#[test]
fn levels_and_layers_as_json() {
    let folder = Folder::with_library();
    let inspection = folder.condensec("inspect net.onnx --json").json();
    let levels = inspection["levels"].as_array().unwrap();
    assert_eq!(levels.len(), models::N_LEVELS);
    for key in [
        "level",
        "name",
        "density",
        "macs",
        "weight_bytes",
        "predicted_cycles",
    ] {
        assert!(keys(&levels[0]).contains(&key), "{key}");
    }
    let layers = inspection["layers"].as_array().unwrap();
    let names: Vec<_> = layers
        .iter()
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["conv", "classifier"]);
    for key in ["name", "op", "shape", "block", "format", "per_level"] {
        assert!(keys(&layers[0]).contains(&key), "{key}");
    }
    let conv = &layers[0];
    assert_eq!(conv["op"], "Conv");
    assert_eq!(conv["shape"], serde_json::json!([4, 2, 3, 3]));
    assert_eq!(conv["block"], serde_json::json!([4, 1, 1, 1]));
    for (level, at_level) in conv["per_level"].as_array().unwrap().iter().enumerate() {
        for key in ["level", "density", "macs", "kernel"] {
            assert!(keys(at_level).contains(&key), "{key}");
        }
        assert_eq!(at_level["level"], level);
        assert_eq!(at_level["density"], (level + 1) as f64 / 3.0);
        assert_eq!(at_level["macs"], 24 * (level + 1) * 36);
    }
    // A folder says the same as the model that it was made of.
    assert_eq!(folder.condensec("inspect out --json").json(), inspection);
}

#[test]
fn tables_show_all_levels_or_one() {
    let folder = Folder::with_library();
    let all = folder.condensec("inspect out").success().stdout;
    let header = all.lines().find(|line| line.starts_with("layer")).unwrap();
    let columns: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(
        columns,
        [
            "layer", "op", "shape", "block", "format", "L0", "L1", "L2", "MACs", "weights",
            "kernel"
        ]
    );
    let conv = all.lines().find(|line| line.starts_with("conv ")).unwrap();
    assert!(
        conv.contains(" 4x2x3x3 ") && conv.contains(" 0.333 "),
        "{conv}"
    );
    let one = folder
        .condensec("inspect out --level half")
        .success()
        .stdout;
    let conv = one.lines().find(|line| line.starts_with("conv ")).unwrap();
    assert!(
        conv.contains(" 0.667 ") && !conv.contains(" 0.333 "),
        "{conv}"
    );
    let said = folder.condensec("inspect out --level 3").refused();
    assert_eq!(
        said,
        "error[bad-level]: there is no level 3\n  = note: the levels are L0 (tiny), L1 (half), L2 (full)\n"
    );
}

#[test]
fn another_target_can_be_inspected() {
    let folder = Folder::with_net();
    let inspection = folder
        .condensec("inspect net.onnx --target aarch64 --json")
        .json();
    assert_eq!(inspection["target"], "aarch64");
}
