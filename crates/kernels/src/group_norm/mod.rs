//! Group normalisation [Wu18] together with what stands around it in a residual block: a shift added
//! before, a scale and shift after [Dhariwal21], an activation. Leaves out norms without an affine map.

mod backward;
mod forward;

use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use crate::elementwise::{build, rows_per_job};
use crate::isa::{Isa, Precision};
use crate::operation::{Operation, Values, quaternary, runs_on, tensor, ternary};
use crate::reduce::column_sums;
use crate::scratch::with_scratch;
use crate::twin;

use backward::Backward;
use forward::{Forward, Operands};

/// The activation after a group norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Act {
    /// y = x.
    #[default]
    None,
    /// y = x / (1 + e^-x).
    Silu,
}

/// How a group norm normalises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormOptions {
    /// Groups that the channels are split into, of the same size.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// What follows the affine map.
    pub act: Act,
}

/// act(norm(x) weight + bias) with norm(x) = (x - mean) / sqrt(variance + eps) over each group of
/// channels of each image: `x` is `[B, C, ..]`, `weight` and `bias` are `[C]`.
pub fn group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<D> {
    check(&x.dims(), [&weight.dims(), &bias.dims()], options.groups);
    if runs_on(&x) && runs_on(&weight) && runs_on(&bias) {
        ternary(GroupNorm(options), x, weight, bias)
    } else {
        twin::group_norm(x, weight, bias, options)
    }
}

/// As [`group_norm`] of x + shift, with a `shift` `[B, C]` for all pixels of `x`, `[B, C, H, W]`.
pub fn group_norm_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    check(&x.dims(), [&weight.dims(), &bias.dims()], options.groups);
    assert_eq!(
        shift.dims(),
        x.dims()[..2],
        "the shape of a shift of {:?}",
        x.dims()
    );
    if runs_on(&x) && runs_on(&shift) && runs_on(&weight) && runs_on(&bias) {
        quaternary(GroupNorm(options), x, weight, bias, shift)
    } else {
        twin::group_norm_shifted(x, shift, weight, bias, options)
    }
}

/// act((norm(x) weight + bias) (1 + scale) + shift), with norm as in [`group_norm`]: `x` is
/// `[B, C, H, W]`, `weight` and `bias` are `[C]`, `scale` and `shift` `[B, C]`.
pub fn group_norm_modulated(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    options: GroupNormOptions,
) -> Tensor<4> {
    check(&x.dims(), [&weight.dims(), &bias.dims()], options.groups);
    assert_eq!(
        scale.dims(),
        x.dims()[..2],
        "the shape of a scale of {:?}",
        x.dims()
    );
    assert_eq!(
        shift.dims(),
        x.dims()[..2],
        "the shape of a shift of {:?}",
        x.dims()
    );
    if runs_on(&x) && runs_on(&weight) && runs_on(&scale) {
        // The two affine maps are one for each image.
        let scale = scale + 1.0;
        let bias = bias.unsqueeze::<2>() * scale.clone() + shift;
        ternary(GroupNorm(options), x, weight.unsqueeze::<2>() * scale, bias)
    } else {
        twin::group_norm_modulated(x, weight, bias, scale, shift, options)
    }
}

fn check(x: &[usize], affine: [&[usize; 1]; 2], groups: usize) {
    assert!(
        x.len() >= 2 && !x[1..].contains(&0),
        "[B, C, ..] to be normalised, not {x:?}"
    );
    assert!(
        groups > 0 && x[1].is_multiple_of(groups),
        "{groups} groups of {} channels",
        x[1]
    );
    assert_eq!(affine, [&[x[1]]; 2], "the affine map of {} channels", x[1]);
}

/// Takes x `[B, C, ..]`, weight and bias, `[C]` or `[B, C]`, and maybe a shift `[B, C]`.
#[derive(Clone, Copy, Debug)]
struct GroupNorm(GroupNormOptions);

/// Mean and 1 / deviation of each group are all that is kept beside the operands.
#[derive(Clone, Debug)]
struct Saved {
    operands: [Values; 3],
    shift: Option<Values>,
    affine: Shape,
    statistics: Vec<f32>,
}

impl Saved {
    fn operands(&self, area: usize) -> Operands<'_> {
        let [x, weight, bias] = &self.operands;
        let shift = self.shift.as_deref().unwrap_or_default();
        Operands {
            x,
            weight,
            bias,
            shift,
            area,
        }
    }
}

impl GroupNorm {
    /// Channels of a group, and values of a channel, in a tensor of this shape.
    fn sizes(self, shape: &Shape) -> [usize; 2] {
        [shape[1] / self.0.groups, shape[2..].iter().product()]
    }

    fn normalise(
        self,
        x: FlexTensor,
        affine: [FlexTensor; 2],
        shift: Option<FlexTensor>,
    ) -> (FlexTensor, Saved) {
        let shape = x.layout().shape().clone();
        let [channels, area] = self.sizes(&shape);
        let [weight, bias] = affine;
        let mut saved = Saved {
            affine: weight.layout().shape().clone(),
            operands: [x, weight, bias].map(Values::of),
            shift: shift.map(Values::of),
            statistics: Vec::new(),
        };
        let operands = saved.operands(area);
        let (size, groups) = (channels * area, shape[0] * self.0.groups);
        let each = rows_per_job(size);
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole groups.
        let [y, statistics] = unsafe {
            let (lens, sizes) = ([groups * size, 2 * groups], [each * size, 2 * each]);
            build(
                groups.div_ceil(each),
                lens,
                sizes,
                |job, [to, statistics]| {
                    let first = job * each;
                    isa.run(Forward {
                        options: self.0,
                        operands,
                        channels,
                        first,
                        to,
                        statistics,
                    });
                },
            )
        };
        saved.statistics = statistics;
        (tensor(y, shape), saved)
    }

    /// The derivatives by x, weight, bias and shift.
    fn derive(self, saved: &Saved, grad: FlexTensor) -> [FlexTensor; 4] {
        let shape = grad.layout().shape().clone();
        let grad = Values::of(grad);
        let [channels, area] = self.sizes(&shape);
        let operands = saved.operands(area);
        let (size, groups) = (channels * area, shape[0] * self.0.groups);
        let each = rows_per_job(size);
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole groups.
        let [dx, by_weight, by_bias, by_shift] = unsafe {
            let each_channel = each * channels;
            let lens = [
                groups * size,
                groups * channels,
                groups * channels,
                groups * channels,
            ];
            let sizes = [each * size, each_channel, each_channel, each_channel];
            build(
                groups.div_ceil(each),
                lens,
                sizes,
                |job, [dx, by_weight, by_bias, by_shift]| {
                    let first = job * each;
                    with_scratch(size, |buffer| {
                        isa.run(Backward {
                            options: self.0,
                            operands,
                            channels,
                            first,
                            statistics: &saved.statistics,
                            grad: &grad,
                            slopes: bytemuck::cast_slice_mut(buffer),
                            dx,
                            by_channel: [by_weight, by_bias, by_shift],
                        });
                    });
                },
            )
        };
        let columns = saved.affine.num_elements();
        [
            tensor(dx, shape.clone()),
            tensor(column_sums(&by_weight, columns), saved.affine.clone()),
            tensor(column_sums(&by_bias, columns), saved.affine.clone()),
            tensor(by_shift, [shape[0], shape[1]]),
        ]
    }
}

impl Operation<3> for GroupNorm {
    type Saved = Saved;

    fn infer(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
        self.normalise(x, [weight, bias], None).0
    }

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3], _: [bool; 3]) -> (FlexTensor, Saved) {
        self.normalise(x, [weight, bias], None)
    }

    fn backward(&self, saved: Saved, grad: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let [x, weight, bias, _] = self.derive(&saved, grad);
        [x, weight, bias].map(Some)
    }
}

impl Operation<4> for GroupNorm {
    type Saved = Saved;

    fn infer(&self, [x, weight, bias, shift]: [FlexTensor; 4]) -> FlexTensor {
        self.normalise(x, [weight, bias], Some(shift)).0
    }

    fn forward(&self, inputs: [FlexTensor; 4], _: [bool; 4]) -> (FlexTensor, Saved) {
        let [x, weight, bias, shift] = inputs;
        self.normalise(x, [weight, bias], Some(shift))
    }

    fn backward(&self, saved: Saved, grad: FlexTensor, _: [bool; 4]) -> [Option<FlexTensor>; 4] {
        self.derive(&saved, grad).map(Some)
    }
}
