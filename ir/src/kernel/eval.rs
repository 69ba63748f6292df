//! Runs kernel IR on a memory where every load and store is checked.
//!
//! This is how tests show that generated code stays inside its buffers: an address is a number
//! whose upper bits name an allocation and whose lower bits are the offset, so ordinary pointer
//! arithmetic works and any access outside the allocation is an error. Slow and obvious.

use super::function::{Callee, Expr, Function, Statement, Value};
use super::program::{Argument, Program};
use super::symbol::Symbol;
use super::types::{
    CompareOp, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Type,
};
use crate::tensor::LevelId;
use thiserror::Error;

const OFFSET_BITS: u32 = 40;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
/// Function pointers live in allocation numbers from here up.
const FUNCTION_SPACE: u64 = 1 << 23;

/// What stopped a run. Always a bug of the code that built the kernel.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum MachineError {
    /// An access outside its allocation.
    #[error("{kernel}: {access} of {bytes} bytes at {allocation} + {offset}, which has {size}")]
    OutOfBounds {
        /// Kernel that did it.
        kernel: String,
        /// `load` or `store`.
        access: &'static str,
        /// Size of the access.
        bytes: usize,
        /// Name of the allocation.
        allocation: String,
        /// Offset in it.
        offset: u64,
        /// Size of the allocation.
        size: usize,
    },
    /// A store into constant data.
    #[error("{kernel}: store into the constant {allocation}")]
    ConstantStore {
        /// Kernel that did it.
        kernel: String,
        /// Name of the constant.
        allocation: String,
    },
    /// A call of something that is no function.
    #[error("{kernel}: call of {target:#x}, which is no function")]
    BadCall {
        /// Kernel that did it.
        kernel: String,
        /// Address.
        target: u64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Cell {
    Int(u64),
    Float(f32),
    Vector([f32; 16]),
    IntVector([u32; 16]),
}

struct Allocation {
    name: String,
    bytes: Vec<u8>,
    is_constant: bool,
}

/// Memory and functions of one program.
pub struct Machine<'a> {
    program: &'a Program,
    memory: Vec<Allocation>,
}

impl<'a> Machine<'a> {
    /// A machine with the program's constants loaded; its pointers have 8 bytes.
    pub fn new(program: &'a Program) -> Self {
        let memory = program
            .data
            .iter()
            .map(|d| Allocation {
                name: d.name.clone(),
                bytes: d.bytes.clone(),
                is_constant: true,
            })
            .collect();
        let mut machine = Self { program, memory };
        for (i, data) in program.data.iter().enumerate() {
            for relocation in &data.relocations {
                let address = Self::address_of(relocation.target).to_le_bytes();
                let at = relocation.offset as usize;
                machine.memory[i].bytes[at..at + 8].copy_from_slice(&address);
            }
        }
        machine
    }

    /// Adds writable memory of `bytes` and returns its address. It is filled with a NaN pattern,
    /// so that reading what nobody wrote shows.
    pub fn allocate(&mut self, name: &str, bytes: usize) -> u64 {
        self.memory.push(Allocation {
            name: name.to_string(),
            bytes: vec![0xff; bytes],
            is_constant: false,
        });
        (self.memory.len() as u64) << OFFSET_BITS
    }

    /// Bytes of the allocation that starts at `address`.
    pub fn bytes_mut(&mut self, address: u64) -> &mut Vec<u8> {
        &mut self.memory[(address >> OFFSET_BITS) as usize - 1].bytes
    }

    /// Address of a function or of data.
    pub fn address_of(symbol: Symbol) -> u64 {
        match symbol {
            Symbol::Function(id) => (FUNCTION_SPACE + u64::from(id.0)) << OFFSET_BITS,
            Symbol::Data(id, offset) => ((u64::from(id.0) + 1) << OFFSET_BITS) + offset,
        }
    }

    /// Runs all steps of `level` on `inputs`, which are f32 in the ports' order; returns the
    /// outputs. The arena starts as NaN.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn run(
        program: &'a Program,
        level: LevelId,
        inputs: &[&[f32]],
    ) -> Result<Vec<Vec<f32>>, MachineError> {
        let mut machine = Self::new(program);
        let arena = machine.allocate("arena", program.arena_bytes as usize);
        let mut bases = vec![arena];
        for (port, values) in program.inputs.iter().zip(inputs) {
            let address = machine.allocate(&port.name, values.len() * 4);
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            *machine.bytes_mut(address) = bytes;
            bases.push(address);
        }
        for port in &program.outputs {
            let n: usize = port.shape.iter().product();
            bases.push(machine.allocate(&port.name, n * 4));
        }
        let bases_table = machine.allocate("bases", bases.len() * 8);
        *machine.bytes_mut(bases_table) = bases.iter().flat_map(|b| b.to_le_bytes()).collect();
        for step in program.level_steps(level) {
            let words = step.arguments.iter().flat_map(|argument| match argument {
                Argument::Index(v) => v.to_le_bytes(),
                Argument::Address(symbol) => Self::address_of(*symbol).to_le_bytes(),
            });
            let words: Vec<u8> = words.collect();
            let arguments = machine.allocate(&format!("arguments of {}", step.node), words.len());
            *machine.bytes_mut(arguments) = words;
            let call = [bases_table, arguments, 0, u64::from(step.n_tasks)];
            machine.call(program.function(step.kernel), &call)?;
        }
        let outputs = bases[1 + inputs.len()..].iter().map(|&address| {
            let bytes = machine.bytes_mut(address);
            let value = |c: &[u8]| f32::from_le_bytes(c.try_into().expect("chunks of 4"));
            bytes.chunks_exact(4).map(value).collect()
        });
        Ok(outputs.collect())
    }

    /// Calls `function` with integer or pointer arguments; returns its integer result, if any.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn call(
        &mut self,
        function: &Function,
        arguments: &[u64],
    ) -> Result<Option<u64>, MachineError> {
        let mut frame = Frame {
            function,
            cells: vec![Cell::Int(0); function.types.len()],
        };
        for (&parameter, &argument) in function.parameters.iter().zip(arguments) {
            frame.set(parameter, Cell::Int(argument));
        }
        self.block(&mut frame, &function.body)?;
        Ok(function.result.map(|r| frame.int(r)))
    }

    fn block(&mut self, frame: &mut Frame<'_>, block: &[Statement]) -> Result<(), MachineError> {
        for statement in block {
            match statement {
                Statement::Let { result, expr } => {
                    let cell = self.expr(frame, *expr)?;
                    frame.set(*result, cell);
                }
                Statement::Store {
                    memory,
                    value,
                    base,
                    offset,
                } => {
                    let address = frame.address(*base, *offset);
                    self.store(frame, *memory, *value, address)?;
                }
                Statement::AtomicStore {
                    value,
                    base,
                    offset,
                } => {
                    let address = frame.address(*base, *offset);
                    self.store(frame, MemoryType::I32, *value, address)?;
                }
                Statement::Prefetch { .. } => {}
                Statement::For {
                    induction,
                    low,
                    high,
                    step,
                    carried,
                    body,
                } => {
                    let (mut i, high) = (frame.int(*low), frame.int(*high));
                    for c in carried {
                        let initial = frame.get(c.initial);
                        frame.set(c.argument, initial);
                    }
                    while i < high {
                        frame.set(*induction, Cell::Int(i));
                        self.block(frame, body)?;
                        let next: Vec<Cell> = carried.iter().map(|c| frame.get(c.next)).collect();
                        for (c, cell) in carried.iter().zip(next) {
                            frame.set(c.argument, cell);
                        }
                        i += u64::from(*step);
                    }
                    for c in carried {
                        let last = frame.get(c.argument);
                        frame.set(c.result, last);
                    }
                }
                Statement::If {
                    condition,
                    then,
                    then_values,
                    otherwise,
                    otherwise_values,
                    results,
                } => {
                    let (block, values) = match frame.int(*condition) {
                        0 => (otherwise, otherwise_values),
                        _ => (then, then_values),
                    };
                    self.block(frame, block)?;
                    for (&result, &value) in results.iter().zip(values) {
                        let cell = frame.get(value);
                        frame.set(result, cell);
                    }
                }
                Statement::Call {
                    callee: Callee::Libm(name),
                    arguments,
                    result,
                } => {
                    let values: Vec<f32> = arguments.iter().map(|&a| frame.float(a)).collect();
                    let result = result.expect("verified: libm calls have a result");
                    frame.set(result, Cell::Float(libm_call(name, &values)));
                }
                Statement::Call {
                    callee: Callee::Indirect(target),
                    arguments,
                    ..
                } => {
                    let target = frame.int(*target);
                    let at = (target >> OFFSET_BITS).wrapping_sub(FUNCTION_SPACE) as usize;
                    let program = self.program;
                    let Some(callee) = program.functions.get(at) else {
                        let kernel = frame.function.name.clone();
                        return Err(MachineError::BadCall { kernel, target });
                    };
                    let values: Vec<u64> = arguments.iter().map(|&a| frame.int(a)).collect();
                    self.call(callee, &values)?;
                }
            }
        }
        Ok(())
    }

    fn range(
        &self,
        frame: &Frame<'_>,
        access: &'static str,
        address: u64,
        bytes: usize,
    ) -> Result<(usize, std::ops::Range<usize>), MachineError> {
        let number = (address >> OFFSET_BITS) as usize;
        let offset = address & OFFSET_MASK;
        let allocation = number.checked_sub(1).and_then(|n| self.memory.get(n));
        match allocation {
            Some(a) if offset + bytes as u64 <= a.bytes.len() as u64 => {
                Ok((number - 1, offset as usize..offset as usize + bytes))
            }
            _ => Err(MachineError::OutOfBounds {
                kernel: frame.function.name.clone(),
                access,
                bytes,
                allocation: allocation.map_or("no allocation".into(), |a| a.name.clone()),
                offset,
                size: allocation.map_or(0, |a| a.bytes.len()),
            }),
        }
    }

    fn load(
        &self,
        frame: &Frame<'_>,
        memory: MemoryType,
        address: u64,
    ) -> Result<Cell, MachineError> {
        let (number, range) = self.range(frame, "load", address, memory.size_bytes(8))?;
        let bytes = &self.memory[number].bytes[range];
        let word = |c: &[u8]| {
            let mut wide = [0; 8];
            wide[..c.len()].copy_from_slice(c);
            u64::from_le_bytes(wide)
        };
        Ok(match memory {
            MemoryType::F32 => Cell::Float(f32::from_bits(word(bytes) as u32)),
            MemoryType::Vector(_) => {
                let mut lanes = [0.0; 16];
                for (lane, c) in lanes.iter_mut().zip(bytes.chunks_exact(4)) {
                    *lane = f32::from_bits(word(c) as u32);
                }
                Cell::Vector(lanes)
            }
            _ => Cell::Int(word(bytes)),
        })
    }

    fn store(
        &mut self,
        frame: &Frame<'_>,
        memory: MemoryType,
        value: Value,
        address: u64,
    ) -> Result<(), MachineError> {
        let size = memory.size_bytes(8);
        let (number, range) = self.range(frame, "store", address, size)?;
        let target = &mut self.memory[number];
        if target.is_constant {
            return Err(MachineError::ConstantStore {
                kernel: frame.function.name.clone(),
                allocation: target.name.clone(),
            });
        }
        let bytes = &mut target.bytes[range];
        match frame.get(value) {
            Cell::Int(v) => bytes.copy_from_slice(&v.to_le_bytes()[..size]),
            Cell::Float(v) => bytes.copy_from_slice(&v.to_le_bytes()),
            Cell::Vector(lanes) => {
                for (c, lane) in bytes.chunks_exact_mut(4).zip(lanes) {
                    c.copy_from_slice(&lane.to_le_bytes());
                }
            }
            Cell::IntVector(_) => unreachable!("verified: no stores of integer vectors"),
        }
        Ok(())
    }

    fn expr(&self, frame: &Frame<'_>, expr: Expr) -> Result<Cell, MachineError> {
        Ok(match expr {
            Expr::ConstIndex(v) => Cell::Int(v as u64),
            Expr::ConstI32(v) => Cell::Int(u64::from(v as u32)),
            Expr::ConstF32(v) => Cell::Float(v),
            Expr::IntBinary(op, a, b) => match (frame.get(a), frame.get(b)) {
                (Cell::IntVector(x), Cell::IntVector(y)) => {
                    Cell::IntVector(std::array::from_fn(|i| {
                        int_binary(op, u64::from(x[i]), u64::from(y[i]), 32) as u32
                    }))
                }
                _ => {
                    let bits = if frame.function.type_of(a) == Type::I32 {
                        32
                    } else {
                        64
                    };
                    Cell::Int(int_binary(op, frame.int(a), frame.int(b), bits))
                }
            },
            Expr::FloatBinary(op, a, b) => {
                frame.lanes([a, b, a], |[x, y, _]| float_binary(op, x, y))
            }
            Expr::FloatUnary(op, a) => frame.lanes([a, a, a], |[x, ..]| match op {
                FloatUnaryOp::Abs => x.abs(),
                FloatUnaryOp::Ceil => x.ceil(),
                FloatUnaryOp::Floor => x.floor(),
                FloatUnaryOp::Nearest => x.round_ties_even(),
                FloatUnaryOp::Neg => -x,
                FloatUnaryOp::Sqrt => x.sqrt(),
            }),
            Expr::MulAdd(a, b, c) => frame.lanes([a, b, c], |[x, y, z]| x.mul_add(y, z)),
            Expr::Compare(op, a, b) => {
                let holds = match (frame.get(a), frame.get(b)) {
                    (Cell::Float(x), Cell::Float(y)) => match op {
                        CompareOp::Eq => x == y,
                        CompareOp::Ge => x >= y,
                        CompareOp::Lt => x < y,
                        CompareOp::Ne => x != y,
                    },
                    _ => {
                        let (x, y) = (frame.int(a), frame.int(b));
                        match op {
                            CompareOp::Eq => x == y,
                            CompareOp::Ge => x >= y,
                            CompareOp::Lt => x < y,
                            CompareOp::Ne => x != y,
                        }
                    }
                };
                Cell::Int(u64::from(holds))
            }
            Expr::Select { condition, a, b } => {
                frame.get(if frame.int(condition) != 0 { a } else { b })
            }
            Expr::Splat(v, _) => match frame.get(v) {
                Cell::Float(x) => Cell::Vector([x; 16]),
                Cell::Int(x) => Cell::IntVector([x as u32; 16]),
                other => other,
            },
            Expr::Extract(v, lane) => match frame.get(v) {
                Cell::Vector(x) => Cell::Float(x[lane as usize]),
                Cell::IntVector(x) => Cell::Int(u64::from(x[lane as usize])),
                other => other,
            },
            Expr::Deinterleave { a, b, parity } => {
                let first = match parity {
                    Parity::Even => 0,
                    Parity::Odd => 1,
                };
                frame.shuffle(a, b, |_, lane| 2 * lane + first)
            }
            Expr::Interleave { a, b, half } => frame.shuffle(a, b, |lanes, lane| {
                let first = match half {
                    Half::Low => 0,
                    Half::High => lanes / 2,
                };
                first + lane / 2 + lanes * (lane % 2)
            }),
            Expr::PtrAdd(base, bytes) => Cell::Int(frame.int(base).wrapping_add(frame.int(bytes))),
            Expr::PtrToIndex(v) | Expr::I32ToIndex(v) => frame.get(v),
            Expr::IndexToI32(v) => Cell::Int(frame.int(v) & 0xffff_ffff),
            Expr::FloatToInt(v) => match frame.get(v) {
                Cell::Vector(x) => Cell::IntVector(x.map(|x| x.round_ties_even() as i32 as u32)),
                _ => Cell::Int(u64::from(frame.float(v).round_ties_even() as i32 as u32)),
            },
            Expr::IntToFloat(v) => match frame.get(v) {
                Cell::IntVector(x) => Cell::Vector(x.map(|x| x as i32 as f32)),
                _ => Cell::Float(frame.int(v) as u32 as i32 as f32),
            },
            Expr::Bitcast(v) => match frame.get(v) {
                Cell::Int(x) => Cell::Float(f32::from_bits(x as u32)),
                Cell::Float(x) => Cell::Int(u64::from(x.to_bits())),
                Cell::Vector(x) => Cell::IntVector(x.map(f32::to_bits)),
                Cell::IntVector(x) => Cell::Vector(x.map(f32::from_bits)),
            },
            Expr::Load {
                memory,
                base,
                offset,
            } => self.load(frame, memory, frame.address(base, offset))?,
            Expr::AtomicLoad { base, offset } => {
                self.load(frame, MemoryType::I32, frame.address(base, offset))?
            }
            Expr::Address(symbol) => Cell::Int(Self::address_of(symbol)),
        })
    }
}

struct Frame<'a> {
    function: &'a Function,
    cells: Vec<Cell>,
}

impl Frame<'_> {
    fn get(&self, value: Value) -> Cell {
        self.cells[value.0 as usize]
    }

    fn set(&mut self, value: Value, cell: Cell) {
        self.cells[value.0 as usize] = cell;
    }

    fn int(&self, value: Value) -> u64 {
        match self.get(value) {
            Cell::Int(v) => v,
            other => unreachable!("verified: {value} is an integer, not {other:?}"),
        }
    }

    fn float(&self, value: Value) -> f32 {
        match self.get(value) {
            Cell::Float(v) => v,
            other => unreachable!("verified: {value} is a float, not {other:?}"),
        }
    }

    fn address(&self, base: Value, offset: i32) -> u64 {
        self.int(base).wrapping_add(i64::from(offset) as u64)
    }

    fn lanes(&self, operands: [Value; 3], f: impl Fn([f32; 3]) -> f32) -> Cell {
        match operands.map(|v| self.get(v)) {
            [Cell::Vector(x), Cell::Vector(y), Cell::Vector(z)] => {
                Cell::Vector(std::array::from_fn(|i| f([x[i], y[i], z[i]])))
            }
            _ => Cell::Float(f(operands.map(|v| self.float(v)))),
        }
    }

    /// A vector whose lane `i` is lane `place(lanes, i)` of `a` followed by `b`.
    fn shuffle(&self, a: Value, b: Value, place: impl Fn(usize, usize) -> usize) -> Cell {
        match (self.function.type_of(a), self.get(a), self.get(b)) {
            (Type::Vector(lanes), Cell::Vector(x), Cell::Vector(y)) => {
                let lanes = usize::from(lanes);
                let mut result = [0.0; 16];
                for (lane, value) in result[..lanes].iter_mut().enumerate() {
                    let at = place(lanes, lane);
                    *value = if at < lanes { x[at] } else { y[at - lanes] };
                }
                Cell::Vector(result)
            }
            (ty, ..) => unreachable!("verified: {a} and {b} are vectors, not {ty}"),
        }
    }
}

fn int_binary(op: IntBinaryOp, a: u64, b: u64, bits: u32) -> u64 {
    let result = match op {
        IntBinaryOp::Add => a.wrapping_add(b),
        IntBinaryOp::And => a & b,
        IntBinaryOp::DivU => a / b,
        IntBinaryOp::MaxU => a.max(b),
        IntBinaryOp::MinU => a.min(b),
        IntBinaryOp::Mul => a.wrapping_mul(b),
        IntBinaryOp::Or => a | b,
        IntBinaryOp::RemU => a % b,
        IntBinaryOp::Shl => a << (b % u64::from(bits)),
        IntBinaryOp::ShrU => a >> (b % u64::from(bits)),
        IntBinaryOp::Sub => a.wrapping_sub(b),
        IntBinaryOp::Xor => a ^ b,
    };
    if bits == 32 {
        result & 0xffff_ffff
    } else {
        result
    }
}

fn float_binary(op: FloatBinaryOp, a: f32, b: f32) -> f32 {
    match op {
        FloatBinaryOp::Add => a + b,
        FloatBinaryOp::Div => a / b,
        FloatBinaryOp::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        FloatBinaryOp::Min => {
            if a < b {
                a
            } else {
                b
            }
        }
        FloatBinaryOp::Mul => a * b,
        FloatBinaryOp::Sub => a - b,
    }
}

fn libm_call(name: &str, arguments: &[f32]) -> f32 {
    match (name, arguments) {
        ("erff", [x]) => libm::erff(*x),
        ("logf", [x]) => x.ln(),
        ("log1pf", [x]) => x.ln_1p(),
        ("powf", [x, y]) => x.powf(*y),
        _ => unreachable!("{name} is not among the libm functions that kernels may call"),
    }
}

#[cfg(test)]
mod tests;
