//! `condensec bench`: the form of its results; that the numbers are right, only a quiet machine can tell.

use crate::folder::{Folder, keys};
use crate::models;

#[test]
fn every_level_is_measured() {
    let folder = Folder::with_library();
    for args in [
        "bench out --runs 7 --json",
        "bench net.onnx --level all --seconds 0.05 --json",
    ] {
        let benchmark = folder.condensec(args).json();
        assert_eq!(keys(&benchmark), ["threads", "switch_ns", "levels"]);
        assert_eq!(benchmark["threads"], 1);
        assert!(benchmark["switch_ns"].as_f64().unwrap() > 0.0);
        let levels = benchmark["levels"].as_array().unwrap();
        assert_eq!(levels.len(), models::N_LEVELS);
        for (number, level) in levels.iter().enumerate() {
            for key in [
                "level",
                "density",
                "macs",
                "min_ms",
                "median_ms",
                "p95_ms",
                "first_after_switch_ms",
            ] {
                assert!(keys(level).contains(&key), "{key}");
            }
            assert_eq!(level["level"], number);
            let ms = |key: &str| level[key].as_f64().unwrap();
            assert!(0.0 < ms("min_ms") && ms("min_ms") <= ms("median_ms"));
            assert!(ms("median_ms") <= ms("p95_ms"));
            if args.contains("--runs") {
                assert_eq!(level["runs"], 7);
            }
        }
    }
}

#[test]
fn levels_can_be_chosen() {
    let folder = Folder::with_library();
    let benchmark = folder
        .condensec("bench out --level full --level 0 --runs 1 --no-pin --json")
        .json();
    let levels = benchmark["levels"].as_array().unwrap();
    let numbers: Vec<_> = levels
        .iter()
        .map(|level| level["level"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 2]);
    let table = folder
        .condensec("bench out --level 1 --runs 1")
        .success()
        .stdout;
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("L1 ") && line.contains(" half ")),
        "{table}"
    );
    assert!(table.contains("1 thread, switch "), "{table}");
}

#[test]
fn a_run_takes_several_threads() {
    let folder = Folder::with_library();
    let benchmark = folder
        .condensec("bench out --threads 3 --runs 4 --json")
        .json();
    assert_eq!(benchmark["threads"], 3);
    assert_eq!(
        benchmark["levels"].as_array().unwrap().len(),
        models::N_LEVELS
    );
    let table = folder.condensec("bench out --threads 2 --runs 1").success();
    assert!(
        table.stdout.contains("\n2 threads, switch "),
        "{}",
        table.stdout
    );
    let said = folder.condensec("bench out --threads 1025").refused();
    assert!(
        said.starts_with("error[no-threads]: 1025 threads cannot be started: "),
        "{said}"
    );
}

#[test]
fn options_for_compiling_are_idle_on_a_compiled_model() {
    let folder = Folder::with_library();
    let ran = folder
        .condensec("bench out --runs 1 --backend cranelift")
        .success();
    assert!(
        ran.stderr.starts_with("warning[option-without-effect]: "),
        "{}",
        ran.stderr
    );
}
