//! Multistep consistency sampling: jump to x0, add the next level's noise. [Luo23] algorithm 3.
//! Leaves out the boundary scalings of a consistency model, which are below f32 except at timesteps near 0.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, stir};

/// x [B, C, H, W] walked down `levels`, a few of them; `net` must be a consistency model.
pub fn lcm(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let (shape, device) = (x.dims(), x.device());
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        x = denoised;
        if step.next > 0.0 {
            x = stir(x, step.next, noise.normal(shape, &device));
        }
    }
    Ok(x)
}
