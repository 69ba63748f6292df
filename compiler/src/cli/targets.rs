//! `condensec targets`: the machines that this build compiles for.

use condensec_backends::{BACKENDS, TARGETS, targets};
use serde::Serialize;

use super::arguments::FormatArgs;
use super::table::{self, Column};
use crate::report::Failure;

/// List the machines that this build compiles for.
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
    /// The one that is taken if the user names none; all are in `backends`.
    backend: Option<&'static str>,
    tier: u8,
    tested: &'static str,
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
        Column::Text("triple"),
        Column::Text("CPUs"),
        Column::Text("features"),
        Column::Text("back ends"),
        Column::Number("tier"),
        Column::Text("tested"),
    ];
    let rows = entries.into_iter().map(|entry| {
        vec![
            entry.name.to_string(),
            entry.triple.to_string(),
            entry.cpus.join(" "),
            entry.features.join(" "),
            entry.backends.join(" "),
            entry.tier.to_string(),
            entry.tested.to_string(),
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
        cpus: spec.cpus.iter().map(|cpu| cpu.name).collect(),
        features: spec.features.iter().map(|feature| feature.name).collect(),
        backends,
    }
}
