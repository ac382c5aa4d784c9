//! The derivatives of the norm of a group of channels.

use crate::activation::{Activation, Identity, Silu};
use crate::elementwise::{Function, Place, Room, apply, sums};
use crate::isa::Job;
use crate::lanes::{F32s, Lanes};

use super::forward::{Channel, Normalise, Operands};
use super::{Act, GroupNormOptions};

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
pub(super) struct Backward<'a> {
    pub(super) options: GroupNormOptions,
    pub(super) operands: Operands<'a>,
    pub(super) channels: usize,
    pub(super) first: usize,
    /// Those of all groups, as all of `grad`.
    pub(super) statistics: &'a [f32],
    pub(super) grad: &'a [f32],
    /// Derivatives by what the activation is given, of one group.
    pub(super) slopes: &'a mut [f32],
    pub(super) dx: &'a mut Room,
    /// By weight, bias and shift, of each channel.
    pub(super) by_channel: [&'a mut Room; 3],
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
