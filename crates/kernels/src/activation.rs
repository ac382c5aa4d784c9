//! SiLU [Ramachandran17], GELU by the error function [Hendrycks16] and GEGLU [Shazeer20].
//! Leaves out GELU's approximation by tanh.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::elementwise::{Function, Room, apply, build, map, rows_per_job, times};
use crate::exp::exp;
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, LANES, Lanes};
use crate::operation::{Operation, Values, runs_on, tensor, unary};
use crate::twin;

/// x / (1 + e^-x) of each value of `x`, of any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if runs_on(&x) {
        unary(Pointwise(Silu), x)
    } else {
        twin::silu(x)
    }
}

/// x Phi(x) of each value of `x`, of any shape, with the normal distribution function Phi.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if runs_on(&x) {
        unary(Pointwise(Gelu), x)
    } else {
        twin::gelu(x)
    }
}

/// a gelu(b), where `x`, `[.., 2D]`, is a beside b; the result is `[.., D]`.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    assert!(
        x.dims()[D - 1].is_multiple_of(2),
        "the halves of {:?}",
        x.dims()
    );
    if runs_on(&x) {
        unary(Geglu, x)
    } else {
        twin::geglu(x)
    }
}

/// An activation and its derivative.
pub(crate) trait Activation: Copy + std::fmt::Debug + Send + Sync + 'static {
    fn value<L: Lanes>(self, x: F32s) -> F32s;
    fn slope<L: Lanes>(self, x: F32s) -> F32s;
}

/// x
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity;
/// x / (1 + e^-x)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silu;
/// x Phi(x)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gelu;

impl Activation for Identity {
    #[inline(always)]
    fn value<L: Lanes>(self, x: F32s) -> F32s {
        x
    }

    #[inline(always)]
    fn slope<L: Lanes>(self, _: F32s) -> F32s {
        [1.0; LANES]
    }
}

impl Activation for Silu {
    #[inline(always)]
    fn value<L: Lanes>(self, mut x: F32s) -> F32s {
        let s = sigmoid::<L>(x);
        for i in 0..LANES {
            x[i] *= s[i];
        }
        x
    }

    /// s (1 + x (1 - s)) with s = 1 / (1 + e^-x), which is 0 where e^-x is infinite.
    #[inline(always)]
    fn slope<L: Lanes>(self, mut x: F32s) -> F32s {
        let s = sigmoid::<L>(x);
        for i in 0..LANES {
            x[i] = s[i] * L::mul_add(x[i], 1.0 - s[i], 1.0);
        }
        x
    }
}

/// 1 / (1 + e^-x), which is 0 where e^-x is infinite.
#[inline(always)]
fn sigmoid<L: Lanes>(mut x: F32s) -> F32s {
    for x in &mut x {
        *x = -*x;
    }
    let mut e = exp::<L>(x);
    for e in &mut e {
        *e += 1.0;
    }
    // SAFETY: jobs only run for a set that the processor has.
    unsafe { L::reciprocal(e) }
}

/// Phi(-|x|) e^(x^2/2) = t (P0 + P1 t + P2 t^2 + ..) with t = 1 / (1 + `SCALE` |x|), fitted for |x| to 14,
/// where e^(-x^2/2) is 0: off by 3.1e-8 of it.
const SCALE: f32 = 0.34;
const TAIL: [f32; 9] = [
    -0.026_120_66,
    0.139_500_32,
    -0.273_134_3,
    0.202_184_26,
    -0.044_719_417,
    0.115_359_515,
    0.115_197_584,
    0.136_112_21,
    0.135_620_5,
];

/// Phi(x), and e^(-x^2/2).
#[inline(always)]
fn normal<L: Lanes>(x: F32s) -> [F32s; 2] {
    let (mut square, mut t, mut phi) = (x, x, x);
    for i in 0..LANES {
        square[i] = x[i] * x[i] * -0.5;
        t[i] = L::mul_add(x[i].abs(), SCALE, 1.0);
    }
    let bell = exp::<L>(square);
    // SAFETY: jobs only run for a set that the processor has.
    let t = unsafe { L::reciprocal(t) };
    for i in 0..LANES {
        let mut sum = TAIL[0];
        for coefficient in &TAIL[1..] {
            sum = L::mul_add(sum, t[i], *coefficient);
        }
        let tail = sum * t[i] * bell[i];
        phi[i] = if x[i] < 0.0 { tail } else { 1.0 - tail };
    }
    [phi, bell]
}

/// 1 / sqrt(2 pi)
const DENSITY: f32 = 0.398_942_3;

impl Gelu {
    /// The value and the derivative, Phi(x) + x e^(-x^2/2) / sqrt(2 pi).
    #[inline(always)]
    fn both<L: Lanes>(x: F32s) -> [F32s; 2] {
        let [phi, bell] = normal::<L>(x);
        let (mut value, mut slope) = (phi, phi);
        for i in 0..LANES {
            value[i] = x[i] * phi[i];
            slope[i] = L::mul_add(x[i] * DENSITY, bell[i], phi[i]);
        }
        [value, slope]
    }
}

impl Activation for Gelu {
    #[inline(always)]
    fn value<L: Lanes>(self, x: F32s) -> F32s {
        Self::both::<L>(x)[0]
    }

    #[inline(always)]
    fn slope<L: Lanes>(self, x: F32s) -> F32s {
        Self::both::<L>(x)[1]
    }
}

/// An activation of each value.
#[derive(Clone, Copy, Debug)]
struct Pointwise<A>(A);

/// Its derivative, of (x, grad).
#[derive(Clone, Copy)]
struct Slope<A>(A);

impl<A: Activation> Function<1, 1> for Pointwise<A> {
    #[inline(always)]
    fn at<L: Lanes>(self, [x]: [F32s; 1]) -> [F32s; 1] {
        [self.0.value::<L>(x)]
    }
}

impl<A: Activation> Function<2, 1> for Slope<A> {
    #[inline(always)]
    fn at<L: Lanes>(self, [x, grad]: [F32s; 2]) -> [F32s; 1] {
        [times(self.0.slope::<L>(x), grad)]
    }
}

impl<A: Activation> Operation<1> for Pointwise<A> {
    type Saved = Values;

    fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        let shape = x.layout().shape().clone();
        tensor(map(*self, [&Values::of(x)]), shape)
    }

    fn forward(&self, [x]: [FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Values) {
        (self.infer([x.clone()]), Values::of(x))
    }

    fn backward(&self, x: Values, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let shape = grad.layout().shape().clone();
        [Some(tensor(
            map(Slope(self.0), [&x, &Values::of(grad)]),
            shape,
        ))]
    }
}

/// a gelu(b).
#[derive(Clone, Copy, Debug)]
struct Geglu;

/// Its derivatives by a and b, of (a, b, grad).
#[derive(Clone, Copy)]
struct GegluSlopes;

impl Function<2, 1> for Geglu {
    #[inline(always)]
    fn at<L: Lanes>(self, [a, b]: [F32s; 2]) -> [F32s; 1] {
        [times(a, Gelu.value::<L>(b))]
    }
}

impl Function<3, 2> for GegluSlopes {
    #[inline(always)]
    fn at<L: Lanes>(self, [a, b, grad]: [F32s; 3]) -> [F32s; 2] {
        let [value, slope] = Gelu::both::<L>(b);
        [times(grad, value), times(times(grad, a), slope)]
    }
}

/// Rows of `[.., 2D]`, whose results are rows of D.
struct GegluForward<'a> {
    x: &'a [f32],
    half: usize,
    to: &'a mut Room,
}

impl Job for GegluForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let rows = self.x.chunks_exact(2 * self.half);
        for (x, to) in rows.zip(self.to.chunks_exact_mut(self.half)) {
            let (a, b) = x.split_at(self.half);
            apply::<L, 2, 1>(Geglu, [a, b], [to]);
        }
    }
}

/// The derivatives of rows.
struct GegluBackward<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    half: usize,
    to: &'a mut Room,
}

impl Job for GegluBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let rows = self.x.chunks_exact(2 * self.half);
        let grads = self.grad.chunks_exact(self.half);
        let to = self.to.chunks_exact_mut(2 * self.half);
        for ((x, grad), to) in rows.zip(grads).zip(to) {
            let (a, b) = x.split_at(self.half);
            apply::<L, 3, 2>(GegluSlopes, [a, b, grad], to.split_at_mut(self.half).into());
        }
    }
}

impl Operation<1> for Geglu {
    /// The input and its shape.
    type Saved = (Values, Vec<usize>);

    fn infer(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        let mut shape = x.layout().shape().to_vec();
        let half = shape.last_mut().map_or(0, |last| {
            *last /= 2;
            *last
        });
        let x = Values::of(x);
        let (len, size) = (x.len() / 2, half * rows_per_job(2 * half));
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [y] = unsafe {
            build(len.div_ceil(size.max(1)), [len], [size], |job, [to]| {
                let x = &x[2 * job * size..][..2 * to.len()];
                isa.run(GegluForward { x, half, to });
            })
        };
        tensor(y, shape)
    }

    fn forward(&self, [x]: [FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Self::Saved) {
        let shape = x.layout().shape().to_vec();
        (self.infer([x.clone()]), (Values::of(x), shape))
    }

    fn backward(
        &self,
        (x, shape): Self::Saved,
        grad: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let grad = Values::of(grad);
        let half = shape.last().map_or(0, |last| last / 2);
        let (len, size) = (x.len(), 2 * half * rows_per_job(2 * half));
        let isa = Isa::of(Precision::F32);
        // SAFETY: each job writes whole rows.
        let [dx] = unsafe {
            build(len.div_ceil(size.max(1)), [len], [size], |job, [to]| {
                let x = &x[job * size..][..to.len()];
                let grad = &grad[job * size / 2..][..to.len() / 2];
                isa.run(GegluBackward { x, grad, half, to });
            })
        };
        [Some(tensor(dx, shape))]
    }
}
