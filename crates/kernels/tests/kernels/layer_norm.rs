//! Layer norm and the norm by the root mean square.

use burn::tensor::Tensor;
use dreamsmith_kernels::{layer_norm, rms_norm, twin};

use crate::setting::{Op, assert_equal, assert_same_on_threads, assert_slopes, derive, normals};

/// Means of some hundred terms in another order, and what the division by a deviation makes of it.
const TOLERANCE: f64 = 5e-6;

const EPS: f64 = 1e-5;

/// Rows and their width; the last has several jobs, and several blocks in the sum over a row.
const SIZES: [[usize; 2]; 8] = [
    [1, 3],
    [5, 7],
    [3, 16],
    [4, 65],
    [33, 128],
    [2, 200],
    [300, 320],
    [9, 8199],
];

fn operands([rows, width]: [usize; 2]) -> Vec<Vec<f32>> {
    vec![
        normals(1, rows * width),
        normals(2, width),
        normals(3, width),
    ]
}

/// The rows, as a view that is not contiguous.
fn rows(x: &Tensor<1>, [rows, width]: [usize; 2]) -> Tensor<3> {
    x.clone().reshape([width, 1, rows]).swap_dims(0, 2)
}

type Norm = fn(&[Tensor<1>], [usize; 2]) -> Tensor<1>;

/// Kernel and twin, and how many operands they take.
const NORMS: [(&str, Norm, Norm, usize); 2] = [
    (
        "layer norm",
        |x, size| layer_norm(rows(&x[0], size), x[1].clone(), x[2].clone(), EPS).flatten(0, 2),
        |x, size| {
            twin::layer_norm(rows(&x[0], size), x[1].clone(), x[2].clone(), EPS).flatten(0, 2)
        },
        3,
    ),
    (
        "rms norm",
        |x, size| rms_norm(rows(&x[0], size), x[1].clone(), EPS).flatten(0, 2),
        |x, size| twin::rms_norm(rows(&x[0], size), x[1].clone(), EPS).flatten(0, 2),
        2,
    ),
];

#[test]
fn equals_its_twin() {
    for (name, kernel, twin, n) in NORMS {
        for size in SIZES {
            let name = format!("{name} of {size:?}");
            let (kernel, twin) = (
                |x: &[Tensor<1>]| kernel(x, size),
                |x: &[Tensor<1>]| twin(x, size),
            );
            assert_equal(&name, &kernel, &twin, &operands(size)[..n], TOLERANCE);
        }
    }
}

#[test]
fn of_no_rows_is_empty() {
    let of_none = |x: &[Tensor<1>]| x[0].clone().reshape([0, 5]);
    let kernels: [Op<'_>; 2] = [
        &|x| layer_norm(of_none(x), x[1].clone(), x[2].clone(), EPS).flatten(0, 1),
        &|x| rms_norm(of_none(x), x[1].clone(), EPS).flatten(0, 1),
    ];
    for kernel in kernels {
        let (result, derivatives) = derive(kernel, &operands([0, 5]));
        assert!(result.is_empty() && derivatives[0].is_empty());
        assert_eq!(derivatives[1], [0.0; 5]);
    }
}

#[test]
fn has_its_derivative() {
    for (name, kernel, _, n) in NORMS {
        for size in [[5, 7], [4, 65]] {
            let name = format!("{name} of {size:?}");
            assert_slopes(&name, &|x| kernel(x, size), &operands(size)[..n]);
        }
    }
}

#[test]
fn is_the_same_on_any_number_of_threads() {
    for (name, kernel, _, n) in NORMS {
        for size in [[300, 320], [9, 8199], [5000, 33]] {
            let name = format!("{name} of {size:?}");
            assert_same_on_threads(&name, &|x| kernel(x, size), &operands(size)[..n]);
        }
    }
}
