//! Level data joins the tensor it belongs to, if type and shape fit.

use std::rc::Rc;

use condensec_ir::Diagnostic;
use condensec_ir::sparsity::LevelMask;

use super::level_array::{LevelArray, LevelElems};
use super::table::LevelTable;
use super::{BLOCK_PREFIX, ChannelScale, block_text, doubts};
use crate::frontend::onnx::constants::{ByLevel, Constant};

impl LevelTable {
    /// Gives `constant` the level data that belongs to its name.
    pub fn attach(&self, constant: &mut Constant, diagnostics: &mut Vec<Diagnostic>) {
        let Some(companions) = self.companions.get(&constant.name) else {
            return;
        };
        let mut attach = |attached: Result<(), Diagnostic>| {
            if let Err(diagnostic) = attached {
                diagnostics.push(diagnostic);
            }
        };
        if let (Some(mask), Some(rows)) = (&companions.level, &companions.levels) {
            return attach(Err(Diagnostic::error(
                "level-data-conflict",
                format!(
                    "`{}` has both a mask `{}` and values per level `{}`",
                    constant.name, mask.name, rows.name
                ),
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
        doubts::check(constant, self.n_levels, diagnostics);
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
                format!(
                    "`{}` masks a tensor of type {}, expected FLOAT",
                    mask.name, constant.literal.elems
                ),
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
                let grid: Vec<usize> = shape
                    .iter()
                    .zip(given_block)
                    .map(|(size, block)| size.div_ceil(*block))
                    .collect();
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
                        "for one value per block, say which block in the metadata \
                         `{BLOCK_PREFIX}{}`, as in 4x1x1x1",
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
                    "`{}` has shape {:?}, expected {expected:?}: one `{}` of shape {:?} for each \
                     of {} levels",
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
}

fn attach_scale(constant: &mut Constant, scale: &LevelArray) -> Result<(), Diagnostic> {
    let LevelElems::F32(rows) = &scale.elems else {
        return Err(Diagnostic::error(
            "scale-dtype-mismatch",
            format!(
                "`{}` is {}, expected float32",
                scale.name,
                scale.elem_type()
            ),
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
