//! Sums in an order that neither the batch nor the threads change.

use crate::isa::{Isa, Job};
use crate::lanes::{LANES, Lanes};
use crate::parallel;
use crate::scratch::Shared;

/// Values that are worth another thread's being woken.
const VALUES_OF_A_JOB: usize = 1 << 18;

/// The sum over images and pixels for each channel of `values`, `[B, channels, pixels]`.
pub(crate) fn channel_sums(values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    if values.is_empty() {
        return sums;
    }
    let to = Shared::of(&mut sums);
    // A few channels at a time are worth a thread's while.
    let batch = values.len() / (channels * pixels);
    let each = (VALUES_OF_A_JOB / (batch * pixels)).max(1);
    parallel::for_each(channels.div_ceil(each), |job| {
        for channel in job * each..channels.min((job + 1) * each) {
            let image = |i: usize| &values[(i * channels + channel) * pixels..][..pixels];
            let sum = (0..batch).map(|i| Isa::best().run(Sum(image(i)))).sum();
            // SAFETY: each job has its own channels.
            unsafe { *to.at(channel) = sum };
        }
    });
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
