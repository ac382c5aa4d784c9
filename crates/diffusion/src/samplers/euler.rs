//! Euler: one straight line a step, order 1. [Karras22] algorithm 1 without its correction;
//! the same numbers as DDIM without noise, [Song21] eq. 12.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, toward};

/// x [B, C, H, W] at the first level of `levels`, walked down to the last.
pub fn euler(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        x = toward(x, denoised, step.ratio());
    }
    Ok(x)
}
