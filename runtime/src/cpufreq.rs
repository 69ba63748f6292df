//! Clock frequencies as Linux has them in sysfs, for the governor.
//!
//! A [`Cpufreq`] follows the policy (the clock that some cores share) of one core. Its files stay open and are
//! read into a buffer on the stack: a reading takes one or two microseconds and allocates nothing. All paths
//! begin at a root that the caller names, `/sys` as a rule.

pub mod c_interface;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

/// Where Linux mounts sysfs.
pub const SYSFS: &str = "/sys";

/// Longest number in a file, with its line break: more than any u32 has digits.
const LONGEST_NUMBER: usize = 24;

/// The clock of a core.
#[derive(Debug)]
pub struct Cpufreq {
    policy: PathBuf,
    current: File,
    /// What policy, user and heat leave of the clock; a new limit shows here first.
    limit: Option<File>,
    heat: Vec<File>,
}

/// How far a range of frequencies goes, in kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The lowest.
    pub min_khz: u32,
    /// The highest.
    pub max_khz: u32,
}

impl Cpufreq {
    /// The clock of core number `cpu`.
    ///
    /// # Errors
    /// The system has no such core, or does not tell its frequency, as most virtual machines.
    pub fn open(sysfs: &Path, cpu: u32) -> io::Result<Self> {
        let core = sysfs.join(std::format!("devices/system/cpu/cpu{cpu}/cpufreq"));
        let by_policy = || find_policy(sysfs, cpu);
        let policy = match core.is_dir() {
            true => core,
            false => by_policy().ok_or_else(|| {
                let message =
                    std::format!("no cpufreq policy for CPU {cpu} in {}", sysfs.display());
                io::Error::new(io::ErrorKind::NotFound, message)
            })?,
        };
        let current = File::open(policy.join("scaling_cur_freq"))?;
        let limit = File::open(policy.join("scaling_max_freq")).ok();
        Ok(Self {
            current,
            limit,
            heat: cooling_devices(sysfs, &policy),
            policy,
        })
    }

    /// The frequency that the next run begins at, in kHz: the present one, or a limit that was set below it since.
    ///
    /// # Errors
    /// The file is gone, or holds no frequency (`<unknown>` while a core is off).
    pub fn khz(&self) -> io::Result<u32> {
        let khz = read_number(&self.current)?;
        let limit = self
            .limit
            .as_ref()
            .and_then(|limit| read_number(limit).ok());
        // A limit of 0 would be none.
        Ok(khz.min(limit.filter(|&limit| limit > 0).unwrap_or(u32::MAX)))
    }

    /// Frequencies that the policy allows now.
    ///
    /// # Errors
    /// As [`Cpufreq::khz`].
    pub fn policy_limits(&self) -> io::Result<Limits> {
        self.limits("scaling_min_freq", "scaling_max_freq")
    }

    /// Frequencies that the core is made for.
    ///
    /// # Errors
    /// As [`Cpufreq::khz`].
    pub fn hardware_limits(&self) -> io::Result<Limits> {
        self.limits("cpuinfo_min_freq", "cpuinfo_max_freq")
    }

    /// How far the kernel slows this clock down because of heat: 0 for not at all, 1 for as far as it can.
    /// `None` where no cooling device belongs to it.
    pub fn thermal_pressure(&self) -> Option<f32> {
        // Two files for each device: present and largest state.
        let shares = self.heat.chunks_exact(2).filter_map(|device| {
            let state = read_number(&device[0]).ok()?;
            let largest = read_number(&device[1])
                .ok()
                .filter(|&largest| largest > 0)?;
            Some(state.min(largest) as f32 / largest as f32)
        });
        shares.reduce(f32::max)
    }

    /// Frequencies that can be set, rising; empty where the driver takes any.
    pub fn available_khz(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.policy.join("scaling_available_frequencies"));
        let words = text.as_deref().unwrap_or_default().split_whitespace();
        let mut khz: Vec<u32> = words.filter_map(|word| word.parse().ok()).collect();
        khz.sort_unstable();
        khz.dedup();
        khz
    }

    /// Holds the clock at one frequency, by both limits of the policy, until [`Cpufreq::set_limits`]
    /// gives it back. Needs the rights of root.
    ///
    /// # Errors
    /// The limits may not be written.
    pub fn hold(&self, khz: u32) -> io::Result<()> {
        self.set_limits(Limits {
            min_khz: khz,
            max_khz: khz,
        })
    }

    /// Sets the frequencies that the policy allows.
    ///
    /// # Errors
    /// As [`Cpufreq::hold`].
    pub fn set_limits(&self, Limits { min_khz, max_khz }: Limits) -> io::Result<()> {
        let write = |name: &str, khz: u32| fs::write(self.policy.join(name), std::format!("{khz}"));
        // The kernel refuses a lower limit above the upper one, on the way too.
        match self.policy_limits()?.max_khz < min_khz {
            true => {
                write("scaling_max_freq", max_khz).and_then(|()| write("scaling_min_freq", min_khz))
            }
            false => {
                write("scaling_min_freq", min_khz).and_then(|()| write("scaling_max_freq", max_khz))
            }
        }
    }

    fn limits(&self, min: &str, max: &str) -> io::Result<Limits> {
        let read = |name: &str| read_number(&File::open(self.policy.join(name))?);
        Ok(Limits {
            min_khz: read(min)?,
            max_khz: read(max)?,
        })
    }
}

/// The policy whose cores include `cpu`, on kernels that have no link from the core.
fn find_policy(sysfs: &Path, cpu: u32) -> Option<PathBuf> {
    let policies = fs::read_dir(sysfs.join("devices/system/cpu/cpufreq")).ok()?;
    let policies = policies.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut found: Vec<PathBuf> = policies
        .filter(|policy| {
            let cores = fs::read_to_string(policy.join("related_cpus")).unwrap_or_default();
            cores.split_whitespace().any(|core| core.parse() == Ok(cpu))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// Present and largest state of the cooling devices that slow down the cores of `policy`.
fn cooling_devices(sysfs: &Path, policy: &Path) -> Vec<File> {
    let cores = fs::read_to_string(policy.join("related_cpus")).unwrap_or_default();
    // Named after the policy's first core, by two generations of kernels.
    let mut names: Vec<String> = Vec::new();
    for core in cores.split_whitespace() {
        names.push(std::format!("cpufreq-cpu{core}"));
        names.push(std::format!("thermal-cpufreq-{core}"));
    }
    let Ok(devices) = fs::read_dir(sysfs.join("class/thermal")) else {
        return Vec::new();
    };
    let devices = devices.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files = Vec::new();
    for device in devices {
        let kind = fs::read_to_string(device.join("type")).unwrap_or_default();
        if !names.iter().any(|name| name == kind.trim()) {
            continue;
        }
        let state = File::open(device.join("cur_state"));
        let largest = File::open(device.join("max_state"));
        if let (Ok(state), Ok(largest)) = (state, largest) {
            files.extend([state, largest]);
        }
    }
    files
}

/// The number at the beginning of a file, read anew.
fn read_number(file: &File) -> io::Result<u32> {
    let mut buffer = [0; LONGEST_NUMBER];
    let n_read = file.read_at(&mut buffer, 0)?;
    let text = core::str::from_utf8(&buffer[..n_read]).unwrap_or_default();
    let number = text.trim().parse();
    number.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no number in the file"))
}
