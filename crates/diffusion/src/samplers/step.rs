//! The formulas that samplers share: the exact move along a straight line, the slope, the ancestral split.
//! [Karras22] eq. 3, [Song21] eq. 12 and 16. Leaves out every loop.

use burn::tensor::Tensor;

use crate::denoise::{SampleStep, Watch};
use crate::level::Sigma;
use crate::levels::{Levels, Step};
use crate::sampler::SampleError;

/// x at a new level if eps stays as it is: denoised + ratio (x - denoised), ratio = next / sigma.
/// This is DDIM, [Song21] eq. 12 without noise, and one Euler step of [Karras22] eq. 3.
pub(crate) fn toward(x: Tensor<4>, denoised: Tensor<4>, ratio: f64) -> Tensor<4> {
    if ratio == 0.0 {
        return denoised;
    }
    x.mul_scalar(ratio) + denoised.mul_scalar(1.0 - ratio)
}

/// dx/dsigma = (x - denoised) / sigma, which is the estimate of eps: [Karras22] eq. 3.
pub(crate) fn slope(x: Tensor<4>, denoised: Tensor<4>, sigma: f64) -> Tensor<4> {
    (x - denoised).mul_scalar(1.0 / sigma)
}

/// x plus fresh noise of standard deviation `sigma`.
pub(crate) fn stir(x: Tensor<4>, sigma: f64, normal: Tensor<4>) -> Tensor<4> {
    x + normal.mul_scalar(sigma)
}

/// Splits a step to `next` into a deterministic one to `down` and fresh noise `up`, down^2 + up^2 = next^2.
///
/// With `eta` 1, up^2 = next^2 (sigma^2 - next^2) / sigma^2 is the variance of the forward process' posterior,
/// [Ho20] eq. 7 and [Song21] eq. 16 written in sigma; with 0 there is no noise.
pub fn ancestral(sigma: Sigma, next: Sigma, eta: f64) -> (Sigma, Sigma) {
    let ratio = next.0 / sigma.0;
    let up = (eta * next.0 * (1.0 - ratio * ratio).sqrt()).min(next.0);
    (
        Sigma((next.0 * next.0 - up * up).max(0.0).sqrt()),
        Sigma(up),
    )
}

/// Tells the watcher where the sampler is; its wish to stop is an error.
pub(crate) fn report(
    watch: &mut dyn Watch,
    levels: &Levels,
    step: Step,
    (x, denoised): (&Tensor<4>, &Tensor<4>),
) -> Result<(), SampleError> {
    let (index, total) = (step.index, levels.n_steps());
    let event = SampleStep {
        index,
        total,
        sigma: Sigma(step.sigma),
        x,
        denoised,
    };
    match watch.step(&event) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(SampleError::Stopped { step: index, total }),
    }
}
