//! The step of Adam [Kingma15] over a table of which a batch of samples touches a part.
//! Leaves out what becomes of the moments of other values: they stay [Mueller22].

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::adamw::AdamW;

/// Values that a thread takes at a time.
const PART: usize = 1 << 15;

/// One step of `values` with their moments, 0 before the first step. What has a gradient of exactly
/// zero stays as it is, moments, weight decay and all; all gradients are zero afterwards.
///
/// # Panics
/// If the lengths differ.
pub fn sparse_adam(
    step: &AdamW,
    values: &mut [f32],
    gradient: &mut [f32],
    m1: &mut [f32],
    m2: &mut [f32],
) {
    let n = values.len();
    assert_eq!(
        [gradient.len(), m1.len(), m2.len()],
        [n; 3],
        "values of one table"
    );
    let parts = values
        .par_chunks_mut(PART)
        .zip(gradient.par_chunks_mut(PART));
    let moments = m1.par_chunks_mut(PART).zip(m2.par_chunks_mut(PART));
    let time = i32::try_from(step.step).unwrap_or(i32::MAX);
    let corrections = [step.beta_1, step.beta_2].map(|beta| 1.0 - beta.powi(time));
    parts
        .zip(moments)
        .for_each(|((values, gradient), (m1, m2))| {
            for i in 0..values.len() {
                let g = std::mem::take(&mut gradient[i]) * step.gradient_scale;
                if g == 0.0 {
                    continue;
                }
                m1[i] = m1[i] * step.beta_1 + g * (1.0 - step.beta_1);
                m2[i] = m2[i] * step.beta_2 + g * g * (1.0 - step.beta_2);
                let delta =
                    m1[i] / corrections[0] / ((m2[i] / corrections[1]).sqrt() + step.epsilon);
                let keep = 1.0 - step.learning_rate as f32 * step.weight_decay;
                values[i] = values[i] * keep - delta * step.learning_rate as f32;
            }
        });
}
