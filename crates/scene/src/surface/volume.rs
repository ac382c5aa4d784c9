//! Numbers at the points of a lattice, and what is done to them before they become a surface: smoothing, filling of
//! hollows that nobody can look into, slopes.
//! Leaves out other kernels than the smallest binomial one.

use glam::{UVec3, Vec3};
use rayon::prelude::*;

use super::{Lattice, SurfaceError};

/// A field that was sampled at all points of a lattice.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub(super) lattice: Lattice,
    /// In the order of the lattice's points.
    pub(super) values: Vec<f32>,
}

impl Volume {
    /// `values` has one number for each point, in their order.
    pub fn new(lattice: Lattice, values: Vec<f32>) -> Result<Self, SurfaceError> {
        let (expected, found) = (lattice.n_points(), values.len());
        match expected == found {
            true => Ok(Self { lattice, values }),
            false => Err(SurfaceError::Count { expected, found }),
        }
    }

    /// Where the points are.
    pub fn lattice(&self) -> &Lattice {
        &self.lattice
    }

    /// The numbers, in the order of the points.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Each value becomes a mean of itself and its 26 neighbours, with the weights 1 2 1 along each axis; 0 is outside.
    pub fn smoothed(&self) -> Self {
        let side = self.lattice.side();
        let mut values = self.values.clone();
        for stride in [1, side, side * side] {
            let before = values;
            let at = |i: usize, place: usize| {
                let left = if place > 0 { before[i - stride] } else { 0.0 };
                let right = if place + 1 < side {
                    before[i + stride]
                } else {
                    0.0
                };
                0.25 * (left + right) + 0.5 * before[i]
            };
            let all = (0..before.len()).into_par_iter();
            values = all.map(|i| at(i, i / stride % side)).collect();
        }
        Self {
            lattice: self.lattice,
            values,
        }
    }

    /// The points where `is_inside` have the value `filling`.
    pub fn filled(&self, is_inside: impl Fn(Vec3) -> bool + Sync, filling: f32) -> Self {
        let values = self.values.par_iter().enumerate();
        let values = values.map(|(i, value)| match is_inside(self.lattice.point(i)) {
            true => filling,
            false => *value,
        });
        Self {
            lattice: self.lattice,
            values: values.collect(),
        }
    }

    /// Fills what no way leads to, through values up to `level`, from the border of the lattice or from `windows`: what
    /// a field says about the inside of solid things, which nobody saw. `filling` lies above the level.
    pub fn without_hollows(&self, level: f32, windows: &[Vec3], filling: f32) -> Self {
        let side = self.lattice.side();
        let coordinates = |i: usize| [i % side, i / side % side, i / (side * side)];
        let is_border = |i: &usize| coordinates(*i).iter().any(|x| *x == 0 || x + 1 == side);
        let mut reached = vec![false; self.values.len()];
        let seen_from = windows
            .iter()
            .filter_map(|point| self.lattice.nearest(*point));
        let mut going: Vec<usize> = (0..self.values.len())
            .filter(is_border)
            .chain(seen_from)
            .collect();
        while let Some(i) = going.pop() {
            if reached[i] || self.values[i] > level {
                continue;
            }
            reached[i] = true;
            for (x, stride) in coordinates(i).into_iter().zip([1, side, side * side]) {
                if x > 0 {
                    going.push(i - stride);
                }
                if x + 1 < side {
                    going.push(i + stride);
                }
            }
        }
        let filled = self.values.iter().zip(&reached);
        let values = filled.map(|(value, reached)| match *reached || *value > level {
            true => *value,
            false => filling,
        });
        Self {
            lattice: self.lattice,
            values: values.collect(),
        }
    }

    /// The slope at a point: central differences over two cells, linear in between; points outside count to the
    /// nearest one.
    pub fn slope(&self, point: Vec3) -> Vec3 {
        let cell = self.lattice.cell_size();
        Vec3::from([Vec3::X, Vec3::Y, Vec3::Z].map(|axis| {
            let step = axis * cell;
            (self.value(point + step) - self.value(point - step)) / (2.0 * step.length())
        }))
    }

    /// The value between the eight points around, linear along each axis.
    fn value(&self, point: Vec3) -> f32 {
        let side = self.lattice.side();
        let place = self.lattice.place(point);
        let first = place.floor().min(Vec3::splat(side as f32 - 2.0));
        let within = place - first;
        let UVec3 { x, y, z } = first.as_uvec3();
        let corner = (z as usize * side + y as usize) * side + x as usize;
        (0..8)
            .map(|i| {
                let [dx, dy, dz] = [i & 1, i >> 1 & 1, i >> 2];
                let share = |upper: usize, x: f32| if upper == 1 { x } else { 1.0 - x };
                let weight = share(dx, within.x) * share(dy, within.y) * share(dz, within.z);
                weight * self.values[corner + (dz * side + dy) * side + dx]
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::{Inside, Topology, isosurface};

    fn sampled(cells: usize, field: impl Fn(Vec3) -> f32 + Sync) -> Volume {
        let lattice = Lattice::unit(cells).unwrap();
        Volume::new(lattice, lattice.sample(field)).unwrap()
    }

    #[test]
    fn smoothing_keeps_planes_and_sums() {
        let plane = sampled(8, |p| 3.0 + p.x - 2.0 * p.y + 0.5 * p.z);
        let smooth = plane.smoothed();
        let middle = (0..plane.values.len())
            .filter(|i| plane.lattice.point(*i).abs().max_element() < 1.0)
            .map(|i| (smooth.values[i] - plane.values[i]).abs());
        // Some roundings of numbers up to 6.5.
        assert!(middle.fold(0.0, f32::max) < 4e-6);
        let one = sampled(8, |p| if p == Vec3::ZERO { 64.0 } else { 0.0 }).smoothed();
        assert_eq!(one.values.iter().sum::<f32>(), 64.0);
        assert_eq!(one.values.iter().copied().fold(0.0, f32::max), 8.0);
    }

    #[test]
    fn slopes_are_those_of_a_plane_and_of_a_ball() {
        let plane = sampled(8, |p| p.x - 2.0 * p.y + 0.5 * p.z);
        let slope = plane.slope(Vec3::new(0.1, -0.3, 0.4));
        assert!(slope.distance(Vec3::new(1.0, -2.0, 0.5)) < 1e-5);
        let ball = sampled(32, |p| -p.length_squared());
        let point = Vec3::new(0.3, 0.41, -0.2);
        // Exact but for rounding: the differences are central and the slope is linear.
        assert!(ball.slope(point).distance(-2.0 * point) < 1e-4);
    }

    #[test]
    fn hollows_are_filled_unless_somebody_is_in_them() {
        let shell = sampled(32, |p| {
            if (0.4..0.8).contains(&p.length()) {
                1.0
            } else {
                0.0
            }
        });
        let parts = |volume: &Volume| {
            let mesh = isosurface(&volume.lattice, &volume.values, 0.5, Inside::Above).unwrap();
            Topology::of(&mesh).components
        };
        assert_eq!(parts(&shell), 2);
        let filled = shell.without_hollows(0.5, &[], 1.0);
        assert_eq!(parts(&filled), 1);
        assert_eq!(shell.without_hollows(0.5, &[Vec3::ZERO], 1.0), shell);
        // A window in the wall, or outside the box, shows nothing of the hollow.
        let windows = [Vec3::X * 0.6, Vec3::splat(9.0)];
        assert_eq!(shell.without_hollows(0.5, &windows, 1.0), filled);
    }
}
