//! DPM-Solver-2: the slope halfway, order 2. [Lu22] algorithm 1 in sigma, r = 1/2; halfway in log sigma
//! whatever the levels were spaced by. Two evaluations a step, one for the step to zero.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, slope, toward};

/// x [B, C, H, W] at the first level of `levels`, walked down to the last.
pub fn dpm2(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        if step.next == 0.0 {
            x = denoised;
            continue;
        }
        let middle = (step.sigma * step.next).sqrt();
        let halfway = toward(x.clone(), denoised, middle / step.sigma);
        let denoised = net.denoise(halfway.clone(), Sigma(middle));
        x = x + slope(halfway, denoised, middle).mul_scalar(step.next - step.sigma);
    }
    Ok(x)
}
