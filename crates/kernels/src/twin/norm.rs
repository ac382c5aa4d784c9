//! Norms and softmax in burn's own operations.

use burn::tensor::{Tensor, activation};

use crate::group_norm::{Act, GroupNormOptions};

/// See [`crate::group_norm`].
pub fn group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<D> {
    let dims = x.dims();
    let (batch, channels) = (dims[0], dims[1]);
    let area = dims[2..].iter().product::<usize>();
    let size = channels / options.groups * area;
    let normal = standard(x.reshape([batch, options.groups, size]), options.eps);
    let weight = weight.reshape([1, channels, 1]);
    let bias = bias.reshape([1, channels, 1]);
    let y = normal.reshape([batch, channels, area]) * weight + bias;
    act(y.reshape(dims), options.act)
}

/// See [`crate::group_norm_shifted`].
pub fn group_norm_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    group_norm(x + for_all_pixels(shift), weight, bias, options)
}

/// See [`crate::group_norm_modulated`].
pub fn group_norm_modulated(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let plain = GroupNormOptions {
        act: Act::None,
        ..options
    };
    let normal = group_norm(x, weight, bias, plain);
    act(
        normal * (for_all_pixels(scale) + 1.0) + for_all_pixels(shift),
        options.act,
    )
}

/// See [`crate::layer_norm`].
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    standard(x, eps) * weight.unsqueeze() + bias.unsqueeze()
}

/// See [`crate::rms_norm`].
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let square = x.clone().square().mean_dim(D - 1);
    x / (square + eps).sqrt() * weight.unsqueeze()
}

/// See [`crate::softmax`].
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::softmax(x, D - 1)
}

/// (x - mean) / sqrt(variance + eps) over the last axis.
fn standard<const D: usize>(x: Tensor<D>, eps: f64) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / (variance + eps).sqrt()
}

/// `[B, C]` as `[B, C, 1, 1]`.
fn for_all_pixels(x: Tensor<2>) -> Tensor<4> {
    let [batch, channels] = x.dims();
    x.reshape([batch, channels, 1, 1])
}

fn act<const D: usize>(x: Tensor<D>, act: Act) -> Tensor<D> {
    match act {
        Act::None => x,
        Act::Silu => activation::silu(x),
    }
}
