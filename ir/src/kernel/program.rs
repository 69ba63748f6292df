//! A whole model as functions, data and step tables.

use super::function::Function;
use super::symbol::{DataId, FunctionId, Symbol};
use crate::tensor::LevelId;

/// What a data object is, for placement and for the size report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Weight values, stored once for all levels.
    Weights,
    /// Column indices of the kept weights.
    Indices,
    /// List starts and lengths, per-level parameters, step tables, descriptor.
    Tables,
}

/// An address inside a data object that the linker fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Position of the pointer-sized field, in bytes.
    pub offset: u64,
    /// What it points at.
    pub target: Symbol,
}

/// A constant in the object file.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Symbol name.
    pub name: String,
    /// Whether other objects may name it.
    pub is_exported: bool,
    /// Placement.
    pub section: Section,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Contents, little-endian; fields under a relocation are zero.
    pub bytes: Vec<u8>,
    /// Addresses in it, by offset.
    pub relocations: Vec<Relocation>,
}

/// One word of a step's argument block, pointer-sized in the object file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A number.
    Index(u64),
    /// An address.
    Address(Symbol),
}

/// One kernel call of a run: `kernel(bases, arguments, 0, n_tasks)`.
///
/// Tasks are independent of each other; steps are not. A kernel is a function
/// `(bases: ptr, arguments: ptr, begin: index, end: index)` that does tasks `begin..end`.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The kernel.
    pub kernel: FunctionId,
    /// Its argument block.
    pub arguments: Vec<Argument>,
    /// Number of independent tasks.
    pub n_tasks: u32,
    /// Name of the graph node that it computes, for profiles and reports.
    pub node: String,
    /// Estimate of the cost model, on one thread.
    pub predicted_cycles: u64,
}

/// What the manifest and the descriptor say of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelSummary {
    /// Name that the model gives, or `L0`, `L1`, ..
    pub name: String,
    /// Kept share of the weights of the maskable layers, in [0, 1].
    pub density: f64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of the weights that one run reads.
    pub weight_bytes: u64,
    /// Estimate of the cost model for one run on one thread.
    pub predicted_cycles: u64,
}

/// What `inspect` says of a layer with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSummary {
    /// Name of the ONNX node.
    pub name: String,
    /// ONNX op type.
    pub op_type: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// Shape of the mask's blocks, or of the row groups of a layer without a mask.
    pub block: Vec<usize>,
    /// Storage format of the weight.
    pub format: &'static str,
    /// Whether the model gives the layer a mask.
    pub is_maskable: bool,
    /// Weights of the layer.
    pub n_weights: u64,
    /// One entry per level, L0 first.
    pub per_level: Vec<LayerLevel>,
}

/// A layer at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerLevel {
    /// Weights kept; zeros do not count.
    pub n_kept: u64,
    /// Multiply-adds of one run.
    pub macs: u64,
    /// Bytes of weight values that one run reads.
    pub weight_bytes: u64,
    /// Estimate of the cost model.
    pub predicted_cycles: u64,
    /// Name of the kernel.
    pub kernel: String,
}

impl LayerLevel {
    /// Kept share of `n_weights`, in [0, 1].
    pub fn density(&self, n_weights: u64) -> f64 {
        self.n_kept as f64 / n_weights.max(1) as f64
    }
}

/// An input or output of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name in the user's model.
    pub name: String,
    /// Shape; elements are f32, row-major.
    pub shape: Vec<usize>,
}

/// Everything of one model that a back end turns into an object.
///
/// A run gets an array of base addresses: `bases[0]` is the activation arena, then come the inputs,
/// then the outputs. Step `i` writes the same values at every level, so a run may change level
/// between two steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Name of the model, a C identifier.
    pub name: String,
    /// Kernels and runtime entry points.
    pub functions: Vec<Function>,
    /// Weights, indices and tables.
    pub data: Vec<Data>,
    /// Steps by level, L0 first; all levels have equally many.
    pub steps: Vec<Vec<Step>>,
    /// One summary per level, L0 first.
    pub levels: Vec<LevelSummary>,
    /// Layers with weights, in execution order.
    pub layers: Vec<LayerSummary>,
    /// Inputs in the user's order.
    pub inputs: Vec<Port>,
    /// Outputs in the user's order.
    pub outputs: Vec<Port>,
    /// Size of the activation arena.
    pub arena_bytes: u64,
}

impl Program {
    /// The function `id`.
    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.0 as usize]
    }

    /// The data object `id`.
    pub fn data_object(&self, id: DataId) -> &Data {
        &self.data[id.0 as usize]
    }

    /// Number of levels.
    pub fn n_levels(&self) -> u32 {
        u32::try_from(self.steps.len()).expect("at most 64 levels")
    }

    /// Steps of a run at `level`.
    pub fn level_steps(&self, level: LevelId) -> &[Step] {
        &self.steps[level.0 as usize]
    }

    /// Adds a kernel, or finds one of the same code: layers of equal shape share their kernel.
    pub fn add_kernel(&mut self, mut function: Function) -> FunctionId {
        if let Some(at) = self
            .functions
            .iter()
            .position(|f| f.is_same_code(&function))
        {
            return FunctionId(at as u32);
        }
        let id = FunctionId(u32::try_from(self.functions.len()).expect("few kernels"));
        let n_same = self
            .functions
            .iter()
            .filter(|f| base_name(&f.name) == function.name)
            .count();
        if n_same > 0 {
            function.name = format!("{}.{n_same}", function.name);
        }
        self.functions.push(function);
        id
    }

    /// Adds a data object.
    pub fn add_data(&mut self, data: Data) -> DataId {
        let id = DataId(u32::try_from(self.data.len()).expect("few data objects"));
        self.data.push(data);
        id
    }

    /// Bytes of all data in `section`.
    pub fn section_bytes(&self, section: Section) -> u64 {
        self.data
            .iter()
            .filter(|d| d.section == section)
            .map(|d| d.bytes.len() as u64)
            .sum()
    }
}

fn base_name(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}
