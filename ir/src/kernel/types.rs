//! Types and operators of the kernel IR.

use std::fmt;

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// Result of a comparison.
    Bool,
    /// 32-bit integer.
    I32,
    /// Integer as wide as a pointer.
    Index,
    /// 32-bit float.
    F32,
    /// Address.
    Ptr,
    /// Vector of f32.
    Vector(u8),
    /// Vector of i32; only for bit tricks on floats.
    IntVector(u8),
}

/// How a value lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryType {
    /// Unsigned byte, zero-extended to an index.
    U8,
    /// Unsigned 16 bits, zero-extended to an index.
    U16,
    /// Unsigned 32 bits, zero-extended to an index.
    U32,
    /// 32-bit integer.
    I32,
    /// Pointer-sized integer.
    Index,
    /// 32-bit float.
    F32,
    /// Address.
    Ptr,
    /// f32 lanes, 4-byte aligned only.
    Vector(u8),
}

impl MemoryType {
    /// Type of the loaded value.
    pub fn value_type(self) -> Type {
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::Index => Type::Index,
            Self::I32 => Type::I32,
            Self::F32 => Type::F32,
            Self::Ptr => Type::Ptr,
            Self::Vector(lanes) => Type::Vector(lanes),
        }
    }

    /// Bytes in memory on a target with pointers of `pointer_bytes`.
    pub fn size_bytes(self, pointer_bytes: usize) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Index | Self::Ptr => pointer_bytes,
            Self::Vector(lanes) => 4 * lanes as usize,
        }
    }
}

/// Integer operators on `i32`, `index` or (bit operators, add, subtract) `i32` vectors.
/// Arithmetic wraps; shift amounts are below the width; a zero divisor is the builder's bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IntBinaryOp {
    Add,
    And,
    DivU,
    MaxU,
    MinU,
    Mul,
    Or,
    RemU,
    Shl,
    ShrU,
    Sub,
    Xor,
}

/// Float operators, lane by lane on vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatBinaryOp {
    /// a + b
    Add,
    /// a / b
    Div,
    /// `if a > b { a } else { b }`: a NaN in either operand gives `b`, as `maxps` does.
    Max,
    /// `if a < b { a } else { b }`: a NaN in either operand gives `b`, as `minps` does.
    Min,
    /// a * b
    Mul,
    /// a - b
    Sub,
}

/// Float operators of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatUnaryOp {
    /// |a|
    Abs,
    /// Smallest integer not below a
    Ceil,
    /// Largest integer not above a
    Floor,
    /// Nearest integer, halves to even
    Nearest,
    /// -a
    Neg,
    /// Square root
    Sqrt,
}

/// Comparisons. Unsigned for `index` and `i32`, ordered (false on NaN, but `Ne`) for `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// a == b
    Eq,
    /// a >= b
    Ge,
    /// a < b
    Lt,
    /// a != b
    Ne,
}

/// Every other lane of two vectors taken as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parity {
    /// Lanes 0, 2, 4, ..
    Even,
    /// Lanes 1, 3, 5, ..
    Odd,
}

/// One half of the lanes of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// The first lanes.
    Low,
    /// The last lanes.
    High,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::I32 => f.write_str("i32"),
            Self::Index => f.write_str("index"),
            Self::F32 => f.write_str("f32"),
            Self::Ptr => f.write_str("ptr"),
            Self::Vector(lanes) => write!(f, "f32x{lanes}"),
            Self::IntVector(lanes) => write!(f, "i32x{lanes}"),
        }
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            other => other.value_type().fmt(f),
        }
    }
}
