//! States, masks and pooled vectors equal those of transformers.

use dreamsmith_nets::StatesFrom;

use crate::golden::{cases, encode, load, prompts, relative_error, values, wanted};

/// The bar of the project. Both programs add in f32 in different orders; 1e-6 is what that leaves.
const TOLERANCE: f64 = 1e-4;

#[test]
fn states_equal_those_of_transformers() {
    for case in cases() {
        let encoder = load(case);
        let found = encode(&encoder, &prompts());
        let (shape, states) = wanted(case, "states");
        assert_eq!(found.states.dims().to_vec(), shape, "{case}");
        assert_eq!(encoder.width(), shape[2], "{case}");
        assert!(found.cuts.is_empty(), "{case}");
        let (_, mask) = wanted(case, "mask");
        assert_eq!(values(found.mask.float()), mask, "{case}");
        let error = relative_error(&values(found.states), &states);
        assert!(error <= TOLERANCE, "{case}: relative error {error:.2e}");

        let (shape, pooled) = wanted(case, "pooled");
        assert_eq!(found.pooled.dims().to_vec(), shape, "{case}");
        let error = relative_error(&values(found.pooled), &pooled);
        assert!(error <= TOLERANCE, "{case}: pooled, {error:.2e}");
    }
}

#[test]
fn the_last_layer_but_one_equals_that_of_transformers() {
    for case in cases() {
        let encoder = load(case).with_states_from(StatesFrom::Penultimate);
        let found = encode(&encoder, &prompts());
        let (_, states) = wanted(case, "penultimate");
        let error = relative_error(&values(found.states), &states);
        assert!(error <= TOLERANCE, "{case}: relative error {error:.2e}");
        let (_, pooled) = wanted(case, "pooled");
        let error = relative_error(&values(found.pooled), &pooled);
        assert!(error <= TOLERANCE, "{case}: pooled, {error:.2e}");
    }
}
