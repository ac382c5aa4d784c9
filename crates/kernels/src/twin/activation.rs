//! Activations and the residual sum in burn's own operations.

use burn::tensor::{Tensor, activation};

/// See [`crate::silu`].
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// See [`crate::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// See [`crate::geglu`].
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let half = x.dims()[D - 1] / 2;
    let gate = x.clone().narrow(D - 1, half, half);
    x.narrow(D - 1, 0, half) * gelu(gate)
}

/// See [`crate::add_scaled`].
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, scale: f32) -> Tensor<D> {
    (a + b) * scale
}
