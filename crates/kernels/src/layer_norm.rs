//! Layer normalisation [Ba16] and the one by the root mean square [Zhang19], over the last axis.
//! Leaves out norms without a weight.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::elementwise::{Function, Place, Room, Square, Value, apply, build, rows_per_job, sums};
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, LANES, Lanes};
use crate::operation::{Operation, Values, binary, runs_on, tensor, ternary};
use crate::reduce::column_sums;
use crate::scratch::with_scratch;
use crate::twin;

/// (x - mean) / sqrt(variance + eps) weight + bias over the last axis of `x`, `[.., D]`; `weight` and
/// `bias` are `[D]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    check(&x.dims(), &weight.dims());
    check(&x.dims(), &bias.dims());
    if runs_on(&x) && runs_on(&weight) && runs_on(&bias) {
        ternary(RowNorm::<true> { eps }, x, weight, bias)
    } else {
        twin::layer_norm(x, weight, bias, eps)
    }
}

/// x / sqrt(mean(x^2) + eps) weight over the last axis of `x`, `[.., D]`; `weight` is `[D]`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    check(&x.dims(), &weight.dims());
    if runs_on(&x) && runs_on(&weight) {
        binary(RowNorm::<false> { eps }, x, weight)
    } else {
        twin::rms_norm(x, weight, eps)
    }
}

fn check(x: &[usize], weight: &[usize; 1]) {
    assert!(
        weight[0] > 0 && x.last() == weight.last(),
        "{weight:?} factors for {x:?}"
    );
}

/// The mean is subtracted if `CENTRED`, else taken as 0.
#[derive(Clone, Copy, Debug)]
struct RowNorm<const CENTRED: bool> {
    eps: f64,
}

/// Mean and 1 / deviation of each row are all that is kept beside the operands.
#[derive(Clone, Debug)]
struct Saved {
    x: Values,
    weight: Values,
    statistics: Vec<f32>,
}

impl<const CENTRED: bool> RowNorm<CENTRED> {
    /// `bias` is empty for none.
    fn normalise(self, x: FlexTensor, weight: FlexTensor, bias: &[f32]) -> (FlexTensor, Saved) {
        let shape = x.layout().shape().clone();
        let (x, weight) = (Values::of(x), Values::of(weight));
        let width = weight.len();
        let (rows, each) = (x.len() / width, rows_per_job(width));
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [y, statistics] = unsafe {
            let (lens, sizes) = ([x.len(), 2 * rows], [each * width, 2 * each]);
            build(rows.div_ceil(each), lens, sizes, |job, [to, statistics]| {
                let x = &x[job * each * width..][..to.len()];
                let weight = &weight;
                isa.run(Forward {
                    norm: self,
                    x,
                    weight,
                    bias,
                    to,
                    statistics,
                });
            })
        };
        (
            tensor(y, shape),
            Saved {
                x,
                weight,
                statistics,
            },
        )
    }

    /// The derivatives by x, weight and bias; the last is empty for none.
    fn derive(self, saved: &Saved, grad: FlexTensor) -> (FlexTensor, [Vec<f32>; 2]) {
        let shape = grad.layout().shape().clone();
        let grad = Values::of(grad);
        let Saved {
            x,
            weight,
            statistics,
        } = saved;
        let width = weight.len();
        let rows = x.len() / width;
        // Each job leaves sums of the derivatives by weight and bias.
        let each = rows_per_job(width).max(rows.div_ceil(MOST_JOBS));
        let jobs = rows.div_ceil(each);
        let biases = if CENTRED { width } else { 0 };
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [dx, by_weight, by_bias] = unsafe {
            let lens = [x.len(), jobs * width, jobs * biases];
            build(
                jobs,
                lens,
                [each * width, width, biases],
                |job, [dx, by_weight, by_bias]| {
                    let part = job * each * width..job * each * width + dx.len();
                    with_scratch(2 * width, |buffer| {
                        let totals: &mut [f32] = bytemuck::cast_slice_mut(buffer);
                        totals.fill(0.0);
                        isa.run(Backward::<CENTRED> {
                            x: &x[part.clone()],
                            grad: &grad[part],
                            weight,
                            statistics: &statistics[2 * job * each..],
                            dx,
                            totals: &mut *totals,
                        });
                        let (weights, biases) = totals.split_at(width);
                        for (room, totals) in [(by_weight, weights), (by_bias, biases)] {
                            for (to, total) in room.iter_mut().zip(totals) {
                                to.put(*total);
                            }
                        }
                    });
                },
            )
        };
        let by = [
            column_sums(&by_weight, width),
            column_sums(&by_bias, biases),
        ];
        (tensor(dx, shape), by)
    }
}

/// Jobs of a derivative.
const MOST_JOBS: usize = 32;

impl Operation<3> for RowNorm<true> {
    type Saved = Saved;

    fn infer(&self, inputs: [FlexTensor; 3]) -> FlexTensor {
        self.forward(inputs, [false; 3]).0
    }

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3], _: [bool; 3]) -> (FlexTensor, Saved) {
        self.normalise(x, weight, &Values::of(bias))
    }

    fn backward(&self, saved: Saved, grad: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let (x, [weight, bias]) = self.derive(&saved, grad);
        let [weight, bias] = [weight, bias].map(|by| {
            let width = by.len();
            tensor(by, [width])
        });
        [x, weight, bias].map(Some)
    }
}

impl Operation<2> for RowNorm<false> {
    type Saved = Saved;

    fn infer(&self, inputs: [FlexTensor; 2]) -> FlexTensor {
        self.forward(inputs, [false; 2]).0
    }

    fn forward(&self, [x, weight]: [FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, Saved) {
        self.normalise(x, weight, &[])
    }

    fn backward(&self, saved: Saved, grad: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let (x, [weight, _]) = self.derive(&saved, grad);
        let width = weight.len();
        [Some(x), Some(tensor(weight, [width]))]
    }
}

/// The rows of a job.
struct Forward<'a, const CENTRED: bool> {
    norm: RowNorm<CENTRED>,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    to: &'a mut Room,
    /// Mean and 1 / deviation of each row.
    statistics: &'a mut Room,
}

impl<const CENTRED: bool> Job for Forward<'_, CENTRED> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { weight, bias, .. } = self;
        let width = weight.len();
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.to.chunks_exact_mut(width));
        for ((x, to), kept) in rows.zip(self.statistics.chunks_exact_mut(2)) {
            let n = width as f64;
            let mut centre = 0.0;
            if CENTRED {
                centre = (sums::<L, 1, 1>(Value, [x], [0.0])[0] / n) as f32;
            }
            let [squares] = sums::<L, 1, 1>(Square(centre), [x], [centre]);
            let scale = (1.0 / (squares / n + self.norm.eps).sqrt()) as f32;
            let row = Row { centre, scale };
            if CENTRED {
                apply::<L, 3, 1>(row, [x, weight, bias], [to]);
            } else {
                apply::<L, 2, 1>(row, [x, weight], [to]);
            }
            kept[0].put(centre);
            kept[1].put(scale);
        }
    }
}

/// (x - centre) scale weight + bias, of (x, weight, bias) or (x, weight).
#[derive(Clone, Copy)]
struct Row {
    centre: f32,
    scale: f32,
}

impl Function<3, 1> for Row {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, weight, bias]: [F32s; 3]) -> [F32s; 1] {
        for i in 0..LANES {
            x[i] = L::mul_add((x[i] - self.centre) * self.scale, weight[i], bias[i]);
        }
        [x]
    }
}

impl Function<2, 1> for Row {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, weight]: [F32s; 2]) -> [F32s; 1] {
        for i in 0..LANES {
            x[i] = (x[i] - self.centre) * self.scale * weight[i];
        }
        [x]
    }
}

/// weight grad, and weight grad (x - centre), of (x, weight, grad).
#[derive(Clone, Copy)]
struct Moments {
    centre: f32,
}

impl Function<3, 2> for Moments {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, weight, mut grad]: [F32s; 3]) -> [F32s; 2] {
        for i in 0..LANES {
            grad[i] *= weight[i];
            x[i] = (x[i] - self.centre) * grad[i];
        }
        [grad, x]
    }
}

/// scale weight grad - level - (x - centre) tilt, of (x, weight, grad).
#[derive(Clone, Copy)]
struct BeforeNorm {
    row: Row,
    level: f32,
    tilt: f32,
}

impl Function<3, 1> for BeforeNorm {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut x, weight, grad]: [F32s; 3]) -> [F32s; 1] {
        for i in 0..LANES {
            let common = L::mul_add(x[i] - self.row.centre, self.tilt, self.level);
            x[i] = L::mul_add(self.row.scale * weight[i], grad[i], -common);
        }
        [x]
    }
}

/// The derivatives of the rows of a job.
struct Backward<'a, const CENTRED: bool> {
    x: &'a [f32],
    grad: &'a [f32],
    weight: &'a [f32],
    statistics: &'a [f32],
    dx: &'a mut Room,
    /// By weight and by bias, added to.
    totals: &'a mut [f32],
}

impl<const CENTRED: bool> Job for Backward<'_, CENTRED> {
    type Output = ();

    /// With q = x - mean: dx = scale weight grad - scale mean(weight grad) - scale^3 q mean(weight grad q).
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let weight = self.weight;
        let width = weight.len();
        let n = width as f64;
        let (by_weight, by_bias) = self.totals.split_at_mut(width);
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.grad.chunks_exact(width));
        let outputs = self
            .dx
            .chunks_exact_mut(width)
            .zip(self.statistics.chunks_exact(2));
        for ((x, grad), (dx, statistics)) in rows.zip(outputs) {
            let row = Row {
                centre: statistics[0],
                scale: statistics[1],
            };
            let moments = Moments { centre: row.centre };
            let [sum, moment] = sums::<L, 3, 2>(moments, [x, weight, grad], [0.0; 3]);
            let scale = f64::from(row.scale);
            let level = if CENTRED {
                (scale * sum / n) as f32
            } else {
                0.0
            };
            let tilt = (scale.powi(3) * moment / n) as f32;
            apply::<L, 3, 1>(BeforeNorm { row, level, tilt }, [x, weight, grad], [dx]);
            for ((total, x), grad) in by_weight.iter_mut().zip(x).zip(grad) {
                *total = L::mul_add((x - row.centre) * row.scale, *grad, *total);
            }
            if CENTRED {
                for (total, grad) in by_bias.iter_mut().zip(grad) {
                    *total += grad;
                }
            }
        }
    }
}
