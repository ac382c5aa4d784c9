//! eps, v, x0 and flow say the same thing; preconditioning and the forward process agree with them.

use burn::tensor::{Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_diffusion::denoise::{Denoise, Denoiser, Network};
use dreamsmith_diffusion::forward::{noised, noised_vp, posterior};
use dreamsmith_diffusion::level::{Sigma, Timestep};
use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::spacing::SigmaRange;

use crate::setting::{device, linear, values};

const SHAPE: [usize; 4] = [2, 3, 4, 4];

fn normal(index: u64) -> Tensor<4> {
    let values = Stream::new(7, Purpose::TrainNoise, index).normals(SHAPE.iter().product());
    Tensor::from_data(TensorData::new(values, SHAPE), &device())
}

fn both(value: f64) -> Tensor<1> {
    Tensor::full([2], value, &device())
}

fn distance(a: Tensor<4>, b: Tensor<4>) -> f32 {
    values(a - b)
        .iter()
        .fold(0.0, |worst, x| worst.max(x.abs()))
}

#[test]
fn every_prediction_leads_back_to_x0() {
    for sigma in [0.01, 0.3, 1.0, 5.0, 80.0].map(Sigma) {
        let (x0, eps) = (normal(0), normal(1));
        let x = noised(x0.clone(), eps.clone(), both(sigma.0));
        let (alpha, sigma_vp) = (sigma.alpha(), sigma.alpha() * sigma.0);
        let x_t = noised_vp(x0.clone(), eps.clone(), both(alpha), both(sigma_vp));
        assert!(distance(x.clone().mul_scalar(alpha), x_t) < 1e-6);
        for prediction in Prediction::ALL {
            let target = prediction.target(x0.clone(), eps.clone(), both(alpha), both(sigma_vp));
            let back = prediction.x0(target, x.clone(), sigma);
            // f32 holds x, about 4 sigma, to 6e-8 of itself.
            let tolerance = 1e-6 * (1.0 + 4.0 * sigma.0 as f32);
            assert!(
                distance(back, x0.clone()) < tolerance,
                "{prediction:?} at {sigma:?}"
            );
        }
    }
}

/// Says the truth, in whatever terms it is asked for.
struct Oracle {
    answer: Tensor<4>,
    input: Tensor<4>,
    time: f32,
}

impl Network for Oracle {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        assert!(distance(x, self.input.clone()) < 1e-5);
        for found in time.into_data().try_to_vec::<f32>().unwrap() {
            assert!(
                (found - self.time).abs() < 1e-3,
                "{found} for {}",
                self.time
            );
        }
        self.answer.clone()
    }
}

#[test]
fn networks_see_what_they_were_trained_on() {
    let (schedule, timestep) = (linear(1000), Timestep(321));
    let sigma = schedule.sigma(timestep);
    let (x0, eps) = (normal(0), normal(1));
    let x = noised(x0.clone(), eps.clone(), both(sigma.0));
    let alpha_bar = schedule.alpha_bar(timestep);
    let (alpha, sigma_vp) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    for prediction in Prediction::ALL {
        let answer = prediction.target(x0.clone(), eps.clone(), both(alpha), both(sigma_vp));
        let input = noised_vp(x0.clone(), eps.clone(), both(alpha), both(sigma_vp));
        let net = Denoiser::discrete(
            Oracle {
                answer,
                input,
                time: 321.0,
            },
            schedule.clone(),
            prediction,
        );
        assert!(distance(net.denoise(x.clone(), sigma), x0.clone()) < 1e-5);
    }
    let time = sigma.flow_time();
    let input = noised_vp(x0.clone(), eps.clone(), both(1.0 - time), both(time));
    let oracle = Oracle {
        answer: eps - x0.clone(),
        input,
        time: 1000.0 * time as f32,
    };
    let net = Denoiser::new(oracle, Precondition::Flow { time_scale: 1000.0 });
    assert!(distance(net.denoise(x, sigma), x0) < 1e-5);
}

#[test]
fn edm_coefficients_keep_unit_variance() {
    let edm = Precondition::Edm {
        sigma_data: 0.5,
        range: SigmaRange::EDM,
    };
    for sigma in [0.002, 0.5, 80.0_f64] {
        let at = edm.at(Sigma(sigma));
        let noisy = sigma * sigma + 0.25;
        assert!(
            (at.c_in * at.c_in * noisy - 1.0).abs() < 1e-12,
            "unit input"
        );
        // [Karras22] appendix B.6: unit target, with the c_skip that makes c_out smallest.
        let target = (1.0 - at.c_skip).powi(2) * 0.25 + (at.c_skip * sigma).powi(2);
        assert!(
            (target / (at.c_out * at.c_out) - 1.0).abs() < 1e-9,
            "unit target"
        );
        assert!((at.c_noise - sigma.ln() / 4.0).abs() < 1e-12);
    }
}

/// Two posterior steps drawn from an exact x0 keep the forward process' variance: next^2 at each level.
#[test]
fn the_posterior_keeps_the_forward_process() {
    let (sigma, next) = (Sigma(2.0), Sigma(0.7));
    let (x0, eps) = (normal(0), normal(1));
    let x = noised(x0.clone(), eps.clone(), both(sigma.0));
    let (mean, std) = posterior(x, x0.clone(), sigma, next);
    // Given x0, mean - x0 is eps times next^2 / sigma: its variance and the posterior's make next^2.
    let ratio = next.0 * next.0 / sigma.0;
    assert!(distance(mean, x0 + eps.mul_scalar(ratio)) < 1e-6);
    assert!((ratio * ratio + std.0 * std.0 - next.0 * next.0).abs() < 1e-12);
}
