//! Fields with known surfaces, for the tests.

use dreamsmith_base::{Mesh, Purpose, Stream};
use glam::Vec3;

use super::{Inside, Lattice, isosurface};

/// A ball around the origin as a signed distance, meshed.
pub(super) fn sphere(cells: usize, radius: f32) -> Mesh {
    solid(cells, |p| p.length() - radius)
}

/// The inside of a signed distance in [-1, 1]³, meshed.
pub(super) fn solid(cells: usize, sdf: impl Fn(Vec3) -> f32 + Sync) -> Mesh {
    let lattice = Lattice::unit(cells).unwrap();
    isosurface(&lattice, &lattice.sample(sdf), 0.0, Inside::Below).unwrap()
}

/// A ring around the z axis.
pub(super) fn torus(p: Vec3) -> f32 {
    (p.truncate().length() - 0.6).hypot(p.z) - 0.25
}

/// A surface full of handles, in every cell of 2π / 5.
pub(super) fn gyroid(p: Vec3) -> f32 {
    let [s, c] = [(p * 5.0).map(f32::sin), (p * 5.0).map(f32::cos)];
    s.dot(Vec3::new(c.y, c.z, c.x))
}

/// Independent normal numbers at all points.
pub(super) fn noise(lattice: &Lattice, seed: u64) -> Vec<f32> {
    Stream::new(seed, Purpose::Test, 0).normals(lattice.n_points())
}
