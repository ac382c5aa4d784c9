//! Enlarging: the denoiser of the rest, where its result is known, and what a spec may say.

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::{Denoiser, Network, Unwatched};
use dreamsmith_diffusion::enlarge::{Centred, Enlargement};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::noise::NativeNoise;
use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::sampler::Sampler;
use dreamsmith_diffusion::spacing::{SigmaRange, Spacing};

use crate::setting::{device, values};

const TASK: Enlargement = Enlargement {
    factor: 4,
    size: 256,
    noise: 0.3,
    noise_on_drawn: 0.1,
};
/// Standard deviation of the rest.
const STD: f64 = 0.1;

/// With the preconditioning of [Karras22], a network that says nothing is exact for a Gaussian.
struct Silence;

impl Network for Silence {
    fn predict(&self, x: Tensor<4>, _time: Tensor<1>) -> Tensor<4> {
        x.zeros_like()
    }
}

fn precondition() -> Precondition {
    Precondition::Edm {
        sigma_data: STD,
        range: SigmaRange::new(Sigma(0.001), Sigma(2.0)).unwrap(),
    }
}

#[test]
fn the_rest_is_drawn_around_what_is_seen() {
    const SHAPE: [usize; 4] = [1, 1, 128, 128];
    let centre = 0.6;
    for noise in [0.0, 0.2] {
        let border = TASK.precondition(&precondition(), noise);
        let seen = Tensor::full(SHAPE, centre, &device());
        let net = Centred::new(Denoiser::new(Silence, border.clone()), seen.clone());
        let levels = border.levels(Spacing::Karras { rho: 7.0 }, 400).unwrap();
        for name in ["heun", "dpmpp-2m", "euler-ancestral"] {
            let sampler: Sampler = name.parse().unwrap();
            let stream = &mut NativeNoise::new(&[9]);
            let start = levels.noised(seen.clone(), stream);
            let x = sampler.run(&net, start, &levels, stream, &mut Unwatched);
            let rest = values(x.unwrap()).into_iter();
            let rest: Vec<f64> = rest.map(|x| f64::from(x) - centre).collect();
            let n = rest.len() as f64;
            let mean = rest.iter().sum::<f64>() / n;
            let variance = rest.iter().map(|x| x * x).sum::<f64>() / n;
            // The noise on what is seen is to be taken away again, and so part of the rest.
            let expected = STD * STD + noise * noise;
            // Four standard errors, and one percent for the start, which lacks the variance of the rest.
            assert!(mean.abs() < 4.0 * (expected / n).sqrt(), "{name}: {mean}");
            let off = (variance / expected - 1.0).abs();
            assert!(off < 4.0 * (2.0 / n).sqrt() + 0.01, "{name}: {off}");
        }
    }
}

#[test]
fn the_network_is_told_how_much_noise_there_is() {
    assert_eq!(
        [0.0, 0.15, 0.3].map(|noise| TASK.level(noise)),
        [0, 500, 1000]
    );
}

#[test]
fn senseless_enlargements_are_errors() {
    assert_eq!(TASK.check(), Ok(()));
    let cases = [
        ("factor", Enlargement { factor: 1, ..TASK }),
        ("factor", Enlargement { factor: 0, ..TASK }),
        ("size", Enlargement { size: 255, ..TASK }),
        ("size", Enlargement { size: 0, ..TASK }),
        (
            "noise",
            Enlargement {
                noise: f64::NAN,
                ..TASK
            },
        ),
        ("noise", Enlargement { noise: 1.5, ..TASK }),
        (
            "noise_on_drawn",
            Enlargement {
                noise_on_drawn: 0.4,
                ..TASK
            },
        ),
    ];
    for (key, task) in cases {
        assert_eq!(task.check().unwrap_err().key, key, "{task:?}");
    }
}
