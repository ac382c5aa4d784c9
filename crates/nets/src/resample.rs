//! Half and double resolution: by mean and repetition, by convolution, or by a residual block.

use burn::module::Module;
use burn::tensor::module as op;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Int, Tensor, TensorData};

use crate::layers::Conv2d;
use crate::resnet::ResnetBlock2D;
use crate::time_embedding::TimeFeatures;

/// The mean of each 2×2 pixels, without an odd last row or column: `[B, C, H, W]` to
/// `[B, C, H/2, W/2]`.
pub(crate) fn halve(x: Tensor<4>) -> Tensor<4> {
    let [b, c, height, width] = x.dims();
    let (h, w) = (height / 2, width / 2);
    let even = if [2 * h, 2 * w] == [height, width] {
        x
    } else {
        x.narrow(2, 0, 2 * h).narrow(3, 0, 2 * w)
    };
    // Three times as fast on the CPU as the pooling operation.
    even.reshape([b, c, h, 2, w, 2])
        .mean_dim(5)
        .mean_dim(3)
        .reshape([b, c, h, w])
}

/// Each pixel four times: `[B, C, H, W]` to `[B, C, 2H, 2W]`.
pub(crate) fn double(x: Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let options =
        InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
    op::interpolate(x, options)
}

/// A convolution under the name that diffusers gives it.
#[derive(Module, Debug)]
pub struct Resampling {
    conv: Conv2d,
}

impl Resampling {
    pub(crate) fn new(conv: Conv2d) -> Self {
        Self { conv }
    }
}

/// The last step of a down block.
#[expect(
    clippy::large_enum_variant,
    reason = "few of them live, and a Box is no Module"
)]
#[derive(Module, Debug)]
pub enum Downsampler {
    /// A 3×3 convolution with stride 2.
    Conv(Resampling),
    /// A residual block that halves.
    Resnet(ResnetBlock2D),
}

impl Downsampler {
    pub(crate) fn forward(&self, x: Tensor<4>, time: &TimeFeatures) -> Tensor<4> {
        match self {
            Self::Conv(halving) => halving.conv.forward(x),
            Self::Resnet(resnet) => resnet.forward(x, time),
        }
    }
}

/// The last step of an up block.
#[expect(
    clippy::large_enum_variant,
    reason = "few of them live, and a Box is no Module"
)]
#[derive(Module, Debug)]
pub enum Upsampler {
    /// Repetition and a 3×3 convolution.
    Conv(Resampling),
    /// A residual block that doubles.
    Resnet(ResnetBlock2D),
}

impl Upsampler {
    /// To `[height, width]`: the double of `x`, but for what an odd size lost on the way down.
    pub(crate) fn forward(&self, x: Tensor<4>, time: &TimeFeatures, size: [usize; 2]) -> Tensor<4> {
        match self {
            Self::Conv(doubled) => {
                let [_, _, height, width] = x.dims();
                if [2 * height, 2 * width] == size {
                    doubled.conv.forward_doubled(x)
                } else {
                    doubled.conv.forward(nearest(x, size))
                }
            }
            Self::Resnet(resnet) => nearest(resnet.forward(x, time), size),
        }
    }
}

/// Each pixel of the result is the one at the same place in `x`, rounded down.
fn nearest(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    if [h, w] == [height, width] {
        return x;
    }
    if [2 * h, 2 * w] == [height, width] {
        return double(x);
    }
    let device = x.device();
    let places = |n: usize, length: usize| {
        let places: Vec<i32> = (0..length).map(|i| (i * n / length) as i32).collect();
        Tensor::<1, Int>::from_data(TensorData::new(places, [length]), &device)
    };
    x.select(2, places(h, height)).select(3, places(w, width))
}
