//! The EDM stochastic sampler: raise the level a little with fresh noise, then a Heun step.
//! [Karras22] algorithm 2.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::heun::heun_step;
use crate::samplers::step::{report, stir};
use serde::{Deserialize, Serialize};

/// The noise that is added before each step, [Karras22] table 5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Churn {
    /// S_churn: its amount over all steps; 0 is the deterministic Heun sampler.
    pub amount: f64,
    /// S_tmin: no churn below this level.
    pub sigma_min: f64,
    /// S_tmax: no churn above this level.
    pub sigma_max: f64,
    /// S_noise: the standard deviation of the noise, slightly above 1 to make up for lost detail.
    pub noise_scale: f64,
}

impl Default for Churn {
    /// The paper's choice for ImageNet at 64 x 64.
    fn default() -> Self {
        Self {
            amount: 40.0,
            sigma_min: 0.05,
            sigma_max: 50.0,
            noise_scale: 1.003,
        }
    }
}

impl Churn {
    /// gamma of [Karras22] algorithm 2, line 1.
    fn gamma(&self, sigma: f64, n_steps: usize) -> f64 {
        if (self.sigma_min..=self.sigma_max).contains(&sigma) {
            (self.amount / n_steps as f64).min(std::f64::consts::SQRT_2 - 1.0)
        } else {
            0.0
        }
    }
}

/// x [B, C, H, W] walked down `levels`.
pub fn edm(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    churn: &Churn,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let (shape, device) = (x.dims(), x.device());
    for step in levels.steps() {
        let gamma = churn.gamma(step.sigma, levels.n_steps());
        let raised = step.sigma * (1.0 + gamma);
        if gamma > 0.0 {
            let added = (raised * raised - step.sigma * step.sigma).sqrt();
            x = stir(x, added * churn.noise_scale, noise.normal(shape, &device));
        }
        let denoised = net.denoise(x.clone(), Sigma(raised));
        report(watch, levels, step, (&x, &denoised))?;
        x = heun_step(net, x, denoised, raised, step.next);
    }
    Ok(x)
}
