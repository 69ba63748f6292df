//! Operations that only move the elements of a constant; its level data moves along.

use std::sync::Arc;

use condensec_ir::sparsity::LevelMask;

use super::{ByLevel, Constant, Elems, Literal, for_each_index, strides};

impl Constant {
    /// The same elements in another shape of as many.
    pub fn reshaped(&self, shape: &[usize]) -> Constant {
        let levels = match &self.levels {
            ByLevel::Masked(mask) => {
                let block = reshaped_block(self.shape(), mask.block(), shape);
                ByLevel::Masked(LevelMask::new(mask.values(), &block))
            }
            ByLevel::Shared | ByLevel::Rows(_) => self.levels.clone(),
        };
        Constant {
            levels,
            literal: Literal::new(shape, self.literal.elems.clone()),
            ..self.clone()
        }
    }

    /// Axis `a` of the result is axis `permutation[a]` of this.
    pub fn permuted(&self, permutation: &[usize]) -> Constant {
        let permute = |sizes: &[usize]| {
            permutation
                .iter()
                .map(|&a| sizes[a])
                .collect::<Vec<usize>>()
        };
        let source_strides = permute(&strides(self.shape()));
        let block = self.mask().map(|mask| permute(mask.block()));
        self.select(&permute(self.shape()), block, |index| {
            dot(index, &source_strides)
        })
    }

    /// `sizes` elements along each axis, from `starts` in `steps`. The caller has checked that they
    /// are inside.
    pub fn sliced(&self, starts: &[usize], sizes: &[usize], steps: &[i64]) -> Constant {
        let source_strides = strides(self.shape());
        self.select(sizes, None, |index| {
            let place = |axis: usize| starts[axis] as i64 + index[axis] as i64 * steps[axis];
            (0..index.len())
                .map(|axis| place(axis) as usize * source_strides[axis])
                .sum()
        })
    }

    /// The elements in the opposite order along `axes`.
    pub fn flipped(&self, axes: &[usize]) -> Constant {
        let shape = self.shape().to_vec();
        let source_strides = strides(&shape);
        // Blocks keep their borders only where every block is whole.
        let block = self.mask().map(|mask| {
            let whole = |a: usize| !axes.contains(&a) || shape[a].is_multiple_of(mask.block()[a]);
            (0..shape.len())
                .map(|a| if whole(a) { mask.block()[a] } else { 1 })
                .collect()
        });
        self.select(&shape, block, |index| {
            let place = |a: usize| {
                if axes.contains(&a) {
                    shape[a] - 1 - index[a]
                } else {
                    index[a]
                }
            };
            (0..index.len()).map(|a| place(a) * source_strides[a]).sum()
        })
    }

    /// The parts at `indices` of `axis`; the axes of `indices_shape` take its place. The caller has
    /// checked that the indices are inside.
    pub fn gathered(&self, axis: usize, indices: &[usize], indices_shape: &[usize]) -> Constant {
        let source = self.shape();
        let (outer, inner) = (&source[..axis], &source[axis + 1..]);
        let shape = [outer, indices_shape, inner].concat();
        let source_strides = strides(source);
        let index_strides = strides(indices_shape);
        let n_index_axes = indices_shape.len();
        self.select(&shape, None, |index| {
            let (before, rest) = index.split_at(axis);
            let (between, after) = rest.split_at(n_index_axes);
            let picked = indices[dot(between, &index_strides)];
            dot(before, &source_strides)
                + picked * source_strides[axis]
                + dot(after, &source_strides[axis + 1..])
        })
    }

    /// Repeated along axes of size 1 up to `shape`, numpy style. The caller has checked that it
    /// broadcasts.
    pub fn broadcast(&self, shape: &[usize]) -> Constant {
        let n_new = shape.len() - self.shape().len();
        let source_strides = strides(self.shape());
        let kept: Vec<usize> = self
            .shape()
            .iter()
            .zip(&source_strides)
            .map(|(&size, &stride)| if size == 1 { 0 } else { stride })
            .collect();
        self.select(shape, None, |index| dot(&index[n_new..], &kept))
    }

    /// The whole tensor `repeats[a]` times along each axis, into `shape`.
    pub fn tiled(&self, shape: &[usize]) -> Constant {
        let source = self.shape().to_vec();
        let source_strides = strides(&source);
        self.select(shape, None, |index| {
            (0..index.len())
                .map(|a| index[a] % source[a] * source_strides[a])
                .sum()
        })
    }

    fn mask(&self) -> Option<&LevelMask> {
        match &self.levels {
            ByLevel::Masked(mask) => Some(mask),
            ByLevel::Shared | ByLevel::Rows(_) => None,
        }
    }

    /// A constant of `shape` whose element at each index is the element of this at position
    /// `source(index)`.
    fn select(
        &self,
        shape: &[usize],
        block: Option<Vec<usize>>,
        source: impl Fn(&[usize]) -> usize,
    ) -> Constant {
        let elems = match &self.literal.elems {
            Elems::F32(values) => Elems::F32(pick(values, shape, &source)),
            Elems::I64(values) => Elems::I64(pick(values, shape, &source)),
            Elems::Bool(values) => Elems::Bool(pick(values, shape, &source)),
        };
        let levels = match &self.levels {
            ByLevel::Shared => ByLevel::Shared,
            ByLevel::Masked(mask) => {
                let block = block.unwrap_or_else(|| vec![1; shape.len()]);
                ByLevel::Masked(LevelMask::new(pick(mask.values(), shape, &source), &block))
            }
            ByLevel::Rows(rows) => {
                let rows = rows
                    .chunks_exact(self.literal.n_elems().max(1))
                    .flat_map(|row| pick(row, shape, &source).to_vec())
                    .collect();
                ByLevel::Rows(rows)
            }
        };
        Constant {
            name: self.name.clone(),
            literal: Literal::new(shape, elems),
            levels,
            scale: self.scale.clone(),
        }
    }
}

fn pick<T: Copy>(values: &[T], shape: &[usize], source: &impl Fn(&[usize]) -> usize) -> Arc<[T]> {
    let mut picked = Vec::with_capacity(shape.iter().product());
    for_each_index(shape, |index| picked.push(values[source(index)]));
    picked.into()
}

fn dot(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

/// The block of a mask after a reshape: kept where axes of size 1 come and go or where the first
/// axis stays as it is, else lost, since a block need not be a box any more.
fn reshaped_block(from: &[usize], block: &[usize], to: &[usize]) -> Vec<usize> {
    let n_long = |shape: &[usize]| shape.iter().filter(|&&size| size != 1).count();
    let long = |shape: &[usize]| {
        shape
            .iter()
            .copied()
            .filter(|&size| size != 1)
            .collect::<Vec<_>>()
    };
    if n_long(from) == n_long(to) && long(from) == long(to) {
        let mut sizes = from
            .iter()
            .zip(block)
            .filter(|(size, _)| **size != 1)
            .map(|(_, b)| *b);
        return to
            .iter()
            .map(|&size| {
                if size == 1 {
                    1
                } else {
                    sizes.next().unwrap_or(1)
                }
            })
            .collect();
    }
    let mut kept = vec![1; to.len()];
    if let ([first, ..], [b, rest @ ..], [size, ..]) = (from, block, to)
        && first == size
        && rest.iter().all(|&b| b == 1)
    {
        kept[0] = *b;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(shape: &[usize], block: &[usize]) -> Constant {
        let n: usize = shape.iter().product();
        Constant {
            levels: ByLevel::Masked(LevelMask::new(
                (0..n).map(|i| i as u8 + 100).collect::<Vec<u8>>(),
                block,
            )),
            ..Constant::shared(
                "w",
                Literal::f32(shape, (0..n).map(|i| i as f32).collect::<Vec<_>>()),
            )
        }
    }

    /// Data and mask must have moved alike; gives the elements.
    fn elems(constant: &Constant) -> Vec<usize> {
        let values: Vec<usize> = constant
            .literal
            .as_f32()
            .unwrap()
            .iter()
            .map(|&v| v as usize)
            .collect();
        let mask: Vec<usize> = constant
            .mask()
            .unwrap()
            .values()
            .iter()
            .map(|&v| usize::from(v) - 100)
            .collect();
        assert_eq!(values, mask);
        values
    }

    #[test]
    fn a_mask_moves_with_its_weight() {
        let w = masked(&[2, 3], &[2, 1]);
        let t = w.permuted(&[1, 0]);
        assert_eq!(
            (t.shape(), elems(&t)),
            (&[3, 2][..], vec![0, 3, 1, 4, 2, 5])
        );
        assert_eq!(t.mask().unwrap().block(), [1, 2]);

        let s = w.sliced(&[1, 2], &[1, 2], &[1, -2]);
        assert_eq!((s.shape(), elems(&s)), (&[1, 2][..], vec![5, 3]));
        assert_eq!(elems(&w.flipped(&[1])), [2, 1, 0, 5, 4, 3]);
        assert_eq!(elems(&w.gathered(1, &[2, 0], &[2])), [2, 0, 5, 3]);
        assert_eq!(w.gathered(1, &[2], &[]).shape(), [2]);
        assert_eq!(
            elems(&masked(&[2, 1], &[1, 1]).broadcast(&[2, 2, 2])),
            [0, 0, 1, 1, 0, 0, 1, 1]
        );
        assert_eq!(
            elems(&masked(&[1, 2], &[1, 1]).tiled(&[2, 4])),
            [0, 1, 0, 1, 0, 1, 0, 1]
        );
    }

    #[test]
    fn rows_per_level_move_one_by_one() {
        let p = Constant {
            levels: ByLevel::Rows(Arc::from([0.0, 1.0, 10.0, 11.0])),
            ..Constant::shared("p", Literal::f32(&[2], [10.0, 11.0]))
        };
        let ByLevel::Rows(rows) = p.flipped(&[0]).levels else {
            panic!()
        };
        assert_eq!(rows[..], [1.0, 0.0, 11.0, 10.0]);
    }

    #[test]
    fn blocks_survive_reshapes_that_keep_them_boxes() {
        assert_eq!(
            reshaped_block(&[8, 4, 1, 1], &[4, 1, 1, 1], &[8, 4]),
            [4, 1]
        );
        assert_eq!(
            reshaped_block(&[8, 4], &[4, 2], &[1, 8, 1, 4]),
            [1, 4, 1, 2]
        );
        assert_eq!(
            reshaped_block(&[8, 2, 3, 3], &[4, 1, 1, 1], &[8, 18]),
            [4, 1]
        );
        assert_eq!(
            reshaped_block(&[8, 2, 3, 3], &[4, 2, 1, 1], &[8, 18]),
            [1, 1]
        );
        assert_eq!(reshaped_block(&[8, 18], &[4, 1], &[2, 4, 18]), [1, 1, 1]);
    }
}
