//! Machine code against the checked interpreter: from every back end, for every instruction set that
//! this machine has or can emulate.

use super::compilers::Compiler;
use super::programs::{Widths, add_step, empty, kernel, port};
use super::run_on::run_on;
use condensec_ir::kernel::{
    Data, FunctionBuilder, IntBinaryOp, Machine, MemoryType, Program, Section, Type, Value,
};
use condensec_ir::tensor::LevelId;

/// Edge values of f32.
pub const FLOATS: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.4999998,
    1e-45,
    -1e-45,
    f32::MIN_POSITIVE,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    8388607.5,
    8388609.0,
    -8388607.5,
    16777216.0,
    1e10,
    -0.49999997,
];

/// Edge values of indices; the low half is used as i32.
pub const INTEGERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    31,
    100,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x0123_4567_89ab_cdef,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Input of most programs: [`FLOATS`], and the first ones again, so that a vector of any length may
/// begin at each of them.
pub fn cycle(floats: &[f32; FLOATS.len()]) -> Vec<f32> {
    [floats.as_slice(), &floats[..LONGEST]].concat()
}

/// Lanes of the longest vectors of the kernel IR.
pub const LONGEST: usize = 16;

/// Lanes of the vectors that tests use.
pub const LANES: [usize; 3] = [4, 8, LONGEST];

/// How results may differ.
#[derive(Clone, Copy, PartialEq)]
pub enum Agreement {
    /// Bit by bit, but any NaN is as good as another: which one an operation gives is the machine's
    /// choice, and optimizers drop operations that would only turn one into another.
    Exact,
    /// Up to a relative error: another libm, or a multiply-add that rounds twice.
    Close(f32),
}

pub fn agree(want: f32, got: f32, agreement: Agreement) -> bool {
    match agreement {
        _ if want.is_nan() && got.is_nan() => true,
        Agreement::Exact => want.to_bits() == got.to_bits(),
        Agreement::Close(error) => want == got || (want - got).abs() <= error * want.abs(),
    }
}

/// Compares what a program computes with every compiler that has its vectors.
pub fn check(make: impl Fn(Widths) -> Program, inputs: &[&[f32]], agreement: Agreement) {
    for compiler in Compiler::instruction_sets() {
        let widths = Widths::of(compiler.target.pointer_bytes());
        let program = make(widths);
        let has_vectors = lanes(&program).next().is_some();
        if !lanes(&program).all(|n| compiler.has_lanes(n)) {
            continue;
        }
        let agreement = match agreement {
            Agreement::Close(_) => agreement,
            Agreement::Exact if compiler.info().has_fma || !uses_mul_add(&program) => agreement,
            // A product is rounded before it is added.
            Agreement::Exact => Agreement::Close(1e-6),
        };
        // NEON of 32-bit Arm takes subnormal numbers for zeros and makes zeros of them.
        let flushes = has_vectors && compiler.target.name() == "armv7a";
        let inputs: Vec<Vec<f32>> = match flushes {
            true => inputs.iter().map(|i| flush(i)).collect(),
            false => inputs.iter().map(|i| i.to_vec()).collect(),
        };
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let Some(got) = run_on(&compiler, &program, 0, &inputs) else {
            continue;
        };
        let want = Machine::run(&make(widths.in_the_interpreter()), LevelId(0), &inputs).unwrap();
        for (port, (want, got)) in program.outputs.iter().zip(want.iter().zip(&got)) {
            assert_eq!(want.len(), got.len());
            for (i, (&want, &got)) in want.iter().zip(got).enumerate() {
                let is_flushed = flushes && want.is_subnormal() && got == 0.0;
                assert!(
                    is_flushed || agree(want, got, agreement),
                    "{compiler}: {}: {}[{i}] is {got:?} ({:#010x}), should be {want:?} ({:#010x})",
                    program.name,
                    port.name,
                    got.to_bits(),
                    want.to_bits(),
                );
            }
        }
    }
}

/// Lanes of the vectors of `program`.
fn lanes(program: &Program) -> impl Iterator<Item = u8> {
    let types = program.functions.iter().flat_map(|f| &f.types);
    types.filter_map(|ty| match ty {
        Type::Vector(lanes) | Type::IntVector(lanes) => Some(*lanes),
        _ => None,
    })
}

/// `floats` with zeros for subnormal numbers.
fn flush(floats: &[f32]) -> Vec<f32> {
    let flush = |&v: &f32| {
        if v.is_subnormal() {
            0.0f32.copysign(v)
        } else {
            v
        }
    };
    floats.iter().map(flush).collect()
}

pub fn uses_mul_add(program: &Program) -> bool {
    program
        .functions
        .iter()
        .any(|f| format!("{f:?}").contains("MulAdd"))
}

/// Writes results one after the other.
pub struct Output {
    pub base: Value,
    pub n: usize,
    pub widths: Widths,
}

impl Output {
    pub fn f32(&mut self, f: &mut FunctionBuilder, value: Value) {
        f.store(MemoryType::F32, value, self.base, 4 * self.n);
        self.n += 1;
    }

    pub fn i32(&mut self, f: &mut FunctionBuilder, value: Value) {
        let float = f.bitcast(value);
        self.f32(f, float);
    }

    /// The bits that count.
    pub fn index(&mut self, f: &mut FunctionBuilder, value: Value) {
        let low = f.index_to_i32(value);
        self.i32(f, low);
        if self.widths.index_bits == 64 {
            let shift = f.index(32);
            let high = f.int(IntBinaryOp::ShrU, value, shift);
            let high = f.index_to_i32(high);
            self.i32(f, high);
        }
    }

    pub fn bool(&mut self, f: &mut FunctionBuilder, value: Value) {
        let (one, zero) = (f.i32(1), f.i32(0));
        let number = f.select(value, one, zero);
        self.i32(f, number);
    }

    pub fn vector(&mut self, f: &mut FunctionBuilder, value: Value) {
        f.store_lanes(value, self.base, 4 * self.n);
        self.n += match f.type_of(value) {
            Type::Vector(lanes) => usize::from(lanes),
            ty => panic!("{ty} is no vector of f32"),
        };
    }
}

/// A program with an input `x` as long as [`cycle`] and an output as long as its kernels write:
/// `body` makes kernel 0, 1, .. of `n_kernels`, which follow each other. One that did all would be
/// larger than code generators are made for: some of LLVM's passes take time by its square.
pub fn program(
    name: &str,
    widths: Widths,
    data: Vec<Data>,
    n_kernels: usize,
    body: impl Fn(&mut FunctionBuilder, usize, Value, &mut Output),
) -> Program {
    let mut program = empty(name, 1);
    program.inputs.push(port("x", &[FLOATS.len() + LONGEST]));
    program.arena_bytes = 256;
    for data in data {
        program.add_data(data);
    }
    let mut n = 0;
    for number in 0..n_kernels {
        let function = kernel(&format!("k{number}"), |f, [bases, ..]| {
            let [x, base] = [1, 2].map(|i| f.load(MemoryType::Ptr, bases, widths.word(i)));
            let mut output = Output { base, n, widths };
            body(f, number, x, &mut output);
            n = output.n;
        });
        add_step(&mut program, function, &[]);
    }
    program.outputs.push(port("y", &[n]));
    program
}

/// [`INTEGERS`], as far as an index holds them.
pub fn integer_values(widths: Widths) -> [u64; INTEGERS.len()] {
    INTEGERS.map(|value| value & widths.max_index())
}

/// A table of [`integer_values`].
pub fn integers(widths: Widths) -> Data {
    let word = |value: u64| value.to_le_bytes().into_iter().take(widths.pointer_bytes);
    Data {
        name: "integers".into(),
        is_exported: false,
        section: Section::Tables,
        align: 8,
        bytes: integer_values(widths).into_iter().flat_map(word).collect(),
        relocations: Vec::new(),
    }
}

pub fn load_float(f: &mut FunctionBuilder, x: Value, i: usize) -> Value {
    f.load(MemoryType::F32, x, 4 * i)
}
