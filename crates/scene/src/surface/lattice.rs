//! The points at which a field is sampled: a box cut into equal cells.
//! Leaves out sparse lattices; what lies between the points is `isosurface`'s.

use glam::{UVec3, Vec3};
use rayon::prelude::*;

use super::SurfaceError;

/// The most cells a side: 135 million points, 540 MB of values.
pub const MAX_CELLS: usize = 512;

/// The corners of n × n × n cells in a box: (n + 1)³ points, x fastest, z slowest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    cells: usize,
    low: Vec3,
    high: Vec3,
}

impl Lattice {
    /// `cells` a side in the box [-1, 1]³.
    pub fn unit(cells: usize) -> Result<Self, SurfaceError> {
        Self::new(cells, [Vec3::NEG_ONE, Vec3::ONE])
    }

    /// `cells` a side between the least and the greatest corner of a box.
    pub fn new(cells: usize, [low, high]: [Vec3; 2]) -> Result<Self, SurfaceError> {
        let extent = high - low;
        if !(1..=MAX_CELLS).contains(&cells) || !extent.is_finite() || extent.min_element() <= 0.0 {
            return Err(SurfaceError::Lattice {
                cells,
                low: low.into(),
                high: high.into(),
            });
        }
        Ok(Self { cells, low, high })
    }

    /// How many cells a side.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// How many points a side: one more than cells.
    pub fn side(&self) -> usize {
        self.cells + 1
    }

    /// How many points in all.
    pub fn n_points(&self) -> usize {
        self.side().pow(3)
    }

    /// The point of a number below [`Lattice::n_points`].
    pub fn point(&self, index: usize) -> Vec3 {
        let side = self.side();
        let steps = [index % side, index / side % side, index / (side * side)];
        self.at(UVec3::from(steps.map(|x| x as u32)).as_vec3())
    }

    /// The place that is so many cells away from the least corner.
    pub(super) fn at(&self, cells: Vec3) -> Vec3 {
        self.low + (self.high - self.low) * (cells / self.cells as f32)
    }

    /// The edges of a cell.
    pub fn cell_size(&self) -> Vec3 {
        (self.high - self.low) / self.cells as f32
    }

    /// How many cells away from the least corner a point is; points outside count to the nearest one.
    pub(super) fn place(&self, point: Vec3) -> Vec3 {
        let most = Vec3::splat(self.cells as f32);
        ((point - self.low) / self.cell_size()).clamp(Vec3::ZERO, most)
    }

    /// The number of the lattice's point next to a point of the box.
    pub(crate) fn nearest(&self, point: Vec3) -> Option<usize> {
        let is_in_box = point.cmpge(self.low).all() && point.cmple(self.high).all();
        let UVec3 { x, y, z } = self.place(point).round().as_uvec3();
        let side = self.side();
        is_in_box.then_some((z as usize * side + y as usize) * side + x as usize)
    }

    /// Point `i` and those around it, as far as so many cells along each axis.
    pub(crate) fn around(&self, i: usize, cells: usize) -> impl Iterator<Item = usize> + use<> {
        let side = self.side();
        let range = move |x: usize| x.saturating_sub(cells)..side.min(x + cells + 1);
        let (x, y, z) = (i % side, i / side % side, i / (side * side));
        let rows = range(z).flat_map(move |z| range(y).map(move |y| (z * side + y) * side));
        rows.flat_map(move |row| range(x).map(move |x| row + x))
    }

    /// The values of a field at all points.
    pub fn sample(&self, field: impl Fn(Vec3) -> f32 + Sync) -> Vec<f32> {
        let points = (0..self.n_points()).into_par_iter();
        points.map(|index| field(self.point(index))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_run_from_corner_to_corner() {
        let corners = [Vec3::new(-1.0, 0.0, 2.0), Vec3::new(1.0, 3.0, 2.5)];
        let lattice = Lattice::new(2, corners).unwrap();
        assert_eq!(lattice.n_points(), 27);
        assert_eq!(lattice.point(0), corners[0]);
        assert_eq!(lattice.point(26), corners[1]);
        assert_eq!(lattice.point(1), Vec3::new(0.0, 0.0, 2.0));
        assert_eq!(lattice.point(3), Vec3::new(-1.0, 1.5, 2.0));
        assert_eq!(lattice.cell_size(), Vec3::new(1.0, 1.5, 0.25));
        assert_eq!(lattice.nearest(Vec3::new(-0.9, 1.4, 2.1)), Some(3));
        assert_eq!(lattice.nearest(corners[1]), Some(26));
        assert_eq!(lattice.nearest(corners[1] + 0.1), None);
        assert_eq!(lattice.sample(|p| p.z)[9], 2.25);
    }

    #[test]
    fn boxes_without_inside_are_refused() {
        let refused = |cells, low: f32, high: f32| {
            let found = Lattice::new(cells, [Vec3::splat(low), Vec3::splat(high)]);
            assert!(matches!(found, Err(SurfaceError::Lattice { .. })));
        };
        refused(0, -1.0, 1.0);
        refused(MAX_CELLS + 1, -1.0, 1.0);
        refused(8, 1.0, 1.0);
        refused(8, 1.0, -1.0);
        refused(8, f32::NAN, 1.0);
        refused(8, f32::MIN, f32::MAX);
    }
}
