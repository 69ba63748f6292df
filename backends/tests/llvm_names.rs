//! Names of CPUs and features are LLVM's, whichever back end compiles.

use crate::support::run_on::{every_cpu, find_command, title};
use std::process::{Command, Stdio};

/// `llc` says nothing about what it knows, and names in a warning what it does not.
#[test]
fn llvm_knows_every_cpu_and_feature() {
    let Some(llc) = find_command("llc-22") else {
        println!("skipped: llvm_knows_every_cpu_and_feature: no llc-22");
        return;
    };
    for target in every_cpu() {
        let output = Command::new(&llc)
            .args(["-mtriple", target.triple(), "-mcpu", target.llvm_cpu()])
            .arg(format!("-mattr={}", target.llvm_features()))
            .args(["-filetype=null", "-"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", title(&target));
        assert_eq!(said, "", "{}", title(&target));
    }
}
