//! Tuning files: schedules that `condensec tune` measured, for `--tuning`.
//!
//! ```json
//! {
//!   "condensec_tuning": 1,
//!   "model": "resnet50", "target": "x86_64", "cpu": "native", "backend": "llvm",
//!   "layers": { "layer1.0.conv1": ["stored/1", null, "stored+prefetch/4"] }
//! }
//! ```
//! A layer has one entry per level, L0 first; null leaves it to the cost model. What a file says of
//! another machine still compiles to a right library, only maybe not the fastest.

use std::collections::BTreeMap;
use std::path::Path;

use condensec_ir::{Diagnostic, Graph};
use condensec_passes::lower::{Schedule, Schedules};
use serde::{Deserialize, Serialize};

use crate::driver::read_bytes;
use crate::report::Failure;

const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tuning {
    condensec_tuning: u32,
    model: String,
    target: String,
    cpu: String,
    backend: String,
    layers: BTreeMap<String, Vec<Option<String>>>,
}

/// What a tuning was measured on.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Name of the target.
    pub target: &'a str,
    /// CPU of the target.
    pub cpu: &'a str,
    /// Name of the back end.
    pub backend: &'a str,
}

impl Tuning {
    /// The file's contents for `schedules`.
    pub fn new(measured: Measured<'_>, schedules: &Schedules) -> Self {
        let texts = |levels: &[Option<Schedule>]| {
            let text = |schedule: &Option<Schedule>| schedule.map(|s| s.to_string());
            levels.iter().map(text).collect()
        };
        Self {
            condensec_tuning: VERSION,
            model: measured.model.into(),
            target: measured.target.into(),
            cpu: measured.cpu.into(),
            backend: measured.backend.into(),
            layers: schedules
                .nodes()
                .map(|(node, levels)| (node.to_string(), texts(levels)))
                .collect(),
        }
    }

    /// Reads the schedules of the file at `path`.
    ///
    /// # Errors
    /// `file-not-found` and others of [`read_bytes`], `bad-tuning`.
    pub fn read(path: &Path) -> Result<Schedules, Failure> {
        let file = path.display().to_string();
        let bad = |what: String| -> Failure {
            Diagnostic::error("bad-tuning", format!("not a tuning file: {what}"))
                .at_file(&file)
                .with_help("condensec tune MODEL -o FILE writes one")
                .into()
        };
        let tuning: Self =
            serde_json::from_slice(&read_bytes(path)?).map_err(|error| bad(error.to_string()))?;
        if tuning.condensec_tuning != VERSION {
            let found = tuning.condensec_tuning;
            return Err(bad(format!("version {found}, expected {VERSION}")));
        }
        let mut schedules = Schedules::default();
        for (node, levels) in &tuning.layers {
            let parsed: Result<Vec<Option<Schedule>>, String> = levels
                .iter()
                .map(|level| level.as_deref().map(str::parse).transpose())
                .collect();
            let parsed = parsed.map_err(|what| bad(format!("layer {node}: {what}")))?;
            schedules.set(node, parsed);
        }
        Ok(schedules)
    }
}

/// A warning if `schedules` name layers that `graph` does not have: another model's file.
pub fn check(schedules: &Schedules, graph: &Graph) -> Option<Diagnostic> {
    let order = graph.order();
    let has = |name: &str| order.iter().any(|&id| graph.node(id).name == name);
    let unknown: Vec<&str> = schedules
        .nodes()
        .map(|(node, _)| node)
        .filter(|node| !has(node))
        .collect();
    let first = unknown.first()?;
    let message = format!(
        "the tuning file names {} layers that the model does not have, first {first:?}",
        unknown.len()
    );
    Some(
        Diagnostic::warning("tuning-not-for-model", message)
            .with_help("tune this model: condensec tune MODEL -o FILE"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let mut schedules = Schedules::default();
        let levels = vec![None, Some("stored+prefetch/4".parse().unwrap())];
        schedules.set("conv", levels.clone());
        let measured = Measured {
            model: "m",
            target: "x86_64",
            cpu: "native",
            backend: "llvm",
        };
        let tuning = Tuning::new(measured, &schedules);
        std::fs::write(&path, serde_json::to_vec(&tuning).unwrap()).unwrap();
        let read = Tuning::read(&path).unwrap();
        assert_eq!(
            read.nodes().collect::<Vec<_>>(),
            [("conv", levels.as_slice())]
        );
    }

    #[test]
    fn garbage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        for (text, expected) in [
            ("[]", "not a tuning file: "),
            (
                r#"{"condensec_tuning": 2, "model": "", "target": "", "cpu": "", "backend": "", "layers": {}}"#,
                "not a tuning file: version 2, expected 1",
            ),
            (
                r#"{"condensec_tuning": 1, "model": "", "target": "", "cpu": "", "backend": "", "layers": {"a": ["fast"]}}"#,
                "not a tuning file: layer a: \"fast\" is no schedule",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let Failure(diagnostics) = Tuning::read(&path).unwrap_err();
            assert!(diagnostics[0].message.starts_with(expected), "{text}");
        }
    }
}
