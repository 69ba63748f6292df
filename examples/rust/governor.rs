//! Handwritten digits in time, in safe Rust: the library that condensec made of `../digits/digits_supernet.onnx`, with the
//! governor of the runtime crate.
//!
//! Every frame asks the governor for a level, runs it, and says how long that took. In the middle of the program
//! something else uses the core, here the program itself: only run times show it. `condensec profile --emit rust`
//! measured the table of run times. Build and run: see `../README.md`.

use std::path::Path;
use std::time::Instant;

use condensec_runtime::cpufreq::{Cpufreq, SYSFS};
use condensec_runtime::governor::{Config, Governor};

/// What condensec wrote beside the library. `DIGITS_RS` is its path; a `build.rs` sets it.
mod digits {
    include!(env!("DIGITS_RS"));
}

/// What `condensec profile` wrote.
mod profile {
    include!(env!("DIGITS_PROFILE_RS"));
}

/// The first test image of each digit, 32x32; a pixel `k` stands for `k / 10 - 1`.
const PIXELS: &[u8; 10 * 1024] = include_bytes!("images.bin");
/// Frames of each part.
const FRAMES: usize = 200;

fn main() {
    let mut memory = Box::new(digits::State::new());
    let mut model = digits::Model::new(&mut memory);
    // An error on a machine that does not tell its frequency; then the governor goes by run times alone. A real
    // program stays on one core, and names that.
    let clock = Cpufreq::open(Path::new(SYSFS), 0).ok();
    let mut governor = Governor::new(profile::PROFILE, Config::default());

    // A third more than the profile says of the dense level.
    let dense = profile::TIMINGS.last().expect("there are levels");
    let deadline_us = 1.33 * dense.time_us(profile::PROFILE.reference_khz());
    println!("{} levels, deadline {deadline_us:.0} us", digits::LEVELS);
    for (part, has_neighbour) in [
        ("alone", false),
        ("with a neighbour", true),
        ("alone again", false),
    ] {
        let (mut n_late, mut sum_of_levels) = (0, 0);
        for frame in 0..FRAMES {
            let khz = clock.as_ref().and_then(|clock| clock.khz().ok());
            let level = governor.choose(deadline_us, khz.unwrap_or(0));
            model.set_level(level).expect("the governor knows the levels");

            let first = frame % 10 * 1024;
            let image = std::array::from_fn(|pixel| f32::from(PIXELS[first + pixel]) / 10.0 - 1.0);
            let mut logits = [0.0; 10];
            let begin = Instant::now();
            for _ in 0..1 + usize::from(has_neighbour) {
                model.run(&image, &mut logits);
            }
            let us = begin.elapsed().as_secs_f32() * 1e6;

            governor.observe(us);
            n_late += usize::from(us > deadline_us);
            sum_of_levels += level;
        }
        let mean = f64::from(sum_of_levels) / FRAMES as f64;
        println!("{part}: mean level {mean:.2}, {n_late} of {FRAMES} frames late");
    }
}
