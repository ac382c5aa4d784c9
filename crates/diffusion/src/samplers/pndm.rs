//! PNDM: Adams-Bashforth of order 4 with equal-step weights, each combined eps moved exactly, [Liu22] section 3.
//! Levels should be equally spaced in timesteps: the weights are exact only there.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::levels::Step;
use crate::sampler::SampleError;
use crate::samplers::step::{report, slope};
use serde::{Deserialize, Serialize};

/// How the first steps make up for the slopes they have not got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUp {
    /// One improved Euler step, then Adams-Bashforth of rising order; one evaluation more than steps.
    #[default]
    Multistep,
    /// Three steps of the classic Runge-Kutta method, four evaluations each.
    RungeKutta,
}

/// Steps with too short a past for order 4.
const WARM_STEPS: usize = 3;

/// x [B, C, H, W] at the first level of `levels`, walked down to the last.
pub fn pndm(
    net: &dyn Denoise,
    mut x: Tensor<4>,
    levels: &Levels,
    warm_up: WarmUp,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    // The newest eps comes first.
    let mut past = VecDeque::with_capacity(WARM_STEPS + 2);
    for step in levels.steps() {
        let denoised = net.denoise(x.clone(), Sigma(step.sigma));
        report(watch, levels, step, (&x, &denoised))?;
        past.push_front(slope(x.clone(), denoised, step.sigma));
        past.truncate(WARM_STEPS + 1);
        let eps = match warm_up {
            WarmUp::RungeKutta if step.index < WARM_STEPS && step.next > 0.0 => {
                runge_kutta(net, &x, past[0].clone(), step, levels.halfway(step).0)
            }
            WarmUp::Multistep if step.index == 0 && step.next > 0.0 => {
                let there = travel(&x, &past[0], step.sigma, step.next);
                (past[0].clone() + eps_at(net, there, step.next)).mul_scalar(0.5)
            }
            _ => adams_bashforth(&past),
        };
        x = travel(&x, &eps, step.sigma, step.next);
    }
    Ok(x)
}

/// The transfer part of [Liu22]: x after eps has taken it from `sigma` to `next`.
fn travel(x: &Tensor<4>, eps: &Tensor<4>, sigma: f64, next: f64) -> Tensor<4> {
    x.clone() + eps.clone().mul_scalar(next - sigma)
}

fn eps_at(net: &dyn Denoise, x: Tensor<4>, sigma: f64) -> Tensor<4> {
    let denoised = net.denoise(x.clone(), Sigma(sigma));
    slope(x, denoised, sigma)
}

/// The classic Runge-Kutta mean of four eps, the gradient part of [Liu22]'s pseudo Runge-Kutta method.
fn runge_kutta(
    net: &dyn Denoise,
    x: &Tensor<4>,
    first: Tensor<4>,
    step: Step,
    halfway: f64,
) -> Tensor<4> {
    let second = eps_at(net, travel(x, &first, step.sigma, halfway), halfway);
    let third = eps_at(net, travel(x, &second, step.sigma, halfway), halfway);
    let fourth = eps_at(net, travel(x, &third, step.sigma, step.next), step.next);
    (first + fourth).mul_scalar(1.0 / 6.0) + (second + third).mul_scalar(1.0 / 3.0)
}

/// Adams-Bashforth with as many eps as there are, newest first; with four the gradient part of [Liu22]'s linear multistep method.
fn adams_bashforth(past: &VecDeque<Tensor<4>>) -> Tensor<4> {
    let weights: &[f64] = match past.len() {
        1 => &[1.0],
        2 => &[3.0 / 2.0, -1.0 / 2.0],
        3 => &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        _ => &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    };
    let first = past[0].clone().mul_scalar(weights[0]);
    let rest = past.iter().zip(weights).skip(1);
    rest.fold(first, |sum, (eps, &weight)| {
        sum + eps.clone().mul_scalar(weight)
    })
}
