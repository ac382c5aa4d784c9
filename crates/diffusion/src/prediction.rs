//! What a network is trained to say: eps [Ho20], v [Salimans22], x0, or the flow velocity [Lipman23];
//! the target for training and the way back to x0. Leaves out input scaling: see `precondition`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::level::Sigma;

/// The meaning of a network's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise eps.
    #[default]
    Epsilon,
    /// v = alpha * eps - sigma_vp * x0, with alpha^2 + sigma_vp^2 = 1.
    Velocity,
    /// The clean image x0.
    Sample,
    /// eps - x0, the direction of the straight path from image to noise.
    Flow,
}

impl Prediction {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Epsilon, Self::Velocity, Self::Sample, Self::Flow];

    /// The training target [B, C, H, W] for x_t = alpha * x0 + sigma_vp * eps.
    /// `alpha` and `sigma_vp`, [B], are each image's own (variance-preserving) pair; only `Velocity` needs them.
    pub fn target(
        self,
        x0: Tensor<4>,
        eps: Tensor<4>,
        alpha: Tensor<1>,
        sigma_vp: Tensor<1>,
    ) -> Tensor<4> {
        match self {
            Self::Epsilon => eps,
            Self::Velocity => eps * per_image(alpha) - x0 * per_image(sigma_vp),
            Self::Sample => x0,
            Self::Flow => eps - x0,
        }
    }

    /// (c_skip, c_out) with which `x0 = c_skip * x + c_out * output`, for `x = x0 + sigma * eps`.
    ///
    /// With x_t = alpha x and sigma_vp = alpha sigma: eps gives x0 = x - sigma eps; v gives
    /// x0 = alpha x_t - sigma_vp v; flow gives x = x0 + sigma (output + x0), solved for x0.
    pub fn skip_and_out(self, sigma: Sigma) -> (f64, f64) {
        match self {
            Self::Epsilon => (1.0, -sigma.0),
            Self::Velocity => (sigma.alpha_bar(), -sigma.0 * sigma.alpha()),
            Self::Sample => (0.0, 1.0),
            Self::Flow => (1.0 - sigma.flow_time(), -sigma.flow_time()),
        }
    }

    /// x0 [B, C, H, W] behind `x = x0 + sigma * eps`, from the network's output at one level.
    pub fn x0(self, output: Tensor<4>, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let (c_skip, c_out) = self.skip_and_out(sigma);
        x.mul_scalar(c_skip) + output.mul_scalar(c_out)
    }
}

/// [B] to [B, 1, 1, 1], to be multiplied with images.
pub(crate) fn per_image(values: Tensor<1>) -> Tensor<4> {
    let [images] = values.dims();
    values.reshape([images, 1, 1, 1])
}
