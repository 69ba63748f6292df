//! Finds the level data of a model: which tensor has which.

use std::collections::HashSet;

use condensec_ir::Diagnostic;
use indexmap::IndexMap;

use super::SUFFIXES;
use super::level_array::LevelArray;
use super::metadata::{declared_levels, level_count_missing, unknown_entry};
use crate::frontend::onnx::proto::ModelProto;
use crate::frontend::onnx::sidecar::MaskFile;

/// The model's levels and the level data of its tensors.
#[derive(Debug, Default)]
pub struct LevelTable {
    /// Number of levels; 1 for a model without level data.
    pub n_levels: u32,
    /// One name per level, or none.
    pub level_names: Vec<String>,
    pub(super) companions: IndexMap<String, Companions>,
}

/// The level data of one tensor.
#[derive(Debug, Default)]
pub struct Companions {
    pub level: Option<LevelArray>,
    pub levels: Option<LevelArray>,
    pub scale: Option<LevelArray>,
    pub block: Option<Vec<usize>>,
}

impl LevelTable {
    /// Collects the level data of `model` and `sidecar`. `tensors` are the names of all constants
    /// that level data may belong to, `read` the names that some node reads: a tensor that a node
    /// reads is no level data, whatever its name.
    pub fn collect(
        model: &ModelProto,
        sidecar: Option<&MaskFile>,
        tensors: &HashSet<&str>,
        read: &HashSet<&str>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> LevelTable {
        let mut table = LevelTable::default();
        let declared = declared_levels(model, sidecar, diagnostics);
        let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
        let given = initializers
            .map(|tensor| tensor.name())
            .filter(|name| !read.contains(name));
        let in_sidecar: Vec<&str> = sidecar
            .into_iter()
            .flat_map(MaskFile::tensors)
            .map(|array| array.name.as_str())
            .collect();
        let mut names: IndexMap<&str, (&str, &str)> = IndexMap::new();
        for name in given.chain(in_sidecar.iter().copied()) {
            if let Some(split) = split_name(name) {
                names.insert(name, split);
            }
        }
        for name in &in_sidecar {
            if !names.contains_key(name) {
                diagnostics.push(unknown_entry(sidecar, name));
            }
        }
        // Without a level count the names may be chance, unless their tensors exist as well.
        names.retain(|name, (base, _)| {
            declared.is_some() || tensors.contains(base) || in_sidecar.contains(name)
        });
        if declared.is_none() && !names.is_empty() {
            diagnostics.push(level_count_missing(&names));
        }
        table.n_levels = declared.and_then(Result::ok).unwrap_or(1);
        let is_count_known =
            !matches!(declared, Some(Err(()))) && (declared.is_some() || names.is_empty());
        if !is_count_known {
            // Every shape would look wrong.
            return table;
        }
        if let Some(text) = model.metadata("condense.level_names") {
            table.read_level_names(text, diagnostics);
        }
        for (name, (base, suffix)) in &names {
            if !tensors.contains(base) {
                diagnostics.push(
                    Diagnostic::error(
                        "level-data-without-tensor",
                        format!("`{name}` belongs to no tensor: there is no constant `{base}`"),
                    )
                    .at_tensor(*name)
                    .with_help("name level data after the initializer it belongs to"),
                );
                continue;
            }
            let array = match LevelArray::find(model, sidecar, name) {
                Ok(array) => array,
                Err(diagnostic) => {
                    diagnostics.push(diagnostic);
                    continue;
                }
            };
            let companions = table.companions.entry(base.to_string()).or_default();
            match *suffix {
                "__level" => companions.level = Some(array),
                "__levels" => companions.levels = Some(array),
                _ => companions.scale = Some(array),
            }
            if !read.contains(base) {
                diagnostics.push(
                    Diagnostic::warning(
                        "level-data-unused",
                        format!("no node reads `{base}`, so its level data has no effect"),
                    )
                    .at_tensor(*name),
                );
            }
        }
        table.read_blocks(model, sidecar, diagnostics);
        table
    }

    /// Whether an initializer is level data and not a tensor of the network.
    pub fn contains(&self, name: &str) -> bool {
        split_name(name).is_some_and(|(base, suffix)| {
            self.companions
                .get(base)
                .is_some_and(|companions| match suffix {
                    "__level" => companions.level.is_some(),
                    "__levels" => companions.levels.is_some(),
                    _ => companions.scale.is_some(),
                })
        })
    }
}

/// Base name and suffix of a name of level data.
fn split_name(name: &str) -> Option<(&str, &'static str)> {
    SUFFIXES.iter().find_map(|suffix| {
        let base = name.strip_suffix(suffix).filter(|base| !base.is_empty())?;
        Some((base, *suffix))
    })
}
