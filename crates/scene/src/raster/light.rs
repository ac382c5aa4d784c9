//! One light and what comes from all around, on matt surfaces: ambient + diffuse max(0, n.l)
//! [Poole22, section 3.2], without falloff over distance.
//! Leaves out shadows and highlights.

use glam::Vec3;
use serde::{Deserialize, Serialize};

/// Where light comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// From so far away that it has one direction.
    Directional {
        /// Towards the light, of any length.
        direction: [f32; 3],
    },
    /// From a place.
    Point {
        /// In the world.
        position: [f32; 3],
    },
}

/// The lighting of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Light {
    /// Where the light is.
    pub source: Source,
    /// What reaches every surface.
    pub ambient: f32,
    /// What reaches a surface that faces the light, in addition.
    pub diffuse: f32,
}

impl Light {
    /// A lamp at a place: a fifth of the light is ambient.
    pub fn at(position: Vec3) -> Self {
        Self {
            source: Source::Point {
                position: position.into(),
            },
            ambient: 0.2,
            diffuse: 0.8,
        }
    }

    /// From a point to the light, of length 1.
    pub fn toward(&self, position: Vec3) -> Vec3 {
        let toward = match self.source {
            Source::Directional { direction } => Vec3::from(direction),
            Source::Point { position: light } => Vec3::from(light) - position,
        };
        toward.normalize_or_zero()
    }

    /// By what the albedo of a point with that normal, of length 1, is multiplied.
    pub fn irradiance(&self, position: Vec3, normal: Vec3) -> f32 {
        self.ambient + self.diffuse * normal.dot(self.toward(position)).max(0.0)
    }
}
