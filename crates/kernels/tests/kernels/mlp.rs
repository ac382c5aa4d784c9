//! The perceptron against one in f64, layer by layer and sample by sample.

use dreamsmith_kernels::Precision;
use dreamsmith_kernels::field::{Bias, Layer, Mlp, MlpSpec};

use crate::setting::{assert_slope, dot, normals, on_threads, relative_error};

const SAMPLES: [usize; 4] = [0, 1, 7, 1000];
const SPECS: [MlpSpec; 5] = [
    spec([32, 64, 1, 16], Bias::None),
    spec([32, 64, 2, 3], Bias::None),
    spec([5, 16, 3, 1], Bias::Each),
    spec([17, 48, 2, 33], Bias::Each),
    spec([60, 112, 2, 50], Bias::None),
];

const fn spec([inputs, width, layers, outputs]: [usize; 4], bias: Bias) -> MlpSpec {
    MlpSpec {
        inputs,
        width,
        layers,
        outputs,
        bias,
    }
}

/// What a layer makes of `below`.
fn sums(layer: &Layer, weights: &[f32], below: &[f64]) -> Vec<f64> {
    let rows = weights[layer.weights.clone()].chunks(layer.inputs);
    let bias = weights[layer.bias.clone()].iter().copied();
    let bias = bias.chain(std::iter::repeat(0.0));
    let sum = |(row, bias): (&[f32], f32)| {
        let sum: f64 = row.iter().zip(below).map(|(w, x)| f64::from(*w) * x).sum();
        sum + f64::from(bias)
    };
    rows.zip(bias).map(sum).collect()
}

/// Values of one layer after the other, of one sample.
fn layers(mlp: &Mlp, weights: &[f32], x: &[f32]) -> Vec<Vec<f64>> {
    let mut values = vec![x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()];
    for (l, layer) in mlp.layers().iter().enumerate() {
        let mut next = sums(layer, weights, &values[l]);
        if l + 1 < mlp.layers().len() {
            next.iter_mut().for_each(|x| *x = x.max(0.0));
        }
        values.push(next);
    }
    values
}

/// How near to 0 the sums of hidden layers come.
fn nearest_edge(mlp: &Mlp, weights: &[f32], x: &[f32]) -> f64 {
    let values = layers(mlp, weights, x);
    let hidden = mlp.layers().iter().zip(&values).take(values.len() - 2);
    let sums = hidden.flat_map(|(layer, below)| sums(layer, weights, below));
    sums.map(f64::abs).fold(f64::INFINITY, f64::min)
}

fn forward(mlp: &Mlp, weights: &[f32], x: &[f32]) -> Vec<f32> {
    let samples = x.chunks(mlp.n_inputs());
    let last = samples.flat_map(|x| layers(mlp, weights, x).pop().unwrap());
    last.map(|y| y as f32).collect()
}

/// The derivatives by x and by the weights.
fn backward(mlp: &Mlp, weights: &[f32], x: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
    let (mut by_x, mut by_weights) = (vec![], vec![0.0; weights.len()]);
    for (x, grad) in x.chunks(mlp.n_inputs()).zip(grad.chunks(mlp.n_outputs())) {
        let values = layers(mlp, weights, x);
        let mut grad: Vec<f64> = grad.iter().map(|g| f64::from(*g)).collect();
        for (l, layer) in mlp.layers().iter().enumerate().rev() {
            let mut below = vec![0.0; layer.inputs];
            for (o, g) in grad.iter().enumerate() {
                for (i, below) in below.iter_mut().enumerate() {
                    let at = layer.weights.start + o * layer.inputs + i;
                    by_weights[at] += g * values[l][i];
                    let open = l == 0 || values[l][i] > 0.0;
                    *below += if open {
                        g * f64::from(weights[at])
                    } else {
                        0.0
                    };
                }
                if !layer.bias.is_empty() {
                    by_weights[layer.bias.start + o] += g;
                }
            }
            grad = below;
        }
        by_x.extend(grad.iter().map(|g| *g as f32));
    }
    [by_x, by_weights.iter().map(|w| *w as f32).collect()]
}

/// Weights that keep the size of values.
fn weights(mlp: &Mlp) -> Vec<f32> {
    let mut weights = normals(1, mlp.n_weights());
    for layer in mlp.layers() {
        let scale = (2.0 / layer.inputs as f32).sqrt();
        weights[layer.weights.clone()]
            .iter_mut()
            .for_each(|w| *w *= scale);
    }
    weights
}

#[test]
fn results_and_derivatives_are_those_of_the_twin() {
    // Sums of some hundred terms in f32. Three digits of each factor in bf16; and some ReLUs are open
    // that are closed in f64, of which derivatives show the more, the fewer samples there are.
    for (precision, result, derivative) in
        [(Precision::F32, 2e-6, 2e-6), (Precision::Bf16, 5e-2, 1e-1)]
    {
        for spec in SPECS {
            let mlp = Mlp::new(&spec).unwrap();
            let weights = weights(&mlp);
            for n in SAMPLES {
                let (x, grad) = (normals(2, n * spec.inputs), normals(3, n * spec.outputs));
                let name = format!("{spec:?} {precision} {n}");
                let mut y = vec![f32::NAN; grad.len()];
                mlp.forward(&weights, &x, precision, &mut y);
                let error = relative_error(&y, &forward(&mlp, &weights, &x));
                assert!(error < result, "{name}: results are off by {error:.1e}");
                let (mut by_x, mut by_weights) =
                    (vec![f32::NAN; x.len()], vec![1.0; weights.len()]);
                mlp.backward(&weights, (&x, &grad), precision, &mut by_x, &mut by_weights);
                let [want_x, mut want_weights] = backward(&mlp, &weights, &x, &grad);
                want_weights.iter_mut().for_each(|w| *w += 1.0);
                for (what, got, want) in
                    [("x", by_x, want_x), ("weights", by_weights, want_weights)]
                {
                    let error = relative_error(&got, &want);
                    assert!(
                        error < derivative * if n < 100 { 3.0 } else { 1.0 },
                        "{name}: by {what} off by {error:.1e}"
                    );
                }
            }
        }
    }
}

#[test]
fn derivatives_are_slopes() {
    for spec in SPECS {
        let mlp = Mlp::new(&spec).unwrap();
        let weights = weights(&mlp);
        // Away from the edges of all ReLUs.
        let x = normals(2, 400 * spec.inputs);
        let mut samples: Vec<&[f32]> = x.chunks(spec.inputs).collect();
        samples.retain(|x| nearest_edge(&mlp, &weights, x) > 5e-3);
        assert!(samples.len() > 10, "{}", samples.len());
        let (x, grad) = (samples.concat(), normals(3, samples.len() * spec.outputs));
        let loss = |weights: &[f32], x: &[f32]| {
            let mut y = vec![0.0; grad.len()];
            mlp.forward(weights, x, Precision::F32, &mut y);
            dot(&y, &grad)
        };
        let (mut by_x, mut by_weights) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
        mlp.backward(
            &weights,
            (&x, &grad),
            Precision::F32,
            &mut by_x,
            &mut by_weights,
        );
        assert_slope("x", &|x| loss(&weights, x), &x, &by_x);
        assert_slope(
            "weights",
            &|weights| loss(weights, &x),
            &weights,
            &by_weights,
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let mlp = Mlp::new(&SPECS[1]).unwrap();
    let weights = weights(&mlp);
    let (x, grad) = (normals(2, 9000 * 32), normals(3, 9000 * 3));
    for precision in [Precision::F32, Precision::Bf16] {
        let run = || {
            let (mut y, mut by_x) = (vec![0.0; grad.len()], vec![0.0; x.len()]);
            let mut by_weights = vec![0.0; weights.len()];
            mlp.forward(&weights, &x, precision, &mut y);
            mlp.backward(&weights, (&x, &grad), precision, &mut by_x, &mut by_weights);
            (y, by_x, by_weights)
        };
        assert!(on_threads(1, run) == on_threads(2, run));
    }
}

#[test]
fn what_is_no_number_shows() {
    let mlp = Mlp::new(&SPECS[0]).unwrap();
    let mut x = normals(2, 32);
    x[5] = f32::NAN;
    let mut y = [0.0; 16];
    mlp.forward(&weights(&mlp), &x, Precision::F32, &mut y);
    assert!(y.iter().all(|y| y.is_nan()));
}

#[test]
fn sizes_out_of_range_are_named() {
    for (sizes, words) in [
        ([0, 64, 1, 3], "`inputs` is 0; expected 1 to 1024"),
        (
            [32, 60, 1, 3],
            "`width` is 60; expected a multiple of 16 up to 1024",
        ),
        ([32, 64, 0, 3], "`layers` is 0; expected 1 to 16"),
        ([32, 64, 1, 2000], "`outputs` is 2000; expected 1 to 1024"),
    ] {
        let error = Mlp::new(&spec(sizes, Bias::None)).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
}
