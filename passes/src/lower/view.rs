//! Strided views of stored values, and the loops over them.
//!
//! An op that is a plain loop nest describes its result and its operands as [`View`]s over one
//! index space. [`merge_dims`] joins axes that lie one after the other in all of them, so that a
//! plain tensor becomes one long row whatever its rank; [`n_task_dims`] gives outer loops to tasks.
//!
//! ```text
//! for task in begin..end            for_tasks:  task dims, by division
//!   for dim in the middle           fold_dims
//!     for i in the row by lanes     for_lanes:  whole vectors, then single elements
//! ```
//! Loads and stores touch valid elements only: the caller's buffers end with their last element, and
//! padding belongs to whoever zeroes it.

use super::{KernelBuilder, Lowering};
use condensec_ir::NodeId;
use condensec_ir::kernel::{FunctionBuilder, Value};
use condensec_ir::layout::Layout;

/// Elements that one task should have at least; a few microseconds of work.
const MIN_TASK_ELEMS: usize = 4096;
/// More tasks than this do not balance any better.
const MAX_TASKS: usize = 64;

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

/// Decides how many of the leading `dims` become tasks; the last one, the row, never does. A row
/// that is the only long loop is cut into equal parts of whole vectors first.
///
/// `weight` is the work per element of the nest, in elements copied.
pub(super) fn n_task_dims(dims: &mut Vec<Dim>, lanes: usize, weight: usize) -> usize {
    let n_elems: usize = dims.iter().map(|d| d.size).product();
    let wanted = (n_elems.saturating_mul(weight) / MIN_TASK_ELEMS).min(MAX_TASKS);
    if wanted <= 1 || dims.is_empty() {
        return 0;
    }
    let mut n_tasks = 1;
    for at in 0..dims.len() - 1 {
        n_tasks *= dims[at].size;
        if n_tasks >= wanted {
            return at + 1;
        }
    }
    let outer = dims.len() - 1;
    let parts = wanted.div_ceil(n_tasks);
    let row = &dims[outer];
    let fits = |&p: &usize| row.size.is_multiple_of(p) && (row.size / p).is_multiple_of(lanes);
    if let Some(parts) = (parts..=parts * 4).find(fits) {
        let size = row.size / parts;
        let strides = row.strides.iter().map(|s| s * size as isize).collect();
        dims[outer].size = size;
        dims.insert(
            outer,
            Dim {
                size: parts,
                strides,
            },
        );
        return outer + 1;
    }
    outer
}

/// Runs `body` at every index of `dims`, one task each, with pointers into all views. Returns the
/// number of tasks.
pub(super) fn for_tasks(
    kernel: &mut KernelBuilder,
    dims: &[Dim],
    bases: &[Value],
    body: impl FnOnce(&mut FunctionBuilder, &[Value]),
) -> usize {
    kernel.for_tasks(|f, task| {
        let mut bases = bases.to_vec();
        let mut rest = task;
        for (at, dim) in dims.iter().enumerate().rev() {
            let (outer, index) = match at {
                0 => (rest, rest),
                _ => f.div_rem_const(rest, dim.size),
            };
            bases = dim.advance(f, &bases, index);
            rest = outer;
        }
        body(f, &bases);
    });
    dims.iter().map(|d| d.size).product()
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
        let mut tiny = row(1000);
        assert_eq!((n_task_dims(&mut tiny, 4, 1), tiny.len()), (0, 1));
        assert_eq!(n_task_dims(&mut Vec::new(), 4, 1), 0);

        let mut long = row(1 << 20);
        assert_eq!(n_task_dims(&mut long, 4, 1), 1);
        assert_eq!((long[0].size, long[1].size), (64, 1 << 14));
        assert_eq!(long[0].strides, [1 << 14]);

        // A prime row cannot be cut.
        let mut prime = row(1_000_003);
        assert_eq!((n_task_dims(&mut prime, 4, 1), prime.len()), (0, 1));

        let mut channels = vec![
            Dim {
                size: 64,
                strides: vec![200],
            },
            Dim {
                size: 14,
                strides: vec![14],
            },
            Dim {
                size: 14,
                strides: vec![1],
            },
        ];
        assert_eq!(n_task_dims(&mut channels, 4, 1), 1);
    }
}
