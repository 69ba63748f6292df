//! Builds functions in program order; loops and conditionals take closures for their bodies.
//!
//! ```
//! use condensec_ir::kernel::{FunctionBuilder, MemoryType, Type};
//! // y[i] = 2 * x[i] for i in begin..end
//! let mut f = FunctionBuilder::new("double", &[Type::Ptr, Type::Ptr, Type::Index, Type::Index]);
//! let [x, y, begin, end] = f.parameters();
//! let two = f.f32(2.0);
//! f.for_each(begin, end, 1, |f, i| {
//!     let at = f.mul_const(i, 4);
//!     let source = f.ptr_add(x, at);
//!     let value = f.load(MemoryType::F32, source, 0);
//!     let value = f.fmul(value, two);
//!     let target = f.ptr_add(y, at);
//!     f.store(MemoryType::F32, value, target, 0);
//! });
//! let function = f.finish();
//! condensec_ir::kernel::verify_function(&function).unwrap();
//! ```

use super::function::{Block, Callee, Carried, Expr, Function, Statement, Value};
use super::symbol::Symbol;
use super::types::{
    CompareOp, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Type,
};

/// See the module.
pub struct FunctionBuilder {
    name: String,
    types: Vec<Type>,
    n_parameters: u32,
    blocks: Vec<Block>,
}

impl FunctionBuilder {
    /// Starts a function with parameters of these types.
    pub fn new(name: impl Into<String>, parameters: &[Type]) -> Self {
        Self {
            name: name.into(),
            types: parameters.to_vec(),
            n_parameters: parameters.len() as u32,
            blocks: vec![Vec::new()],
        }
    }

    /// The parameters. Panics if `N` is not their number.
    pub fn parameters<const N: usize>(&self) -> [Value; N] {
        assert_eq!(N, self.n_parameters as usize, "function {}", self.name);
        std::array::from_fn(|i| Value(i as u32))
    }

    /// Type of a value made so far.
    pub fn type_of(&self, value: Value) -> Type {
        self.types[value.0 as usize]
    }

    fn fresh(&mut self, ty: Type) -> Value {
        self.types.push(ty);
        Value(self.types.len() as u32 - 1)
    }

    fn push(&mut self, statement: Statement) {
        self.blocks
            .last_mut()
            .expect("a block is open")
            .push(statement);
    }

    /// Adds `expr` with result type `ty`.
    fn define(&mut self, ty: Type, expr: Expr) -> Value {
        let result = self.fresh(ty);
        self.push(Statement::Let { result, expr });
        result
    }

    /// Constant index.
    pub fn index(&mut self, value: i64) -> Value {
        self.define(Type::Index, Expr::ConstIndex(value))
    }

    /// Constant index from a size.
    pub fn size(&mut self, value: usize) -> Value {
        self.index(i64::try_from(value).expect("sizes fit an index"))
    }

    /// Constant i32.
    pub fn i32(&mut self, value: i32) -> Value {
        self.define(Type::I32, Expr::ConstI32(value))
    }

    /// Constant f32.
    pub fn f32(&mut self, value: f32) -> Value {
        self.define(Type::F32, Expr::ConstF32(value))
    }

    /// Constant in the type of `like`: `f32` or all lanes of a vector.
    pub fn f32_like(&mut self, like: Value, value: f32) -> Value {
        let scalar = self.f32(value);
        match self.type_of(like) {
            Type::Vector(lanes) => self.splat(scalar, lanes as usize),
            _ => scalar,
        }
    }

    /// Integer arithmetic.
    pub fn int(&mut self, op: IntBinaryOp, a: Value, b: Value) -> Value {
        self.define(self.type_of(a), Expr::IntBinary(op, a, b))
    }

    /// `a + b` on integers.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.int(IntBinaryOp::Add, a, b)
    }

    /// `a - b` on integers.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.int(IntBinaryOp::Sub, a, b)
    }

    /// `a * b` on integers.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.int(IntBinaryOp::Mul, a, b)
    }

    /// `a + value` on an index; nothing is emitted for 0.
    pub fn add_const(&mut self, a: Value, value: usize) -> Value {
        if value == 0 {
            return a;
        }
        let b = self.size(value);
        self.add(a, b)
    }

    /// `a * value` on an index: nothing for 1, a shift for a power of two.
    pub fn mul_const(&mut self, a: Value, value: usize) -> Value {
        if value == 1 {
            return a;
        }
        if value.is_power_of_two() {
            let amount = self.index(i64::from(value.trailing_zeros()));
            return self.int(IntBinaryOp::Shl, a, amount);
        }
        let b = self.size(value);
        self.mul(a, b)
    }

    /// `(a / value, a % value)` on an index, unsigned.
    pub fn div_rem_const(&mut self, a: Value, value: usize) -> (Value, Value) {
        if value == 1 {
            let zero = self.index(0);
            return (a, zero);
        }
        let b = self.size(value);
        let quotient = self.int(IntBinaryOp::DivU, a, b);
        let back = self.mul_const(quotient, value);
        let remainder = self.sub(a, back);
        (quotient, remainder)
    }

    /// Float arithmetic.
    pub fn float(&mut self, op: FloatBinaryOp, a: Value, b: Value) -> Value {
        self.define(self.type_of(a), Expr::FloatBinary(op, a, b))
    }

    /// `a + b` on floats.
    pub fn fadd(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Add, a, b)
    }

    /// `a - b` on floats.
    pub fn fsub(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Sub, a, b)
    }

    /// `a * b` on floats.
    pub fn fmul(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Mul, a, b)
    }

    /// `a / b` on floats.
    pub fn fdiv(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Div, a, b)
    }

    /// See [`FloatBinaryOp::Min`].
    pub fn fmin(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Min, a, b)
    }

    /// See [`FloatBinaryOp::Max`].
    pub fn fmax(&mut self, a: Value, b: Value) -> Value {
        self.float(FloatBinaryOp::Max, a, b)
    }

    /// Float function of one operand.
    pub fn float_unary(&mut self, op: FloatUnaryOp, a: Value) -> Value {
        self.define(self.type_of(a), Expr::FloatUnary(op, a))
    }

    /// `a * b + c`.
    pub fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.define(self.type_of(c), Expr::MulAdd(a, b, c))
    }

    /// Comparison of two scalars.
    pub fn compare(&mut self, op: CompareOp, a: Value, b: Value) -> Value {
        self.define(Type::Bool, Expr::Compare(op, a, b))
    }

    /// `if condition { a } else { b }`.
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        self.define(self.type_of(a), Expr::Select { condition, a, b })
    }

    /// `scalar` in all of `lanes` lanes; the scalar itself if `lanes` is 1.
    pub fn splat(&mut self, scalar: Value, lanes: usize) -> Value {
        if lanes == 1 {
            return scalar;
        }
        let ty = match self.type_of(scalar) {
            Type::I32 => Type::IntVector(lanes as u8),
            _ => Type::Vector(lanes as u8),
        };
        self.define(ty, Expr::Splat(scalar, lanes as u8))
    }

    /// Lane `lane` of a vector.
    pub fn extract(&mut self, vector: Value, lane: usize) -> Value {
        let ty = match self.type_of(vector) {
            Type::IntVector(_) => Type::I32,
            _ => Type::F32,
        };
        self.define(ty, Expr::Extract(vector, lane as u8))
    }

    /// Every other lane of `a` followed by `b`; of two scalars, the first or the second.
    pub fn deinterleave(&mut self, parity: Parity, a: Value, b: Value) -> Value {
        match (self.type_of(a), parity) {
            (Type::F32, Parity::Even) => a,
            (Type::F32, Parity::Odd) => b,
            (ty, _) => self.define(ty, Expr::Deinterleave { a, b, parity }),
        }
    }

    /// Lanes of the halves of `a` and `b` by turns; of two scalars, the first or the second.
    pub fn interleave(&mut self, half: Half, a: Value, b: Value) -> Value {
        match (self.type_of(a), half) {
            (Type::F32, Half::Low) => a,
            (Type::F32, Half::High) => b,
            (ty, _) => self.define(ty, Expr::Interleave { a, b, half }),
        }
    }

    /// `base + bytes`.
    pub fn ptr_add(&mut self, base: Value, bytes: Value) -> Value {
        self.define(Type::Ptr, Expr::PtrAdd(base, bytes))
    }

    /// `base + bytes`; nothing is emitted for 0.
    pub fn ptr_add_const(&mut self, base: Value, bytes: usize) -> Value {
        if bytes == 0 {
            return base;
        }
        let bytes = self.size(bytes);
        self.ptr_add(base, bytes)
    }

    /// `base + index * stride_bytes`.
    pub fn ptr_offset(&mut self, base: Value, index: Value, stride_bytes: usize) -> Value {
        let bytes = self.mul_const(index, stride_bytes);
        self.ptr_add(base, bytes)
    }

    /// Address as a number.
    pub fn ptr_to_index(&mut self, ptr: Value) -> Value {
        self.define(Type::Index, Expr::PtrToIndex(ptr))
    }

    /// Truncates or zero-extends an index.
    pub fn index_to_i32(&mut self, value: Value) -> Value {
        self.define(Type::I32, Expr::IndexToI32(value))
    }

    /// Zero-extends an i32.
    pub fn i32_to_index(&mut self, value: Value) -> Value {
        self.define(Type::Index, Expr::I32ToIndex(value))
    }

    /// Float to int, scalar or vector; the value is integral and in range.
    pub fn float_to_int(&mut self, value: Value) -> Value {
        let ty = match self.type_of(value) {
            Type::Vector(lanes) => Type::IntVector(lanes),
            _ => Type::I32,
        };
        self.define(ty, Expr::FloatToInt(value))
    }

    /// Signed int to float, scalar or vector.
    pub fn int_to_float(&mut self, value: Value) -> Value {
        let ty = match self.type_of(value) {
            Type::IntVector(lanes) => Type::Vector(lanes),
            _ => Type::F32,
        };
        self.define(ty, Expr::IntToFloat(value))
    }

    /// Same bits as float or as int.
    pub fn bitcast(&mut self, value: Value) -> Value {
        let ty = match self.type_of(value) {
            Type::Vector(lanes) => Type::IntVector(lanes),
            Type::IntVector(lanes) => Type::Vector(lanes),
            Type::F32 => Type::I32,
            _ => Type::F32,
        };
        self.define(ty, Expr::Bitcast(value))
    }

    /// Load at `base + offset` bytes.
    pub fn load(&mut self, memory: MemoryType, base: Value, offset: usize) -> Value {
        let offset = i32::try_from(offset).expect("offsets are small constants");
        self.define(
            memory.value_type(),
            Expr::Load {
                memory,
                base,
                offset,
            },
        )
    }

    /// Load of `lanes` f32 at `base + offset` bytes; a scalar for 1 lane.
    pub fn load_lanes(&mut self, lanes: usize, base: Value, offset: usize) -> Value {
        self.load(lanes_type(lanes), base, offset)
    }

    /// Store at `base + offset` bytes.
    pub fn store(&mut self, memory: MemoryType, value: Value, base: Value, offset: usize) {
        let offset = i32::try_from(offset).expect("offsets are small constants");
        self.push(Statement::Store {
            memory,
            value,
            base,
            offset,
        });
    }

    /// Store of a scalar or vector f32 at `base + offset` bytes.
    pub fn store_lanes(&mut self, value: Value, base: Value, offset: usize) {
        let memory = match self.type_of(value) {
            Type::Vector(lanes) => MemoryType::Vector(lanes),
            _ => MemoryType::F32,
        };
        self.store(memory, value, base, offset);
    }

    /// Relaxed atomic load of an i32.
    pub fn atomic_load(&mut self, base: Value, offset: usize) -> Value {
        let offset = i32::try_from(offset).expect("offsets are small constants");
        self.define(Type::I32, Expr::AtomicLoad { base, offset })
    }

    /// Relaxed atomic store of an i32.
    pub fn atomic_store(&mut self, value: Value, base: Value, offset: usize) {
        let offset = i32::try_from(offset).expect("offsets are small constants");
        self.push(Statement::AtomicStore {
            value,
            base,
            offset,
        });
    }

    /// Asks the caches for the line at `address`.
    pub fn prefetch(&mut self, address: Value) {
        self.push(Statement::Prefetch { address });
    }

    /// Address of a function or of data.
    pub fn address(&mut self, symbol: Symbol) -> Value {
        self.define(Type::Ptr, Expr::Address(symbol))
    }

    /// Calls a libm function on f32 scalars.
    pub fn call_libm(&mut self, name: &'static str, arguments: &[Value]) -> Value {
        let result = self.fresh(Type::F32);
        self.push(Statement::Call {
            callee: Callee::Libm(name),
            arguments: arguments.to_vec(),
            result: Some(result),
        });
        result
    }

    /// Calls through a pointer.
    pub fn call_indirect(&mut self, target: Value, arguments: &[Value]) {
        self.push(Statement::Call {
            callee: Callee::Indirect(target),
            arguments: arguments.to_vec(),
            result: None,
        });
    }

    /// A loop that carries values: `body` gets the induction variable and the carried values and
    /// returns their next values. Returns the values after the loop.
    pub fn for_loop(
        &mut self,
        low: Value,
        high: Value,
        step: usize,
        initial: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let induction = self.fresh(Type::Index);
        let arguments: Vec<Value> = initial
            .iter()
            .map(|&v| self.fresh(self.type_of(v)))
            .collect();
        self.blocks.push(Vec::new());
        let next = body(self, induction, &arguments);
        assert_eq!(
            next.len(),
            initial.len(),
            "function {}: loop values",
            self.name
        );
        let body = self.blocks.pop().expect("pushed above");
        let results: Vec<Value> = initial
            .iter()
            .map(|&v| self.fresh(self.type_of(v)))
            .collect();
        let carried = (0..initial.len())
            .map(|i| Carried {
                argument: arguments[i],
                initial: initial[i],
                next: next[i],
                result: results[i],
            })
            .collect();
        self.push(Statement::For {
            induction,
            low,
            high,
            step: step as u32,
            carried,
            body,
        });
        results
    }

    /// A loop that carries nothing.
    pub fn for_each(
        &mut self,
        low: Value,
        high: Value,
        step: usize,
        body: impl FnOnce(&mut Self, Value),
    ) {
        self.for_loop(low, high, step, &[], |f, i, _| {
            body(f, i);
            Vec::new()
        });
    }

    /// A loop over `0..n`; for `n == 1` the body alone, for `n == 0` nothing.
    pub fn for_range(&mut self, n: usize, body: impl FnOnce(&mut Self, Value)) {
        let zero = self.index(0);
        match n {
            0 => {}
            1 => body(self, zero),
            _ => {
                let high = self.size(n);
                self.for_each(zero, high, 1, body);
            }
        }
    }

    /// A conditional without results.
    pub fn if_then(&mut self, condition: Value, then: impl FnOnce(&mut Self)) {
        let then = |f: &mut Self| {
            then(f);
            Vec::new()
        };
        self.if_else(condition, then, |_| Vec::new());
    }

    /// A conditional with results; both arms return as many values, of the same types.
    pub fn if_else(
        &mut self,
        condition: Value,
        then: impl FnOnce(&mut Self) -> Vec<Value>,
        otherwise: impl FnOnce(&mut Self) -> Vec<Value>,
    ) -> Vec<Value> {
        self.blocks.push(Vec::new());
        let then_values = then(self);
        let then = self.blocks.pop().expect("pushed above");
        self.blocks.push(Vec::new());
        let otherwise_values = otherwise(self);
        let otherwise = self.blocks.pop().expect("pushed above");
        assert_eq!(
            then_values.len(),
            otherwise_values.len(),
            "function {}",
            self.name
        );
        let results: Vec<Value> = then_values
            .iter()
            .map(|&v| self.fresh(self.type_of(v)))
            .collect();
        self.push(Statement::If {
            condition,
            then,
            then_values,
            otherwise,
            otherwise_values,
            results: results.clone(),
        });
        results
    }

    /// Ends a function without result.
    pub fn finish(self) -> Function {
        self.finish_with(None)
    }

    /// Ends a function that returns `result`.
    pub fn finish_with(mut self, result: Option<Value>) -> Function {
        assert_eq!(
            self.blocks.len(),
            1,
            "function {}: unclosed block",
            self.name
        );
        Function {
            name: self.name,
            is_exported: false,
            parameters: (0..self.n_parameters).map(Value).collect(),
            result,
            body: self.blocks.pop().expect("one block"),
            types: self.types,
        }
    }
}

fn lanes_type(lanes: usize) -> MemoryType {
    match lanes {
        1 => MemoryType::F32,
        _ => MemoryType::Vector(lanes as u8),
    }
}
