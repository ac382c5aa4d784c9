//! A 3×3 convolution of an image of doubled size, without that image: the nine taps fall on four
//! pixels of the small one, so that four ninths of the products do. Its transpose is a convolution
//! of 4×4 taps with stride 2, whose two directions change their parts here. [Dumoulin16] ch. 4

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::conv2d::forward::{Addends, Spread, convolve};
use crate::conv2d::weight_gradient::weight_gradient;
use crate::conv2d::window::Window;
use crate::conv2d::{Convolution, channel_gradient};
use crate::operation::{self, Operation, Values};
use crate::packs::{Form, Packs};
use crate::scratch::{Shared, filled};
use crate::twin;

/// Taps of the small kernel that each tap of the large one is the sum of, on one axis.
const PARTS: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

/// Repeats each pixel of `x`, `[B, C, H, W]`, twice on both axes and convolves with `weight`,
/// `[D, C, 3, 3]`, and `bias`, `[D]`, keeping the size: `[B, D, 2H, 2W]`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn conv2d_doubled(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    packs: &Packs,
) -> Tensor<4> {
    if !operation::runs_on(&x) {
        return twin::conv2d_doubled(x, weight, bias);
    }
    let [batch, channels, height, width] = x.dims();
    let [outputs, ..] = weight.dims();
    assert!(channels > 0, "at least one channel");
    assert_eq!(weight.dims(), [outputs, channels, 3, 3], "a kernel of 3x3");
    assert_eq!(bias.dims(), [outputs], "one bias for each output channel");
    let transpose = Convolution {
        window: Window {
            kernel: [4; 2],
            stride: 2,
            before: [1; 2],
            input: [2 * height, 2 * width],
            output: [height, width],
        },
        batch,
        inputs: outputs,
        outputs: channels,
        packs: packs.clone(),
    };
    operation::ternary(Doubled(transpose), x, weight, bias)
}

/// The operation that burn records, by its transpose.
#[derive(Clone, Debug)]
struct Doubled(Convolution);

impl Doubled {
    /// The kernel of the transpose, `[C, D, 4, 4]`.
    fn widen(&self, weight: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.0.outputs, self.0.inputs);
        let mut wide = Vec::with_capacity(inputs * outputs * 16);
        for input in 0..inputs {
            for output in 0..outputs {
                let kernel = &weight[(output * inputs + input) * 9..][..9];
                for rows in PARTS {
                    for columns in PARTS {
                        let parts = rows
                            .iter()
                            .flat_map(|y| columns.iter().map(move |x| 3 * y + x));
                        wide.push(parts.map(|tap| kernel[tap]).sum());
                    }
                }
            }
        }
        wide
    }

    /// The derivative by the kernel, from the one by the kernel of the transpose.
    fn narrow(&self, wide: &[f32]) -> Vec<f32> {
        let (inputs, outputs) = (self.0.outputs, self.0.inputs);
        let mut weight = vec![0.0; inputs * outputs * 9];
        for (i, wide) in wide.chunks_exact(16).enumerate() {
            let (input, output) = (i / outputs, i % outputs);
            let kernel = &mut weight[(output * inputs + input) * 9..][..9];
            for (value, (rows, columns)) in wide.iter().zip(
                PARTS
                    .iter()
                    .flat_map(|rows| PARTS.iter().map(move |columns| (rows, columns))),
            ) {
                for y in *rows {
                    for x in *columns {
                        kernel[3 * y + x] += value;
                    }
                }
            }
        }
        weight
    }

    /// The derivative by x: the transpose itself.
    fn input_gradient(&self, weight: &FlexTensor, grad: &[f32]) -> FlexTensor {
        let Convolution {
            window,
            batch,
            outputs,
            ..
        } = self.0;
        let packed = self.0.packs.get(weight, Form::Forward, || {
            self.0
                .pack_forward(&self.widen(&Values::of(weight.clone())))
        });
        let [height, width] = window.output;
        let shape = [batch, outputs, height, width];
        let fill = |to: Shared| {
            // SAFETY: `to` is the whole result.
            unsafe {
                convolve(
                    grad,
                    &packed,
                    window,
                    Spread::dense(window),
                    Addends::default(),
                    to,
                )
            }
        };
        // SAFETY: every pixel of every channel gets its sum.
        let values = unsafe { filled(shape.iter().product(), fill) };
        operation::tensor(values, shape)
    }
}

impl Operation<3> for Doubled {
    type Saved = [FlexTensor; 2];

    fn infer(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
        let (x, bias) = (Values::of(x), Values::of(bias));
        let addends = Addends { bias: Some(&bias) };
        self.0
            .input_gradient(&weight, &x, addends, |weight| self.widen(weight).into())
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
        let Convolution {
            window,
            batch,
            inputs,
            outputs,
            ..
        } = self.0;
        let grad = Values::of(grad);
        let by_x = tracked[0].then(|| self.input_gradient(&weight, &grad));
        let by_weight = tracked[1].then(|| {
            let sizes = [batch, inputs, outputs];
            let isa = self.0.packs.isa();
            let wide = weight_gradient(isa, &grad, &Values::of(x), sizes, window);
            operation::tensor(self.narrow(&wide), [inputs, outputs, 3, 3])
        });
        let pixels = window.input[0] * window.input[1];
        let by_bias = tracked[2].then(|| channel_gradient(&grad, inputs, pixels));
        [by_x, by_weight, by_bias]
    }
}
