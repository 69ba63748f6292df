//! Runs on several threads: the same bits as on one, at every level, whoever brings the threads.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ::condensec::engine::Engine;
use ::condensec::frontend::onnx::proto::encode_model;
use condensec_examples::model_zoo::{self, BatchNorm, MaskRule, Network, Sparsity, ZooOptions};
use harness::{c_program, condensec, numbers, workspace};
use tempfile::TempDir;

fn digits() -> PathBuf {
    workspace::root().join("examples/digits/digits_supernet.onnx")
}

/// A network of the zoo as a file in `folder`.
fn write_network(network: Network, folder: &Path) -> PathBuf {
    let options = ZooOptions {
        sparsity: Some(Sparsity {
            densities: "0.1,0.4,1.0".parse().unwrap(),
            block: "4x1".parse().unwrap(),
            rule: MaskRule::Random,
            dense_classifier: false,
        }),
        batch_norm: BatchNorm::PerLevel,
        seed: 3,
    };
    let path = folder.join("network.onnx");
    let model = model_zoo::build(network, &options).model;
    std::fs::write(&path, encode_model(&model)).unwrap();
    path
}

/// Results of every level, L0 first, as bits.
fn results(engine: &mut Engine, inputs: &[&[f32]]) -> Vec<Vec<u32>> {
    let levels = 0..engine.levels().len();
    let results = levels.map(|level| {
        engine.set_level(level).unwrap();
        let outputs = engine.run(inputs).unwrap();
        outputs.iter().flatten().map(|v| v.to_bits()).collect()
    });
    results.collect()
}

fn check_threads(model: &Path) {
    let out = TempDir::new().unwrap();
    condensec::compile(model, out.path(), &[]);
    let mut engine = Engine::load(out.path()).unwrap();
    let inputs: Vec<Vec<f32>> = engine
        .inputs()
        .iter()
        .map(|port| numbers::seeded(port.n_elems(), 5))
        .collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let expected = results(&mut engine, &inputs);
    for n_threads in [2, 3, 7, 1] {
        engine
            .set_threads(NonZeroUsize::new(n_threads).unwrap())
            .unwrap();
        for turn in 0..3 {
            let found = results(&mut engine, &inputs);
            assert!(found == expected, "{n_threads} threads, turn {turn}");
        }
    }
}

#[test]
fn digits_are_the_same_on_any_number_of_threads() {
    check_threads(&digits());
}

#[test]
fn mobilenet_is_the_same_on_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    check_threads(&write_network(Network::MobileNetV2, folder.path()));
}

#[test]
fn resnet_is_the_same_on_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    check_threads(&write_network(Network::ResNet18, folder.path()));
}

/// The runtime crate as a static library, and a C program that uses its pool.
#[test]
fn c_programs_can_use_the_pool() {
    const PROGRAM: &str = r#"
#include "cnd_pool.h"
#include "digits.h"
#include <stdio.h>
#include <string.h>

static _Alignas(DIGITS_STATE_ALIGN) unsigned char memory[DIGITS_STATE_BYTES];
static float image[32 * 32];

int main(void)
{
    digits *model;
    cnd_parallel_for parallel_for = cnd_pool_parallel_for;
    for (int i = 0; i < 32 * 32; i++)
        image[i] = (float)(i * 7919 % 256) / 128.0f - 1.0f;
    if (digits_init(memory, sizeof memory, &model) != CND_OK || cnd_pool_new((size_t)-1) != NULL)
        return 1;
    cnd_pool_free(NULL);
    for (size_t n_threads = 1; n_threads <= 4; n_threads++) {
        cnd_pool *pool = cnd_pool_new(n_threads);
        if (pool == NULL)
            return 2;
        for (uint32_t level = 0; level < DIGITS_LEVELS; level++) {
            float alone[10], together[10];
            const void *const inputs[] = {image};
            void *const outputs[] = {together};
            if (digits_set_level(model, level) != CND_OK || digits_infer(model, image, alone) != CND_OK
                || digits_run_parallel(model, inputs, outputs, parallel_for, pool) != CND_OK)
                return 3;
            if (memcmp(alone, together, sizeof alone) != 0)
                return 4;
        }
        cnd_pool_free(pool);
    }
    puts("the same");
    return 0;
}
"#;
    assert_eq!(c_program::run_with_runtime(PROGRAM), "the same\n");
}
