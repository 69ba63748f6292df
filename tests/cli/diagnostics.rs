//! Bad input: what is said, to the letter, in both forms; and the exit codes.

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::folder::{Folder, keys};
use crate::models;
use condensec::frontend::onnx::proto::encode_model;

#[track_caller]
fn check(folder: &Folder, args: &str, expected: Expect) {
    expected.assert_eq(&folder.condensec(args).refused());
}

#[test]
fn files_that_are_no_models() {
    let folder = Folder::empty();
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.write("empty.onnx", "");
    folder.write("garbage.onnx", [0xff; 64]);
    folder.write("page.onnx", "<!DOCTYPE html><html></html>");
    folder.write("archive.onnx", b"PK\x03\x04 and so on");
    folder.write("text.onnx", models::TEXT);
    check(
        &folder,
        "missing.onnx",
        expect![[r#"
        error[file-not-found]: there is no file missing.onnx
          --> missing.onnx
    "#]],
    );
    check(
        &folder,
        "folder",
        expect![[r#"
        error[not-a-file]: folder is a folder, expected a file
          --> folder
    "#]],
    );
    check(
        &folder,
        "empty.onnx",
        expect![[r#"
        error[empty-file]: empty.onnx is empty
          --> empty.onnx
    "#]],
    );
    check(
        &folder,
        "garbage.onnx",
        expect![[r#"
        error[not-onnx]: not an ONNX model, or cut off: failed to decode Protobuf message: invalid varint
          --> garbage.onnx
          = help: models are ONNX files (.onnx) or graphs in text form (.cir)
    "#]],
    );
    check(
        &folder,
        "page.onnx",
        expect![[r#"
        error[not-onnx]: not an ONNX model, or cut off: failed to decode Protobuf message: ModelProto.graph: invalid wire type: EndGroup (expected LengthDelimited)
          --> page.onnx
          = note: the file looks like a web page; the download failed
    "#]],
    );
    check(
        &folder,
        "archive.onnx",
        expect![[r#"
        error[not-onnx]: not an ONNX model, or cut off: failed to decode Protobuf message: invalid tag value: 0
          --> archive.onnx
          = note: the file looks like a zip archive, e.g. a PyTorch checkpoint or .npz
    "#]],
    );
    check(
        &folder,
        "text.onnx",
        expect![[r#"
        error[not-onnx]: not an ONNX model, or cut off: failed to decode Protobuf message: invalid wire type value: 7
          --> text.onnx
          = note: the file looks like a graph in text form; give it the ending .cir
    "#]],
    );
    check(
        &folder,
        "-",
        expect![[r#"
        error[file-not-found]: nothing is read from standard input
          = help: give the name of a file; ./- is the file called -
    "#]],
    );
    #[cfg(unix)]
    check(
        &folder,
        "/dev/null",
        expect![[r#"
        error[not-a-file]: /dev/null is a pipe or device, expected a file
          --> /dev/null
    "#]],
    );
}

#[test]
fn a_model_cut_off_anywhere_is_refused_or_whole() {
    let folder = Folder::empty();
    let bytes = encode_model(&models::supernet());
    for len in (1..bytes.len()).step_by(37) {
        folder.write("cut.onnx", &bytes[..len]);
        let ran = folder.condensec("inspect cut.onnx");
        assert_eq!(ran.code, 1, "cut at {len}: {ran:?}");
        assert!(ran.stderr.contains("error["), "cut at {len}: {ran:?}");
    }
}

#[test]
fn faults_of_a_text_have_line_and_column() {
    let folder = Folder::empty();
    folder.write(
        "bad.cir",
        models::TEXT.replace("fully_connected", "fully_conected"),
    );
    check(
        &folder,
        "bad.cir",
        expect![[r#"
        error[unknown-op]: there is no op fully_conected
          --> bad.cir:3:8, node "y" (fully_conected)
          = note: the ops are avg_pool, batch_norm, binary, concat, constant, conv2d, fully_connected, input, matmul, max_pool, pad, reduce, relayout, reshape, resize, slice, softmax, transpose, unary
    "#]],
    );
    folder.write("latin.cir", b"graph @caf\xe9");
    check(
        &folder,
        "latin.cir",
        expect![[r#"
        error[not-utf8]: not a text: byte 10 is not UTF-8
          --> latin.cir
    "#]],
    );
    folder.write("ok.cir", models::TEXT);
    check(
        &folder,
        "ok.cir --input-shape x=2x2",
        expect![[r#"
        error[option-not-for-text]: a graph in text form has its own masks and shapes
          --> ok.cir
          = help: leave out --masks and --input-shape, or give the ONNX file
    "#]],
    );
}

#[test]
fn faults_of_a_model_name_the_node() {
    let folder = Folder::empty();
    let mut model = models::supernet();
    let graph = model.graph.as_mut().unwrap();
    graph.node[1].op_type = Some("Mystery".into());
    graph.initializer[2].dims = vec![4, 3];
    folder.write_model("net.onnx", &model);
    check(
        &folder,
        "net.onnx",
        expect![[r#"
        note[symbolic-dimension]: input `image`: `N` taken as 1
          --> tensor "image"
          = help: --input-shape image=1x2x6x6 says otherwise
        error[unsupported-op]: Mystery is not supported (1 node)
          --> node "relu" (Mystery)
          = note: nodes: `relu`
          = help: `condensec ops` lists what is supported
    "#]],
    );
}

#[test]
fn every_subcommand_refuses_bad_models_alike() {
    let folder = Folder::empty();
    folder.write("bad.onnx", "garbage");
    folder.write_arrays("x.npz", &[]);
    let direct = folder.condensec("bad.onnx").refused();
    for args in [
        "inspect bad.onnx",
        "run bad.onnx --inputs x.npz --outputs y.npz",
        "bench bad.onnx",
        "eval bad.onnx --data x.npz",
    ] {
        assert_eq!(folder.condensec(args).refused(), direct, "{args}");
    }
}

#[test]
fn folders_that_are_no_libraries() {
    let folder = Folder::empty();
    std::fs::create_dir(folder.path("out")).unwrap();
    check(
        &folder,
        "bench out",
        expect![[r#"
        error[not-a-library]: out is a folder without a compiled model
          --> out
          = note: a compiled model is <name>.json with the static library beside it
          = help: compile one: condensec MODEL -o DIR
    "#]],
    );
    folder.write("out/libnet.a", "");
    folder.write("out/net.json", "{}");
    check(
        &folder,
        "inspect out",
        expect![[r#"
        error[bad-manifest]: not a manifest of condensec: missing field `name` at line 1 column 2
          --> out/net.json
          = help: compile the model again
    "#]],
    );
}

#[test]
fn a_library_for_another_machine_does_not_run() {
    let folder = Folder::with_net();
    let other = if cfg!(target_arch = "riscv64") {
        "aarch64"
    } else {
        "riscv64"
    };
    folder
        .condensec(&format!("net.onnx -o out --target {other}"))
        .success();
    let said = folder.condensec("bench out").refused();
    assert!(
        said.starts_with(&format!(
            "error[target-not-host]: net is compiled for {other}; "
        )),
        "{said}"
    );
    let said = folder
        .condensec(&format!("bench net.onnx --target {other}"))
        .refused();
    assert!(said.contains("error[target-not-host]: "), "{said}");
    // To look at it needs no such machine.
    folder.condensec("inspect out").success();
}

#[test]
fn two_libraries_in_a_folder_must_be_told_apart() {
    let folder = Folder::with_library();
    folder.condensec("net.onnx -o out --name other").success();
    check(
        &folder,
        "inspect out",
        expect![[r#"
        error[several-libraries]: out holds 2 compiled models
          --> out
          = note: they are out/net.json, out/other.json
          = help: name one of them, e.g. out/net.json
    "#]],
    );
    let inspection = folder.condensec("inspect out/other.json --json").json();
    assert_eq!(inspection["name"], "other");
}

#[test]
fn without_a_linker_nothing_runs_but_all_compiles() {
    let folder = Folder::with_net();
    let with_empty_path = |args: &str| {
        let mut command = folder.command(args);
        command.env("PATH", "");
        crate::folder::Ran::from(command.output().unwrap())
    };
    with_empty_path("net.onnx -o out").success();
    expect![[r#"
        error[linker-not-found]: there is no C compiler "cc" to link a shared library with
          = help: install one, e.g. the package gcc or clang; compiling a library needs none
    "#]]
    .assert_eq(&with_empty_path("bench out").refused());
}

#[test]
fn json_lines_have_the_documented_keys() {
    let folder = Folder::with_net();
    let documented = [
        "severity", "code", "message", "node", "tensor", "notes", "help",
    ];
    let mut model = models::supernet();
    let graph = model.graph.as_mut().unwrap();
    graph.node[1].op_type = Some("Mystery".into());
    folder.write_model("bad.onnx", &model);
    let said = folder.condensec("bad.onnx --json").refused();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON on every line"))
        .collect();
    for line in &lines {
        assert_eq!(keys(line)[..7], documented);
    }
    let error = lines
        .iter()
        .find(|line| line["severity"] == "error")
        .unwrap();
    assert_eq!(error["code"], "unsupported-op");
    assert_eq!(error["node"], "relu");
    assert!(error["notes"].is_array() && error["help"].is_string());

    // A note of a run that works is a line, too.
    let ran = folder.condensec("net.onnx -o out --json").success();
    let note: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(note["severity"], "note");
    assert_eq!(note["tensor"], "image");
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    let folder = Folder::with_net();
    for args in [
        "",
        "net.onnx --no-such-flag",
        "net.onnx -O 4",
        "net.onnx --backend gcc",
        "net.onnx --print-after no-such-pass",
        "net.onnx --input-shape image",
        "net.onnx extra.onnx",
        "run net.onnx",
        "bench",
        "bench net.onnx --seconds 0",
        "completions no-such-shell",
    ] {
        let ran = folder.condensec(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        assert!(!ran.stderr.is_empty(), "{args}");
    }
    for args in ["--help", "-h", "--version", "help run", "bench --help"] {
        let ran = folder.condensec(args).success();
        assert!(ran.stderr.is_empty() && !ran.stdout.is_empty(), "{args}");
    }
}

/// Colours are for terminals: a pipe gets none, unless asked for.
#[test]
fn a_pipe_gets_no_colours() {
    let folder = Folder::empty();
    assert!(!folder.condensec("missing.onnx").refused().contains('\x1b'));
    let mut command = folder.command("missing.onnx");
    let output = command.env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(output.stderr.contains(&b'\x1b'));
}
