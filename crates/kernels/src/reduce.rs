//! Sums in an order that neither the batch nor the threads change.

use crate::isa::{Isa, Job};
use crate::lanes::{LANES, Lanes};

/// The sum over images and pixels for each channel of `values`, `[B, channels, pixels]`.
pub(crate) fn channel_sums(values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    if pixels > 0 {
        for (i, values) in values.chunks_exact(pixels).enumerate() {
            sums[i % channels] += Isa::best().run(Sum(values));
        }
    }
    sums
}

/// The sum of all values.
pub(crate) struct Sum<'a>(pub(crate) &'a [f32]);

impl Job for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f32 {
        // Enough partial sums that none waits for the one before.
        let mut partial = [[0.0; LANES]; 4];
        let mut blocks = self.0.chunks_exact(4 * LANES);
        for block in &mut blocks {
            for (partial, values) in partial.iter_mut().zip(block.chunks_exact(LANES)) {
                for (partial, value) in partial.iter_mut().zip(values) {
                    *partial += value;
                }
            }
        }
        let rest: f32 = blocks.remainder().iter().sum();
        let [a, b, c, d] = partial;
        let sums: [f32; LANES] = std::array::from_fn(|l| (a[l] + b[l]) + (c[l] + d[l]));
        sums.iter().sum::<f32>() + rest
    }
}

/// The sum over rows for each column of `values`, `[rows, columns]`.
pub(crate) fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    for row in values.chunks_exact(columns.max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}
