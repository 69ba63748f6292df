//! `condensec eval`.

use condensec::npz::{NpzArray, read_npz};
use serde_json::Value;

use crate::folder::{Folder, keys};
use crate::models;

const N_SAMPLES: usize = 6;

fn images() -> Vec<f32> {
    models::numbers(72 * N_SAMPLES, 9)
}

/// Outputs of `net.onnx` at `level` for all images.
fn outputs(folder: &Folder, level: usize) -> Vec<f32> {
    folder.write_arrays(
        "in.npz",
        &[NpzArray::f32("image", &[N_SAMPLES, 2, 6, 6], images())],
    );
    let args = format!("run net.onnx --inputs in.npz --outputs out.npz --level {level}");
    folder.condensec(&args).success();
    read_npz(&folder.read("out.npz")).unwrap()[0]
        .to_f32_vec()
        .unwrap()
}

fn argmax(scores: &[f32]) -> i64 {
    let best = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).fold(0, best) as i64
}

fn x(name: &str) -> NpzArray {
    NpzArray::f32(name, &[N_SAMPLES, 2, 6, 6], images())
}

#[track_caller]
fn level_keys<'a>(evaluation: &'a Value, expected: &[&str]) -> &'a [Value] {
    assert_eq!(keys(evaluation), ["samples", "levels"]);
    let levels = evaluation["levels"].as_array().unwrap();
    assert_eq!(levels.len(), models::N_LEVELS);
    for key in expected {
        assert!(keys(&levels[0]).contains(key), "{key}");
    }
    levels
}

#[test]
fn labels_give_accuracy() {
    let folder = Folder::with_library();
    // What the highest level says is right by definition, but for the last sample.
    let mut labels: Vec<i64> = outputs(&folder, 2).chunks(3).map(argmax).collect();
    labels[N_SAMPLES - 1] = (labels[N_SAMPLES - 1] + 1) % 3;
    let at_0: Vec<i64> = outputs(&folder, 0).chunks(3).map(argmax).collect();
    let n_right = at_0.iter().zip(&labels).filter(|(a, b)| a == b).count();
    folder.write_arrays(
        "test.npz",
        &[x("x"), NpzArray::i64("y", &[N_SAMPLES], labels)],
    );
    for model in ["out", "net.onnx", "out --threads 2"] {
        let evaluation = folder
            .condensec(&format!("eval {model} --data test.npz --json"))
            .json();
        assert_eq!(evaluation["samples"], N_SAMPLES);
        let expected = ["level", "density", "macs", "top1", "top5", "min_ms"];
        let levels = level_keys(&evaluation, &expected);
        assert_eq!(levels[2]["top1"], (N_SAMPLES - 1) as f64 / N_SAMPLES as f64);
        assert_eq!(levels[0]["top1"], n_right as f64 / N_SAMPLES as f64);
        // Three classes: the right one is always among five.
        assert_eq!(levels[0]["top5"], 1.0);
    }
    let first = folder
        .condensec("eval out --data test.npz --samples 5 --json")
        .json();
    assert_eq!(first["samples"], 5);
    assert_eq!(first["levels"][2]["top1"], 1.0);
    let table = folder
        .condensec("eval out --data test.npz")
        .success()
        .stdout;
    assert!(
        table.starts_with("6 samples\n\nlevel") && table.contains("top-1"),
        "{table}"
    );
}

#[test]
fn reference_outputs_give_errors() {
    let folder = Folder::with_library();
    let mut reference = outputs(&folder, 2);
    reference[0] += 0.5;
    for (x_name, y_name) in [("x", "y"), ("image", "scores"), ("in_0", "out_0")] {
        let y = NpzArray::f32(y_name, &[N_SAMPLES, 3], reference.clone());
        folder.write_arrays("test.npz", &[x(x_name), y]);
        let evaluation = folder.condensec("eval out --data test.npz --json").json();
        let expected = [
            "level",
            "density",
            "macs",
            "max_abs_err",
            "mean_abs_err",
            "min_ms",
        ];
        let levels = level_keys(&evaluation, &expected);
        let error = |level: usize, key: &str| levels[level][key].as_f64().unwrap();
        assert!((error(2, "max_abs_err") - 0.5).abs() < 1e-5);
        assert!((error(2, "mean_abs_err") - 0.5 / 18.0).abs() < 1e-5);
        assert!(error(0, "mean_abs_err") > error(2, "mean_abs_err"));
    }
}

#[test]
fn a_test_set_that_does_not_fit_is_refused() {
    let folder = Folder::with_library();
    let y = |values: &[i64]| NpzArray::i64("y", &[values.len()], values.to_vec());
    for (arrays, code) in [
        (vec![x("x")], "missing-labels"),
        (vec![y(&[0; N_SAMPLES])], "missing-input"),
        (vec![x("x"), y(&[0; 4])], "wrong-shape"),
        (vec![x("x"), y(&[0, 1, 2, 3, 0, 0])], "bad-label"),
        (
            vec![NpzArray::f32("x", &[1, 72], vec![0.0; 72]), y(&[0])],
            "wrong-shape",
        ),
    ] {
        folder.write_arrays("test.npz", &arrays);
        for model in ["out", "net.onnx"] {
            let said = folder
                .condensec(&format!("eval {model} --data test.npz"))
                .refused();
            assert!(said.contains(&format!("error[{code}]: ")), "{code}: {said}");
        }
    }
}

#[test]
fn ports_need_not_lead_with_the_batch() {
    let folder = Folder::empty();
    folder.write(
        "boxes.cir",
        "graph @boxes (%image: f32[1, 4], %priors: f32[3, 4]) -> (%y) {\n  \
         %y = concat %image, %priors {axis=0} : f32[4, 4]\n}\n",
    );
    let image = NpzArray::f32("image", &[2, 4], models::numbers(8, 1));
    let priors = NpzArray::f32("priors", &[2, 3, 4], models::numbers(24, 2));
    let (of_image, of_priors) = (models::numbers(8, 1), models::numbers(24, 2));
    let y = |run: usize| [&of_image[4 * run..][..4], &of_priors[12 * run..][..12]].concat();
    let y = NpzArray::f32("y", &[2, 4, 4], [y(0), y(1)].concat());
    folder.write_arrays("test.npz", &[image.clone(), priors, y]);
    let evaluation = folder
        .condensec("eval boxes.cir --data test.npz --json")
        .json();
    assert_eq!(evaluation["levels"][0]["max_abs_err"], 0.0);

    let priors = NpzArray::f32("priors", &[2, 4], vec![0.0; 8]);
    folder.write_arrays("test.npz", &[image, priors]);
    let said = folder.condensec("eval boxes.cir --data test.npz").refused();
    assert!(
        said.contains("error[wrong-shape]: ") && said.contains("expected [2, 3, 4]"),
        "{said}"
    );
}

#[test]
fn a_batch_takes_several_samples_at_a_time() {
    let folder = Folder::with_net();
    let batch = "--input-shape image=4x2x6x6";
    let reference = outputs(&folder, 2);
    let y = |n: usize| NpzArray::f32("y", &[n, 3], reference[..3 * n].to_vec());
    folder.write_arrays("test.npz", &[x("x"), y(N_SAMPLES)]);
    let evaluation = folder
        .condensec(&format!(
            "eval net.onnx {batch} --data test.npz --samples 4 --json"
        ))
        .json();
    assert!(evaluation["levels"][2]["max_abs_err"].as_f64().unwrap() < 1e-5);
    folder.write_arrays("test.npz", &[x("x"), y(4)]);
    let said = folder
        .condensec(&format!(
            "eval net.onnx {batch} --data test.npz --samples 4"
        ))
        .refused();
    assert!(said.contains("expected [6, 3]"), "{said}");
}

/// An IDX file of bytes.
fn idx(shape: &[u32], elems: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    file.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    file.extend_from_slice(elems);
    file
}

#[test]
fn images_and_labels_as_idx_files() {
    let folder = Folder::with_net();
    let pixels: Vec<u8> = (0..72 * N_SAMPLES).map(|i| (i * 37 % 256) as u8).collect();
    let labels: Vec<u8> = (0..N_SAMPLES).map(|i| (i % 3) as u8).collect();
    let n = N_SAMPLES as u32;
    folder.write("images", idx(&[n, 2, 6, 6], &pixels));
    folder.write("labels", idx(&[n], &labels));
    let scaled = pixels.iter().map(|&p| (f32::from(p) / 255.0 - 0.5) / 0.25);
    let x = NpzArray::f32("x", &[N_SAMPLES, 2, 6, 6], scaled.collect());
    let y = NpzArray::i64(
        "y",
        &[N_SAMPLES],
        labels.iter().map(|&c| c.into()).collect(),
    );
    folder.write_arrays("test.npz", &[x, y]);
    let top1 = |args: &str| -> Vec<Value> {
        let evaluation = folder
            .condensec(&format!("eval net.onnx --json {args}"))
            .json();
        let levels = evaluation["levels"].as_array().unwrap().iter();
        levels.map(|level| level["top1"].clone()).collect()
    };
    let of_idx = top1("--data images --labels labels --mean 0.5 --deviation 0.25");
    assert_eq!(of_idx, top1("--data test.npz"));
    for (args, expected) in [
        ("--data images", "missing-labels"),
        ("--data images --labels test.npz", "bad-idx"),
        ("--data labels --labels labels", "wrong-shape"),
    ] {
        let said = folder.condensec(&format!("eval net.onnx {args}")).refused();
        assert!(said.contains(&format!("[{expected}]")), "{args}: {said}");
    }
}
