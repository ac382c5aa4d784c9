//! The step of Adam [Kingma15] over a table of which a batch of samples touches a part.
//! Leaves out what becomes of the moments of other values: they stay. [Mueller22]

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::adamw::{AdamW, Factors};
use crate::isa::{Isa, Job, Precision};
use crate::lanes::{F32s, LANES, Lanes};

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
        let [
            (values, last),
            (gradient, last_gradient),
            (m1, last_m1),
            (m2, last_m2),
        ] = self.values.map(|all| all.as_chunks_mut::<LANES>());
        let blocks = values.iter_mut().zip(gradient);
        for ((values, gradient), (m1, m2)) in blocks.zip(m1.iter_mut().zip(m2)) {
            block(&self.factors, [values, gradient, m1, m2]);
        }
        let rests = [last, last_gradient, last_m1, last_m2];
        // What is added has no gradient.
        let mut block_of_rests = [[0.0; LANES]; 4];
        for (to, from) in block_of_rests.iter_mut().zip(&rests) {
            to[..from.len()].copy_from_slice(from);
        }
        block(&self.factors, block_of_rests.each_mut());
        for (to, from) in rests.into_iter().zip(&block_of_rests) {
            to.copy_from_slice(&from[..to.len()]);
        }
    }
}

/// Sixteen values, their gradients and both moments.
#[inline(always)]
fn block(factors: &Factors, [value, gradient, m1, m2]: [&mut F32s; 4]) {
    // All bits but the signs.
    let mut bits = 0;
    for g in &*gradient {
        bits |= g.to_bits() << 1;
    }
    if bits == 0 {
        return;
    }
    for i in 0..LANES {
        let (mut w, mut a, mut b) = (value[i], m1[i], m2[i]);
        factors.step(&mut w, gradient[i], &mut a, &mut b);
        let touched = gradient[i] != 0.0;
        value[i] = if touched { w } else { value[i] };
        m1[i] = if touched { a } else { m1[i] };
        m2[i] = if touched { b } else { m2[i] };
        gradient[i] = 0.0;
    }
}
