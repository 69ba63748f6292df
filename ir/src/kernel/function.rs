//! A function of the kernel IR.

use super::symbol::Symbol;
use super::types::{
    CompareOp, FloatBinaryOp, FloatUnaryOp, Half, IntBinaryOp, MemoryType, Parity, Type,
};
use std::fmt;

/// An SSA value, local to its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u32);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// A pure computation or a load.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Expr {
    /// Constant of type `index`.
    ConstIndex(i64),
    /// Constant of type `i32`.
    ConstI32(i32),
    /// Constant of type `f32`.
    ConstF32(f32),
    /// Integer arithmetic.
    IntBinary(IntBinaryOp, Value, Value),
    /// Float arithmetic, scalar or vector.
    FloatBinary(FloatBinaryOp, Value, Value),
    /// Float functions, scalar or vector.
    FloatUnary(FloatUnaryOp, Value),
    /// `a * b + c`: fused where the target can, else rounded twice.
    MulAdd(Value, Value, Value),
    /// Comparison of two scalars of one type.
    Compare(CompareOp, Value, Value),
    /// `if condition { a } else { b }` on scalars or pointers, without a branch.
    Select {
        condition: Value,
        a: Value,
        b: Value,
    },
    /// Scalar into all lanes.
    Splat(Value, u8),
    /// One lane of a vector.
    Extract(Value, u8),
    /// Every other lane of `a` followed by `b`, two f32 vectors of one type; so is the result.
    ///
    /// With 4 lanes, `Even` is `[a0, a2, b0, b2]` and `Odd` is `[a1, a3, b1, b3]`. `a` and `b` loaded
    /// from neighbouring places give a load with a stride of two elements. One instruction on
    /// NEON (`uzp1`, `uzp2`), SSE (`shufps`) and AVX-512 (`vpermt2ps`), two on AVX2 (`vshufps`,
    /// `vpermpd`); in LLVM a `shufflevector` with the mask `0, 2, ..` or `1, 3, ..`.
    Deinterleave { a: Value, b: Value, parity: Parity },
    /// Lanes of `a` and `b`, two f32 vectors of one type, by turns; the result has that type too.
    ///
    /// With 4 lanes, `Low` is `[a0, b0, a1, b1]` and `High` is `[a2, b2, a3, b3]`: the inverse of
    /// [`Expr::Deinterleave`]. `zip1` and `zip2` on NEON, `unpcklps` and `unpckhps` on SSE; in LLVM
    /// a `shufflevector` with the mask `0, n, 1, n + 1, ..` or `n / 2, n + n / 2, ..`.
    Interleave { a: Value, b: Value, half: Half },
    /// Address plus a number of bytes (may be negative).
    PtrAdd(Value, Value),
    /// Address as a number.
    PtrToIndex(Value),
    /// Truncates or zero-extends.
    IndexToI32(Value),
    /// Zero-extends.
    I32ToIndex(Value),
    /// Nearest i32 of an integral float inside the i32 range, scalar or vector.
    FloatToInt(Value),
    /// Signed i32 to float, scalar or vector.
    IntToFloat(Value),
    /// Same bits, `f32 <-> i32`, scalar or vector.
    Bitcast(Value),
    /// Load at `base + offset` bytes.
    Load {
        memory: MemoryType,
        base: Value,
        offset: i32,
    },
    /// Relaxed atomic load of an `i32`.
    AtomicLoad { base: Value, offset: i32 },
    /// Address of a function or of data.
    Address(Symbol),
}

/// Whom a call reaches.
#[derive(Debug, Clone, PartialEq)]
pub enum Callee {
    /// A libm function `f32 -> f32` or `(f32, f32) -> f32`.
    Libm(&'static str),
    /// A pointer to a function without result; all arguments `ptr` or `index`.
    Indirect(Value),
}

/// A value that a loop carries from one iteration to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carried {
    /// The value inside the body.
    pub argument: Value,
    /// Value before the first iteration.
    pub initial: Value,
    /// Value at the end of the body.
    pub next: Value,
    /// Value after the loop.
    pub result: Value,
}

/// One step of a block.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Statement {
    /// `result = expr`
    Let { result: Value, expr: Expr },
    /// Store at `base + offset` bytes. `U8`, `U16` and `U32` truncate an index.
    Store {
        memory: MemoryType,
        value: Value,
        base: Value,
        offset: i32,
    },
    /// Relaxed atomic store of an `i32`.
    AtomicStore {
        value: Value,
        base: Value,
        offset: i32,
    },
    /// Asks the caches for the line at `address`; any address is allowed, nothing else happens.
    Prefetch { address: Value },
    /// `for induction in (low..high).step_by(step)`; unsigned, `low > high` runs nothing.
    For {
        induction: Value,
        low: Value,
        high: Value,
        step: u32,
        carried: Vec<Carried>,
        body: Block,
    },
    /// Both arms end with one value per result.
    If {
        condition: Value,
        then: Block,
        then_values: Vec<Value>,
        otherwise: Block,
        otherwise_values: Vec<Value>,
        results: Vec<Value>,
    },
    /// A call; libm functions have a result.
    Call {
        callee: Callee,
        arguments: Vec<Value>,
        result: Option<Value>,
    },
}

/// Statements in order.
pub type Block = Vec<Statement>;

/// A function: parameters, body, optional result.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Symbol name.
    pub name: String,
    /// Whether other objects may call it.
    pub is_exported: bool,
    /// Parameters; `Value(0)` on.
    pub parameters: Vec<Value>,
    /// Value returned, if any.
    pub result: Option<Value>,
    /// Statements.
    pub body: Block,
    /// Type of every value.
    pub types: Vec<Type>,
}

impl Function {
    /// Type of `value`.
    pub fn type_of(&self, value: Value) -> Type {
        self.types[value.0 as usize]
    }

    /// Whether the two differ in nothing but name and linkage, so that one can serve for both.
    pub fn is_same_code(&self, other: &Self) -> bool {
        self.parameters == other.parameters
            && self.result == other.result
            && self.types == other.types
            && self.body == other.body
    }
}
