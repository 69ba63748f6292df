//! `condensec profile`: tables of run times, and where their frequencies come from. Sysfs is a folder that the test makes;
//! that the times are right, only a quiet machine can tell.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use expect_test::expect;
use serde_json::Value;

use crate::folder::{Folder, keys};
use crate::models;

const CPUFREQ: &str = "sys/devices/system/cpu/cpufreq/policy0";

/// A folder with a compiled model and a machine whose cores all have one clock.
fn with_clock() -> Folder {
    let folder = Folder::with_library();
    fs::create_dir_all(folder.path(CPUFREQ)).unwrap();
    let cores: Vec<String> = (0..1024).map(|cpu| cpu.to_string()).collect();
    for (name, text) in [
        ("related_cpus", cores.join(" ").as_str()),
        ("scaling_cur_freq", "1800000"),
        ("scaling_min_freq", "600000"),
        ("scaling_max_freq", "2400000"),
    ] {
        folder.write(&format!("{CPUFREQ}/{name}"), format!("{text}\n"));
    }
    folder
}

#[track_caller]
fn frequencies(level: &Value) -> Vec<u64> {
    let measured = level["measured"].as_array().unwrap();
    measured
        .iter()
        .map(|m| m["khz"].as_u64().unwrap())
        .collect()
}

#[test]
fn every_level_has_a_time_and_its_parts() {
    let folder = with_clock();
    let profile = folder
        .condensec("profile out --runs 6 --sysfs sys --json")
        .json();
    assert_eq!(
        keys(&profile),
        [
            "condensec_profile",
            "model",
            "target",
            "cpu",
            "backend",
            "source",
            "clock",
            "threads",
            "reference_khz",
            "levels"
        ]
    );
    assert_eq!(profile["source"], "measured");
    assert_eq!(profile["clock"], "observed");
    assert_eq!(profile["reference_khz"], 1_800_000);
    let levels = profile["levels"].as_array().unwrap();
    assert_eq!(levels.len(), models::N_LEVELS);
    for (number, level) in levels.iter().enumerate() {
        assert_eq!(level["level"], number);
        assert_eq!(frequencies(level), [1_800_000]);
        let measured = &level["measured"][0];
        assert_eq!(measured["runs"], 6);
        let number = |value: &Value| value.as_f64().unwrap();
        assert!(0.0 < number(&measured["min_us"]));
        assert!(number(&measured["min_us"]) <= number(&measured["median_us"]));
        assert!(number(&measured["median_us"]) <= number(&measured["p95_us"]));
        // One frequency: all of it is cycles.
        let us = number(&level["cycles"]) * 1000.0 / 1_800_000.0;
        assert!((us / number(&measured["median_us"]) - 1.0).abs() < 1e-9);
        assert_eq!(level["memory_us"], 0.0);
    }
    let written: Value = serde_json::from_slice(&folder.read("net.profile.json")).unwrap();
    assert_eq!(written, profile);
}

#[test]
fn a_clock_is_set_and_given_back() {
    let folder = with_clock();
    let profile = folder
        .condensec("profile out --runs 5 --sysfs sys --frequencies 600MHz,2.4GHz --json")
        .json();
    assert_eq!(profile["clock"], "held");
    // The clock of this test does not follow; but its limits were set on the way, the last one
    // below what it says.
    assert_eq!(frequencies(&profile["levels"][0])[0], 600_000);
    for (name, khz) in [("min", "600000"), ("max", "2400000")] {
        let limit = folder.read(&format!("{CPUFREQ}/scaling_{name}_freq"));
        assert_eq!(String::from_utf8(limit).unwrap().trim(), khz, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_measurement_gives_the_clock_back() {
    let folder = with_clock();
    let limit = || String::from_utf8(folder.read(&format!("{CPUFREQ}/scaling_max_freq"))).unwrap();
    let child = folder
        .command("profile out --seconds 600 --sysfs sys --frequencies 600MHz")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while limit().trim() != "600000" {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", limit());
        thread::sleep(Duration::from_millis(10));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error[interrupted]: "), "{said}");
    assert_eq!(limit().trim(), "2400000");
    assert!(!folder.path("net.profile.json").exists());
}

#[test]
fn frequencies_set_by_hand_come_together_in_one_file() {
    let folder = Folder::with_library();
    folder
        .condensec("profile out --runs 5 --sysfs none --frequencies 600MHz -o p.json")
        .success();
    let profile = folder
        .condensec("profile out --runs 5 --sysfs none --frequencies 2400000 --add -o p.json --json")
        .json();
    assert_eq!(profile["clock"], "given");
    assert_eq!(profile["reference_khz"], 2_400_000);
    for level in profile["levels"].as_array().unwrap() {
        assert_eq!(frequencies(level), [600_000, 2_400_000]);
        // The machine was as fast both times, so nothing depends on the clock.
        assert!(level["memory_us"].as_f64().unwrap() > 0.0);
    }
    let said = folder
        .condensec("profile out --runs 1 --sysfs none --frequencies 1GHz,2GHz")
        .refused();
    expect![[r#"
        error[frequency-not-set]: the frequency 1000000 kHz cannot be set: the system has no cpufreq for this core
          = help: run condensec as root, or set each frequency by hand and run condensec once for each, with --frequencies F --add
    "#]]
    .assert_eq(&said);
}

#[test]
fn nothing_is_added_to_another_models_profile() {
    let folder = Folder::with_library();
    folder
        .condensec("profile out --predict -o p.json")
        .success();
    let said = folder
        .condensec("profile out --runs 1 --add -o p.json")
        .refused();
    assert!(
        said.starts_with(
            "error[other-profile]: nothing can be added to a profile of something else"
        ),
        "{said}"
    );
    let said = folder.condensec("profile out --runs 1 --add -o none.json");
    assert!(said.refused().starts_with("error[file-not-found]: "));
}

#[test]
fn a_prediction_needs_no_machine() {
    let folder = Folder::with_net();
    let args =
        "profile net.onnx --predict --backend cranelift --target aarch64 --frequencies 1.5GHz";
    let profile = folder.condensec(&format!("{args} --json")).json();
    assert_eq!(profile["source"], "predicted");
    assert_eq!(profile["target"], "aarch64");
    assert_eq!(profile["reference_khz"], 1_500_000);
    let levels = profile["levels"].as_array().unwrap();
    for level in levels {
        assert!(level["cycles"].as_f64().unwrap() > 0.0);
        assert_eq!(level["measured"], Value::Array(vec![]));
    }
    let table = folder.condensec(args).success().stdout;
    assert!(
        table.contains("Predicted by the cost model, not measured; ms at 1500 MHz, as given."),
        "{table}"
    );
}

#[test]
fn accuracy_goes_into_the_profile() {
    let folder = Folder::with_library();
    folder.write(
        "eval.json",
        r#"{"samples": 9, "levels": [{"level": 0, "top1": 0.5}, {"level": 1, "top1": 0.75}, {"level": 2, "top1": 1}]}"#,
    );
    let profile = folder
        .condensec("profile out --predict --quality eval.json --json")
        .json();
    assert_eq!(profile["levels"][1]["quality"], 0.75);
    folder.write("eval.json", r#"{"levels": [{"level": 0, "top1": 0.5}]}"#);
    let said = folder.condensec("profile out --predict --quality eval.json");
    assert_eq!(
        said.refused(),
        "error[bad-quality]: no accuracy of level 1\n"
    );
}

#[test]
fn tables_for_programs_lie_beside_the_profile() {
    let folder = Folder::with_library();
    folder
        .condensec("profile out --predict --frequencies 1GHz --emit header,rust -o out/p.json")
        .success();
    assert!(!folder.path("out/p.json").exists());
    let text = |name: &str| String::from_utf8(folder.read(name)).unwrap();
    let header = text("out/net_profile.h");
    assert!(
        header.contains("static const cnd_level_timing net_timings[3] = {"),
        "{header}"
    );
    assert!(
        header.contains("static const cnd_profile net_profile = {net_timings, 3u, 1000000u};"),
        "{header}"
    );
    let module = text("out/net_profile.rs");
    assert!(
        module.contains("Profile::new(&TIMINGS, 1000000);"),
        "{module}"
    );
}
