//! Compiled models in this process, through the interface that `run`, `bench` and `eval` use.

use std::path::Path;
use std::time::Duration;

use ::condensec::driver::{
    Observer, Outcome, Settings, Source, compile, import_loaded, read_model,
};
use ::condensec::engine::Engine;
use ::condensec::frontend::onnx::without_levels;
use ::condensec::report::Failure;
use condensec_backends::{Texts, find_backend, targets};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::kernel::Program;
use condensec_ir::{Diagnostic, Graph, LevelId};
use condensec_nest::{MaskedLayers, with_points};
use condensec_passes::lower::Schedules;
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

/// Layers of one run at levels of their own give what the interpreter gives for such a network.
#[test]
fn every_step_may_have_its_own_level() {
    let source = Source {
        path: workspace::root().join("examples/digits/digits_supernet.onnx"),
        ..Source::default()
    };
    let target = targets::resolve("host", None, &[] as &[&str]).unwrap();
    let settings = Settings {
        backend: find_backend(None, &target).unwrap(),
        target,
        name: None,
        optimization: 3,
        texts: Texts::Skip,
        schedules: Schedules::default(),
    };
    let compiled = compile(&source, &settings, &mut Quiet).unwrap();
    let mut engine = Engine::from_library(&compiled.library).unwrap();
    let image = numbers::seeded(engine.inputs()[0].n_elems(), 3);
    let (onnx, supernet) = read_model(&source, &mut Quiet).unwrap();
    let plain = import_loaded(&without_levels(&onnx), &source, &mut Quiet).unwrap();
    let layers = MaskedLayers::of(&supernet);
    let n_levels = supernet.n_levels as usize;
    let point: Vec<usize> = (0..layers.len()).map(|i| (2 * i + 1) % n_levels).collect();
    let graph = with_points(&plain, &supernet, std::slice::from_ref(&point), vec![]);
    let shape = &engine.inputs()[0].shape;
    let expected = eval_graph(&graph, LevelId(0), &[Array::new(shape, image.clone())]).unwrap();

    // Steps are named after the nodes that they compute.
    let lowered = MaskedLayers::of(&compiled.graph);
    assert_eq!(lowered.names(), layers.names());
    let nodes = compiled.graph.order();
    let layer_of = |step: &String| {
        let node = nodes
            .iter()
            .find(|&&node| compiled.graph.node(node).name == *step);
        lowered.followed_by(*node.expect("steps compute nodes"))
    };
    let levels: Vec<usize> = engine
        .step_nodes()
        .iter()
        .map(|step| point[layer_of(step)])
        .collect();
    let mut found = vec![vec![0.0; 10]];
    engine.run_mixed(&levels, &[&image], &mut found).unwrap();
    let largest = expected[0].data.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    for (a, b) in found[0].iter().zip(&expected[0].data) {
        assert!((a - b).abs() <= 1e-4 * largest, "{found:?} {expected:?}");
    }
    let mut uniform = vec![vec![0.0; 10]];
    engine.set_level(1).unwrap();
    let at_1 = engine.run(&[&image]).unwrap();
    engine
        .run_mixed(&vec![1; levels.len()], &[&image], &mut uniform)
        .unwrap();
    assert_eq!(uniform, at_1);
    assert_ne!(found, at_1);
}

/// Looks at nothing.
struct Quiet;

impl Observer for Quiet {
    fn diagnostic(&mut self, _: &Diagnostic) {}
    fn begin(&mut self, _: &'static str) {}
    fn end(&mut self, _: &'static str, _: Outcome, _: Duration) {}
    fn graph(&mut self, _: &'static str, _: &Graph) {}
    fn program(&mut self, _: &Program) {}
}
