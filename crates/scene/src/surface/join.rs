//! Parts of a surface that hang together by a haze become one, by a joint along the way where the haze is densest: legs
//! that a field shows fading towards the seat.
//! Leaves out parts with nothing between them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Volume;

/// What is thinner than this share of the level is nothing.
const HAZE: f32 = 0.01;
/// How far a joint reaches from the middle of its way, in cells.
const RADIUS: usize = 2;
/// No point.
const NONE: usize = usize::MAX;

impl Volume {
    /// Joins parts that are above `level` with the largest, if they have this share of its points at `least`. Of all
    /// ways the one is taken whose thinnest place is the densest, which is that through a maximal spanning tree [Prim57].
    /// Values are not negative.
    pub fn joined(mut self, level: f32, least: f64) -> Self {
        let parts = self.parts(level);
        let Some(largest) = parts.iter().rev().max_by_key(|part| part.len()) else {
            return self;
        };
        let toward = self.ways_to(largest[0], HAZE * level);
        let mut joints = vec![];
        let least = least * largest.len() as f64;
        for part in parts.iter().filter(|part| part.len() as f64 >= least) {
            let mut at = part[0];
            while toward[at] != NONE && toward[at] != at {
                at = toward[at];
                joints.extend((self.values[at] <= level).then_some(at));
            }
        }
        for joint in joints {
            self.swell(joint, level);
        }
        self
    }

    /// The points above `level`, by parts.
    fn parts(&self, level: f32) -> Vec<Vec<usize>> {
        let mut is_new: Vec<bool> = self.values.iter().map(|value| *value > level).collect();
        let mut parts = vec![];
        for first in 0..is_new.len() {
            let (mut part, mut going) = (vec![], vec![first]);
            while let Some(i) = going.pop() {
                if std::mem::take(&mut is_new[i]) {
                    part.push(i);
                    going.extend(self.lattice.around(i, 1));
                }
            }
            parts.extend((!part.is_empty()).then_some(part));
        }
        parts
    }

    /// For each point the next one on its way to `root`, whose own is itself, or `NONE` where values below `haze` lie
    /// between.
    fn ways_to(&self, root: usize, haze: f32) -> Vec<usize> {
        let mut toward = vec![NONE; self.values.len()];
        // Of numbers that are not negative the bits have the same order.
        let mut next = BinaryHeap::from([(0, Reverse(root), root)]);
        while let Some((_, Reverse(i), from)) = next.pop() {
            if toward[i] == NONE {
                toward[i] = from;
                let beside = self.lattice.around(i, 1);
                let beside = beside.filter(|j| toward[*j] == NONE && self.values[*j] >= haze);
                next.extend(beside.map(|j| (self.values[j].to_bits(), Reverse(j), i)));
            }
        }
        toward
    }

    /// Raises what is around point `i`, so that the level lies at the radius of a joint.
    fn swell(&mut self, i: usize, level: f32) {
        let middle = self.lattice.point(i);
        let radius = RADIUS as f32 * self.lattice.cell_size().x;
        for j in self.lattice.around(i, 2 * RADIUS) {
            let far = self.lattice.point(j).distance(middle) / radius;
            self.values[j] = self.values[j].max(level * (2.0 - far));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::{Inside, Lattice, Topology, isosurface};
    use glam::Vec3;

    /// Two balls, and `haze` in a bent tube from one to the other.
    fn balls(haze: f32) -> Result<Volume, Box<dyn std::error::Error>> {
        let lattice = Lattice::unit(48)?;
        let ball = |p: Vec3, x: f32| (1.5 - 5.0 * p.distance(Vec3::X * x)).clamp(0.0, 1.0);
        let ring = |p: Vec3| {
            let off = (p.truncate().length() - 0.6).hypot(p.z);
            haze * f32::from(u8::from(off < 0.1 && p.y > 0.0))
        };
        let value = |p: Vec3| ball(p, 0.6).max(0.8 * ball(p, -0.6)).max(ring(p));
        Ok(Volume::new(lattice, lattice.sample(value))?)
    }

    #[test]
    fn parts_are_joined_along_the_haze_between_them() -> Result<(), Box<dyn std::error::Error>> {
        let n_parts = |volume: &Volume| -> Result<usize, Box<dyn std::error::Error>> {
            let mesh = isosurface(&volume.lattice, &volume.values, 0.5, Inside::Above)?;
            Ok(Topology::of(&mesh).components)
        };
        let hazy = balls(0.01)?;
        assert_eq!(n_parts(&hazy)?, 2);
        let joined = hazy.clone().joined(0.5, 1e-3);
        assert_eq!(n_parts(&joined)?, 1);
        // It goes around, by the haze, as thick as it should be.
        let lattice = hazy.lattice;
        let solid = |p: Vec3| lattice.nearest(p).map(|i| joined.values[i] > 0.5);
        assert_eq!(solid(Vec3::ZERO), Some(false));
        let changed = (0..lattice.n_points()).filter(|i| joined.values[*i] != hazy.values[*i]);
        let farthest = changed
            .map(|i| (lattice.point(i).truncate().length() - 0.6).hypot(lattice.point(i).z))
            .fold(0.0, f32::max);
        assert!(farthest < 0.1 + 4.1 / 24.0, "{farthest}");
        Ok(())
    }

    #[test]
    fn nothing_else_is_joined() -> Result<(), Box<dyn std::error::Error>> {
        let apart = balls(0.001)?;
        assert_eq!(apart.clone().joined(0.5, 1e-3), apart);
        // What is dust has no joint.
        let hazy = balls(0.01)?;
        assert_eq!(hazy.clone().joined(0.5, 1.0), hazy);
        Ok(())
    }
}
