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

fn target(lanes: usize, vector_registers: usize) -> TargetInfo {
    TargetInfo {
        lanes,
        vector_registers,
        has_fma: true,
        pointer_bytes: 8,
        l1_bytes: 1024,
        // Small caches, so that small networks have several blocks, parts and prefetches.
        l2_bytes: 1024,
    }
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

fn check_kernels(network: &Network, target: &TargetInfo) {
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

    /// 4 lanes, 16 registers: x86-64.
    #[test]
    fn kernels_of_x86_equal_the_interpreter(network in network()) {
        check_kernels(&network, &target(4, 16));
    }

    /// 8 lanes, 16 registers: AVX2.
    #[test]
    fn kernels_of_avx2_equal_the_interpreter(network in network()) {
        check_kernels(&network, &target(8, 16));
    }

    /// 16 lanes, 32 registers: AVX-512.
    #[test]
    fn kernels_of_avx512_equal_the_interpreter(network in network()) {
        check_kernels(&network, &target(16, 32));
    }

    /// 4 lanes, 32 registers: AArch64.
    #[test]
    fn kernels_of_aarch64_equal_the_interpreter(network in network()) {
        check_kernels(&network, &target(4, 32));
    }

    /// Scalar code: RISC-V without vectors.
    #[test]
    fn scalar_kernels_equal_the_interpreter(network in network()) {
        check_kernels(&network, &target(1, 32));
    }
}
