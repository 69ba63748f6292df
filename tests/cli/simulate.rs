//! `condensec simulate`: traces in, policies' results out; and that these stand in the order in which they must.

use expect_test::expect;
use harness::python::Python;
use harness::workspace;
use serde_json::{Value, json};

use crate::folder::{Folder, keys};

const TRACES: [&str; 4] = ["governor-steps", "migration", "neighbour", "thermal"];

/// A folder with the profile of a network whose levels take 5 to 20 ms at 2 GHz.
fn with_profile() -> Folder {
    let folder = Folder::empty();
    folder.write("p.json", profile(16, true).to_string());
    folder
}

fn profile(n_levels: u32, has_quality: bool) -> Value {
    let level = |number: u32| {
        let ms = 5.0 * 4.0_f64.powf(f64::from(number) / f64::from(n_levels - 1));
        json!({
            "level": number, "name": format!("L{number}"), "density": (ms - 1.0) / 19.0, "macs": 1000,
            "cycles": 0.95 * ms * 2e6, "memory_us": 50.0 * ms, "step_shares": vec![0.02; 50], "jitter": 0.01,
            "quality": has_quality.then_some(0.5 + ms / 50.0), "measured": [],
        })
    };
    json!({
        "condensec_profile": 1, "model": "net", "target": "aarch64", "cpu": "generic", "backend": "llvm",
        "source": "measured", "clock": "held", "threads": 1, "reference_khz": 2_000_000,
        "levels": (0..n_levels).map(level).collect::<Vec<_>>(),
    })
}

fn policy<'a>(simulation: &'a Value, name: &str) -> &'a Value {
    let policies = simulation["policies"].as_array().unwrap();
    policies
        .iter()
        .find(|policy| policy["name"] == name)
        .unwrap()
}

#[track_caller]
fn number(policy: &Value, key: &str) -> f64 {
    policy[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {policy}"))
}

#[test]
fn results_have_the_documented_keys() {
    let folder = with_profile();
    let simulation = folder
        .condensec("simulate p.json --trace thermal --deadline 21.5ms --json")
        .json();
    for key in ["deadline_ms", "trace", "policies"] {
        assert!(keys(&simulation).contains(&key), "{key}");
    }
    assert_eq!(simulation["deadline_ms"], 21.5);
    assert_eq!(simulation["trace"], "thermal");
    let names: Vec<&str> = simulation["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| policy["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "governor",
            "mixed",
            "fixed-top",
            "fixed-L0",
            "reactive",
            "oracle"
        ]
    );
    for key in [
        "max_over_min",
        "cv",
        "miss_rate",
        "impossible_rate",
        "mean_density",
        "mean_quality",
        "switches",
    ] {
        number(policy(&simulation, "governor"), key);
    }
    folder.write("plain.json", profile(16, false).to_string());
    let simulation = folder
        .condensec("simulate plain.json --trace thermal --json")
        .json();
    assert!(policy(&simulation, "governor")["mean_quality"].is_null());
}

#[test]
fn the_governor_is_near_the_oracle_on_every_trace() {
    let folder = with_profile();
    for trace in TRACES {
        let simulation = folder
            .condensec(&format!("simulate p.json --trace {trace} --json"))
            .json();
        let of = |name: &str| policy(&simulation, name);
        let (governor, top, oracle) = (of("governor"), of("fixed-top"), of("oracle"));
        assert!(
            number(governor, "max_over_min") <= 1.2,
            "{trace}: {governor}"
        );
        assert!(number(governor, "miss_rate") <= 0.02, "{trace}: {governor}");
        assert!(
            number(governor, "cv") <= 0.2 * number(top, "cv"),
            "{trace}: {governor}"
        );
        let density = number(governor, "mean_density") / number(oracle, "mean_density");
        assert!((0.97..=1.0).contains(&density), "{trace}: {density}");
        // What an oracle can, nobody can better; and what nobody can, it cannot.
        assert_eq!(number(oracle, "miss_rate"), 0.0, "{trace}");
        assert_eq!(number(of("fixed-L0"), "miss_rate"), 0.0, "{trace}");
        assert!(number(top, "max_over_min") > 2.0, "{trace}: {top}");
        if trace != "neighbour" {
            // Without the frequency, every change of it is a surprise.
            let reactive = of("reactive");
            assert!(number(reactive, "max_over_min") > number(governor, "max_over_min"));
            assert!(number(reactive, "miss_rate") >= number(governor, "miss_rate"));
        }
    }
}

/// Whose time is not bound to those of levels: steadier, denser, with few levels as with many.
#[test]
fn mixed_runs_use_their_time() {
    let folder = with_profile();
    folder.write("few.json", profile(4, false).to_string());
    for (file, trace) in ["p.json", "few.json"]
        .iter()
        .flat_map(|f| TRACES.map(|t| (f, t)))
    {
        let simulation = folder
            .condensec(&format!("simulate {file} --trace {trace} --json"))
            .json();
        let of = |name: &str| policy(&simulation, name);
        let (mixed, governor, oracle) = (of("mixed"), of("governor"), of("oracle"));
        assert!(
            number(mixed, "max_over_min") <= 1.15,
            "{file} {trace}: {mixed}"
        );
        assert!(
            number(mixed, "miss_rate") <= 0.02,
            "{file} {trace}: {mixed}"
        );
        assert!(
            number(mixed, "cv") < number(governor, "cv"),
            "{file} {trace}: {mixed}"
        );
        // The oracle of whole levels.
        let density = number(mixed, "mean_density") / number(oracle, "mean_density");
        assert!(density >= 1.0, "{file} {trace}: {density}");
    }
}

/// Profiles of a version that did not measure steps.
#[test]
fn without_steps_nothing_is_mixed() {
    let folder = Folder::empty();
    let mut old = profile(16, true);
    for level in old["levels"].as_array_mut().unwrap() {
        level.as_object_mut().unwrap().remove("step_shares");
    }
    folder.write("old.json", old.to_string());
    let simulation = folder
        .condensec("simulate old.json --trace thermal --json")
        .json();
    let mut mixed = policy(&simulation, "mixed").clone();
    mixed["name"] = "governor".into();
    assert_eq!(&mixed, policy(&simulation, "governor"));
}

#[test]
fn a_trace_of_the_users_own_is_taken_as_it_is() {
    let folder = with_profile();
    folder.write(
        "t.csv",
        "time_ms,frequency_khz\n0,2000000\n10000,1000000\n20000,100000\n30000,100000\n",
    );
    let simulation = folder
        .condensec("simulate p.json --trace t.csv --period 100ms --jitter 0 --json")
        .json();
    assert_eq!(simulation["frames"], 300);
    let governor = policy(&simulation, "governor");
    // At 100 MHz L0 takes 100 ms: a third of the trace is beyond everybody.
    assert!((number(governor, "impossible_rate") - 1.0 / 3.0).abs() < 0.01);
    assert_eq!(number(governor, "miss_rate"), 0.0);
    assert_eq!(number(governor, "switches"), 2.0);
    let again = folder
        .condensec("simulate p.json --trace t.csv --period 100ms --jitter 0 --range 2 --json")
        .json();
    assert_eq!(again["range"], 2.0);
    assert_eq!(number(policy(&again, "governor"), "impossible_rate"), 0.0);
}

#[test]
fn frames_and_pictures_are_written() {
    let folder = with_profile();
    let table = folder
        .condensec("simulate p.json --trace migration --plot out.svg --frames frames.csv")
        .success()
        .stdout;
    assert!(
        table.starts_with("net, 16 levels, measured; deadline 21.00 ms\n"),
        "{table}"
    );
    let picture = String::from_utf8(folder.read("out.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("governor"));
    let frames = String::from_utf8(folder.read("frames.csv")).unwrap();
    assert!(
        frames
            .starts_with("time_ms,frequency_khz,possible,foreseeable,governor_level,governor_ms,")
    );
    assert!(frames.lines().count() > 8000);
}

#[test]
fn bad_input_is_named() {
    let folder = with_profile();
    folder.write(
        "t.csv",
        "time_ms,frequency_khz,slowdown\n0,2000000,1\n# a note\n50,fast,1\n40,2000000,0\n-1,2000000,1\n",
    );
    expect![[r#"
        error[bad-trace]: frequency_khz "fast" is no number
          --> t.csv:4:1
        error[bad-trace]: slowdown 0 is not above 0
          --> t.csv:5:1
        error[bad-trace]: time_ms -1 is not after 0
          --> t.csv:6:1
    "#]]
    .assert_eq(&folder.condensec("simulate p.json --trace t.csv").refused());
    expect![[r#"
        error[file-not-found]: there is no trace thermals
          = note: built in are governor-steps, migration, neighbour, thermal
          = help: give a CSV file, or one of these names
    "#]]
    .assert_eq(
        &folder
            .condensec("simulate p.json --trace thermals")
            .refused(),
    );
    folder.write("short.csv", "time_ms,frequency_khz\n0,2000000\n1,2000000\n");
    expect![[r#"
        error[bad-trace]: the trace short.csv lasts 1 ms, which is 0.0 frames of 21 ms
          = note: 1 to 1e7 frames can be simulated
    "#]]
    .assert_eq(
        &folder
            .condensec("simulate p.json --trace short.csv")
            .refused(),
    );
    folder.write("q.json", "{}");
    expect![[r#"
        error[bad-profile]: not a profile: missing field `condensec_profile` at line 1 column 2
          --> q.json
          = help: condensec profile MODEL -o FILE writes one
    "#]]
    .assert_eq(
        &folder
            .condensec("simulate q.json --trace thermal")
            .refused(),
    );
    let usage = folder.condensec("simulate p.json --trace thermal --deadline 20");
    assert_eq!(usage.code, 2, "{usage:?}");
}

/// The committed traces are what the script makes.
#[test]
fn built_in_traces_are_those_of_the_script() {
    let Some(python) = Python::find("import random") else {
        return harness::skip::report("the script of the built-in traces (no Python)");
    };
    let folder = Folder::empty();
    python.run("../bench/make_traces.py", [folder.path("traces")]);
    for trace in TRACES {
        let committed =
            workspace::root().join(format!("compiler/src/cli/simulate/traces/{trace}.csv"));
        let committed = std::fs::read_to_string(committed).unwrap();
        let made = String::from_utf8(folder.read(&format!("traces/{trace}.csv"))).unwrap();
        assert!(made == committed, "{trace}: run tests/bench/make_traces.py");
    }
}
