//! The encoding of a point by waves of rising frequency [Mildenhall20] eq. 4.
//! Leaves out the point itself among its features, which the paper's formula has not.

use serde::{Deserialize, Serialize};

use super::SpecError;

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
        for (point, to) in points.iter().zip(to.chunks_exact_mut(self.n_features())) {
            for (k, to) in to.as_chunks_mut::<FEATURES>().0.iter_mut().enumerate() {
                for axis in 0..3 {
                    [to[axis], to[3 + axis]] = wave(point[axis], k);
                }
            }
        }
    }

    /// The derivative of the sum of `grad`, `[S, n_features]`, times features by each point, to `to`,
    /// `[S]`.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(&self, points: &[[f32; 3]], grad: &[f32], to: &mut [[f32; 3]]) {
        assert_eq!(to.len(), points.len(), "points");
        assert_eq!(grad.len(), points.len() * self.n_features(), "features");
        let grads = grad.chunks_exact(self.n_features());
        for ((point, grad), to) in points.iter().zip(grads).zip(to) {
            *to = [0.0; 3];
            for (k, grad) in grad.as_chunks::<FEATURES>().0.iter().enumerate() {
                let frequency = (1_u32 << k) as f32 * std::f32::consts::PI;
                for axis in 0..3 {
                    let [sin, cos] = wave(point[axis], k);
                    to[axis] += frequency * (grad[axis] * cos - grad[3 + axis] * sin);
                }
            }
        }
    }
}

/// sin and cos of 2^k pi x.
fn wave(x: f32, k: usize) -> [f32; 2] {
    // In turns, whose whole part does not matter; both steps are exact.
    let turns = x * (1_u32 << k) as f32 * 0.5;
    let (sin, cos) = ((turns - turns.round()) * std::f32::consts::TAU).sin_cos();
    [sin, cos]
}
