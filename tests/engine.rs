//! Compiled models in this process, through the interface that `run`, `bench` and `eval` use.

use std::path::Path;
use std::time::Duration;

use ::condensec::driver::{
    Compiled, Observer, Outcome, Settings, Source, compile, import_loaded, read_model,
};
use ::condensec::engine::{Branch, Engine};
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

/// The digits supernet in memory, as a graph, as a plain model and as a library.
struct Digits {
    supernet: Graph,
    plain: Graph,
    compiled: Compiled,
    engine: Engine,
    image: Vec<f32>,
}

impl Digits {
    fn new() -> Self {
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
        let (onnx, supernet) = read_model(&source, &mut Quiet).unwrap();
        let plain = import_loaded(&without_levels(&onnx), &source, &mut Quiet).unwrap();
        let compiled = compile(&source, &settings, &mut Quiet).unwrap();
        let engine = Engine::from_library(&compiled.library).unwrap();
        Self {
            image: numbers::seeded(engine.inputs()[0].n_elems(), 3),
            supernet,
            plain,
            compiled,
            engine,
        }
    }

    /// The masked layer whose level each step has.
    fn layer_of_step(&self) -> Vec<usize> {
        let graph = &self.compiled.graph;
        let layers = MaskedLayers::of(graph);
        assert_eq!(layers.names(), MaskedLayers::of(&self.supernet).names());
        let nodes = graph.order();
        let layer_of = |step: String| {
            let node = nodes.iter().find(|&&node| graph.node(node).name == step);
            layers.followed_by(*node.expect("steps compute nodes"))
        };
        self.engine.step_nodes().into_iter().map(layer_of).collect()
    }

    /// What the interpreter makes of layers at levels of their own.
    fn check_point(&self, point: Vec<usize>, found: &[f32]) {
        let graph = with_points(&self.plain, &self.supernet, &[point], vec![]);
        let input = Array::new(&self.engine.inputs()[0].shape, self.image.clone());
        let expected = &eval_graph(&graph, LevelId(0), &[input]).unwrap()[0].data;
        let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-4 * largest, "{found:?} {expected:?}");
        }
    }
}

#[test]
fn every_step_may_have_its_own_level() {
    let mut digits = Digits::new();
    let n_levels = digits.supernet.n_levels as usize;
    let layer_of_step = digits.layer_of_step();
    let n_layers = MaskedLayers::of(&digits.supernet).len();
    let point: Vec<usize> = (0..n_layers).map(|i| (2 * i + 1) % n_levels).collect();
    let image = digits.image.clone();
    let mut found = vec![vec![0.0; 10]];
    let mut choose = |step: usize, _| point[layer_of_step[step]];
    let engine = &mut digits.engine;
    engine
        .run_adaptive(&mut choose, &[&image], &mut found)
        .unwrap();

    // Without a choice it is a run at the present level; what is no level means the highest.
    let mut uniform = vec![vec![0.0; 10]];
    for level in [1, n_levels - 1] {
        engine.set_level(level).unwrap();
        let expected = engine.run(&[&image]).unwrap();
        let mut choose = |_, before: usize| match before == 1 {
            true => 1,
            false => usize::MAX,
        };
        engine
            .run_adaptive(&mut choose, &[&image], &mut uniform)
            .unwrap();
        assert_eq!(uniform, expected);
        assert_ne!(found, expected);
    }
    // The same as a branch of a run at level 1.
    let layer = 3;
    let branch = Branch {
        steps: (0..layer_of_step.len())
            .filter(|&step| layer_of_step[step] == layer)
            .collect(),
        level: 4,
    };
    let mut choose = |step: usize, _| if layer_of_step[step] == layer { 4 } else { 1 };
    let mut expected = vec![vec![0.0; 10]];
    engine
        .run_adaptive(&mut choose, &[&image], &mut expected)
        .unwrap();
    let mut visited = Vec::new();
    engine
        .run_branches(
            &vec![1; layer_of_step.len()],
            &[branch.clone(), branch],
            &[&image],
            &mut uniform,
            &mut |number, outputs| visited.push((number, outputs.to_vec())),
        )
        .unwrap();
    assert_eq!(visited, [(0, expected.clone()), (1, expected)]);
    engine.set_level(1).unwrap();
    assert_eq!(uniform, engine.run(&[&image]).unwrap());
    digits.check_point(point, &found[0]);
}

/// A machine that turns out slower than expected: the level falls on the way.
#[test]
fn a_run_that_would_end_too_late_goes_on_at_a_lower_level() {
    let mut digits = Digits::new();
    let image = digits.image.clone();
    let cycles = digits.engine.levels().last().unwrap().predicted_cycles as f32;
    let mut found = vec![vec![0.0; 10]];
    let mut run = |deadline_ns: f32, ns_per_step: u64| {
        let mut now = 0;
        let mut clock = || {
            now += ns_per_step;
            now
        };
        let levels =
            digits
                .engine
                .run_by_deadline(deadline_ns, 1.0, &mut clock, &[&image], &mut found);
        (levels.unwrap(), found[0].clone())
    };
    let top = run(2.0 * cycles, 1).0;
    assert!(top.iter().all(|&level| level == 4), "{top:?}");
    let lowest = run(0.0, 1).0;
    assert!(lowest.iter().all(|&level| level == 0), "{lowest:?}");

    let (levels, found) = run(1.2 * cycles, cycles as u64 / 8);
    assert_eq!(levels[0], 4);
    assert!(levels.is_sorted_by(|a, b| a >= b), "{levels:?}");
    assert!(*levels.last().unwrap() < 4, "{levels:?}");
    // The same levels, given beforehand: the same bits.
    let mut expected = vec![vec![0.0; 10]];
    digits
        .engine
        .run_adaptive(&mut |step, _| levels[step], &[&image], &mut expected)
        .unwrap();
    assert_eq!(found, expected[0]);
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
