//! Normals of a field that can be learnt through: from differences of the logarithm of the density between the corners
//! of a small tetrahedron. The slopes of a field itself have no derivative by its weights here.
//! Leaves out normals for pictures: see `field::normals`.

use glam::Vec3;
use rayon::prelude::*;

use crate::field::{Field, Geometry};

/// The corners, whose sum is 0 and whose products k k^T add up to 4 I.
const CORNERS: [Vec3; 4] = [
    Vec3::new(1.0, -1.0, -1.0),
    Vec3::new(-1.0, -1.0, 1.0),
    Vec3::new(-1.0, 1.0, -1.0),
    Vec3::new(1.0, 1.0, 1.0),
];
/// Less is counted as this, so that its logarithm is finite.
const LEAST_DENSITY: f32 = 1e-20;
/// A slope smaller than this has no direction.
const LEAST_SLOPE: f32 = 1e-3;
/// Points that a thread takes at a time.
const BLOCK: usize = 1 << 12;

/// The normals of points, and what led to them.
pub struct Normals {
    /// Outwards, of length 1; 0 where the density is even `[S, 3]`.
    pub normals: Vec<Vec3>,
    /// Lengths of the slopes of the logarithm of the density `[S]`.
    lengths: Vec<f32>,
    /// From a point to a corner along an axis.
    reach: f32,
    corners: Vec<[f32; 3]>,
    geometry: Geometry,
}

impl Normals {
    /// With corners at `reach` from `points` along each axis:
    /// n = -g / |g|, g = sum over k of k ln(density(p + reach k)) / (4 reach).
    pub fn new(field: &dyn Field, points: &[[f32; 3]], reach: f32) -> Self {
        let around = |point: &[f32; 3]| {
            let corner = |k: Vec3| (Vec3::from(*point) + reach * k).to_array();
            CORNERS.map(corner)
        };
        let blocks = points.par_iter().with_min_len(BLOCK);
        let corners: Vec<[f32; 3]> = blocks.flat_map_iter(around).collect();
        let geometry = field.geometry(&corners);
        let slope = |density: &[f32]| {
            let logs = density.iter().map(|x| x.max(LEAST_DENSITY).ln());
            let sum: Vec3 = CORNERS.iter().zip(logs).map(|(k, log)| *k * log).sum();
            sum / (4.0 * reach)
        };
        let slopes = geometry.density.par_chunks(CORNERS.len());
        let (normals, lengths) = slopes
            .with_min_len(BLOCK)
            .map(|density| {
                let slope = slope(density);
                match slope.length() {
                    length if length > LEAST_SLOPE => (-slope / length, length),
                    _ => (Vec3::ZERO, 0.0),
                }
            })
            .unzip();
        Self {
            normals,
            lengths,
            reach,
            corners,
            geometry,
        }
    }

    /// Adds to `to` the gradients of all weights of `field`, from those by the normals `[S, 3]`.
    pub fn backward(&self, field: &dyn Field, by_normals: &[Vec3], to: &mut [Vec<f32>]) {
        let mut by_density = vec![0.0; self.corners.len()];
        let rows = by_density.par_chunks_mut(CORNERS.len()).enumerate();
        rows.with_min_len(BLOCK).for_each(|(i, to)| {
            if self.lengths[i] == 0.0 {
                return;
            }
            // Only what turns a normal changes it.
            let (normal, by) = (self.normals[i], by_normals[i]);
            let by_slope = (normal * normal.dot(by) - by) / self.lengths[i];
            let density = &self.geometry.density[i * CORNERS.len()..];
            for ((to, k), density) in to.iter_mut().zip(CORNERS).zip(density) {
                if *density > LEAST_DENSITY {
                    *to = k.dot(by_slope) / (4.0 * self.reach * density);
                }
            }
        });
        field.backward_density(&self.corners, &self.geometry, &by_density, to);
    }
}
