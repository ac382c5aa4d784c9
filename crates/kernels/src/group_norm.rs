//! Group normalisation [Wu18] together with what stands around it in a residual block: a shift added
//! before, a scale and shift after [Dhariwal21], an activation. Leaves out norms without an affine map.

use std::ops::Range;

use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use crate::activation::{Activation, Identity, Silu};
use crate::elementwise::{Function, Place, Room, Square, Value, apply, build, rows_per_job, sums};
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, Lanes};
use crate::operation::{Operation, Values, quaternary, runs_on, tensor, ternary};
use crate::reduce::column_sums;
use crate::scratch::with_scratch;
use crate::twin;

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

/// What is normalised. Channels are counted through all images.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    /// Empty if there is none.
    shift: &'a [f32],
    /// Values of a channel.
    area: usize,
}

/// One channel: act((x - centre) factor + bias).
#[derive(Clone, Copy)]
struct Channel<'a> {
    x: &'a [f32],
    centre: f32,
    weight: f32,
    factor: f32,
    bias: f32,
}

impl<'a> Operands<'a> {
    #[inline(always)]
    fn channel(&self, channel: usize, [mean, scale]: [f32; 2]) -> Channel<'a> {
        // The affine map is that of the image, or that of all images.
        let affine = channel % self.weight.len();
        let weight = self.weight[affine];
        Channel {
            x: &self.x[channel * self.area..][..self.area],
            centre: mean - self.shift.get(channel).copied().unwrap_or(0.0),
            weight,
            factor: weight * scale,
            bias: self.bias[affine],
        }
    }

    /// Mean and 1 / sqrt(variance + eps) of the group of these channels.
    #[inline(always)]
    fn statistics<L: Lanes>(&self, channels: Range<usize>, eps: f64) -> [f32; 2] {
        let x = &self.x[channels.start * self.area..channels.end * self.area];
        let n = x.len() as f64;
        let [mut sum] = sums::<L, 1, 1>(Value, [x], [0.0]);
        let mut squares = 0.0;
        let mean;
        if self.shift.is_empty() {
            mean = (sum / n) as f32;
            [squares] = sums::<L, 1, 1>(Square(mean), [x], [mean]);
        } else {
            let shifts = &self.shift[channels];
            for shift in shifts {
                sum += self.area as f64 * f64::from(*shift);
            }
            mean = (sum / n) as f32;
            for (x, shift) in x.chunks_exact(self.area).zip(shifts) {
                let centre = mean - shift;
                squares += sums::<L, 1, 1>(Square(centre), [x], [centre])[0];
            }
        }
        [mean, (1.0 / (squares / n + eps).sqrt()) as f32]
    }
}

/// The groups of a job.
struct Forward<'a> {
    options: GroupNormOptions,
    operands: Operands<'a>,
    /// Channels of a group.
    channels: usize,
    /// The first group.
    first: usize,
    to: &'a mut Room,
    /// Mean and 1 / deviation of each group.
    statistics: &'a mut Room,
}

impl Job for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        match self.options.act {
            Act::None => self.normalise::<L, Identity>(Identity),
            Act::Silu => self.normalise::<L, Silu>(Silu),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn normalise<L: Lanes, A: Activation>(self, act: A) {
        let Self {
            operands, channels, ..
        } = self;
        let groups = self.to.chunks_exact_mut(channels * operands.area);
        let statistics = self.statistics.chunks_exact_mut(2);
        for (i, (to, kept)) in groups.zip(statistics).enumerate() {
            let first = (self.first + i) * channels;
            let statistics = operands.statistics::<L>(first..first + channels, self.options.eps);
            for (kept, value) in kept.iter_mut().zip(statistics) {
                kept.put(value);
            }
            for (c, to) in to.chunks_exact_mut(operands.area).enumerate() {
                let Channel {
                    x,
                    centre,
                    factor,
                    bias,
                    ..
                } = operands.channel(first + c, statistics);
                apply::<L, 1, 1>(
                    Normalise {
                        centre,
                        factor,
                        bias,
                        act,
                    },
                    [x],
                    [to],
                );
            }
        }
    }
}

/// act((x - centre) factor + bias)
#[derive(Clone, Copy)]
struct Normalise<A> {
    centre: f32,
    factor: f32,
    bias: f32,
    act: A,
}

impl<A: Activation> Function<1, 1> for Normalise<A> {
    #[inline(always)]
    fn at<L: Lanes>(self, [x]: [F32s; 1]) -> [F32s; 1] {
        let affine = x.map(|x| L::mul_add(x - self.centre, self.factor, self.bias));
        [self.act.value::<L>(affine)]
    }
}

/// grad act'((x - centre) factor + bias), of (x, grad).
#[derive(Clone, Copy)]
struct BeforeActivation<A>(Normalise<A>);

impl<A: Activation> Function<2, 1> for BeforeActivation<A> {
    #[inline(always)]
    fn at<L: Lanes>(self, [x, grad]: [F32s; 2]) -> [F32s; 1] {
        let Normalise {
            centre,
            factor,
            bias,
            act,
        } = self.0;
        let mut slope = act.slope::<L>(x.map(|x| L::mul_add(x - centre, factor, bias)));
        for (slope, grad) in slope.iter_mut().zip(grad) {
            *slope *= grad;
        }
        [slope]
    }
}

/// slope, and slope (x - centre), of (x, slope).
#[derive(Clone, Copy)]
struct Moments {
    centre: f32,
}

impl Function<2, 2> for Moments {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, slope]: [F32s; 2]) -> [F32s; 2] {
        for (x, slope) in x.iter_mut().zip(slope) {
            *x = (*x - self.centre) * slope;
        }
        [slope, x]
    }
}

/// slope, and x - centre, of (x, slope).
#[derive(Clone, Copy)]
struct Distances {
    centre: f32,
}

impl Function<2, 2> for Distances {
    #[inline(always)]
    fn at<L: Lanes>(self, [x, slope]: [F32s; 2]) -> [F32s; 2] {
        [slope, x.map(|x| x - self.centre)]
    }
}

/// slope factor - level - (x - centre) tilt, of (x, slope).
#[derive(Clone, Copy)]
struct BeforeNorm {
    centre: f32,
    factor: f32,
    level: f32,
    tilt: f32,
}

impl Function<2, 1> for BeforeNorm {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, slope]: [F32s; 2]) -> [F32s; 1] {
        for (x, slope) in x.iter_mut().zip(slope) {
            let common = L::mul_add(*x - self.centre, self.tilt, self.level);
            *x = L::mul_add(slope, self.factor, -common);
        }
        [x]
    }
}

/// The derivatives of the groups of a job.
struct Backward<'a> {
    options: GroupNormOptions,
    operands: Operands<'a>,
    channels: usize,
    first: usize,
    /// Those of all groups, as all of `grad`.
    statistics: &'a [f32],
    grad: &'a [f32],
    /// Derivatives by what the activation is given, of one group.
    slopes: &'a mut [f32],
    dx: &'a mut Room,
    /// By weight, bias and shift, of each channel.
    by_channel: [&'a mut Room; 3],
}

impl Job for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        match self.options.act {
            Act::None => self.derive::<L, Identity>(Identity),
            Act::Silu => self.derive::<L, Silu>(Silu),
        }
    }
}

impl Backward<'_> {
    /// With q = x - centre and s the slope before the activation, of m values of the group:
    /// dx = factor s - scale mean(weight s) - scale^3 q mean(weight s q).
    #[inline(always)]
    fn derive<L: Lanes, A: Activation>(self, act: A) {
        let Self {
            operands, channels, ..
        } = self;
        let area = operands.area;
        let size = channels * area;
        let [by_weight, by_bias, by_shift] = self.by_channel;
        for (i, dx) in self.dx.chunks_exact_mut(size).enumerate() {
            let group = self.first + i;
            let statistics = [self.statistics[2 * group], self.statistics[2 * group + 1]];
            let scale = f64::from(statistics[1]);
            let grad = &self.grad[group * size..][..size];
            let (mut level, mut tilt) = (0.0, 0.0);
            for c in 0..channels {
                let Channel {
                    x,
                    centre,
                    weight,
                    factor,
                    bias,
                } = operands.channel(group * channels + c, statistics);
                let part = c * area..(c + 1) * area;
                let slopes = &mut self.slopes[part.clone()];
                let before = BeforeActivation(Normalise {
                    centre,
                    factor,
                    bias,
                    act,
                });
                apply::<L, 2, 1>(before, [x, &grad[part]], [&mut *slopes]);
                let [sum, moment] = sums::<L, 2, 2>(Moments { centre }, [x, slopes], [0.0; 2]);
                by_weight[i * channels + c].put((scale * moment) as f32);
                by_bias[i * channels + c].put(sum as f32);
                level += f64::from(weight) * sum;
                tilt += f64::from(weight) * moment;
            }
            let level = (scale * level / size as f64) as f32;
            let tilt = (scale.powi(3) * tilt / size as f64) as f32;
            for (c, dx) in dx.chunks_exact_mut(area).enumerate() {
                let Channel {
                    x, centre, factor, ..
                } = operands.channel(group * channels + c, statistics);
                let slopes = &self.slopes[c * area..(c + 1) * area];
                let before = BeforeNorm {
                    centre,
                    factor,
                    level,
                    tilt,
                };
                apply::<L, 2, 1>(before, [x, slopes], [dx]);
                let by = if operands.shift.is_empty() {
                    0.0
                } else {
                    let f = Distances { centre };
                    let [slope, distance] = sums::<L, 2, 2>(f, [x, slopes], [centre, 0.0]);
                    let common = area as f64 * f64::from(level) + f64::from(tilt) * distance;
                    f64::from(factor) * slope - common
                };
                by_shift[i * channels + c].put(by as f32);
            }
        }
    }
}
