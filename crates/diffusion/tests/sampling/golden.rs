//! The reference implementation's own test values. Their tests scale the model input of the Euler family and
//! then feed the scaled sample onward: that quirk is written here, not in the library.

use std::collections::VecDeque;

use burn::tensor::Tensor;
use dreamsmith_base::TorchRng;
use dreamsmith_diffusion::denoise::{Denoise, Denoiser, Noise, Unwatched};
use dreamsmith_diffusion::level::{Schedule, Sigma, Timestep};
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::samplers::ddim::ddim;
use dreamsmith_diffusion::samplers::ddpm::{Variance, ddpm};
use dreamsmith_diffusion::samplers::dpmpp_2m::dpmpp_2m;
use dreamsmith_diffusion::samplers::euler::euler;
use dreamsmith_diffusion::samplers::euler_ancestral::euler_ancestral;
use dreamsmith_diffusion::samplers::lms;
use dreamsmith_diffusion::samplers::pndm::{WarmUp, pndm};
use dreamsmith_diffusion::samplers::step::ancestral;
use dreamsmith_diffusion::samplers::unipc::{Variant, unipc};
use dreamsmith_diffusion::spacing::{SigmaRange, Spacing};
use dreamsmith_diffusion::threshold::{Threshold, Thresholded};

use crate::setting::{Fixed, OneGenerator, Ratio, SHAPE, Silent, abs_sum, falling, linear, sample};

/// The tolerance the reference gives its own sums and means.
fn assert_golden(x: Tensor<4>, sum: f64, mean: f64) {
    let found = abs_sum(x);
    let count = SHAPE.iter().product::<usize>() as f64;
    assert!(
        (found - sum).abs() < 1e-2,
        "sum of |x| is {found}, expected {sum}"
    );
    assert_mean(found / count, mean);
}

fn assert_mean(found: f64, mean: f64) {
    assert!(
        (found - mean).abs() < 1e-3,
        "mean of |x| is {found}, expected {mean}"
    );
}

fn clipped(schedule: &Schedule) -> impl Denoise {
    let net = Denoiser::discrete(Ratio, schedule.clone(), Prediction::Epsilon);
    Thresholded::new(net, Threshold::Static { bound: 1.0 }).unwrap()
}

/// From variance-preserving coordinates to ours and back.
fn exploded(x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
    x.mul_scalar(1.0 / sigma.alpha())
}

fn preserved(x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
    x.mul_scalar(sigma.alpha())
}

#[test]
fn ddim_ten_steps() {
    let schedule = linear(1000);
    let levels = Spacing::Leading { offset: 0 }
        .levels(10, &schedule)
        .unwrap();
    let x = exploded(sample(), levels.first());
    let x = ddim(
        &clipped(&schedule),
        x,
        &levels,
        0.0,
        &mut Silent,
        &mut Unwatched,
    )
    .unwrap();
    assert_golden(x, 172.0067, 0.223967);
}

#[test]
fn ddim_from_a_noised_sample() {
    let schedule = linear(1000);
    let levels = Spacing::Leading { offset: 0 }
        .levels(10, &schedule)
        .unwrap()
        .from_strength(0.2)
        .unwrap();
    assert_eq!(levels.first(), schedule.sigma(Timestep(100)));
    let x = levels.noised(sample(), &mut Fixed(falling()));
    let x = ddim(
        &clipped(&schedule),
        x,
        &levels,
        0.0,
        &mut Silent,
        &mut Unwatched,
    )
    .unwrap();
    assert_golden(x, 354.5418, 0.4616);
}

#[test]
fn ddim_variance() {
    let schedule = linear(1000);
    let variance = |from: u32, to: u32| {
        let next = schedule.sigma(Timestep(to));
        let (_, up) = ancestral(schedule.sigma(Timestep(from)), next, 1.0);
        up.0 * up.0 * next.alpha_bar()
    };
    // Five digits are given.
    assert!((variance(420, 400) - 0.14771).abs() < 1e-5);
    assert!((variance(980, 960) - 0.32460).abs() < 1e-5);
}

#[test]
fn ddpm_thousand_steps() {
    let schedule = linear(1000);
    let levels = Spacing::Linspace {}.levels(1000, &schedule).unwrap();
    let (x, mut noise) = (
        exploded(sample(), levels.first()),
        OneGenerator(TorchRng::new(0)),
    );
    let net = clipped(&schedule);
    let x = ddpm(
        &net,
        x,
        &levels,
        Variance::FixedSmall,
        &mut noise,
        &mut Unwatched,
    )
    .unwrap();
    assert_golden(x, 258.9606, 0.3372);
}

#[test]
fn pndm_with_runge_kutta() {
    let schedule = linear(1000);
    // The reference's last step goes from timestep 0 to timestep 0, which moves nothing.
    let levels = Spacing::Leading { offset: 0 }
        .levels(10, &schedule)
        .unwrap()
        .without_zero()
        .unwrap();
    let net = Denoiser::discrete(Ratio, schedule, Prediction::Epsilon);
    let x = exploded(sample(), levels.first());
    let x = pndm(&net, x, &levels, WarmUp::RungeKutta, &mut Unwatched).unwrap();
    assert_golden(preserved(x, levels.last()), 198.1318, 0.2580);
}

#[test]
fn dpmpp_2m_ten_steps() {
    let schedule = linear(1000);
    let levels = Spacing::Linspace {}
        .levels(11, &schedule)
        .unwrap()
        .without_zero()
        .unwrap();
    let net = Denoiser::discrete(Ratio, schedule, Prediction::Epsilon);
    let x = dpmpp_2m(
        &net,
        exploded(sample(), levels.first()),
        &levels,
        &mut Unwatched,
    )
    .unwrap();
    assert_mean(abs_sum(preserved(x, levels.last())) / 768.0, 0.3301);
}

#[test]
fn unipc_ten_steps() {
    let schedule = linear(1000);
    let levels = Spacing::Linspace {}
        .levels(11, &schedule)
        .unwrap()
        .without_zero()
        .unwrap();
    let net = Denoiser::discrete(Ratio, schedule, Prediction::Epsilon);
    let x = exploded(sample(), levels.first());
    let x = unipc(&net, x, &levels, 2, Variant::Bh2, &mut Unwatched).unwrap();
    assert_mean(abs_sum(preserved(x, levels.last())) / 768.0, 0.2464);
}

#[test]
fn edm_euler_ten_steps() {
    let precondition = Precondition::Edm {
        sigma_data: 0.5,
        range: SigmaRange::EDM,
    };
    let levels = precondition
        .levels(Spacing::Karras { rho: 7.0 }, 10)
        .unwrap();
    let x = levels.pure_noise(&mut Fixed(sample()), SHAPE, &crate::setting::device());
    let x = euler(
        &Denoiser::new(Ratio, precondition),
        x,
        &levels,
        &mut Unwatched,
    )
    .unwrap();
    assert_golden(x, 34.1855, 0.044);
}

/// A quirky model: it is given the sample scaled already, at a time told from outside.
struct Scaled {
    time: f64,
}

impl Denoise for Scaled {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let eps = x.clone().mul_scalar(self.time / (self.time + 1.0));
        x - eps.mul_scalar(sigma.0)
    }
}

/// The reference's Euler family: fractional timesteps, sigma linear between whole ones, then 0.
fn linspace_1100() -> Vec<(f64, f64)> {
    let schedule = linear(1100);
    let times = (0..10).rev().map(|i| f64::from(i) * 1099.0 / 9.0);
    let sigma = |time: f64| {
        let row = time.floor();
        let low = schedule.sigma(Timestep(row as u32)).0;
        low + (time - row) * (schedule.sigma(Timestep(row as u32 + 1)).0 - low)
    };
    times
        .map(|time| (sigma(time), time))
        .chain([(0.0, 0.0)])
        .collect()
}

/// Takes one step at a time with `step`, the sample scaled down before each.
fn quirky(
    grid: &[(f64, f64)],
    mut step: impl FnMut(&Scaled, Tensor<4>, &Levels) -> Tensor<4>,
) -> Tensor<4> {
    let start = sample().mul_scalar(grid[0].0);
    grid.windows(2).fold(start, |x, pair| {
        let levels = Levels::partial(vec![Sigma(pair[0].0), Sigma(pair[1].0)]).unwrap();
        let x = x.mul_scalar(levels.first().alpha());
        step(&Scaled { time: pair[0].1 }, x, &levels)
    })
}

#[test]
fn euler_with_the_quirk() {
    let x = quirky(&linspace_1100(), |net, x, levels| {
        euler(net, x, levels, &mut Unwatched).unwrap()
    });
    assert_golden(x, 10.0807, 0.0131);
}

#[test]
fn euler_karras_with_the_quirk() {
    let schedule = linear(1100);
    let levels = Spacing::Karras { rho: 7.0 }.levels(10, &schedule).unwrap();
    let grid: Vec<(f64, f64)> = levels
        .sigmas()
        .map(|sigma| (sigma.0, schedule.timestep_at(sigma)))
        .collect();
    let x = quirky(&grid, |net, x, levels| {
        euler(net, x, levels, &mut Unwatched).unwrap()
    });
    assert_golden(x, 124.5230, 0.162139);
}

#[test]
fn euler_ancestral_with_the_quirk() {
    let mut noise = OneGenerator(TorchRng::new(0));
    let x = quirky(&linspace_1100(), |net, x, levels| {
        euler_ancestral(net, x, levels, &mut noise, &mut Unwatched).unwrap()
    });
    assert_golden(x, 152.3192, 0.1983);
}

/// The quirk replaces the sample between the steps of one multistep run, so only its weights can be tested so;
/// the sampler itself is tested against the reference without the quirk.
#[test]
fn lms_weights_with_the_quirk() {
    let grid = linspace_1100();
    let sigmas: Vec<f64> = grid.iter().map(|point| point.0).collect();
    let mut past = VecDeque::new();
    let mut x = sample().mul_scalar(sigmas[0]);
    for (i, &(sigma, time)) in grid[..10].iter().enumerate() {
        x = x.mul_scalar(Sigma(sigma).alpha());
        past.push_front(x.clone().mul_scalar(time / (time + 1.0)));
        past.truncate(4);
        let weights = lms::weights(&sigmas[i + 1 - past.len()..=i], sigmas[i + 1]);
        for (eps, weight) in past.iter().zip(weights) {
            x = x + eps.clone().mul_scalar(weight);
        }
    }
    assert_golden(x, 1006.388, 1.31);
}

#[test]
fn torch_noise_begins_as_torch_does() {
    let mut noise = dreamsmith_diffusion::noise::TorchNoise::new(&[0]);
    let first = crate::setting::values(noise.normal([1, 3, 8, 8], &crate::setting::device()));
    for (found, expected) in first.iter().zip([-1.12584, -1.15236, -0.25058, -0.43388]) {
        // Five decimals are given.
        assert!((found - expected).abs() < 1e-5);
    }
}
