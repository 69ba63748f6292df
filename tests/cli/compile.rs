//! The main job.

use crate::folder::{Folder, keys};
use crate::models;

#[test]
fn a_model_becomes_a_library_with_its_companions() {
    let folder = Folder::with_net();
    let ran = folder.condensec("net.onnx -o out").success();
    let files = [
        "libnet.a",
        "net.cmake",
        "net.h",
        "net.hpp",
        "net.json",
        "net.pc",
        "net.rs",
    ];
    assert_eq!(folder.list("out"), files);
    for part in [
        "net for ",
        "level",
        "tiny",
        "half",
        "full",
        "libnet.a",
        "\nweights ",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    // Nothing but what was asked for, and the note that the batch was chosen.
    assert_eq!(folder.list("."), ["net.onnx", "out"]);
    assert!(
        ran.stderr.starts_with("note[symbolic-dimension]"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_manifest_has_the_keys_that_scripts_rely_on() {
    let folder = Folder::with_library();
    let manifest: serde_json::Value = serde_json::from_slice(&folder.read("out/net.json")).unwrap();
    for key in [
        "name",
        "abi",
        "target",
        "cpu",
        "backend",
        "state_bytes",
        "inputs",
        "outputs",
        "bytes",
        "levels",
    ] {
        assert!(keys(&manifest).contains(&key), "{key}");
    }
    assert_eq!(manifest["name"], "net");
    let port = &manifest["inputs"][0];
    assert_eq!(keys(port), ["name", "dtype", "shape"]);
    assert_eq!(port["name"], "image");
    assert_eq!(port["shape"], serde_json::json!(models::INPUT));
    assert_eq!(manifest["outputs"][0]["name"], "scores");
    assert_eq!(
        keys(&manifest["bytes"]),
        ["weights", "indices", "tables", "code"]
    );
    let levels = manifest["levels"].as_array().unwrap();
    assert_eq!(levels.len(), models::N_LEVELS);
    let level_keys = [
        "level",
        "name",
        "density",
        "macs",
        "weight_bytes",
        "predicted_cycles",
        "step_cycles",
    ];
    for (number, level) in levels.iter().enumerate() {
        assert_eq!(keys(level), level_keys);
        assert_eq!(level["level"], number);
        let steps = level["step_cycles"].as_array().unwrap();
        assert_eq!(steps.len() as u64, manifest["steps"].as_u64().unwrap());
        let cycles: u64 = steps.iter().map(|cycles| cycles.as_u64().unwrap()).sum();
        assert_eq!(level["predicted_cycles"], cycles);
        // Of the maskable layers: each level keeps six more of 18 columns.
        assert_eq!(level["density"], (number + 1) as f64 / 3.0);
    }
    assert_eq!(levels[2]["name"], "full");
    assert_eq!(levels[2]["macs"], 72 * 36 + 12);
}

#[test]
fn the_summary_as_json() {
    let folder = Folder::with_net();
    let summary = folder.condensec("net.onnx --json").json();
    for key in [
        "name",
        "target",
        "cpu",
        "backend",
        "output",
        "files",
        "bytes",
        "state_bytes",
        "levels",
        "seconds",
    ] {
        assert!(keys(&summary).contains(&key), "{key}");
    }
    // The default folder.
    assert_eq!(summary["output"], "condensec-out");
    assert_eq!(folder.list("condensec-out").len(), 7);
    assert_eq!(summary["files"][0]["name"], "libnet.a");
    assert_eq!(
        summary["files"][0]["bytes"],
        folder.read("condensec-out/libnet.a").len()
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = Folder::with_net();
    let emit = "--emit asm,graph-ir,kernel-ir,obj";
    for out in ["a", "b"] {
        folder
            .condensec(&format!("net.onnx -o {out} {emit}"))
            .success();
    }
    for name in folder.list("a") {
        assert!(
            folder.read(&format!("a/{name}")) == folder.read(&format!("b/{name}")),
            "{name}"
        );
    }
}

#[test]
fn the_name_comes_from_the_file_or_the_user() {
    let folder = Folder::empty();
    folder.write("3-way.net.cir", models::TEXT);
    folder.condensec("3-way.net.cir -o a").success();
    assert!(
        folder
            .list("a")
            .contains(&"libmodel_3_way_net.a".to_string())
    );
    folder
        .condensec("3-way.net.cir -o b --name other")
        .success();
    assert!(folder.list("b").contains(&"libother.a".to_string()));
    let said = folder.condensec("3-way.net.cir -o c --name int").refused();
    assert!(said.starts_with("error[bad-name]: "), "{said}");
    assert!(!folder.path("c").exists());
}

#[test]
fn files_can_be_added_to_the_library_or_replace_it() {
    let folder = Folder::with_net();
    folder
        .condensec("net.onnx -o all --emit asm,graph-ir,kernel-ir,obj,shared")
        .success();
    for name in [
        "libnet.a",
        "libnet.so",
        "net.graph.cir",
        "net.kernel.cir",
        "net.s",
        "net.o",
    ] {
        assert!(folder.list("all").contains(&name.to_string()), "{name}");
    }
    folder
        .condensec("net.onnx -o only --emit =graph-ir")
        .success();
    assert_eq!(folder.list("only"), ["net.graph.cir"]);
    // What is emitted can be read again.
    folder.condensec("only/net.graph.cir -o again").success();
    let said = folder
        .condensec("net.onnx -o llvm --emit llvm-ir --backend cranelift")
        .refused();
    assert!(said.starts_with("error[not-in-this-build]: "), "{said}");
    assert_eq!(folder.condensec("net.onnx --emit exe").code, 2);
}

#[test]
fn every_target_of_the_list_compiles_or_says_what_it_needs() {
    let folder = Folder::with_net();
    for target in folder
        .condensec("targets --json")
        .json()
        .as_array()
        .unwrap()
    {
        let name = target["name"].as_str().unwrap();
        if target["backend"].is_null() {
            let said = folder
                .condensec(&format!("net.onnx --target {name}"))
                .refused();
            let expected = format!("error[not-in-this-build]: target \"{name}\" (");
            assert!(said.starts_with(&expected), "{said}");
            continue;
        }
        for cpu in target["cpus"].as_array().unwrap() {
            let cpu = cpu.as_str().unwrap();
            let args = format!("net.onnx -o {name}-{cpu} --target {name} --cpu {cpu} --json");
            let summary = folder.condensec(&args).json();
            assert_eq!(summary["target"], name);
            assert_eq!(summary["cpu"], cpu);
        }
    }
}

#[test]
fn targets_and_back_ends_that_are_not_there() {
    let folder = Folder::with_net();
    let has_llvm = folder.condensec("targets --json").stdout.contains("\"llvm");
    let mut refused = vec![
        ("--target sparc", "unknown-target"),
        ("--target aarch64 --cpu i486", "unknown-cpu"),
        ("--target x86_64 --features -avx,+mmx", "unknown-feature"),
        ("--target riscv32", "unknown-target"),
        ("--target aarch64-macos --cpu native", "target-not-host"),
        ("--backend cranelift --target armv7a", "unsupported-target"),
    ];
    if !has_llvm {
        refused.push(("--backend llvm", "not-in-this-build"));
    }
    for (args, code) in refused {
        let said = folder.condensec(&format!("net.onnx {args}")).refused();
        assert!(
            said.starts_with(&format!("error[{code}]: ")),
            "{args}: {said}"
        );
    }
    assert_eq!(folder.list("."), ["net.onnx"]);
}

#[test]
fn features_can_be_taken_away() {
    let folder = Folder::with_net();
    let summary = folder
        .condensec("net.onnx --target x86_64 --features -avx2,-fma --json")
        .json();
    let features = summary["features"].as_array().unwrap();
    assert!(
        !features
            .iter()
            .any(|feature| feature == "avx2" || feature == "fma"),
        "{features:?}"
    );
}

#[test]
fn an_input_shape_chooses_the_batch() {
    let folder = Folder::with_net();
    let ran = folder
        .condensec("net.onnx -o out --input-shape image=4x2x6x6")
        .success();
    assert_eq!(ran.stderr, "");
    let manifest: serde_json::Value = serde_json::from_slice(&folder.read("out/net.json")).unwrap();
    assert_eq!(
        manifest["outputs"][0]["shape"],
        serde_json::json!([4, models::N_CLASSES])
    );
    let said = folder
        .condensec("net.onnx -o out --input-shape picture=1x2x6x6")
        .refused();
    assert!(said.contains("error[unknown-input]"), "{said}");
}

#[test]
fn masks_may_come_from_a_file_of_their_own() {
    let folder = Folder::with_net();
    let mut bare = models::supernet();
    bare.metadata_props.clear();
    let mask = bare.graph.as_mut().unwrap().initializer.pop().unwrap();
    folder.write_model("bare.onnx", &bare);
    folder.write_arrays(
        "masks.npz",
        &[
            condensec::npz::NpzArray {
                name: "conv.weight__level".into(),
                shape: vec![1, 2, 3, 3],
                elems: condensec::npz::NpzElems::U8(mask.raw_data.unwrap()),
            },
            condensec::npz::NpzArray::i64("condense.levels", &[], vec![models::N_LEVELS as i64]),
            condensec::npz::NpzArray::i64("condense.block:conv.weight", &[4], vec![4, 1, 1, 1]),
        ],
    );
    let masked = folder
        .condensec("bare.onnx --masks masks.npz -o a --json")
        .json();
    let inside = folder.condensec("net.onnx -o b --json").json();
    for level in 0..models::N_LEVELS {
        assert_eq!(
            masked["levels"][level]["density"],
            inside["levels"][level]["density"]
        );
    }
    let plain = folder.condensec("bare.onnx -o c --json").json();
    assert_eq!(plain["levels"].as_array().unwrap().len(), 1);
}

#[test]
fn passes_can_be_watched() {
    let folder = Folder::with_net();
    let ran = folder
        .condensec("net.onnx --print-after import,fuse-epilogue --time-passes")
        .success();
    let (before, after) = ran
        .stderr
        .split_once("; after fuse-epilogue")
        .expect("two dumps");
    assert!(
        before.contains("; after import\ngraph @net levels(3)"),
        "{before}"
    );
    assert!(
        before.contains(" = unary ") && !after.contains(" = unary "),
        "{}",
        ran.stderr
    );
    for stage in [
        "read",
        "decode",
        "import",
        "fuse-epilogue",
        "lower",
        "generate-code",
    ] {
        let is_row = |line: &str| line.starts_with(&format!("{stage} "));
        assert!(after.lines().any(is_row), "{stage}: {after}");
    }
    let kernels = folder
        .condensec("net.onnx --print-after lower")
        .success()
        .stderr;
    assert!(kernels.contains("; after lower\nfunc @"), "{kernels}");
}
