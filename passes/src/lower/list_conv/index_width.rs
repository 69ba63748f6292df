//! How the indices of lists are stored.

use condensec_ir::kernel::MemoryType;

/// Bits of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lower) enum IndexWidth {
    /// Half the memory.
    Bits16,
    /// Reaches every channel.
    Bits32,
}

impl IndexWidth {
    pub fn bytes(self) -> usize {
        match self {
            Self::Bits16 => 2,
            Self::Bits32 => 4,
        }
    }

    pub fn memory_type(self) -> MemoryType {
        match self {
            Self::Bits16 => MemoryType::U16,
            Self::Bits32 => MemoryType::U32,
        }
    }
}
