//! The activations that U-Net configs name.

use burn::tensor::{Tensor, activation};
use dreamsmith_kernels::{gelu, silu};
use serde::{Deserialize, Serialize};

/// An elementwise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x · sigmoid(x) [Ramachandran17].
    #[serde(alias = "swish")]
    Silu,
    /// x · Φ(x), exact [Hendrycks16].
    Gelu,
    /// x · tanh(softplus(x)) [Misra19].
    Mish,
    /// max(x, 0).
    Relu,
}

impl Activation {
    pub(crate) fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => silu(x),
            Self::Gelu => gelu(x),
            Self::Mish => activation::mish(x),
            Self::Relu => activation::relu(x),
        }
    }
}
