//! Sixteen to 48 samples side by side in vectors, and what a layer makes of them.
//! Leaves out which layers there are.

use crate::isa::{Isa, Job};
use crate::lanes::{LANES, Lanes, ROWS, VECTORS};
use crate::pack::{Matrix, Order, Pack};
use crate::tile::{Block, EMPTY, Walk, tile};

/// Samples in a panel.
pub(super) const SIDE: usize = VECTORS * LANES;
/// Where the vectors of a panel begin.
pub(super) const VECTORS_AT: [usize; VECTORS] = [0, LANES, 2 * LANES];

/// A matrix `[rows, K]` packed for products with panels.
pub(super) struct Stage<'a> {
    rows: usize,
    steps: usize,
    items: &'a [u32],
}

impl<'a> Stage<'a> {
    /// Items of a matrix `[rows, k]`.
    pub(super) fn len(isa: Isa, [rows, k]: [usize; 2]) -> usize {
        Order::Rows.len(rows, k.div_ceil(isa.depth()))
    }

    /// Packs `matrix` to `items`.
    pub(super) fn pack(isa: Isa, matrix: Matrix<'_>, items: &'a mut [u32]) -> Self {
        isa.run(Pack {
            matrix,
            order: Order::Rows,
            to: items,
        });
        let [rows, k] = matrix.size;
        let steps = k.div_ceil(isa.depth());
        Self { rows, steps, items }
    }

    /// Rows of the matrix.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The products of eight rows from `row` on with `panel`, `[steps][SIDE]` of which `vectors` hold
    /// samples.
    #[inline(always)]
    fn times<L: Lanes>(&self, row: usize, panel: &[u32], vectors: usize, to: &mut Block) {
        let walk = Walk {
            taps: &[0],
            planes: self.steps,
            plane: SIDE,
        };
        let (a, b) = (
            &self.items[row * self.steps..],
            (panel, &VECTORS_AT[..vectors]),
        );
        // SAFETY: jobs only run for a set that the processor has.
        unsafe { tile::<L>(a, ROWS, b, walk, to) };
    }

    /// The next panel, to `to`: what `finish` makes of the products, rounded to items.
    #[inline(always)]
    pub(super) fn layer<L: Lanes>(
        &self,
        panel: &[u32],
        vectors: usize,
        mut finish: impl Finish,
        to: &mut [u32],
    ) {
        assert!(self.rows.is_multiple_of(ROWS));
        finish.check(self.rows);
        let mut sums = EMPTY;
        for row in (0..self.rows).step_by(ROWS) {
            self.times::<L>(row, panel, vectors, &mut sums);
            let to = to[row / L::DEPTH * SIDE..].chunks_exact_mut(SIDE);
            for (i, to) in (0..ROWS).step_by(L::DEPTH).zip(to) {
                for (vector, to) in to.as_chunks_mut().0.iter_mut().enumerate().take(vectors) {
                    let mut pair = [[0.0; LANES]; 2];
                    for (i, pair) in (i..i + L::DEPTH).zip(&mut pair) {
                        // SAFETY: jobs only run for a set that the processor has; sixteen values
                        // each; `finish` has room for the row, as checked.
                        unsafe {
                            let sums = L::load_sum(sums[i][vector].as_ptr());
                            let sums = finish.of::<L>(row + i, vector * LANES, sums);
                            L::store_sum(sums, pair.as_mut_ptr());
                        }
                    }
                    // SAFETY: as above.
                    *to = unsafe { L::join(pair[0], pair[1]) };
                }
            }
        }
    }

    /// The products as they are, to `to`, `[rows][SIDE]` with rows up to a multiple of eight.
    #[inline(always)]
    pub(super) fn values<L: Lanes>(&self, panel: &[u32], vectors: usize, to: &mut [f32]) {
        let mut sums = EMPTY;
        for row in (0..self.rows).step_by(ROWS) {
            self.times::<L>(row, panel, vectors, &mut sums);
            to[row * SIDE..][..ROWS * SIDE].copy_from_slice(sums.as_flattened().as_flattened());
        }
    }
}

/// What becomes of the sums of a hidden layer.
pub(super) trait Finish {
    /// Panics unless there is room for so many rows.
    fn check(&self, rows: usize);

    /// Of a row and of sixteen samples from `column` on.
    ///
    /// # Safety
    /// The processor has `L`, and `check` has seen more rows than `row`.
    unsafe fn of<L: Lanes>(&mut self, row: usize, column: usize, sums: L::Sum) -> L::Sum;
}

/// max(0, x + bias), where there is a bias.
pub(super) struct Relu<'a> {
    pub(super) bias: &'a [f32],
}

impl Finish for Relu<'_> {
    fn check(&self, _rows: usize) {}

    #[inline(always)]
    unsafe fn of<L: Lanes>(&mut self, row: usize, _column: usize, sums: L::Sum) -> L::Sum {
        // SAFETY: the caller's promise.
        unsafe {
            match self.bias.get(row) {
                Some(bias) => L::positive(L::add(sums, L::all(*bias))),
                None => L::positive(sums),
            }
        }
    }
}

/// A ReLU whose results are kept in `to`, in rows that lie `stride` apart.
pub(super) struct Kept<'a> {
    pub(super) relu: Relu<'a>,
    pub(super) to: &'a mut [f32],
    pub(super) stride: usize,
}

impl Finish for Kept<'_> {
    fn check(&self, rows: usize) {
        assert!(self.to.len() + self.stride >= rows * self.stride + SIDE);
    }

    #[inline(always)]
    unsafe fn of<L: Lanes>(&mut self, row: usize, column: usize, sums: L::Sum) -> L::Sum {
        // SAFETY: the caller's promise, and there is room, as checked.
        unsafe {
            let sums = self.relu.of::<L>(row, column, sums);
            L::store_sum(sums, self.to.as_mut_ptr().add(row * self.stride + column));
            sums
        }
    }
}

/// The derivative by what a ReLU had made `hidden`, kept in `to`; rows of both lie `stride` apart.
pub(super) struct Masked<'a> {
    pub(super) hidden: &'a [f32],
    pub(super) to: &'a mut [f32],
    pub(super) stride: usize,
}

impl Finish for Masked<'_> {
    fn check(&self, rows: usize) {
        let least = self.hidden.len().min(self.to.len());
        assert!(least + self.stride >= rows * self.stride + SIDE);
    }

    #[inline(always)]
    unsafe fn of<L: Lanes>(&mut self, row: usize, column: usize, sums: L::Sum) -> L::Sum {
        let at = row * self.stride + column;
        // SAFETY: the caller's promise, and there is room, as checked.
        unsafe {
            let hidden = L::load_sum(self.hidden.as_ptr().add(at));
            let sums = L::where_positive(hidden, sums);
            L::store_sum(sums, self.to.as_mut_ptr().add(at));
            sums
        }
    }
}

/// Packs the samples of `x`, `[up to SIDE, K]`, side by side.
#[inline(always)]
pub(super) fn pack_panel<L: Lanes>(x: Matrix<'_>, to: &mut [u32]) {
    let order = Order::Vectors(SIDE);
    Pack {
        matrix: x,
        order,
        to,
    }
    .run::<L>();
}

/// Stores a panel, `[rows][SIDE]`, as samples, `[n, rows]`, with `bias` added where there is one.
#[inline(always)]
pub(super) fn put_samples<L: Lanes>(values: &[f32], rows: usize, bias: &[f32], to: &mut [f32]) {
    for first in (0..rows).step_by(LANES) {
        let len = LANES.min(rows - first);
        for (group, to) in to.chunks_mut(LANES * rows).enumerate() {
            let mut items = [[0; LANES]; LANES];
            for row in 0..len {
                let from = &values[(first + row) * SIDE + group * LANES..][..LANES];
                let bias = bias.get(first + row).copied().unwrap_or(0.0);
                // SAFETY: jobs only run for a set that the processor has; both have sixteen values.
                unsafe {
                    let sum = L::add(L::load_sum(from.as_ptr()), L::all(bias));
                    L::store_sum(sum, items[row].as_mut_ptr().cast());
                }
            }
            // SAFETY: as above.
            let items = unsafe { L::transpose(&items) };
            for (to, items) in to.chunks_exact_mut(rows).zip(&items) {
                let to = &mut to[first..][..len];
                if len == LANES {
                    to.copy_from_slice(bytemuck::cast_slice(items));
                } else {
                    for (to, item) in to.iter_mut().zip(items) {
                        *to = f32::from_bits(*item);
                    }
                }
            }
        }
    }
}
