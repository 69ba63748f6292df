//! A camera that must keep its pace: a frame's inference has a deadline, and the governor picks the level for it, or with
//! `--mixed` the pace at which the level falls within the run.
//!
//! Shows frequency, level and latency of every frame as they come, on a terminal as one line that is drawn anew. Takes any
//! model with one input and one output: `MODEL_RS` is what condensec wrote beside the library, `MODEL_PROFILE_RS`
//! what `condensec profile --emit rust` did. Build and run: see `../README.md`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use condensec_runtime::cpufreq::{Cpufreq, SYSFS};
use condensec_runtime::deadline::{Deadline, Remaining};
use condensec_runtime::governor::{Config, Governor};

#[allow(dead_code)]
mod model {
    include!(env!("MODEL_RS"));
}

#[allow(dead_code)]
mod profile {
    include!(env!("MODEL_PROFILE_RS"));
}

const USAGE: &str = "\
usage: camera [--seconds S] [--deadline-ms MS] [--level L] [--mixed] [--cpu N] [--sysfs DIR] [--log FILE]

  --seconds S       how long to run (10)
  --deadline-ms MS  time for a frame (a little more than the highest level takes at the highest frequency)
  --level L         always this level, without a governor
  --mixed           let a run begin above the level that fits, and fall on its way
  --cpu N           core whose frequency counts (0)
  --sysfs DIR       root of the files that tell it (/sys)
  --log FILE        a line for every frame: start and latency in ms, kHz, level";

/// Room of the default deadline over the profile's time.
const ROOM: f32 = 1.05;

struct Options {
    seconds: f64,
    deadline_us: f32,
    level: Option<u32>,
    is_mixed: bool,
    cpu: u32,
    sysfs: PathBuf,
    log: Option<PathBuf>,
}

impl Options {
    /// The program's arguments, or what is wrong with them.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let dense = profile::TIMINGS.last().ok_or("the profile has no levels")?;
        let mut options = Self {
            seconds: 10.0,
            deadline_us: ROOM * dense.time_us(profile::PROFILE.reference_khz()),
            level: None,
            is_mixed: false,
            cpu: 0,
            sysfs: SYSFS.into(),
            log: None,
        };
        while let Some(name) = arguments.next() {
            if name == "--mixed" {
                options.is_mixed = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
            match name.as_str() {
                "--seconds" => options.seconds = value.parse().map_err(|e| wrong(&e))?,
                "--deadline-ms" => {
                    let ms: f32 = value.parse().map_err(|e| wrong(&e))?;
                    options.deadline_us = 1e3 * ms;
                }
                "--level" => options.level = Some(value.parse().map_err(|e| wrong(&e))?),
                "--cpu" => options.cpu = value.parse().map_err(|e| wrong(&e))?,
                "--sysfs" => options.sysfs = value.into(),
                "--log" => options.log = Some(value.into()),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(options)
    }
}

/// What a frame did.
struct Frame {
    start: Duration,
    us: f32,
    khz: Option<u32>,
    /// The mean over the run's work.
    level: f32,
}

fn main() {
    let options = Options::parse(std::env::args().skip(1)).unwrap_or_else(|error| {
        eprintln!("{error}\n{USAGE}");
        std::process::exit(2)
    });
    if let Err(error) = run(&options) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut memory = Box::new(model::State::new());
    let mut net = model::Model::new(&mut memory);
    // An error on a machine that does not tell its frequency; then the governor goes by run times alone.
    let clock = Cpufreq::open(&options.sysfs, options.cpu).ok();
    let mut governor = Governor::new(profile::PROFILE, Config::default());
    let mut mixer = Mixer::new();
    let mut log = match &options.log {
        Some(path) => Some(io::BufWriter::new(File::create(path)?)),
        None => None,
    };
    // The sizes are those of the model, which the compiler finds by itself.
    let image = Box::new([0.5; _]);
    let mut result = Box::new([0.0; _]);
    let mut view = View::new(options.deadline_us);
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < options.seconds {
        let start = begin.elapsed();
        let khz = clock.as_ref().and_then(|clock| clock.khz().ok());
        let chosen = match options.level {
            Some(level) => level,
            None => governor.choose(options.deadline_us, khz.unwrap_or(0)),
        };
        let is_mixed = options.is_mixed && options.level.is_none();
        let first = if is_mixed { model::LEVELS - 1 } else { chosen };
        if net.set_level(first).is_err() {
            let message = format!("there is no level {first}, the model has {}", model::LEVELS);
            return Err(io::Error::other(message));
        }
        let (us, level) = if is_mixed {
            mixer.start(&governor, options.deadline_us);
            let choose = |step, level| mixer.choose(step, level);
            net.run_adaptive(choose, &image, &mut result);
            let us = (begin.elapsed() - start).as_secs_f32() * 1e6;
            mixer.deadline.observe(&mut governor, us);
            (us, mixer.mean_level())
        } else {
            net.run(&image, &mut result);
            let us = (begin.elapsed() - start).as_secs_f32() * 1e6;
            governor.observe(us);
            (us, chosen as f32)
        };
        let frame = Frame {
            start,
            us,
            khz,
            level,
        };
        if let Some(log) = &mut log {
            let ms = frame.start.as_secs_f64() * 1e3;
            let khz = khz.map_or_else(String::new, |khz| khz.to_string());
            writeln!(log, "{ms:.3},{:.4},{khz},{level:.2}", us / 1e3)?;
        }
        view.show(&frame)?;
    }
    view.finish()
}

/// Runs whose steps have levels of their own.
struct Mixer {
    deadline: Deadline,
    begin: Instant,
    sum_of_levels: f32,
}

impl Mixer {
    fn new() -> Self {
        Self {
            deadline: Deadline::default(),
            begin: Instant::now(),
            sum_of_levels: 0.0,
        }
    }

    /// Starts a run that may take `deadline_us`, after the governor's choice for it.
    fn start(&mut self, governor: &Governor<'_>, deadline_us: f32) {
        self.deadline.expect(governor, deadline_us);
        self.deadline.start_at(0);
        self.begin = Instant::now();
        self.sum_of_levels = 0.0;
    }

    /// The level for a step, not above `level`.
    fn choose(&mut self, step: usize, level: u32) -> u32 {
        let now_ns = self.begin.elapsed().as_nanos() as u64;
        let work = Remaining {
            table: &profile::REMAINING_US,
            n_steps: profile::STEPS,
        };
        let level = self.deadline.choose_at(now_ns, work, step, level);
        let top = self.top();
        let left = top.get(step + 1).copied().unwrap_or(0.0);
        self.sum_of_levels += level as f32 * (top[step] - left);
        level
    }

    /// The mean of the run's levels, each step counted by the time it takes at the highest.
    fn mean_level(&self) -> f32 {
        self.sum_of_levels / self.top()[0]
    }

    /// What is left from each step on at the highest level.
    fn top(&self) -> &[f32] {
        &profile::REMAINING_US[profile::REMAINING_US.len() - profile::STEPS..]
    }
}

/// The frames on a terminal; elsewhere a summary in the end.
struct View {
    deadline_us: f32,
    n_frames: u32,
    n_late: u32,
    sum_of_levels: f64,
    slowest_us: f32,
    is_terminal: bool,
    drawn: Option<Instant>,
}

/// A picture takes longer than this to be seen.
const REFRESH: Duration = Duration::from_millis(50);

impl View {
    fn new(deadline_us: f32) -> Self {
        Self {
            deadline_us,
            n_frames: 0,
            n_late: 0,
            sum_of_levels: 0.0,
            slowest_us: 0.0,
            is_terminal: io::stdout().is_terminal(),
            drawn: None,
        }
    }

    fn show(&mut self, frame: &Frame) -> io::Result<()> {
        self.n_frames += 1;
        self.n_late += u32::from(frame.us > self.deadline_us);
        self.sum_of_levels += f64::from(frame.level);
        self.slowest_us = self.slowest_us.max(frame.us);
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() > REFRESH);
        if !self.is_terminal || !is_due {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let clock = match frame.khz {
            Some(khz) => format!("{:.2} GHz", f64::from(khz) / 1e6),
            None => "  ? GHz".into(),
        };
        let highest = model::LEVELS.saturating_sub(1).max(1);
        let level = bar(frame.level / highest as f32);
        let time = bar(frame.us / self.deadline_us);
        let mut out = io::stdout().lock();
        write!(
            out,
            "\r\x1b[2Kframe {:5}  {clock}  L{:<4.1} {level}  {:7.2} of {:.2} ms {time}  {} late",
            self.n_frames,
            frame.level,
            frame.us / 1e3,
            self.deadline_us / 1e3,
            self.n_late
        )?;
        out.flush()
    }

    fn finish(self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            writeln!(out)?;
        }
        writeln!(
            out,
            "{} frames, mean level {:.2}, slowest {:.2} ms, {} later than {:.2} ms",
            self.n_frames,
            self.sum_of_levels / f64::from(self.n_frames.max(1)),
            self.slowest_us / 1e3,
            self.n_late,
            self.deadline_us / 1e3
        )
    }
}

/// A share as ten characters.
fn bar(share: f32) -> String {
    let n = (share.clamp(0.0, 1.0) * 10.0).round() as usize;
    "█".repeat(n) + &"·".repeat(10 - n)
}
