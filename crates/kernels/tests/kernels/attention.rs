//! Attention.

use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::{Precision, attention, twin};

use crate::setting::{
    assert_equal, assert_same_on_threads, assert_slopes, derive, flat, normals, relative_error,
    values,
};

/// Weights are differences of sums of some hundred terms, each off by a few units in the last place.
const F32: f64 = 5e-6;
/// bf16 keeps 8 bits; the errors of many terms partly cancel.
const BF16: f64 = 2e-2;

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    d: usize,
}

const fn case(batch: usize, heads: usize, [queries, keys]: [usize; 2], d: usize) -> Case {
    Case {
        batch,
        heads,
        queries,
        keys,
        d,
    }
}

const CASES: [Case; 13] = [
    case(1, 1, [1, 1], 4),
    case(2, 3, [5, 7], 8),
    case(1, 2, [3, 2], 1),
    case(3, 1, [1, 9], 5),
    case(2, 2, [17, 16], 32),
    case(1, 2, [50, 77], 40),
    case(1, 3, [64, 64], 64),
    case(1, 1, [16, 300], 16),
    case(1, 2, [97, 129], 80),
    case(1, 1, [112, 31], 96),
    case(1, 1, [33, 128], 128),
    case(1, 1, [20, 49], 160),
    case(1, 1, [250, 257], 12),
];

impl Case {
    fn shapes(&self) -> [[usize; 3]; 3] {
        [self.queries, self.keys, self.keys].map(|n| [self.batch, n, self.heads * self.d])
    }

    fn operands(&self) -> Vec<Vec<f32>> {
        let shapes = self.shapes().into_iter().zip(1..);
        let operand = |(shape, seed): ([usize; 3], u64)| normals(seed, shape.iter().product());
        shapes.map(operand).collect()
    }

    /// Some keys weigh more; some nothing, as in a mask of texts.
    fn bias(&self, device: &Device) -> Tensor<2> {
        let mut bias = normals(4, self.batch * self.keys);
        bias.iter_mut()
            .skip(1)
            .step_by(3)
            .for_each(|bias| *bias = -10_000.0);
        flat(&bias, device).reshape([self.batch, self.keys])
    }

    fn split(&self, x: &[Tensor<1>]) -> [Tensor<3>; 3] {
        let shapes = self.shapes();
        [0, 1, 2].map(|i| x[i].clone().reshape(shapes[i]))
    }

    fn kernel(&self, x: &[Tensor<1>], precision: Precision) -> Tensor<1> {
        let [q, k, v] = self.split(x);
        attention(q, k, v, self.heads, None, precision).flatten(0, 2)
    }

    fn masked(&self, x: &[Tensor<1>], precision: Precision) -> Tensor<1> {
        let [q, k, v] = self.split(x);
        let bias = Some(self.bias(&q.device()));
        attention(q, k, v, self.heads, bias, precision).flatten(0, 2)
    }
}

#[test]
fn attention_equals_its_twin() {
    for case in CASES {
        let operands = case.operands();
        let plain = |x: &[Tensor<1>]| {
            let [q, k, v] = case.split(x);
            twin::attention(q, k, v, case.heads, None).flatten(0, 2)
        };
        let masked = |x: &[Tensor<1>]| {
            let [q, k, v] = case.split(x);
            let bias = case.bias(&q.device());
            twin::attention(q, k, v, case.heads, Some(bias)).flatten(0, 2)
        };
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, BF16)] {
            let name = format!("{case:?} {precision:?}");
            assert_equal(
                &name,
                &|x| case.kernel(x, precision),
                &plain,
                &operands,
                tolerance,
            );
            let name = format!("{name} masked");
            assert_equal(
                &name,
                &|x| case.masked(x, precision),
                &masked,
                &operands,
                tolerance,
            );
        }
    }
}

#[test]
fn attention_has_its_derivative() {
    for case in [CASES[1], CASES[4], CASES[5]] {
        let name = format!("{case:?}");
        assert_slopes(&name, &|x| case.kernel(x, Precision::F32), &case.operands());
        assert_slopes(&name, &|x| case.masked(x, Precision::F32), &case.operands());
    }
}

#[test]
fn attention_is_the_same_on_any_number_of_threads() {
    for case in [
        CASES[1],
        CASES[6],
        CASES[8],
        CASES[12],
        case(1, 1, [400, 150], 24),
    ] {
        for precision in [Precision::F32, Precision::Bf16] {
            let name = format!("{case:?} {precision:?}");
            assert_same_on_threads(&name, &|x| case.kernel(x, precision), &case.operands());
        }
    }
}

#[test]
fn attention_takes_views() {
    let case = case(2, 3, [21, 21], 10);
    let [shape, ..] = case.shapes();
    let [batch, n, features] = shape;
    // Queries as part of wider rows, keys with batch and rows exchanged, values turned over.
    let view = |x: &[Tensor<1>]| {
        let q = x[0].clone().reshape([batch, n, 2 * features]);
        let k = x[1].clone().reshape([n, batch, features]);
        let v = x[2].clone().reshape([batch, features, n]);
        let q = q.slice([0..batch, 0..n, features..2 * features]);
        [q, k.swap_dims(0, 1), v.swap_dims(1, 2)]
    };
    let operands = vec![
        normals(1, 2 * shape.iter().product::<usize>()),
        normals(2, shape.iter().product()),
        normals(3, shape.iter().product()),
    ];
    let kernel = |x: &[Tensor<1>]| {
        let [q, k, v] = view(x);
        let out = attention(q, k, v, case.heads, None, Precision::F32);
        // The derivative by the result is a view, too.
        out.swap_dims(0, 2).reshape([batch * n * features])
    };
    let twin = |x: &[Tensor<1>]| {
        let [q, k, v] = view(x);
        let out = twin::attention(q, k, v, case.heads, None);
        out.swap_dims(0, 2).reshape([batch * n * features])
    };
    assert_equal("views", &kernel, &twin, &operands, F32);
}

#[test]
fn attention_of_no_images_is_empty() {
    let case = case(0, 2, [5, 7], 8);
    let (result, gradients) = derive(&|x| case.kernel(x, Precision::F32), &case.operands());
    assert!(result.is_empty() && gradients.iter().all(Vec::is_empty));
}

#[test]
fn a_key_with_a_bias_of_minus_10000_is_as_none() {
    // More keys than are held at a time, so that whole blocks of them are masked.
    let (keys, all) = (40, 300);
    let device = Device::flex();
    let tokens = |seed, n: usize| flat(&normals(seed, n * 16), &device).reshape([1, n, 16]);
    let (q, k, v) = (tokens(1, 30), tokens(2, all), tokens(3, all));
    let first = [0..1, all - keys..all, 0..16];
    let (few_k, few_v) = (k.clone().slice(first.clone()), v.clone().slice(first));
    let mut bias = vec![-10_000.0; all];
    bias[all - keys..].fill(0.0);
    let bias = Some(flat(&bias, &device).reshape([1, all]));
    let got = attention(q.clone(), k, v, 2, bias, Precision::F32);
    let want = attention(q, few_k, few_v, 2, None, Precision::F32);
    let error = relative_error(&values(got.flatten(0, 2)), &values(want.flatten(0, 2)));
    assert!(error < 1e-6, "off by {error}");
}

#[test]
fn great_scores_do_not_overflow() {
    let case = case(1, 1, [40, 200], 16);
    let mut operands = case.operands();
    operands[0].iter_mut().for_each(|q| *q *= 1e4);
    let (result, gradients) = derive(&|x| case.kernel(x, Precision::F32), &operands);
    assert!(
        result
            .iter()
            .chain(gradients.iter().flatten())
            .all(|x| x.is_finite())
    );
}
