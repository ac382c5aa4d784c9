//! A radiance field of a hash grid and two small perceptrons [Mueller22]: features of a point to the logarithm of its
//! density and 15 more numbers; these and the direction's spherical harmonics to a colour.
//! Leaves out the several scales that unbounded scenes need.

use dreamsmith_base::{Purpose, Stream};
use dreamsmith_kernels::Precision;
use dreamsmith_kernels::field::{
    HashGrid, HashGridSpec, Mlp, MlpSpec, N_HARMONICS, spherical_harmonics,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

use crate::field::{Appearance, Field, Geometry, Rows, initial_weights, sigmoid};
use crate::field_start::DensityStart;
use crate::reconstruct_error::SpecError;
use crate::samples::Samples;

/// What the first perceptron says: the logarithm of the density, and more for the second.
const CODE: usize = 16;
/// Beyond it neither the density nor its gradient grows: exp(12) is solid over any step.
const MOST_LOG_DENSITY: f32 = 12.0;
/// Samples that a thread takes at a time.
const BLOCK: usize = 1 << 12;

/// What the colour depends on besides the place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColorFrom {
    /// The direction it is seen from: shine.
    #[default]
    Direction,
    /// Nothing: an albedo.
    Place,
}

/// The sizes of a hash field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HashFieldSpec {
    /// The grid.
    pub grid: HashGridSpec,
    /// Levels of the grid that are seen from the start.
    pub first_levels: usize,
    /// Steps after which one more is seen.
    pub level_every: u64,
    /// Width of the hidden layer of the first perceptron.
    pub density_width: usize,
    /// Width of the two hidden layers of the second.
    pub color_width: usize,
    /// What the colour depends on besides the place.
    pub color_from: ColorFrom,
    /// The density before anything is learnt.
    pub start: DensityStart,
    /// How the perceptrons multiply.
    pub precision: Precision,
}

impl Default for HashFieldSpec {
    fn default() -> Self {
        Self {
            grid: HashGridSpec {
                levels: 16,
                log2_entries: 15,
                base_resolution: 16,
                finest_resolution: 512,
            },
            first_levels: 16,
            level_every: 100,
            density_width: 64,
            color_width: 64,
            color_from: ColorFrom::Direction,
            start: DensityStart::default(),
            precision: Precision::F32,
        }
    }
}

/// A hash field.
#[derive(Clone, Debug)]
pub struct HashField {
    spec: HashFieldSpec,
    grid: HashGrid,
    density: Mlp,
    color: Mlp,
    levels: usize,
    /// Of the grid, of the first perceptron, of the second.
    weights: [Vec<f32>; 3],
}

impl HashField {
    /// The field of `spec` with the initial weights of `seed`.
    pub fn new(spec: HashFieldSpec, seed: u64) -> Result<Self, SpecError> {
        let grid = HashGrid::new(&spec.grid)?;
        let density = Mlp::new(&MlpSpec {
            inputs: grid.n_features(),
            width: spec.density_width,
            layers: 1,
            outputs: CODE,
            bias: Default::default(),
        })?;
        let color = Mlp::new(&MlpSpec {
            inputs: CODE + N_HARMONICS,
            width: spec.color_width,
            layers: 2,
            outputs: 3,
            bias: Default::default(),
        })?;
        let mut stream = Stream::new(seed, Purpose::Init, 0);
        let mut values = vec![0.0; grid.n_values()];
        values.fill_with(|| 1e-4 * (2.0 * stream.uniform() - 1.0));
        let weights = [
            values,
            initial_weights(&density, seed, 1),
            initial_weights(&color, seed, 2),
        ];
        let mut field = Self {
            spec,
            grid,
            density,
            color,
            levels: 0,
            weights,
        };
        field.set_step(0);
        Ok(field)
    }

    /// Features and code of points `[S, 3]`.
    fn encode(&self, points: &[[f32; 3]]) -> (Rows, Rows) {
        // The grid wants the unit cube.
        let unit = in_unit_cube(points);
        let mut features = Rows::zeros(points.len(), self.grid.n_features());
        let mut code = Rows::zeros(points.len(), CODE);
        let [values, weights, _] = &self.weights;
        self.grid
            .encode(values, &unit, self.levels, &mut features.values);
        let precision = self.spec.precision;
        self.density
            .forward(weights, &features.values, precision, &mut code.values);
        (features, code)
    }

    /// Adds the gradients of the grid and the first perceptron, from those by the density and by the code.
    fn backward_code(
        &self,
        points: &[[f32; 3]],
        geometry: &Geometry,
        by_density: &[f32],
        (mut by_code, to): (Vec<f32>, &mut [Vec<f32>]),
    ) {
        let ([features, _], [to_grid, to_density, _]) = (&geometry.saved[..], to) else {
            return;
        };
        let rows = by_code.par_chunks_mut(CODE).enumerate();
        rows.with_min_len(BLOCK).for_each(|(i, to)| {
            // Where the density is at its most it has no slope, but one that makes it less must get through.
            to[0] += by_density[i] * geometry.density[i];
        });
        let mut by_features = vec![0.0; features.values.len()];
        self.density.backward(
            &self.weights[1],
            (&features.values, &by_code),
            self.spec.precision,
            &mut by_features,
            to_density,
        );
        self.grid
            .backward(&in_unit_cube(points), &by_features, self.levels, to_grid);
    }

    fn density_of(&self, point: [f32; 3], code: f32) -> f32 {
        (code + self.spec.start.at(point))
            .min(MOST_LOG_DENSITY)
            .exp()
    }
}

impl Field for HashField {
    fn geometry(&self, points: &[[f32; 3]]) -> Geometry {
        let (features, code) = self.encode(points);
        let rows = code.values.par_chunks(CODE);
        let density = points.par_iter().zip(rows).with_min_len(BLOCK);
        Geometry {
            density: density
                .map(|(point, code)| self.density_of(*point, code[0]))
                .collect(),
            saved: vec![features, code],
        }
    }

    fn appearance(&self, samples: &Samples, geometry: &Geometry) -> Appearance {
        let code = &geometry.saved[1];
        let width = CODE + N_HARMONICS;
        let mut input = Rows::zeros(samples.len(), width);
        let mut harmonics = vec![0.0; samples.n_rays() * N_HARMONICS];
        match self.spec.color_from {
            ColorFrom::Direction => spherical_harmonics(&samples.dirs, &mut harmonics),
            ColorFrom::Place => {}
        }
        let rows = input.values.chunks_exact_mut(width);
        let codes = code.values.chunks_exact(CODE);
        let ray_of = (0..samples.n_rays()).flat_map(|ray| samples.of_ray(ray).map(move |_| ray));
        for ((row, code), ray) in rows.zip(codes).zip(ray_of) {
            row[..CODE].copy_from_slice(code);
            row[CODE..].copy_from_slice(&harmonics[ray * N_HARMONICS..][..N_HARMONICS]);
        }
        let mut color = vec![0.0; 3 * samples.len()];
        let precision = self.spec.precision;
        self.color
            .forward(&self.weights[2], &input.values, precision, &mut color);
        color
            .par_chunks_mut(BLOCK)
            .for_each(|block| block.iter_mut().for_each(|x| *x = sigmoid(*x)));
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
        let ([_, code], [.., to_color]) = (&geometry.saved[..], &mut *to) else {
            return;
        };
        let (input, precision) = (&appearance.saved[0], self.spec.precision);
        let sigmoids = appearance.color.iter().zip(by_color);
        let by_color: Vec<f32> = sigmoids.map(|(c, by)| by * c * (1.0 - c)).collect();
        let mut by_input = vec![0.0; input.values.len()];
        self.color.backward(
            &self.weights[2],
            (&input.values, &by_color),
            precision,
            &mut by_input,
            to_color,
        );
        let mut by_code = vec![0.0; code.values.len()];
        let rows = by_code
            .par_chunks_mut(CODE)
            .zip(by_input.par_chunks(input.width));
        rows.with_min_len(BLOCK)
            .for_each(|(to, from)| to.copy_from_slice(&from[..CODE]));
        self.backward_code(&samples.points, geometry, by_density, (by_code, to));
    }

    fn backward_density(
        &self,
        points: &[[f32; 3]],
        geometry: &Geometry,
        by_density: &[f32],
        to: &mut [Vec<f32>],
    ) {
        let by_code = vec![0.0; CODE * points.len()];
        self.backward_code(points, geometry, by_density, (by_code, to));
    }

    fn density_slope(&self, points: &[[f32; 3]]) -> Vec<[f32; 3]> {
        let (features, code) = self.encode(points);
        let mut by_code = vec![0.0; code.values.len()];
        let rows = by_code
            .chunks_exact_mut(CODE)
            .zip(code.values.chunks_exact(CODE));
        for ((to, code), point) in rows.zip(points) {
            to[0] = self.density_of(*point, code[0]);
        }
        let mut by_features = vec![0.0; features.values.len()];
        let mut unused = vec![0.0; self.weights[1].len()];
        self.density.backward(
            &self.weights[1],
            (&features.values, &by_code),
            self.spec.precision,
            &mut by_features,
            &mut unused,
        );
        let unit = in_unit_cube(points);
        let mut slopes = vec![[0.0; 3]; points.len()];
        self.grid.point_gradient(
            &self.weights[0],
            &unit,
            &by_features,
            self.levels,
            &mut slopes,
        );
        let densities = by_code.chunks_exact(CODE).map(|row| row[0]);
        for ((slope, point), density) in slopes.iter_mut().zip(points).zip(densities) {
            // The unit cube is half as large as the box.
            let start = density * self.spec.start.slope(*point);
            *slope = (0.5 * glam::Vec3::from(*slope) + start).into();
        }
        slopes
    }

    fn weights(&self) -> Vec<(&'static str, &[f32])> {
        let names = ["grid", "density", "color"];
        names
            .into_iter()
            .zip(self.weights.iter().map(|w| &w[..]))
            .collect()
    }

    fn weights_mut(&mut self) -> Vec<&mut Vec<f32>> {
        self.weights.iter_mut().collect()
    }

    fn set_step(&mut self, step: u64) {
        let more = step / self.spec.level_every.max(1);
        let levels = self.spec.first_levels as u64 + more;
        self.levels = levels.min(self.spec.grid.levels as u64) as usize;
    }
}

fn in_unit_cube(points: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let unit = |point: &[f32; 3]| point.map(|x| 0.5 * x + 0.5);
    points.par_iter().with_min_len(BLOCK).map(unit).collect()
}
