//! Operands rearranged for the tile: columns side by side in vectors, rows in panels whose items are
//! broadcast one by one. [Goto08]

use crate::isa::Job;
use crate::lanes::{F32s, LANES, Lanes, ROWS, prefetch};

/// A matrix of f32 that need not be contiguous: value (i, j) lies at `i * strides[0] + j * strides[1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) size: [usize; 2],
    pub(crate) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row-major `[rows, columns]`.
    pub(crate) fn new(values: &'a [f32], size: [usize; 2]) -> Self {
        Self {
            values,
            size,
            strides: [size[1], 1],
        }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            size: [self.size[1], self.size[0]],
            strides: [self.strides[1], self.strides[0]],
            ..self
        }
    }

    /// At most `n` rows from `first` on.
    #[inline(always)]
    pub(crate) fn rows(self, first: usize, n: usize) -> Self {
        Self {
            values: &self.values[first * self.strides[0]..],
            size: [n.min(self.size[0] - first), self.size[1]],
            ..self
        }
    }

    /// Sixteen values of column `j` from row `i` on, if they are there and lie side by side.
    #[inline(always)]
    fn whole(&self, i: usize, j: usize) -> Option<&'a F32s> {
        if self.strides[0] != 1 || j >= self.size[1] || self.size[0] - i < LANES {
            return None;
        }
        self.values[i + j * self.strides[1]..].first_chunk()
    }

    /// Up to 16 values of column `j` from row `i` on; zeros beyond the end of either axis.
    #[inline(always)]
    fn down(&self, i: usize, j: usize) -> F32s {
        if let Some(values) = self.whole(i, j) {
            return *values;
        }
        if j >= self.size[1] {
            return [0.0; LANES];
        }
        let n = LANES.min(self.size[0] - i);
        let from = &self.values[i * self.strides[0] + j * self.strides[1]..];
        let mut out = [0.0; LANES];
        for (l, out) in out[..n].iter_mut().enumerate() {
            *out = from[l * self.strides[0]];
        }
        out
    }
}

/// The first sixteen values, zeros after the end.
#[inline(always)]
pub(crate) fn sixteen(values: &[f32]) -> F32s {
    let mut out = [0.0; LANES];
    match values.first_chunk() {
        Some(values) => out = *values,
        None => out[..values.len()].copy_from_slice(values),
    }
    out
}

/// In what order a pack holds the items of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Panels of so many rows, a multiple of 16: `[N / width][steps][width]`.
    Vectors(usize),
    /// Panels of 8 rows: `[N / 8][steps][8]`.
    Rows,
}

impl Order {
    /// Items of a pack of `n` rows with `steps` items each.
    pub(crate) fn len(self, n: usize, steps: usize) -> usize {
        let width = match self {
            Self::Vectors(width) => width,
            Self::Rows => ROWS,
        };
        n.div_ceil(width) * width * steps
    }

    /// Stores item `step` of sixteen rows from `first` on; `to` may end after the first eight.
    #[inline(always)]
    fn put(self, to: &mut [u32], steps: usize, first: usize, step: usize, items: &[u32; LANES]) {
        match self {
            Self::Vectors(width) => {
                let start = first / width * width * steps + step * width + first % width;
                to[start..][..LANES].copy_from_slice(items);
            }
            Self::Rows => {
                let (low, high) = items.split_at(ROWS);
                let start = first * steps + step * ROWS;
                to[start..][..ROWS].copy_from_slice(low);
                let start = start + ROWS * steps;
                if let Some(to) = to.get_mut(start..start + ROWS) {
                    to.copy_from_slice(high);
                }
            }
        }
    }
}

/// Steps that memory is asked for in advance.
const AHEAD: usize = 12;

/// Packs a matrix `[N, K]`; zeros where N or K end early.
pub(crate) struct Pack<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) order: Order,
    pub(crate) to: &'a mut [u32],
}

impl Job for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { matrix, order, to } = self;
        let [n, k] = matrix.size;
        let steps = k.div_ceil(L::DEPTH);
        if matrix.strides[1] == 1 && matrix.strides[0] != 1 {
            for first in (0..n).step_by(LANES) {
                let rows = matrix.rows(first, LANES);
                let whole = if rows.size[0] == LANES {
                    k / (LANES * L::DEPTH)
                } else {
                    0
                };
                for block in 0..whole {
                    put_whole::<L>(rows, order, to, [first, block * LANES, steps]);
                }
                for step in (whole * LANES..steps).step_by(LANES) {
                    let mut items = [[0; LANES]; LANES];
                    for (row, items) in items[..rows.size[0]].iter_mut().enumerate() {
                        let row = &rows.values[row * rows.strides[0]..][..k];
                        *items = neighbours::<L>(&row[step * L::DEPTH..]);
                    }
                    put_transposed::<L>(&items, order, to, [first, step, steps]);
                }
            }
            return;
        }
        for step in 0..steps {
            for first in (0..n).step_by(LANES) {
                // Rows of a large matrix lie on pages of their own.
                let ahead = (step + AHEAD) * L::DEPTH;
                for j in ahead..ahead + L::DEPTH {
                    let at = first * matrix.strides[0] + j * matrix.strides[1];
                    prefetch(matrix.values.as_ptr().wrapping_add(at));
                }
                if L::DEPTH == 1
                    && let Some(values) = matrix.whole(first, step)
                {
                    order.put(to, steps, first, step, bytemuck::cast_ref(values));
                    continue;
                }
                let low = matrix.down(first, step * L::DEPTH);
                let high = if L::DEPTH == 2 {
                    matrix.down(first, step * L::DEPTH + 1)
                } else {
                    low
                };
                // SAFETY: jobs only run for a set that the processor has.
                let items = unsafe { L::join(low, high) };
                order.put(to, steps, first, step, &items);
            }
        }
    }
}

/// Stores a whole block, of which each loop can be unrolled and the items stay in registers.
#[inline(always)]
fn put_whole<L: Lanes>(
    rows: Matrix<'_>,
    order: Order,
    to: &mut [u32],
    [first, step, steps]: [usize; 3],
) {
    let (stride, start, len) = (rows.strides[0], step * L::DEPTH, LANES * L::DEPTH);
    assert!(rows.values.len() >= (LANES - 1) * stride + start + len);
    let from = rows.values[start..].as_ptr();
    let mut items = [[0; LANES]; LANES];
    for (row, items) in items.iter_mut().enumerate() {
        let mut values = [[0.0; LANES]; 2];
        for (half, values) in values.iter_mut().enumerate().take(L::DEPTH) {
            // SAFETY: jobs only run for a set that the processor has; within the values, as asserted.
            unsafe {
                let from = from.add(row * stride + half * LANES);
                L::store_sum(L::load_sum(from), values.as_mut_ptr());
            }
        }
        // SAFETY: as above.
        *items = unsafe { L::neighbours(values) };
    }
    // SAFETY: as above.
    let items = unsafe { L::transpose(&items) };
    for (i, items) in items.iter().enumerate() {
        order.put(to, steps, first, step + i, items);
    }
}

/// Stores sixteen items of each of sixteen rows: `at` is the first row, the first step, and how many
/// steps there are.
#[inline(always)]
pub(crate) fn put_transposed<L: Lanes>(
    items: &[[u32; LANES]; LANES],
    order: Order,
    to: &mut [u32],
    [first, step, steps]: [usize; 3],
) {
    // SAFETY: jobs only run for a set that the processor has.
    let items = unsafe { L::transpose(items) };
    for (i, items) in items[..LANES.min(steps - step)].iter().enumerate() {
        order.put(to, steps, first, step + i, items);
    }
}

/// The first neighbours of `from` as sixteen items, zeros after the end.
#[inline(always)]
pub(crate) fn neighbours<L: Lanes>(from: &[f32]) -> [u32; LANES] {
    let mut values = [[0.0_f32; LANES]; 2];
    if from.len() >= LANES * L::DEPTH {
        // By way of registers, not of memory.
        for (values, from) in values
            .iter_mut()
            .take(L::DEPTH)
            .zip(from.as_chunks::<LANES>().0)
        {
            // SAFETY: jobs only run for a set that the processor has; both have sixteen values.
            unsafe { L::store_sum(L::load_sum(from.as_ptr()), values.as_mut_ptr()) };
        }
    } else {
        values.as_flattened_mut()[..from.len()].copy_from_slice(from);
    }
    // SAFETY: jobs only run for a set that the processor has.
    unsafe { L::neighbours(values) }
}
