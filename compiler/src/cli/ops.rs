//! `condensec ops`: the ONNX operators that can be imported.

use serde::Serialize;

use super::arguments::FormatArgs;
use super::table::{self, Column};
use crate::frontend::onnx::{NODE_IMPORTERS, OPSETS};
use crate::report::Failure;

/// List the ONNX operators that models may use.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Serialize)]
struct OpEntry {
    op: &'static str,
    /// The first operator set that has it.
    since: u32,
    /// Operator sets that changed it, up to the newest that is known.
    opsets: &'static [u32],
}

pub(super) fn run(args: &Args) -> Result<String, Failure> {
    let entries: Vec<OpEntry> = NODE_IMPORTERS
        .iter()
        .map(|importer| OpEntry {
            op: importer.op_type,
            since: importer
                .since
                .first()
                .copied()
                .expect("every importer names its versions"),
            opsets: importer.since,
        })
        .collect();
    if args.format.json {
        return Ok(super::to_json(&entries));
    }
    let n_ops = entries.len();
    let columns = [
        Column::Text("op"),
        Column::Number("since"),
        Column::Text("versions"),
    ];
    let rows = entries.into_iter().map(|entry| {
        let opsets: Vec<String> = entry.opsets.iter().map(u32::to_string).collect();
        vec![
            entry.op.to_string(),
            entry.since.to_string(),
            opsets.join(" "),
        ]
    });
    let table = table::render(&columns, rows);
    let (first, last) = (OPSETS.start(), OPSETS.end());
    Ok(format!(
        "{table}\n{n_ops} operators of ai.onnx; models of operator sets {first} to {last}\n"
    ))
}
