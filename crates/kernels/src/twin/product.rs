//! Products and convolutions in burn's own operations.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};

use crate::conv2d::Conv2dOptions;

/// See [`crate::matmul`].
pub fn matmul(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    a.matmul(b)
}

/// See [`crate::linear`].
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    module::linear(x, weight.transpose(), bias)
}

/// See [`crate::conv2d`].
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let Conv2dOptions {
        stride,
        padding: [before, after],
    } = options;
    let options = ConvOptions::new_with_padding([stride; 2], [(before, after); 2], [1, 1], 1);
    module::conv2d(x, weight, Some(bias), options)
}

/// See [`crate::conv2d_doubled`].
pub fn conv2d_doubled(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let size = [2 * height, 2 * width];
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size);
    let same = Conv2dOptions {
        stride: 1,
        padding: [1, 1],
    };
    conv2d(module::interpolate(x, options), weight, bias, same)
}
