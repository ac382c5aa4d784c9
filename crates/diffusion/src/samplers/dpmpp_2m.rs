//! DPM-Solver++(2M): the denoised image, extrapolated from two levels to the middle of a step, order 2.
//! [Lu22b] algorithm 2. One evaluation a step.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, toward};

/// x [B, C, H, W] at the first level of `levels`, walked down to the last.
pub fn dpmpp_2m(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let mut before: Option<(Tensor<4>, f64)> = None;
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        let length = step.log_length();
        // A step to zero is infinitely long; only its own denoised image is of use.
        let target = match before {
            Some((old, old_length)) if step.next > 0.0 => {
                let reach = 0.5 * length / old_length;
                denoised.clone().mul_scalar(1.0 + reach) - old.mul_scalar(reach)
            }
            _ => denoised.clone(),
        };
        x = toward(x, target, step.ratio());
        before = Some((denoised, length));
    }
    Ok(x)
}
