//! What lies where in memory: constants of the library, state of an instance, and what a run at each level reads.

use maud::{Markup, html};

use super::bars::Bars;
use super::plot::{PARTS, REST};
use super::{Subject, table};

/// One part of the memory.
struct Part {
    name: &'static str,
    what: &'static str,
    bytes: u64,
    /// Whether it is constant, so that it may stay in flash.
    is_constant: bool,
}

/// The section.
pub fn section(subject: &Subject) -> Markup {
    let manifest = &subject.manifest;
    let parts = parts(subject);
    let sum = |is_constant: bool| -> u64 {
        let wanted = parts.iter().filter(|part| part.is_constant == is_constant);
        wanted.map(|part| part.bytes).sum()
    };
    let (constant, state) = (sum(true), sum(false));
    let (unit, divisor) = match constant.max(state) {
        1_048_576.. => ("MiB", 1_048_576.0),
        _ => ("KiB", 1024.0),
    };
    let bar = |name: &str, is_constant: bool| {
        let of = |part: &Part| match part.is_constant == is_constant {
            true => part.bytes as f64 / divisor,
            false => 0.0,
        };
        (name.to_string(), parts.iter().map(of).collect())
    };
    let colours = [PARTS[0], PARTS[1], PARTS[2], PARTS[3], PARTS[5], REST];
    // The state comes last, the only part of its bar.
    let n_constant = parts.iter().filter(|part| part.is_constant).count();
    let colour = |(at, part): (usize, &Part)| {
        let colour = match part.is_constant {
            true => colours[at.min(n_constant - 1)],
            false => PARTS[4],
        };
        (part.name.to_string(), colour)
    };
    let bars = Bars {
        label: "Memory of the library: constants, and the state of an instance",
        caption: html! {
            "Constants may stay in flash and are there once, however many instances run. Each instance has a state in RAM."
        },
        bars: vec![bar("constants", true), bar("state", false)],
        parts: parts.iter().enumerate().map(colour).collect(),
        axis: unit,
    };
    let share = |part: &Part| {
        let of = if part.is_constant { constant } else { state };
        format!("{:.1} %", 100.0 * part.bytes as f64 / of.max(1) as f64)
    };
    html! {
        p {
            @if subject.is_library { "As in the library's manifest." }
            @else { "As a library for this target would have it; it was compiled in memory. " code { "--library DIR" } " shows one that is on disk." }
        }
        (bars.render())
        div.scroll tabindex="0" role="group" aria-label="table: parts of the memory" {
            table.names {
                thead {
                    tr {
                        th.word scope="col" { "part" }
                        th scope="col" { "bytes" }
                        th scope="col" { "size" }
                        th scope="col" { "share" }
                        th.word scope="col" { "what it is" }
                    }
                }
                tbody {
                    @for part in &parts {
                        tr {
                            th scope="row" { (part.name) }
                            td { (part.bytes) }
                            td { (table::bytes(part.bytes)) }
                            td { (share(part)) }
                            td.word { (part.what) }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" { "constants together" }
                        td { (constant) }
                        td { (table::bytes(constant)) }
                        td colspan="2" {}
                    }
                }
            }
        }
        h3 { "Weights that a run reads" }
        div.scroll tabindex="0" role="group" aria-label="weights that a run reads, by level" {
            table {
                thead {
                    tr {
                        th scope="col" { "level" }
                        th scope="col" { "bytes" }
                        th scope="col" { "size" }
                        th scope="col" { "of the buffer" }
                    }
                }
                tbody {
                    @for (number, level) in manifest.levels.iter().enumerate() {
                        tr {
                            th scope="row" { "L" (number) }
                            td { (level.weight_bytes) }
                            td { (table::bytes(level.weight_bytes)) }
                            td { (format!("{:.1} %", 100.0 * level.weight_bytes as f64 / manifest.bytes.weights.max(1) as f64)) }
                        }
                    }
                }
            }
        }
        p.note { "All levels read the one buffer; a lower level reads less of it, and nothing is copied at a switch." }
    }
}

fn parts(subject: &Subject) -> Vec<Part> {
    let manifest = &subject.manifest;
    let constant = |name, what, bytes| Part {
        name,
        what,
        bytes,
        is_constant: true,
    };
    let mut parts = vec![
        constant(
            "weights",
            "one buffer for all levels",
            manifest.bytes.weights,
        ),
        constant(
            "indices",
            "where kept weights belong; a level reads a part",
            manifest.bytes.indices,
        ),
    ];
    match manifest.table_parts {
        Some(tables) => parts.extend([
            constant(
                "lists",
                "starts and lengths of lists, parameters by level",
                tables.lists,
            ),
            constant(
                "steps",
                "what a run does, one table per level",
                tables.steps,
            ),
            constant("descriptor", "names, shapes, sizes", tables.descriptor),
        ]),
        // A library of an earlier compiler.
        None => parts.push(constant(
            "tables",
            "lists, parameters, steps, descriptor",
            manifest.bytes.tables,
        )),
    }
    parts.push(constant(
        "code",
        "kernels and the switching runtime",
        manifest.bytes.code,
    ));
    parts.push(Part {
        name: "state",
        what: "activations and the level, for each instance",
        bytes: manifest.state_bytes,
        is_constant: false,
    });
    parts
}
