//! DDIM: straight lines, with a share eta of the posterior's noise. [Song21] eq. 12 and 16.
//! Eps is taken from the denoised image, after any threshold. Leaves out the inverse walk.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{ancestral, report, stir, toward};

/// x [B, C, H, W] walked down `levels`; `eta` 0 is deterministic, 1 is ancestral sampling.
pub fn ddim(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    eta: f64,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let (shape, device) = (x.dims(), x.device());
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        let (down, up) = ancestral(Sigma(step.sigma), Sigma(step.next), eta);
        x = toward(x, denoised, down.0 / step.sigma);
        if up.0 > 0.0 {
            x = stir(x, up.0, noise.normal(shape, &device));
        }
    }
    Ok(x)
}
