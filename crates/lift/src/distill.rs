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
