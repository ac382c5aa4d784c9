//! The optimiser's step against burn's, and what goes with it.

use burn::optim::{AdamWConfig, Optimizer};
use burn::tensor::Device;
use dreamsmith_kernels::{AdamW, adamw, add, blend, square_norm};

use crate::setting::{flat, normals, values};

/// More than one part for the threads, and a rest.
const N: usize = 70_003;

#[test]
fn steps_are_those_of_burn_to_the_bit() {
    let device = Device::flex();
    for weight_decay in [0.0, 0.01] {
        let burns = AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.99)
            .with_epsilon(1e-8)
            .with_weight_decay(weight_decay)
            .build();
        let mut weight = normals(1, N);
        let (mut m1, mut m2) = (vec![0.0; N], vec![0.0; N]);
        let (mut want, mut state) = (flat(&weight, &device), None);
        for step in 1..=4 {
            let gradient = normals(10 + step, N);
            let learning_rate = 1e-3 * step as f64;
            let scaled = flat(&gradient, &device) * 0.37;
            (want, state) = burns.step(learning_rate, want, scaled, state);
            let step = AdamW {
                learning_rate,
                beta_1: 0.9,
                beta_2: 0.99,
                epsilon: 1e-8,
                weight_decay,
                step,
                gradient_scale: 0.37,
            };
            adamw(&step, &mut weight, &gradient, &mut m1, &mut m2);
            assert!(weight == values(want.clone()), "step {}", step.step);
        }
    }
}

#[test]
fn the_first_step_is_as_long_as_the_learning_rate() {
    let mut weight = [1.0_f32, -2.0, 3.0];
    let step = AdamW {
        learning_rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 0.0,
        weight_decay: 0.5,
        step: 1,
        gradient_scale: 1.0,
    };
    adamw(
        &step,
        &mut weight,
        &[1e-3, -5.0, 1e3],
        &mut [0.0; 3],
        &mut [0.0; 3],
    );
    for (got, want) in weight.into_iter().zip([0.95 - 0.1, -1.9 + 0.1, 2.85 - 0.1]) {
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }
}

#[test]
fn averages_sums_and_norms() {
    let (a, b) = (normals(1, N), normals(2, N));
    let mut average = a.clone();
    blend(&mut average, [0.9999, 1.0 - 0.9999], &b);
    let mut total = a.clone();
    add(&mut total, &b);
    for i in 0..N {
        let want = f64::from(a[i]) * 0.9999 + f64::from(b[i]) * 0.0001;
        // Rounded to f32 three times.
        assert!((f64::from(average[i]) - want).abs() <= 2e-7 * want.abs().max(1.0));
        assert_eq!(total[i], a[i] + b[i]);
    }
    let want: f64 = a.iter().map(|x| f64::from(*x).powi(2)).sum();
    // Blocks of some thousand squares are added in f32.
    assert!((square_norm(&a) / want - 1.0).abs() < 1e-6);
    assert_eq!(square_norm(&[]), 0.0);
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| square_norm(&normals(3, N)))
    };
    assert_eq!(run(1), run(3));
}
