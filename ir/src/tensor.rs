//! Constant tensors of a graph: weights with nested masks and small per-level parameters.
//!
//! All constants live in one table of the graph and ops refer to them by [`TensorId`]; so a
//! weight exists once, however many levels use it, and a pass can swap it without rewiring.

use crate::sparsity::LevelMask;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A switchable subnet; `L0` is the smallest, masks grow with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LevelId(pub u32);

impl fmt::Display for LevelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

/// Index of a constant in [`crate::Graph::tensors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

/// How a constant depends on the level.
#[derive(Debug, Clone, PartialEq)]
pub enum LevelRule {
    /// The same at every level.
    Shared,
    /// One value per element; at level `l` the elements whose mask value is above `l` are zero.
    Masked(LevelMask),
    /// One whole copy per level, L0 first: `data` is `[n_levels, *shape]`.
    PerLevel,
}

/// A constant f32 tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name as the user knows it (ONNX initializer); unique in the graph.
    pub name: String,
    /// Shape at one level.
    pub shape: Vec<usize>,
    /// Elements; `[n_levels, *shape]` for [`LevelRule::PerLevel`], else `[*shape]`.
    pub data: Arc<[f32]>,
    /// What a level sees of it.
    pub rule: LevelRule,
}

impl Tensor {
    /// A constant that is the same at every level.
    pub fn shared(name: impl Into<String>, shape: &[usize], data: impl Into<Arc<[f32]>>) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            data: data.into(),
            rule: LevelRule::Shared,
        }
    }

    /// A parameter with one row per level; `data` is `[n_levels, *shape]`.
    pub fn per_level(
        name: impl Into<String>,
        shape: &[usize],
        data: impl Into<Arc<[f32]>>,
    ) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            data: data.into(),
            rule: LevelRule::PerLevel,
        }
    }

    /// Elements at one level.
    pub fn n_elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether any level differs from another.
    pub fn is_per_level(&self) -> bool {
        matches!(self.rule, LevelRule::PerLevel)
    }

    /// Values that `level` sees, masked elements as zeros, `[*shape]`.
    pub fn at_level(&self, level: LevelId) -> Cow<'_, [f32]> {
        match &self.rule {
            LevelRule::Shared => Cow::Borrowed(&self.data),
            LevelRule::PerLevel => {
                let n = self.n_elems();
                let start = level.0 as usize * n;
                Cow::Borrowed(&self.data[start..start + n])
            }
            LevelRule::Masked(mask) => Cow::Owned(
                self.data
                    .iter()
                    .zip(mask.values())
                    .map(|(&w, &v)| if u32::from(v) <= level.0 { w } else { 0.0 })
                    .collect(),
            ),
        }
    }

    /// Elements that `level` keeps; a plain zero counts as pruned.
    pub fn n_kept(&self, level: LevelId) -> usize {
        match &self.rule {
            LevelRule::Masked(mask) => {
                let kept = |(&w, &v): (&f32, &u8)| w != 0.0 && u32::from(v) <= level.0;
                self.data
                    .iter()
                    .zip(mask.values())
                    .filter(|&pair| kept(pair))
                    .count()
            }
            LevelRule::Shared => self.data.iter().filter(|&&w| w != 0.0).count(),
            LevelRule::PerLevel => self.n_elems(),
        }
    }
}
