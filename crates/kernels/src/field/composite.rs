//! Volume rendering along rays [Max95], whose samples lie one after the other: weights of the
//! samples, and sums with these weights; colour, depth and normals are all such sums.
//! Leaves out what lies behind: a background has the final transmittance as its weight.

use std::ops::Range;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

/// Samples that are worth a thread's while.
const PART: usize = 1 << 12;

/// The weight of each sample i of a ray, and the ray's final transmittance:
///
/// opacity_i = 1 - exp(-density_i length_i), weight_i = opacity_i prod_(j < i) (1 - opacity_j),
/// transmittance = prod_j (1 - opacity_j) = 1 - sum_i weight_i.
///
/// `offsets`, `[R + 1]`, says where the samples of a ray begin and end; `density`, `lengths` and
/// `weights` are `[S]`, `transmittance` `[R]`.
///
/// # Panics
/// If the lengths do not fit together, or `offsets` do not rise from 0 to S.
pub fn render_weights(
    offsets: &[u32],
    density: &[f32],
    lengths: &[f32],
    weights: &mut [f32],
    transmittance: &mut [f32],
) {
    let n = density.len();
    check(offsets, n, transmittance.len());
    assert_eq!([lengths.len(), weights.len()], [n; 2], "samples");
    let parts = parts(offsets);
    let to = split(weights, parts.iter().map(|part| part.samples(offsets)));
    let left = split(transmittance, parts.iter().map(|part| part.0.clone()));
    let work = parts.par_iter().zip(to).zip(left).with_max_len(1);
    work.for_each(|((part, weights), transmittance)| {
        let first = part.samples(offsets).start;
        for (ray, left) in part.0.clone().zip(transmittance) {
            *left = 1.0;
            for i in samples(offsets, ray) {
                let opacity = -(-density[i] * lengths[i]).exp_m1();
                weights[i - first] = *left * opacity;
                *left *= 1.0 - opacity;
            }
        }
    });
}

/// The derivative by density of the sum of `by_weights`, `[S]`, times weights, and of
/// `by_transmittance`, `[R]`, times transmittance, to `to`, `[S]`. `weights` and `transmittance` are
/// what [`render_weights`] made.
///
/// # Panics
/// If the lengths do not fit together, or `offsets` do not rise from 0 to S.
pub fn render_weights_backward(
    offsets: &[u32],
    lengths: &[f32],
    (weights, transmittance): (&[f32], &[f32]),
    (by_weights, by_transmittance): (&[f32], &[f32]),
    to: &mut [f32],
) {
    let n = weights.len();
    check(offsets, n, transmittance.len());
    assert_eq!(
        [lengths.len(), by_weights.len(), to.len()],
        [n; 3],
        "samples"
    );
    assert_eq!(by_transmittance.len(), transmittance.len(), "rays");
    let parts = parts(offsets);
    let to = split(to, parts.iter().map(|part| part.samples(offsets)));
    parts
        .par_iter()
        .zip(to)
        .with_max_len(1)
        .for_each(|(part, to)| {
            let first = part.samples(offsets).start;
            for ray in part.0.clone() {
                // What is left after sample i, and the value of all that lies behind it.
                let mut left = transmittance[ray];
                let mut behind = by_transmittance[ray] * left;
                for i in samples(offsets, ray).rev() {
                    to[i - first] = lengths[i] * (left * by_weights[i] - behind);
                    left += weights[i];
                    behind += weights[i] * by_weights[i];
                }
            }
        });
}

/// The sums of `values`, `[S, C]`, times `weights`, `[S]`, of each ray, to `to`, `[R, C]`.
///
/// # Panics
/// If the lengths do not fit together, or `offsets` do not rise from 0 to S.
pub fn accumulate(offsets: &[u32], weights: &[f32], values: &[f32], to: &mut [f32]) {
    let channels = channels(offsets, weights, values, to);
    let parts = parts(offsets);
    let to = split(to, parts.iter().map(|part| times(&part.0, channels)));
    parts
        .par_iter()
        .zip(to)
        .with_max_len(1)
        .for_each(|(part, to)| {
            for (ray, to) in part.0.clone().zip(to.chunks_exact_mut(channels)) {
                to.fill(0.0);
                for i in samples(offsets, ray) {
                    for (to, value) in to.iter_mut().zip(&values[i * channels..]) {
                        *to += weights[i] * value;
                    }
                }
            }
        });
}

/// The derivatives of the sum of `grad`, `[R, C]`, times the sums of [`accumulate`]: by the weights
/// added to `by_weights`, `[S]`, as there may be several sums, and by the values to `by_values`,
/// `[S, C]`.
///
/// # Panics
/// If the lengths do not fit together, or `offsets` do not rise from 0 to S.
pub fn accumulate_backward(
    offsets: &[u32],
    weights: &[f32],
    values: &[f32],
    grad: &[f32],
    by_weights: &mut [f32],
    by_values: &mut [f32],
) {
    let channels = channels(offsets, weights, values, grad);
    assert_eq!(by_weights.len(), weights.len(), "samples");
    assert_eq!(by_values.len(), values.len(), "values");
    let parts = parts(offsets);
    let by_values = split(
        by_values,
        parts
            .iter()
            .map(|part| times(&part.samples(offsets), channels)),
    );
    let by_weights = split(by_weights, parts.iter().map(|part| part.samples(offsets)));
    let work = parts
        .par_iter()
        .zip(by_weights)
        .zip(by_values)
        .with_max_len(1);
    work.for_each(|((part, by_weights), by_values)| {
        let first = part.samples(offsets).start;
        for ray in part.0.clone() {
            let grad = &grad[ray * channels..][..channels];
            for i in samples(offsets, ray) {
                let values = &values[i * channels..][..channels];
                let by_values = &mut by_values[(i - first) * channels..][..channels];
                for c in 0..channels {
                    by_weights[i - first] += grad[c] * values[c];
                    by_values[c] = grad[c] * weights[i];
                }
            }
        }
    });
}

/// Rays that a thread takes at a time.
struct Part(Range<usize>);

impl Part {
    /// The samples of all its rays.
    fn samples(&self, offsets: &[u32]) -> Range<usize> {
        offsets[self.0.start] as usize..offsets[self.0.end] as usize
    }
}

/// All rays, those of about as many samples together.
fn parts(offsets: &[u32]) -> Vec<Part> {
    let (mut parts, mut first) = (vec![], 0);
    for end in 1..offsets.len() {
        let samples = (offsets[end] - offsets[first]) as usize;
        if samples >= PART || end - first >= PART || end + 1 == offsets.len() {
            parts.push(Part(first..end));
            first = end;
        }
    }
    parts
}

fn times(range: &Range<usize>, factor: usize) -> Range<usize> {
    range.start * factor..range.end * factor
}

/// The parts of `values` in `ranges`, which lie one after the other.
fn split<'a>(
    mut values: &'a mut [f32],
    ranges: impl Iterator<Item = Range<usize>>,
) -> Vec<&'a mut [f32]> {
    ranges
        .map(|range| values.split_off_mut(..range.len()).unwrap_or_default())
        .collect()
}

fn samples(offsets: &[u32], ray: usize) -> Range<usize> {
    offsets[ray] as usize..offsets[ray + 1] as usize
}

fn check(offsets: &[u32], samples: usize, rays: usize) {
    assert_eq!(offsets.len(), rays + 1, "one offset more than rays");
    assert!(offsets.is_sorted(), "offsets of rays rise");
    let ends = [offsets[0], offsets[rays]].map(|offset| offset as usize);
    assert_eq!(ends, [0, samples], "offsets begin at 0 and end at S");
}

/// Checks the shapes, and tells C, or 1 if there are no rays.
fn channels(offsets: &[u32], weights: &[f32], values: &[f32], sums: &[f32]) -> usize {
    let rays = offsets.len().saturating_sub(1);
    check(offsets, weights.len(), rays);
    let channels = sums.len() / rays.max(1);
    assert_eq!(sums.len(), rays * channels, "sums of the rays");
    assert_eq!(
        values.len(),
        weights.len() * channels,
        "values of the samples"
    );
    channels.max(1)
}
