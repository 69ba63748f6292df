//! Small programs.

use condensec_ir::kernel::{
    Argument, Data, Function, FunctionBuilder, LevelSummary, MemoryType, Port, Program, Section,
    Step, Type, Value, verify_function,
};

/// Widths that a program is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Bytes of a pointer and of an index in memory.
    pub pointer_bytes: usize,
    /// Bits of an index that count.
    pub index_bits: u32,
}

impl Widths {
    /// Those of this machine and of the interpreter.
    pub const WIDE: Self = Self {
        pointer_bytes: 8,
        index_bits: 64,
    };

    /// Those of a machine with pointers of `pointer_bytes`.
    pub fn of(pointer_bytes: usize) -> Self {
        Self {
            pointer_bytes,
            index_bits: 8 * pointer_bytes as u32,
        }
    }

    /// A program that computes the same in the interpreter, whose pointers have 8 bytes.
    pub fn in_the_interpreter(self) -> Self {
        Self {
            pointer_bytes: 8,
            ..self
        }
    }

    /// The largest index.
    pub fn max_index(self) -> u64 {
        u64::MAX >> (64 - self.index_bits)
    }

    /// Offset of word `i` of a table of pointers or indices.
    pub fn word(self, i: usize) -> usize {
        i * self.pointer_bytes
    }
}

/// A program with no steps yet.
pub fn empty(name: &str, n_levels: usize) -> Program {
    let level = |i: usize| LevelSummary {
        name: format!("L{i}"),
        density: (i + 1) as f64 / n_levels as f64,
        macs: 100 * (i as u64 + 1),
        weight_bytes: 0,
        predicted_cycles: 0,
    };
    Program {
        name: name.into(),
        functions: Vec::new(),
        data: Vec::new(),
        steps: vec![Vec::new(); n_levels],
        levels: (0..n_levels).map(level).collect(),
        layers: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        arena_bytes: 0,
    }
}

/// An input or output.
pub fn port(name: &str, shape: &[usize]) -> Port {
    Port {
        name: name.into(),
        shape: shape.to_vec(),
    }
}

/// A constant of f32.
pub fn floats(name: &str, section: Section, values: &[f32]) -> Data {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Data {
        name: name.into(),
        is_exported: false,
        section,
        align: 64,
        bytes,
        relocations: Vec::new(),
    }
}

/// A constant of u16.
pub fn shorts(name: &str, values: &[u16]) -> Data {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Data {
        name: name.into(),
        is_exported: false,
        section: Section::Indices,
        align: 64,
        bytes,
        relocations: Vec::new(),
    }
}

/// A kernel: `body` gets the base table and the argument block.
pub fn kernel(name: &str, body: impl FnOnce(&mut FunctionBuilder, [Value; 4])) -> Function {
    let types = [Type::Ptr, Type::Ptr, Type::Index, Type::Index];
    let mut f = FunctionBuilder::new(name, &types);
    let parameters = f.parameters();
    body(&mut f, parameters);
    let function = f.finish();
    verify_function(&function).unwrap();
    function
}

/// A program of one kernel that maps an input of `n_in` floats to an output of `n_out`: `body` gets
/// the addresses of both.
pub fn map(
    name: &str,
    n_in: usize,
    n_out: usize,
    body: impl FnOnce(&mut FunctionBuilder, Value, Value),
) -> Program {
    let mut program = empty(name, 1);
    program.inputs.push(port("x", &[n_in]));
    program.outputs.push(port("y", &[n_out]));
    let kernel = program.add_kernel(kernel("map", |f, [bases, ..]| {
        let x = f.load(MemoryType::Ptr, bases, 8);
        let y = f.load(MemoryType::Ptr, bases, 16);
        body(f, x, y);
    }));
    program.steps[0].push(Step {
        kernel,
        arguments: vec![],
        n_tasks: 1,
        node: "map".into(),
        predicted_cycles: 2,
    });
    program
}

/// Appends a step of one task to every level.
pub fn add_step(program: &mut Program, function: Function, arguments: &[Argument]) {
    let node = function.name.clone();
    let kernel = program.add_kernel(function);
    for steps in &mut program.steps {
        let (arguments, node) = (arguments.to_vec(), node.clone());
        steps.push(Step {
            kernel,
            arguments,
            n_tasks: 1,
            node,
            predicted_cycles: 2,
        });
    }
}
