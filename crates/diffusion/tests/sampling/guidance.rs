//! Guidance, its interval and rescale, and thresholds.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};
use dreamsmith_diffusion::denoise::Denoise;
use dreamsmith_diffusion::guidance::{Guidance, GuidanceSpec, Guided};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::threshold::{Threshold, Thresholded};

use crate::setting::{device, values};

/// x times a factor, counting how often it is asked.
struct Times {
    factor: f64,
    asked: Cell<usize>,
}

impl Times {
    fn new(factor: f64) -> Self {
        Self {
            factor,
            asked: Cell::new(0),
        }
    }
}

impl Denoise for Times {
    fn denoise(&self, x: Tensor<4>, _sigma: Sigma) -> Tensor<4> {
        self.asked.set(self.asked.get() + 1);
        x.mul_scalar(self.factor)
    }
}

fn image() -> Tensor<4> {
    tensor(&[0.1, -0.7, 0.4, 0.9, -0.2, 0.3, 0.8, -0.5], [2, 1, 2, 2])
}

fn tensor(values: &[f32], shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

fn guided(spec: GuidanceSpec, sigma: f64) -> (Vec<f32>, usize, usize) {
    let (cond, uncond) = (Times::new(0.5), Times::new(0.2));
    let net = Guided::new(&cond, &uncond, Guidance::new(spec).unwrap());
    let result = values(net.denoise(image(), Sigma(sigma)));
    (result, cond.asked.get(), uncond.asked.get())
}

fn scaled(factor: f64) -> Vec<f32> {
    values(image().mul_scalar(factor))
}

#[test]
fn scale_one_is_conditional_in_one_evaluation() {
    let (result, cond, uncond) = guided(
        GuidanceSpec {
            scale: 1.0,
            ..Default::default()
        },
        1.0,
    );
    assert_eq!((result, cond, uncond), (scaled(0.5), 1, 0));
    let (result, cond, uncond) = guided(
        GuidanceSpec {
            scale: 0.0,
            ..Default::default()
        },
        1.0,
    );
    assert_eq!((result, cond, uncond), (scaled(0.2), 0, 1));
}

#[test]
fn guidance_goes_from_uncond_through_cond() {
    let (result, cond, uncond) = guided(
        GuidanceSpec {
            scale: 3.0,
            ..Default::default()
        },
        1.0,
    );
    // 0.2 + 3 (0.5 - 0.2) = 1.1
    for (found, expected) in result.iter().zip(scaled(1.1)) {
        assert!((found - expected).abs() < 1e-6);
    }
    assert_eq!((cond, uncond), (1, 1));
}

#[test]
fn outside_the_interval_there_is_none() {
    let spec = GuidanceSpec {
        scale: 3.0,
        sigma_min: 0.5,
        sigma_max: 2.0,
        ..Default::default()
    };
    for (sigma, evaluations) in [(0.4, 0), (0.5, 1), (2.0, 1), (2.1, 0)] {
        let (result, _, uncond) = guided(spec, sigma);
        assert_eq!(uncond, evaluations, "at {sigma}");
        assert_eq!(result == scaled(0.5), evaluations == 0);
    }
}

#[test]
fn rescale_brings_back_the_contrast_of_cond() {
    let (full, ..) = guided(
        GuidanceSpec {
            scale: 3.0,
            rescale: 1.0,
            ..Default::default()
        },
        1.0,
    );
    let (half, ..) = guided(
        GuidanceSpec {
            scale: 3.0,
            rescale: 0.5,
            ..Default::default()
        },
        1.0,
    );
    // Both branches are multiples of x, so that full rescale gives cond again, half the mean of it and 1.1 x.
    for (found, expected) in full
        .iter()
        .zip(scaled(0.5))
        .chain(half.iter().zip(scaled(0.8)))
    {
        assert!((found - expected).abs() < 1e-6);
    }
}

#[test]
fn senseless_guidance_is_an_error() {
    let plain = GuidanceSpec::default();
    for (spec, option) in [
        (
            GuidanceSpec {
                scale: f64::NAN,
                ..plain
            },
            "scale",
        ),
        (
            GuidanceSpec {
                scale: f64::INFINITY,
                ..plain
            },
            "scale",
        ),
        (
            GuidanceSpec {
                sigma_min: -1.0,
                ..plain
            },
            "sigma_min",
        ),
        (
            GuidanceSpec {
                sigma_min: 2.0,
                sigma_max: 1.0,
                ..plain
            },
            "sigma_max",
        ),
        (
            GuidanceSpec {
                sigma_max: f64::NAN,
                ..plain
            },
            "sigma_max",
        ),
        (
            GuidanceSpec {
                rescale: 1.5,
                ..plain
            },
            "rescale",
        ),
    ] {
        assert_eq!(Guidance::new(spec).unwrap_err().option, option);
    }
}

#[test]
fn static_threshold_clips() {
    let net = Thresholded::new(Times::new(2.0), Threshold::Static { bound: 1.0 }).unwrap();
    let found = values(net.denoise(image(), Sigma(1.0)));
    assert_eq!(found, [0.2, -1.0, 0.8, 1.0, -0.4, 0.6, 1.0, -1.0]);
}

#[test]
fn dynamic_threshold_knows_each_image() {
    let x = tensor(&[0.0, 1.0, -2.0, 4.0, 0.1, -0.2, 0.3, 0.4], [2, 1, 2, 2]);
    let found = values(Threshold::Dynamic { percentile: 0.5 }.apply(x));
    // |x| of the first image sorted is 0 1 2 4, its median 1.5; the second never leaves [-1, 1].
    let expected = [0.0, 1.0 / 1.5, -1.0, 1.0, 0.1, -0.2, 0.3, 0.4];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

#[test]
fn senseless_thresholds_are_errors() {
    for threshold in [
        Threshold::Static { bound: 0.0 },
        Threshold::Static { bound: f64::NAN },
        Threshold::Dynamic { percentile: 0.0 },
        Threshold::Dynamic { percentile: 1.5 },
        Threshold::Dynamic {
            percentile: f64::NAN,
        },
    ] {
        assert!(
            Thresholded::new(Times::new(1.0), threshold).is_err(),
            "{threshold:?}"
        );
    }
}
