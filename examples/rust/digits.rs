//! Handwritten digits in safe Rust: the library that condensec made of `../digits/digits_supernet.onnx`.
//!
//! Runs ten images at every level, then 300 more, or as many as the argument says, while a second thread
//! switches levels under it, as a governor would. The generated `digits.rs` is the whole interface: no
//! crate, no `unsafe`. Build and run: see `../README.md`.

#![forbid(unsafe_op_in_unsafe_fn)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What condensec wrote beside the library. `DIGITS_RS` is its path; a `build.rs` sets it.
mod digits {
    include!(env!("DIGITS_RS"));
}

/// The first test image of each digit, 32x32; a pixel `k` stands for `k / 10 - 1`.
const PIXELS: &[u8; IMAGES * 1024] = include_bytes!("images.bin");
const IMAGES: usize = 10;

fn image(index: usize) -> [f32; 1024] {
    std::array::from_fn(|pixel| (f32::from(PIXELS[index * 1024 + pixel]) - 10.0) / 10.0)
}

fn largest(values: &[f32; 10]) -> usize {
    let by_value = |&a: &usize, &b: &usize| values[a].total_cmp(&values[b]);
    (0..values.len()).max_by(by_value).expect("ten classes")
}

fn main() {
    let n_runs: usize = match std::env::args().nth(1) {
        Some(argument) => argument.parse().expect("a number of runs"),
        None => 300,
    };
    let images: Vec<[f32; 1024]> = (0..IMAGES).map(image).collect();
    let mut memory = Box::new(digits::State::new());
    let mut model = digits::Model::new(&mut memory);
    println!(
        "{} levels, {} bytes of state",
        digits::LEVELS,
        digits::STATE_BYTES
    );

    // What every level says of every image, to recognise it by later.
    let mut logits = Vec::new();
    for level in 0..digits::LEVELS {
        model.set_level(level).expect("the level exists");
        let mut of_level = vec![[0.0; 10]; IMAGES];
        let begin = Instant::now();
        for (image, logits) in images.iter().zip(&mut of_level) {
            model.run(image, logits);
        }
        let ms = begin.elapsed().as_secs_f64() * 1e3 / IMAGES as f64;
        let named: Vec<String> = of_level
            .iter()
            .map(|logits| largest(logits).to_string())
            .collect();
        println!("L{level}: {}  {ms:.3} ms an image", named.join(" "));
        logits.push(of_level);
    }
    assert_eq!(model.set_level(digits::LEVELS), Err(digits::BadLevel));
    assert_eq!(model.level(), digits::LEVELS - 1);

    let switch = model.level_switch();
    let stop = AtomicBool::new(false);
    let mut n_mixed = 0;
    let n_switches = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut n_switches: u32 = 0;
            while !stop.load(Ordering::Relaxed) {
                // One store. A run under way keeps the level it began with.
                let level = n_switches % digits::LEVELS;
                switch.set_level(level).expect("the level exists");
                n_switches = n_switches.wrapping_add(1);
            }
            n_switches
        });
        for run in 0..n_runs {
            let image = run % IMAGES;
            let mut result = [0.0; 10];
            model.run(&images[image], &mut result);
            if !logits.iter().any(|of_level| of_level[image] == result) {
                n_mixed += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        other.join().expect("every level exists")
    });
    println!(
        "{n_runs} runs during {n_switches} switches of level: {n_mixed} results of no single level"
    );
    assert_eq!(n_mixed, 0);
}
