//! A mixture of Gaussians, every value on its own: the exact denoiser, the exact way of the probability flow.

use burn::tensor::{Tensor, TensorData};
use dreamsmith_base::Stream;
use dreamsmith_diffusion::denoise::Denoise;
use dreamsmith_diffusion::level::Sigma;

use crate::setting::{device, values};

/// (weight, mean, std) of each component.
const COMPONENTS: [(f64, f64, f64); 3] = [(0.5, -0.7, 0.3), (0.3, 0.4, 0.35), (0.2, 0.9, 0.25)];

/// D(x; sigma) = E[x0 | x], computed in f64.
pub struct Mixture;

/// Not the mean of x0 but the end of the flow line through (x, sigma): an exact consistency model.
pub struct FlowEnd;

impl Denoise for Mixture {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        each(x, |value| mean_of_x0(value, sigma.0))
    }
}

impl Denoise for FlowEnd {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        each(x, |value| flow(value, sigma.0, 1e-3, 200))
    }
}

fn each(x: Tensor<4>, f: impl Fn(f64) -> f64) -> Tensor<4> {
    let shape = x.dims();
    let results: Vec<f32> = values(x)
        .into_iter()
        .map(|value| f(f64::from(value)) as f32)
        .collect();
    Tensor::from_data(TensorData::new(results, shape), &device())
}

/// [Karras22] appendix B: each component's own mean, weighted by how likely it made x.
fn mean_of_x0(x: f64, sigma: f64) -> f64 {
    let (mut total, mut sum) = (0.0, 0.0);
    for (weight, mean, std) in COMPONENTS {
        let variance = std * std + sigma * sigma;
        let likely = weight * (-0.5 * (x - mean).powi(2) / variance).exp() / variance.sqrt();
        total += likely;
        sum += likely * (mean * sigma * sigma + x * std * std) / variance;
    }
    // Far out every component may underflow; x is noise there.
    if total > 0.0 { sum / total } else { 0.0 }
}

/// The probability flow dx/dlog(sigma) = x - D(x; sigma) from `sigma` to `next`: classic Runge-Kutta in f64.
pub fn flow(mut x: f64, sigma: f64, next: f64, steps: usize) -> f64 {
    let h = (next / sigma).ln() / steps as f64;
    for step in 0..steps {
        let at = |part: f64| sigma * ((step as f64 + part) * h).exp();
        let slope = |x: f64, part: f64| x - mean_of_x0(x, at(part));
        let first = slope(x, 0.0);
        let second = slope(x + 0.5 * h * first, 0.5);
        let third = slope(x + 0.5 * h * second, 0.5);
        let fourth = slope(x + h * third, 1.0);
        x += h / 6.0 * (first + 2.0 * second + 2.0 * third + fourth);
    }
    x
}

/// x0 + sigma eps, drawn exactly.
pub fn draw(stream: &mut Stream, sigma: f64) -> f32 {
    let mut part = stream.uniform_f64();
    let component = COMPONENTS.into_iter().find(|(weight, _, _)| {
        part -= weight;
        part < 0.0
    });
    let (_, mean, std) = component.unwrap_or(COMPONENTS[0]);
    (mean + f64::from(stream.normal()) * std + f64::from(stream.normal()) * sigma) as f32
}

/// Mean, variance and fourth central moment of x0.
pub fn moments() -> (f64, f64, f64) {
    let mean: f64 = COMPONENTS
        .iter()
        .map(|(weight, mean, _)| weight * mean)
        .sum();
    let central = |f: fn(f64, f64) -> f64| -> f64 {
        COMPONENTS
            .iter()
            .map(|(weight, m, std)| weight * f(m - mean, std * std))
            .sum()
    };
    let variance = central(|d, v| d * d + v);
    let fourth = central(|d, v| d.powi(4) + 6.0 * d * d * v + 3.0 * v * v);
    (mean, variance, fourth)
}
