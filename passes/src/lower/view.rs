//! Strided views of stored values, and the loops over them.
//!
//! An op that is a plain loop nest describes its result and its operands as [`View`]s over one
//! index space. [`merge_dims`] joins axes that lie one after the other in all of them, so that a
//! plain tensor becomes one long row whatever its rank; [`TaskDims`] gives outer loops to tasks.
//!
//! ```text
//! for indices of the tasks          TaskDims:   leading dims, by division
//!   for dim in the middle           fold_dims
//!     for i in the row by lanes     for_lanes:  whole vectors, then single elements
//! ```
//! Loads and stores touch valid elements only: the caller's buffers end with their last element, and
//! padding belongs to whoever zeroes it.

use super::tasks::{n_tasks, pieces_per_task};
use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::layout::Layout;

/// Where the elements of a value are, in elements from the start of its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Distance of two neighbours, per axis; 0 if all are the same element.
    pub strides: Vec<isize>,
    /// The element at index 0.
    pub offset: usize,
}

impl View {
    /// The stored value of a node.
    ///
    /// # Errors
    /// Strips and phased planes are no views.
    pub fn of(lowering: &Lowering<'_>, id: NodeId) -> Result<Self, String> {
        let node = lowering.node(id);
        Self::new(&node.layout, &node.shape)
    }

    fn new(layout: &Layout, shape: &[usize]) -> Result<Self, String> {
        if *layout == Layout::Plain {
            let strides = (0..shape.len()).map(|a| shape[a + 1..].iter().product::<usize>());
            let strides = strides.map(|s| s as isize).collect();
            return Ok(Self { strides, offset: 0 });
        }
        match layout.strides4(shape) {
            Some((strides, offset)) => Ok(Self {
                strides: strides.map(|s| s as isize).to_vec(),
                offset,
            }),
            None => Err("only convolutions read and write strips and phased planes".into()),
        }
    }

    /// Repeats a value of `shape` along the axes of the broadcast shape of `rank` axes.
    pub fn broadcast(&self, shape: &[usize], rank: usize) -> Self {
        let mut strides = vec![0; rank - shape.len()];
        strides.extend(
            self.strides
                .iter()
                .zip(shape)
                .map(|(&s, &d)| if d == 1 { 0 } else { s }),
        );
        Self {
            strides,
            offset: self.offset,
        }
    }

    /// Start of the view, given the start of the storage.
    pub fn origin(&self, f: &mut FunctionBuilder, buffer: Value) -> Value {
        f.ptr_add_const(buffer, self.offset * 4)
    }
}

/// One loop of a nest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dim {
    /// Iterations.
    pub size: usize,
    /// How far each view moves per iteration, in elements.
    pub strides: Vec<isize>,
}

impl Dim {
    /// Cuts a row into at least `n` equal parts of whole vectors, and at most four times as many:
    /// keeps one of them, and returns the loop over all.
    fn cut(&mut self, n: usize, lanes: usize) -> Option<Dim> {
        let size = self.size;
        let fits = |&n: &usize| size.is_multiple_of(n) && (size / n).is_multiple_of(lanes);
        let n = (n..=n * 4).find(fits)?;
        self.size = size / n;
        let strides = self.strides.iter().map(|s| s * self.size as isize);
        Some(Dim {
            size: n,
            strides: strides.collect(),
        })
    }

    /// Pointers into all views at iteration `index`.
    pub fn advance(&self, f: &mut FunctionBuilder, bases: &[Value], index: Value) -> Vec<Value> {
        let bases = bases.iter().zip(&self.strides);
        bases
            .map(|(&base, &stride)| advance(f, base, index, stride))
            .collect()
    }
}

/// `base + index * stride`, the stride in elements.
pub(super) fn advance(f: &mut FunctionBuilder, base: Value, index: Value, stride: isize) -> Value {
    match usize::try_from(stride) {
        Ok(0) => base,
        Ok(stride) => f.ptr_offset(base, index, stride * 4),
        // Index arithmetic wraps, so a negative stride is a multiplication like any other.
        Err(_) => {
            let bytes = f.index(stride as i64 * 4);
            let bytes = f.mul(index, bytes);
            f.ptr_add(base, bytes)
        }
    }
}

/// The loops over an index space of `shape`, outer first. Axes of size 1 are dropped, and
/// neighbours become one where every view steps from the end of one row to the start of the next.
pub(super) fn merge_dims(shape: &[usize], views: &[&View]) -> Vec<Dim> {
    let mut dims: Vec<Dim> = Vec::new();
    for (axis, &size) in shape.iter().enumerate() {
        let strides: Vec<isize> = views.iter().map(|v| v.strides[axis]).collect();
        if size == 1 {
            continue;
        }
        if let Some(outer) = dims.last_mut()
            && outer
                .strides
                .iter()
                .zip(&strides)
                .all(|(&o, &s)| o == s * size as isize)
        {
            outer.size *= size;
            outer.strides = strides;
            continue;
        }
        dims.push(Dim { size, strides });
    }
    dims
}

/// The leading loops of a nest, shared out between tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskDims {
    /// How many loops.
    pub n_dims: usize,
    /// Iterations of these loops that make a task.
    per_task: usize,
}

impl TaskDims {
    /// As few of `dims` as there must be for enough tasks; the last one, the row, never is among
    /// them. A row that is the only long loop is cut into equal parts of whole vectors first.
    ///
    /// `weight` is the work per element of the nest, in elements copied.
    pub fn choose(dims: &mut Vec<Dim>, lanes: usize, weight: usize) -> Self {
        let n_elems: usize = dims.iter().map(|d| d.size).product();
        let work = n_elems.saturating_mul(weight);
        let wanted = n_tasks(work);
        let mut n_dims = 0;
        let mut n_pieces = 1;
        while n_pieces < wanted && n_dims + 1 < dims.len() {
            n_pieces *= dims[n_dims].size;
            n_dims += 1;
        }
        if n_pieces < wanted
            && let Some(row) = dims.last_mut()
            && let Some(parts) = row.cut(wanted.div_ceil(n_pieces), lanes)
        {
            n_pieces *= parts.size;
            dims.insert(n_dims, parts);
            n_dims += 1;
        }
        Self {
            n_dims,
            per_task: pieces_per_task(n_pieces, work),
        }
    }

    /// Runs `body` at every index of `dims`, the chosen ones, with pointers into all views. Returns
    /// the number of tasks.
    pub fn for_each(
        self,
        kernel: &mut KernelBuilder,
        dims: &[Dim],
        bases: &[Value],
        body: impl FnOnce(&mut FunctionBuilder, &[Value]),
    ) -> usize {
        let n_pieces = dims.iter().map(|d| d.size).product();
        kernel.for_pieces(n_pieces, self.per_task, |f, piece| {
            let mut bases = bases.to_vec();
            let mut rest = piece;
            for (at, dim) in dims.iter().enumerate().rev() {
                let (outer, index) = match at {
                    0 => (rest, rest),
                    _ => f.div_rem_const(rest, dim.size),
                };
                bases = dim.advance(f, &bases, index);
                rest = outer;
            }
            body(f, &bases);
        })
    }
}

/// Runs `body` at every index of `dims`, with pointers into all views and the values that the
/// loops carry; it returns their next values.
pub(super) fn fold_dims(
    f: &mut FunctionBuilder,
    dims: &[Dim],
    bases: &[Value],
    carried: &[Value],
    body: &mut dyn FnMut(&mut FunctionBuilder, &[Value], &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let Some((dim, inner)) = dims.split_first() else {
        return body(f, bases, carried);
    };
    let zero = f.index(0);
    let size = f.size(dim.size);
    f.for_loop(zero, size, 1, carried, |f, index, carried| {
        let bases = dim.advance(f, bases, index);
        fold_dims(f, inner, &bases, carried, body)
    })
}

/// Runs `body` at every index of `dims`, with pointers into all views.
pub(super) fn for_dims(
    f: &mut FunctionBuilder,
    dims: &[Dim],
    bases: &[Value],
    mut body: impl FnMut(&mut FunctionBuilder, &[Value]),
) {
    fold_dims(f, dims, bases, &[], &mut |f, bases, _| {
        body(f, bases);
        Vec::new()
    });
}

/// Covers `0..n`: `body(f, lanes, i)` for whole vectors, then `body(f, 1, i)` for what is left.
pub(super) fn for_lanes(
    f: &mut FunctionBuilder,
    n: usize,
    lanes: usize,
    mut body: impl FnMut(&mut FunctionBuilder, usize, Value),
) {
    let whole = n / lanes * lanes;
    let mut span = |f: &mut FunctionBuilder, low: usize, high: usize, lanes: usize| {
        if low == high {
            return;
        }
        let first = f.size(low);
        if high - low == lanes {
            return body(f, lanes, first);
        }
        let end = f.size(high);
        f.for_each(first, end, lanes, |f, i| body(f, lanes, i));
    };
    span(f, 0, whole, lanes);
    span(f, whole, n, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use condensec_ir::layout::Planes;

    fn planes() -> Layout {
        Layout::Planes(Planes {
            phases: [1, 1],
            top: 1,
            left: 2,
            pitch: 8,
            rows: 6,
            plane: 50,
            image: 160,
        })
    }

    fn dims(shape: &[usize], layouts: &[Layout]) -> Vec<(usize, Vec<isize>)> {
        let views: Vec<View> = layouts
            .iter()
            .map(|l| View::new(l, shape).unwrap())
            .collect();
        let views: Vec<&View> = views.iter().collect();
        merge_dims(shape, &views)
            .into_iter()
            .map(|d| (d.size, d.strides))
            .collect()
    }

    #[test]
    fn plain_values_are_one_row() {
        assert_eq!(dims(&[2, 3, 4, 5], &[Layout::Plain]), [(120, vec![1])]);
        assert_eq!(dims(&[], &[Layout::Plain]), []);
        assert_eq!(dims(&[1, 1], &[Layout::Plain]), []);
    }

    #[test]
    fn padding_ends_a_row() {
        let expected = [(3, vec![50, 20]), (4, vec![8, 5]), (5, vec![1, 1])];
        assert_eq!(dims(&[1, 3, 4, 5], &[planes(), Layout::Plain]), expected);
    }

    #[test]
    fn repeated_axes_merge_with_each_other() {
        let x = View::new(&Layout::Plain, &[2, 3, 4, 5]).unwrap();
        let bias = View::new(&Layout::Plain, &[3, 1, 1])
            .unwrap()
            .broadcast(&[3, 1, 1], 4);
        assert_eq!(bias.strides, [0, 1, 0, 0]);
        let dims = merge_dims(&[2, 3, 4, 5], &[&x, &bias]);
        let dims: Vec<_> = dims.into_iter().map(|d| (d.size, d.strides)).collect();
        assert_eq!(dims, [(2, vec![60, 0]), (3, vec![20, 1]), (20, vec![1, 0])]);
    }

    #[test]
    fn strips_are_no_views() {
        let layout = Layout::Strips(condensec_ir::layout::Strips {
            pitch: 5,
            width: 48,
            image: 960,
        });
        assert!(View::new(&layout, &[1, 2, 3, 5]).is_err());
    }

    #[test]
    fn tasks_have_enough_work() {
        let row = |size| {
            vec![Dim {
                size,
                strides: vec![1],
            }]
        };
        let choose = |dims: &mut Vec<Dim>| {
            let TaskDims { n_dims, per_task } = TaskDims::choose(dims, 4, 1);
            (n_dims, per_task, dims.len())
        };
        assert_eq!(choose(&mut row(1000)), (0, 1, 1));
        assert_eq!(choose(&mut Vec::new()), (0, 1, 0));

        let mut long = row(1 << 20);
        assert_eq!(choose(&mut long), (1, 1, 2));
        assert_eq!((long[0].size, long[1].size), (64, 1 << 14));
        assert_eq!(long[0].strides, [1 << 14]);

        // A prime row cannot be cut.
        assert_eq!(choose(&mut row(1_000_003)), (0, 1, 1));

        let dim = |size, stride| Dim {
            size,
            strides: vec![stride],
        };
        // 12,544 elements are three tasks of 22 channels.
        let mut channels = vec![dim(64, 200), dim(14, 14), dim(14, 1)];
        assert_eq!(choose(&mut channels), (1, 22, 3));
        // Three channels are too few: rows.
        let mut image = vec![dim(3, 1000), dim(100, 10), dim(100, 1)];
        assert_eq!(choose(&mut image), (2, 43, 3));
    }
}
