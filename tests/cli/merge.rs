//! `condensec merge`.

use condensec::frontend::onnx::proto::{ModelProto, TensorProto};
use condensec::npz::{NpzArray, read_npz};
use expect_test::expect;

use crate::folder::Folder;
use crate::models;

/// `models::supernet` as a plain export of `level`: what the level masks is zero.
fn export(level: usize) -> ModelProto {
    let mut model = models::supernet();
    model.metadata_props.clear();
    let graph = model.graph.as_mut().unwrap();
    let mask = graph.initializer.pop().unwrap().raw_data.unwrap();
    let mut weight = models::numbers(72, 1);
    for (at, value) in weight.iter_mut().enumerate() {
        if usize::from(mask[at % 18]) > level {
            *value = 0.0;
        }
    }
    graph.initializer[0] = TensorProto::from_f32("conv.weight", &[4, 2, 3, 3], &weight);
    model
}

/// `L0.onnx`, `L1.onnx`, `L2.onnx` and `in.npz`.
fn exports() -> Folder {
    let folder = Folder::empty();
    for level in 0..models::N_LEVELS {
        folder.write_model(&format!("L{level}.onnx"), &export(level));
    }
    let image = NpzArray::f32("image", &models::INPUT, models::numbers(72, 5));
    folder.write_arrays("in.npz", &[image]);
    folder
}

fn run(folder: &Folder, model: &str, level: usize) -> Vec<f32> {
    let args = format!("run {model} --inputs in.npz --outputs out.npz --level {level}");
    folder.condensec(&args).success();
    read_npz(&folder.read("out.npz")).unwrap()[0]
        .to_f32_vec()
        .unwrap()
}

#[test]
fn exports_become_the_levels_of_a_supernet() {
    let folder = exports();
    let args = "merge L0.onnx L1.onnx L2.onnx -o all.onnx --names a,b,c";
    let said = folder.condensec(args).success().stdout;
    assert!(
        said.starts_with("all.onnx (") && said.contains("L2 (c) from L2.onnx"),
        "{said}"
    );
    let inspection = folder.condensec("inspect all.onnx --json").json();
    for (level, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(inspection["levels"][level]["name"], name);
        assert_eq!(
            inspection["levels"][level]["density"],
            (level + 1) as f64 / 3.0
        );
        let alone = run(&folder, &format!("L{level}.onnx"), 0);
        for (found, expected) in run(&folder, "all.onnx", level).iter().zip(alone) {
            assert!(
                (found - expected).abs() < 1e-5,
                "L{level}: {found} instead of {expected}"
            );
        }
    }
    let merged = folder
        .condensec("merge L0.onnx L2.onnx -o two.onnx --json")
        .json();
    assert_eq!(merged["levels"][1]["file"], "L2.onnx");
    assert_eq!(merged["bytes"], folder.read("two.onnx").len());
}

#[test]
fn what_cannot_be_shared_is_named() {
    let folder = exports();
    folder.write("mine.onnx", "mine");
    let mut other = export(0);
    let mut weight = models::numbers(72, 1);
    weight[1..].fill(0.0);
    weight[0] += 0.5;
    other.graph.as_mut().unwrap().initializer[0] =
        TensorProto::from_f32("conv.weight", &[4, 2, 3, 3], &weight);
    folder.write_model("other.onnx", &other);
    let said = folder
        .condensec("merge other.onnx L2.onnx -o mine.onnx")
        .refused();
    expect![[r#"
        error[shared-value-differs]: L0 and L1 disagree on 1 weight of `conv.weight`
          --> node "conv" (Conv), tensor "conv.weight", first at [0, 0, 0, 0]
          = note: the first is 0.81854033 at L0 (other.onnx) and 0.31854033 at L1 (L2.onnx)
          = note: levels share one weight buffer: a weight has one value wherever it is kept
          = help: train all levels with shared weights, or prune one network further and further
    "#]]
    .assert_eq(&said);
    assert_eq!(folder.read("mine.onnx"), b"mine");
    let said = folder
        .condensec("merge L0.onnx L2.onnx -o mine.onnx --names a")
        .refused();
    assert_eq!(said, "error[length-mismatch]: 1 level names for 2 levels\n");
    let said = folder
        .condensec("merge L0.onnx L2.onnx -o mine.onnx --names a,a")
        .refused();
    assert_eq!(said, "error[duplicate-name]: two levels are called \"a\"\n");
}
