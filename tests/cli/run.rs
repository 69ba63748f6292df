//! `condensec run`, against the interpreter of the graph.

use condensec::npz::{NpzArray, read_npz};
use condensec_ir::LevelId;
use condensec_ir::eval::{Array, eval_graph};
use expect_test::expect;
use harness::graphs;

use crate::folder::Folder;
use crate::models;

/// Sums of at most 18 products of numbers below 1, in another order.
const TOLERANCE: f32 = 1e-5;

fn interpret(folder: &Folder, batch: usize, level: u32, values: &[f32]) -> Array {
    let shape = [batch, 2, 6, 6];
    let graph = graphs::read(&folder.path("net.onnx"), "image", &shape);
    let input = Array::new(&shape, values.to_vec());
    eval_graph(&graph, LevelId(level), &[input])
        .expect("the input fits")
        .remove(0)
}

#[track_caller]
fn assert_output(folder: &Folder, expected: &Array) {
    let arrays = read_npz(&folder.read("out.npz")).unwrap();
    assert_eq!(arrays.len(), 1);
    assert_eq!(
        (arrays[0].name.as_str(), &arrays[0].shape),
        ("scores", &expected.shape)
    );
    let found = arrays[0].to_f32_vec().unwrap();
    for (at, (found, expected)) in found.iter().zip(&expected.data).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE,
            "{at}: {found} instead of {expected}"
        );
    }
}

#[test]
fn every_level_equals_the_interpreter() {
    let folder = Folder::with_library();
    let values = models::numbers(72, 5);
    folder.write_arrays(
        "in.npz",
        &[NpzArray::f32("image", &models::INPUT, values.clone())],
    );
    for (level, name) in ["tiny", "half", "full"].into_iter().enumerate() {
        let expected = interpret(&folder, 1, level as u32, &values);
        for model in ["out", "net.onnx"] {
            for wanted in [name.to_string(), level.to_string(), format!("L{level}")] {
                let args =
                    format!("run {model} --level {wanted} --inputs in.npz --outputs out.npz");
                let said = folder.condensec(&args).success();
                assert_eq!(
                    said.stdout,
                    format!("L{level} ({name}): scores [1, 3] in out.npz\n")
                );
                assert_eq!(said.stderr, "");
                assert_output(&folder, &expected);
            }
        }
    }
}

#[test]
fn the_highest_level_is_the_default_and_arrays_go_by_place() {
    let folder = Folder::with_net();
    let values = models::numbers(72, 6);
    folder.write_arrays(
        "in.npz",
        &[NpzArray::f32("in_0", &models::INPUT, values.clone())],
    );
    let ran = folder
        .condensec("run net.onnx --inputs in.npz --outputs out.npz --json")
        .json();
    assert_eq!(ran["level"], 2);
    assert_eq!(
        ran["outputs"],
        serde_json::json!([{"name": "scores", "shape": [1, 3]}])
    );
    assert_output(&folder, &interpret(&folder, 1, 2, &values));
}

#[test]
fn several_threads_give_the_same_bits() {
    let folder = Folder::with_library();
    let image = NpzArray::f32("image", &models::INPUT, models::numbers(72, 8));
    folder.write_arrays("in.npz", &[image]);
    let run = |n_threads: usize| {
        let args = format!("run out --inputs in.npz --outputs out.npz --threads {n_threads}");
        folder.condensec(&args).success();
        folder.read("out.npz")
    };
    let expected = run(1);
    for n_threads in [2, 5] {
        assert_eq!(run(n_threads), expected, "{n_threads} threads");
    }
}

#[test]
fn open_dimensions_are_those_of_the_arrays() {
    let folder = Folder::with_library();
    let values = models::numbers(72 * 5, 7);
    folder.write_arrays(
        "in.npz",
        &[NpzArray::f32("image", &[5, 2, 6, 6], values.clone())],
    );
    folder
        .condensec("run net.onnx --inputs in.npz --outputs out.npz --level 0")
        .success();
    assert_output(&folder, &interpret(&folder, 5, 0, &values));
    // What is compiled has one shape.
    let said = folder
        .condensec("run out --inputs in.npz --outputs out.npz")
        .refused();
    expect![[r#"
        error[wrong-shape]: array "image" has shape [5, 2, 6, 6], input "image" needs [1, 2, 6, 6]
          --> in.npz, tensor "image"
          = note: the shapes of a compiled model are fixed
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_graph_in_text_form_runs() {
    let folder = Folder::empty();
    folder.write("net.cir", models::TEXT);
    folder.write_arrays("in.npz", &[NpzArray::f32("x", &[1, 2], vec![1.0, -2.0])]);
    folder
        .condensec("run net.cir --inputs in.npz --outputs out.npz --level small")
        .success();
    let arrays = read_npz(&folder.read("out.npz")).unwrap();
    // Rows [1, 2] and [3, 4] of the weight; the others are masked.
    assert_eq!(arrays, [NpzArray::f32("logits", &[1, 4], vec![0.0; 4])]);
    folder.write_arrays("in.npz", &[NpzArray::f32("x", &[1, 2], vec![1.0, 2.0])]);
    folder
        .condensec("run net.cir --inputs in.npz --outputs out.npz --level small")
        .success();
    let arrays = read_npz(&folder.read("out.npz")).unwrap();
    assert_eq!(
        arrays,
        [NpzArray::f32("logits", &[1, 4], vec![5.0, 11.0, 0.0, 0.0])]
    );
}

#[test]
fn several_inputs_go_by_name() {
    let folder = Folder::empty();
    folder.write_model("sum.onnx", &models::two_inputs());
    let a = NpzArray::f32("a", &[2], vec![1.0, 2.0]);
    let b = NpzArray::f32("b", &[2], vec![10.0, 20.0]);
    folder.write_arrays("in.npz", &[b, a]);
    folder
        .condensec("run sum.onnx --inputs in.npz --outputs out.npz")
        .success();
    let arrays = read_npz(&folder.read("out.npz")).unwrap();
    assert_eq!(arrays, [NpzArray::f32("sum", &[2], vec![11.0, 22.0])]);
}

#[test]
fn arrays_that_do_not_fit_are_all_named() {
    let folder = Folder::empty();
    folder.write_model("sum.onnx", &models::two_inputs());
    let refused = |arrays: &[NpzArray]| {
        folder.write_arrays("in.npz", arrays);
        folder
            .condensec("run sum.onnx --inputs in.npz --outputs out.npz")
            .refused()
    };
    let said = refused(&[
        NpzArray::f32("a", &[3], vec![0.0; 3]),
        NpzArray::f32("c", &[2], vec![0.0; 2]),
    ]);
    expect![[r#"
        error[wrong-shape]: array "a" has shape [3], input "a" needs [2]
          --> in.npz, tensor "a"
          = note: the shapes of a compiled model are fixed
        error[missing-input]: there is no array for input "b"
          --> in.npz, tensor "b"
          = note: the file has a, c
          = help: store it as "b" or in_1
    "#]]
    .assert_eq(&said);
    let said = refused(&[
        NpzArray::i64("a", &[2], vec![0; 2]),
        NpzArray::f32("b", &[2], vec![0.0; 2]),
    ]);
    expect![[r#"
        error[wrong-dtype]: array "a" is of type int64, expected float32
          --> in.npz, tensor "a"
          = help: convert it: array.astype(numpy.float32)
    "#]]
    .assert_eq(&said);
    folder.write("in.npz", "no archive");
    let said = folder
        .condensec("run sum.onnx --inputs in.npz --outputs out.npz")
        .refused();
    expect![[r#"
        error[bad-npz]: not a NumPy archive, or damaged: invalid Zip archive: Invalid zip header
          --> in.npz
          = help: write it with numpy.savez(FILE, name=array, ..)
    "#]]
    .assert_eq(&said);
    assert!(!folder.path("out.npz").exists());
}

#[test]
fn an_array_too_many_is_a_warning() {
    let folder = Folder::empty();
    folder.write_model("sum.onnx", &models::two_inputs());
    let arrays = ["a", "b", "labels"].map(|name| NpzArray::f32(name, &[2], vec![1.0; 2]));
    folder.write_arrays("in.npz", &arrays);
    let ran = folder
        .condensec("run sum.onnx --inputs in.npz --outputs out.npz")
        .success();
    expect![[r#"
        warning[unused-array]: no input is called "labels"; the array is not used
          --> in.npz, tensor "labels"
    "#]]
    .assert_eq(&ran.stderr);
}

#[test]
fn a_deadline_lowers_the_level() {
    let folder = Folder::with_library();
    let values = models::numbers(72, 5);
    folder.write_arrays(
        "in.npz",
        &[NpzArray::f32("image", &models::INPUT, values.clone())],
    );
    // Nothing runs in a nanosecond, and everything in a day.
    for (deadline, level) in [("0.001us", 0), ("86400s", 2)] {
        let args =
            format!("run out --deadline {deadline} --inputs in.npz --outputs out.npz --json");
        let ran = folder.condensec(&args).json();
        assert!(ran["ms"].as_f64().unwrap() > 0.0);
        let steps = ran["steps"].as_array().unwrap();
        assert!(steps.iter().all(|step| step["level"] == level), "{ran}");
        assert_output(&folder, &interpret(&folder, 1, level, &values));
    }
    let said = folder
        .condensec("run out --deadline 0.001us --inputs in.npz --outputs out.npz")
        .success()
        .stdout;
    assert!(said.contains("L0 from "), "{said}");
}
