//! The step of Adam [Kingma15] over a table of which a batch of samples touches a part.
//! Leaves out what becomes of the moments of other values: they stay. [Mueller22]

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::adamw::{AdamW, Factors};
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{LANES, Lanes};

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
    let factors = Factors::of(step);
    let isa = Isa::of(Precision::F32);
    let parts = values
        .par_chunks_mut(PART)
        .zip(gradient.par_chunks_mut(PART));
    let moments = m1.par_chunks_mut(PART).zip(m2.par_chunks_mut(PART));
    parts
        .zip(moments)
        .for_each(|((values, gradient), (m1, m2))| {
            isa.run(Step {
                factors,
                values: [values, gradient, m1, m2],
            });
        });
}

/// The step of values, their gradients and both moments.
struct Step<'a> {
    factors: Factors,
    values: [&'a mut [f32]; 4],
}

impl Job for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [value, gradient, m1, m2] = self.values;
        let blocks = value.chunks_mut(LANES).zip(gradient.chunks_mut(LANES));
        let moments = m1.chunks_mut(LANES).zip(m2.chunks_mut(LANES));
        for ((value, gradient), (m1, m2)) in blocks.zip(moments) {
            // All bits but the signs.
            if gradient.iter().fold(0, |bits, g| bits | g.to_bits() << 1) == 0 {
                continue;
            }
            for i in 0..value.len() {
                let (mut w, mut a, mut b) = (value[i], m1[i], m2[i]);
                self.factors.step(&mut w, gradient[i], &mut a, &mut b);
                let touched = gradient[i] != 0.0;
                value[i] = if touched { w } else { value[i] };
                m1[i] = if touched { a } else { m1[i] };
                m2[i] = if touched { b } else { m2[i] };
                gradient[i] = 0.0;
            }
        }
    }
}
