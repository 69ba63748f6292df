//! Compiled models in this process, through the interface that `run`, `bench` and `eval` use.

use std::path::Path;

use ::condensec::engine::Engine;
use ::condensec::report::Failure;
use harness::{condensec, numbers, workspace};
use tempfile::TempDir;

/// The digits supernet, compiled.
fn library() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    let model = workspace::root().join("examples/digits/digits_supernet.onnx");
    condensec::compile(&model, dir.path(), &[]);
    dir
}

fn code<T>(result: Result<T, Failure>) -> &'static str {
    let Err(Failure(diagnostics)) = result else {
        panic!("accepted")
    };
    diagnostics[0].code
}

#[test]
fn the_descriptor_tells_what_the_manifest_tells() {
    let dir = library();
    let engine = Engine::load(dir.path()).unwrap();
    let text = std::fs::read(dir.path().join("digits_supernet.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(engine.name(), manifest["name"]);
    assert_eq!(engine.inputs()[0].name, manifest["inputs"][0]["name"]);
    assert_eq!(engine.outputs()[0].n_elems(), 10);
    let levels = manifest["levels"].as_array().unwrap();
    assert_eq!(engine.levels().len(), levels.len());
    for (found, expected) in engine.levels().iter().zip(levels) {
        assert_eq!(found.name, expected["name"]);
        assert_eq!(found.density, expected["density"].as_f64().unwrap());
        assert_eq!(found.macs, expected["macs"]);
        assert_eq!(found.weight_bytes, expected["weight_bytes"]);
        assert_eq!(found.predicted_cycles, expected["predicted_cycles"]);
    }
    // The highest level is where a model starts.
    assert_eq!(engine.level(), levels.len() - 1);
}

#[test]
fn engines_do_not_disturb_each_other() {
    let dir = library();
    let mut first = Engine::load(dir.path()).unwrap();
    let mut second = Engine::load(&dir.path().join("digits_supernet.json")).unwrap();
    let image = numbers::seeded(first.inputs()[0].n_elems(), 1);
    first.set_level(0).unwrap();
    let at_0 = first.run(&[&image]).unwrap();
    let at_top = second.run(&[&image]).unwrap();
    assert_ne!(at_0, at_top);
    // Their files are gone already, and one may go before the other.
    assert_eq!(first.run(&[&image]).unwrap(), at_0);
    drop(first);
    assert_eq!(second.run(&[&image]).unwrap(), at_top);
    second.set_level(0).unwrap();
    assert_eq!(second.run(&[&image]).unwrap(), at_0);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let dir = library();
    let mut engine = Engine::load(dir.path()).unwrap();
    let n_levels = engine.levels().len();
    for level in [n_levels, usize::MAX] {
        assert_eq!(code(engine.set_level(level)), "bad-level");
    }
    assert_eq!(engine.level(), n_levels - 1);
    let image = numbers::seeded(engine.inputs()[0].n_elems(), 1);
    assert_eq!(code(engine.run(&[])), "wrong-shape");
    assert_eq!(code(engine.run(&[&image, &image])), "wrong-shape");
    assert_eq!(code(engine.run(&[&image[1..]])), "wrong-shape");
    assert_eq!(
        code(engine.run_into(&[&image], &mut [vec![0.0; 9]])),
        "wrong-shape"
    );
    engine.run(&[&image]).unwrap();
}

#[test]
fn what_is_no_library_is_refused() {
    let dir = TempDir::new().unwrap();
    assert_eq!(code(Engine::load(dir.path())), "not-a-library");
    assert_eq!(
        code(Engine::load(Path::new("no/such/folder"))),
        "cannot-read"
    );
}
