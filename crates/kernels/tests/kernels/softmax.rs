//! Softmax over the last axis.

use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::{softmax, twin};

use crate::setting::{
    assert_equal, assert_same_on_threads, assert_slopes, derive, flat, normals, values,
};

/// Sums of some hundred terms in another order: a few units in the last place.
const TOLERANCE: f64 = 2e-6;

const SIZES: [[usize; 2]; 7] = [
    [1, 1],
    [4, 3],
    [5, 16],
    [3, 77],
    [40, 1024],
    [2, 40_000],
    [9, 4097],
];

/// The rows, as a view that is not contiguous.
fn rows(x: &Tensor<1>, [rows, width]: [usize; 2]) -> Tensor<3> {
    x.clone().reshape([1, width, rows]).swap_dims(1, 2)
}

#[test]
fn equals_its_twin() {
    for size in SIZES {
        let kernel = |x: &[Tensor<1>]| softmax(rows(&x[0], size)).flatten(0, 2);
        let twin = |x: &[Tensor<1>]| twin::softmax(rows(&x[0], size)).flatten(0, 2);
        let operands = [normals(1, size[0] * size[1])];
        assert_equal(&format!("{size:?}"), &kernel, &twin, &operands, TOLERANCE);
    }
}

#[test]
fn of_no_rows_is_empty() {
    let (result, derivatives) = derive(
        &|x| softmax(x[0].clone().reshape([0, 5])).flatten(0, 1),
        &[vec![]],
    );
    assert!(result.is_empty() && derivatives[0].is_empty());
}

#[test]
fn has_its_derivative() {
    for size in [[4, 3], [3, 77]] {
        let kernel = |x: &[Tensor<1>]| softmax(rows(&x[0], size)).flatten(0, 2);
        assert_slopes(
            &format!("{size:?}"),
            &kernel,
            &[normals(1, size[0] * size[1])],
        );
    }
}

#[test]
fn is_the_same_on_any_number_of_threads() {
    for size in [[2000, 77], [40, 1024]] {
        let kernel = |x: &[Tensor<1>]| softmax(rows(&x[0], size)).flatten(0, 2);
        assert_same_on_threads(
            &format!("{size:?}"),
            &kernel,
            &[normals(1, size[0] * size[1])],
        );
    }
}

#[test]
fn great_and_masked_values_do_no_harm() {
    let x = [1e30, -1e30, f32::NEG_INFINITY, 1e30, 5.0];
    let y = values(softmax(flat(&x, &Device::flex())));
    assert_eq!(y, [0.5, 0.0, 0.0, 0.5, 0.0]);
}
