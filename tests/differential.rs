//! Differential tests on random networks: the graph interpreter, the kernel interpreter and the
//! compiled code agree at every level, and the passes change no result.

use ::condensec::engine::Engine;
use condensec_backends::{BACKENDS, Backend, LibraryOptions, build_library, targets};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::kernel::Machine;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::text::parse_graph;
use condensec_ir::{Graph, LevelId};
use condensec_passes::PIPELINE;
use condensec_passes::lower::lower;
use harness::random_graph::{Network, network};
use proptest::prelude::*;

/// Sums of a few hundred products in another order, of numbers near 1.
const TOLERANCE: f32 = 2e-4;

/// What LLVM and Cranelift make kernels for on a machine, with small caches, so that small networks have
/// several blocks, parts and prefetches. The kernel interpreter's pointers have 8 bytes.
fn infos(target: &str, cpu: &str) -> [TargetInfo; 2] {
    let target = targets::resolve(target, Some(cpu), &[] as &[&str]).expect("it is in TARGETS");
    [target.wide_info(), target.info()].map(|info| TargetInfo {
        l1_bytes: 1024,
        l2_bytes: 1024,
        pointer_bytes: 8,
        ..info
    })
}

fn evaluate(graph: &Graph, network: &Network, level: u32) -> Vec<Array> {
    let input = Array::new(&network.input, network.input_values());
    eval_graph(graph, LevelId(level), &[input]).expect("the input fits")
}

fn assert_close(what: &str, expected: &[Array], found: &[Vec<f32>]) {
    for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
        let largest = expected.data.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (at, (e, f)) in expected.data.iter().zip(found).enumerate() {
            assert!(
                (e - f).abs() <= TOLERANCE * largest,
                "{what}: output {number} differs at {at}: expected {e}, found {f}"
            );
        }
    }
}

fn check_kernels(network: &Network, target: &str, cpu: &str) {
    let [wide, narrow] = infos(target, cpu);
    check_kernels_for(network, &wide);
    if narrow.lanes < wide.lanes {
        check_kernels_for(network, &narrow);
    }
}

fn check_kernels_for(network: &Network, target: &TargetInfo) {
    let Some(graph) = network.build() else { return };
    let mut optimized = graph.clone();
    for pass in PIPELINE {
        (pass.run)(&mut optimized, target);
    }
    let program = lower(&optimized, "random", target).expect("random networks have kernels");
    let input = network.input_values();
    for level in 0..graph.n_levels {
        let expected = evaluate(&graph, network, level);
        let same = evaluate(&optimized, network, level);
        let same: Vec<Vec<f32>> = same.into_iter().map(|a| a.data).collect();
        assert_close("passes", &expected, &same);
        let found = Machine::run(&program, LevelId(level), &[&input]).expect("stays in bounds");
        assert_close("kernels", &expected, &found);
    }
}

/// Compiles for this machine with `backend` and runs in this process.
fn check_compiled(network: &Network, backend: &dyn Backend) {
    if let Some(graph) = network.build() {
        let input = Array::new(&network.input, network.input_values());
        check_compiled_graph(&graph, input, backend, |_| {});
    }
}

/// The same for a graph of one input; `change` is made to what kernels know of the machine.
fn check_compiled_graph(
    original: &Graph,
    input: Array,
    backend: &dyn Backend,
    change: impl Fn(&mut TargetInfo),
) {
    let mut graph = original.clone();
    let target = targets::resolve("host", None, &[] as &[&str]).expect("this machine is a target");
    let mut info = backend.target_info(&target);
    change(&mut info);
    for pass in PIPELINE {
        (pass.run)(&mut graph, &info);
    }
    let program = lower(&graph, "random", &info).expect("the graph has kernels");
    let library = build_library(&program, &target, backend, &LibraryOptions::default())
        .expect("the program compiles");
    let mut engine = Engine::from_library(&library).expect("the library loads");
    let inputs = [input];
    for level in (0..original.n_levels).rev() {
        engine.set_level(level as usize).expect("the level exists");
        let found = engine.run(&[&inputs[0].data]).expect("the run succeeds");
        let what = format!("compiled by {}", backend.name());
        let expected = eval_graph(original, LevelId(level), &inputs).expect("the input fits");
        assert_close(&what, &expected, &found);
    }
}

/// A value that only a cache of this size makes so large.
#[test]
fn bands_equal_the_interpreter() {
    let (channels, height, width) = (16, 96, 40);
    let join = |n: usize, value: &dyn Fn(usize) -> usize| {
        let values = (0..n).map(|i| format!("0.{}", value(i)));
        values.collect::<Vec<_>>().join(", ")
    };
    let graph = parse_graph(&format!(
        "graph @pair levels(2) (%x: f32[1, 3, {height}, {width}]) -> (%z) {{
           tensor @v : f32[{channels}, 3, 1, 1] = [{}] level [{}]
           tensor @w : f32[{channels}, 1, 3, 3] = [{}]
           %y = conv2d %x {{weight=@v, activation=clip(0.0, 6.0)}} : f32[1, {channels}, {height}, {width}]
           %z = conv2d %y {{weight=@w, strides=[2, 2], pads=[1, 1, 1, 1], groups={channels}}} \
             : f32[1, {channels}, {}, {}]
         }}",
        join(channels * 3, &|i| i % 7 + 1),
        (0..channels * 3)
            .map(|i| (i / 12 % 2).to_string())
            .collect::<Vec<_>>()
            .join(", "),
        join(channels * 9, &|i| i % 5 + 1),
        height / 2,
        width / 2,
    ));
    let graph = graph.unwrap_or_else(|e| panic!("{e:?}"));
    let mut value = 0.0f32;
    let input = Array::from_fn(&[1, 3, height, width], |_| {
        value = (value + 0.37).fract();
        value
    });
    let l2_bytes = 32 << 10;
    for backend in BACKENDS {
        check_compiled_graph(&graph, input.clone(), *backend, |info| {
            info.l2_bytes = l2_bytes;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// The code that users get, on this machine, from every back end of this build.
    #[test]
    fn compiled_code_equals_the_interpreter(network in network()) {
        for backend in BACKENDS {
            check_compiled(&network, *backend);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_of_x86_equal_the_interpreter(network in network()) {
        check_kernels(&network, "x86_64", "x86-64-v2");
    }

    #[test]
    fn kernels_of_avx2_equal_the_interpreter(network in network()) {
        check_kernels(&network, "x86_64", "x86-64-v3");
    }

    #[test]
    fn kernels_of_avx512_equal_the_interpreter(network in network()) {
        check_kernels(&network, "x86_64", "x86-64-v4");
    }

    #[test]
    fn kernels_of_aarch64_equal_the_interpreter(network in network()) {
        check_kernels(&network, "aarch64", "generic");
    }

    /// Groups of four registers.
    #[test]
    fn kernels_of_risc_v_vectors_equal_the_interpreter(network in network()) {
        check_kernels(&network, "riscv64", "rv64gcv");
    }

    #[test]
    fn scalar_kernels_equal_the_interpreter(network in network()) {
        check_kernels(&network, "riscv64", "rv64gc");
    }

    /// Strips whose width is no power of two.
    #[test]
    fn kernels_of_cortex_m7_equal_the_interpreter(network in network()) {
        check_kernels(&network, "thumbv7em", "cortex-m7");
    }
}
