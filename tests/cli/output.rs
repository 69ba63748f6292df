//! Files appear completely or not at all.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use condensec::frontend::onnx::proto::{DataLocation, ModelProto, StringStringEntryProto};
use condensec::npz::NpzArray;

use crate::folder::Folder;
use crate::models;

fn input() -> NpzArray {
    NpzArray::f32("image", &models::INPUT, models::numbers(72, 5))
}

#[test]
fn a_failure_leaves_the_folder_as_it_was() {
    let folder = Folder::with_library();
    folder.write("out/mine.txt", "mine");
    let names = folder.list("out");
    let before: Vec<Vec<u8>> = names
        .iter()
        .map(|name| folder.read(&format!("out/{name}")))
        .collect();
    // A model that does not compile, under the same name.
    folder.write("net.onnx", "garbage");
    folder.condensec("net.onnx -o out").refused();
    // One that does, but a folder is in the way of its last file.
    folder.write_model("net.onnx", &models::two_inputs());
    std::fs::create_dir(folder.path("out/net.s")).unwrap();
    let said = folder.condensec("net.onnx -o out --emit asm").refused();
    assert!(
        said.starts_with("error[output-not-written]: cannot write out/net.s: it is a folder\n"),
        "{said}"
    );
    std::fs::remove_dir(folder.path("out/net.s")).unwrap();
    assert_eq!(folder.list("out"), names);
    for (name, before) in names.iter().zip(before) {
        assert!(folder.read(&format!("out/{name}")) == before, "{name}");
    }
}

#[test]
fn a_file_in_place_of_the_folder_stays() {
    let folder = Folder::with_net();
    folder.write("out", "mine");
    for out in ["out", "out/deeper"] {
        let said = folder.condensec(&format!("net.onnx -o {out}")).refused();
        assert!(said.contains("is a file and not a folder"), "{said}");
    }
    assert_eq!(folder.read("out"), b"mine");
}

#[test]
fn parents_are_made_and_a_failure_makes_none() {
    let folder = Folder::with_net();
    folder.condensec("net.onnx -o a/b/c").success();
    assert_eq!(folder.list("a/b/c").len(), 7);
    folder.write("bad.onnx", "garbage");
    folder.condensec("bad.onnx -o x/y").refused();
    assert!(!folder.path("x").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_diagnostic() {
    let folder = Folder::with_library();
    folder.write_arrays("in.npz", &[input()]);
    let said = folder
        .condensec("run out --inputs in.npz --outputs /dev/full")
        .refused();
    assert!(
        said.starts_with("error[output-not-written]: cannot write /dev/full: no space left"),
        "{said}"
    );
    let mut command = folder.command("ops");
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = command
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error[output-not-written]: cannot write to standard output"),
        "{said}"
    );
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let folder = Folder::with_net();
    folder.write_arrays("in.npz", &[input()]);
    folder.condensec("net.onnx --emit graph-ir -o .").success();
    folder
        .condensec("profile net.onnx --predict -o net.json")
        .success();
    folder.write("eval.json", r#"{"levels": []}"#);
    for (file, args) in [
        ("in.npz", "run net.onnx --inputs in.npz --outputs in.npz"),
        (
            "net.onnx",
            "run net.onnx --inputs in.npz --outputs net.onnx",
        ),
        ("net.onnx", "tune net.onnx -o ./net.onnx"),
        ("net.onnx", "profile net.onnx --predict -o net.onnx"),
        (
            "net.json",
            "simulate net.json --trace thermal --plot net.json",
        ),
        (
            "in.npz",
            "nest net.onnx --calibrate in.npz --sparsity 0.5,0 -o in.npz",
        ),
        ("in.npz", "plan net.onnx --data in.npz --points 1 -o in.npz"),
        (
            "net.graph.cir",
            "net.graph.cir --name net --emit graph-ir -o .",
        ),
    ] {
        let before = folder.read(file);
        let said = folder.condensec(args).refused();
        assert!(said.contains("error[overwrites-input]: "), "{args}: {said}");
        assert!(folder.read(file) == before, "{args}");
    }
}

#[test]
fn weights_beside_a_model_are_not_written_over() {
    let folder = Folder::with_net();
    std::fs::create_dir(folder.path("sub")).unwrap();
    folder.write_arrays("in.npz", &[input()]);
    let model = with_weights_in_file("weights.bin", &folder.path("sub"));
    folder.write_model("sub/net.onnx", &model);
    folder.condensec("inspect sub/net.onnx").success();
    let before = folder.read("sub/weights.bin");
    for args in [
        "run sub/net.onnx --inputs in.npz --outputs sub/weights.bin",
        "profile sub/net.onnx --predict -o sub/weights.bin",
        "merge net.onnx sub/net.onnx -o ./sub/weights.bin",
    ] {
        let said = folder.condensec(args).refused();
        assert!(said.contains("error[overwrites-input]: "), "{args}: {said}");
        assert!(folder.read("sub/weights.bin") == before, "{args}");
    }
}

/// The supernet with its first weight in a file of its own.
fn with_weights_in_file(name: &str, dir: &Path) -> ModelProto {
    let mut model = models::supernet();
    let weight = &mut model.graph.as_mut().unwrap().initializer[0];
    std::fs::write(dir.join(name), weight.raw_data.take().unwrap()).unwrap();
    weight.data_location = Some(DataLocation::External as i32);
    weight.external_data = vec![StringStringEntryProto {
        key: Some("location".into()),
        value: Some(name.into()),
    }];
    model
}

#[test]
fn of_several_files_all_are_written_or_none() {
    let folder = Folder::with_net();
    folder.write("net.profile.json", "mine");
    std::fs::create_dir(folder.path("net_profile.h")).unwrap();
    let said = folder
        .condensec("profile net.onnx --predict --emit json,header")
        .refused();
    assert!(said.contains("net_profile.h: it is a folder"), "{said}");
    assert_eq!(folder.read("net.profile.json"), b"mine");
    std::fs::remove_dir(folder.path("net_profile.h")).unwrap();
    let said = folder
        .condensec("profile net.onnx --predict --emit json,header -o net_profile.h")
        .refused();
    assert!(said.contains("error[same-output]: "), "{said}");
}

#[test]
fn outputs_of_a_run_are_replaced_only_by_outputs() {
    let folder = Folder::with_library();
    folder.write("out.npz", "mine");
    folder.write_arrays("in.npz", &[NpzArray::f32("image", &[2], vec![0.0; 2])]);
    folder
        .condensec("run out --inputs in.npz --outputs out.npz")
        .refused();
    assert_eq!(folder.read("out.npz"), b"mine");
    folder.write_arrays("in.npz", &[input()]);
    folder
        .condensec("run out --inputs in.npz --outputs out.npz")
        .success();
    assert!(folder.read("out.npz").starts_with(b"PK"));
    assert_eq!(folder.list("."), ["in.npz", "net.onnx", "out", "out.npz"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = Folder::empty();
    let mut command = folder.command("completions bash");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "_condensec() {\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
