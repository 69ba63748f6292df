//! Finds the level data of a model and attaches it to the tensors it belongs to.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use condensec_ir::Diagnostic;
use condensec_ir::sparsity::LevelMask;
use indexmap::IndexMap;

use super::{ChannelScale, MAX_LEVELS, SUFFIXES};
use crate::frontend::onnx::constants::{ByLevel, Constant, Literal};
use crate::frontend::onnx::proto::{DataType, ModelProto, TensorProto};
use crate::frontend::onnx::sidecar::MaskFile;
use crate::npz::NpzElems;

const BLOCK_PREFIX: &str = "condense.block:";

/// The model's levels and the level data of its tensors.
#[derive(Debug, Default)]
pub struct LevelTable {
    /// Number of levels; 1 for a model without level data.
    pub n_levels: u32,
    /// One name per level, or none.
    pub level_names: Vec<String>,
    companions: IndexMap<String, Companions>,
}

/// The level data of one tensor.
#[derive(Debug, Default)]
struct Companions {
    level: Option<LevelArray>,
    levels: Option<LevelArray>,
    scale: Option<LevelArray>,
    block: Option<Vec<usize>>,
}

/// A tensor of level data as it was given.
#[derive(Debug, Clone)]
struct LevelArray {
    name: String,
    shape: Vec<usize>,
    elems: LevelElems,
}

#[derive(Debug, Clone)]
enum LevelElems {
    U8(Arc<[u8]>),
    F32(Arc<[f32]>),
    /// A type that no level data has, by its name.
    Other(String),
}

impl LevelArray {
    fn from_proto(tensor: &TensorProto) -> Result<LevelArray, Diagnostic> {
        let fault = |message: String| {
            Diagnostic::error("bad-tensor", message).at_tensor(tensor.name())
        };
        let text = |error: crate::frontend::onnx::proto::ProtoError| fault(error.to_string());
        let elems = match tensor.elem_type().map_err(text)? {
            DataType::Uint8 => LevelElems::U8(tensor.to_u8_vec().map_err(text)?.into()),
            DataType::Float => LevelElems::F32(tensor.to_f32_vec().map_err(text)?.into()),
            other => LevelElems::Other(other.to_string().to_ascii_lowercase()),
        };
        let shape: Option<Vec<usize>> =
            tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let shape = shape.ok_or_else(|| fault(format!("impossible dims {:?}", tensor.dims)))?;
        Ok(LevelArray {
            name: tensor.name().to_string(),
            shape,
            elems,
        })
    }

    fn elem_type(&self) -> &str {
        match &self.elems {
            LevelElems::U8(_) => "uint8",
            LevelElems::F32(_) => "float32",
            LevelElems::Other(name) => name,
        }
    }
}

impl LevelTable {
    /// Collects the level data of `model` and `sidecar`. `tensors` are the names of all constants that level data may belong to,
    /// `read` the names that some node reads: a tensor that a node reads is no level data, whatever its name.
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
        let given = initializers.map(|tensor| tensor.name()).filter(|name| !read.contains(name));
        let in_sidecar: Vec<&str> =
            sidecar.into_iter().flat_map(MaskFile::tensors).map(|array| array.name.as_str()).collect();
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
        let is_count_known = !matches!(declared, Some(Err(()))) && (declared.is_some() || names.is_empty());
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
            let array = match level_array(model, sidecar, name) {
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
            self.companions.get(base).is_some_and(|companions| match suffix {
                "__level" => companions.level.is_some(),
                "__levels" => companions.levels.is_some(),
                _ => companions.scale.is_some(),
            })
        })
    }

    /// Gives `constant` the level data that belongs to its name.
    pub fn attach(&self, constant: &mut Constant, diagnostics: &mut Vec<Diagnostic>) {
        let Some(companions) = self.companions.get(&constant.name) else { return };
        let mut attach = |attached: Result<(), Diagnostic>| {
            if let Err(diagnostic) = attached {
                diagnostics.push(diagnostic);
            }
        };
        if let (Some(mask), Some(rows)) = (&companions.level, &companions.levels) {
            return attach(Err(Diagnostic::error(
                "level-data-conflict",
                format!("`{}` has both a mask `{}` and values per level `{}`", constant.name, mask.name, rows.name),
            )
            .at_tensor(&constant.name)
            .with_help("weights take a mask, small parameters take values per level")));
        }
        if let Some(mask) = &companions.level {
            attach(self.attach_mask(constant, mask, companions.block.as_deref()));
        }
        if let Some(rows) = &companions.levels {
            attach(self.attach_rows(constant, rows));
        }
        if let Some(scale) = &companions.scale {
            attach(attach_scale(constant, scale));
        }
        self.warn_about(constant, companions, diagnostics);
    }

    fn attach_mask(
        &self,
        constant: &mut Constant,
        mask: &LevelArray,
        block: Option<&[usize]>,
    ) -> Result<(), Diagnostic> {
        let shape = constant.shape().to_vec();
        if constant.literal.as_f32().is_none() {
            return Err(Diagnostic::error(
                "mask-not-on-weight",
                format!("`{}` masks a tensor of type {}, expected FLOAT", mask.name, constant.literal.elems),
            )
            .at_tensor(&mask.name));
        }
        let LevelElems::U8(values) = &mask.elems else {
            return Err(Diagnostic::error(
                "mask-dtype-mismatch",
                format!("`{}` is {}, expected uint8", mask.name, mask.elem_type()),
            )
            .at_tensor(&mask.name)
            .with_note("value v means: the weight is active at every level from v up"));
        };
        let ones = vec![1; shape.len()];
        let given_block = block.unwrap_or(&ones);
        if given_block.len() != shape.len() {
            return Err(Diagnostic::error(
                "mask-block-invalid",
                format!(
                    "block {} has {} axes, the weight `{}` of shape {shape:?} has {}",
                    block_text(given_block),
                    given_block.len(),
                    constant.name,
                    shape.len()
                ),
            )
            .at_tensor(&mask.name));
        }
        match LevelMask::from_grid(&shape, given_block, &mask.shape, values) {
            Ok(mask) => {
                constant.levels = ByLevel::Masked(mask);
                Ok(())
            }
            Err(_) => {
                let grid: Vec<usize> =
                    shape.iter().zip(given_block).map(|(size, block)| size.div_ceil(*block)).collect();
                let expected = match block {
                    Some(block) => {
                        format!("{shape:?}, or {grid:?} in blocks of {}", block_text(block))
                    }
                    None => format!("{shape:?}"),
                };
                Err(Diagnostic::error(
                    "mask-shape-mismatch",
                    format!(
                        "`{}` has shape {:?}, the weight `{}` needs {expected}",
                        mask.name, mask.shape, constant.name
                    ),
                )
                .at_tensor(&mask.name)
                .with_help(match block {
                    Some(_) => "a mask has one value per weight, or one per block".to_string(),
                    None => format!(
                        "for one value per block, say which block in the metadata `{BLOCK_PREFIX}{}`, as in 4x1x1x1",
                        constant.name
                    ),
                }))
            }
        }
    }

    fn attach_rows(&self, constant: &mut Constant, rows: &LevelArray) -> Result<(), Diagnostic> {
        let (LevelElems::F32(values), Some(_)) = (&rows.elems, constant.literal.as_f32()) else {
            return Err(Diagnostic::error(
                "levels-dtype-mismatch",
                format!(
                    "`{}` is {} and `{}` is {}, expected float32 of both",
                    rows.name,
                    rows.elem_type(),
                    constant.name,
                    constant.literal.elems
                ),
            )
            .at_tensor(&rows.name));
        };
        let expected = [&[self.n_levels as usize], constant.shape()].concat();
        let n_elems = constant.literal.n_elems();
        if rows.shape != expected || values.len() != n_elems * self.n_levels as usize {
            return Err(Diagnostic::error(
                "levels-shape-mismatch",
                format!(
                    "`{}` has shape {:?}, expected {expected:?}: one `{}` of shape {:?} for each of {} levels",
                    rows.name,
                    rows.shape,
                    constant.name,
                    constant.shape(),
                    self.n_levels
                ),
            )
            .at_tensor(&rows.name)
            .with_help("give one row per level, L0 first"));
        }
        // The rows win over the plain tensor, which has been compared with the top one.
        constant.levels = ByLevel::Rows(values.clone());
        Ok(())
    }

    fn warn_about(
        &self,
        constant: &mut Constant,
        companions: &Companions,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let top = self.n_levels - 1;
        let shape = constant.shape().to_vec();
        let Some(values) = constant.literal.as_f32().cloned() else { return };
        match &mut constant.levels {
            ByLevel::Masked(mask) => {
                let is_active = |v: u8| u32::from(v) < self.n_levels;
                let name = format!("{}__level", constant.name);
                if !mask.values().is_empty() && !mask.values().iter().any(|&v| is_active(v)) {
                    diagnostics.push(
                        Diagnostic::warning(
                            "layer-never-active",
                            format!("no weight of `{}` is active at any of {} levels", constant.name, self.n_levels),
                        )
                        .at_tensor(&name)
                        .with_note(format!("values run from 0 to {top}; larger ones mean never active")),
                    );
                } else {
                    let differs = |at: &usize| values[*at] != 0.0 && !is_active(mask.values()[*at]);
                    if let Some(at) = (0..values.len()).find(differs) {
                        let n_lost = (0..values.len()).filter(differs).count();
                        diagnostics.push(top_differs(&constant.name, &shape, at, values[at], 0.0, n_lost));
                    }
                }
                if !is_constant_on_blocks(&shape, mask.block(), mask.values()) {
                    diagnostics.push(
                        Diagnostic::warning(
                            "mask-block-differs",
                            format!(
                                "the values of `{name}` differ within blocks of {}; the block is ignored",
                                block_text(mask.block())
                            ),
                        )
                        .at_tensor(&name),
                    );
                    *mask = LevelMask::new(mask.values(), &vec![1; shape.len()]);
                }
            }
            ByLevel::Rows(rows) => {
                let row = Arc::from(&rows[top as usize * values.len()..]);
                warn_of_top(&constant.name, &shape, &values, &row, diagnostics);
                constant.literal = Literal::f32(&shape, row);
            }
            ByLevel::Shared => {}
        }
        if let (Some(scale), Some(_)) = (&constant.scale, &companions.scale)
            && let [n_levels, n_channels] = scale.shape[..]
            && n_levels == self.n_levels as usize
        {
            let row: Arc<[f32]> = Arc::from(&scale.rows[top as usize * n_channels..]);
            let ones = vec![1.0; n_channels].into();
            warn_of_top(&scale.name, &[n_channels], &ones, &row, diagnostics);
        }
    }

    fn read_level_names(&mut self, text: &str, diagnostics: &mut Vec<Diagnostic>) {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_string()).collect();
        if names.len() == self.n_levels as usize {
            self.level_names = names;
            return;
        }
        diagnostics.push(
            Diagnostic::error(
                "level-names-mismatch",
                format!("`condense.level_names` has {} names for {} levels", names.len(), self.n_levels),
            )
            .with_help("separate the names by commas, L0 first"),
        );
    }

    fn read_blocks(
        &mut self,
        model: &ModelProto,
        sidecar: Option<&MaskFile>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        for entry in &model.metadata_props {
            let Some(base) = entry.key().strip_prefix(BLOCK_PREFIX) else { continue };
            let sizes: Option<Vec<usize>> =
                entry.value().split('x').map(|size| size.trim().parse().ok()).collect();
            self.set_block(base, sizes, entry.value(), diagnostics);
        }
        let Some(file) = sidecar else { return };
        for key in file.keys() {
            let Some(base) = key.strip_prefix(BLOCK_PREFIX) else {
                if !matches!(key, "condense.levels" | "condense.version" | "condense.level_names") {
                    diagnostics.push(unknown_entry(sidecar, key));
                } else if key == "condense.level_names" && file.has_unread_text(key) {
                    diagnostics.push(unknown_entry(sidecar, key).with_note("level names are read from the model only"));
                }
                continue;
            };
            match file.integers(key) {
                Ok(sizes) => {
                    let given = sizes.unwrap_or_default();
                    let sizes = given.iter().map(|&size| usize::try_from(size).ok()).collect();
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
                    format!("`{BLOCK_PREFIX}{base}` has no effect: there is no mask `{base}__level`"),
                )
                .at_tensor(base),
            );
            return;
        };
        match sizes {
            Some(sizes) if !sizes.contains(&0) && !sizes.is_empty() => companions.block = Some(sizes),
            _ => diagnostics.push(
                Diagnostic::error(
                    "mask-block-invalid",
                    format!("`{BLOCK_PREFIX}{base}` is `{given}`, expected one positive size per axis, as in 4x1x1x1"),
                )
                .at_tensor(format!("{base}__level")),
            ),
        }
    }
}

fn attach_scale(constant: &mut Constant, scale: &LevelArray) -> Result<(), Diagnostic> {
    let LevelElems::F32(rows) = &scale.elems else {
        return Err(Diagnostic::error(
            "scale-dtype-mismatch",
            format!("`{}` is {}, expected float32", scale.name, scale.elem_type()),
        )
        .at_tensor(&scale.name));
    };
    // Its shape is checked where the output channels are known.
    constant.scale = Some(Rc::new(ChannelScale {
        name: scale.name.clone(),
        shape: scale.shape.clone(),
        rows: rows.clone(),
    }));
    Ok(())
}

/// Base name and suffix of a name of level data.
fn split_name(name: &str) -> Option<(&str, &'static str)> {
    SUFFIXES.iter().find_map(|suffix| {
        let base = name.strip_suffix(suffix).filter(|base| !base.is_empty())?;
        Some((base, *suffix))
    })
}

/// The level data `name`; the sidecar's wins.
fn level_array(
    model: &ModelProto,
    sidecar: Option<&MaskFile>,
    name: &str,
) -> Result<LevelArray, Diagnostic> {
    if let Some(array) = sidecar.and_then(|file| file.tensors().find(|array| array.name == name)) {
        return Ok(LevelArray {
            name: name.to_string(),
            shape: array.shape.clone(),
            elems: match &array.elems {
                NpzElems::U8(values) => LevelElems::U8(values.clone().into()),
                NpzElems::F32(values) => LevelElems::F32(values.clone().into()),
                NpzElems::I64(_) | NpzElems::Other(_) => {
                    LevelElems::Other(array.elem_type().to_string())
                }
            },
        });
    }
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
    let tensor = initializers.into_iter().find(|tensor| tensor.name() == name);
    LevelArray::from_proto(tensor.expect("the name is of the model where it is not of the sidecar"))
}

/// The number of levels that model or sidecar declare; `Some(Err)` where it cannot be used.
fn declared_levels(
    model: &ModelProto,
    sidecar: Option<&MaskFile>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Result<u32, ()>> {
    let mut report = |diagnostic| diagnostics.push(diagnostic);
    let in_range = |n: i64| u32::try_from(n).ok().filter(|n| (1..=MAX_LEVELS).contains(n));
    let bad_count = |found: String| {
        Diagnostic::error("bad-level-count", format!("`condense.levels` is {found}, expected 1 to {MAX_LEVELS}"))
    };
    let unsupported_version = |found: &str| {
        Diagnostic::error("unsupported-version", format!("`condense.version` is {found}, expected 1"))
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
        Ok(Some(version)) => report(unsupported_version(&format!("{version:?}")).at_file(file.path())),
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

fn level_count_missing(names: &IndexMap<&str, (&str, &str)>) -> Diagnostic {
    let first = names.keys().next().expect("the caller has found level data");
    let others = match names.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Diagnostic::error(
        "level-count-missing",
        format!("level data `{first}`{others}, but the metadata `condense.levels` is missing"),
    )
    .at_tensor(*first)
    .with_help("set the metadata `condense.version` to 1 and `condense.levels` to the number of levels")
}

fn unknown_entry(sidecar: Option<&MaskFile>, name: &str) -> Diagnostic {
    Diagnostic::warning("mask-file-entry-unknown", format!("`{name}` is no level data and is ignored"))
        .at_file(sidecar.map_or("", MaskFile::path))
        .at_tensor(name)
        .with_help("names end in __level, __levels or __scale, or are condense.levels or condense.block:NAME")
}

fn warn_of_top(
    name: &str,
    shape: &[usize],
    plain: &Arc<[f32]>,
    top: &Arc<[f32]>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let differs = |at: &usize| plain[*at] != top[*at] && !(plain[*at].is_nan() && top[*at].is_nan());
    if let Some(at) = (0..plain.len()).find(differs) {
        let n_differing = (0..plain.len()).filter(differs).count();
        diagnostics.push(top_differs(name, shape, at, plain[at], top[at], n_differing));
    }
}

fn top_differs(
    name: &str,
    shape: &[usize],
    position: usize,
    plain: f32,
    top: f32,
    n_differing: usize,
) -> Diagnostic {
    let mut rest = position;
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = rest % shape[axis];
        rest /= shape[axis];
    }
    Diagnostic::warning(
        "top-level-differs",
        format!("{n_differing} values of `{name}` are not those of the highest level: {plain} in the plain file, {top} there"),
    )
    .at_tensor(name)
    .at_index(&index)
    .with_note("the plain meaning of a supernet file is its highest level; here the level data wins")
}

fn block_text(block: &[usize]) -> String {
    block.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// Whether all values of each block are equal.
pub fn is_constant_on_blocks<T: PartialEq>(shape: &[usize], block: &[usize], values: &[T]) -> bool {
    if block.iter().all(|&size| size == 1) {
        return true;
    }
    // Each element is compared with the first of its block.
    let mut index = vec![0usize; shape.len()];
    for value in values {
        let corner = index
            .iter()
            .zip(block)
            .zip(shape)
            .fold(0, |at, ((&i, &b), &size)| at * size + i / b * b);
        if values[corner] != *value {
            return false;
        }
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    true
}
