//! Linear multistep (Adams-Bashforth) with exact weights for unequal steps in sigma, up to order 4.
//! [Karras22] eq. 3 for the slope. One evaluation a step; the first steps have the order their past allows.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, slope};

/// The highest order: two Gauss-Legendre points integrate its cubic polynomials exactly.
pub const MAX_ORDER: usize = 4;

/// x [B, C, H, W] walked down `levels`, with the slopes of the last `order` levels, 1 to [`MAX_ORDER`].
pub fn lms(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    order: usize,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let sigmas: Vec<f64> = levels.sigmas().map(|sigma| sigma.0).collect();
    // The newest slope comes first, as do the weights.
    let mut slopes = VecDeque::with_capacity(order + 1);
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        slopes.push_front(slope(x.clone(), denoised, step.sigma));
        slopes.truncate(order);
        let known = &sigmas[step.index + 1 - slopes.len()..=step.index];
        for (slope, weight) in slopes.iter().zip(weights(known, step.next)) {
            x = x + slope.clone().mul_scalar(weight);
        }
    }
    Ok(x)
}

/// Weights of the slopes at the falling levels `known`, newest (last) first, for a step from the last to `next`:
/// the integrals of their Lagrange polynomials. At most [`MAX_ORDER`] levels.
pub fn weights(known: &[f64], next: f64) -> Vec<f64> {
    let Some(&sigma) = known.last() else {
        return Vec::new();
    };
    let (middle, half) = (0.5 * (sigma + next), 0.5 * (next - sigma));
    let offset = half / 3.0_f64.sqrt();
    let lagrange = |j: usize, at: f64| -> f64 {
        let others = (0..known.len()).filter(|&k| k != j);
        others
            .map(|k| (at - known[k]) / (known[j] - known[k]))
            .product()
    };
    let integral = |j| half * (lagrange(j, middle - offset) + lagrange(j, middle + offset));
    (0..known.len()).rev().map(integral).collect()
}
