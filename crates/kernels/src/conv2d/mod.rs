//! Convolution as products of packed weights with pixels, without an image of all windows.
//! Leaves out groups and dilation.

mod doubled;
mod forward;
mod planes;
mod weight_gradient;
mod weight_tile;
mod window;
mod winograd;

pub use doubled::conv2d_doubled;

use std::borrow::Cow;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::conv2d::forward::{Addends, PackedTaps, convolve};
use crate::conv2d::weight_gradient::weight_gradient;
use crate::conv2d::window::{Phase, Window};
use crate::conv2d::winograd::PackedTiles;
use crate::operation::{self, Operation, Values};
use crate::packs::{Form, Packs};
use crate::reduce::channel_sums;
use crate::scratch::{Shared, filled};
use crate::twin;

/// Stride and borders of a convolution, the same for both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Input pixels from one output pixel to the next, at least 1.
    pub stride: usize,
    /// Zeros before and after the image.
    pub padding: [usize; 2],
}

/// Cross-correlation of `x`, `[B, C, H, W]`, with `weight`, `[D, C, kh, kw]`, plus `bias`, `[D]`:
/// `[B, D, H', W']` with H' = (H + before + after - kh) / stride + 1.
///
/// # Panics
/// If the shapes do not fit together, or the kernel is larger than the padded image.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: Conv2dOptions,
    packs: &Packs,
) -> Tensor<4> {
    if !operation::runs_on(&x) {
        return twin::conv2d(x, weight, bias, options);
    }
    let [batch, channels, height, width] = x.dims();
    let [outputs, inputs, kh, kw] = weight.dims();
    assert_eq!(channels, inputs, "channels of the image and of the weight");
    assert!(
        inputs > 0 && options.stride > 0,
        "at least one channel, and a stride"
    );
    assert_eq!(bias.dims(), [outputs], "one bias for each output channel");
    let [before, after] = options.padding;
    let slide = |input: usize, kernel: usize| {
        let room = (input + before + after).checked_sub(kernel);
        room.expect("the kernel fits into the padded image") / options.stride + 1
    };
    let window = Window {
        kernel: [kh, kw],
        stride: options.stride,
        before: [before as isize; 2],
        input: [height, width],
        output: [slide(height, kh), slide(width, kw)],
    };
    let convolution = Convolution {
        window,
        batch,
        inputs,
        outputs,
        packs: packs.clone(),
    };
    operation::ternary(convolution, x, weight, bias)
}

/// The operation that burn records.
#[derive(Clone, Debug)]
struct Convolution {
    window: Window,
    batch: usize,
    inputs: usize,
    outputs: usize,
    packs: Packs,
}

impl Convolution {
    /// The weight for the forward direction, `[outputs][inputs][taps]` in memory.
    fn pack_forward(&self, weight: &[f32]) -> PackedTaps {
        let n_taps = self.window.n_taps();
        PackedTaps::pack(
            self.packs.isa(),
            weight,
            [self.outputs, self.inputs],
            [self.inputs * n_taps, n_taps],
            &(0..n_taps).collect::<Vec<_>>(),
            false,
        )
    }

    /// The weight for one phase of the transposed direction.
    fn pack_backward(&self, weight: &[f32], phase: &Phase) -> PackedTaps {
        let Window { kernel, stride, .. } = self.window;
        let [rows, columns] = phase.window.kernel;
        // The window's last tap sees the first of the kernel: packed in the order of the kernel.
        let source = |axis: usize, t: usize| phase.first_tap[axis] + stride * t;
        let taps = (0..rows)
            .flat_map(|y| (0..columns).map(move |x| source(0, y) * kernel[1] + source(1, x)))
            .collect::<Vec<_>>();
        let n_taps = self.window.n_taps();
        PackedTaps::pack(
            self.packs.isa(),
            weight,
            [self.inputs, self.outputs],
            [n_taps, self.inputs * n_taps],
            &taps,
            true,
        )
    }

    /// The weight for tiles of the forward direction.
    fn pack_forward_tiles(&self, weight: &[f32]) -> PackedTiles {
        PackedTiles::pack(
            self.packs.isa(),
            weight,
            [self.outputs, self.inputs],
            [self.inputs * 9, 9],
            std::array::from_fn(|tap| tap),
        )
    }

    /// The weight for tiles of the transposed direction, whose first tap sees the last of the kernel.
    fn pack_backward_tiles(&self, weight: &[f32]) -> PackedTiles {
        PackedTiles::pack(
            self.packs.isa(),
            weight,
            [self.inputs, self.outputs],
            [9, self.inputs * 9],
            std::array::from_fn(|tap| 8 - tap),
        )
    }

    /// The derivative by the input in tiles, where these suit the transposed window.
    fn input_gradient_by_tiles(&self, weight: &FlexTensor, grad: &[f32]) -> Option<FlexTensor> {
        let phases = self.window.transposed();
        let [Phase { window, .. }] = phases[..] else {
            return None;
        };
        if !winograd::suits(window, self.outputs, self.inputs) {
            return None;
        }
        let packed = self.packs.get(weight, Form::BackwardTiles, || {
            self.pack_backward_tiles(&Values::of(weight.clone()))
        });
        let [height, width] = window.output;
        let shape = [self.batch, self.inputs, height, width];
        // SAFETY: `to` is the whole gradient.
        let fill = |to: Shared| unsafe { winograd::convolve(grad, &packed, window, None, to) };
        // SAFETY: every pixel of every channel gets its sum.
        let values = unsafe { filled(shape.iter().product(), fill) };
        Some(operation::tensor(values, shape))
    }

    /// The derivative by the input, plus `addends`. `kernel` makes the kernel of the weight.
    fn input_gradient(
        &self,
        weight: &FlexTensor,
        grad: &[f32],
        addends: Addends<'_>,
        kernel: impl Fn(&[f32]) -> Cow<'_, [f32]>,
    ) -> FlexTensor {
        let [height, width] = self.window.input;
        let shape = [self.batch, self.inputs, height, width];
        let phases = self.window.transposed();
        let packed = self.packs.get(weight, Form::Backward, || {
            let weight = Values::of(weight.clone());
            let kernel = kernel(&weight);
            let pack = |phase: &Phase| self.pack_backward(&kernel, phase);
            phases.iter().map(pack).collect::<Vec<_>>()
        });
        let fill = |to: Shared| {
            for (phase, packed) in phases.iter().zip(packed.iter()) {
                if phase.window.n_taps() == 0 {
                    continue;
                }
                let spread = forward::Spread {
                    offset: phase.offset,
                    stride: self.window.stride,
                    size: self.window.input,
                };
                // SAFETY: `to` is the whole gradient, used by one phase after the other.
                unsafe { convolve(grad, packed, phase.window, spread, addends, to) };
            }
        };
        let all = phases.iter().all(|phase| phase.window.n_taps() > 0);
        let len = shape.iter().product();
        let values = if all && self.outputs > 0 && self.window.pixels() > 0 {
            // SAFETY: the phases cover all pixels, and a phase with taps writes its own.
            unsafe { filled(len, fill) }
        } else {
            let mut values = vec![0.0; len];
            fill(Shared::of(&mut values));
            values
        };
        operation::tensor(values, shape)
    }
}

impl Operation<3> for Convolution {
    type Saved = [FlexTensor; 2];

    fn infer(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
        let [height, width] = self.window.output;
        let shape = [self.batch, self.outputs, height, width];
        let (x, bias) = (Values::of(x), Values::of(bias));
        if winograd::suits(self.window, self.inputs, self.outputs) {
            let packed = self.packs.get(&weight, Form::ForwardTiles, || {
                self.pack_forward_tiles(&Values::of(weight.clone()))
            });
            let fill = |to: Shared| {
                // SAFETY: `to` is the whole result.
                unsafe { winograd::convolve(&x, &packed, self.window, Some(&bias), to) }
            };
            // SAFETY: every pixel of every channel gets its sum.
            let values = unsafe { filled(shape.iter().product(), fill) };
            return operation::tensor(values, shape);
        }
        let packed = self.packs.get(&weight, Form::Forward, || {
            self.pack_forward(&Values::of(weight.clone()))
        });
        let addends = Addends { bias: Some(&bias) };
        let spread = forward::Spread::dense(self.window);
        let fill = |to: Shared| {
            // SAFETY: `to` is the whole result.
            unsafe { convolve(&x, &packed, self.window, spread, addends, to) }
        };
        // SAFETY: every pixel of every channel gets its sum.
        let values = unsafe { filled(shape.iter().product(), fill) };
        operation::tensor(values, shape)
    }

    fn forward(&self, inputs: [FlexTensor; 3], _tracked: [bool; 3]) -> (FlexTensor, Self::Saved) {
        let saved = [inputs[0].clone(), inputs[1].clone()];
        (self.infer(inputs), saved)
    }

    fn backward(
        &self,
        [x, weight]: Self::Saved,
        grad: FlexTensor,
        tracked: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let grad = Values::of(grad);
        // Side by side, so that no thread waits at the end of one for the beginning of the next.
        let by_input = || {
            tracked[0].then(|| {
                let by_tiles = self.input_gradient_by_tiles(&weight, &grad);
                by_tiles.unwrap_or_else(|| {
                    self.input_gradient(&weight, &grad, Addends::default(), |weight| weight.into())
                })
            })
        };
        let by_weight = || {
            tracked[1].then(|| {
                let [kh, kw] = self.window.kernel;
                let sizes = [self.batch, self.inputs, self.outputs];
                let values =
                    weight_gradient(self.packs.isa(), &Values::of(x), &grad, sizes, self.window);
                operation::tensor(values, [self.outputs, self.inputs, kh, kw])
            })
        };
        let pixels = self.window.pixels();
        let by_bias = || tracked[2].then(|| channel_gradient(&grad, self.outputs, pixels));
        // The bias goes with the side that mostly is done first.
        let ((by_input, by_bias), by_weight) = rayon::join(|| (by_input(), by_bias()), by_weight);
        [by_input, by_weight, by_bias]
    }
}

/// The derivative by the bias.
fn channel_gradient(grad: &[f32], channels: usize, pixels: usize) -> FlexTensor {
    operation::tensor(channel_sums(grad, channels, pixels), [channels])
}
