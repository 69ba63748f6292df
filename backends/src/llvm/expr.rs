//! Expressions: `arith` and `vector` for values, the `llvm` dialect for addresses and memory.
//!
//! Kernel IR has plain pointers, so loads and stores are those of the `llvm` dialect: memrefs would
//! only wrap and unwrap them. Vectors are aligned to their elements. Instruction selection knows the
//! patterns that come out: a comparison and a select become `minps`/`maxps`, a broadcast of a
//! loaded scalar becomes a broadcasting load or a multiply-add by lane or by scalar.

use super::builder::{Handle, vector};
use super::function::Translator;
use condensec_ir::kernel::{
    CompareOp, Expr, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Symbol,
    Type, Value,
};
use melior::ir::attribute::{FloatAttribute, IntegerAttribute};
use melior::ir::{Attribute, Type as MlirType, ValueLike};

/// `arith.cmpi` predicates, see `ArithBase.td`.
const INT_EQ: i64 = 0;
const INT_NE: i64 = 1;
const INT_ULT: i64 = 6;
const INT_UGE: i64 = 9;
/// `arith.cmpf` predicates, see `ArithBase.td`.
const FLOAT_OEQ: i64 = 1;
const FLOAT_OGT: i64 = 2;
const FLOAT_OGE: i64 = 3;
const FLOAT_OLT: i64 = 4;
const FLOAT_UNE: i64 = 13;
/// `llvm` atomic ordering `monotonic`: relaxed in C.
const MONOTONIC: i64 = 2;
/// Place of a dynamic index in the constant indices of `llvm.getelementptr`.
const DYNAMIC: i32 = i32::MIN;

impl<'c> Translator<'_, 'c> {
    /// Translates `expr`, which defines `result`.
    pub(super) fn expr(&mut self, result: Value, expr: Expr) -> Handle<'c> {
        let ty = self.type_of(result);
        match expr {
            Expr::ConstIndex(value) => self.constant_int(ty, value),
            Expr::ConstI32(value) => self.constant_int(ty, i64::from(value)),
            Expr::ConstF32(value) => self.constant_f32(value),
            Expr::IntBinary(op, a, b) => {
                let name = match op {
                    IntBinaryOp::Add => "arith.addi",
                    IntBinaryOp::And => "arith.andi",
                    IntBinaryOp::DivU => "arith.divui",
                    IntBinaryOp::MaxU => "arith.maxui",
                    IntBinaryOp::MinU => "arith.minui",
                    IntBinaryOp::Mul => "arith.muli",
                    IntBinaryOp::Or => "arith.ori",
                    IntBinaryOp::RemU => "arith.remui",
                    IntBinaryOp::Shl => "arith.shli",
                    IntBinaryOp::ShrU => "arith.shrui",
                    IntBinaryOp::Sub => "arith.subi",
                    IntBinaryOp::Xor => "arith.xori",
                };
                self.pure(name, &[a, b], ty)
            }
            Expr::FloatBinary(op, a, b) => match op {
                FloatBinaryOp::Add => self.pure("arith.addf", &[a, b], ty),
                FloatBinaryOp::Div => self.pure("arith.divf", &[a, b], ty),
                FloatBinaryOp::Max => self.choose(FLOAT_OGT, a, b, ty),
                FloatBinaryOp::Min => self.choose(FLOAT_OLT, a, b, ty),
                FloatBinaryOp::Mul => self.pure("arith.mulf", &[a, b], ty),
                FloatBinaryOp::Sub => self.pure("arith.subf", &[a, b], ty),
            },
            Expr::FloatUnary(op, a) => {
                let name = match op {
                    FloatUnaryOp::Abs => "llvm.intr.fabs",
                    FloatUnaryOp::Ceil => "llvm.intr.ceil",
                    FloatUnaryOp::Floor => "llvm.intr.floor",
                    // Halves to even, as every program leaves the rounding mode.
                    FloatUnaryOp::Nearest => "llvm.intr.rint",
                    FloatUnaryOp::Neg => "arith.negf",
                    FloatUnaryOp::Sqrt => "llvm.intr.sqrt",
                };
                self.pure(name, &[a], ty)
            }
            Expr::MulAdd(a, b, c) if self.setting.has_fma => {
                self.pure("llvm.intr.fma", &[a, b, c], ty)
            }
            Expr::MulAdd(a, b, c) => {
                let product = self.pure("arith.mulf", &[a, b], ty);
                let c = self.get(c);
                self.builder.value("arith.addf", &[product, c], ty, &[])
            }
            Expr::Compare(op, a, b) => self.compare(op, a, b),
            Expr::Select { condition, a, b } => self.pure("llvm.select", &[condition, a, b], ty),
            Expr::Splat(scalar, _) => self.pure("vector.broadcast", &[scalar], ty),
            Expr::Extract(from, lane) => self.extract(self.get(from), lane, ty),
            Expr::Deinterleave { a, b, parity } => {
                let first = match parity {
                    Parity::Even => 0,
                    Parity::Odd => 1,
                };
                let lanes = self.lanes(a);
                self.shuffle(a, b, ty, (0..lanes).map(|lane| 2 * lane + first))
            }
            Expr::Interleave { a, b, half } => {
                let lanes = self.lanes(a);
                let first = match half {
                    Half::Low => 0,
                    Half::High => lanes / 2,
                };
                let of = |lane: u32| first + lane / 2 + lane % 2 * lanes;
                self.shuffle(a, b, ty, (0..lanes).map(of))
            }
            Expr::PtrAdd(base, bytes) => {
                let operands = [base, bytes].map(|v| self.get(v));
                self.element_pointer(&operands, DYNAMIC)
            }
            Expr::PtrToIndex(pointer) => self.pure("llvm.ptrtoint", &[pointer], ty),
            Expr::IndexToI32(value) => self.resize_int(value, ty),
            Expr::I32ToIndex(value) => self.resize_int(value, ty),
            Expr::FloatToInt(value) => {
                let value = self.get(value);
                // The value is integral, so rounding it changes nothing. On RISC-V the conversion that
                // rounds is one instruction like the one that truncates, on which QEMU 7 crashes.
                let value = match self.setting.rounds_when_converting {
                    true => {
                        let float = value.r#type();
                        self.builder.value("llvm.intr.rint", &[value], float, &[])
                    }
                    false => value,
                };
                self.builder.value("arith.fptosi", &[value], ty, &[])
            }
            Expr::IntToFloat(value) => self.pure("arith.sitofp", &[value], ty),
            Expr::Bitcast(value) => self.pure("arith.bitcast", &[value], ty),
            Expr::Load {
                memory,
                base,
                offset,
            } => self.load(memory, base, offset, &[]),
            Expr::AtomicLoad { base, offset } => {
                let i64 = self.builder.int(64);
                let ordering = self.builder.integer(i64, MONOTONIC);
                self.load(MemoryType::I32, base, offset, &[("ordering", ordering)])
            }
            Expr::Address(symbol) => self.address(symbol),
        }
    }

    fn pure(&mut self, name: &str, operands: &[Value], ty: MlirType<'c>) -> Handle<'c> {
        let operands: Vec<_> = operands.iter().map(|&v| self.get(v)).collect();
        self.builder.value(name, &operands, ty, &[])
    }

    fn extract(&self, from: Handle<'c>, lane: u8, ty: MlirType<'c>) -> Handle<'c> {
        let position = self.builder.attribute(&format!("array<i64: {lane}>"));
        self.builder.value(
            "vector.extract",
            &[from],
            ty,
            &[("static_position", position)],
        )
    }

    /// `n` neighbouring scalars, by one load of a vector.
    pub(super) fn load_lanes(&mut self, n: usize, base: Value, offset: i32) -> Vec<Handle<'c>> {
        let lanes = u8::try_from(n).expect("no more than a vector holds");
        let vector = self.load(MemoryType::Vector(lanes), base, offset, &[]);
        let f32 = self.builder.f32;
        (0..lanes)
            .map(|lane| self.extract(vector, lane, f32))
            .collect()
    }

    fn lanes(&self, vector: Value) -> u32 {
        match self.function.type_of(vector) {
            Type::Vector(lanes) | Type::IntVector(lanes) => u32::from(lanes),
            ty => unreachable!("verified: {ty} is no vector"),
        }
    }

    /// Lanes of `a` and `b`, one after the other, in the order of `mask`.
    fn shuffle(
        &mut self,
        a: Value,
        b: Value,
        ty: MlirType<'c>,
        mask: impl Iterator<Item = u32>,
    ) -> Handle<'c> {
        let mask: Vec<String> = mask.map(|lane| lane.to_string()).collect();
        let mask = format!("array<i64: {}>", mask.join(", "));
        let attributes = [("mask", self.builder.attribute(&mask))];
        let operands = [a, b].map(|v| self.get(v));
        self.builder
            .value("vector.shuffle", &operands, ty, &attributes)
    }

    /// For reading, into all caches.
    pub(super) fn prefetch(&mut self, address: Value) {
        let attributes = [("rw", "0 : i32"), ("hint", "3 : i32"), ("cache", "1 : i32")]
            .map(|(name, value)| (name, self.builder.attribute(value)));
        let address = self.get(address);
        self.builder
            .effect("llvm.intr.prefetch", &[address], &attributes);
    }

    pub(super) fn constant_int(&self, ty: MlirType<'c>, value: i64) -> Handle<'c> {
        let value: Attribute<'c> = IntegerAttribute::new(ty, value).into();
        self.builder
            .value("arith.constant", &[], ty, &[("value", value)])
    }

    fn constant_f32(&self, value: f32) -> Handle<'c> {
        let ty = self.builder.f32;
        let value = FloatAttribute::new(self.setting.context, ty, f64::from(value));
        self.builder
            .value("arith.constant", &[], ty, &[("value", value.into())])
    }

    /// `if a <predicate> b { a } else { b }`, lane by lane.
    fn choose(&mut self, predicate: i64, a: Value, b: Value, ty: MlirType<'c>) -> Handle<'c> {
        let bool = match self.function.type_of(a) {
            Type::Vector(lanes) => vector(lanes, self.builder.bool),
            _ => self.builder.bool,
        };
        let (a, b) = (self.get(a), self.get(b));
        let i64 = self.builder.int(64);
        let predicate = self.builder.integer(i64, predicate);
        let attributes = [("predicate", predicate)];
        let condition = self.builder.value("arith.cmpf", &[a, b], bool, &attributes);
        self.builder
            .value("arith.select", &[condition, a, b], ty, &[])
    }

    fn compare(&mut self, op: CompareOp, a: Value, b: Value) -> Handle<'c> {
        let is_float = self.function.type_of(a) == Type::F32;
        let (int, float) = match op {
            CompareOp::Eq => (INT_EQ, FLOAT_OEQ),
            CompareOp::Ge => (INT_UGE, FLOAT_OGE),
            CompareOp::Lt => (INT_ULT, FLOAT_OLT),
            CompareOp::Ne => (INT_NE, FLOAT_UNE),
        };
        let (name, predicate) = match is_float {
            true => ("arith.cmpf", float),
            false => ("arith.cmpi", int),
        };
        let operands = [a, b].map(|v| self.get(v));
        let i64 = self.builder.int(64);
        let predicate = self.builder.integer(i64, predicate);
        let bool = self.builder.bool;
        self.builder
            .value(name, &operands, bool, &[("predicate", predicate)])
    }

    /// Truncates or zero-extends to `to`.
    fn resize_int(&mut self, value: Value, to: MlirType<'c>) -> Handle<'c> {
        let value = self.get(value);
        self.extend_to(value, to)
    }

    fn extend_to(&self, value: Handle<'c>, to: MlirType<'c>) -> Handle<'c> {
        let bits = |ty: MlirType<'c>| {
            melior::ir::r#type::IntegerType::try_from(ty)
                .expect("an integer")
                .width()
        };
        let name = match bits(value.r#type()).cmp(&bits(to)) {
            std::cmp::Ordering::Less => "arith.extui",
            std::cmp::Ordering::Equal => return value,
            std::cmp::Ordering::Greater => "arith.trunci",
        };
        self.builder.value(name, &[value], to, &[])
    }

    /// `operands[0] + operands[1]` or, with a constant, `operands[0] + constant`, in bytes.
    fn element_pointer(&self, operands: &[Handle<'c>], constant: i32) -> Handle<'c> {
        let attributes = [
            ("rawConstantIndices", self.builder.i32_array(&[constant])),
            ("elem_type", self.builder.attribute("i8")),
        ];
        let ptr = self.builder.ptr;
        self.builder
            .value("llvm.getelementptr", operands, ptr, &attributes)
    }

    fn at_offset(&mut self, base: Value, offset: i32) -> Handle<'c> {
        let base = self.get(base);
        match offset {
            0 => base,
            _ => self.element_pointer(&[base], offset),
        }
    }

    /// How `memory` lies in memory, and its alignment in bytes.
    fn stored(&self, memory: MemoryType) -> (MlirType<'c>, i64) {
        let b = &self.builder;
        match memory {
            MemoryType::U8 => (b.int(8), 1),
            MemoryType::U16 => (b.int(16), 2),
            MemoryType::U32 | MemoryType::I32 => (b.i32, 4),
            MemoryType::Index => (b.index, self.setting.pointer_bytes as i64),
            MemoryType::F32 => (b.f32, 4),
            MemoryType::Ptr => (b.ptr, self.setting.pointer_bytes as i64),
            MemoryType::Vector(lanes) => (vector(lanes, b.f32), 4),
        }
    }

    fn alignment(&self, bytes: i64) -> (&'static str, Attribute<'c>) {
        let i64 = self.builder.int(64);
        ("alignment", self.builder.integer(i64, bytes))
    }

    fn load(
        &mut self,
        memory: MemoryType,
        base: Value,
        offset: i32,
        more: &[(&str, Attribute<'c>)],
    ) -> Handle<'c> {
        let at = self.at_offset(base, offset);
        let (stored, align) = self.stored(memory);
        let attributes = [&[self.alignment(align)], more].concat();
        let loaded = self.builder.value("llvm.load", &[at], stored, &attributes);
        match memory {
            MemoryType::U8 | MemoryType::U16 | MemoryType::U32 => {
                self.extend_to(loaded, self.builder.index)
            }
            MemoryType::I32
            | MemoryType::Index
            | MemoryType::F32
            | MemoryType::Ptr
            | MemoryType::Vector(_) => loaded,
        }
    }

    pub(super) fn store(&mut self, memory: MemoryType, value: Value, base: Value, offset: i32) {
        self.store_with(memory, value, base, offset, &[]);
    }

    pub(super) fn atomic_store(&mut self, value: Value, base: Value, offset: i32) {
        let i64 = self.builder.int(64);
        let ordering = self.builder.integer(i64, MONOTONIC);
        self.store_with(
            MemoryType::I32,
            value,
            base,
            offset,
            &[("ordering", ordering)],
        );
    }

    fn store_with(
        &mut self,
        memory: MemoryType,
        value: Value,
        base: Value,
        offset: i32,
        more: &[(&str, Attribute<'c>)],
    ) {
        let at = self.at_offset(base, offset);
        let (stored, align) = self.stored(memory);
        let value = self.get(value);
        let value = match memory {
            MemoryType::U8 | MemoryType::U16 | MemoryType::U32 => self.extend_to(value, stored),
            _ => value,
        };
        let attributes = [&[self.alignment(align)], more].concat();
        self.builder.effect("llvm.store", &[value, at], &attributes);
    }

    fn address(&mut self, symbol: Symbol) -> Handle<'c> {
        let (name, offset) = match symbol {
            Symbol::Function(id) => (self.setting.unit.functions[id.0 as usize].name.as_str(), 0),
            Symbol::Data(id, offset) => (
                self.setting.unit.data_symbols[id.0 as usize].as_str(),
                offset,
            ),
        };
        let attributes = [("global_name", self.builder.symbol(name))];
        let ptr = self.builder.ptr;
        let base = self
            .builder
            .value("llvm.mlir.addressof", &[], ptr, &attributes);
        if offset == 0 {
            return base;
        }
        let offset = self.constant_int(self.builder.index, offset as i64);
        self.element_pointer(&[base, offset], DYNAMIC)
    }
}
