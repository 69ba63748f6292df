//! Metadata of level data: how many levels, their names, and the blocks of masks.

use condensec_ir::Diagnostic;
use indexmap::IndexMap;

use super::table::LevelTable;
use super::{BLOCK_PREFIX, MAX_LEVELS};
use crate::frontend::onnx::proto::ModelProto;
use crate::frontend::onnx::sidecar::MaskFile;

impl LevelTable {
    pub(super) fn read_level_names(&mut self, text: &str, diagnostics: &mut Vec<Diagnostic>) {
        let names: Vec<String> = text
            .split(',')
            .map(|name| name.trim().to_string())
            .collect();
        if names.len() == self.n_levels as usize {
            self.level_names = names;
            return;
        }
        diagnostics.push(
            Diagnostic::error(
                "level-names-mismatch",
                format!(
                    "`condense.level_names` has {} names for {} levels",
                    names.len(),
                    self.n_levels
                ),
            )
            .with_help("separate the names by commas, L0 first"),
        );
    }

    pub(super) fn read_blocks(
        &mut self,
        model: &ModelProto,
        sidecar: Option<&MaskFile>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        for entry in &model.metadata_props {
            let Some(base) = entry.key().strip_prefix(BLOCK_PREFIX) else {
                continue;
            };
            let sizes: Option<Vec<usize>> = entry
                .value()
                .split('x')
                .map(|size| size.trim().parse().ok())
                .collect();
            self.set_block(base, sizes, entry.value(), diagnostics);
        }
        let Some(file) = sidecar else { return };
        for key in file.keys() {
            let Some(base) = key.strip_prefix(BLOCK_PREFIX) else {
                if !matches!(
                    key,
                    "condense.levels" | "condense.version" | "condense.level_names"
                ) {
                    diagnostics.push(unknown_entry(sidecar, key));
                } else if key == "condense.level_names" && file.has_unread_text(key) {
                    diagnostics.push(
                        unknown_entry(sidecar, key)
                            .with_note("level names are read from the model only"),
                    );
                }
                continue;
            };
            match file.integers(key) {
                Ok(sizes) => {
                    let given = sizes.unwrap_or_default();
                    let sizes = given
                        .iter()
                        .map(|&size| usize::try_from(size).ok())
                        .collect();
                    self.set_block(base, sizes, &format!("{given:?}"), diagnostics);
                }
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
        }
    }

    fn set_block(
        &mut self,
        base: &str,
        sizes: Option<Vec<usize>>,
        given: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let Some(companions) = self.companions.get_mut(base).filter(|c| c.level.is_some()) else {
            diagnostics.push(
                Diagnostic::warning(
                    "block-without-mask",
                    format!(
                        "`{BLOCK_PREFIX}{base}` has no effect: there is no mask `{base}__level`"
                    ),
                )
                .at_tensor(base),
            );
            return;
        };
        match sizes {
            Some(sizes) if !sizes.contains(&0) && !sizes.is_empty() => {
                companions.block = Some(sizes)
            }
            _ => diagnostics.push(
                Diagnostic::error(
                    "mask-block-invalid",
                    format!(
                        "`{BLOCK_PREFIX}{base}` is `{given}`, expected one positive size per \
                         axis, as in 4x1x1x1"
                    ),
                )
                .at_tensor(format!("{base}__level")),
            ),
        }
    }
}

/// The number of levels that model or sidecar declare; `Some(Err)` where it cannot be used.
pub fn declared_levels(
    model: &ModelProto,
    sidecar: Option<&MaskFile>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Result<u32, ()>> {
    let mut report = |diagnostic| diagnostics.push(diagnostic);
    let in_range = |n: i64| {
        u32::try_from(n)
            .ok()
            .filter(|n| (1..=MAX_LEVELS).contains(n))
    };
    let bad_count = |found: String| {
        Diagnostic::error(
            "bad-level-count",
            format!("`condense.levels` is {found}, expected 1 to {MAX_LEVELS}"),
        )
    };
    let unsupported_version = |found: &str| {
        Diagnostic::error(
            "unsupported-version",
            format!("`condense.version` is {found}, expected 1"),
        )
        .with_help("the file is newer than this compiler, or its exporter left the version out")
    };

    let in_model = model.metadata("condense.levels").map(|text| {
        let parsed: Option<u32> = text.trim().parse().ok().and_then(in_range);
        parsed.ok_or_else(|| report(bad_count(format!("`{text}`"))))
    });
    match model.metadata("condense.version") {
        Some(version) if version.trim() == "1" => {}
        Some(version) => report(unsupported_version(&format!("`{version}`"))),
        None if in_model.is_some() => report(unsupported_version("missing")),
        None => {}
    }
    let Some(file) = sidecar else { return in_model };

    match file.integers("condense.version") {
        Ok(None) => {}
        Ok(Some(version)) if version == [1] => {}
        Ok(Some(version)) => {
            report(unsupported_version(&format!("{version:?}")).at_file(file.path()))
        }
        Err(diagnostic) => report(diagnostic.at_file(file.path())),
    }
    let in_file = match file.integers("condense.levels") {
        Ok(None) => return in_model,
        Ok(Some(values)) => match values[..] {
            [n] => in_range(n).ok_or_else(|| report(bad_count(n.to_string()).at_file(file.path()))),
            _ => {
                report(bad_count(format!("{} numbers", values.len())).at_file(file.path()));
                Err(())
            }
        },
        Err(diagnostic) => {
            report(diagnostic);
            Err(())
        }
    };
    if let (Some(Ok(model)), Ok(file_count)) = (&in_model, &in_file)
        && model != file_count
    {
        report(
            Diagnostic::error(
                "level-count-conflict",
                format!("the mask file has {file_count} levels, the model {model}"),
            )
            .at_file(file.path()),
        );
    }
    Some(in_file)
}

/// Level data without metadata.
pub fn level_count_missing(names: &IndexMap<&str, (&str, &str)>) -> Diagnostic {
    let first = names
        .keys()
        .next()
        .expect("the caller has found level data");
    let others = match names.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Diagnostic::error(
        "level-count-missing",
        format!("level data `{first}`{others}, but the metadata `condense.levels` is missing"),
    )
    .at_tensor(*first)
    .with_help(
        "set the metadata `condense.version` to 1 and `condense.levels` to the number of levels, \
         or put the array `condense.levels` into the masks file",
    )
}

/// An array of the sidecar that means nothing here.
pub fn unknown_entry(sidecar: Option<&MaskFile>, name: &str) -> Diagnostic {
    Diagnostic::warning(
        "mask-file-entry-unknown",
        format!("`{name}` is no level data and is ignored"),
    )
    .at_file(sidecar.map_or("", MaskFile::path))
    .at_tensor(name)
    .with_help(
        "names end in __level, __levels or __scale, or are condense.levels or condense.block:NAME",
    )
}
