//! `condensec profile MODEL`: how long every level takes on this machine, as a table for the governor.
//!
//! A run is measured at all frequencies that the machine shows or lets us set, and split into what the clock scales and
//! what it does not ([`fit`]). Without the machine, the cost model's prediction stands in, marked as such.

mod clock;
mod fit;
mod measure;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use condensec_backends::companions::Manifest;
use condensec_ir::Diagnostic;
use serde::Deserialize;

use self::clock::Clock;
use self::measure::{Effort, LevelTimes};
use super::arguments::FormatArgs;
use super::loaded::LoadArgs;
use super::measuring::{current_cpu, pin_or_warn};
use super::quantities::Frequency;
use super::table::{self, Column};
use crate::driver::read_bytes;
use crate::engine::Engine;
use crate::output;
use crate::profile::{ClockSource, LevelProfile, Measurement, Profile, Source, Subject};
use crate::report::Failure;

/// Frequencies that differ by less are the same, where a measurement replaces another.
const SAME: f64 = 0.01;

/// Measure how long a run takes at every level and frequency, for the governor.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  condensec profile out                                      at the frequencies that the clock happens to have
  condensec profile out --frequencies 600MHz,1.2GHz,2.4GHz   at these, which root may set where cpufreq is
  condensec profile out --frequencies 600MHz                 where the frequency is set by hand: one run of
  condensec profile out --frequencies 2.4GHz --add           condensec for each, into one file
  condensec profile net.onnx --predict --target aarch64      without the machine, by the cost model
  condensec profile out --emit json,header,rust              also <name>_profile.h and .rs, for programs
  condensec profile out --json
  {condensec_profile, model, target, cpu, backend, source, clock, threads, reference_khz, levels: [{level, name, density,
  macs, cycles, memory_us, step_shares, jitter, quality, measured: [{khz, runs, min_us, median_us, p95_us}]}]}

A run at frequency f takes cycles / f + memory_us. condensec simulate shows what the governor makes of it.")]
pub(super) struct Args {
    #[command(flatten)]
    load: LoadArgs,

    /// Frequencies to measure at, as 600MHz, 2.4GHz or in kHz. Where they cannot be set: the one that was set by hand.
    #[arg(long, value_name = "F,..", value_delimiter = ',')]
    frequencies: Vec<Frequency>,

    /// Keep the measurements of the profile that the output file holds, and add those of other frequencies.
    #[arg(long, conflicts_with = "predict")]
    add: bool,

    /// Do not measure: take the cost model's cycles. The highest of --frequencies is what the machine runs at.
    #[arg(long)]
    predict: bool,

    /// Accuracy of the levels, for what simulations report: what `condensec eval --json` prints.
    #[arg(long, value_name = "JSON")]
    quality: Option<PathBuf>,

    /// File to write; <name>.profile.json in the current folder if not given, <name> being the model's. Tables for programs go beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to write: json, header (<name>_profile.h), rust (<name>_profile.rs).
    #[arg(
        long,
        value_name = "KINDS",
        value_delimiter = ',',
        value_enum,
        default_value = "json"
    )]
    emit: Vec<Emit>,

    /// Runs per level and frequency, whatever time they take.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,

    /// Time for all levels at a frequency together, where --runs is not given.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = super::bench::parse_seconds)]
    seconds: f64,

    /// Do not keep a run of one thread on one core.
    #[arg(long)]
    no_pin: bool,

    /// Where sysfs is.
    #[arg(long, value_name = "DIR", default_value = "/sys", hide = true)]
    sysfs: PathBuf,

    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    Json,
    Header,
    Rust,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let quality = match &args.quality {
        Some(path) => Some(Quality::read(path)?),
        None => None,
    };
    let mut profile = match args.predict {
        true => predict(&args.load.manifest(args.format)?, &args.frequencies),
        false => measured(args)?,
    };
    if let Some(quality) = quality {
        quality.apply(&mut profile)?;
    }
    let path = output_path(args, &profile.model);
    let files = write(&profile, &path, args)?;
    Ok(match args.format.json {
        true => super::to_json(&profile),
        false => describe(&profile, &files),
    })
}

fn output_path(args: &Args, model: &str) -> PathBuf {
    match &args.output {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{model}.profile.json")),
    }
}

/// Writes all that is wanted; returns the files.
fn write(profile: &Profile, path: &Path, args: &Args) -> Result<Vec<String>, Failure> {
    let beside = |ending: &str| path.with_file_name(format!("{}_profile.{ending}", profile.model));
    let kinds = [Emit::Json, Emit::Header, Emit::Rust];
    let wanted = kinds.into_iter().filter(|kind| args.emit.contains(kind));
    let texts: Vec<(PathBuf, String)> = wanted
        .map(|kind| match kind {
            Emit::Json => (path.to_path_buf(), super::to_json(profile)),
            Emit::Header => (beside("h"), tables::c_header(profile)),
            Emit::Rust => (beside("rs"), tables::rust_module(profile)),
        })
        .collect();
    let inputs: Vec<PathBuf> = args.load.files().chain(args.quality.clone()).collect();
    for (path, _) in &texts {
        output::check_is_no_input(path, &inputs)?;
    }
    let files: Vec<(&Path, &[u8])> = texts
        .iter()
        .map(|(path, text)| (path.as_path(), text.as_bytes()))
        .collect();
    output::write_files(&files)?;
    let paths = texts.iter().map(|(path, _)| path.display().to_string());
    Ok(paths.collect())
}

/// What the cost model says of every level.
fn predict(manifest: &Manifest, frequencies: &[Frequency]) -> Profile {
    let subject = Subject {
        model: manifest.name.clone(),
        target: manifest.target.clone(),
        cpu: manifest.cpu.clone(),
        backend: manifest.backend.clone(),
        threads: 1,
    };
    let given = frequencies.iter().map(|frequency| frequency.khz).max();
    let levels = manifest.levels.iter().map(|level| LevelProfile {
        level: level.level as usize,
        name: level.name.clone(),
        density: level.density,
        macs: level.macs,
        cycles: level.predicted_cycles as f64,
        memory_us: 0.0,
        step_shares: shares(&level.step_cycles),
        jitter: 0.0,
        quality: None,
        measured: Vec::new(),
    });
    let clock = match given {
        Some(_) => ClockSource::Given,
        None => ClockSource::Assumed,
    };
    let khz = given.unwrap_or(clock::ASSUMED_KHZ);
    Profile::new(subject, (Source::Predicted, clock), khz, levels.collect())
}

fn measured(args: &Args) -> Result<Profile, Failure> {
    let mut engine = args.load.load(Vec::new(), args.format)?;
    let threads = args.load.threads.get();
    if threads == 1 && !args.no_pin {
        pin_or_warn(args.format);
    }
    let subject = subject(&engine, threads);
    // Before the measurement, which is long.
    let known = match args.add {
        true => Some(known(
            &output_path(args, &subject.model),
            &subject,
            &engine,
        )?),
        false => None,
    };
    let effort = match args.runs {
        Some(runs) => Effort::Runs(runs as usize),
        None => Effort::Time(Duration::from_secs_f64(args.seconds)),
    };
    let (times, clock) = measure_all(&mut engine, args, effort)?;
    let levels = engine.levels().iter().zip(times).enumerate();
    let levels: Vec<LevelProfile> = levels
        .map(|(number, (level, times))| {
            let old = known.as_ref().map(|known| &known.levels[number]);
            let measured = joined(old.map_or(&[], |old| &old.measured), times.measured);
            let (cycles, memory_us) = fit::fit(&measured);
            LevelProfile {
                level: number,
                name: level.name.clone(),
                density: level.density,
                macs: level.macs,
                cycles,
                memory_us,
                step_shares: times.step_shares,
                jitter: times.jitter,
                quality: old.and_then(|old| old.quality),
                measured,
            }
        })
        .collect();
    let highest = levels.iter().flat_map(|level| &level.measured);
    let highest = highest.map(|measurement| measurement.khz).max();
    let khz = highest.expect("every level was measured");
    Ok(Profile::new(
        subject,
        (Source::Measured, clock),
        khz,
        levels,
    ))
}

/// Of every step in the whole.
fn shares(cycles: &[u64]) -> Vec<f32> {
    let all = cycles.iter().sum::<u64>().max(1) as f32;
    cycles.iter().map(|&cycles| cycles as f32 / all).collect()
}

fn subject(engine: &Engine, threads: usize) -> Subject {
    let built_for = engine.built_for();
    Subject {
        model: engine.name().to_string(),
        target: built_for.target,
        cpu: built_for.cpu,
        backend: built_for.backend,
        threads,
    }
}

/// Times at all frequencies that are wanted, or at those that the clock has by itself.
fn measure_all(
    engine: &mut Engine,
    args: &Args,
    effort: Effort,
) -> Result<(Vec<LevelTimes>, ClockSource), Failure> {
    let mut clock = Clock::of_core(&args.sysfs, current_cpu());
    let mut times: Vec<LevelTimes> = Vec::new();
    for &Frequency { khz } in &args.frequencies {
        if let Err(reason) = clock.hold(khz) {
            if let [_] = args.frequencies[..] {
                // Set by hand, then.
                clock = Clock::given(khz);
                break;
            }
            let message = format!("the frequency {khz} kHz cannot be set: {reason}");
            return Err(Diagnostic::error("frequency-not-set", message)
                .with_help(
                    "run condensec as root, or set each frequency by hand and run condensec once for each, \
                     with --frequencies F --add",
                )
                .into());
        }
        let more = measure::measure(engine, &clock, effort)?;
        times = match times.is_empty() {
            true => more,
            false => times.into_iter().zip(more).map(|(a, b)| a.and(b)).collect(),
        };
    }
    if times.is_empty() {
        times = measure::measure(engine, &clock, effort)?;
    }
    Ok((times, clock.source()))
}

/// The profile at `path`, of the same library.
fn known(path: &Path, subject: &Subject, engine: &Engine) -> Result<Profile, Failure> {
    let profile = Profile::read(path)?;
    let names = profile.levels.iter().map(|level| &level.name);
    let is_same = profile.subject() == *subject
        && profile.source == Source::Measured
        && names.eq(engine.levels().iter().map(|level| &level.name));
    match is_same {
        true => Ok(profile),
        false => {
            let message = "nothing can be added to a profile of something else";
            let of = |subject: &Subject| format!("{subject:?}").replace("Subject ", "");
            Err(Diagnostic::error("other-profile", message)
                .at_file(path.display().to_string())
                .with_note(format!("the file is of {}", of(&profile.subject())))
                .with_note(format!("the model is {}", of(subject)))
                .with_help("leave out --add to start a new profile, or give another --output")
                .into())
        }
    }
}

/// All measurements by rising frequency; new ones replace old ones.
fn joined(old: &[Measurement], new: Vec<Measurement>) -> Vec<Measurement> {
    let is_new = |old: &&Measurement| {
        let close =
            |new: &Measurement| (f64::from(new.khz) / f64::from(old.khz) - 1.0).abs() <= SAME;
        new.iter().any(close)
    };
    let kept = old.iter().filter(|old| !is_new(old)).copied();
    let mut all: Vec<Measurement> = kept.chain(new.iter().copied()).collect();
    all.sort_by_key(|measurement| measurement.khz);
    all
}

/// What `eval --json` prints, as far as it matters here.
#[derive(Deserialize)]
struct Quality {
    levels: Vec<LevelQuality>,
}

#[derive(Deserialize)]
struct LevelQuality {
    level: usize,
    top1: f64,
}

impl Quality {
    fn read(path: &Path) -> Result<Self, Failure> {
        serde_json::from_slice(&read_bytes(path)?).map_err(|error| {
            let message = format!("not what condensec eval --json prints: {error}");
            Diagnostic::error("bad-quality", message)
                .at_file(path.display().to_string())
                .into()
        })
    }

    fn apply(&self, profile: &mut Profile) -> Result<(), Failure> {
        for level in &mut profile.levels {
            let found = self.levels.iter().find(|other| other.level == level.level);
            let Some(found) = found else {
                let message = format!("no accuracy of level {}", level.level);
                return Err(Diagnostic::error("bad-quality", message).into());
            };
            level.quality = Some(found.top1);
        }
        Ok(())
    }
}

fn describe(profile: &Profile, files: &[String]) -> String {
    let columns = [
        Column::Text("level"),
        Column::Text("name"),
        Column::Number("density"),
        Column::Number("cycles"),
        Column::Number("memory ms"),
        Column::Number("ms"),
        Column::Number("jitter"),
        Column::Number("frequencies"),
    ];
    let rows = profile.levels.iter().map(|level| {
        let us = level.time_us(f64::from(profile.reference_khz));
        vec![
            format!("L{}", level.level),
            level.name.clone(),
            table::fraction(level.density),
            table::count(level.cycles.round() as u64),
            table::milliseconds(level.memory_us / 1e3),
            table::milliseconds(us / 1e3),
            format!("{:.2} %", 100.0 * level.jitter),
            level.measured.len().to_string(),
        ]
    });
    let mhz = f64::from(profile.reference_khz) / 1e3;
    let clock = match profile.clock {
        ClockSource::Held => "set by condensec",
        ClockSource::Observed => "observed",
        ClockSource::Given => "as given",
        ClockSource::Nominal => "as the processor's name plate has it",
        ClockSource::Assumed => "assumed, for want of a better",
    };
    let source = match profile.source {
        Source::Measured => "Measured",
        Source::Predicted => "Predicted by the cost model, not measured",
    };
    let mut text = format!(
        "{}\n{source}; ms at {mhz} MHz, {clock}.\n",
        table::render(&columns, rows)
    );
    for file in files {
        text += &format!("wrote {file}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_measurements_replace_those_of_the_same_frequency() {
        let at = |khz: u32, us: f64| Measurement {
            khz,
            runs: 9,
            min_us: us,
            median_us: us,
            p95_us: us,
        };
        let old = [at(600_000, 4.0), at(2_400_000, 1.0)];
        let all = joined(&old, vec![at(2_401_000, 1.1), at(1_200_000, 2.0)]);
        assert_eq!(
            all,
            [at(600_000, 4.0), at(1_200_000, 2.0), at(2_401_000, 1.1)]
        );
    }
}
