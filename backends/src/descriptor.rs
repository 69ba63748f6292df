//! The constant tables that describe a model: `cnd_model` and all that it points at.
//!
//! Laid out field by field as `condensec_runtime::abi` declares them, for the pointer width of the
//! target rather than of this machine; a test compares every offset with `core::mem::offset_of!`.
//! Step tables of different levels share argument blocks that are equal, so a level whose lists
//! start alike costs nothing.

use crate::BackendError;
use condensec_ir::kernel::{
    Argument, Data, DataId, FunctionId, Program, Relocation, Section, Step, Symbol,
};
use condensec_runtime::abi;
use std::collections::HashMap;

/// Names of the tables that say what a run does, see [`add_tables`].
pub const STEP_TABLES: [&str; 3] = ["arguments", "steps", "remaining_cycles"];

/// Names of target, CPU and back end, and the sizes that go into the descriptor.
#[derive(Debug, Clone)]
pub struct DescriptorFields<'a> {
    /// Target triple.
    pub target: &'a str,
    /// CPU.
    pub cpu: &'a str,
    /// Back end.
    pub backend: &'a str,
    /// Size of a pointer on the target.
    pub pointer_bytes: usize,
    /// Size of an instance's state.
    pub state_bytes: u64,
    /// Offset of the arena in the state.
    pub arena_offset: u64,
    /// `init`, `set_level`, `level`, `run`, `run_parallel`, `run_adaptive`.
    pub entry_points: [FunctionId; 6],
}

/// Where the tables are among the data objects of the model.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// All step tables, L0 first, each of `n_steps` entries.
    pub steps: DataId,
    /// The descriptor itself.
    pub model: DataId,
    /// Offsets in the descriptor of the fields that are known only when code and tables are
    /// compiled.
    pub late_fields: LateFields,
}

/// Offsets of `u64` fields of the descriptor to be filled in last.
#[derive(Debug, Clone, Copy)]
pub struct LateFields {
    /// `table_bytes`
    pub table_bytes: usize,
    /// `code_bytes`
    pub code_bytes: usize,
}

/// Size of one step of a step table on a target with pointers of `pointer_bytes`.
pub fn step_bytes(pointer_bytes: usize) -> usize {
    4 * pointer_bytes
}

/// Appends all tables of `program` to `data`, whose ids go on from those of the program.
///
/// # Errors
/// [`BackendError::BadProgram`] if levels differ in their number of steps, or a number does not fit
/// the target's.
pub fn add_tables(
    program: &Program,
    fields: &DescriptorFields<'_>,
    data: &mut TableData,
) -> Result<Tables, BackendError> {
    let bad = |message: String| BackendError::BadProgram {
        program: program.name.clone(),
        message,
    };
    let n_steps = program.steps.first().map_or(0, Vec::len);
    if program.steps.iter().any(|steps| steps.len() != n_steps) {
        return Err(bad("levels differ in their number of steps".into()));
    }
    if program.levels.len() != program.steps.len() || program.levels.is_empty() {
        let (n, m) = (program.levels.len(), program.steps.len());
        return Err(bad(format!("{n} level summaries for {m} step tables")));
    }

    let mut strings = Strings::new(data.next_id());
    // The strings come first because everything points at them, and are filled in last.
    let strings_at = data.add("strings", Table::new(fields.pointer_bytes));
    let too_wide = |argument: &Argument| {
        matches!(argument, Argument::Index(value)
        if fields.pointer_bytes == 4 && u32::try_from(*value).is_err())
    };
    let mut arguments = program.steps.iter().flatten().flat_map(|s| &s.arguments);
    if let Some(argument) = arguments.find(|a| too_wide(a)) {
        return Err(bad(format!("{argument:?} does not fit 32 bits")));
    }
    let steps = add_steps(program, fields.pointer_bytes, &mut strings, data);
    let remaining_cycles = add_remaining_cycles(program, fields.pointer_bytes, data);
    let levels = add_levels(program, fields.pointer_bytes, steps, &mut strings, data);
    let inputs = add_ports(
        &program.inputs,
        "inputs",
        fields.pointer_bytes,
        &mut strings,
        data,
    );
    let outputs = add_ports(
        &program.outputs,
        "outputs",
        fields.pointer_bytes,
        &mut strings,
        data,
    );

    let mut model = Table::new(fields.pointer_bytes);
    model.u32(abi::ABI_VERSION);
    let struct_bytes_at = model.u32(0);
    model.address(strings.add(&program.name));
    model.address(strings.add(fields.target));
    model.address(strings.add(fields.cpu));
    model.address(strings.add(fields.backend));
    model.u32(program.n_levels());
    model.u32(program.inputs.len() as u32);
    model.u32(program.outputs.len() as u32);
    model.u32(n_steps as u32);
    model.address(Symbol::Data(levels, 0));
    model.address(Symbol::Data(inputs, 0));
    model.address(Symbol::Data(outputs, 0));
    match program
        .data
        .iter()
        .position(|d| d.section == Section::Weights)
    {
        Some(first) => model.address(Symbol::Data(DataId(first as u32), 0)),
        None => model.pointer(0),
    };
    model.u64(program.section_bytes(Section::Weights));
    model.u64(program.section_bytes(Section::Indices));
    let table_bytes = model.u64(0);
    let code_bytes = model.u64(0);
    model.u64(fields.state_bytes);
    model.u64(fields.arena_offset);
    for entry_point in fields.entry_points {
        model.address(Symbol::Function(entry_point));
    }
    model.address(Symbol::Data(remaining_cycles, 0));
    model.end_struct();
    let struct_bytes = model.bytes.len() as u32;
    model.bytes[struct_bytes_at..struct_bytes_at + 4].copy_from_slice(&struct_bytes.to_le_bytes());
    let model = data.add("descriptor", model);

    data.replace_bytes(strings_at, strings.bytes);
    Ok(Tables {
        steps,
        model,
        late_fields: LateFields {
            table_bytes,
            code_bytes,
        },
    })
}

fn add_steps(
    program: &Program,
    pointer_bytes: usize,
    strings: &mut Strings,
    data: &mut TableData,
) -> DataId {
    let mut blocks = ArgumentBlocks {
        table: Table::new(pointer_bytes),
        offsets: HashMap::new(),
    };
    let mut steps = Table::new(pointer_bytes);
    let blocks_id = data.next_id();
    for step in program.steps.iter().flatten() {
        let Step {
            kernel,
            arguments,
            n_tasks,
            node,
            predicted_cycles: _,
        } = step;
        steps.address(Symbol::Function(*kernel));
        steps.address(Symbol::Data(blocks_id, blocks.add(arguments)));
        steps.address(strings.add(node));
        steps.pointer(u64::from(*n_tasks));
    }
    data.add("arguments", blocks.table);
    data.add("steps", steps)
}

/// Per level and step, the predicted cycles from this step to the end.
fn add_remaining_cycles(program: &Program, pointer_bytes: usize, data: &mut TableData) -> DataId {
    let mut table = Table::new(pointer_bytes);
    for steps in &program.steps {
        let mut remaining: u64 = steps.iter().map(|step| step.predicted_cycles).sum();
        for step in steps {
            table.u32((remaining as f32).to_bits());
            remaining -= step.predicted_cycles;
        }
    }
    data.add("remaining_cycles", table)
}

fn add_levels(
    program: &Program,
    pointer_bytes: usize,
    steps: DataId,
    strings: &mut Strings,
    data: &mut TableData,
) -> DataId {
    let mut table = Table::new(pointer_bytes);
    let mut steps_offset = 0;
    for (level, level_steps) in program.levels.iter().zip(&program.steps) {
        table.address(strings.add(&level.name));
        table.address(Symbol::Data(steps, steps_offset));
        table.u64(level.density.to_bits());
        table.u64(level.macs);
        table.u64(level.weight_bytes);
        table.u64(level.predicted_cycles);
        table.end_struct();
        steps_offset += (level_steps.len() * step_bytes(pointer_bytes)) as u64;
    }
    data.add("levels", table)
}

fn add_ports(
    ports: &[condensec_ir::kernel::Port],
    name: &str,
    pointer_bytes: usize,
    strings: &mut Strings,
    data: &mut TableData,
) -> DataId {
    let mut shapes = Table::new(pointer_bytes);
    let mut table = Table::new(pointer_bytes);
    let shapes_id = data.next_id();
    for port in ports {
        table.address(strings.add(&port.name));
        table.address(Symbol::Data(shapes_id, shapes.bytes.len() as u64));
        table.u32(port.shape.len() as u32);
        table.u32(abi::DTYPE_F32);
        table.u64(port.shape.iter().product::<usize>() as u64 * 4);
        table.end_struct();
        for &size in &port.shape {
            shapes.u64(size as u64);
        }
    }
    data.add(&format!("{name}_shapes"), shapes);
    data.add(name, table)
}

/// Collects the data objects that this crate adds to those of the program.
#[derive(Debug)]
pub struct TableData {
    first: u32,
    data: Vec<Data>,
}

impl TableData {
    /// Nothing yet; ids start behind the program's.
    pub fn new(program: &Program) -> Self {
        Self {
            first: program.data.len() as u32,
            data: Vec::new(),
        }
    }

    /// The objects in the order of their ids.
    pub fn into_data(self) -> Vec<Data> {
        self.data
    }

    fn next_id(&self) -> DataId {
        DataId(self.first + self.data.len() as u32)
    }

    fn add(&mut self, name: &str, table: Table) -> DataId {
        let id = self.next_id();
        self.data.push(Data {
            name: name.into(),
            is_exported: false,
            section: Section::Tables,
            align: 8,
            bytes: table.bytes,
            relocations: table.relocations,
        });
        id
    }

    fn replace_bytes(&mut self, id: DataId, bytes: Vec<u8>) {
        self.data[(id.0 - self.first) as usize].bytes = bytes;
    }
}

/// Writes C structs field by field, with the padding that `#[repr(C)]` inserts.
#[derive(Debug)]
struct Table {
    pointer_bytes: usize,
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
    /// Start of the struct being written, and its largest alignment so far.
    start: usize,
    align: usize,
}

impl Table {
    fn new(pointer_bytes: usize) -> Self {
        Self {
            pointer_bytes,
            bytes: Vec::new(),
            relocations: Vec::new(),
            start: 0,
            align: 1,
        }
    }

    fn pad(&mut self, align: usize) {
        let used = self.bytes.len() - self.start;
        self.bytes
            .resize(self.start + used.next_multiple_of(align), 0);
    }

    /// Adds a field and returns its offset.
    fn field(&mut self, bytes: &[u8]) -> usize {
        self.pad(bytes.len());
        self.align = self.align.max(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() - bytes.len()
    }

    fn u32(&mut self, value: u32) -> usize {
        self.field(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> usize {
        self.field(&value.to_le_bytes())
    }

    /// A number as wide as a pointer.
    fn pointer(&mut self, value: u64) -> usize {
        self.field(&value.to_le_bytes()[..self.pointer_bytes])
    }

    fn address(&mut self, target: Symbol) -> usize {
        let offset = self.pointer(0);
        self.relocations.push(Relocation {
            offset: offset as u64,
            target,
        });
        offset
    }

    /// Pads to the struct's alignment; the next field starts another one.
    fn end_struct(&mut self) {
        self.pad(self.align);
        (self.start, self.align) = (self.bytes.len(), 1);
    }
}

/// NUL-terminated strings, each once.
#[derive(Debug)]
struct Strings {
    id: DataId,
    bytes: Vec<u8>,
    offsets: HashMap<String, u64>,
}

impl Strings {
    fn new(id: DataId) -> Self {
        Self {
            id,
            bytes: Vec::new(),
            offsets: HashMap::new(),
        }
    }

    /// A NUL inside would end the string early for C, so it is replaced.
    fn add(&mut self, text: &str) -> Symbol {
        let bytes = &mut self.bytes;
        let offset = *self.offsets.entry(text.to_string()).or_insert_with(|| {
            let offset = bytes.len() as u64;
            bytes.extend(text.bytes().map(|b| if b == 0 { b'?' } else { b }));
            bytes.push(0);
            offset
        });
        Symbol::Data(self.id, offset)
    }
}

/// Argument blocks of steps, equal ones once.
struct ArgumentBlocks {
    table: Table,
    offsets: HashMap<Vec<(u8, u64, u64)>, u64>,
}

impl ArgumentBlocks {
    fn add(&mut self, arguments: &[Argument]) -> u64 {
        let key = arguments.iter().map(|argument| match *argument {
            Argument::Index(value) => (0, value, 0),
            Argument::Address(Symbol::Function(id)) => (1, u64::from(id.0), 0),
            Argument::Address(Symbol::Data(id, offset)) => (2, u64::from(id.0), offset),
        });
        let table = &mut self.table;
        *self.offsets.entry(key.collect()).or_insert_with(|| {
            let offset = table.bytes.len() as u64;
            for argument in arguments {
                match *argument {
                    Argument::Index(value) => table.pointer(value),
                    Argument::Address(symbol) => table.address(symbol),
                };
            }
            offset
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::kernel::{LevelSummary, Port};
    use core::mem::{offset_of, size_of};

    fn program() -> Program {
        let level = |name: &str| LevelSummary {
            name: name.into(),
            density: 0.5,
            macs: 1,
            weight_bytes: 2,
            predicted_cycles: 3,
        };
        let step = |v| Step {
            kernel: FunctionId(0),
            arguments: vec![Argument::Index(v)],
            n_tasks: 7,
            node: "conv".into(),
            predicted_cycles: 2,
        };
        Program {
            name: "m".into(),
            functions: Vec::new(),
            data: Vec::new(),
            steps: vec![vec![step(1), step(2)], vec![step(1), step(3)]],
            levels: vec![level("L0"), level("L1")],
            layers: Vec::new(),
            inputs: vec![Port {
                name: "x".into(),
                shape: vec![1, 3],
            }],
            outputs: vec![Port {
                name: "y".into(),
                shape: vec![1, 2],
            }],
            arena_bytes: 64,
        }
    }

    fn tables(pointer_bytes: usize) -> (Vec<Data>, Tables) {
        let program = program();
        let fields = DescriptorFields {
            target: "t",
            cpu: "c",
            backend: "b",
            pointer_bytes,
            state_bytes: 0x1111,
            arena_offset: 0x2222,
            entry_points: [
                FunctionId(10),
                FunctionId(11),
                FunctionId(12),
                FunctionId(13),
                FunctionId(14),
                FunctionId(15),
            ],
        };
        let mut data = TableData::new(&program);
        let tables = add_tables(&program, &fields, &mut data).unwrap();
        (data.into_data(), tables)
    }

    fn named<'a>(data: &'a [Data], name: &str) -> &'a Data {
        data.iter().find(|d| d.name == name).unwrap()
    }

    fn offsets(data: &Data) -> Vec<u64> {
        data.relocations.iter().map(|r| r.offset).collect()
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn offsets_are_those_of_the_abi() {
        use abi::{Level, Model, Step as AbiStep, TensorInfo};
        let (data, tables) = tables(8);
        let model = named(&data, "descriptor");
        assert_eq!(model.bytes.len(), size_of::<Model>());
        let word = |at: usize| u32::from_le_bytes(model.bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(offset_of!(Model, abi_version)), abi::ABI_VERSION);
        assert_eq!(
            word(offset_of!(Model, struct_bytes)) as usize,
            size_of::<Model>()
        );
        assert_eq!(word(offset_of!(Model, n_levels)), 2);
        assert_eq!(word(offset_of!(Model, n_inputs)), 1);
        assert_eq!(word(offset_of!(Model, n_outputs)), 1);
        assert_eq!(word(offset_of!(Model, n_steps)), 2);
        assert_eq!(word(offset_of!(Model, state_bytes)), 0x1111);
        assert_eq!(word(offset_of!(Model, arena_offset)), 0x2222);
        assert_eq!(
            tables.late_fields.table_bytes,
            offset_of!(Model, table_bytes)
        );
        assert_eq!(tables.late_fields.code_bytes, offset_of!(Model, code_bytes));
        let pointers = [
            offset_of!(Model, name),
            offset_of!(Model, target),
            offset_of!(Model, cpu),
            offset_of!(Model, backend),
            offset_of!(Model, levels),
            offset_of!(Model, inputs),
            offset_of!(Model, outputs),
            offset_of!(Model, init),
            offset_of!(Model, set_level),
            offset_of!(Model, level),
            offset_of!(Model, run),
            offset_of!(Model, run_parallel),
            offset_of!(Model, run_adaptive),
            offset_of!(Model, remaining_cycles),
        ];
        assert_eq!(offsets(model), pointers.map(|p| p as u64));

        let levels = named(&data, "levels");
        assert_eq!(levels.bytes.len(), 2 * size_of::<Level>());
        let pointers = [offset_of!(Level, name), offset_of!(Level, steps)];
        assert_eq!(offsets(levels)[..2], pointers.map(|p| p as u64));
        let at = offset_of!(Level, density);
        assert_eq!(levels.bytes[at..at + 8], 0.5f64.to_le_bytes());
        assert_eq!(levels.bytes[offset_of!(Level, macs)], 1);
        assert_eq!(levels.bytes[offset_of!(Level, weight_bytes)], 2);
        assert_eq!(levels.bytes[offset_of!(Level, predicted_cycles)], 3);

        let steps = named(&data, "steps");
        assert_eq!(steps.bytes.len(), 4 * size_of::<AbiStep>());
        assert_eq!(step_bytes(8), size_of::<AbiStep>());
        let pointers = [
            offset_of!(AbiStep, kernel),
            offset_of!(AbiStep, arguments),
            offset_of!(AbiStep, node),
        ];
        assert_eq!(offsets(steps)[..3], pointers.map(|p| p as u64));
        assert_eq!(steps.bytes[offset_of!(AbiStep, n_tasks)], 7);

        let inputs = named(&data, "inputs");
        assert_eq!(inputs.bytes.len(), size_of::<TensorInfo>());
        let pointers = [offset_of!(TensorInfo, name), offset_of!(TensorInfo, shape)];
        assert_eq!(offsets(inputs), pointers.map(|p| p as u64));
        assert_eq!(inputs.bytes[offset_of!(TensorInfo, rank)], 2);
        assert_eq!(inputs.bytes[offset_of!(TensorInfo, dtype)], 1);
        assert_eq!(inputs.bytes[offset_of!(TensorInfo, bytes)], 12);
    }

    #[test]
    fn cycles_remain_until_the_last_step_is_done() {
        let (data, _) = tables(8);
        let remaining = &named(&data, "remaining_cycles").bytes;
        let values: Vec<f32> = remaining
            .as_chunks()
            .0
            .iter()
            .map(|&word| f32::from_le_bytes(word))
            .collect();
        assert_eq!(values, [4.0, 2.0, 4.0, 2.0]);
    }

    #[test]
    fn equal_argument_blocks_are_shared() {
        let (data, _) = tables(8);
        assert_eq!(named(&data, "arguments").bytes.len(), 3 * 8);
        let steps = named(&data, "steps");
        let block = |i: usize| steps.relocations[3 * i + 1].target;
        assert_eq!(block(0), block(2));
        assert_ne!(block(1), block(3));
    }

    #[test]
    fn pointers_of_32_bits_make_smaller_tables() {
        let (data, _) = tables(4);
        assert_eq!(named(&data, "steps").bytes.len(), 4 * 16);
        // name, shape, rank, dtype, bytes: 4 + 4 + 4 + 4 + 8.
        assert_eq!(named(&data, "inputs").bytes.len(), 24);
        // name, steps, four 64-bit fields.
        assert_eq!(named(&data, "levels").bytes.len(), 2 * 40);
        // 6 words, 15 pointers, 6 64-bit fields, and padding to 8.
        assert_eq!(named(&data, "descriptor").bytes.len(), 136);
    }
}
