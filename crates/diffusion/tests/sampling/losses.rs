//! Loss weights against their papers' formulas, and the distributions of training levels.

use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::level::{Sigma, Timestep};
use dreamsmith_diffusion::loss::LossWeight;
use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::spacing::SigmaRange;
use dreamsmith_diffusion::timestep_sampling::TimestepSampling;

use crate::setting::linear;

const SIGMAS: [f64; 5] = [0.05, 0.4, 0.5, 1.0, 20.0];

fn close(found: f64, expected: f64) {
    assert!(
        (found / expected - 1.0).abs() < 1e-12,
        "{found}, expected {expected}"
    );
}

#[test]
fn min_snr_weighs_each_prediction_alike() {
    let weight = LossWeight::MinSnr { gamma: 5.0 };
    for sigma in SIGMAS {
        let (snr, at) = (1.0 / (sigma * sigma), |prediction| {
            weight.at(prediction, Sigma(sigma))
        });
        close(at(Prediction::Sample), snr.min(5.0));
        close(at(Prediction::Epsilon), snr.min(5.0) / snr);
        close(at(Prediction::Velocity), snr.min(5.0) / (snr + 1.0));
        close(
            at(Prediction::Flow),
            snr.min(5.0) * (sigma / (1.0 + sigma)).powi(2),
        );
    }
}

#[test]
fn p2_and_simple_are_as_published() {
    for sigma in SIGMAS {
        let snr = 1.0 / (sigma * sigma);
        close(
            LossWeight::P2 { gamma: 0.5, k: 1.0 }.at(Prediction::Epsilon, Sigma(sigma)),
            (1.0 + snr).powf(-0.5),
        );
        for prediction in Prediction::ALL {
            assert_eq!(LossWeight::Simple {}.at(prediction, Sigma(sigma)), 1.0);
        }
    }
}

#[test]
fn edm_weight_makes_all_levels_equal() {
    let edm = Precondition::Edm {
        sigma_data: 0.5,
        range: SigmaRange::EDM,
    };
    let weight = LossWeight::Edm { sigma_data: 0.5 };
    for sigma in SIGMAS.map(Sigma) {
        close(weight.at_c_out(edm.at(sigma).c_out, sigma), 1.0);
    }
}

#[test]
fn senseless_parameters_are_errors() {
    for weight in [
        LossWeight::MinSnr { gamma: 0.0 },
        LossWeight::MinSnr { gamma: f64::NAN },
        LossWeight::P2 {
            gamma: 1.0,
            k: -1.0,
        },
        LossWeight::Edm {
            sigma_data: f64::INFINITY,
        },
    ] {
        assert!(weight.check().is_err(), "{weight:?}");
    }
    for sampling in [
        TimestepSampling::LogNormal {
            mean: f64::NAN,
            std: 1.0,
        },
        TimestepSampling::LogNormal {
            mean: 0.0,
            std: 0.0,
        },
        TimestepSampling::LogitNormal {
            mean: 0.0,
            std: f64::INFINITY,
        },
    ] {
        assert!(sampling.check().is_err(), "{sampling:?}");
    }
}

const DRAWS: u64 = 20_000;

/// Mean and standard deviation of `of` over draws from streams of their own, as training has them.
fn spread(of: impl Fn(&mut Stream) -> f64) -> (f64, f64) {
    let draws: Vec<f64> = (0..DRAWS)
        .map(|i| of(&mut Stream::new(1, Purpose::Timestep, i)))
        .collect();
    let mean = draws.iter().sum::<f64>() / DRAWS as f64;
    let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / DRAWS as f64;
    (mean, variance.sqrt())
}

/// Within four standard errors, std / sqrt(n) and about std / sqrt(2 n).
fn assert_spread((found_mean, found_std): (f64, f64), mean: f64, std: f64) {
    let error = 4.0 * std / (DRAWS as f64).sqrt();
    assert!(
        (found_mean - mean).abs() < error,
        "mean {found_mean}, expected {mean} ± {error}"
    );
    assert!(
        (found_std - std).abs() < error,
        "std {found_std}, expected {std} ± {error}"
    );
}

#[test]
fn training_levels_have_their_distribution() {
    let schedule = linear(1000);
    let uniform =
        spread(|stream| f64::from(TimestepSampling::Uniform {}.timestep(stream, &schedule).0));
    assert_spread(uniform, 499.5, 1000.0 / 12.0_f64.sqrt());
    let log_normal = TimestepSampling::LogNormal {
        mean: -1.2,
        std: 1.2,
    };
    assert_spread(spread(|stream| log_normal.sigma(stream).0.ln()), -1.2, 1.2);
    let logit_normal = TimestepSampling::LogitNormal {
        mean: 0.3,
        std: 0.8,
    };
    // The logit of flow time is ln sigma.
    assert_spread(spread(|stream| logit_normal.sigma(stream).0.ln()), 0.3, 0.8);
    // Timesteps round their time by at most 1/1000, which moves a logit near 0 by 4/1000.
    let logit = |t: Timestep| ((f64::from(t.0) + 0.5) / (999.5 - f64::from(t.0))).ln();
    assert_spread(
        spread(|stream| logit(logit_normal.timestep(stream, &schedule))),
        0.3,
        0.8,
    );
}

#[test]
fn training_timesteps_stay_in_the_table() {
    let schedule = linear(10);
    for i in 0..2_000 {
        for sampling in [
            TimestepSampling::Uniform {},
            TimestepSampling::LogNormal {
                mean: 0.0,
                std: 9.0,
            },
            TimestepSampling::LogitNormal {
                mean: 0.0,
                std: 9.0,
            },
        ] {
            let timestep = sampling.timestep(&mut Stream::new(2, Purpose::Timestep, i), &schedule);
            assert!(timestep <= schedule.last());
            let sigma = sampling.sigma(&mut Stream::new(2, Purpose::Timestep, i)).0;
            assert!(sigma > 0.0 && sigma.is_finite());
        }
    }
}
