//! What a field's density is before it has learnt anything.

use glam::Vec3;
use serde::{Deserialize, Serialize};

/// Added to the logarithm of the density.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DensityStart {
    /// The same everywhere.
    Even {
        /// The logarithm of the density.
        log_density: f32,
    },
    /// A bump in the middle [Lin23, section 4]: `peak (1 - |p| / radius)`.
    Blob {
        /// In the middle.
        peak: f32,
        /// Where it is 0.
        radius: f32,
    },
}

impl Default for DensityStart {
    /// A thin fog: half of what lies behind the box is seen through it.
    fn default() -> Self {
        Self::Even { log_density: -1.0 }
    }
}

impl DensityStart {
    /// What is added at a point of the box.
    pub fn at(&self, point: [f32; 3]) -> f32 {
        match *self {
            Self::Even { log_density } => log_density,
            Self::Blob { peak, radius } => peak * (1.0 - Vec3::from(point).length() / radius),
        }
    }

    /// The derivative of [`DensityStart::at`] by the point.
    pub fn slope(&self, point: [f32; 3]) -> Vec3 {
        match *self {
            Self::Even { .. } => Vec3::ZERO,
            Self::Blob { peak, radius } => Vec3::from(point).normalize_or_zero() * (-peak / radius),
        }
    }
}
