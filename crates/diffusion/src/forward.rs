//! The forward process: from x0 to its noisy versions, and its posterior. [Ho20] eq. 4, 6 and 7.
//! In exploding (x0 + sigma eps) and variance-preserving (alpha x) coordinates.

use burn::tensor::Tensor;

use crate::level::Sigma;
use crate::prediction::per_image;
use crate::samplers::step::{ancestral, toward};

/// q(x | x0) in our own coordinates: x0 + sigma eps, [B, C, H, W], one sigma [B] for each image.
pub fn noised(x0: Tensor<4>, eps: Tensor<4>, sigma: Tensor<1>) -> Tensor<4> {
    x0 + eps * per_image(sigma)
}

/// q(x_t | x0) in variance-preserving coordinates, [Ho20] eq. 4: alpha x0 + sigma_vp eps, [B, C, H, W],
/// with alpha = sqrt(alpha_bar) and sigma_vp = sqrt(1 - alpha_bar), [B], of each image.
/// With (1 - t, t) for (alpha, sigma_vp) it is the straight path of flow matching.
pub fn noised_vp(
    x0: Tensor<4>,
    eps: Tensor<4>,
    alpha: Tensor<1>,
    sigma_vp: Tensor<1>,
) -> Tensor<4> {
    x0 * per_image(alpha) + eps * per_image(sigma_vp)
}

/// q(x_next | x_sigma, x0): the mean [B, C, H, W] and the standard deviation, [Ho20] eq. 6 and 7 written in sigma.
pub fn posterior(x: Tensor<4>, x0: Tensor<4>, sigma: Sigma, next: Sigma) -> (Tensor<4>, Sigma) {
    let ratio = next.0 / sigma.0;
    let (_, std) = ancestral(sigma, next, 1.0);
    (toward(x, x0, ratio * ratio), std)
}
