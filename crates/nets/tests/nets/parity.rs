//! Outputs and weight names equal those of diffusers.

use burn::tensor::Device;
use dreamsmith_nets::Precision;
use dreamsmith_nets::folder::WEIGHT_FILE;
use safetensors::SafeTensors;

use crate::golden::{CONDITIONAL, Case, UNCONDITIONAL, folder, relative_error, values};

/// The bar of the project. Both programs add in f32 in different orders; 1e-6 is what that leaves.
const TOLERANCE: f64 = 1e-4;

#[test]
fn outputs_equal_those_of_diffusers() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let case = Case::load(name, &folder(name), &Device::flex());
        let wanted = values(case.inputs().tensor::<4>("output"));
        let error = relative_error(&values(case.forward()), &wanted);
        assert!(error <= TOLERANCE, "{name}: relative error {error:.2e}");
    }
}

/// What the project allows bf16, whose factors are off by up to 1/256 each.
const BF16_TOLERANCE: f64 = 2e-2;

#[test]
fn outputs_in_bf16_are_near_those_in_f32() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let case = Case::load_in(Precision::Bf16, name, &folder(name), &Device::flex());
        let wanted = values(case.inputs().tensor::<4>("output"));
        let error = relative_error(&values(case.forward()), &wanted);
        assert!(
            error <= BF16_TOLERANCE,
            "{name}: relative error {error:.2e}"
        );
    }
}

#[test]
fn names_and_shapes_equal_those_of_diffusers() {
    for name in UNCONDITIONAL.into_iter().chain(CONDITIONAL) {
        let case = Case::load(name, &folder(name), &Device::flex());
        let bytes = std::fs::read(folder(name).join(WEIGHT_FILE)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let wanted = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.shape().to_vec()));
        assert_eq!(case.shapes(), wanted.collect(), "{name}");
    }
}
