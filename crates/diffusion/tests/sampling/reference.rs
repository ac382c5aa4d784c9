//! Every sampler, schedule and spacing that the reference implementation has, against its values in
//! testdata/diffusion/samplers.toml (generator: tools/golden/samplers.py).

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::{Denoiser, Unwatched};
use dreamsmith_diffusion::level::Timestep;
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::noise::TorchNoise;
use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::sampler::Sampler;
use dreamsmith_diffusion::schedule::{Betas, TerminalSnr};
use dreamsmith_diffusion::spacing::Spacing;
use serde::Deserialize;

use crate::setting::{Fixed, Ratio, SHAPE, abs_sum, device, linear, sample, schedule, values};

#[derive(Deserialize)]
struct Golden {
    sampler: Vec<SamplerCase>,
    schedule: Vec<ScheduleCase>,
    spacing: Vec<SpacingCase>,
}

#[derive(Deserialize)]
struct SamplerCase {
    name: String,
    abs_sum: f64,
    first: Vec<f64>,
    last: Vec<f64>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    name: String,
    alpha_bars: Vec<f64>,
}

#[derive(Deserialize)]
struct SpacingCase {
    name: String,
    timesteps: Vec<u32>,
}

fn golden() -> Golden {
    toml::from_str(include_str!("../../../../testdata/diffusion/samplers.toml")).unwrap()
}

/// What the reference's sampler is called here, its spacing, its steps.
fn equivalent(name: &str) -> (&'static str, &'static str, usize) {
    match name {
        "euler-karras" => ("euler", "karras", 10),
        "euler-exponential" => ("euler", "exponential", 10),
        "heun-karras" => ("heun", "karras", 10),
        "dpm2-karras" => ("dpm2", "karras", 10),
        "lms-karras" => ("lms", "karras", 10),
        "euler-ancestral-trailing" => ("euler-ancestral", "trailing", 10),
        "dpmpp-2m-karras" => ("dpmpp-2m", "karras", 10),
        "dpmpp-2m-sde-midpoint" => ("dpmpp-2m-sde", "karras", 10),
        "dpmpp-2m-sde-heun" => ("dpmpp-2m-sde:correction=heun", "karras", 10),
        "dpmpp-2s-exponential" => ("dpmpp-2s-ancestral:eta=0", "exponential", 11),
        "unipc-1-bh1" => ("unipc:order=1,variant=bh1", "linspace", 11),
        "unipc-1-bh2" => ("unipc:order=1", "karras", 10),
        "unipc-2-bh1" => ("unipc:order=2,variant=bh1", "linspace", 11),
        "unipc-2-bh2" => ("unipc", "karras", 10),
        "unipc-3-bh1" => ("unipc:order=3,variant=bh1", "linspace", 11),
        "unipc-3-bh2" => ("unipc:order=3", "karras", 10),
        "ddim-eta" => ("ddim:eta=0.5", "trailing", 10),
        "ddim-velocity-zero-snr" => ("ddim", "trailing", 10),
        "ddpm-fixed-small" => ("ddpm", "leading", 10),
        "ddpm-fixed-large" => ("ddpm:variance=fixed-large", "leading", 10),
        "pndm-multistep" => ("pndm", "leading", 10),
        "lcm" => ("lcm", "consistency", 4),
        "flow-shift-3" => ("euler", "flow:shift=3", 10),
        other => panic!("{other} is in the file but not in this test"),
    }
}

fn run(name: &str) -> Tensor<4> {
    let (sampler, spacing, steps) = equivalent(name);
    let (sampler, spacing): (Sampler, Spacing) =
        (sampler.parse().unwrap(), spacing.parse().unwrap());
    let precondition = match name {
        "flow-shift-3" => Precondition::Flow { time_scale: 1000.0 },
        "ddim-velocity-zero-snr" => Precondition::Discrete {
            schedule: schedule(Betas::default(), 1000, TerminalSnr::Zero),
            prediction: Prediction::Velocity,
        },
        _ => Precondition::Discrete {
            schedule: linear(1000),
            prediction: Prediction::Epsilon,
        },
    };
    let levels = precondition.levels(spacing, steps).unwrap();
    let levels = match name {
        // These end at the lowest trained level in the reference.
        "pndm-multistep" | "unipc-1-bh1" | "unipc-2-bh1" | "unipc-3-bh1" => {
            levels.without_zero().unwrap()
        }
        // The reference's single-step solver counts halfway levels as steps.
        "dpmpp-2s-exponential" => {
            Levels::partial(levels.without_zero().unwrap().sigmas().step_by(2).collect()).unwrap()
        }
        _ => levels,
    };
    // These schedulers of the reference start from sigma times the sample, the others from the sample.
    let exploding = ["euler", "heun", "dpm2", "lms"]
        .iter()
        .any(|family| name.starts_with(family));
    let x = if exploding {
        sample().mul_scalar(levels.first().0)
    } else {
        levels.pure_noise(&mut Fixed(sample()), SHAPE, &device())
    };
    let mut noise = TorchNoise::new(&[0, 1, 2, 3]);
    let net = Denoiser::new(Ratio, precondition);
    let x = sampler
        .run(&net, x, &levels, &mut noise, &mut Unwatched)
        .unwrap();
    x.mul_scalar(levels.last().alpha())
}

#[test]
fn samplers_equal_the_reference() {
    for SamplerCase {
        name,
        abs_sum: sum,
        first,
        last,
    } in golden().sampler
    {
        let x = run(&name);
        let all = values(x.clone());
        let ends = all[..8].iter().chain(&all[all.len() - 8..]);
        // The reference computes its sigmas in f32: relative 1e-7, amplified over ten steps.
        for (found, expected) in ends.zip(first.iter().chain(&last)) {
            let error = (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
            assert!(error < 2e-5, "{name}: {found}, expected {expected}");
        }
        let found = abs_sum(x);
        assert!(
            (found / sum - 1.0).abs() < 1e-5,
            "{name}: sum of |x| is {found}, expected {sum}"
        );
    }
}

#[test]
fn schedules_equal_the_reference() {
    for ScheduleCase { name, alpha_bars } in golden().schedule {
        let (start, end) = (1e-4, 0.02);
        let betas = match name.trim_end_matches("-zero") {
            "linear" => Betas::Linear { start, end },
            "scaled_linear" => Betas::ScaledLinear { start, end },
            "squaredcos_cap_v2" => Betas::Cosine {},
            "sigmoid" => Betas::Sigmoid { start, end },
            other => panic!("{other} is in the file but not in this test"),
        };
        let zero = name.ends_with("-zero");
        let terminal_snr = if zero {
            TerminalSnr::Zero
        } else {
            TerminalSnr::AsTrained
        };
        let schedule = schedule(betas, 1000, terminal_snr);
        for (timestep, expected) in [0, 1, 249, 500, 900, 998].into_iter().zip(alpha_bars) {
            let found = schedule.alpha_bar(Timestep(timestep));
            // f32 on the way, and a difference of square roots in f32 in the rescaled ones: near the end
            // sqrt(alpha_bar) is about 1e-4 of 1, so only three digits of it are left.
            let tolerance = if zero && expected < 1e-3 { 1e-3 } else { 3e-5 };
            assert!(
                (found / expected - 1.0).abs() < tolerance,
                "{name} {timestep}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn spacings_equal_the_reference() {
    let schedule = linear(1000);
    for SpacingCase { name, timesteps } in golden().spacing {
        let (spacing, steps) = name.split_once('-').unwrap();
        let levels = spacing
            .parse::<Spacing>()
            .unwrap()
            .levels(steps.parse().unwrap(), &schedule)
            .unwrap();
        let found: Vec<f64> = levels
            .sigmas()
            .take(timesteps.len())
            .map(|sigma| schedule.timestep_at(sigma))
            .collect();
        assert_eq!(
            found,
            timesteps.iter().map(|&t| f64::from(t)).collect::<Vec<_>>(),
            "{name}"
        );
    }
}
