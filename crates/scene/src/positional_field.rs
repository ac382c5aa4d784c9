//! The field of the original NeRF [Mildenhall20, appendix A]: eight layers of waves of the point, with the waves again at
//! the fifth, to a density and a feature; this and waves of the direction to a colour.
//! The density is a shifted softplus, as in [Barron21], where the paper has a ReLU that may never wake.

use dreamsmith_kernels::Precision;
use dreamsmith_kernels::field::{Bias, Mlp, MlpSpec, Positional, PositionalSpec};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

use crate::field::{Appearance, Field, Geometry, Rows, initial_weights, sigmoid};
use crate::reconstruct_error::SpecError;
use crate::samples::Samples;

/// The density of a unit of the network: the box is small, and what is solid must be so within a hundredth of it.
const DENSITY_UNIT: f32 = 10.0;
/// What the network says of the density lies so much lower than it says: the box starts nearly empty. All of a fog's
/// samples are told to vanish by the rays that see nothing, and then there is no way back.
const DENSITY_SHIFT: f32 = 5.0;
/// Samples that a thread takes at a time.
const BLOCK: usize = 1 << 10;

/// The sizes of a positional field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PositionalFieldSpec {
    /// Waves of the point: pi, 2 pi, 4 pi, ..
    pub point_frequencies: usize,
    /// Waves of the direction.
    pub dir_frequencies: usize,
    /// Width of the eight layers; that of the colour's layer is half of it.
    pub width: usize,
    /// How the perceptrons multiply.
    pub precision: Precision,
}

impl Default for PositionalFieldSpec {
    fn default() -> Self {
        Self {
            point_frequencies: 10,
            dir_frequencies: 4,
            width: 256,
            precision: Precision::Bf16,
        }
    }
}

/// A positional field.
#[derive(Clone, Debug)]
pub struct PositionalField {
    spec: PositionalFieldSpec,
    points: Positional,
    dirs: Positional,
    /// Layers 1 to 5, layers 6 to 8 with the heads, the colour.
    networks: [Mlp; 3],
    weights: [Vec<f32>; 3],
}

impl PositionalField {
    /// The field of `spec` with the initial weights of `seed`; fields of other numbers start otherwise.
    pub fn new(spec: PositionalFieldSpec, seed: u64, number: u64) -> Result<Self, SpecError> {
        let waves = |frequencies| Positional::new(&PositionalSpec { frequencies });
        let points = waves(spec.point_frequencies)?;
        let dirs = waves(spec.dir_frequencies)?;
        let width = spec.width;
        let network = |inputs, width, layers, outputs| {
            Mlp::new(&MlpSpec {
                inputs,
                width,
                layers,
                outputs,
                bias: Bias::Each,
            })
        };
        let networks = [
            network(points.n_features(), width, 4, width)?,
            network(width + points.n_features(), width, 3, 1 + width)?,
            network(width + dirs.n_features(), width / 2, 1, 3)?,
        ];
        let index = |i: u64| 3 * number + i;
        let weights = [0, 1, 2].map(|i| initial_weights(&networks[i], seed, index(i as u64)));
        Ok(Self {
            spec,
            points,
            dirs,
            networks,
            weights,
        })
    }

    fn forward(&self, network: usize, input: &Rows) -> Rows {
        let mlp = &self.networks[network];
        let n = input.values.len() / input.width.max(1);
        let mut to = Rows::zeros(n, mlp.n_outputs());
        let (weights, precision) = (&self.weights[network], self.spec.precision);
        mlp.forward(weights, &input.values, precision, &mut to.values);
        to
    }

    /// The gradient by the input of a network; adds that by its weights.
    fn back(&self, network: usize, input: &Rows, by_output: &Rows, to: &mut [f32]) -> Rows {
        let mut by_input = Rows {
            width: input.width,
            values: vec![0.0; input.values.len()],
        };
        let pair = (&input.values[..], &by_output.values[..]);
        let (weights, precision) = (&self.weights[network], self.spec.precision);
        self.networks[network].backward(weights, pair, precision, &mut by_input.values, to);
        by_input
    }

    /// Waves of the points, what layer 6 sees, and what the heads say.
    fn trunk(&self, points: &[[f32; 3]]) -> [Rows; 3] {
        let mut waves = Rows::zeros(points.len(), self.points.n_features());
        self.points.encode(points, &mut waves.values);
        let middle = self.forward(0, &waves);
        let joined = joined(&middle, &waves);
        let heads = self.forward(1, &joined);
        [waves, joined, heads]
    }

    /// The gradient by the waves, from that by the heads; adds those by the weights.
    fn trunk_back(&self, saved: [&Rows; 2], by_heads: &Rows, to: &mut [Vec<f32>]) -> Rows {
        let [waves, joined] = saved;
        let by_joined = self.back(1, joined, by_heads, &mut to[1]);
        let (width, n_waves) = (self.spec.width, waves.width);
        let n = waves.values.len() / n_waves;
        let mut by_middle = Rows::zeros(n, width);
        let rows = by_joined.values.par_chunks(width + n_waves);
        let rows = rows.zip(joined.values.par_chunks(width + n_waves));
        let to_rows = by_middle.values.par_chunks_mut(width).with_min_len(BLOCK);
        to_rows.zip(rows).for_each(|(to, (by, value))| {
            for ((to, by), value) in to.iter_mut().zip(by).zip(value) {
                *to = if *value > 0.0 { *by } else { 0.0 };
            }
        });
        let mut by_waves = self.back(0, waves, &by_middle, &mut to[0]);
        let rows = by_joined.values.par_chunks(width + n_waves);
        let to_rows = by_waves.values.par_chunks_mut(n_waves).with_min_len(BLOCK);
        to_rows.zip(rows).for_each(|(to, by)| {
            to.iter_mut()
                .zip(&by[width..])
                .for_each(|(to, by)| *to += by);
        });
        by_waves
    }
}

impl Field for PositionalField {
    fn geometry(&self, points: &[[f32; 3]]) -> Geometry {
        let saved = self.trunk(points);
        let heads = saved[2].values.par_chunks(saved[2].width);
        let density = heads.with_min_len(BLOCK).map(|row| density(row[0]));
        Geometry {
            density: density.collect(),
            saved: saved.into(),
        }
    }

    fn appearance(&self, samples: &Samples, geometry: &Geometry) -> Appearance {
        let (width, n_waves) = (self.spec.width, self.dirs.n_features());
        let mut waves = vec![0.0; samples.n_rays() * n_waves];
        self.dirs.encode(&samples.dirs, &mut waves);
        let mut input = Rows::zeros(samples.len(), width + n_waves);
        let rows = input.values.par_chunks_mut(width + n_waves);
        let heads = geometry.saved[2].values.par_chunks(1 + width);
        let ray_of: Vec<usize> = (0..samples.n_rays())
            .flat_map(|ray| samples.of_ray(ray).map(move |_| ray))
            .collect();
        let rows = rows.zip(heads).zip(&ray_of).with_min_len(BLOCK);
        rows.for_each(|((row, head), ray)| {
            row[..width].copy_from_slice(&head[1..]);
            row[width..].copy_from_slice(&waves[ray * n_waves..][..n_waves]);
        });
        let mut color = self.forward(2, &input).values;
        let values = color.par_iter_mut().with_min_len(BLOCK);
        values.for_each(|x| *x = sigmoid(*x));
        Appearance {
            color,
            saved: vec![input],
        }
    }

    fn backward(
        &self,
        samples: &Samples,
        (geometry, appearance): (&Geometry, &Appearance),
        by_density: &[f32],
        by_color: &[f32],
        to: &mut [Vec<f32>],
    ) {
        let [waves, joined, heads] = &geometry.saved[..] else {
            return;
        };
        let width = self.spec.width;
        let mut by_output = Rows::zeros(samples.len(), 3);
        let colors = appearance.color.iter().zip(by_color);
        for (to, (c, by)) in by_output.values.iter_mut().zip(colors) {
            *to = by * c * (1.0 - c);
        }
        let by_input = self.back(2, &appearance.saved[0], &by_output, &mut to[2]);
        let mut by_heads = Rows::zeros(samples.len(), 1 + width);
        let rows = by_heads
            .values
            .par_chunks_mut(1 + width)
            .with_min_len(BLOCK);
        let from = by_input.values.par_chunks(by_input.width);
        let heads = heads.values.par_chunks(1 + width);
        rows.zip(from)
            .zip(heads)
            .enumerate()
            .for_each(|(i, ((to, from), head))| {
                to[0] = by_density[i] * density_slope(head[0]);
                to[1..].copy_from_slice(&from[..width]);
            });
        self.trunk_back([waves, joined], &by_heads, to);
    }

    fn backward_density(
        &self,
        _: &[[f32; 3]],
        geometry: &Geometry,
        by_density: &[f32],
        to: &mut [Vec<f32>],
    ) {
        let [waves, joined, heads] = &geometry.saved[..] else {
            return;
        };
        let mut by_heads = Rows::zeros(by_density.len(), heads.width);
        let rows = by_heads.values.chunks_exact_mut(heads.width);
        let rows = rows.zip(heads.values.chunks_exact(heads.width));
        for ((to, head), by) in rows.zip(by_density) {
            to[0] = by * density_slope(head[0]);
        }
        self.trunk_back([waves, joined], &by_heads, to);
    }

    fn density_slope(&self, points: &[[f32; 3]]) -> Vec<[f32; 3]> {
        let [waves, joined, heads] = self.trunk(points);
        let mut by_heads = Rows::zeros(points.len(), heads.width);
        let rows = by_heads.values.chunks_exact_mut(heads.width);
        for (to, head) in rows.zip(heads.values.chunks_exact(heads.width)) {
            to[0] = density_slope(head[0]);
        }
        let mut unused: Vec<_> = self.weights.iter().map(|w| vec![0.0; w.len()]).collect();
        let by_waves = self.trunk_back([&waves, &joined], &by_heads, &mut unused);
        let mut slopes = vec![[0.0; 3]; points.len()];
        self.points.backward(points, &by_waves.values, &mut slopes);
        slopes
    }

    fn weights(&self) -> Vec<(&'static str, &[f32])> {
        let names = ["layers_1_to_5", "layers_6_to_8", "color"];
        names
            .into_iter()
            .zip(self.weights.iter().map(|w| &w[..]))
            .collect()
    }

    fn weights_mut(&mut self) -> Vec<&mut Vec<f32>> {
        self.weights.iter_mut().collect()
    }

    fn set_step(&mut self, _: u64) {}
}

/// What is positive in rows of `a`, beside rows of `b`.
fn joined(a: &Rows, b: &Rows) -> Rows {
    let width = a.width + b.width;
    let n = a.values.len() / a.width.max(1);
    let mut to = Rows::zeros(n, width);
    let pairs = a
        .values
        .par_chunks(a.width)
        .zip(b.values.par_chunks(b.width));
    let rows = to.values.par_chunks_mut(width).with_min_len(BLOCK);
    rows.zip(pairs).for_each(|(to, (from_a, from_b))| {
        to.iter_mut()
            .zip(from_a)
            .for_each(|(to, a)| *to = a.max(0.0));
        to[from_a.len()..].copy_from_slice(from_b);
    });
    to
}

/// log(1 + exp(x)) of the shifted x, without overflow.
fn density(x: f32) -> f32 {
    let x = x - DENSITY_SHIFT;
    DENSITY_UNIT * (x.max(0.0) + (-x.abs()).exp().ln_1p())
}

/// Its derivative.
fn density_slope(x: f32) -> f32 {
    DENSITY_UNIT * sigmoid(x - DENSITY_SHIFT)
}
