//! A weight on its way from the file to the op that uses it.

use std::rc::Rc;
use std::sync::Arc;

use condensec_ir::tensor::{LevelRule, Tensor};

use crate::frontend::onnx::constants::{ByLevel, Constant, Literal};
use crate::frontend::onnx::masks::ChannelScale;

/// A constant that will be a weight: shared by all levels or masked, never one copy per level.
#[derive(Debug, Clone)]
pub struct Weight {
    /// The constant in the file: with `steps` the identity of the result, so that two nodes that
    /// use a weight in the same way share it.
    pub origin: Rc<Constant>,
    /// What has been done to it since.
    pub steps: String,
    constant: Constant,
}

impl Weight {
    /// `constant` as it is; `values` are its elements and mask.
    pub fn new(origin: Rc<Constant>, constant: Constant) -> Weight {
        Weight {
            origin,
            steps: String::new(),
            constant,
        }
    }

    pub fn shape(&self) -> &[usize] {
        self.constant.shape()
    }

    pub fn name(&self) -> &str {
        &self.constant.name
    }

    pub fn scale(&self) -> Option<&Rc<ChannelScale>> {
        self.constant.scale.as_ref()
    }

    pub fn permuted(self, permutation: &[usize]) -> Weight {
        if permutation.iter().copied().eq(0..permutation.len()) {
            return self;
        }
        let constant = self.constant.permuted(permutation);
        self.step(format!("permuted{permutation:?}"), constant)
    }

    pub fn reshaped(self, shape: &[usize]) -> Weight {
        if shape == self.shape() {
            return self;
        }
        let constant = self.constant.reshaped(shape);
        self.step(format!("reshaped{shape:?}"), constant)
    }

    pub fn flipped(self, axes: &[usize]) -> Weight {
        let constant = self.constant.flipped(axes);
        self.step(format!("flipped{axes:?}"), constant)
    }

    /// All elements times `factor`.
    pub fn multiplied(self, factor: f32) -> Weight {
        if factor == 1.0 {
            return self;
        }
        let values: Arc<[f32]> = self.values().iter().map(|value| value * factor).collect();
        let constant = Constant {
            literal: Literal::f32(self.shape(), values),
            ..self.constant.clone()
        };
        self.step(format!("multiplied[{}]", factor.to_bits()), constant)
    }

    /// The tensor of the graph, under `name`.
    pub fn to_tensor(&self, name: String) -> Tensor {
        let rule = match &self.constant.levels {
            ByLevel::Masked(mask) => LevelRule::Masked(mask.clone()),
            ByLevel::Shared | ByLevel::Rows(_) => LevelRule::Shared,
        };
        Tensor {
            name,
            shape: self.shape().to_vec(),
            data: self.values().clone(),
            rule,
        }
    }

    fn values(&self) -> &Arc<[f32]> {
        self.constant
            .literal
            .as_f32()
            .expect("Context::weight refuses other types")
    }

    fn step(self, step: String, constant: Constant) -> Weight {
        Weight {
            origin: self.origin,
            steps: self.steps + &step,
            constant,
        }
    }
}
