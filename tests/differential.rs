//! Differential tests on random networks: the graph interpreter, the kernel interpreter and the
//! compiled code agree at every level, and the passes change no result.

use ::condensec::engine::Engine;
use condensec_backends::{BACKENDS, Backend, LibraryOptions, build_library, targets};
use condensec_ir::eval::{Array, eval_graph};
use condensec_ir::kernel::Machine;
use condensec_ir::target_info::TargetInfo;
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
    let Some(mut graph) = network.build() else {
        return;
    };
    let original = graph.clone();
    let target = targets::resolve("host", None, &[] as &[&str]).expect("this machine is a target");
    let info = backend.target_info(&target);
    for pass in PIPELINE {
        (pass.run)(&mut graph, &info);
    }
    let program = lower(&graph, "random", &info).expect("random networks have kernels");
    let library = build_library(&program, &target, backend, &LibraryOptions::default())
        .expect("random networks compile");
    let mut engine = Engine::from_library(&library).expect("the library loads");
    let input = network.input_values();
    for level in (0..original.n_levels).rev() {
        engine.set_level(level as usize).expect("the level exists");
        let found = engine.run(&[&input]).expect("the run succeeds");
        let what = format!("compiled by {}", backend.name());
        assert_close(&what, &evaluate(&original, network, level), &found);
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
