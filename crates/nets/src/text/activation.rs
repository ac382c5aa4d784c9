//! The activations that the configs of text encoders name [Hendrycks16].

use std::f64::consts::FRAC_2_PI;

use burn::tensor::{Tensor, activation};
use dreamsmith_kernels::{gelu, silu};
use serde::{Deserialize, Serialize};

/// An elementwise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TextActivation {
    /// max(x, 0).
    Relu,
    /// x Phi(x), exact.
    Gelu,
    /// x sigmoid(1.702 x), near `Gelu`.
    QuickGelu,
    /// x (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3), nearer.
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// x sigmoid(x) [Ramachandran17].
    #[serde(alias = "swish")]
    Silu,
}

impl TextActivation {
    pub(crate) fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Gelu => gelu(x),
            Self::QuickGelu => silu(x * 1.702) / 1.702,
            Self::GeluNew => {
                // (1 + tanh(u)) / 2 = sigmoid(2u) and 2u = x f, so this is silu(x f) / f.
                let f = (x.clone().square() * 0.044715 + 1.0) * (2.0 * FRAC_2_PI.sqrt());
                silu(x * f.clone()) / f
            }
            Self::Silu => silu(x),
        }
    }
}
