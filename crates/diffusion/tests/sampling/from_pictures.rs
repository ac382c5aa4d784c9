//! Starts from a picture, whole and masked, on Gaussian data, where the result of every sampler is known.

use burn::tensor::{Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::denoise::{Denoise, SampleStep, Unwatched};
use dreamsmith_diffusion::inpaint::{Inpainted, Resampled};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::noise::NativeNoise;
use dreamsmith_diffusion::sampler::{SampleError, Sampler};
use std::ops::ControlFlow;

use crate::setting::{device, values};

/// Variance of each value of the data.
const VARIANCE: f64 = 0.25;
/// Pairs of values in a picture.
const PAIRS: usize = 4096;
const SHAPE: [usize; 4] = [1, 2, 64, 64];
/// Standard errors that a moment may be off: one of 16 thousand such is more, and every run draws the same.
const ERRORS: f64 = 4.0;

/// D(x; sigma) of pairs of Gaussians, one on each channel: E[x0 | x] in the basis of their sum and difference.
struct Pairs {
    correlation: f64,
}

impl Denoise for Pairs {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let shrink = |variance: f64| variance / (variance + sigma.0 * sigma.0);
        let (sum, difference) = (
            shrink(VARIANCE * (1.0 + self.correlation)),
            shrink(VARIANCE * (1.0 - self.correlation)),
        );
        let other = x.clone().flip([1]);
        x.mul_scalar(0.5 * (sum + difference)) + other.mul_scalar(0.5 * (sum - difference))
    }
}

fn levels(first: f64, steps: usize) -> Levels {
    let last: f64 = 0.01;
    let level = |i: usize| first * (last / first).powf(i as f64 / (steps - 1) as f64);
    let falling = (0..steps).map(|i| Sigma(level(i)));
    Levels::new(falling.chain([Sigma(0.0)]).collect()).unwrap()
}

/// Every sampler, and whether it draws noise on its way. That of edm would forget what it started from.
fn samplers() -> impl Iterator<Item = (Sampler, bool)> {
    const STOCHASTIC: [&str; 5] = [
        "ddpm",
        "euler-ancestral",
        "dpmpp-2s-ancestral",
        "dpmpp-2m-sde",
        "lcm",
    ];
    Sampler::NAMES.into_iter().map(|name| {
        let sampler = match name {
            "edm" => "edm:amount=0",
            name => name,
        };
        (sampler.parse().unwrap(), STOCHASTIC.contains(&name))
    })
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

/// Errs in words unless mean and variance are those expected of independent Gaussians.
fn fault(found: &[f32], expected_mean: f64, expected_variance: f64) -> Option<String> {
    let each = || found.iter().map(|&x| f64::from(x));
    let found_mean = mean(each());
    let found_variance = mean(each().map(|x| (x - found_mean).powi(2)));
    let n = found.len() as f64;
    let fits = (found_mean - expected_mean).abs() < ERRORS * (expected_variance / n).sqrt()
        && (found_variance - expected_variance).abs()
            < ERRORS * expected_variance * (2.0 / n).sqrt();
    (!fits).then(|| {
        format!(
            "mean {found_mean:.4} and variance {found_variance:.4}, expected {expected_mean:.4} and {expected_variance:.4}"
        )
    })
}

#[test]
fn a_noised_picture_becomes_what_its_posterior_says() {
    const PICTURE: f64 = 0.4;
    let levels = levels(1.0, 400);
    // E[x0 | x] = kept x, and Var[x0 | x] = kept sigma^2.
    let kept = VARIANCE / (VARIANCE + 1.0);
    let net = Pairs { correlation: 0.0 };
    for (sampler, stochastic) in samplers() {
        let mut noise = NativeNoise::new(&[3]);
        let start = levels.noised(Tensor::full(SHAPE, PICTURE, &device()), &mut noise);
        let x = sampler.run(&net, start, &levels, &mut noise, &mut Unwatched);
        let (mean, variance) = match (sampler.name(), stochastic) {
            // Its guess should be the end of the flow, but is the mean of x0.
            ("lcm", _) => continue,
            // A draw from the posterior of a start that is itself spread by sigma 1.
            (_, true) => (kept * PICTURE, kept * kept + kept),
            // The flow of a Gaussian scales the start by sqrt(kept).
            (_, false) => (kept.sqrt() * PICTURE, kept),
        };
        let fault = fault(&values(x.unwrap()), mean, variance);
        assert_eq!(fault, None, "{}", sampler.name());
    }
}

/// A known channel and one to draw, from a start at the first of `levels`.
fn masked(net: Pairs) -> (Inpainted<Pairs>, Tensor<4>, Vec<f32>) {
    let mut stream = Stream::new(4, Purpose::Test, 0);
    let std = VARIANCE.sqrt() as f32;
    let known: Vec<f32> = stream.normals(PAIRS).iter().map(|x| x * std).collect();
    let picture = tensor([known.clone(), vec![0.0; PAIRS]].concat());
    let mask = tensor([vec![0.0; PAIRS], vec![1.0; PAIRS]].concat());
    (Inpainted::new(net, picture.clone(), mask), picture, known)
}

fn tensor(values: Vec<f32>) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, SHAPE), &device())
}

#[test]
fn the_known_part_is_noised_at_each_level_and_stays() {
    let levels = levels(10.0, 60);
    let (net, picture, known) = masked(Pairs { correlation: 0.0 });
    for (sampler, _) in samplers() {
        let name = sampler.name();
        let mut noise = NativeNoise::new(&[5]);
        let start = levels.noised(picture.clone(), &mut noise);
        let mut watch = |event: &SampleStep<'_>| {
            let x = values(event.x.clone());
            let noise: Vec<f32> = x.iter().zip(&known).map(|(x, known)| x - known).collect();
            let fault = fault(&noise, 0.0, event.sigma.0 * event.sigma.0);
            assert_eq!(fault, None, "{name} at {}", event.sigma.0);
            ControlFlow::Continue(())
        };
        let x = sampler.run(&net, start, &levels, &mut noise, &mut watch);
        let pairs = values(x.unwrap()).into_iter().zip(&known);
        let off = pairs.map(|(x, known)| (x - known).abs());
        // What 60 steps from values of about 10 round in f32; a hundredth of a byte.
        let off = off.fold(0.0, f32::max);
        assert!(off < 1e-4, "{name}: {off}");
    }
}

#[test]
fn an_independent_part_is_drawn_as_without_a_mask() {
    let levels = levels(10.0, 400);
    let (net, picture, _) = masked(Pairs { correlation: 0.0 });
    for (sampler, _) in samplers().filter(|(sampler, _)| sampler.name() != "lcm") {
        let mut noise = NativeNoise::new(&[6]);
        let start = levels.noised(picture.clone(), &mut noise);
        let x = sampler.run(&net, start, &levels, &mut noise, &mut Unwatched);
        // The start has the variance 100 and not 100.25: a quarter of a percent, a tenth of what is allowed.
        let fault = fault(&values(x.unwrap())[PAIRS..], 0.0, VARIANCE);
        assert_eq!(fault, None, "{}", sampler.name());
    }
}

/// The slope of what was drawn on what is known.
fn slope(sampler: &str, times: u32, correlation: f64) -> f64 {
    let levels = levels(10.0, 25);
    let (net, picture, known) = masked(Pairs { correlation });
    let mut noise = NativeNoise::new(&[7]);
    let start = levels.noised(picture, &mut noise);
    let sampler = Resampled {
        sampler: sampler.parse().unwrap(),
        times,
    };
    let x = sampler.run(&net, start, &levels, &mut noise, &mut Unwatched);
    let x = values(x.unwrap());
    let pairs = || known.iter().zip(&x[PAIRS..]);
    let product = mean(pairs().map(|(a, b)| f64::from(a * b)));
    product / mean(known.iter().map(|&a| f64::from(a * a)))
}

#[test]
fn more_times_come_closer_to_the_truth() {
    const TRUTH: f64 = 0.8;
    for sampler in ["dpmpp-2m", "heun", "euler-ancestral"] {
        let slopes = [1, 4, 16].map(|times| slope(sampler, times, TRUTH));
        assert!(slopes[0] < 0.6, "{sampler}: {slopes:?}");
        assert!(slopes[1] > slopes[0] + 0.15, "{sampler}: {slopes:?}");
        assert!(slopes[2] > TRUTH - 0.1, "{sampler}: {slopes:?}");
    }
}

#[test]
fn every_time_is_seen_and_may_be_the_last() {
    let levels = levels(1.0, 3);
    let (net, picture, _) = masked(Pairs { correlation: 0.0 });
    let sampler = Resampled {
        sampler: Sampler::Euler {},
        times: 3,
    };
    let mut seen = vec![];
    let mut watch = |event: &SampleStep<'_>| {
        seen.push((event.index, event.total));
        match event.index {
            5 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let noise = &mut NativeNoise::new(&[8]);
    let ended = sampler.run(&net, picture, &levels, noise, &mut watch);
    assert_eq!(
        ended.unwrap_err(),
        SampleError::Stopped { step: 5, total: 7 }
    );
    assert_eq!(seen, (0..6).map(|i| (i, 7)).collect::<Vec<_>>());
    assert_eq!(sampler.n_steps(&levels), 7);
}
