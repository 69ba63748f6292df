//! `condensec targets`: the machines that condensec compiles for, and by which back end of this build.

use condensec_backends::{BACKENDS, TARGETS, targets};
use serde::Serialize;

use super::arguments::FormatArgs;
use super::table::{self, Column};
use crate::report::Failure;

/// List the machines that condensec compiles for, and the back ends of this build that do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Serialize)]
struct TargetEntry {
    name: &'static str,
    triple: &'static str,
    /// The default; all are in `cpus`.
    cpu: &'static str,
    /// The one that is taken if the user names none; all are in `backends`. None where it takes another build.
    backend: Option<&'static str>,
    tier: u8,
    tested: &'static str,
    machine: &'static str,
    cpus: Vec<&'static str>,
    features: Vec<&'static str>,
    backends: Vec<&'static str>,
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let entries: Vec<TargetEntry> = TARGETS.iter().map(|spec| entry(spec)).collect();
    if args.format.json {
        return Ok(super::to_json(&entries));
    }
    let columns = [
        Column::Text("name"),
        Column::Text("machine"),
        Column::Text("back ends"),
        Column::Number("tier"),
        Column::Text("tested"),
        Column::Text("CPUs"),
        Column::Text("features"),
    ];
    let rows = entries.into_iter().map(|entry| {
        vec![
            entry.name.to_string(),
            entry.machine.to_string(),
            match entry.backends.as_slice() {
                [] => "needs the LLVM build".to_string(),
                backends => backends.join(" "),
            },
            entry.tier.to_string(),
            entry.tested.to_string(),
            entry.cpus.join(" "),
            entry.features.join(" "),
        ]
    });
    Ok(table::render(&columns, rows))
}

fn entry(spec: &'static targets::TargetSpec) -> TargetEntry {
    let none: &[&str] = &[];
    let target = targets::resolve(spec.name, None, none).expect("TARGETS resolve by name");
    let backends: Vec<&str> = BACKENDS
        .iter()
        .filter(|b| b.supports(&target))
        .map(|b| b.name())
        .collect();
    TargetEntry {
        name: spec.name,
        triple: spec.triple,
        cpu: spec.cpus[0].name,
        backend: backends.first().copied(),
        tier: spec.tier as u8,
        tested: spec.tested,
        machine: spec.what,
        cpus: spec.cpus.iter().map(|cpu| cpu.name).collect(),
        features: spec.features.iter().map(|feature| feature.name).collect(),
        backends,
    }
}
