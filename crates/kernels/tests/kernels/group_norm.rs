//! Group norm, with a shift before and a scale and shift after.

use burn::tensor::Tensor;
use dreamsmith_kernels::{
    Act, GroupNormOptions, group_norm, group_norm_modulated, group_norm_shifted, twin,
};

use crate::setting::{
    assert_equal, assert_same_on_threads, assert_slopes, derive, normals, relative_error,
};

/// Means of some hundred terms in another order, and what the division by a deviation makes of it.
const TOLERANCE: f64 = 5e-6;

/// `[B, C, H, W]` and groups.
const CASES: [([usize; 4], usize); 8] = [
    ([2, 8, 5, 7], 4),
    ([1, 1, 3, 3], 1),
    ([2, 3, 4, 4], 3),
    ([2, 3, 4, 4], 1),
    ([3, 32, 4, 4], 8),
    ([1, 64, 16, 16], 32),
    ([2, 6, 1, 1], 2),
    ([4, 2, 33, 31], 2),
];

const ACTS: [Act; 2] = [Act::None, Act::Silu];

/// More than one job, and more than one block in a sum.
const LARGE: ([usize; 4], usize) = ([5, 8, 72, 64], 4);

fn options(groups: usize, act: Act) -> GroupNormOptions {
    GroupNormOptions {
        groups,
        eps: 1e-5,
        act,
    }
}

/// x, weight, bias, scale and shift.
fn operands([batch, channels, height, width]: [usize; 4]) -> Vec<Vec<f32>> {
    let modulation = batch * channels;
    [
        batch * channels * height * width,
        channels,
        channels,
        modulation,
        modulation,
    ]
    .into_iter()
    .enumerate()
    .map(|(i, n)| normals(i as u64 + 1, n))
    .collect()
}

/// The images, as a view whose rows and columns are swapped.
fn images(x: &Tensor<1>, [batch, channels, height, width]: [usize; 4]) -> Tensor<4> {
    x.clone()
        .reshape([batch, channels, width, height])
        .swap_dims(2, 3)
}

fn modulation(x: &Tensor<1>, [batch, channels, ..]: [usize; 4]) -> Tensor<2> {
    x.clone().reshape([batch, channels])
}

type Kernel<'a> = &'a (dyn Fn(&[Tensor<1>]) -> Tensor<1> + Sync);

/// Calls `check` with each operation, its twin and its operands.
fn for_each_way(
    size: [usize; 4],
    options: GroupNormOptions,
    check: impl Fn(&str, Kernel<'_>, Kernel<'_>, &[Vec<f32>]),
) {
    let all = operands(size);
    let name = format!("{size:?} {options:?}");
    let affine = |x: &[Tensor<1>]| (x[1].clone(), x[2].clone());
    check(
        &name,
        &|x| {
            let (weight, bias) = affine(x);
            group_norm(images(&x[0], size), weight, bias, options).flatten(0, 3)
        },
        &|x| {
            let (weight, bias) = affine(x);
            twin::group_norm(images(&x[0], size), weight, bias, options).flatten(0, 3)
        },
        &all[..3],
    );
    // The shift of a group's only channel changes nothing: its derivative is all rounding.
    if options.groups < size[1] {
        check(
            &format!("{name}, shifted"),
            &|x| {
                let (weight, bias) = affine(x);
                let (x, shift) = (images(&x[0], size), modulation(&x[3], size));
                group_norm_shifted(x, shift, weight, bias, options).flatten(0, 3)
            },
            &|x| {
                let (weight, bias) = affine(x);
                let (x, shift) = (images(&x[0], size), modulation(&x[3], size));
                twin::group_norm_shifted(x, shift, weight, bias, options).flatten(0, 3)
            },
            &all[..4],
        );
    }
    check(
        &format!("{name}, modulated"),
        &|x| {
            let (weight, bias) = affine(x);
            let (scale, shift) = (modulation(&x[3], size), modulation(&x[4], size));
            let x = images(&x[0], size);
            group_norm_modulated(x, weight, bias, scale, shift, options).flatten(0, 3)
        },
        &|x| {
            let (weight, bias) = affine(x);
            let (scale, shift) = (modulation(&x[3], size), modulation(&x[4], size));
            let x = images(&x[0], size);
            twin::group_norm_modulated(x, weight, bias, scale, shift, options).flatten(0, 3)
        },
        &all,
    );
}

#[test]
fn equals_its_twin() {
    for act in ACTS {
        for (size, groups) in CASES.into_iter().chain([LARGE]) {
            for_each_way(
                size,
                options(groups, act),
                |name, kernel, twin, operands| {
                    assert_equal(name, kernel, twin, operands, TOLERANCE);
                },
            );
        }
    }
}

#[test]
fn of_no_images_is_empty() {
    for_each_way(
        [0, 4, 3, 3],
        options(2, Act::Silu),
        |name, kernel, _, operands| {
            let (result, derivatives) = derive(kernel, operands);
            assert!(result.is_empty() && derivatives[0].is_empty(), "{name}");
            let affine = derivatives[1].iter().chain(&derivatives[2]);
            assert!(affine.copied().eq([0.0; 8]), "{name}");
        },
    );
}

#[test]
fn has_its_derivative() {
    for act in ACTS {
        for (size, groups) in [CASES[0], CASES[4], CASES[6]] {
            for_each_way(size, options(groups, act), |name, kernel, _, operands| {
                assert_slopes(name, kernel, operands);
            });
        }
    }
}

#[test]
fn is_the_same_on_any_number_of_threads() {
    for (size, groups) in [LARGE, CASES[5]] {
        for_each_way(
            size,
            options(groups, Act::Silu),
            |name, kernel, _, operands| {
                assert_same_on_threads(name, kernel, operands);
            },
        );
    }
}

#[test]
fn takes_any_number_of_axes() {
    let operands = [normals(1, 5 * 12), normals(2, 12), normals(3, 12)];
    let options = options(3, Act::None);
    let run =
        |x: &[Tensor<1>],
         norm: fn(Tensor<2>, Tensor<1>, Tensor<1>, GroupNormOptions) -> Tensor<2>| {
            norm(
                x[0].clone().reshape([5, 12]),
                x[1].clone(),
                x[2].clone(),
                options,
            )
            .flatten(0, 1)
        };
    let kernel = |x: &[Tensor<1>]| run(x, group_norm::<2>);
    let twin = |x: &[Tensor<1>]| run(x, twin::group_norm::<2>);
    assert_equal("[5, 12]", &kernel, &twin, &operands, TOLERANCE);
}

#[test]
fn statistics_of_a_million_values_far_from_zero_are_exact() {
    let size = [1, 2, 1024, 512];
    let x: Vec<f32> = normals(1, size.iter().product())
        .iter()
        .map(|x| x + 300.0)
        .collect();
    let exact: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let n = exact.len() as f64;
    let mean = exact.iter().sum::<f64>() / n;
    let variance = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let want: Vec<f32> = exact
        .iter()
        .map(|x| ((x - mean) / (variance + 1e-5).sqrt()) as f32)
        .collect();
    let kernel = |x: &[Tensor<1>]| {
        let x0 = x[0].clone().reshape(size);
        group_norm(x0, x[1].clone(), x[2].clone(), options(1, Act::None)).flatten(0, 3)
    };
    let (got, _) = derive(&kernel, &[x, vec![1.0; 2], vec![0.0; 2]]);
    // The mean itself is rounded to 24 bits: 1.5e-5 of a deviation.
    let error = relative_error(&got, &want);
    assert!(error < 2e-5, "off by {error:.1e}");
}
