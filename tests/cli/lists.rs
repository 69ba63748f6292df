//! `targets`, `ops`, `completions`: what this build can do.

use crate::folder::{Folder, keys};

#[test]
fn targets_as_table_and_json() {
    let folder = Folder::empty();
    let targets = folder.condensec("targets --json").json();
    let targets = targets.as_array().unwrap();
    for target in targets {
        for key in ["name", "triple", "cpu", "backend", "tier", "tested"] {
            assert!(keys(target).contains(&key), "{key}");
        }
        assert!(
            target["tier"]
                .as_u64()
                .is_some_and(|tier| (1..=3).contains(&tier))
        );
    }
    let names: Vec<&str> = targets
        .iter()
        .map(|target| target["name"].as_str().unwrap())
        .collect();
    let expected = [
        "aarch64",
        "aarch64-android",
        "aarch64-macos",
        "armv7a",
        "riscv64",
        "thumbv7em",
        "x86_64",
        "x86_64-windows",
    ];
    assert_eq!(names, expected);
    let table = folder.condensec("targets").success().stdout;
    // A header and a line.
    assert_eq!(table.lines().count(), targets.len() + 2);
}

#[test]
fn ops_as_table_and_json() {
    let folder = Folder::empty();
    let ops = folder.condensec("ops --json").json();
    let ops = ops.as_array().unwrap();
    let names: Vec<&str> = ops.iter().map(|op| op["op"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"Conv") && names.contains(&"Gemm"));
    for op in ops {
        assert_eq!(keys(op), ["op", "since", "opsets"]);
        assert_eq!(op["since"], op["opsets"][0]);
    }
    let table = folder.condensec("ops").success().stdout;
    assert!(
        table.contains(&format!("{} operators of ai.onnx", ops.len())),
        "{table}"
    );
}

#[test]
fn completions_for_the_usual_shells() {
    let folder = Folder::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder
            .condensec(&format!("completions {shell}"))
            .success()
            .stdout;
        for word in ["inspect", "--target", "cranelift"] {
            assert!(
                script.contains(word.trim_start_matches('-')),
                "{shell}: {word}"
            );
        }
    }
}
