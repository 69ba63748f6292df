//! One supernet from several exports of a network, one per level, each pruned further than the
//! next.
//!
//! The result is the densest export with level data added: masks where weights are zero at lower
//! levels, rows per level where parameters differ. Nothing else may differ, and what the exports
//! cannot share is named: the first tensor and index, both values and both levels.

mod compare;
mod role;

use condensec_ir::Diagnostic;

use super::constants::Literal;
use super::masks::{MAX_LEVELS, NestingFault, nested_from_rows};
use super::proto::{ModelProto, TensorProto};
use role::{Reader, Role, Roles};

/// Blocks of output channels that masks are tried on, the largest first: what the kernels work on.
const BLOCK_SIZES: [usize; 3] = [8, 4, 2];

/// Merges `models` with their paths, L0 (the sparsest) first. External data must have been loaded
/// before.
///
/// # Errors
/// All reasons why the models are not levels of one network.
pub fn merge_levels(models: &[(String, ModelProto)]) -> Result<ModelProto, Vec<Diagnostic>> {
    let n_levels = u32::try_from(models.len()).unwrap_or(u32::MAX);
    let Some((top_path, top)) = models.last().filter(|_| n_levels <= MAX_LEVELS) else {
        return Err(vec![Diagnostic::error(
            "bad-level-count",
            format!("{n_levels} models to merge, expected 1 to {MAX_LEVELS}"),
        )]);
    };
    let mut diagnostics = Vec::new();
    for (path, model) in models {
        if model.metadata("condense.levels").is_some() {
            diagnostics.push(
                Diagnostic::error("already-supernet", "the model has levels already")
                    .at_file(path)
                    .with_help("merge plain exports, one per level"),
            );
        }
    }
    for (path, model) in &models[..models.len() - 1] {
        diagnostics.extend(compare::first_difference(model, path, top, top_path));
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }

    let mut merged = top.clone();
    let mut merge = Merge {
        models,
        n_levels,
        roles: Roles::of(top.graph.as_ref()),
        initializers: Vec::new(),
        metadata: Vec::new(),
    };
    for name in compare::constant_names(top.graph.as_ref()) {
        if let Err(diagnostic) = merge.add_level_data(name) {
            diagnostics.push(*diagnostic);
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let Merge {
        initializers,
        metadata,
        ..
    } = merge;
    merged.set_metadata("condense.version", "1");
    merged.set_metadata("condense.levels", n_levels.to_string());
    for (key, value) in metadata {
        merged.set_metadata(&key, value);
    }
    if let Some(graph) = &mut merged.graph {
        for tensor in initializers {
            graph.add_initializer(tensor, top.ir_version());
        }
    }
    Ok(merged)
}

/// State of a merge.
struct Merge<'m> {
    models: &'m [(String, ModelProto)],
    n_levels: u32,
    roles: Roles<'m>,
    initializers: Vec<TensorProto>,
    metadata: Vec<(String, String)>,
}

impl Merge<'_> {
    /// Adds level data for a constant if its values differ between the models.
    fn add_level_data(&mut self, name: &str) -> Result<(), Box<Diagnostic>> {
        let mut levels = Vec::with_capacity(self.models.len());
        for (path, model) in self.models {
            levels.push(read(model, name).map_err(|error| {
                Box::new(
                    Diagnostic::error("bad-tensor", error)
                        .at_file(path)
                        .at_tensor(name),
                )
            })?);
        }
        let Some(top) = levels.last().cloned() else {
            return Ok(());
        };
        let is_same = |level: &Literal| same_bits(level, &top);
        if levels.iter().all(is_same) {
            return Ok(());
        }
        let role = self.roles.of_tensor(name, top.shape.len());
        let mut rows: Vec<f32> = Vec::new();
        for level in &levels {
            let Some(values) = level.as_f32() else {
                return Err(Box::new(not_shareable(name, &role, &self.models[0].0)));
            };
            rows.extend_from_slice(values);
        }
        match role {
            Role::Weight { channels, reader } => self
                .add_mask(name, &top, &rows, channels, &reader)
                .map_err(Box::new),
            Role::Parameter => {
                let mut dims = vec![i64::from(self.n_levels)];
                dims.extend(
                    top.shape
                        .iter()
                        .map(|&size| i64::try_from(size).unwrap_or(i64::MAX)),
                );
                let tensor = TensorProto::from_f32(&format!("{name}__levels"), &dims, &rows);
                self.initializers.push(tensor);
                Ok(())
            }
            Role::Other { .. } => Err(Box::new(not_shareable(name, &role, &self.models[0].0))),
        }
    }

    fn add_mask(
        &mut self,
        name: &str,
        top: &Literal,
        rows: &[f32],
        channels: Option<usize>,
        reader: &Reader,
    ) -> Result<(), Diagnostic> {
        let (values, mut mask) = nested_from_rows(rows, self.n_levels)
            .map_err(|fault| self.describe(name, top, rows, &fault, reader))?;
        // What is zero at every level is never active; as such it does not stand in the way of
        // blocks.
        let never = u8::try_from(self.n_levels).unwrap_or(u8::MAX);
        for (v, value) in mask.iter_mut().zip(&values) {
            if *value == 0.0 {
                *v = never;
            }
        }
        let grid = channels.and_then(|axis| {
            let sizes = BLOCK_SIZES.iter().filter(|&&size| size <= top.shape[axis]);
            sizes.copied().find_map(|size| {
                Some((axis, size, on_blocks(&top.shape, &mask, axis, size, never)?))
            })
        });
        let mut shape = top.shape.clone();
        if let Some((axis, size, blocks)) = grid {
            let mut block = vec![1; shape.len()];
            block[axis] = size;
            shape[axis] = shape[axis].div_ceil(size);
            mask = blocks;
            let text: Vec<String> = block.iter().map(usize::to_string).collect();
            self.metadata
                .push((format!("condense.block:{name}"), text.join("x")));
        }
        let dims: Vec<i64> = shape
            .iter()
            .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
            .collect();
        self.initializers.push(TensorProto::from_u8(
            &format!("{name}__level"),
            &dims,
            &mask,
        ));
        Ok(())
    }

    fn describe(
        &self,
        name: &str,
        top: &Literal,
        rows: &[f32],
        fault: &NestingFault,
        reader: &Reader,
    ) -> Diagnostic {
        let n_elems = top.n_elems();
        let ((lower, lower_value), (upper, upper_value)) = (fault.lower, fault.upper);
        let row = |level: u32| &rows[level as usize * n_elems..][..n_elems];
        let is_alike = |(low, up): &(&f32, &f32)| match fault.is_dropped() {
            true => **low != 0.0 && **up == 0.0,
            false => **low != 0.0 && **up != 0.0 && low.to_bits() != up.to_bits(),
        };
        let n_alike = row(lower).iter().zip(row(upper)).filter(is_alike).count();
        let weights = if n_alike == 1 { "weight" } else { "weights" };
        let message = match fault.is_dropped() {
            true => format!("L{upper} drops {n_alike} {weights} of `{name}` that L{lower} keeps"),
            false => format!("L{lower} and L{upper} disagree on {n_alike} {weights} of `{name}`"),
        };
        let path = |level: u32| &self.models[level as usize].0;
        let diagnostic = Diagnostic::error(fault.code(), message)
            .at_node(&reader.name, &reader.op_type)
            .at_tensor(name)
            .at_index(&fault.index(&top.shape))
            .with_note(format!(
                "the first is {lower_value} at L{lower} ({}) and {upper_value} at L{upper} ({})",
                path(lower),
                path(upper)
            ));
        match fault.is_dropped() {
            true => diagnostic
                .with_note("levels share one weight buffer, so masks must grow with the level")
                .with_help(
                    "export cumulative masks, or list the models by density, the sparsest \
                     first",
                ),
            false => diagnostic
                .with_note(
                    "levels share one weight buffer: a weight has one value wherever it \
                     is kept",
                )
                .with_help(
                    "train all levels with shared weights, or prune one network further \
                     and further",
                ),
        }
    }
}

fn not_shareable(name: &str, role: &Role, path: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        "constant-differs",
        format!("`{name}` differs between the models, but is neither a weight nor a parameter"),
    )
    .at_file(path)
    .at_tensor(name)
    .with_note(
        "weights of Conv, ConvTranspose, Gemm and MatMul may be masked; \
         float parameters (batch norm, biases, factors) \
         may have other values at each level",
    );
    match role {
        Role::Other {
            reader: Some(reader),
        } => diagnostic.at_node(&reader.name, &reader.op_type),
        _ => diagnostic,
    }
}

/// The constant `name` of a model.
fn read(model: &ModelProto, name: &str) -> Result<Literal, String> {
    let Some(graph) = &model.graph else {
        return Err("the model holds no graph".into());
    };
    if let Some(tensor) = graph
        .initializer
        .iter()
        .find(|tensor| tensor.name() == name)
    {
        return Literal::from_proto(tensor);
    }
    let is_named = |values: &TensorProto| values.name() == name;
    let mut sparse = graph.sparse_initializer.iter();
    match sparse.find(|tensor| tensor.values.as_ref().is_some_and(is_named)) {
        Some(tensor) => Literal::from_sparse_proto(tensor),
        None => Err(format!("there is no constant `{name}`")),
    }
}

fn same_bits(a: &Literal, b: &Literal) -> bool {
    match (a.as_f32(), b.as_f32()) {
        (Some(a), Some(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(&b[..])
                    .all(|(a, b)| a.to_bits() == b.to_bits())
        }
        _ => a == b,
    }
}

/// One value per block of `size` along `axis`, if all elements of each block that are ever active
/// agree.
fn on_blocks(shape: &[usize], mask: &[u8], axis: usize, size: usize, never: u8) -> Option<Vec<u8>> {
    let n_inner: usize = shape[axis + 1..].iter().product();
    let n_blocks = shape[axis].div_ceil(size);
    let n_outer: usize = shape[..axis].iter().product();
    let mut blocks = vec![never; n_outer * n_blocks * n_inner];
    for (position, &v) in mask.iter().enumerate().filter(|(_, v)| **v != never) {
        let (inner, rest) = (position % n_inner, position / n_inner);
        let (along, outer) = (rest % shape[axis], rest / shape[axis]);
        let block = &mut blocks[(outer * n_blocks + along / size) * n_inner + inner];
        if *block != never && *block != v {
            return None;
        }
        *block = v;
    }
    Some(blocks)
}

#[cfg(test)]
mod tests;
