//! Every sampler on a denoiser whose score is exact: the measured order of the deterministic ones against the
//! probability flow, the moments of what the stochastic ones draw. Prints its table as Markdown.

use std::collections::BTreeSet;

use burn::tensor::{Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::denoise::{Denoise, Unwatched};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::noise::NativeNoise;
use dreamsmith_diffusion::sampler::Sampler;

use crate::mixture::{FlowEnd, Mixture, draw, flow, moments};
use crate::setting::{Silent, device, values};

/// How the levels of a measurement fall.
#[derive(Clone, Copy)]
enum Fall {
    /// In equal steps of log sigma.
    Log,
    /// In equal steps of sigma, for which PNDM's weights are exact.
    Even,
}

/// What a sampler must show.
enum Demand {
    /// At least this order of convergence to the probability flow.
    Order(Fall, f64),
    /// The mixture's mean and variance, after this many steps, from an exact denoiser.
    Moments(usize),
    /// The same, from an exact consistency model.
    ConsistentMoments(usize),
}

const ROWS: [(&str, Demand); 21] = [
    ("ddpm", Demand::Moments(400)),
    // Its variance is too large by design unless x0 is unit normal; with short steps the difference vanishes.
    ("ddpm:variance=fixed-large", Demand::Moments(1600)),
    ("ddim", Demand::Order(Fall::Log, 0.95)),
    ("ddim:eta=1", Demand::Moments(400)),
    ("euler", Demand::Order(Fall::Log, 0.95)),
    ("euler-ancestral", Demand::Moments(400)),
    ("heun", Demand::Order(Fall::Log, 1.9)),
    ("dpm2", Demand::Order(Fall::Log, 1.9)),
    ("dpmpp-2s-ancestral:eta=0", Demand::Order(Fall::Log, 1.9)),
    ("dpmpp-2s-ancestral", Demand::Moments(400)),
    ("dpmpp-2m", Demand::Order(Fall::Log, 1.9)),
    ("dpmpp-2m-sde", Demand::Moments(400)),
    ("dpmpp-2m-sde:correction=heun", Demand::Moments(400)),
    ("lms", Demand::Order(Fall::Log, 1.9)),
    ("pndm", Demand::Order(Fall::Even, 1.9)),
    ("pndm:warm_up=runge-kutta", Demand::Order(Fall::Even, 3.0)),
    ("unipc", Demand::Order(Fall::Log, 1.9)),
    // Its last step is of order 1, as the reference's: a local error of h^2, and so order 2 in all.
    ("unipc:order=3", Demand::Order(Fall::Log, 1.9)),
    ("edm:amount=0", Demand::Order(Fall::Log, 1.9)),
    ("edm:amount=40,noise_scale=1", Demand::Moments(100)),
    ("lcm", Demand::ConsistentMoments(4)),
];

#[test]
fn every_sampler_conforms() {
    let mut faults = Vec::new();
    println!("| sampler | measured | demanded |\n|---|---|---|");
    for (name, demand) in ROWS {
        let sampler: Sampler = name.parse().unwrap();
        let (measured, demanded, fits) = match demand {
            Demand::Order(fall, at_least) => {
                let order = order(&sampler, fall);
                (
                    format!("order {order:.2}"),
                    format!("order at least {at_least}"),
                    order >= at_least,
                )
            }
            Demand::Moments(steps) => drawn(&sampler, &Mixture, steps, 16_384),
            Demand::ConsistentMoments(steps) => drawn(&sampler, &FlowEnd, steps, 2_048),
        };
        println!("| {name} | {measured} | {demanded} |");
        if !fits {
            faults.push(format!("{name}: {measured}, demanded {demanded}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_table_has_every_sampler() {
    let rows: BTreeSet<&str> = ROWS
        .iter()
        .map(|(name, _)| name.split(':').next().unwrap())
        .collect();
    assert_eq!(rows, Sampler::NAMES.into_iter().collect());
}

/// log2 of how much the error falls when steps double, 40 to 80: many enough for the leading term to rule,
/// few enough that f32 (about 1e-6 at these levels) does not.
fn order(sampler: &Sampler, fall: Fall) -> f64 {
    (error(sampler, fall, 40) / error(sampler, fall, 80)).log2()
}

/// Root mean square distance from the probability flow at the last level.
fn error(sampler: &Sampler, fall: Fall, steps: usize) -> f64 {
    let (first, last): (f64, f64) = match fall {
        Fall::Log => (8.0, 0.1),
        Fall::Even => (4.0, 0.4),
    };
    let level = |i: usize| {
        let part = i as f64 / steps as f64;
        match fall {
            Fall::Log => first * (last / first).powf(part),
            Fall::Even => first + part * (last - first),
        }
    };
    let levels = Levels::partial((0..=steps).map(|i| Sigma(level(i))).collect()).unwrap();
    let starts: Vec<f32> = (0..64)
        .map(|i| (i as f32 / 31.5 - 1.0) * 2.0 * first as f32)
        .collect();
    let x = Tensor::from_data(TensorData::new(starts.clone(), [1, 1, 8, 8]), &device());
    let found = values(
        sampler
            .run(&Mixture, x, &levels, &mut Silent, &mut Unwatched)
            .unwrap(),
    );
    let exact = starts
        .iter()
        .map(|&x| flow(f64::from(x), first, levels.last().0, 2_000));
    let squares = exact
        .zip(found)
        .map(|(exact, found)| (exact - f64::from(found)).powi(2));
    (squares.sum::<f64>() / starts.len() as f64).sqrt()
}

/// Mean and variance of what is drawn, against the mixture's, within four standard errors of each.
fn drawn(
    sampler: &Sampler,
    net: &dyn Denoise,
    steps: usize,
    count: usize,
) -> (String, String, bool) {
    const FIRST: f64 = 10.0;
    let falling =
        (0..steps).map(|i| Sigma(FIRST * (0.02 / FIRST).powf(i as f64 / (steps - 1) as f64)));
    let levels = Levels::new(falling.chain([Sigma(0.0)]).collect()).unwrap();
    let mut stream = Stream::new(11, Purpose::TrainNoise, 0);
    let starts: Vec<f32> = (0..count).map(|_| draw(&mut stream, FIRST)).collect();
    let x = Tensor::from_data(TensorData::new(starts, [1, 1, count / 64, 64]), &device());
    let mut noise = NativeNoise::new(&[5]);
    let found = values(
        sampler
            .run(net, x, &levels, &mut noise, &mut Unwatched)
            .unwrap(),
    );

    let n = count as f64;
    let (mean, variance, fourth) = moments();
    let found_mean = found.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let found_variance = found
        .iter()
        .map(|&x| (f64::from(x) - found_mean).powi(2))
        .sum::<f64>()
        / n;
    let (mean_error, variance_error) = (
        (variance / n).sqrt(),
        ((fourth - variance * variance) / n).sqrt(),
    );
    let fits = (found_mean - mean).abs() < 4.0 * mean_error
        && (found_variance - variance).abs() < 4.0 * variance_error;
    (
        format!("mean {found_mean:.4}, variance {found_variance:.4}"),
        format!(
            "{mean:.4} ± {:.4}, {variance:.4} ± {:.4}",
            4.0 * mean_error,
            4.0 * variance_error
        ),
        fits,
    )
}
