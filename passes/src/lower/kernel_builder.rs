//! The frame that every kernel has: fetch addresses from the argument block, then do tasks.

use super::Lowering;
use condensec_ir::NodeId;
use condensec_ir::kernel::{
    Argument, Function, FunctionBuilder, IntBinaryOp, MemoryType, Symbol, Type, Value,
};
use std::ops::{Deref, DerefMut};

/// An argument of a step, before levels and addresses are known.
#[derive(Debug, Clone, PartialEq)]
pub enum StepArgument {
    /// Storage of a node's value; two words: which base, and the offset from it.
    Buffer(NodeId),
    /// A constant of the program.
    Data(Symbol),
    /// A constant of the program per level, L0 first.
    LevelData(Vec<Symbol>),
}

/// Builds one kernel together with the argument list that its steps must pass, so that the two
/// cannot disagree. Dereferences to the [`FunctionBuilder`].
pub struct KernelBuilder {
    f: FunctionBuilder,
    pointer_bytes: usize,
    n_words: usize,
    arguments: Vec<StepArgument>,
    /// First task.
    pub begin: Value,
    /// One past the last task.
    pub end: Value,
    bases: Value,
    words: Value,
}

impl KernelBuilder {
    /// Starts a kernel. `name` says what it computes, e.g. `conv2d_lists_4x12`.
    pub fn new(name: &str, lowering: &Lowering<'_>) -> Self {
        let f = FunctionBuilder::new(name, &[Type::Ptr, Type::Ptr, Type::Index, Type::Index]);
        let [bases, words, begin, end] = f.parameters();
        let pointer_bytes = lowering.target.pointer_bytes;
        Self {
            f,
            pointer_bytes,
            n_words: 0,
            arguments: Vec::new(),
            begin,
            end,
            bases,
            words,
        }
    }

    fn word(&mut self, memory: MemoryType) -> Value {
        let offset = self.n_words * self.pointer_bytes;
        self.n_words += 1;
        let words = self.words;
        self.f.load(memory, words, offset)
    }

    /// Address of the storage of `node`'s value; a constant is read where the library keeps it.
    pub fn buffer(&mut self, lowering: &Lowering<'_>, node: NodeId) -> Value {
        if let Some(symbols) = lowering.constants.get(&node) {
            return self.level_data(symbols.clone());
        }
        self.arguments.push(StepArgument::Buffer(node));
        let slot_bytes = self.word(MemoryType::Index);
        let offset = self.word(MemoryType::Index);
        let bases = self.bases;
        let slot = self.f.ptr_add(bases, slot_bytes);
        let base = self.f.load(MemoryType::Ptr, slot, 0);
        self.f.ptr_add(base, offset)
    }

    /// Address of constant data.
    pub fn data(&mut self, symbol: Symbol) -> Value {
        self.arguments.push(StepArgument::Data(symbol));
        self.word(MemoryType::Ptr)
    }

    /// Address of constant data that differs by level.
    pub fn level_data(&mut self, symbols: Vec<Symbol>) -> Value {
        self.arguments.push(StepArgument::LevelData(symbols));
        self.word(MemoryType::Ptr)
    }

    /// A loop over this call's tasks.
    pub fn for_tasks(&mut self, body: impl FnOnce(&mut FunctionBuilder, Value)) {
        let (begin, end) = (self.begin, self.end);
        self.f.for_each(begin, end, 1, body);
    }

    /// A loop over `n` pieces of work, of which every task but the last has `per_task`; returns the
    /// number of tasks.
    pub fn for_pieces(
        &mut self,
        n: usize,
        per_task: usize,
        body: impl FnOnce(&mut FunctionBuilder, Value),
    ) -> usize {
        let f = &mut self.f;
        let begin = f.mul_const(self.begin, per_task);
        let mut end = f.mul_const(self.end, per_task);
        if !n.is_multiple_of(per_task) {
            let limit = f.size(n);
            end = f.int(IntBinaryOp::MinU, end, limit);
        }
        f.for_each(begin, end, 1, body);
        n.div_ceil(per_task)
    }

    /// Ends the kernel.
    pub fn finish(self) -> (Function, Vec<StepArgument>) {
        (self.f.finish(), self.arguments)
    }
}

impl Deref for KernelBuilder {
    type Target = FunctionBuilder;

    fn deref(&self) -> &FunctionBuilder {
        &self.f
    }
}

impl DerefMut for KernelBuilder {
    fn deref_mut(&mut self) -> &mut FunctionBuilder {
        &mut self.f
    }
}

impl StepArgument {
    /// Words of the argument block at `level`.
    pub(super) fn words(&self, lowering: &Lowering<'_>, level: usize) -> Vec<Argument> {
        match self {
            Self::Buffer(node) => {
                let storage = lowering.storage(*node);
                let slot_bytes = storage.slot * lowering.target.pointer_bytes;
                vec![
                    Argument::Index(slot_bytes as u64),
                    Argument::Index(storage.offset_bytes as u64),
                ]
            }
            Self::Data(symbol) => vec![Argument::Address(*symbol)],
            Self::LevelData(symbols) => vec![Argument::Address(symbols[level])],
        }
    }
}
