//! `condensec tune`: the file that it writes compiles; that it is faster, only a quiet machine can tell.

use crate::folder::{Folder, keys};
use crate::models;

#[test]
fn the_file_compiles_to_the_same_results() {
    let folder = Folder::with_net();
    let outcome = folder.condensec("tune net.onnx --runs 2 --json").json();
    assert_eq!(keys(&outcome), ["file", "levels"]);
    assert_eq!(outcome["file"], "net.tuning.json");
    let levels = outcome["levels"].as_array().unwrap();
    assert_eq!(levels.len(), models::N_LEVELS);
    for level in levels {
        let ms = |key: &str| level[key].as_f64().unwrap();
        assert!(0.0 < ms("after_ms") && ms("after_ms") <= ms("before_ms"));
    }
    folder
        .condensec("net.onnx --tuning net.tuning.json -o tuned")
        .success();
}
