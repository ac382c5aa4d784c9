//! What of radiance fields is measured: one step over 2^17 samples, part by part.

use std::hint::black_box;

use dreamsmith_diffusion::Precision;
use dreamsmith_kernels::AdamW;
use dreamsmith_kernels::field::{
    Bias, HashGrid, HashGridSpec, Mlp, MlpSpec, accumulate, accumulate_backward, render_weights,
    render_weights_backward, sparse_adam,
};

use crate::bench::rows::{Prepared, Row, Work, bytes, drawn};

const SAMPLES: usize = 1 << 17;
/// Samples of a ray.
const RAY: usize = 64;
const GRID: HashGridSpec = HashGridSpec {
    levels: 16,
    log2_entries: 17,
    base_resolution: 16,
    finest_resolution: 2048,
};
/// Inputs, width, hidden layers, outputs: a network for density and one for colour, and half of the original NeRF's.
const NETWORKS: [[usize; 4]; 3] = [[32, 64, 1, 16], [32, 64, 2, 3], [60, 256, 4, 256]];

pub(super) fn rows() -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![encoding()?, encoding_step()?];
    for sizes in NETWORKS {
        rows.extend([network(sizes)?, network_and_back(sizes)?]);
    }
    rows.push(rendering());
    Ok(rows)
}

/// Values that the vertices around a point have, on all levels.
const VERTICES: usize = 16 * 8 * 2;

/// Reads the vertices of each point and writes its features. Vertices lie anywhere in a table that is
/// larger than the second-level cache: latency, not bandwidth, keeps this from the limit.
fn encoding() -> anyhow::Result<Row> {
    let grid = HashGrid::new(&GRID)?;
    let work = Work::Bytes(bytes(SAMPLES * (VERTICES + grid.n_features())));
    Ok(Row::of_samples(
        "hash grid 16x2 2^17, encoding".into(),
        work,
        SAMPLES,
        move |_| {
            let (values, points) = (drawn(grid.n_values()), points());
            let mut features = vec![0.0; SAMPLES * grid.n_features()];
            let grid = grid.clone();
            Ok(Box::new(move || {
                grid.encode(&values, &points, 16, &mut features);
                black_box(&features);
            }))
        },
    ))
}

/// As well the way back, which reads and writes the vertices, and the optimiser, which reads and
/// writes values, gradient and two moments.
fn encoding_step() -> anyhow::Result<Row> {
    let grid = HashGrid::new(&GRID)?;
    let of_samples = SAMPLES * (3 * VERTICES + 2 * grid.n_features());
    let work = Work::Bytes(bytes(of_samples + 8 * grid.n_values()));
    Ok(Row::of_samples(
        "hash grid 16x2 2^17, step".into(),
        work,
        SAMPLES,
        move |_| {
            let (mut values, points) = (drawn(grid.n_values()), points());
            let mut features = vec![0.0; SAMPLES * grid.n_features()];
            let [mut gradient, mut m1, mut m2] = [(); 3].map(|()| vec![0.0; values.len()]);
            let grid = grid.clone();
            let mut step = AdamW {
                learning_rate: 1e-2,
                beta_1: 0.9,
                beta_2: 0.99,
                epsilon: 1e-15,
                weight_decay: 0.0,
                step: 0,
                gradient_scale: 1.0,
            };
            Ok(Box::new(move || {
                step.step += 1;
                grid.encode(&values, &points, 16, &mut features);
                grid.backward(&points, &features, 16, &mut gradient);
                sparse_adam(&step, &mut values, &mut gradient, &mut m1, &mut m2);
            }))
        },
    ))
}

fn network_of([inputs, width, layers, outputs]: [usize; 4]) -> anyhow::Result<(Mlp, String, f64)> {
    let mlp = Mlp::new(&MlpSpec {
        inputs,
        width,
        layers,
        outputs,
        bias: Bias::None,
    })?;
    let products: usize = mlp.layers().iter().map(|l| l.inputs * l.outputs).sum();
    let name = format!("MLP {inputs} -> {layers} x {width} -> {outputs}");
    Ok((mlp, name, (2 * products * SAMPLES) as f64))
}

fn network(sizes: [usize; 4]) -> anyhow::Result<Row> {
    let (mlp, name, flops) = network_of(sizes)?;
    let name = format!("{name} forward");
    Ok(Row::of_samples(
        name,
        Work::Flops(flops),
        SAMPLES,
        move |precision| {
            let (weights, x) = (drawn(mlp.n_weights()), drawn(SAMPLES * mlp.n_inputs()));
            let mut y = vec![0.0; SAMPLES * mlp.n_outputs()];
            let mlp = mlp.clone();
            Ok(Box::new(move || {
                mlp.forward(&weights, &x, precision, &mut y);
                black_box(&y);
            }))
        },
    ))
}

/// Two products back for one forward; hidden layers, computed again on the way back, do not count.
fn network_and_back(sizes: [usize; 4]) -> anyhow::Result<Row> {
    let (mlp, name, flops) = network_of(sizes)?;
    let name = format!("{name} forward + backward");
    let work = Work::Flops(3.0 * flops);
    Ok(Row::of_samples(name, work, SAMPLES, move |precision| {
        Ok(back(mlp.clone(), precision))
    }))
}

fn back(mlp: Mlp, precision: Precision) -> Prepared {
    let (weights, x) = (drawn(mlp.n_weights()), drawn(SAMPLES * mlp.n_inputs()));
    let mut y = vec![0.0; SAMPLES * mlp.n_outputs()];
    let [mut by_x, mut by_weights] = [&x, &weights].map(|x| vec![0.0; x.len()]);
    Box::new(move || {
        mlp.forward(&weights, &x, precision, &mut y);
        mlp.backward(&weights, (&x, &y), precision, &mut by_x, &mut by_weights);
        black_box((&by_x, &by_weights));
    })
}

/// Reads density, length and colours and writes weights; back, reads weights twice, lengths and colours,
/// writes and reads the derivatives by weights, and writes those by density and colours.
fn rendering() -> Row {
    let name = format!("volume rendering, {RAY} samples a ray, step");
    let work = Work::Bytes(bytes(
        SAMPLES * ((2 + 1 + 1 + 3) + (1 + 3 + 2 + 3) + (1 + 1 + 1 + 1)),
    ));
    Row::of_samples(name, work, SAMPLES, |_| {
        let rays = SAMPLES / RAY;
        let offsets: Vec<u32> = (0..=rays).map(|ray| (ray * RAY) as u32).collect();
        let density: Vec<f32> = drawn(SAMPLES).iter().map(|x| x.abs()).collect();
        let (lengths, colours) = (vec![0.02; SAMPLES], drawn(3 * SAMPLES));
        let (mut weights, mut left) = (vec![0.0; SAMPLES], vec![0.0; rays]);
        let (mut sums, mut by_colours) = (vec![0.0; 3 * rays], vec![0.0; 3 * SAMPLES]);
        let mut by_density = vec![0.0; SAMPLES];
        Ok(Box::new(move || {
            let mut by_weights = vec![0.0; SAMPLES];
            render_weights(&offsets, &density, &lengths, &mut weights, &mut left);
            accumulate(&offsets, &weights, &colours, &mut sums);
            let to = (&mut by_weights, &mut by_colours);
            accumulate_backward(&offsets, &weights, &colours, &sums, to.0, to.1);
            let (made, by) = ((&weights[..], &left[..]), (&by_weights[..], &left[..]));
            render_weights_backward(&offsets, &lengths, made, by, &mut by_density);
            black_box(&by_density);
        }))
    })
}

/// Points anywhere in the unit cube, which is harder on the caches than points along rays.
fn points() -> Vec<[f32; 3]> {
    let values = drawn(3 * SAMPLES)
        .into_iter()
        .map(|x| (x * 10.0).rem_euclid(1.0));
    values.collect::<Vec<f32>>().as_chunks().0.to_vec()
}
