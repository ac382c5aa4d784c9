//! Score distillation: where a picture should go, for a diffusion model to find it likelier. The gradient is explicit;
//! nothing is differentiated through the network.
//! Score distillation sampling, SDS: [Poole22] eq. 3.

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::Denoise;
use dreamsmith_diffusion::level::Sigma;
use serde::{Deserialize, Serialize};

/// How much a noise level counts: w(t) of [Poole22] eq. 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelWeight {
    /// 1 - alpha_bar: the variance of the noise in variance-preserving coordinates.
    #[default]
    Variance,
    /// All the same.
    Even,
    /// sigma: the gradient is the way to the denoised picture.
    Sigma,
}

impl LevelWeight {
    /// w at `sigma`.
    pub fn at(self, sigma: Sigma) -> f64 {
        match self {
            Self::Variance => 1.0 - sigma.alpha_bar(),
            Self::Even => 1.0,
            Self::Sigma => sigma.0,
        }
    }
}

/// w (eps_hat - eps) for pictures `x0` [B, C, H, W] with noise `eps` of level `sigma` on them. As
/// D(x0 + sigma eps; sigma) = x0 + sigma (eps - eps_hat), this is w (x0 - D) / sigma.
pub fn sds_grad(
    net: &dyn Denoise,
    x0: Tensor<4>,
    eps: Tensor<4>,
    (sigma, weight): (Sigma, LevelWeight),
) -> Tensor<4> {
    let denoised = net.denoise(x0.clone() + eps.mul_scalar(sigma.0), sigma);
    (x0 - denoised).mul_scalar(weight.at(sigma) / sigma.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use dreamsmith_base::{Purpose, Stream};

    /// Two points of the plane, each as likely: its denoiser has a closed form.
    struct TwoModes;

    const MODES: [[f32; 2]; 2] = [[-1.0, 0.5], [1.0, 0.5]];
    /// The spread of each.
    const SPREAD: f64 = 0.1;

    impl Denoise for TwoModes {
        /// The mean of what may lie behind `x` [B, 2, 1, 1]: each mode's, by how likely it is to have led there.
        fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
            let (shape, device) = (x.dims(), x.device());
            let values: Vec<f32> = x.to_data().iter::<f32>().collect();
            let total = SPREAD * SPREAD + sigma.0 * sigma.0;
            let guess = values.chunks(2).flat_map(|x| {
                let x = [0, 1].map(|i| f64::from(x[i]));
                let likelihood = MODES.map(|mode| {
                    let off: f64 = (0..2).map(|i| (x[i] - f64::from(mode[i])).powi(2)).sum();
                    -off / (2.0 * total)
                });
                let most = likelihood[0].max(likelihood[1]);
                let shares = likelihood.map(|l| (l - most).exp());
                let sum: f64 = shares.iter().sum();
                let keep = SPREAD * SPREAD / total;
                [0, 1].map(|i| {
                    let behind = |k: usize| f64::from(MODES[k][i]) * (1.0 - keep) + keep * x[i];
                    ((shares[0] * behind(0) + shares[1] * behind(1)) / sum) as f32
                })
            });
            Tensor::from_data(TensorData::new(guess.collect::<Vec<_>>(), shape), &device)
        }
    }

    fn point(at: [f32; 2]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(at.to_vec(), [1, 2, 1, 1]), &Device::flex())
    }

    fn numbers(x: &Tensor<4>) -> [f32; 2] {
        let values: Vec<f32> = x.to_data().iter::<f32>().collect();
        [values[0], values[1]]
    }

    #[test]
    fn the_gradient_is_the_formula() {
        // Of eps_hat = (x - D) / sigma and the noise that was put on.
        let (x0, eps, sigma) = ([0.3, -0.2], [0.5, -1.5], Sigma(0.7));
        let grad = |weight| numbers(&sds_grad(&TwoModes, point(x0), point(eps), (sigma, weight)));
        let noisy = [0, 1].map(|i| x0[i] + eps[i] * sigma.0 as f32);
        let denoised = numbers(&TwoModes.denoise(point(noisy), sigma));
        let weights = [
            (LevelWeight::Even, 1.0),
            (LevelWeight::Variance, 0.49 / 1.49),
            (LevelWeight::Sigma, 0.7),
        ];
        for (weight, w) in weights {
            for i in 0..2 {
                let eps_hat = (noisy[i] - denoised[i]) / 0.7;
                // Some roundings of numbers of size 1.
                assert!((grad(weight)[i] - w * (eps_hat - eps[i])).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn it_leads_to_a_mode() {
        for start in [[-0.3, -1.0], [0.2, 2.0], [0.05, 0.0]] {
            let mut x = start;
            for step in 0..2000 {
                let mut stream = Stream::new(3, Purpose::Test, step);
                let time = 1.0 - step as f64 / 2000.0;
                let sigma = Sigma(0.02 + 1.5 * time * stream.uniform_f64());
                let eps = [stream.normal(), stream.normal()];
                let grad = sds_grad(
                    &TwoModes,
                    point(x),
                    point(eps),
                    (sigma, LevelWeight::Variance),
                );
                let rate = 0.05 * (0.1 + time as f32);
                x = [0, 1].map(|i| x[i] - rate * numbers(&grad)[i]);
            }
            let off = |mode: [f32; 2]| (x[0] - mode[0]).hypot(x[1] - mode[1]);
            let nearest = MODES.map(off).into_iter().fold(f32::INFINITY, f32::min);
            // What a mode's own spread and the last steps' noise leave.
            assert!(nearest < 0.1, "{start:?} went to {x:?}");
        }
    }
}
