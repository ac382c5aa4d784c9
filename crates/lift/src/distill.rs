//! Score distillation: where a picture should go, for a diffusion model to find it likelier. The gradient is explicit;
//! nothing is differentiated through the network.
//! Score distillation sampling, SDS: [Poole22] eq. 3. Variational, VSD: [Wang23] eq. 9. Interval score matching, ISM:
//! [Liang23] eq. 17.

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::Denoise;
use dreamsmith_diffusion::level::Sigma;
use serde::{Deserialize, Serialize};

/// Which way pictures go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distill {
    /// Against what the model makes of noise on them [Poole22].
    Sds {},
    /// Against what a copy of the model says that learns what pictures there are [Wang23].
    Vsd {
        /// Of the copy.
        learning_rate: f64,
    },
    /// Against what the model makes of them on the deterministic way up [Liang23].
    Ism {
        /// Steps up to the level that is compared with; each asks the model once.
        steps: u32,
        /// From that level to the last, as a share of the schedule.
        interval: f64,
    },
}

impl Default for Distill {
    fn default() -> Self {
        Self::Sds {}
    }
}

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

/// w (eps_hat - eps_own), where `own` knows the pictures that there are: w (D_own - D) / sigma.
pub fn vsd_grad(
    (net, own): (&dyn Denoise, &dyn Denoise),
    x0: Tensor<4>,
    eps: Tensor<4>,
    (sigma, weight): (Sigma, LevelWeight),
) -> Tensor<4> {
    let x = x0 + eps.mul_scalar(sigma.0);
    let off = own.denoise(x.clone(), sigma) - net.denoise(x, sigma);
    off.mul_scalar(weight.at(sigma) / sigma.0)
}

/// w (eps_hat_t - eps_hat_s), without any noise of its own: `free`, which is told nothing, leads `x0` upwards through
/// `levels` by the deterministic sampler backwards; at the last but one, s, and the last, t, what it says and what `net`
/// says are compared. `levels` rise, and there are at least two.
pub fn ism_grad(
    (net, free): (&dyn Denoise, &dyn Denoise),
    x0: Tensor<4>,
    (levels, weight): (&[Sigma], LevelWeight),
) -> Tensor<4> {
    let eps_hat = |net: &dyn Denoise, x: Tensor<4>, sigma: Sigma| {
        (x.clone() - net.denoise(x, sigma)).div_scalar(sigma.0)
    };
    let (mut x, mut at) = (x0.clone(), 0.0);
    let mut said = x0.zeros_like();
    for sigma in levels {
        // Where there is no noise yet there is nothing to ask about: the first level stands for it.
        let asked = if at == 0.0 { *sigma } else { Sigma(at) };
        said = eps_hat(free, x.clone(), asked);
        x = x + said.clone().mul_scalar(sigma.0 - at);
        at = sigma.0;
    }
    (eps_hat(net, x, Sigma(at)) - said).mul_scalar(weight.at(Sigma(at)))
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
    const SPREAD: f64 = 0.2;

    impl Denoise for TwoModes {
        fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
            mixture(x, sigma, (&MODES, SPREAD))
        }
    }

    /// The mean of what may lie behind `x` [B, 2, 1, 1], if that is any of `modes` with some spread: each mode's, by how
    /// likely it is to have led there.
    fn mixture(x: Tensor<4>, sigma: Sigma, (modes, spread): (&[[f32; 2]], f64)) -> Tensor<4> {
        let (shape, device) = (x.dims(), x.device());
        let values: Vec<f32> = x.to_data().iter::<f32>().collect();
        let total = spread * spread + sigma.0 * sigma.0;
        let keep = spread * spread / total;
        let guess = values.chunks(2).flat_map(|x| {
            let x = [0, 1].map(|i| f64::from(x[i]));
            let modes = modes.iter().map(|mode| mode.map(f64::from));
            let logs = modes
                .clone()
                .map(|m| -((x[0] - m[0]).powi(2) + (x[1] - m[1]).powi(2)) / (2.0 * total));
            let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
            let (mut sum, mut mean) = (0.0, [0.0; 2]);
            for (mode, log) in modes.zip(logs) {
                let share = (log - most).exp();
                sum += share;
                for i in 0..2 {
                    mean[i] += share * (mode[i] * (1.0 - keep) + keep * x[i]);
                }
            }
            mean.map(|m| (m / sum) as f32)
        });
        Tensor::from_data(TensorData::new(guess.collect::<Vec<_>>(), shape), &device)
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

    /// The particles at `points`, each as likely: what VSD's own network would know after long training.
    struct Particles(Vec<[f32; 2]>);

    impl Denoise for Particles {
        fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
            mixture(x, sigma, (&self.0, 0.0))
        }
    }

    /// What a model that is told nothing expects.
    struct Anywhere;

    impl Denoise for Anywhere {
        fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
            mixture(x, sigma, (&[[0.0; 2]], 2.0))
        }
    }

    /// The gradient of one of some points, with random numbers and a level for it.
    type Way<'a> = &'a dyn Fn(&[[f32; 2]], usize, &mut Stream, Sigma) -> [f32; 2];

    /// Moves `points` for 1000 steps at falling levels, each by its `gradient`.
    fn moved(mut points: Vec<[f32; 2]>, gradient: Way<'_>) -> Vec<[f32; 2]> {
        for step in 0..1000 {
            let time = 1.0 - step as f64 / 1000.0;
            let rate = 0.1 * (0.1 + time as f32);
            let ways: Vec<[f32; 2]> = (0..points.len())
                .map(|i| {
                    let mut stream = Stream::new(3, Purpose::Test, step << 16 | i as u64);
                    let sigma = Sigma(0.05 + 0.8 * time * stream.uniform_f64());
                    gradient(&points, i, &mut stream, sigma)
                })
                .collect();
            for (point, way) in points.iter_mut().zip(ways) {
                *point = [0, 1].map(|i| point[i] - rate * way[i]);
            }
        }
        points
    }

    /// How far points lie from their nearest mode, over how far they would if they were distributed as these are.
    fn relative_spread(points: &[[f32; 2]]) -> f64 {
        let square = |point: &[f32; 2]| {
            let off = |mode: [f32; 2]| (point[0] - mode[0]).hypot(point[1] - mode[1]);
            let nearest = MODES.map(off).into_iter().fold(f32::INFINITY, f32::min);
            f64::from(nearest * nearest)
        };
        // In the plane the mean square is twice that along an axis.
        (points.iter().map(square).sum::<f64>() / 2.0 / points.len() as f64).sqrt() / SPREAD
    }

    fn around(n: u64) -> Vec<[f32; 2]> {
        let at = |i| {
            let mut stream = Stream::new(9, Purpose::Test, i);
            [2.0 * stream.normal(), stream.normal()]
        };
        (0..n).map(at).collect()
    }

    #[test]
    fn sds_finds_modes() {
        let found = moved(around(24), &|points, i, stream, sigma| {
            let eps = [stream.normal(), stream.normal()];
            let at = (sigma, LevelWeight::Even);
            numbers(&sds_grad(&TwoModes, point(points[i]), point(eps), at))
        });
        // What the noise of the last steps leaves.
        let spread = relative_spread(&found);
        assert!(spread < 0.5, "{spread}: {found:?}");
    }

    #[test]
    fn ism_finds_modes() {
        let found = moved(around(24), &|points, i, _, sigma| {
            let levels = [0.3, 0.7, 1.0].map(|share| Sigma(share * sigma.0));
            let at = (&levels[..], LevelWeight::Even);
            numbers(&ism_grad((&TwoModes, &Anywhere), point(points[i]), at))
        });
        let spread = relative_spread(&found);
        assert!(spread < 0.5, "{spread}: {found:?}");
    }

    #[test]
    fn vsd_finds_the_distribution() {
        let found = moved(around(64), &|points, i, stream, sigma| {
            let eps = [stream.normal(), stream.normal()];
            let own = Particles(points.to_vec());
            let at = (sigma, LevelWeight::Even);
            numbers(&vsd_grad(
                (&TwoModes, &own),
                point(points[i]),
                point(eps),
                at,
            ))
        });
        let spread = relative_spread(&found);
        assert!((0.6..1.4).contains(&spread), "{spread}: {found:?}");
        let left = found.iter().filter(|point| point[0] < 0.0).count();
        assert!((16..=48).contains(&left), "{left} of 64 on the left");
    }
}
