//! What one thread does with the cells of its points, sixteen points at a time.

use super::cells::{CORNERS, Cells, Columns};
use super::rows::Block;
use super::{FEATURES, Level};
use crate::isa::Job;
use crate::lanes::{LANES, Lanes};

/// The features of some points on one level.
pub(super) struct Encode<'a> {
    pub(super) level: &'a Level,
    pub(super) values: &'a [f32],
    pub(super) points: &'a Columns<'a>,
    /// Of the points from block `first` on.
    pub(super) to: &'a mut [Block],
    pub(super) first: usize,
}

impl Job for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let table = self.level.table(self.values);
        for (block, to) in (self.first..).zip(self.to) {
            let cells = Cells::of(self.level, self.points.block(block));
            let weights = cells.weights();
            let mut sums = [[0.0; LANES]; FEATURES];
            for corner in 0..CORNERS {
                // SAFETY: jobs only run for a set that the processor has; the table is as long as the
                // level.
                let pairs = unsafe { L::pairs(table.as_ptr(), &cells.entries[corner]) };
                for f in 0..FEATURES {
                    for i in 0..LANES {
                        sums[f][i] = L::mul_add(weights[corner][i], pairs[f][i], sums[f][i]);
                    }
                }
            }
            *to = sums;
        }
    }
}

/// The derivative by the values of one level.
pub(super) struct Scatter<'a> {
    pub(super) level: &'a Level,
    pub(super) points: &'a Columns<'a>,
    pub(super) n_points: usize,
    /// Those of the level's features, from the first block's on, `levels` apart.
    pub(super) grad: &'a [Block],
    pub(super) levels: usize,
    pub(super) to: &'a mut [f32],
}

impl Job for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let table = self.to.as_chunks_mut::<FEATURES>().0;
        assert!(table.len() >= self.level.entries);
        for (block, grads) in self.grad.iter().step_by(self.levels).enumerate() {
            let cells = Cells::of(self.level, self.points.block(block));
            let weights = cells.weights();
            let mut products = [[[0.0; FEATURES]; LANES]; CORNERS];
            for corner in 0..CORNERS {
                let [mut first, mut second] = *grads;
                for i in 0..LANES {
                    first[i] *= weights[corner][i];
                    second[i] *= weights[corner][i];
                }
                // SAFETY: jobs only run for a set that the processor has.
                products[corner] = unsafe { L::zip(first, second) };
            }
            for i in 0..LANES.min(self.n_points - LANES * block) {
                for corner in 0..CORNERS {
                    let entry = cells.entries[corner][i] as usize;
                    // SAFETY: a cell's entries are below those of the level.
                    let to = unsafe { table.get_unchecked_mut(entry) };
                    to[0] += products[corner][i][0];
                    to[1] += products[corner][i][1];
                }
            }
        }
    }
}

/// The derivatives by some points.
pub(super) struct PointGradient<'a> {
    pub(super) levels: &'a [Level],
    pub(super) values: &'a [f32],
    pub(super) points: Columns<'a>,
    /// `[points, features]`
    pub(super) grad: &'a [f32],
    pub(super) features: usize,
    pub(super) to: &'a mut [[f32; 3]],
}

impl Job for PointGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let features = self.features;
        self.to.fill([0.0; 3]);
        for (l, level) in self.levels.iter().enumerate() {
            let table = level.table(self.values);
            let grads = self.grad.chunks(LANES * features);
            for (block, (grad, to)) in grads.zip(self.to.chunks_mut(LANES)).enumerate() {
                let cells = Cells::of(level, self.points.block(block));
                let mut grads = [[0.0; LANES]; FEATURES];
                for (i, grad) in grad.chunks_exact(features).enumerate() {
                    grads[0][i] = grad[FEATURES * l];
                    grads[1][i] = grad[FEATURES * l + 1];
                }
                let mut slopes = [[0.0; LANES]; 3];
                for corner in 0..CORNERS {
                    // SAFETY: jobs only run for a set that the processor has; the table is as long as
                    // the level.
                    let pairs = unsafe { L::pairs(table.as_ptr(), &cells.entries[corner]) };
                    let mut values = [0.0; LANES];
                    for i in 0..LANES {
                        values[i] = pairs[0][i] * grads[0][i] + pairs[1][i] * grads[1][i];
                    }
                    for axis in 0..3 {
                        cells.add_slopes(corner, axis, &values, &mut slopes[axis]);
                    }
                }
                for (i, to) in to.iter_mut().enumerate() {
                    for axis in 0..3 {
                        to[axis] += slopes[axis][i] * level.resolution as f32;
                    }
                }
            }
        }
    }
}
