//! SiLU, GELU, GEGLU and the residual sum.

use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::{add_scaled, geglu, gelu, silu, twin};

use crate::setting::{
    assert_equal, assert_same_on_threads, assert_slopes, derive, flat, normals, values,
};

/// A few units in the last place.
const TOLERANCE: f64 = 1e-6;

/// Normal values, three times as wide.
fn wide(seed: u64, n: usize) -> Vec<f32> {
    normals(seed, n).iter().map(|x| 3.0 * x).collect()
}

type Op = fn(&[Tensor<1>]) -> Tensor<1>;

/// Each operation and its twin, of one operand or two; the rows of GEGLU are 2 x 21 wide.
const OPS: [(&str, Op, Op, usize); 5] = [
    (
        "silu",
        |x| silu(x[0].clone()),
        |x| twin::silu(x[0].clone()),
        1,
    ),
    (
        "gelu",
        |x| gelu(x[0].clone()),
        |x| twin::gelu(x[0].clone()),
        1,
    ),
    (
        "geglu",
        |x| geglu(x[0].clone().reshape([-1, 42])).flatten(0, 1),
        |x| twin::geglu(x[0].clone().reshape([-1, 42])).flatten(0, 1),
        1,
    ),
    (
        "sum",
        |x| add_scaled(x[0].clone(), x[1].clone(), 1.0),
        |x| twin::add_scaled(x[0].clone(), x[1].clone(), 1.0),
        2,
    ),
    (
        "scaled sum",
        |x| add_scaled(x[0].clone(), x[1].clone(), 0.7),
        |x| twin::add_scaled(x[0].clone(), x[1].clone(), 0.7),
        2,
    ),
];

#[test]
fn equal_their_twins() {
    for (name, kernel, twin, n) in OPS {
        for len in [42, 5 * 42, 42 * 2000] {
            let operands: Vec<_> = (0..n).map(|i| wide(i as u64, len)).collect();
            assert_equal(
                &format!("{name} of {len}"),
                &kernel,
                &twin,
                &operands,
                TOLERANCE,
            );
        }
    }
}

#[test]
fn of_nothing_are_nothing() {
    for (name, kernel, _, n) in OPS {
        if name != "geglu" {
            let (result, derivatives) = derive(&kernel, &vec![vec![]; n]);
            assert!(
                result.is_empty() && derivatives.iter().all(Vec::is_empty),
                "{name}"
            );
        }
    }
    let (result, _) = derive(
        &|x| geglu(x[0].clone().reshape([0, 6])).flatten(0, 1),
        &[vec![]],
    );
    assert!(result.is_empty());
}

#[test]
fn views_are_read_as_they_look() {
    let swapped = |x: &[Tensor<1>]| x[0].clone().reshape([6, 7]).swap_dims(0, 1);
    let operands = [wide(1, 42)];
    let kernel = |x: &[Tensor<1>]| gelu(swapped(x)).flatten(0, 1);
    let twin = |x: &[Tensor<1>]| twin::gelu(swapped(x)).flatten(0, 1);
    assert_equal("gelu", &kernel, &twin, &operands, TOLERANCE);
    let kernel = |x: &[Tensor<1>]| geglu(swapped(x)).flatten(0, 1);
    let twin = |x: &[Tensor<1>]| twin::geglu(swapped(x)).flatten(0, 1);
    assert_equal("geglu", &kernel, &twin, &operands, TOLERANCE);
}

#[test]
fn have_their_derivatives() {
    for (name, kernel, _, n) in OPS {
        let operands: Vec<_> = (0..n).map(|i| wide(i as u64, 42)).collect();
        assert_slopes(name, &kernel, &operands);
    }
}

#[test]
fn are_the_same_on_any_number_of_threads() {
    for (name, kernel, _, n) in OPS {
        let operands: Vec<_> = (0..n).map(|i| wide(i as u64, 42 * 3000)).collect();
        assert_same_on_threads(name, &kernel, &operands);
    }
}

/// Value and derivative of one activation at `x`.
fn at(op: fn(Tensor<1>) -> Tensor<1>, x: f32) -> [f32; 2] {
    let x = flat(&[x], &Device::flex().autodiff()).require_grad();
    let y = op(x.clone());
    let slope = values(x.grad(&y.clone().sum().backward()).unwrap());
    [values(y.inner())[0], slope[0]]
}

#[test]
fn tails_neither_overflow_nor_vanish_too_soon() {
    for x in [-1e30, -1e4, -100.0, -89.0] {
        for op in [silu::<1>, gelu::<1>] {
            let [y, slope] = at(op, x);
            assert!(y.abs() < 1e-36 && slope.abs() < 1e-36, "{x}: {y}, {slope}");
        }
    }
    for x in [20.0, 100.0, 1e30] {
        for op in [silu::<1>, gelu::<1>] {
            let [y, slope] = at(op, x);
            assert!(
                (y / x - 1.0).abs() < 1e-6 && (slope - 1.0).abs() < 1e-6,
                "{x}: {y}, {slope}"
            );
        }
    }
    // Phi(-8) = 6.220960574271784e-16, of which 1 + erf has nothing left; the exponent is rounded to
    // 32 / 2^24.
    let [y, slope] = at(gelu, -8.0);
    assert!(
        (f64::from(y) / (-8.0 * 6.220_960_574_271_784e-16) - 1.0).abs() < 3e-6,
        "{y}"
    );
    let want = 6.220_960_574_271_784e-16 - 8.0 * 5.052_271_083_536_893e-15;
    assert!((f64::from(slope) / want - 1.0).abs() < 3e-6, "{slope}");
}
