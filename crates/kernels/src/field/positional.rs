//! The encoding of a point by waves of rising frequency [Mildenhall20] eq. 4.
//! Leaves out the point itself among its features, which the paper's formula has not.

use std::f32::consts::{PI, TAU};

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::isa::{Isa, Job, Precision};
use crate::lanes::Lanes;

/// Points that a thread takes at a time.
const PART: usize = 1 << 10;
/// Waves of a point: the most, in whole vectors.
const WAVES: usize = 3 * 16;

/// How many frequencies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionalSpec {
    /// 1 to 16: pi, 2 pi, 4 pi, ..
    pub frequencies: usize,
}

/// The encoding of a point p: sin(2^k pi p_x), sin(2^k pi p_y), sin(2^k pi p_z), then the cosines, for
/// each frequency k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positional {
    frequencies: usize,
}

/// Features of a frequency.
const FEATURES: usize = 6;

impl Positional {
    /// The encoding of `spec`.
    ///
    /// # Errors
    /// The number of frequencies is out of its range.
    pub fn new(spec: &PositionalSpec) -> Result<Self, SpecError> {
        let frequencies = spec.frequencies;
        let fits = (1..=16).contains(&frequencies);
        SpecError::unless(fits, "frequencies", frequencies, "1 to 16")?;
        Ok(Self { frequencies })
    }

    /// Features of a point.
    pub fn n_features(&self) -> usize {
        FEATURES * self.frequencies
    }

    /// The features of `points`, `[S]`, to `to`, `[S, n_features]`.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn encode(&self, points: &[[f32; 3]], to: &mut [f32]) {
        assert_eq!(to.len(), points.len() * self.n_features(), "features");
        let (isa, n) = (Isa::of(Precision::F32), self.n_features());
        let parts = points.par_chunks(PART).zip(to.par_chunks_mut(PART * n));
        let frequencies = self.frequencies;
        parts.for_each(|(points, to)| {
            isa.run(Encode {
                frequencies,
                points,
                to,
            })
        });
    }

    /// The derivative of the sum of `grad`, `[S, n_features]`, times features by each point, to `to`,
    /// `[S]`.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(&self, points: &[[f32; 3]], grad: &[f32], to: &mut [[f32; 3]]) {
        assert_eq!(to.len(), points.len(), "points");
        assert_eq!(grad.len(), points.len() * self.n_features(), "features");
        let (isa, n) = (Isa::of(Precision::F32), self.n_features());
        let parts = points.par_chunks(PART).zip(grad.par_chunks(PART * n));
        let frequencies = self.frequencies;
        parts
            .zip(to.par_chunks_mut(PART))
            .for_each(|((points, grad), to)| {
                isa.run(Backward {
                    frequencies,
                    points,
                    grad,
                    to,
                });
            });
    }
}

struct Encode<'a> {
    frequencies: usize,
    points: &'a [[f32; 3]],
    to: &'a mut [f32],
}

impl Job for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let features = self.to.chunks_exact_mut(FEATURES * self.frequencies);
        for (point, to) in self.points.iter().zip(features) {
            let [sin, cos] = waves(*point);
            let frequencies = to.as_chunks_mut::<FEATURES>().0.iter_mut();
            for (to, (sin, cos)) in frequencies.zip(sin.as_chunks().0.iter().zip(cos.as_chunks().0))
            {
                let ([a, b, c], [d, e, f]) = (*sin, *cos);
                *to = [a, b, c, d, e, f];
            }
        }
    }
}

struct Backward<'a> {
    frequencies: usize,
    points: &'a [[f32; 3]],
    grad: &'a [f32],
    to: &'a mut [[f32; 3]],
}

impl Job for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let grads = self.grad.chunks_exact(FEATURES * self.frequencies);
        for ((point, grad), to) in self.points.iter().zip(grads).zip(self.to) {
            let [sin, cos] = waves(*point);
            *to = [0.0; 3];
            for (k, grad) in grad.as_chunks::<FEATURES>().0.iter().enumerate() {
                let frequency = (1_u32 << k) as f32 * PI;
                for axis in 0..3 {
                    let slope = grad[axis] * cos[3 * k + axis] - grad[3 + axis] * sin[3 * k + axis];
                    to[axis] += frequency * slope;
                }
            }
        }
    }
}

/// sin and cos of 2^k pi p, number 3 k + axis, to about a unit in the last place of 1.
#[inline(always)]
fn waves(point: [f32; 3]) -> [[f32; WAVES]; 2] {
    let mut turns = [0.0; WAVES];
    for k in 0..WAVES / 3 {
        for axis in 0..3 {
            turns[3 * k + axis] = point[axis] * ((1_u32 << k) as f32 * 0.5);
        }
    }
    let [mut sin, mut cos] = [[0.0; WAVES]; 2];
    for i in 0..WAVES {
        // Of turns the whole part does not matter; this is exact.
        let x = turns[i] - turns[i].round_ties_even();
        sin[i] = sin_of_quarter(if x.abs() > 0.25 {
            0.5_f32.copysign(x) - x
        } else {
            x
        });
        cos[i] = sin_of_quarter(0.25 - x.abs());
    }
    [sin, cos]
}

/// sin(2 pi x) for |x| <= 1/4, by the Taylor series up to where its terms are below rounding.
#[inline(always)]
fn sin_of_quarter(x: f32) -> f32 {
    let x = x * TAU;
    let (square, mut sum) = (x * x, 0.0);
    for factorial in [-39_916_800.0, 362_880.0, -5_040.0, 120.0, -6.0] {
        sum = sum * square + 1.0 / factorial;
    }
    x + x * square * sum
}
