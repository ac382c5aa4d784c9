//! Softmax over the last axis, with its derivative.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::elementwise::{
    Function, Room, Scale, Value, apply, build, greatest, rows_per_job, sums, times,
};
use crate::exp::exp;
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, Lanes};
use crate::operation::{Operation, Values, runs_on, tensor, unary};
use crate::scratch::with_scratch;
use crate::twin;

/// e^x / sum(e^x) over the last axis of `x`, `[.., N]`.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if runs_on(&x) {
        unary(Softmax, x)
    } else {
        twin::softmax(x)
    }
}

#[derive(Clone, Copy, Debug)]
struct Softmax;

impl Operation<1> for Softmax {
    /// The result.
    type Saved = Values;

    fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        let shape = x.layout().shape().clone();
        let row = shape.last().copied().unwrap_or(0);
        let x = Values::of(x);
        let (len, size) = (x.len(), row * rows_per_job(row));
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [y] = unsafe {
            build(len.div_ceil(size.max(1)), [len], [size], |job, [to]| {
                let x = &x[job * size..][..to.len()];
                with_scratch(row, |powers| {
                    let powers = bytemuck::cast_slice_mut(powers);
                    isa.run(Forward { x, powers, to });
                });
            })
        };
        tensor(y, shape)
    }

    fn forward(&self, inputs: [FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Values) {
        let y = self.infer(inputs);
        (y.clone(), Values::of(y))
    }

    fn backward(&self, y: Values, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let shape = grad.layout().shape().clone();
        let row = shape.last().copied().unwrap_or(0);
        let grad = Values::of(grad);
        let (len, size) = (y.len(), row * rows_per_job(row));
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [dx] = unsafe {
            build(len.div_ceil(size.max(1)), [len], [size], |job, [to]| {
                let part = job * size..job * size + to.len();
                let (y, grad) = (&y[part.clone()], &grad[part]);
                isa.run(Backward { y, grad, row, to });
            })
        };
        [Some(tensor(dx, shape))]
    }
}

/// e^(x - top)
#[derive(Clone, Copy)]
struct Power {
    top: f32,
}

impl Function<1, 1> for Power {
    #[inline(always)]
    fn at<L: Lanes>(self, [x]: [F32s; 1]) -> [F32s; 1] {
        [exp::<L>(x.map(|x| x - self.top))]
    }
}

/// The rows of a job; `powers` has room for one.
struct Forward<'a> {
    x: &'a [f32],
    powers: &'a mut [f32],
    to: &'a mut Room,
}

impl Job for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let row = self.powers.len();
        for (x, to) in self.x.chunks_exact(row).zip(self.to.chunks_exact_mut(row)) {
            let top = greatest::<L>(x);
            apply::<L, 1, 1>(Power { top }, [x], [&mut *self.powers]);
            let [sum] = sums::<L, 1, 1>(Value, [self.powers], [0.0]);
            apply::<L, 1, 1>(Scale((1.0 / sum) as f32), [self.powers], [to]);
        }
    }
}

/// y grad
#[derive(Clone, Copy)]
struct Product;

impl Function<2, 1> for Product {
    #[inline(always)]
    fn at<L: Lanes>(self, [y, grad]: [F32s; 2]) -> [F32s; 1] {
        [times(y, grad)]
    }
}

/// y (grad - mean)
#[derive(Clone, Copy)]
struct Slope {
    mean: f32,
}

impl Function<2, 1> for Slope {
    #[inline(always)]
    fn at<L: Lanes>(self, [y, grad]: [F32s; 2]) -> [F32s; 1] {
        [times(y, grad.map(|grad| grad - self.mean))]
    }
}

/// The derivatives of the rows of a job.
struct Backward<'a> {
    y: &'a [f32],
    grad: &'a [f32],
    row: usize,
    to: &'a mut Room,
}

impl Job for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let rows = self
            .y
            .chunks_exact(self.row)
            .zip(self.grad.chunks_exact(self.row));
        for ((y, grad), to) in rows.zip(self.to.chunks_exact_mut(self.row)) {
            let [mean] = sums::<L, 2, 1>(Product, [y, grad], [0.0; 2]);
            apply::<L, 2, 1>(Slope { mean: mean as f32 }, [y, grad], [to]);
        }
    }
}
