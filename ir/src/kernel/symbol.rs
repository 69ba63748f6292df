//! Names for what a program consists of, where an address is meant.

/// Index into [`super::Program::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(pub u32);

/// Index into [`super::Program::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataId(pub u32);

/// Something with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// A function of the program.
    Function(FunctionId),
    /// A data object plus a number of bytes.
    Data(DataId, u64),
}
