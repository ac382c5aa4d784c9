//! Volume rendering along rays [Max95], whose samples lie one after the other: weights of the
//! samples, and sums with these weights; colour, depth and normals are all such sums.
//! Leaves out what lies behind: a background has the final transmittance as its weight.

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
    for (ray, left) in transmittance.iter_mut().enumerate() {
        *left = 1.0;
        for i in samples(offsets, ray) {
            let opacity = -(-density[i] * lengths[i]).exp_m1();
            weights[i] = *left * opacity;
            *left *= 1.0 - opacity;
        }
    }
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
    for (ray, last) in transmittance.iter().enumerate() {
        // What is left after sample i, and the value of all that lies behind it.
        let (mut left, mut behind) = (*last, by_transmittance[ray] * last);
        for i in samples(offsets, ray).rev() {
            to[i] = lengths[i] * (left * by_weights[i] - behind);
            left += weights[i];
            behind += weights[i] * by_weights[i];
        }
    }
}

/// The sums of `values`, `[S, C]`, times `weights`, `[S]`, of each ray, to `to`, `[R, C]`.
///
/// # Panics
/// If the lengths do not fit together, or `offsets` do not rise from 0 to S.
pub fn accumulate(offsets: &[u32], weights: &[f32], values: &[f32], to: &mut [f32]) {
    let channels = channels(offsets, weights, values, to);
    for (ray, to) in to.chunks_exact_mut(channels).enumerate() {
        to.fill(0.0);
        for i in samples(offsets, ray) {
            for (to, value) in to.iter_mut().zip(&values[i * channels..]) {
                *to += weights[i] * value;
            }
        }
    }
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
    for (ray, grad) in grad.chunks_exact(channels).enumerate() {
        for i in samples(offsets, ray) {
            for (c, grad) in grad.iter().enumerate() {
                by_weights[i] += grad * values[i * channels + c];
                by_values[i * channels + c] = grad * weights[i];
            }
        }
    }
}

fn samples(offsets: &[u32], ray: usize) -> std::ops::Range<usize> {
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
