//! The optimiser's step of a table: that of AdamW where there is a gradient, nothing elsewhere.

use dreamsmith_kernels::field::sparse_adam;
use dreamsmith_kernels::{AdamW, adamw};

use crate::setting::{normals, on_threads};

/// More than one part for the threads, and a rest.
const N: usize = 70_003;

fn step(step: u64) -> AdamW {
    AdamW {
        learning_rate: 1e-2,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-15,
        weight_decay: 0.0,
        step,
        gradient_scale: 0.5,
    }
}

/// A gradient of which two thirds are zero, in stretches and alone.
fn gradient(seed: u64, n: usize) -> Vec<f32> {
    let mut gradient = normals(seed, n);
    for (i, g) in gradient.iter_mut().enumerate() {
        if i / 100 % 2 == 0 || i % 3 == 0 {
            *g = if i % 2 == 0 { 0.0 } else { -0.0 };
        }
    }
    gradient
}

#[test]
fn what_has_a_gradient_takes_the_step_of_adam() {
    for n in [0, 1, 7, 1000, N] {
        let mut values = normals(1, n);
        let (mut m1, mut m2) = (vec![0.0; n], vec![0.0; n]);
        let mut want = [values.clone(), m1.clone(), m2.clone()];
        for time in 1..4 {
            let mut gradient = gradient(time, n);
            let before = want.clone();
            let [w, a, b] = &mut want;
            adamw(&step(time), w, &gradient, a, b);
            for (want, before) in want.iter_mut().zip(&before) {
                for i in (0..n).filter(|i| gradient[*i] == 0.0) {
                    want[i] = before[i];
                }
            }
            sparse_adam(&step(time), &mut values, &mut gradient, &mut m1, &mut m2);
            let got = [values.clone(), m1.clone(), m2.clone()];
            assert!(got == want, "{n} values, step {time}");
            assert!(gradient.iter().all(|g| *g == 0.0));
        }
    }
}

#[test]
fn what_is_no_number_shows() {
    let mut values = [1.0; 2];
    let [mut m1, mut m2] = [[0.0; 2]; 2];
    sparse_adam(
        &step(1),
        &mut values,
        &mut [f32::NAN, 0.0],
        &mut m1,
        &mut m2,
    );
    assert!(values[0].is_nan() && values[1] == 1.0);
}

#[test]
fn threads_change_no_bit() {
    let run = || {
        let (mut values, mut gradient) = (normals(1, N), gradient(2, N));
        let [mut m1, mut m2] = [(); 2].map(|()| vec![0.0; N]);
        sparse_adam(&step(1), &mut values, &mut gradient, &mut m1, &mut m2);
        (values, m1, m2)
    };
    assert!(on_threads(1, run) == on_threads(2, run));
}
