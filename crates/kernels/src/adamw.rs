//! The step of AdamW [Loshchilov19] over one parameter, and what else a training step does with all
//! parameters: norms, sums, moving averages. Leaves out variants such as AMSGrad.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use crate::elementwise::{Square, sums};
use crate::isa::{Isa, Job, Precision};
use crate::lanes::Lanes;

/// Values that a thread takes at a time.
const PART: usize = 1 << 15;

/// A step of AdamW. With the gradient g, scaled, and the moments m1 and m2 of all steps so far:
///
/// m1 = beta_1 m1 + (1 - beta_1) g, m2 = beta_2 m2 + (1 - beta_2) g^2,
/// w = w (1 - learning_rate weight_decay)
///     - learning_rate m1 / (1 - beta_1^step) / (sqrt(m2 / (1 - beta_2^step)) + epsilon)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Length of the step.
    pub learning_rate: f64,
    /// Share of the first moment that stays.
    pub beta_1: f32,
    /// Share of the second moment that stays.
    pub beta_2: f32,
    /// Keeps the divisor from 0.
    pub epsilon: f32,
    /// Share of the weights that goes, for each unit of learning rate.
    pub weight_decay: f32,
    /// The number of this step; the first is 1.
    pub step: u64,
    /// The gradient is multiplied by this first, as clipping wants it.
    pub gradient_scale: f32,
}

/// One step of a parameter `weight` with its moments, 0 before the first step.
pub fn adamw(step: &AdamW, weight: &mut [f32], gradient: &[f32], m1: &mut [f32], m2: &mut [f32]) {
    let n = weight.len();
    assert_eq!(
        [gradient.len(), m1.len(), m2.len()],
        [n; 3],
        "values of one parameter"
    );
    let factors = Factors::of(step);
    let isa = Isa::of(Precision::F32);
    weight
        .par_chunks_mut(PART)
        .zip(gradient.par_chunks(PART))
        .zip(m1.par_chunks_mut(PART))
        .zip(m2.par_chunks_mut(PART))
        .for_each(|(((weight, gradient), m1), m2)| {
            isa.run(Step {
                factors,
                weight,
                gradient,
                m1,
                m2,
            });
        });
}

/// average = shares[0] average + shares[1] weight.
pub fn blend(average: &mut [f32], shares: [f64; 2], weight: &[f32]) {
    assert_eq!(average.len(), weight.len(), "values of one parameter");
    let shares = shares.map(|share| share as f32);
    let isa = Isa::of(Precision::F32);
    average
        .par_chunks_mut(PART)
        .zip(weight.par_chunks(PART))
        .for_each(|(to, from)| isa.run(Blend { to, from, shares }));
}

/// into = into + from.
pub fn add(into: &mut [f32], from: &[f32]) {
    assert_eq!(into.len(), from.len(), "values of one parameter");
    let isa = Isa::of(Precision::F32);
    into.par_chunks_mut(PART)
        .zip(from.par_chunks(PART))
        .for_each(|(to, from)| {
            isa.run(Blend {
                to,
                from,
                shares: [1.0; 2],
            })
        });
}

/// The sum of the squares.
pub fn square_norm(values: &[f32]) -> f64 {
    let isa = Isa::of(Precision::F32);
    let norms: Vec<f64> = values
        .par_chunks(PART)
        .map(|values| isa.run(SquareNorm(values)))
        .collect();
    norms.iter().sum()
}

/// What is the same for all values of a parameter, rounded where burn's optimiser rounds.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    scale: f32,
    stay: [f32; 2],
    come: [f32; 2],
    corrections: [f32; 2],
    keep: f32,
    rate: f32,
    epsilon: f32,
}

impl Factors {
    pub(crate) fn of(step: &AdamW) -> Self {
        let stay = [step.beta_1, step.beta_2];
        let time = i32::try_from(step.step).unwrap_or(i32::MAX);
        Self {
            scale: step.gradient_scale,
            stay,
            come: stay.map(|beta| 1.0 - beta),
            corrections: stay.map(|beta| 1.0 - beta.powi(time)),
            keep: (1.0 - step.learning_rate * f64::from(step.weight_decay)) as f32,
            rate: step.learning_rate as f32,
            epsilon: step.epsilon,
        }
    }

    /// The step of one weight.
    #[inline(always)]
    pub(crate) fn step(&self, w: &mut f32, g: f32, m1: &mut f32, m2: &mut f32) {
        let Self {
            scale,
            stay,
            come,
            corrections,
            keep,
            rate,
            epsilon,
        } = *self;
        let g = g * scale;
        *m1 = *m1 * stay[0] + g * come[0];
        *m2 = *m2 * stay[1] + g * g * come[1];
        let delta = *m1 / corrections[0] / ((*m2 / corrections[1]).sqrt() + epsilon);
        *w = *w * keep - delta * rate;
    }
}

struct Step<'a> {
    factors: Factors,
    weight: &'a mut [f32],
    gradient: &'a [f32],
    m1: &'a mut [f32],
    m2: &'a mut [f32],
}

impl Job for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let moments = self.m1.iter_mut().zip(self.m2);
        for ((w, g), (m1, m2)) in self.weight.iter_mut().zip(self.gradient).zip(moments) {
            self.factors.step(w, *g, m1, m2);
        }
    }
}

/// to = `shares[0]` to + `shares[1]` from
struct Blend<'a> {
    to: &'a mut [f32],
    from: &'a [f32],
    shares: [f32; 2],
}

impl Job for Blend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = *to * self.shares[0] + from * self.shares[1];
        }
    }
}

struct SquareNorm<'a>(&'a [f32]);

impl Job for SquareNorm<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        sums::<L, 1, 1>(Square(0.0), [self.0], [0.0])[0]
    }
}
