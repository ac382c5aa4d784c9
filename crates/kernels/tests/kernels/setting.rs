//! What the tests of all operations share. Operations get their operands as flat tensors, which they
//! reshape themselves, and give a flat result.

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};

/// An operation on flat operands.
pub(crate) type Op<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// `n` normal values.
pub(crate) fn normals(seed: u64, n: usize) -> Vec<f32> {
    Stream::new(seed, Purpose::Init, n as u64).normals(n)
}

/// A flat tensor.
pub(crate) fn flat(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

pub(crate) fn values(x: Tensor<1>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

/// Norm of the difference over norm of `want`; the norm itself if `want` is zero.
pub(crate) fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = || {
        got.iter()
            .zip(want)
            .map(|(g, w)| (f64::from(*g), f64::from(*w)))
    };
    let difference = norm(&mut pairs().map(|(g, w)| g - w));
    let size = norm(&mut pairs().map(|(_, w)| w));
    if size == 0.0 {
        difference
    } else {
        difference / size
    }
}

/// The result of `op`, and the derivatives of its product with fixed weights by each operand.
pub(crate) fn derive(op: Op<'_>, operands: &[Vec<f32>]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = Device::flex().autodiff();
    let leaves = operands
        .iter()
        .map(|operand| flat(operand, &device).require_grad())
        .collect::<Vec<_>>();
    let out = op(&leaves);
    let n = out.dims()[0];
    let result = values(out.clone().inner());
    let gradients = (out * flat(&normals(77, n), &device)).sum().backward();
    let by = |leaf: &Tensor<1>| leaf.grad(&gradients).map_or_else(Vec::new, values);
    (result, leaves.iter().map(by).collect())
}

/// Checks result and derivatives of `kernel` against `twin`, with a relative `tolerance`, and that
/// the result is the same without autodiff.
pub(crate) fn assert_equal(
    name: &str,
    kernel: Op<'_>,
    twin: Op<'_>,
    operands: &[Vec<f32>],
    tolerance: f64,
) {
    let (got, got_by) = derive(kernel, operands);
    let (want, want_by) = derive(twin, operands);
    let error = relative_error(&got, &want);
    assert!(error <= tolerance, "{name}: result is off by {error:.1e}");
    for (i, (got, want)) in got_by.iter().zip(&want_by).enumerate() {
        let error = relative_error(got, want);
        assert!(
            error <= tolerance,
            "{name}: derivative {i} is off by {error:.1e}"
        );
    }
    let device = Device::flex();
    let plain = operands
        .iter()
        .map(|operand| flat(operand, &device))
        .collect::<Vec<_>>();
    assert_eq!(values(kernel(&plain)), got, "{name}: without autodiff");
}

/// Checks the derivatives against the slope of the result along a random direction for each operand.
/// Central differences of step 1e-2 in f32 have an error of about 1e-4 of the slope's scale.
pub(crate) fn assert_slopes(name: &str, kernel: Op<'_>, operands: &[Vec<f32>]) {
    const STEP: f32 = 1e-2;
    let (result, derivatives) = derive(kernel, operands);
    let weights = normals(77, result.len());
    let device = Device::flex();
    for i in 0..operands.len() {
        let direction = normals(5 + i as u64, operands[i].len());
        let at = |step: f32| -> Vec<f32> {
            let mut moved = operands.to_vec();
            for (value, d) in moved[i].iter_mut().zip(&direction) {
                *value += step * d;
            }
            values(kernel(
                &moved.iter().map(|x| flat(x, &device)).collect::<Vec<_>>(),
            ))
        };
        let (plus, minus) = (at(STEP), at(-STEP));
        let slope = plus.iter().zip(&minus).zip(&weights);
        let slope: f64 = slope
            .map(|((p, m), w)| f64::from(p - m) * f64::from(*w))
            .sum::<f64>()
            / f64::from(2.0 * STEP);
        let products = derivatives[i].iter().zip(&direction);
        let want: f64 = products.clone().map(|(g, d)| f64::from(g * d)).sum();
        // The slope is a sum of random signs: it is judged by the size of its terms.
        let scale = products
            .map(|(g, d)| f64::from(g * d).powi(2))
            .sum::<f64>()
            .sqrt();
        let error = (slope - want).abs() / scale.max(1e-6);
        assert!(
            error < 5e-3,
            "{name}: slope {i} is {slope}, its derivative says {want}"
        );
    }
}

/// Checks that one thread and three give the same bits, forward and backward.
pub(crate) fn assert_same_on_threads(
    name: &str,
    kernel: &(dyn Fn(&[Tensor<1>]) -> Tensor<1> + Sync),
    operands: &[Vec<f32>],
) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| derive(&|x| kernel(x), operands))
    };
    assert!(on(1) == on(3), "{name}: three threads change the bits");
}

/// Checks `gradient` of `f` at `x` against the slope of `f` along a random direction, within 1 % of
/// the slope's scale: f32 results, and ReLUs between the two steps, leave that much.
pub(crate) fn assert_slope(name: &str, f: &dyn Fn(&[f32]) -> f64, x: &[f32], gradient: &[f32]) {
    const STEP: f32 = 2e-4;
    let direction = normals(5, x.len());
    let at = |step: f32| {
        let moved = x.iter().zip(&direction).map(|(x, d)| x + step * d);
        f(&moved.collect::<Vec<f32>>())
    };
    let slope = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
    let terms = || {
        gradient
            .iter()
            .zip(&direction)
            .map(|(g, d)| f64::from(g * d))
    };
    let want: f64 = terms().sum();
    let scale = terms().map(|term| term * term).sum::<f64>().sqrt();
    let error = (slope - want).abs();
    assert!(
        error < 1e-2 * scale.max(1e-6),
        "{name}: slope is {slope}, the derivative says {want}"
    );
}

/// The sum of products.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// `work` on so many threads.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// Points in the unit cube.
pub(crate) fn points(seed: u64, n: usize) -> Vec<[f32; 3]> {
    let mut stream = Stream::new(seed, Purpose::Test, n as u64);
    let mut number = || (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
    (0..n).map(|_| [number(), number(), number()]).collect()
}
