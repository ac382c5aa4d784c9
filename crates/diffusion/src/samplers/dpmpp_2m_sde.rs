//! SDE-DPM-Solver++(2M) of [Lu22b]: DPM-Solver++(2M) for the reverse stochastic equation, and, by eta, for those
//! between it and the deterministic one; one evaluation a step. Leaves out order 3.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::step::{report, stir};
use serde::{Deserialize, Serialize};

/// How the change of the denoised image enters a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// As if the step saw the denoised image of its middle.
    #[default]
    Midpoint,
    /// Integrated exactly for a denoised image linear in -ln sigma.
    Heun,
}

/// How much noise, and which second-order term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SdeOptions {
    /// 1 solves the reverse equation of the paper; 0 is deterministic.
    pub eta: f64,
    /// The second-order term.
    pub correction: Correction,
}

/// x [B, C, H, W] walked down `levels`.
pub fn dpmpp_2m_sde(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    options: SdeOptions,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    let (shape, device) = (x.dims(), x.device());
    let mut before: Option<(Tensor<4>, f64)> = None;
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        let length = step.log_length();
        if step.next == 0.0 {
            x = denoised;
            continue;
        }
        // With h the length: x <- e^(-h - eta h) x + (1 - e^(-h - eta h)) denoised + noise.
        let decay = length * (1.0 + options.eta);
        let gain = -(-decay).exp_m1();
        let mut target = denoised.clone().mul_scalar(gain);
        if let Some((old, old_length)) = before {
            let weight = match options.correction {
                Correction::Midpoint => 0.5 * gain,
                Correction::Heun => 1.0 - gain / decay,
            };
            let change = denoised.clone() - old;
            target = target + change.mul_scalar(weight * length / old_length);
        }
        x = x.mul_scalar((-decay).exp()) + target;
        let std = step.next * (-(-2.0 * options.eta * length).exp_m1()).sqrt();
        if std > 0.0 {
            x = stir(x, std, noise.normal(shape, &device));
        }
        before = Some((denoised, length));
    }
    Ok(x)
}
