//! Convolution, linear layers and products of matrices.

use burn::tensor::Tensor;
use dreamsmith_kernels::{
    Conv2dOptions, Packs, Precision, conv2d, conv2d_doubled, linear, matmul, twin,
};

use crate::setting::{
    assert_equal, assert_same_on_threads, assert_slopes, derive, normals, relative_error,
};

/// Sums of some hundred terms in another order: a few units in the last place.
const F32: f64 = 2e-6;
/// bf16 keeps 8 bits; the errors of many terms partly cancel.
const BF16: f64 = 2e-2;

#[derive(Clone, Copy, Debug)]
struct Case {
    /// `[B, C, H, W]`.
    x: [usize; 4],
    outputs: usize,
    kernel: usize,
    options: Conv2dOptions,
}

const fn case(
    x: [usize; 4],
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
) -> Case {
    let options = Conv2dOptions { stride, padding };
    Case {
        x,
        outputs,
        kernel,
        options,
    }
}

const CASES: [Case; 25] = [
    case([2, 4, 6, 16], 8, 3, 1, [1, 1]),
    case([1, 32, 16, 16], 32, 3, 1, [1, 1]),
    case([2, 1, 5, 7], 1, 3, 1, [1, 1]),
    case([1, 3, 9, 9], 17, 3, 1, [1, 1]),
    case([3, 5, 4, 4], 9, 3, 1, [1, 1]),
    case([2, 6, 2, 2], 33, 3, 1, [1, 1]),
    case([1, 7, 1, 1], 3, 3, 1, [1, 1]),
    case([2, 3, 11, 48], 50, 3, 1, [1, 1]),
    case([2, 8, 8, 8], 70, 1, 1, [0, 0]),
    case([1, 3, 5, 33], 4, 1, 1, [0, 0]),
    case([2, 6, 8, 8], 10, 3, 2, [1, 1]),
    case([1, 5, 7, 9], 6, 3, 2, [1, 1]),
    case([2, 4, 8, 6], 5, 3, 2, [0, 1]),
    case([1, 4, 6, 6], 3, 4, 2, [1, 1]),
    case([1, 2, 9, 9], 3, 5, 1, [2, 2]),
    case([2, 2, 9, 7], 3, 1, 2, [0, 0]),
    case([1, 2, 6, 18], 3, 3, 1, [0, 0]),
    // In tiles of 2x2.
    case([1, 24, 8, 8], 24, 3, 1, [1, 1]),
    case([3, 25, 7, 9], 33, 3, 1, [1, 1]),
    case([5, 40, 16, 16], 26, 3, 1, [1, 1]),
    case([1, 32, 5, 70], 24, 3, 1, [0, 0]),
    case([2, 27, 9, 6], 25, 3, 1, [2, 2]),
    case([2, 24, 6, 8], 24, 3, 1, [0, 1]),
    case([1, 24, 33, 32], 50, 3, 1, [1, 1]),
    case([1, 330, 3, 130], 24, 3, 1, [1, 1]),
];

impl Case {
    fn operands(&self) -> Vec<Vec<f32>> {
        let [_, inputs, ..] = self.x;
        let weight = self.outputs * inputs * self.kernel * self.kernel;
        vec![
            normals(1, self.x.iter().product()),
            normals(2, weight),
            normals(3, self.outputs),
        ]
    }

    fn run(
        &self,
        x: &[Tensor<1>],
        conv: impl Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Tensor<1> {
        let weight = [self.outputs, self.x[1], self.kernel, self.kernel];
        conv(
            x[0].clone().reshape(self.x),
            x[1].clone().reshape(weight),
            x[2].clone(),
        )
        .flatten(0, 3)
    }

    fn kernel(&self, x: &[Tensor<1>], precision: Precision) -> Tensor<1> {
        let packs = Packs::new(precision);
        self.run(x, |x, weight, bias| {
            conv2d(x, weight, bias, self.options, &packs)
        })
    }
}

#[test]
fn convolution_equals_its_twin() {
    for case in CASES {
        let twin = |x: &[Tensor<1>]| {
            case.run(x, |x, weight, bias| {
                twin::conv2d(x, weight, bias, case.options)
            })
        };
        let kernel = |x: &[Tensor<1>]| case.kernel(x, Precision::F32);
        assert_equal(&format!("{case:?}"), &kernel, &twin, &case.operands(), F32);
        let kernel = |x: &[Tensor<1>]| case.kernel(x, Precision::Bf16);
        assert_equal(
            &format!("{case:?} in bf16"),
            &kernel,
            &twin,
            &case.operands(),
            BF16,
        );
    }
}

#[test]
fn convolution_of_no_images_is_empty() {
    let case = case([0, 4, 8, 8], 5, 3, 1, [1, 1]);
    let kernel = |x: &[Tensor<1>]| case.kernel(x, Precision::F32);
    let (result, gradients) = derive(&kernel, &case.operands());
    assert!(result.is_empty() && gradients[0].is_empty());
    assert!(gradients[1].iter().chain(&gradients[2]).all(|g| *g == 0.0));
}

#[test]
fn convolution_has_its_derivative() {
    for case in [CASES[0], CASES[3], CASES[10], CASES[12], CASES[18]] {
        let kernel = |x: &[Tensor<1>]| case.kernel(x, Precision::F32);
        assert_slopes(&format!("{case:?}"), &kernel, &case.operands());
    }
}

#[test]
fn convolution_is_the_same_on_any_number_of_threads() {
    let large = case([5, 16, 24, 32], 24, 3, 1, [1, 1]);
    for case in [large, CASES[1], CASES[5], CASES[10], CASES[18], CASES[19]] {
        for precision in [Precision::F32, Precision::Bf16] {
            let kernel = |x: &[Tensor<1>]| case.kernel(x, precision);
            assert_same_on_threads(&format!("{case:?}"), &kernel, &case.operands());
        }
    }
}

#[test]
fn convolution_of_an_image_does_not_depend_on_its_batch() {
    for channels in [6, 30] {
        let case = |batch| case([batch, channels, 8, 8], 24, 3, 1, [1, 1]);
        let operands = case(5).operands();
        let (all, _) = derive(&|x| case(5).kernel(x, Precision::F32), &operands);
        let one = operands[0].len() / 5;
        for i in 0..5 {
            let mut operands = operands.clone();
            operands[0] = operands[0][i * one..][..one].to_vec();
            let (single, _) = derive(&|x| case(1).kernel(x, Precision::F32), &operands);
            assert_eq!(single, all[i * single.len()..][..single.len()], "image {i}");
        }
    }
}

#[test]
fn convolution_of_a_doubled_image() {
    for ([batch, inputs, height, width], outputs) in [
        ([1, 1, 1, 1], 1),
        ([2, 3, 3, 5], 9),
        ([1, 4, 2, 16], 17),
        ([3, 16, 8, 8], 24),
        ([0, 2, 4, 4], 3),
    ] {
        let operands = vec![
            normals(1, batch * inputs * height * width),
            normals(2, outputs * inputs * 9),
            normals(3, outputs),
        ];
        let run = |x: &[Tensor<1>], op: &dyn Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>| {
            let image = x[0].clone().reshape([batch, inputs, height, width]);
            let weight = x[1].clone().reshape([outputs, inputs, 3, 3]);
            op(image, weight, x[2].clone()).flatten(0, 3)
        };
        let twin = |x: &[Tensor<1>]| run(x, &twin::conv2d_doubled);
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, BF16)] {
            let packs = Packs::new(precision);
            let kernel = |x: &[Tensor<1>]| run(x, &|x, w, b| conv2d_doubled(x, w, b, &packs));
            let name = format!("{batch}x{inputs}x{height}x{width} to {outputs} {precision}");
            if batch > 0 {
                assert_equal(&name, &kernel, &twin, &operands, tolerance);
            }
            assert_same_on_threads(&name, &kernel, &operands);
        }
        let packs = Packs::new(Precision::F32);
        let kernel = |x: &[Tensor<1>]| run(x, &|x, w, b| conv2d_doubled(x, w, b, &packs));
        if batch > 0 {
            assert_slopes("doubled", &kernel, &operands);
        }
    }
}

#[test]
fn packs_follow_the_weight() {
    let case = CASES[1];
    let packs = Packs::new(Precision::F32);
    let kernel = |x: &[Tensor<1>]| {
        case.run(x, |x, weight, bias| {
            conv2d(x, weight, bias, case.options, &packs)
        })
    };
    let operands = case.operands();
    let mut other = operands.clone();
    other[1] = normals(9, other[1].len());
    let (first, _) = derive(&kernel, &operands);
    let (second, _) = derive(&kernel, &other);
    let (again, _) = derive(&kernel, &operands);
    assert_eq!(first, again);
    assert!(relative_error(&second, &first) > 0.5);
}

#[test]
fn linear_equals_its_twin() {
    // Rows, inputs, outputs.
    for sizes in [
        [1, 1, 1],
        [3, 5, 7],
        [16, 32, 48],
        [50, 33, 65],
        [64, 128, 16],
        [9, 70, 300],
        [0, 4, 5],
    ] {
        let [rows, inputs, outputs] = sizes;
        let operands = vec![
            normals(1, rows * inputs),
            normals(2, inputs * outputs),
            normals(3, outputs),
        ];
        let run = |x: &[Tensor<1>], op: &dyn Fn(Tensor<3>, Tensor<2>, Tensor<1>) -> Tensor<3>| {
            let (weight, bias) = (x[1].clone().reshape([outputs, inputs]), x[2].clone());
            op(x[0].clone().reshape([rows, 1, inputs]), weight, bias).flatten(0, 2)
        };
        let twin = |x: &[Tensor<1>]| run(x, &|x, w, b| twin::linear(x, w, Some(b)));
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, BF16)] {
            let packs = Packs::new(precision);
            let kernel = |x: &[Tensor<1>]| run(x, &|x, w, b| linear(x, w, Some(b), &packs));
            let name = format!("{sizes:?} {precision:?}");
            if rows > 0 {
                assert_equal(&name, &kernel, &twin, &operands, tolerance);
            }
            assert_same_on_threads(&name, &kernel, &operands);
        }
        let packs = Packs::new(Precision::F32);
        let kernel = |x: &[Tensor<1>]| run(x, &|x, w, b| linear(x, w, Some(b), &packs));
        if rows > 0 {
            assert_slopes(&format!("{sizes:?}"), &kernel, &operands);
        }
    }
}

#[test]
fn matmul_equals_its_twin() {
    for sizes in [
        [1, 1, 1],
        [2, 3, 5],
        [17, 33, 49],
        [64, 64, 64],
        [100, 7, 200],
    ] {
        let [m, k, n] = sizes;
        let operands = vec![normals(1, m * k), normals(2, k * n)];
        let run = |x: &[Tensor<1>], op: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
            op(x[0].clone().reshape([m, k]), x[1].clone().reshape([k, n])).flatten(0, 1)
        };
        let twin = |x: &[Tensor<1>]| run(x, &|a, b| twin::matmul(a, b));
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, BF16)] {
            let kernel = |x: &[Tensor<1>]| run(x, &|a, b| matmul(a, b, precision));
            let name = format!("{sizes:?} {precision:?}");
            assert_equal(&name, &kernel, &twin, &operands, tolerance);
            assert_same_on_threads(&name, &kernel, &operands);
        }
    }
}
