//! The clock under a measurement: set, observed, or what somebody says it is.

use std::path::Path;
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "linux")]
use condensec_runtime::cpufreq::{Cpufreq, Limits};

use crate::profile::ClockSource;

/// Frequency that is assumed where nothing is known: cycles are nanoseconds then.
pub const ASSUMED_KHZ: u32 = 1_000_000;

/// Where frequencies come from.
pub struct Clock {
    source: ClockSource,
    khz: u32,
    #[cfg(target_os = "linux")]
    cpufreq: Option<Held>,
}

/// A clock that gets its limits back.
#[cfg(target_os = "linux")]
struct Held {
    cpufreq: Cpufreq,
    before: Option<Limits>,
    /// Set by the signals that end a program, which would not drop this.
    interrupted: Arc<AtomicBool>,
}

#[cfg(target_os = "linux")]
impl Held {
    fn hold(&mut self, khz: u32) -> std::io::Result<()> {
        if self.before.is_none() {
            for &signal in signal_hook::consts::TERM_SIGNALS {
                // The second one ends the program at once.
                let flag = || Arc::clone(&self.interrupted);
                signal_hook::flag::register_conditional_shutdown(signal, 1, flag())?;
                signal_hook::flag::register(signal, flag())?;
            }
            // Before the first is changed: what then fails may have set one of the two.
            self.before = Some(self.cpufreq.policy_limits()?);
        }
        self.cpufreq.hold(khz)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Held {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // There is nobody to tell, and nothing else to do.
            let _ = self.cpufreq.set_limits(before);
        }
    }
}

impl Clock {
    /// The clock of core `cpu`, by cpufreq under `sysfs` if the system has it.
    pub fn of_core(sysfs: &Path, cpu: u32) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(cpufreq) = Cpufreq::open(sysfs, cpu)
            && let Ok(khz @ 1..) = cpufreq.khz()
        {
            let cpufreq = Some(Held {
                cpufreq,
                before: None,
                interrupted: Arc::default(),
            });
            return Self {
                source: ClockSource::Observed,
                khz,
                cpufreq,
            };
        }
        let _ = (sysfs, cpu);
        match nominal_khz() {
            Some(khz) => Self::fixed(ClockSource::Nominal, khz),
            None => Self::fixed(ClockSource::Assumed, ASSUMED_KHZ),
        }
    }

    /// A clock that somebody has set by hand.
    pub fn given(khz: u32) -> Self {
        Self::fixed(ClockSource::Given, khz)
    }

    fn fixed(source: ClockSource, khz: u32) -> Self {
        Self {
            source,
            khz,
            #[cfg(target_os = "linux")]
            cpufreq: None,
        }
    }

    /// Where its frequencies come from.
    pub fn source(&self) -> ClockSource {
        self.source
    }

    /// Holds the clock at one frequency until it is dropped.
    ///
    /// # Errors
    /// This clock cannot be set, and why.
    pub fn hold(&mut self, khz: u32) -> Result<(), String> {
        #[cfg(target_os = "linux")]
        if let Some(held) = &mut self.cpufreq {
            held.hold(khz).map_err(|e| e.to_string())?;
            self.source = ClockSource::Held;
            return Ok(());
        }
        let _ = khz;
        Err("the system has no cpufreq for this core".into())
    }

    /// Whether somebody wants the program to end while it holds the clock.
    pub fn is_interrupted(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.cpufreq {
            return held.interrupted.load(Ordering::Relaxed);
        }
        false
    }

    /// The frequency now.
    pub fn khz(&self) -> u32 {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.cpufreq
            && let Ok(khz @ 1..) = held.cpufreq.khz()
        {
            return khz;
        }
        self.khz
    }
}

/// What x86 systems call the clock of the first core, which a virtual machine takes from its host.
fn nominal_khz() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
    let mhz: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    Some((mhz * 1e3).round() as u32).filter(|&khz| khz > 0)
}
