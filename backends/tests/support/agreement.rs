//! Machine code against the checked interpreter, on every target that this machine can run.

use super::programs::{add_step, empty, kernel, port};
use super::run_on::{instruction_sets, run_on, title};
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

/// How results may differ.
#[derive(Clone, Copy, PartialEq)]
pub enum Agreement {
    /// Bit by bit, but any NaN is as good as another.
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

pub fn check(program: &Program, inputs: &[&[f32]], agreement: Agreement) {
    let want = Machine::run(program, LevelId(0), inputs).unwrap();
    for target in instruction_sets() {
        let needs_vectors = program
            .functions
            .iter()
            .flat_map(|f| &f.types)
            .any(is_vector);
        if needs_vectors && target.info().lanes == 1 {
            continue;
        }
        let has_fma = target.info().has_fma;
        let agreement = match agreement {
            Agreement::Close(_) => agreement,
            Agreement::Exact if has_fma || !uses_mul_add(program) => Agreement::Exact,
            Agreement::Exact => Agreement::Close(1e-6),
        };
        let Some(got) = run_on(&target, program, 0, inputs) else {
            continue;
        };
        for (port, (want, got)) in program.outputs.iter().zip(want.iter().zip(&got)) {
            assert_eq!(want.len(), got.len());
            for (i, (&want, &got)) in want.iter().zip(got).enumerate() {
                assert!(
                    agree(want, got, agreement),
                    "{}: {}: {}[{i}] is {got:?} ({:#010x}), should be {want:?} ({:#010x})",
                    title(&target),
                    program.name,
                    port.name,
                    got.to_bits(),
                    want.to_bits(),
                );
            }
        }
    }
}

pub fn is_vector(ty: &Type) -> bool {
    matches!(ty, Type::Vector(_) | Type::IntVector(_))
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

    pub fn index(&mut self, f: &mut FunctionBuilder, value: Value) {
        let low = f.index_to_i32(value);
        self.i32(f, low);
        let shift = f.index(32);
        let high = f.int(IntBinaryOp::ShrU, value, shift);
        let high = f.index_to_i32(high);
        self.i32(f, high);
    }

    pub fn bool(&mut self, f: &mut FunctionBuilder, value: Value) {
        let (one, zero) = (f.i32(1), f.i32(0));
        let number = f.select(value, one, zero);
        self.i32(f, number);
    }

    pub fn vector(&mut self, f: &mut FunctionBuilder, value: Value) {
        f.store_lanes(value, self.base, 4 * self.n);
        self.n += 4;
    }
}

/// A program of one kernel with inputs `x` of `FLOATS` and an output as long as the kernel writes.
pub fn program(
    name: &str,
    data: Vec<Data>,
    body: impl FnOnce(&mut FunctionBuilder, Value, &mut Output),
) -> Program {
    let mut program = empty(name, 1);
    program.inputs.push(port("x", &[FLOATS.len()]));
    program.arena_bytes = 256;
    for data in data {
        program.add_data(data);
    }
    let mut n = 0;
    let function = kernel("k", |f, [bases, ..]| {
        let x = f.load(MemoryType::Ptr, bases, 8);
        let base = f.load(MemoryType::Ptr, bases, 16);
        let mut output = Output { base, n: 0 };
        body(f, x, &mut output);
        n = output.n;
    });
    program.outputs.push(port("y", &[n]));
    add_step(&mut program, function, &[]);
    program
}

pub fn integers() -> Data {
    Data {
        name: "integers".into(),
        is_exported: false,
        section: Section::Tables,
        align: 8,
        bytes: INTEGERS.iter().flat_map(|v| v.to_le_bytes()).collect(),
        relocations: Vec::new(),
    }
}

pub fn load_float(f: &mut FunctionBuilder, x: Value, i: usize) -> Value {
    f.load(MemoryType::F32, x, 4 * i)
}
