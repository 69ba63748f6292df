//! Switching levels of the digits supernet: every order, many instances, other threads; the results
//! of a level are the same bits whatever came before. A run with a deadline switches on its way.

use condensec_runtime::abi::{Model, STATE_ALIGN, STATE_MAGIC, Status};
use condensec_runtime::pool::{ThreadPool, cnd_pool_parallel_for};
use harness::random_graph::Random;
use harness::{c_program, condensec, workspace};
use std::ffi::c_void;
use std::ptr;
use std::sync::OnceLock;

struct Library {
    _code: libloading::Library,
    model: &'static Model,
}

/// The digits supernet as a shared library of this machine.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let out = tempfile::tempdir().expect("a temporary folder");
        let model = workspace::root().join("examples/digits/digits_supernet.onnx");
        condensec::compile(
            &model,
            out.path(),
            &["--name", "digits", "--emit", "shared"],
        );
        let path = out.path().join("libdigits.so");
        // SAFETY: a library of condensec has no constructors.
        let code = unsafe { libloading::Library::new(path) }.expect("it loads");
        // SAFETY: declared so in digits.h; the descriptor is static, and the library stays loaded.
        let model = unsafe {
            let find = code.get::<unsafe extern "C" fn() -> *const Model>(b"digits_model\0");
            &*find.expect("it has a descriptor")()
        };
        Library { _code: code, model }
    })
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; STATE_ALIGN]);

/// One instance over the library's weights.
struct Instance {
    model: &'static Model,
    _memory: Vec<Line>,
    state: *mut c_void,
}

impl Instance {
    fn new() -> Self {
        let model = library().model;
        let bytes = model.state_bytes as usize;
        let mut memory = vec![Line([0xa5; STATE_ALIGN]); bytes.div_ceil(STATE_ALIGN)];
        let mut state = ptr::null_mut();
        // SAFETY: the memory is aligned and large enough.
        let status = unsafe { (model.init)(memory.as_mut_ptr().cast(), bytes, &raw mut state) };
        assert_eq!(status, Status::Ok as i32);
        Self {
            model,
            _memory: memory,
            state,
        }
    }

    fn set_level(&self, level: u32) -> i32 {
        // SAFETY: the state is initialised.
        unsafe { (self.model.set_level)(self.state, level) }
    }

    fn level(&self) -> u32 {
        // SAFETY: the state is initialised.
        unsafe { (self.model.level)(self.state) }
    }

    fn run(&self, image: &[f32]) -> [u32; 10] {
        self.infer(image, |state, inputs, outputs| {
            // SAFETY: one input of 32 x 32 and one output of 10, as the descriptor says.
            unsafe { (self.model.run)(state, inputs, outputs) }
        })
    }

    fn run_parallel(&self, image: &[f32], pool: &ThreadPool) -> [u32; 10] {
        self.infer(image, |state, inputs, outputs| {
            let parallel_for = Some(cnd_pool_parallel_for as _);
            // SAFETY: as in `run`; the function and its pool go together.
            unsafe {
                (self.model.run_parallel)(state, inputs, outputs, parallel_for, pool.as_ptr())
            }
        })
    }

    fn infer(
        &self,
        image: &[f32],
        run: impl FnOnce(*mut c_void, *const *const c_void, *const *mut c_void) -> i32,
    ) -> [u32; 10] {
        let mut logits = [0.0f32; 10];
        let inputs = [image.as_ptr().cast::<c_void>()];
        let outputs = [logits.as_mut_ptr().cast::<c_void>()];
        let status = run(self.state, inputs.as_ptr(), outputs.as_ptr());
        assert_eq!(status, Status::Ok as i32);
        logits.map(f32::to_bits)
    }
}

fn pool(n_threads: usize) -> ThreadPool {
    ThreadPool::new(n_threads).expect("the system starts threads")
}

fn image(seed: u64) -> Vec<f32> {
    Random(seed).values(32 * 32)
}

/// Results of every level in an instance that never switched but once.
fn expected(image: &[f32]) -> Vec<[u32; 10]> {
    let results = (0..library().model.n_levels).map(|level| {
        let fresh = Instance::new();
        assert_eq!(fresh.set_level(level), 0);
        fresh.run(image)
    });
    results.collect()
}

#[test]
fn every_pair_of_levels_leaves_no_trace() {
    let image = image(1);
    let pool = pool(2);
    let expected = expected(&image);
    let n_levels = expected.len() as u32;
    let instance = Instance::new();
    assert_eq!(
        instance.level(),
        n_levels - 1,
        "a new instance is at the top level"
    );
    for from in 0..n_levels {
        for to in 0..n_levels {
            for level in [from, to] {
                assert_eq!(instance.set_level(level), 0);
                assert_eq!(instance.level(), level);
                let expected = expected[level as usize];
                assert_eq!(instance.run(&image), expected, "{from} to {to}");
                let parallel = instance.run_parallel(&image, &pool);
                assert_eq!(parallel, expected, "{from} to {to} on two threads");
            }
        }
    }
    for pair in expected.windows(2) {
        assert_ne!(pair[0], pair[1], "levels compute different functions");
    }
}

#[test]
fn a_level_that_does_not_exist_changes_nothing() {
    let instance = Instance::new();
    assert_eq!(instance.set_level(1), 0);
    for level in [library().model.n_levels, 64, u32::MAX] {
        assert_eq!(instance.set_level(level), Status::BadLevel as i32);
        assert_eq!(instance.level(), 1);
    }
}

#[test]
fn bad_memory_and_pointers_are_refused() {
    let model = library().model;
    let bytes = model.state_bytes as usize;
    let mut memory = vec![Line([0; STATE_ALIGN]); bytes.div_ceil(STATE_ALIGN) + 1];
    let base: *mut u8 = memory.as_mut_ptr().cast();
    let mut state = ptr::null_mut();
    // SAFETY: init checks its arguments before it touches memory; that is what is tested.
    unsafe {
        let init =
            |at: *mut u8, bytes: usize, out: *mut *mut c_void| (model.init)(at.cast(), bytes, out);
        assert_eq!(
            init(base, bytes - 1, &raw mut state),
            Status::BadMemory as i32
        );
        assert_eq!(
            init(base.add(4), bytes, &raw mut state),
            Status::BadMemory as i32
        );
        assert_eq!(
            init(ptr::null_mut(), bytes, &raw mut state),
            Status::BadPointer as i32
        );
        assert_eq!(
            init(base, bytes, ptr::null_mut()),
            Status::BadPointer as i32
        );
        // Never initialised: the magic number is missing.
        assert_ne!(STATE_MAGIC, 0);
        assert_eq!((model.set_level)(base.cast(), 0), Status::BadMemory as i32);
        assert_eq!(
            (model.set_level)(ptr::null_mut(), 0),
            Status::BadPointer as i32
        );
        assert_eq!(init(base, bytes, &raw mut state), Status::Ok as i32);
        let (inputs, outputs) = ([ptr::null()], [ptr::null_mut()]);
        let status = (model.run)(state, inputs.as_ptr(), outputs.as_ptr());
        assert_eq!(status, Status::BadPointer as i32);
        let status = (model.run)(state, ptr::null(), ptr::null());
        assert_eq!(status, Status::BadPointer as i32);
    }
}

#[test]
fn instances_in_many_threads_share_the_weights() {
    // And a pool: those that find it at work run alone.
    let pool = std::sync::Arc::new(pool(3));
    let threads: Vec<_> = (0..4u64)
        .map(|seed| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                let image = image(seed);
                let expected = expected(&image);
                let instance = Instance::new();
                let mut random = Random(seed);
                for _ in 0..60 {
                    let level = random.below(expected.len());
                    assert_eq!(instance.set_level(level as u32), 0);
                    assert_eq!(instance.run(&image), expected[level]);
                    assert_eq!(instance.run_parallel(&image, &pool), expected[level]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread failed");
    }
}

/// A run takes its level once; switches from another thread show in later runs only.
#[test]
fn a_switch_during_a_run_waits_for_the_next() {
    struct Shared(*mut c_void);
    // SAFETY: `set_level` may be called from any thread.
    unsafe impl Sync for Shared {}
    let image = image(9);
    let pool = pool(2);
    let expected = expected(&image);
    let instance = Instance::new();
    let set_level = instance.model.set_level;
    let shared = Shared(instance.state);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, shared) = (&stop, &shared);
        let n_levels = expected.len() as u32;
        scope.spawn(move || {
            let mut random = Random(3);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // SAFETY: the instance outlives the scope.
                let status = unsafe { set_level(shared.0, random.below(n_levels as usize) as u32) };
                assert_eq!(status, 0);
            }
        });
        for _ in 0..300 {
            let found = instance.run(&image);
            assert!(expected.contains(&found), "a mixture of levels");
            let found = instance.run_parallel(&image, &pool);
            assert!(expected.contains(&found), "a mixture on two threads");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// A clock that goes on by `pace` with every step: at 0 the highest level is kept, in a hurry the level falls on the way, and
/// a run without a choice is the same as `run`.
const DEADLINE_PROGRAM: &str = r#"
#include "digits.h"
#include "cnd_deadline.h"
#include <stdio.h>
#include <string.h>

static _Alignas(DIGITS_STATE_ALIGN) unsigned char memory[DIGITS_STATE_BYTES];
static float image[32 * 32];
static uint64_t now, pace;

static uint64_t tick(void *context)
{
    (void)context;
    return now += pace;
}

int main(void)
{
    digits *model;
    float expected[10], found[10];
    const void *const inputs[] = {image};
    void *const outputs[] = {found};
    uint8_t levels[64];
    const cnd_model *about = digits_model();
    float all = about->remaining_cycles[(DIGITS_LEVELS - 1) * about->n_steps];
    for (int i = 0; i < 32 * 32; i++)
        image[i] = (float)(i * 7919 % 256) / 128.0f - 1.0f;
    if (about->n_steps > sizeof levels || digits_init(memory, sizeof memory, &model) != CND_OK)
        return 1;
    if (digits_run_adaptive(model, inputs, outputs, NULL, NULL) != CND_BAD_POINTER)
        return 2;
    for (int hurry = 0; hurry < 2; hurry++) {
        cnd_deadline deadline = {.model = about, .ns_per_unit = 1, .deadline_ns = 1.2f * all, .clock = tick, .levels = levels};
        pace = hurry ? (uint64_t)(all / 8) : 0;
        cnd_deadline_start(&deadline);
        if (digits_run_adaptive(model, inputs, outputs, cnd_deadline_choose, &deadline) != CND_OK)
            return 3;
        for (uint32_t i = 1; i < about->n_steps; i++)
            if (levels[i] > levels[i - 1])
                return 4;
        if (digits_infer(model, image, expected) != CND_OK)
            return 5;
        if ((memcmp(expected, found, sizeof found) == 0) == hurry || (deadline.lowest_level < DIGITS_LEVELS - 1) != hurry)
            return 6;
        printf("%d to %u\n", levels[0], (unsigned)deadline.lowest_level);
    }
    return 0;
}
"#;

#[test]
fn c_programs_can_run_by_a_deadline() {
    let said = c_program::run_with_runtime(DEADLINE_PROGRAM);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert_eq!(lines[0], "4 to 4");
    assert!(
        lines[1].starts_with("4 to ") && lines[1] != "4 to 4",
        "{said}"
    );
}

/// A machine on which every step takes what was predicted, times a factor that nobody tells: after a few runs the governor
/// knows it, and runs take nearly all the time that they have.
const GOVERNED_PROGRAM: &str = r#"
#include "digits.h"
#include "cnd_governor.h"
#include "cnd_deadline.h"
#include <stdio.h>

static _Alignas(DIGITS_STATE_ALIGN) unsigned char memory[DIGITS_STATE_BYTES];
static float image[32 * 32];
static uint8_t levels[64];
static uint32_t n_calls;
static double factor, time_ns;

/* A nanosecond per predicted cycle, times the factor; the first call of a run starts it. */
static uint64_t tell(void *context)
{
    const cnd_model *about = context;
    if (n_calls++ == 0)
        time_ns = 0;
    else if (n_calls > 2) {
        uint32_t step = n_calls - 3;
        const float *left = about->remaining_cycles + levels[step] * about->n_steps + step;
        time_ns += factor * (left[0] - (step + 1 < about->n_steps ? left[1] : 0));
    }
    return (uint64_t)time_ns;
}

int main(void)
{
    digits *model;
    float found[10];
    const void *const inputs[] = {image};
    void *const outputs[] = {found};
    const cnd_model *about = digits_model();
    cnd_level_timing timings[DIGITS_LEVELS];
    float remaining[DIGITS_LEVELS * 64];
    if (about->n_steps > sizeof levels || digits_init(memory, sizeof memory, &model) != CND_OK
        || cnd_timings_of_model(about, timings, DIGITS_LEVELS) != DIGITS_LEVELS)
        return 1;
    const cnd_profile profile = {timings, DIGITS_LEVELS, 0};
    cnd_governor governor;
    cnd_governor_init(&governor, &profile, NULL);
    if (cnd_deadline_remaining_us(about, &profile, remaining, 1) != 0
        || cnd_deadline_remaining_us(about, &profile, NULL, DIGITS_LEVELS * 64) != 0
        || cnd_deadline_remaining_us(about, &profile, remaining, DIGITS_LEVELS * 64) != DIGITS_LEVELS * about->n_steps)
        return 2;
    cnd_deadline deadline = {.model = about, .remaining = remaining, .clock = tell, .clock_context = (void *)about, .levels = levels};
    float top_us = about->remaining_cycles[(DIGITS_LEVELS - 1) * about->n_steps] / 1000;
    for (int part = 0; part < 3; part++) {
        factor = part == 1 ? 1.6 : 1;
        for (int run = 0; run < 20; run++) {
            cnd_governor_choose(&governor, 1.1f * top_us, 0);
            cnd_deadline_expect(&deadline, &governor, 1.1f * top_us);
            n_calls = 0;
            cnd_deadline_start(&deadline);
            if (digits_run_adaptive(model, inputs, outputs, cnd_deadline_choose, &deadline) != CND_OK)
                return 3;
            tell((void *)about);
            cnd_deadline_observe(&deadline, &governor, (float)(time_ns / 1000));
        }
        printf("%.3f %u\n", time_ns / 1000 / (1.1f * top_us), (unsigned)deadline.lowest_level);
    }
    return 0;
}
"#;

#[test]
fn a_governor_sets_the_pace_of_a_run() {
    let said = c_program::run_with_runtime(GOVERNED_PROGRAM);
    let parts: Vec<(f64, u32)> = said
        .lines()
        .map(|line| {
            let (time, level) = line.split_once(' ').unwrap();
            (time.parse().unwrap(), level.parse().unwrap())
        })
        .collect();
    let [(_, alone), (slowed, lowest), (after, again)] = parts[..] else {
        panic!("{said}");
    };
    assert_eq!((alone, again), (4, 4), "{said}");
    assert!(lowest < 4, "{said}");
    assert!((0.85..=1.0).contains(&slowed) && after <= 1.0, "{said}");
}
