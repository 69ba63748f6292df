//! Level data that fits, but is probably not what the user meant.

use std::sync::Arc;

use condensec_ir::Diagnostic;
use condensec_ir::sparsity::LevelMask;

use super::{block_text, nesting};
use crate::frontend::onnx::constants::{ByLevel, Constant, Literal};

/// Compares the level data of a constant with the plain file, which should mean the highest level.
/// Where they differ, the level data wins.
pub fn check(constant: &mut Constant, n_levels: u32, diagnostics: &mut Vec<Diagnostic>) {
    let top = n_levels - 1;
    let shape = constant.shape().to_vec();
    let Some(values) = constant.literal.as_f32().cloned() else {
        return;
    };
    match &mut constant.levels {
        ByLevel::Masked(mask) => {
            let is_active = |v: u8| u32::from(v) < n_levels;
            let name = format!("{}__level", constant.name);
            if !mask.values().is_empty() && !mask.values().iter().any(|&v| is_active(v)) {
                diagnostics.push(
                    Diagnostic::warning(
                        "layer-never-active",
                        format!(
                            "no weight of `{}` is active at any of {} levels",
                            constant.name, n_levels
                        ),
                    )
                    .at_tensor(&name)
                    .with_note(format!(
                        "values run from 0 to {top}; larger ones mean never active"
                    )),
                );
            } else {
                let differs = |at: &usize| values[*at] != 0.0 && !is_active(mask.values()[*at]);
                if let Some(at) = (0..values.len()).find(differs) {
                    let n_lost = (0..values.len()).filter(differs).count();
                    diagnostics.push(top_differs(
                        &constant.name,
                        &shape,
                        at,
                        values[at],
                        0.0,
                        n_lost,
                    ));
                }
            }
            if !is_constant_on_blocks(&shape, mask.block(), mask.values()) {
                diagnostics.push(
                    Diagnostic::warning(
                        "mask-block-differs",
                        format!(
                            "the values of `{name}` differ within blocks of {}; the block is \
                             ignored",
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
    if let Some(scale) = &constant.scale
        && let [n_rows, n_channels] = scale.shape[..]
        && n_rows == n_levels as usize
    {
        let row: Arc<[f32]> = Arc::from(&scale.rows[top as usize * n_channels..]);
        let ones = vec![1.0; n_channels].into();
        warn_of_top(&scale.name, &[n_channels], &ones, &row, diagnostics);
    }
}

fn warn_of_top(
    name: &str,
    shape: &[usize],
    plain: &Arc<[f32]>,
    top: &Arc<[f32]>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let differs =
        |at: &usize| plain[*at] != top[*at] && !(plain[*at].is_nan() && top[*at].is_nan());
    if let Some(at) = (0..plain.len()).find(differs) {
        let n_differing = (0..plain.len()).filter(differs).count();
        diagnostics.push(top_differs(
            name,
            shape,
            at,
            plain[at],
            top[at],
            n_differing,
        ));
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
    let n_elems: usize = shape.iter().product();
    Diagnostic::warning(
        "top-level-differs",
        format!(
            "{n_differing} of {n_elems} values of `{name}` differ at the highest level: \
             {plain} in the plain file, {top} there"
        ),
    )
    .at_tensor(name)
    .at_index(&nesting::index_of(position, shape))
    .with_note("the plain file should mean the highest level; where it does not, level data wins")
}

/// Whether all values of each block are equal.
fn is_constant_on_blocks(shape: &[usize], block: &[usize], values: &[u8]) -> bool {
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
