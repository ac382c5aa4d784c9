//! DDPM: ancestral sampling with the forward process' posterior, [Ho20] algorithm 2 and eq. 7, any step length.
//! Leaves out learned variances.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{ancestral, report, stir, toward};
use serde::{Deserialize, Serialize};

/// The variance of one reverse step; [Ho20] section 3.2 finds both good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variance {
    /// The posterior's, beta_tilde: right when x0 is known.
    #[default]
    FixedSmall,
    /// beta itself: right when x0 is unit normal.
    FixedLarge,
}

impl Variance {
    /// Standard deviation of the noise that a step adds, in the coordinates x = x0 + sigma eps.
    ///
    /// beta = 1 - alpha_bar(sigma) / alpha_bar(next) = (sigma^2 - next^2) / (1 + sigma^2), and dividing
    /// by alpha_bar(next) leads from variance-preserving coordinates to ours.
    pub fn std(self, sigma: Sigma, next: Sigma) -> f64 {
        match self {
            Self::FixedSmall => ancestral(sigma, next, 1.0).1.0,
            Self::FixedLarge => {
                let (s2, n2) = (sigma.0 * sigma.0, next.0 * next.0);
                ((s2 - n2) * (1.0 + n2) / (1.0 + s2)).sqrt()
            }
        }
    }
}

/// x [B, C, H, W] walked down `levels`; the last step, to zero, adds no noise.
pub fn ddpm(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    variance: Variance,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let (shape, device) = (x.dims(), x.device());
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        // The posterior's mean, [Ho20] eq. 7, is x0 + (next / sigma)^2 (x - x0) in these coordinates.
        x = toward(x, denoised, step.ratio() * step.ratio());
        if step.next > 0.0 {
            let std = variance.std(Sigma(step.sigma), Sigma(step.next));
            x = stir(x, std, noise.normal(shape, &device));
        }
    }
    Ok(x)
}
