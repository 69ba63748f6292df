//! What a pass may ask of a target: numbers, never a name.

/// Facts that decide tiles, layouts and schedules. Built by `condensec-backends` from a target's file.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetInfo {
    /// f32 lanes of the vectors that kernels use; 1 for scalar code.
    pub lanes: usize,
    /// Vectors of that length that a kernel may hold in registers.
    pub vector_registers: usize,
    /// Registers that one vector takes: more than one where instructions work on groups of them.
    pub registers_per_vector: usize,
    /// Whether `mul_add` is one fused instruction. Results differ in the last bit if not.
    pub has_fma: bool,
    /// Tiles of the list kernels: one for 4 rows, one for 2 and one for 1.
    pub tiles: Tiles,
    /// What a core does in a cycle.
    pub throughput: Throughput,
    /// Size of a pointer and of an index: 4 or 8.
    pub pointer_bytes: usize,
    /// L1 data cache; bounds the blocks of lists whose activations should stay there.
    pub l1_bytes: usize,
    /// Last private cache; buffers above it are streamed.
    pub l2_bytes: usize,
}

/// Register tiles: sums of `rows` output channels times `vectors` vectors of pixels, most rows first.
///
/// The smaller of the two is held in registers and the other streams, so a tile needs `rows * vectors +
/// min(rows, vectors) + 1` registers. Of two tiles, the width of one is a multiple of the other's:
/// strips are as wide as the tile that does most of a model's work, and every other tile takes a part
/// of a strip or several strips.
pub type Tiles = [Tile; 3];

/// See [`Tiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows (output channels) per group of lists.
    pub rows: usize,
    /// Vectors of pixels.
    pub vectors: usize,
}

/// The [`Tiles`] with so many vectors for 4, 2 and 1 rows.
pub const fn tiles(vectors: [usize; 3]) -> Tiles {
    let [four, two, one] = vectors;
    [
        Tile {
            rows: 4,
            vectors: four,
        },
        Tile {
            rows: 2,
            vectors: two,
        },
        Tile {
            rows: 1,
            vectors: one,
        },
    ]
}

impl Tile {
    /// Registers that its inner loop needs.
    pub const fn n_registers(self) -> usize {
        let held = if self.rows < self.vectors {
            self.rows
        } else {
            self.vectors
        };
        self.rows * self.vectors + held + 1
    }
}

/// What one core does per cycle at best. The cost model compares schedules by it, and predicts cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Multiply-adds of whole registers.
    pub multiply_adds: f64,
    /// Loads of whole registers, or of scalars.
    pub loads: f64,
    /// Instructions of any kind.
    pub instructions: f64,
    /// Whether everything else waits for a multiply-add to start, rather than hiding behind it.
    pub is_in_order: bool,
}

impl TargetInfo {
    /// A large core of our time with vectors of `lanes` and `vector_registers` of them.
    pub const fn typical(lanes: usize, vector_registers: usize) -> Self {
        let vectors = match vector_registers {
            0..12 => [1, 2, 4],
            12..16 => [2, 4, 12],
            16..32 => [3, 6, 12],
            _ => [6, 6, 6],
        };
        Self {
            lanes,
            vector_registers,
            registers_per_vector: 1,
            has_fma: true,
            tiles: tiles(vectors),
            throughput: Throughput {
                multiply_adds: 2.0,
                loads: 2.0,
                instructions: 6.0,
                is_in_order: false,
            },
            pointer_bytes: 8,
            l1_bytes: 32 << 10,
            l2_bytes: 512 << 10,
        }
    }
}
