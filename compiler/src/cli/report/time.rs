//! Where the time goes: predicted cycles of the layers at every level, beside measured times.

use condensec_backends::companions::Manifest;
use maud::{Markup, html};
use plotters::prelude::RGBColor;

use super::bars::Bars;
use super::page::breakable;
use super::plot::{PARTS, REST};
use super::stages::{MOST_STAGES, stages};
use super::{Subject, table};

/// The section.
pub fn section(subject: &Subject) -> Markup {
    let manifest = &subject.manifest;
    let shares = Shares::of(manifest);
    let highest = manifest
        .levels
        .iter()
        .map(|level| level.predicted_cycles)
        .max();
    let (unit, divisor) = match highest.unwrap_or(0) {
        1_000_000_000.. => ("10⁹ cycles", 1e9),
        1_000_000.. => ("10⁶ cycles", 1e6),
        1_000.. => ("10³ cycles", 1e3),
        _ => ("cycles", 1.0),
    };
    let bars = shares.per_level.iter().enumerate().map(|(level, cycles)| {
        let cycles = cycles.iter().map(|&cycles| cycles as f64 / divisor);
        (format!("L{level}"), cycles.collect())
    });
    let bars = Bars {
        label: "Predicted cycles of a run by level, split by layer",
        caption: html! {
            "Cycles of one run on one thread of " (manifest.cpu) " (" (manifest.target) "), as the cost model predicts them."
        },
        bars: bars.collect(),
        parts: shares.parts.clone(),
        axis: unit,
    };
    html! {
        (bars.render())
        (shares.table(manifest))
        (measured(subject))
        (all_layers(manifest))
    }
}

/// Cycles of the parts of a run.
struct Shares {
    parts: Vec<(String, RGBColor)>,
    /// Cycles of each part, by level.
    per_level: Vec<Vec<u64>>,
}

impl Shares {
    fn of(manifest: &Manifest) -> Self {
        let stages = stages(&manifest.layers);
        let names = stages.iter().map(|stage| stage.name.clone());
        let mut parts: Vec<(String, RGBColor)> = names.zip(PARTS).collect();
        parts.push(("everything without weights".into(), REST));
        let per_level = manifest.levels.iter().enumerate().map(|(number, level)| {
            let of = |&layer: &usize| manifest.layers[layer].per_level[number].predicted_cycles;
            let of_stages = stages.iter().map(|stage| stage.layers.iter().map(of).sum());
            let mut cycles: Vec<u64> = of_stages.collect();
            let of_layers: u64 = cycles.iter().sum();
            cycles.push(level.predicted_cycles.saturating_sub(of_layers));
            cycles
        });
        Self {
            parts,
            per_level: per_level.collect(),
        }
    }

    /// The numbers of the plot.
    fn table(&self, manifest: &Manifest) -> Markup {
        html! {
            div.scroll tabindex="0" role="group" aria-label="table: predicted cycles by layer and level" {
                table.names {
                    thead {
                        tr {
                            th scope="col" { "cycles, predicted" }
                            @for (number, level) in manifest.levels.iter().enumerate() {
                                th scope="col" title=(level.name) { "L" (number) }
                            }
                        }
                    }
                    tbody {
                        @for (part, (name, _)) in self.parts.iter().enumerate() {
                            tr {
                                th scope="row" { (breakable(name)) }
                                @for cycles in &self.per_level { td { (table::count(cycles[part])) } }
                            }
                        }
                    }
                    tfoot {
                        tr {
                            th scope="row" { "whole run" }
                            @for level in &manifest.levels { td { (table::count(level.predicted_cycles)) } }
                        }
                    }
                }
            }
        }
    }
}

/// What `bench` measured, beside the prediction.
fn measured(subject: &Subject) -> Markup {
    let Some(benchmark) = &subject.results.benchmark else {
        return html! {
            p.note {
                "Nothing was measured. " code { "condensec bench .. --json > bench.json" } ", then " code { "--bench bench.json" }
                ", adds times."
            }
        };
    };
    let levels = &subject.manifest.levels;
    html! {
        h3 { "Measured" }
        div.scroll tabindex="0" role="group" aria-label="measured times by level" {
            table {
                thead {
                    tr {
                        th scope="col" { "level" }
                        th scope="col" { "min ms" }
                        th scope="col" { "median ms" }
                        th scope="col" { "p95 ms" }
                        th scope="col" { "cycles, predicted" }
                        th scope="col" { "predicted cycles per µs" }
                    }
                }
                tbody {
                    @for time in &benchmark.levels {
                        @let cycles = levels[time.level].predicted_cycles;
                        tr {
                            th scope="row" { "L" (time.level) }
                            td { (table::milliseconds(time.min_ms)) }
                            td { (table::milliseconds(time.median_ms)) }
                            td { (table::milliseconds(time.p95_ms)) }
                            td { (table::count(cycles)) }
                            td { (rate(cycles, time.min_ms)) }
                        }
                    }
                }
            }
        }
        p.note {
            "Predicted cycles over the fastest run: where the prediction is right, this is the clock frequency in MHz, the
            same for all levels."
        }
    }
}

fn rate(cycles: u64, ms: f64) -> String {
    match ms > 0.0 {
        true => format!("{:.0}", cycles as f64 / (1e3 * ms)),
        false => "-".into(),
    }
}

/// Every layer, for those who look for one.
fn all_layers(manifest: &Manifest) -> Markup {
    if manifest.layers.len() <= MOST_STAGES {
        return html! {};
    }
    html! {
        details {
            summary { "All " (manifest.layers.len()) " layers" }
            div.scroll tabindex="0" role="group" aria-label="predicted cycles of all layers" {
                table.names {
                    thead {
                        tr {
                            th scope="col" { "layer" }
                            @for number in 0..manifest.levels.len() { th scope="col" { "L" (number) } }
                        }
                    }
                    tbody {
                        @for layer in &manifest.layers {
                            tr {
                                th scope="row" { (breakable(&layer.name)) }
                                @for at in &layer.per_level { td { (table::count(at.predicted_cycles)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
