//! DPM-Solver++(2S) with ancestral noise: [Lu22b] algorithm 1 with r = 1/2, down to the level that
//! [Song21] eq. 16 leaves for fresh noise. Two evaluations a step, one for the step to zero.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{ancestral, report, stir, toward};

/// x [B, C, H, W] walked down `levels`; `eta` 1 is fully ancestral, 0 is plain DPM-Solver++(2S).
pub fn dpmpp_2s_ancestral(
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
        if down.0 == 0.0 {
            x = denoised;
        } else {
            let middle = (step.sigma * down.0).sqrt();
            let halfway = toward(x.clone(), denoised, middle / step.sigma);
            let denoised = net.denoise(halfway, Sigma(middle));
            x = toward(x, denoised, down.0 / step.sigma);
        }
        if up.0 > 0.0 {
            x = stir(x, up.0, noise.normal(shape, &device));
        }
    }
    Ok(x)
}
