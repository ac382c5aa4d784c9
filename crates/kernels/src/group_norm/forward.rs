//! The norm of a group of channels, and the affine map and activation of each.

use std::ops::Range;

use crate::activation::{Activation, Identity, Silu};
use crate::elementwise::{Function, Place, Room, Square, Value, apply, sums};
use crate::isa::Job;
use crate::lanes::{F32s, Lanes};

use super::{Act, GroupNormOptions};

/// What is normalised. Channels are counted through all images.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Empty if there is none.
    pub(super) shift: &'a [f32],
    /// Values of a channel.
    pub(super) area: usize,
}

/// One channel: act((x - centre) factor + bias).
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    pub(super) x: &'a [f32],
    pub(super) centre: f32,
    pub(super) weight: f32,
    pub(super) factor: f32,
    pub(super) bias: f32,
}

impl<'a> Operands<'a> {
    #[inline(always)]
    pub(super) fn channel(&self, channel: usize, [mean, scale]: [f32; 2]) -> Channel<'a> {
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
pub(super) struct Forward<'a> {
    pub(super) options: GroupNormOptions,
    pub(super) operands: Operands<'a>,
    /// Channels of a group.
    pub(super) channels: usize,
    /// The first group.
    pub(super) first: usize,
    pub(super) to: &'a mut Room,
    /// Mean and 1 / deviation of each group.
    pub(super) statistics: &'a mut Room,
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
pub(super) struct Normalise<A> {
    pub(super) centre: f32,
    pub(super) factor: f32,
    pub(super) bias: f32,
    pub(super) act: A,
}

impl<A: Activation> Function<1, 1> for Normalise<A> {
    #[inline(always)]
    fn at<L: Lanes>(self, [x]: [F32s; 1]) -> [F32s; 1] {
        let affine = x.map(|x| L::mul_add(x - self.centre, self.factor, self.bias));
        [self.act.value::<L>(affine)]
    }
}
