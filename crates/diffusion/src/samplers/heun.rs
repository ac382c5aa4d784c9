//! Heun: the mean of the slopes at both ends of a step, order 2. [Karras22] algorithm 1.
//! Two evaluations a step, one for the step to zero.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, slope, toward};

/// x [B, C, H, W] at the first level of `levels`, walked down to the last.
pub fn heun(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        x = heun_step(net, x, denoised, step.sigma, step.next);
    }
    Ok(x)
}

/// One step of [Karras22] algorithm 1, lines 4 to 8, from a given first evaluation.
pub(crate) fn heun_step(
    net: &dyn Denoise,
    x: Tensor<4>,
    denoised: Tensor<4>,
    sigma: f64,
    next: f64,
) -> Tensor<4> {
    let there = toward(x.clone(), denoised.clone(), next / sigma);
    if next == 0.0 {
        return there;
    }
    let denoised_there = net.denoise(there.clone(), Sigma(next));
    let slopes = slope(x.clone(), denoised, sigma) + slope(there, denoised_there, next);
    x + slopes.mul_scalar(0.5 * (next - sigma))
}
