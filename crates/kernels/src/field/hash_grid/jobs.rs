//! What one thread does with the cells of its points, sixteen points at a time.

use super::cells::{CORNERS, Cells, Columns};
use super::{FEATURES, Level};
use crate::isa::Job;
use crate::lanes::{LANES, Lanes};

/// The features of some points.
pub(super) struct Encode<'a> {
    pub(super) levels: &'a [Level],
    pub(super) values: &'a [f32],
    pub(super) points: Columns<'a>,
    pub(super) features: usize,
    /// `[points, features]`
    pub(super) to: &'a mut [f32],
}

impl Job for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let features = self.features;
        for (l, level) in self.levels.iter().enumerate() {
            let table = level.table(self.values);
            for (block, to) in self.to.chunks_mut(LANES * features).enumerate() {
                let cells = Cells::of(level, self.points.block(block));
                let mut sums = [[0.0; LANES]; FEATURES];
                for corner in 0..CORNERS {
                    let weights = cells.weights(corner);
                    // SAFETY: jobs only run for a set that the processor has; the table is as long as
                    // the level.
                    let pairs = unsafe { L::pairs(table.as_ptr(), &cells.entries[corner]) };
                    for f in 0..FEATURES {
                        for i in 0..LANES {
                            sums[f][i] = L::mul_add(weights[i], pairs[f][i], sums[f][i]);
                        }
                    }
                }
                for (i, to) in to.chunks_exact_mut(features).enumerate() {
                    to[FEATURES * l] = sums[0][i];
                    to[FEATURES * l + 1] = sums[1][i];
                }
            }
        }
        for to in self.to.chunks_exact_mut(features) {
            to[FEATURES * self.levels.len()..].fill(0.0);
        }
    }
}

/// The derivative by the values of one level.
pub(super) struct Scatter<'a> {
    pub(super) level: &'a Level,
    pub(super) points: &'a Columns<'a>,
    /// Those of the level's features, from the first point's on, `features` apart.
    pub(super) grad: &'a [f32],
    pub(super) features: usize,
    pub(super) to: &'a mut [f32],
}

impl Job for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let table = self.to.as_chunks_mut::<FEATURES>().0;
        assert!(table.len() >= self.level.entries);
        for (block, grad) in self.grad.chunks(LANES * self.features).enumerate() {
            let cells = Cells::of(self.level, self.points.block(block));
            let mut grads = [[0.0; LANES]; FEATURES];
            let n = grad.len().div_ceil(self.features);
            for (i, grad) in grad.chunks(self.features).enumerate() {
                grads[0][i] = grad[0];
                grads[1][i] = grad[1];
            }
            let mut products = [[[0.0; FEATURES]; LANES]; CORNERS];
            for corner in 0..CORNERS {
                let weights = cells.weights(corner);
                for i in 0..LANES {
                    products[corner][i] = [weights[i] * grads[0][i], weights[i] * grads[1][i]];
                }
            }
            for i in 0..n {
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
