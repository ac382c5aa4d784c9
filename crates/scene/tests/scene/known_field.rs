//! A radiance field whose density has a closed form.

use std::error::Error;

use dreamsmith_scene::background::{Background, BackgroundSpec};
use dreamsmith_scene::bound::SceneCube;
use dreamsmith_scene::field::{Appearance, Field, Geometry};
use dreamsmith_scene::model::{Model, Sampling};
use dreamsmith_scene::occupancy::{Occupancy, OccupancySpec};
use dreamsmith_scene::samples::Samples;
use dreamsmith_scene::spec::MarchSpec;
use glam::Vec3;

/// Density and colour in closed form.
pub struct Known {
    pub density: fn(Vec3) -> f32,
    pub slope: fn(Vec3) -> Vec3,
    pub color: fn(Vec3) -> [f32; 3],
}

pub const COLOR: [f32; 3] = [0.25, 0.5, 0.75];

/// Everywhere the same.
pub fn plain(_: Vec3) -> [f32; 3] {
    COLOR
}

impl Field for Known {
    fn geometry(&self, points: &[[f32; 3]]) -> Geometry {
        let density = points.iter().map(|p| (self.density)(Vec3::from(*p)));
        Geometry {
            density: density.collect(),
            saved: vec![],
        }
    }

    fn appearance(&self, samples: &Samples, _: &Geometry) -> Appearance {
        let points = samples.points.iter();
        Appearance {
            color: points.flat_map(|p| (self.color)(Vec3::from(*p))).collect(),
            saved: vec![],
        }
    }

    fn backward(
        &self,
        _: &Samples,
        _: (&Geometry, &Appearance),
        _: &[f32],
        _: &[f32],
        _: &mut [Vec<f32>],
    ) {
    }

    fn backward_density(&self, _: &[[f32; 3]], _: &Geometry, _: &[f32], _: &mut [Vec<f32>]) {}

    fn density_slope(&self, points: &[[f32; 3]]) -> Vec<[f32; 3]> {
        points
            .iter()
            .map(|p| (self.slope)(Vec3::from(*p)).into())
            .collect()
    }

    fn weights(&self) -> Vec<(&'static str, &[f32])> {
        vec![]
    }

    fn weights_mut(&mut self) -> Vec<&mut Vec<f32>> {
        vec![]
    }

    fn set_step(&mut self, _: u64) {}
}

impl Known {
    /// The field in a world that is twice as large as the box.
    pub fn model(self, sampling: Sampling) -> Result<Model, Box<dyn Error>> {
        Ok(Model {
            cube: SceneCube {
                center: [0.0; 3],
                half_side: 2.0,
            },
            background: Background::new(BackgroundSpec::Color { rgb: [1.0; 3] }, 0)?,
            fields: vec![Box::new(self)],
            sampling,
        })
    }
}

/// All cells, in so many steps along the diagonal.
pub fn everywhere(diagonal_samples: u32) -> Sampling {
    Sampling::Occupied {
        grid: Occupancy::new(OccupancySpec {
            resolution: 16,
            ..OccupancySpec::default()
        }),
        march: MarchSpec {
            diagonal_samples,
            least_transmittance: 1e-7,
            ..MarchSpec::default()
        },
    }
}
