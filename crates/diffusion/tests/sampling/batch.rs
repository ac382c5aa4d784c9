//! An image depends on its own seed only; samplers stop when told, and name what went wrong.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::{Denoise, Denoiser, Noise, SampleStep, Unwatched};
use dreamsmith_diffusion::guidance::{Guidance, GuidanceSpec, Guided};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::noise::{NativeNoise, TorchNoise};
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::sampler::{SampleError, Sampler};
use dreamsmith_diffusion::spacing::Spacing;
use dreamsmith_diffusion::threshold::{Threshold, Thresholded};

use crate::setting::{Ratio, device, linear, values};

/// Odd sizes, so that no block of a fast loop ends where an image does.
const IMAGE: [usize; 3] = [3, 5, 7];

fn net() -> impl Denoise {
    let spec = GuidanceSpec {
        scale: 2.0,
        rescale: 0.7,
        ..Default::default()
    };
    let cond = Denoiser::discrete(Ratio, linear(1000), Prediction::Epsilon);
    let uncond = Denoiser::discrete(Ratio, linear(1000), Prediction::Velocity);
    let guided = Guided::new(cond, uncond, Guidance::new(spec).unwrap());
    Thresholded::new(guided, Threshold::Dynamic { percentile: 0.9 }).unwrap()
}

fn draw(sampler: &Sampler, noise: &mut dyn Noise, images: usize) -> Vec<u32> {
    let levels = Spacing::Trailing {}.levels(6, &linear(1000)).unwrap();
    let [channels, height, width] = IMAGE;
    let x = levels.pure_noise(noise, [images, channels, height, width], &device());
    let x = sampler
        .run(&net(), x, &levels, noise, &mut Unwatched)
        .unwrap();
    values(x).into_iter().map(f32::to_bits).collect()
}

#[test]
fn an_image_is_the_same_in_any_batch() {
    let seeds = [3, 1, 4, 1, 5, 9, 2, 6];
    for name in Sampler::NAMES {
        let sampler: Sampler = name.parse().unwrap();
        let native = draw(&sampler, &mut NativeNoise::new(&seeds), 8);
        let torch = draw(&sampler, &mut TorchNoise::new(&seeds), 8);
        let pixels = native.len() / 8;
        for (image, seed) in seeds.into_iter().enumerate() {
            let own = image * pixels..(image + 1) * pixels;
            let alone = draw(&sampler, &mut NativeNoise::new(&[seed]), 1);
            assert_eq!(alone, native[own.clone()], "{name}, seed {seed}");
            let alone = draw(&sampler, &mut TorchNoise::new(&[seed]), 1);
            assert_eq!(alone, torch[own], "{name}, seed {seed}, torch noise");
        }
        assert_ne!(
            native[..pixels],
            native[pixels..2 * pixels],
            "{name}: seeds matter"
        );
    }
}

#[test]
fn every_draw_is_new() {
    let mut noise = NativeNoise::new(&[1]);
    let mut next = || values(noise.normal([1, 1, 2, 2], &device()));
    assert_ne!(next(), next());
}

#[test]
fn a_watcher_sees_each_step_and_may_stop() {
    let levels = Spacing::Trailing {}.levels(6, &linear(1000)).unwrap();
    for name in Sampler::NAMES {
        let sampler: Sampler = name.parse().unwrap();
        let mut seen = Vec::new();
        let mut watch = |event: &SampleStep<'_>| {
            assert_eq!(event.total, 6);
            assert_eq!(event.x.dims(), event.denoised.dims());
            seen.push((event.index, event.sigma));
            if event.index == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let x = Tensor::ones([1, 1, 2, 2], &device());
        let result = sampler.run(&net(), x, &levels, &mut NativeNoise::new(&[1]), &mut watch);
        assert_eq!(
            result.unwrap_err(),
            SampleError::Stopped { step: 3, total: 6 },
            "{name}"
        );
        let expected: Vec<(usize, Sigma)> = levels.sigmas().take(4).enumerate().collect();
        assert_eq!(seen, expected, "{name}");
    }
}

/// A network gone wrong.
struct Broken;

impl Denoise for Broken {
    fn denoise(&self, x: Tensor<4>, _sigma: Sigma) -> Tensor<4> {
        x.mul_scalar(f64::NAN)
    }
}

#[test]
fn nan_is_an_error_of_every_sampler() {
    let levels = Spacing::Trailing {}.levels(2, &linear(1000)).unwrap();
    for name in Sampler::NAMES {
        let sampler: Sampler = name.parse().unwrap();
        let x = Tensor::ones([1, 1, 2, 2], &device());
        let result = sampler.run(
            &Broken,
            x,
            &levels,
            &mut NativeNoise::new(&[1]),
            &mut Unwatched,
        );
        assert_eq!(
            result.unwrap_err(),
            SampleError::NotFinite {
                sampler: name,
                steps: 2
            }
        );
    }
}

#[test]
fn names_of_samplers_round_trip() {
    for name in Sampler::NAMES {
        let sampler: Sampler = name.parse().unwrap();
        assert_eq!(sampler.name(), name);
        assert_eq!(sampler.to_string().parse::<Sampler>().unwrap(), sampler);
    }
    assert_eq!(
        "ddim:eta=0.5".parse::<Sampler>().unwrap(),
        Sampler::Ddim { eta: 0.5 }
    );
    assert_eq!(Sampler::Ddim { eta: 0.5 }.to_string(), "ddim:eta=0.5");
    for bad in ["", "dimm", "ddim:eta", "ddim:etta=1", "euler:eta=1"] {
        assert!(bad.parse::<Sampler>().is_err(), "{bad}");
    }
}

#[test]
fn options_out_of_range_are_errors() {
    for (text, option) in [
        ("ddim:eta=-1", "eta"),
        ("dpmpp-2s-ancestral:eta=2", "eta"),
        ("dpmpp-2m-sde:eta=-0.1", "eta"),
        ("lms:order=0", "order"),
        ("lms:order=5", "order"),
        ("unipc:order=4", "order"),
        ("edm:amount=-1", "amount"),
        ("edm:sigma_min=3,sigma_max=2", "sigma_max"),
        ("edm:noise_scale=-1", "noise_scale"),
    ] {
        let error = text.parse::<Sampler>().unwrap().check().unwrap_err();
        assert!(
            matches!(error, SampleError::Option { option: found, .. } if found == option),
            "{error}"
        );
    }
    assert!(Sampler::Ddim { eta: f64::NAN }.check().is_err());
}
