//! Graph to kernel IR: one file per op, `lower(&mut Lowering, NodeId)`, that adds steps.
//!
//! An op's file builds its kernel with a [`KernelBuilder`] and hands it to [`Lowering::add_step`];
//! kernels of equal code are shared between layers. Convolutions and fully connected layers run
//! over prefix-nested lists (`list_*.rs`); everything else is a plain loop over strided views.

mod concat;
mod constant;
mod conv2d;
mod copy_row;
mod cost;
pub(crate) mod depthwise;
mod elementwise;
mod fully_connected;
mod kernel_builder;
mod list_blocks;
mod list_conv;
mod list_gemv;
mod math;
mod matmul;
mod memory;
mod movement;
mod pixel_slice;
mod pool;
mod reduce;
mod relayout;
mod resize;
mod schedule;
mod softmax;
mod strip_width;
mod summary;
mod tasks;
#[cfg(test)]
pub(crate) mod testing;
mod tile_access;
mod tiles;
mod view;
mod zero_borders;

pub(crate) use conv2d::list_rows;
pub use kernel_builder::{KernelBuilder, StepArgument};
pub(crate) use pixel_slice::takes_pixels;
pub use schedule::{EntryOrder, Schedule, Schedules};
pub use strip_width::strip_width;
pub use tiles::ListTile;

use condensec_ir::kernel::{
    Data, DataId, FunctionId, Port, Program, Section, Step, Symbol, verify_function,
};
use condensec_ir::layout::Layout;
use condensec_ir::target_info::TargetInfo;
use condensec_ir::{Diagnostic, Graph, LevelId, Node, NodeId, Op, TensorId};
use indexmap::IndexMap;
use memory::Storage;

/// Bytes of a cache line; shorter on a few small cores.
const CACHE_LINE: usize = 64;

/// A graph on its way to a [`Program`].
pub struct Lowering<'a> {
    /// The graph, layouts chosen.
    pub graph: &'a Graph,
    /// The target.
    pub target: &'a TargetInfo,
    /// Schedules that replace the cost model's choice.
    pub schedules: &'a Schedules,
    program: Program,
    memory: memory::MemoryPlan,
    constants: IndexMap<NodeId, Vec<Symbol>>,
    weights: DataId,
    indices: DataId,
    tables: DataId,
}

/// Lowers `graph`, through which [`crate::PIPELINE`] has gone. `name` becomes the prefix of all
/// symbols and must be a C identifier.
///
/// # Errors
/// Ops, or combinations of op and layout, that have no kernel; all of them at once.
pub fn lower(graph: &Graph, name: &str, target: &TargetInfo) -> Result<Program, Vec<Diagnostic>> {
    lower_with(graph, name, target, &Schedules::default())
}

/// [`lower`], with schedules that somebody has measured.
///
/// # Errors
/// As [`lower`]. A schedule that a layer cannot run by is left to the cost model.
pub fn lower_with(
    graph: &Graph,
    name: &str,
    target: &TargetInfo,
    schedules: &Schedules,
) -> Result<Program, Vec<Diagnostic>> {
    let memory = memory::plan(graph, target);
    let mut program = Program {
        name: name.to_string(),
        functions: Vec::new(),
        data: Vec::new(),
        steps: vec![Vec::new(); graph.n_levels as usize],
        levels: Vec::new(),
        layers: Vec::new(),
        inputs: graph
            .inputs()
            .iter()
            .map(|&i| port(&graph.node(i).name, graph.node(i)))
            .collect(),
        outputs: graph
            .outputs()
            .iter()
            .map(|o| port(&o.name, graph.node(o.node)))
            .collect(),
        arena_bytes: memory.arena_bytes as u64,
    };
    let mut section = |suffix: &str, section, is_exported| {
        program.add_data(Data {
            name: format!("{name}_{suffix}"),
            is_exported,
            section,
            align: 64,
            bytes: Vec::new(),
            relocations: Vec::new(),
        })
    };
    let weights = section("weights", Section::Weights, true);
    let indices = section("indices", Section::Indices, false);
    let tables = section("tables", Section::Tables, false);
    let mut lowering = Lowering {
        graph,
        target,
        schedules,
        program,
        memory,
        constants: IndexMap::new(),
        weights,
        indices,
        tables,
    };
    let mut errors = Vec::new();
    for id in graph.order() {
        let result = lower_node(&mut lowering, id);
        if result.is_ok() {
            zero_borders::lower(&mut lowering, id);
        }
        if let Err(message) = result {
            let origin = &graph.node(id).origin;
            errors.push(
                Diagnostic::error("no-kernel", message).at_node(&origin.name, &origin.op_type),
            );
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    summary::summarize_levels(&mut lowering);
    Ok(lowering.program)
}

fn port(name: &str, node: &Node) -> Port {
    Port {
        name: name.to_string(),
        shape: node.shape.clone(),
    }
}

fn lower_node(lowering: &mut Lowering<'_>, id: NodeId) -> Result<(), String> {
    let graph = lowering.graph;
    match &graph.node(id).op {
        Op::AvgPool(op) => pool::lower_avg(lowering, id, op),
        Op::BatchNorm(_) => Err("the pass fold-batch-norm has not run".into()),
        Op::Binary(op) => elementwise::lower_binary(lowering, id, op),
        Op::Concat(op) => concat::lower(lowering, id, op),
        Op::Constant(op) => constant::lower(lowering, id, op),
        // Its reader computes it.
        Op::Conv2d(_) if matches!(graph.node(id).layout, Layout::Bands(_)) => Ok(()),
        Op::Conv2d(op) if depthwise::is_direct(graph, op) => depthwise::lower(lowering, id, op),
        Op::Conv2d(op) => conv2d::lower(lowering, id, op),
        Op::FullyConnected(op) => fully_connected::lower(lowering, id, op),
        // An input is where the caller put it.
        Op::Input(_) => Ok(()),
        Op::MatMul(_) => matmul::lower(lowering, id),
        Op::MaxPool(op) => pool::lower_max(lowering, id, op),
        Op::Pad(op) => movement::lower_pad(lowering, id, op),
        Op::Reduce(op) => reduce::lower(lowering, id, op),
        Op::Relayout(_) => relayout::lower(lowering, id),
        Op::Reshape(_) => {
            // A view of its operand's storage.
            let operand = graph.operands(id)[0];
            if let Some(symbols) = lowering.constants.get(&operand).cloned() {
                lowering.constants.insert(id, symbols);
            }
            Ok(())
        }
        Op::Resize(op) => resize::lower(lowering, id, op),
        Op::Slice(op) => movement::lower_slice(lowering, id, op),
        Op::Softmax(op) => softmax::lower(lowering, id, op),
        Op::Transpose(op) => movement::lower_transpose(lowering, id, op),
        Op::Unary(op) => elementwise::lower_unary(lowering, id, op),
    }
}

impl<'a> Lowering<'a> {
    /// Where the value of `node` is stored.
    pub(crate) fn storage(&self, node: NodeId) -> Storage {
        self.memory.storage[&node]
    }

    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    /// Number of levels.
    pub fn n_levels(&self) -> usize {
        self.graph.n_levels as usize
    }

    /// Adds a step that computes (a part of) `node` with the kernel just built, at all levels;
    /// returns the name of the kernel.
    pub fn add_step(&mut self, node: NodeId, kernel: KernelBuilder, n_tasks: usize) -> &str {
        let n_tasks = vec![n_tasks; self.n_levels()];
        self.add_level_steps(node, kernel, &n_tasks)
    }

    /// [`Lowering::add_step`] with a number of tasks per level.
    pub fn add_level_steps(
        &mut self,
        node: NodeId,
        kernel: KernelBuilder,
        n_tasks: &[usize],
    ) -> &str {
        let (kernel, arguments) = self.add_kernel(kernel);
        for (level, &n_tasks) in n_tasks.iter().enumerate() {
            self.push_step(node, level, kernel, &arguments, n_tasks);
        }
        &self.program.function(kernel).name
    }

    /// Adds a step that computes `node` with another kernel at each level: `choices[level]` is the
    /// place of the level's kernel in `kernels`, which come with their numbers of tasks. Returns the
    /// name of each level's kernel.
    pub fn add_step_by_level(
        &mut self,
        node: NodeId,
        kernels: Vec<(KernelBuilder, usize)>,
        choices: &[usize],
    ) -> Vec<String> {
        let kernels: Vec<_> = kernels
            .into_iter()
            .map(|(kernel, n_tasks)| (self.add_kernel(kernel), n_tasks))
            .collect();
        let mut names = Vec::with_capacity(choices.len());
        for (level, &choice) in choices.iter().enumerate() {
            let ((kernel, arguments), n_tasks) = &kernels[choice];
            self.push_step(node, level, *kernel, arguments, *n_tasks);
            names.push(self.program.function(*kernel).name.clone());
        }
        names
    }

    fn add_kernel(&mut self, kernel: KernelBuilder) -> (FunctionId, Vec<StepArgument>) {
        let (function, arguments) = kernel.finish();
        if cfg!(debug_assertions) {
            verify_function(&function).expect("lowering builds verified kernels");
        }
        (self.program.add_kernel(function), arguments)
    }

    fn push_step(
        &mut self,
        node: NodeId,
        level: usize,
        kernel: FunctionId,
        arguments: &[StepArgument],
        n_tasks: usize,
    ) {
        let words = arguments
            .iter()
            .flat_map(|a| a.words(self, level))
            .collect();
        let step = Step {
            kernel,
            arguments: words,
            n_tasks: u32::try_from(n_tasks).expect("shapes are checked on import"),
            node: self.graph.node(node).name.clone(),
            predicted_cycles: self.plain_cycles(node),
        };
        self.program.steps[level].push(step);
    }

    /// Cycles of a step of `node`; those of layers are told by [`summary::add_layer`] and its like.
    fn plain_cycles(&self, node: NodeId) -> u64 {
        match self.graph.node(node).op {
            Op::Conv2d(_) | Op::FullyConnected(_) => 0,
            // Plain loops: about one element per cycle.
            _ => self.graph.node(node).shape.iter().product::<usize>() as u64,
        }
    }

    fn append(&mut self, id: DataId, bytes: impl Iterator<Item = u8>, align: usize) -> Symbol {
        let data = &mut self.program.data[id.0 as usize].bytes;
        data.resize(data.len().next_multiple_of(align), 0);
        let offset = data.len() as u64;
        data.extend(bytes);
        Symbol::Data(id, offset)
    }

    /// Stores weight values: the one copy that all levels share.
    pub fn add_weights(&mut self, values: &[f32]) -> Symbol {
        self.append(
            self.weights,
            values.iter().flat_map(|v| v.to_le_bytes()),
            64,
        )
    }

    /// Stores 16-bit list indices.
    pub fn add_indices(&mut self, values: &[u16]) -> Symbol {
        self.append(self.indices, values.iter().flat_map(|v| v.to_le_bytes()), 4)
    }

    /// Stores 32-bit list indices.
    pub fn add_wide_indices(&mut self, values: &[u32]) -> Symbol {
        self.append(self.indices, values.iter().flat_map(|v| v.to_le_bytes()), 4)
    }

    /// Stores a table of 16-bit numbers.
    pub fn add_u16_table(&mut self, values: &[u16]) -> Symbol {
        self.append(self.tables, values.iter().flat_map(|v| v.to_le_bytes()), 4)
    }

    /// Stores a table of 32-bit numbers.
    pub fn add_u32_table(&mut self, values: &[u32]) -> Symbol {
        self.append(self.tables, values.iter().flat_map(|v| v.to_le_bytes()), 4)
    }

    /// Stores a small table of floats (scales, biases, interpolation weights).
    pub fn add_f32_table(&mut self, values: &[f32]) -> Symbol {
        self.append(self.tables, values.iter().flat_map(|v| v.to_le_bytes()), 16)
    }

    /// Stores a constant tensor, mapped by `arrange`; one symbol if all levels share it, else one
    /// per level.
    pub fn add_parameter(
        &mut self,
        id: TensorId,
        arrange: impl Fn(&[f32]) -> Vec<f32>,
    ) -> Vec<Symbol> {
        let graph = self.graph;
        let tensor = graph.tensor(id);
        let n_distinct = if tensor.rule == condensec_ir::tensor::LevelRule::Shared {
            1
        } else {
            self.n_levels()
        };
        let mut symbols: Vec<Symbol> = (0..n_distinct)
            .map(|level| {
                let values = arrange(&tensor.at_level(LevelId(level as u32)));
                self.add_f32_table(&values)
            })
            .collect();
        let first = symbols[0];
        symbols.resize(self.n_levels(), first);
        symbols
    }
}
