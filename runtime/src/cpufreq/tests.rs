//! Sysfs as boards have it, in a temporary folder.

use super::c_interface::{cnd_cpufreq_close, cnd_cpufreq_khz, cnd_cpufreq_open};
use super::{Cpufreq, Limits};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::string::ToString as _;
use std::sync::atomic::{AtomicU32, Ordering};

/// A tree of files; it goes with the value.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static N_TREES: AtomicU32 = AtomicU32::new(0);
        let number = N_TREES.fetch_add(1, Ordering::Relaxed);
        let name = std::format!("condensec-sysfs-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Two clusters: cores 0 and 1 at up to 1.8 GHz, cores 2 and 3 at up to 2.4 GHz.
    fn board() -> Self {
        let tree = Self::new();
        for (policy, cores, max) in [(0, "0 1", 1_800_000), (2, "2 3", 2_400_000)] {
            let dir = std::format!("devices/system/cpu/cpufreq/policy{policy}");
            let write = |name: &str, text: &str| tree.write(&std::format!("{dir}/{name}"), text);
            write("related_cpus", &std::format!("{cores}\n"));
            write("scaling_cur_freq", "1008000\n");
            for (name, khz) in [("min", 408_000), ("max", max)] {
                write(
                    &std::format!("scaling_{name}_freq"),
                    &std::format!("{khz}\n"),
                );
                write(
                    &std::format!("cpuinfo_{name}_freq"),
                    &std::format!("{khz}\n"),
                );
            }
            write(
                "scaling_available_frequencies",
                "1800000 408000 1008000 408000 \n",
            );
        }
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn policy(&self, name: &str, text: &str) {
        self.write(
            &std::format!("devices/system/cpu/cpufreq/policy2/{name}"),
            text,
        );
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_clock_is_read_anew_every_time() {
    let tree = Tree::board();
    let clock = Cpufreq::open(&tree.0, 3).unwrap();
    assert_eq!(clock.khz().unwrap(), 1_008_000);
    tree.policy("scaling_cur_freq", "2208000\n");
    assert_eq!(clock.khz().unwrap(), 2_208_000);
    assert_eq!(
        clock.hardware_limits().unwrap(),
        Limits {
            min_khz: 408_000,
            max_khz: 2_400_000
        }
    );
    assert_eq!(clock.available_khz(), [408_000, 1_008_000, 1_800_000]);
    assert_eq!(clock.thermal_pressure(), None);
}

#[test]
fn a_new_limit_counts_before_the_clock_follows() {
    let tree = Tree::board();
    let clock = Cpufreq::open(&tree.0, 2).unwrap();
    tree.policy("scaling_cur_freq", "2400000\n");
    tree.policy("scaling_max_freq", "816000\n");
    assert_eq!(clock.khz().unwrap(), 816_000);
    assert_eq!(clock.policy_limits().unwrap().max_khz, 816_000);
}

#[test]
fn cores_may_link_to_their_policy() {
    let tree = Tree::board();
    tree.write("devices/system/cpu/cpu7/cpufreq/scaling_cur_freq", "5000\n");
    assert_eq!(Cpufreq::open(&tree.0, 7).unwrap().khz().unwrap(), 5000);
}

#[test]
fn heat_is_that_of_the_same_clock() {
    let tree = Tree::board();
    for (device, kind, state, largest) in [
        (0, "cpufreq-cpu0", "1", "4"),
        (1, "thermal-cpufreq-2", "3", "6"),
        (2, "fan", "9", "9"),
        (3, "cpufreq-cpu3", "9", "0"),
    ] {
        for (name, text) in [("type", kind), ("cur_state", state), ("max_state", largest)] {
            tree.write(
                &std::format!("class/thermal/cooling_device{device}/{name}"),
                &std::format!("{text}\n"),
            );
        }
    }
    let pressure = |cpu| Cpufreq::open(&tree.0, cpu).unwrap().thermal_pressure();
    assert_eq!(pressure(1), Some(0.25));
    assert_eq!(pressure(2), Some(0.5));
}

#[test]
fn what_is_no_frequency_is_an_error() {
    let tree = Tree::board();
    let clock = Cpufreq::open(&tree.0, 2).unwrap();
    for text in [
        "<unknown>\n",
        "",
        "-5\n",
        "99999999999999999999999999999999\n",
    ] {
        tree.policy("scaling_cur_freq", text);
        let error = clock.khz().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
    }
    let none = Cpufreq::open(&tree.0, 9).unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::NotFound);
    assert!(none.to_string().contains("CPU 9"), "{none}");
    assert!(Cpufreq::open(Path::new("/nowhere"), 0).is_err());
}

#[test]
fn a_frequency_can_be_held_and_given_back() {
    let tree = Tree::board();
    let clock = Cpufreq::open(&tree.0, 2).unwrap();
    let before = clock.policy_limits().unwrap();
    for khz in [816_000, 2_208_000] {
        clock.hold(khz).unwrap();
        let held = clock.policy_limits().unwrap();
        assert_eq!((held.min_khz, held.max_khz), (khz, khz));
    }
    clock.set_limits(before).unwrap();
    assert_eq!(clock.policy_limits().unwrap(), before);
}

#[test]
fn c_reads_the_same() {
    let tree = Tree::board();
    let root = CString::new(tree.0.to_str().unwrap()).unwrap();
    // SAFETY: a string, and a clock that is closed once.
    unsafe {
        let clock = cnd_cpufreq_open(root.as_ptr(), 2);
        assert_eq!(cnd_cpufreq_khz(clock), 1_008_000);
        tree.policy("scaling_cur_freq", "gone\n");
        assert_eq!(cnd_cpufreq_khz(clock), 0);
        cnd_cpufreq_close(clock);
        assert!(cnd_cpufreq_open(root.as_ptr(), 9).is_null());
        assert_eq!(cnd_cpufreq_khz(core::ptr::null()), 0);
        cnd_cpufreq_close(core::ptr::null_mut());
    }
}
