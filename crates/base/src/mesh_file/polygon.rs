//! Polygons in space to triangles: a fan where every corner is convex, else ears are cut off
//! [Meisters75]. Leaves out holes and polygons that cross themselves, which still give triangles.

use glam::{Vec2, Vec3};

/// Comparisons that all polygons of a file may cost before the rest become plain fans.
const WORK: u64 = 1 << 30;

/// Cuts polygons into triangles.
pub(super) struct Triangulator {
    work_left: u64,
    flat: Vec<Vec2>,
    ring: Vec<u32>,
}

impl Triangulator {
    pub(super) fn new() -> Self {
        Self {
            work_left: WORK,
            flat: Vec::new(),
            ring: Vec::new(),
        }
    }

    /// Calls `emit` with the corners (indices into `corners`) of each of the n - 2 triangles.
    pub(super) fn cut(&mut self, corners: &[Vec3], mut emit: impl FnMut([u32; 3])) {
        let n = corners.len() as u32;
        if n > 3 {
            self.flatten(corners);
            self.ring.clear();
            self.ring.extend(0..n);
            if !self.is_convex() {
                self.cut_ears(&mut emit);
            }
            // What is left, and all of a convex polygon.
            for i in 2..self.ring.len() {
                emit([self.ring[0], self.ring[i - 1], self.ring[i]]);
            }
        } else if n == 3 {
            emit([0, 1, 2]);
        }
    }

    /// The polygon seen along its normal (Newell's), counter-clockwise.
    fn flatten(&mut self, corners: &[Vec3]) {
        let normal = newell(corners);
        let (side, up) = normal.any_orthonormal_pair();
        let start = corners[0];
        self.flat.clear();
        let seen = corners.iter().map(|c| {
            let from_start = *c - start;
            Vec2::new(from_start.dot(side), from_start.dot(up))
        });
        self.flat.extend(seen);
    }

    /// Twice the area of the triangle of three corners, positive if it turns left.
    fn turn(&self, a: u32, b: u32, c: u32) -> f32 {
        let [a, b, c] = [a, b, c].map(|i| self.flat[i as usize]);
        (b - a).perp_dot(c - a)
    }

    fn is_convex(&self) -> bool {
        let n = self.ring.len();
        (0..n).all(|i| {
            let [a, b, c] = [i, i + 1, i + 2].map(|k| self.ring[k % n]);
            self.turn(a, b, c) >= 0.0
        })
    }

    fn cut_ears(&mut self, emit: &mut impl FnMut([u32; 3])) {
        while self.ring.len() > 3 {
            let n = self.ring.len();
            let Some(ear) = (0..n).find(|i| self.is_ear(*i)) else {
                return;
            };
            let [a, b, c] = [ear + n - 1, ear, ear + 1].map(|k| self.ring[k % n]);
            emit([a, b, c]);
            self.ring.remove(ear);
        }
    }

    fn is_ear(&mut self, at: usize) -> bool {
        let n = self.ring.len();
        let [a, b, c] = [at + n - 1, at, at + 1].map(|k| self.ring[k % n]);
        match self.work_left.checked_sub(n as u64) {
            Some(left) => self.work_left = left,
            None => return false,
        }
        if self.turn(a, b, c) <= 0.0 {
            return false;
        }
        let corners = [a, b, c].map(|i| self.flat[i as usize]);
        !self.ring.iter().any(|other| {
            // Polygons with bridges to holes visit a place twice.
            !corners.contains(&self.flat[*other as usize])
                && self.turn(a, b, *other) >= 0.0
                && self.turn(b, c, *other) >= 0.0
                && self.turn(c, a, *other) >= 0.0
        })
    }
}

/// The unit normal of a polygon; +Y if it has no area.
pub(super) fn newell(corners: &[Vec3]) -> Vec3 {
    let start = corners.first().copied().unwrap_or_default();
    let edges = corners.iter().zip(corners.iter().cycle().skip(1));
    let sum: Vec3 = edges.map(|(a, b)| (*a - start).cross(*b - start)).sum();
    sum.try_normalize().unwrap_or(Vec3::Y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(corners: &[Vec3], triangles: &[[u32; 3]]) -> f32 {
        let area = |t: &[u32; 3]| {
            let [a, b, c] = t.map(|i| corners[i as usize]);
            (b - a).cross(c - a).dot(newell(corners)) / 2.0
        };
        triangles.iter().map(area).sum()
    }

    fn cut(corners: &[Vec3]) -> Vec<[u32; 3]> {
        let mut triangles = Vec::new();
        Triangulator::new().cut(corners, |t| triangles.push(t));
        triangles
    }

    #[test]
    fn concave_polygons_keep_their_area() {
        // A comb of 6 teeth, tilted, whose fan would cover its gaps.
        let mut comb = vec![Vec3::new(12.0, 0.0, 5.0), Vec3::new(12.0, 4.0, 5.0)];
        for i in (0..6).rev() {
            let x = 2.0 * i as f32;
            comb.extend([Vec3::new(x + 1.0, 1.0, 5.0), Vec3::new(x, 4.0, 5.0)]);
        }
        comb.push(Vec3::new(0.0, 0.0, 5.0));
        let tilt = glam::Quat::from_rotation_x(0.7);
        let comb: Vec<Vec3> = comb.into_iter().map(|v| tilt * v).collect();
        let triangles = cut(&comb);
        assert_eq!(triangles.len(), comb.len() - 2);
        let signed: f32 = area(&comb, &triangles);
        let covered: f32 = triangles.iter().map(|t| area(&comb, &[*t]).abs()).sum();
        // The tallest row is 12 wide and 1 high, the 6 teeth are triangles of 2 by 3; rounding of f32.
        assert!(
            (signed - 30.0).abs() < 1e-3 && (covered - 30.0).abs() < 1e-3,
            "{signed} {covered}"
        );
    }

    #[test]
    fn odd_polygons_still_give_triangles() {
        let dot = [Vec3::ZERO; 6];
        assert_eq!(cut(&dot).len(), 4);
        let bow = [Vec3::ZERO, Vec3::ONE, Vec3::X, Vec3::Y];
        assert_eq!(cut(&bow).len(), 2);
        assert_eq!(cut(&dot[..2]).len(), 0);
    }
}
