//! What a radiance field is: at each point a density, and a colour for each direction it is seen from.
//! Leaves out where fields are looked at (`march`, `hierarchical`) and how they learn (`reconstruct`).

use std::ops::Range;

use dreamsmith_base::{Purpose, Stream};
use dreamsmith_kernels::field::Mlp;

use crate::samples::Samples;
use crate::thinning::Drawn;

/// A number for each of N points, in rows: what a backward pass needs of the forward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Values of a row.
    pub width: usize,
    /// `[S, width]`.
    pub values: Vec<f32>,
}

impl Rows {
    /// `n` rows of zeros.
    pub fn zeros(n: usize, width: usize) -> Self {
        Self {
            width,
            values: vec![0.0; n * width],
        }
    }
}

/// The density at S points, and what led to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Geometry {
    /// Per unit of length in the box `[S]`.
    pub density: Vec<f32>,
    /// The field's own notes.
    pub saved: Vec<Rows>,
}

impl Geometry {
    /// As many numbers of `n` samples, all 0.
    pub fn zeros(&self, n: usize) -> Self {
        let rows = self.saved.iter();
        Self {
            density: vec![0.0; n],
            saved: rows.map(|rows| Rows::zeros(n, rows.width)).collect(),
        }
    }

    /// Copies samples `from` of `other` to those from number `to` on.
    pub fn copy(&mut self, to: usize, other: &Self, from: Range<usize>) {
        let n = from.len();
        self.density[to..to + n].copy_from_slice(&other.density[from.clone()]);
        for (rows, others) in self.saved.iter_mut().zip(&other.saved) {
            let w = rows.width;
            let others = &others.values[from.start * w..from.end * w];
            rows.values[to * w..(to + n) * w].copy_from_slice(others);
        }
    }

    /// Only the samples that are drawn.
    pub fn thin(&mut self, drawn: &Drawn) {
        drawn.compact(1, &mut self.density);
        for rows in &mut self.saved {
            drawn.compact(rows.width, &mut rows.values);
        }
    }
}

/// The colour of S samples, and what led to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appearance {
    /// sRGB in [0, 1] `[S, 3]`.
    pub color: Vec<f32>,
    /// The field's own notes.
    pub saved: Vec<Rows>,
}

impl Appearance {
    /// Only the samples that are drawn.
    pub fn thin(&mut self, drawn: &Drawn) {
        drawn.compact(3, &mut self.color);
        for rows in &mut self.saved {
            drawn.compact(rows.width, &mut rows.values);
        }
    }
}

/// A radiance field over the box [-1, 1]^3. The order of its weights is fixed.
pub trait Field: Send + Sync {
    /// The density at points `[S, 3]`.
    fn geometry(&self, points: &[[f32; 3]]) -> Geometry;

    /// The colour of samples whose density is known.
    fn appearance(&self, samples: &Samples, geometry: &Geometry) -> Appearance;

    /// Adds to `to` the gradients of all weights, from those by density `[S]` and colour `[S, 3]`.
    fn backward(
        &self,
        samples: &Samples,
        forward: (&Geometry, &Appearance),
        by_density: &[f32],
        by_color: &[f32],
        to: &mut [Vec<f32>],
    );

    /// Adds to `to` the gradients of all weights, from that by the density at points `[S, 3]` alone.
    fn backward_density(
        &self,
        points: &[[f32; 3]],
        geometry: &Geometry,
        by_density: &[f32],
        to: &mut [Vec<f32>],
    );

    /// The derivative of the density by the points `[S, 3]`.
    fn density_slope(&self, points: &[[f32; 3]]) -> Vec<[f32; 3]>;

    /// Names and values of all weights.
    fn weights(&self) -> Vec<(&'static str, &[f32])>;

    /// The same, to be changed.
    fn weights_mut(&mut self) -> Vec<&mut Vec<f32>>;

    /// Tells the field how many steps it has learnt: some show more as they learn.
    fn set_step(&mut self, step: u64);
}

/// Gradients of the weights, all 0.
pub fn zero_gradients(field: &dyn Field) -> Vec<Vec<f32>> {
    let weights = field.weights().into_iter();
    weights.map(|(_, values)| vec![0.0; values.len()]).collect()
}

/// Outward normals: against the slope of the density, of length 1, or 0 where it is even `[S, 3]`.
pub fn normals(field: &dyn Field, points: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let slopes = field.density_slope(points).into_iter();
    slopes
        .map(|slope| (-glam::Vec3::from(slope)).normalize_or_zero().into())
        .collect()
}

/// The weights that a perceptron starts from: uniform with the variance 2 / (inputs + outputs) [Glorot10]; no bias.
pub fn initial_weights(mlp: &Mlp, seed: u64, index: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Init, index);
    let mut weights = vec![0.0; mlp.n_weights()];
    for layer in mlp.layers() {
        let bound = (6.0 / (layer.inputs + layer.outputs) as f32).sqrt();
        weights[layer.weights.clone()].fill_with(|| bound * (2.0 * stream.uniform() - 1.0));
    }
    weights
}

/// 1 / (1 + exp(-x)).
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
