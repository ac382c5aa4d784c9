//! Quadrics: the sum of squared distances to planes, and the place where it is least [Garland97].
//! Deviates: each plane is weighted by its triangle's area, and a little of the distance to the triangle's corners is
//! added, so that the least place is unique on flats and along straight edges, where it is the middle of the corners.

use std::ops::AddAssign;

use glam::{DMat3, DVec3};

/// Weight of a corner's squared distance beside the plane's: small, so that only flat places feel it.
const CORNER_WEIGHT: f64 = 1e-4;

/// E(x) = xᵀ A x - 2 bᵀ x + c.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quadric {
    /// A: xx, yy, zz.
    squares: DVec3,
    /// A: yz, zx, xy.
    mixed: DVec3,
    b: DVec3,
    c: f64,
}

impl Quadric {
    /// The three quadrics that a triangle gives its corners.
    pub(super) fn of_triangle([p, q, r]: [DVec3; 3]) -> [Self; 3] {
        let double_area = (q - p).cross(r - p);
        let area = double_area.length() / 2.0;
        let normal = double_area.normalize_or_zero();
        let distance = normal.dot(p);
        let plane = Self {
            squares: normal * normal * area,
            mixed: DVec3::new(
                normal.y * normal.z,
                normal.z * normal.x,
                normal.x * normal.y,
            ) * area,
            b: normal * (distance * area),
            c: distance * distance * area,
        };
        [p, q, r].map(|corner| {
            let mut sum = plane;
            sum += Self::of_point(corner, CORNER_WEIGHT * area);
            sum
        })
    }

    /// `weight` |x - point|².
    fn of_point(point: DVec3, weight: f64) -> Self {
        Self {
            squares: DVec3::splat(weight),
            mixed: DVec3::ZERO,
            b: point * weight,
            c: point.length_squared() * weight,
        }
    }

    fn a(&self) -> DMat3 {
        let (s, m) = (self.squares, self.mixed);
        DMat3::from_cols(
            DVec3::new(s.x, m.z, m.y),
            DVec3::new(m.z, s.y, m.x),
            DVec3::new(m.y, m.x, s.z),
        )
    }

    /// E(x), not below 0, and never -0.
    pub(super) fn error(&self, x: DVec3) -> f64 {
        (x.dot(self.a() * x) - 2.0 * self.b.dot(x) + self.c).max(0.0) + 0.0
    }

    /// The x with A x = b, or `otherwise` where the triangles had no area.
    pub(super) fn least(&self, otherwise: DVec3) -> DVec3 {
        let x = self.a().inverse() * self.b;
        if x.is_finite() { x } else { otherwise }
    }
}

impl AddAssign for Quadric {
    fn add_assign(&mut self, other: Self) {
        self.squares += other.squares;
        self.mixed += other.mixed;
        self.b += other.b;
        self.c += other.c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(triangles: &[[DVec3; 3]]) -> Quadric {
        let mut sum = Quadric::default();
        for quadric in triangles.iter().flat_map(|t| Quadric::of_triangle(*t)) {
            sum += quadric;
        }
        sum
    }

    #[test]
    fn one_triangle_has_its_error_above_the_plane_and_its_least_in_the_middle() {
        let [p, q, r] = [
            DVec3::Z,
            DVec3::Z + 2.0 * DVec3::X,
            DVec3::Z + 2.0 * DVec3::Y,
        ];
        let quadric = sum(&[[p, q, r]]);
        let middle = (p + q + r) / 3.0;
        assert!(quadric.least(DVec3::ZERO).distance(middle) < 1e-9);
        // Area 2, three corners, height 3.
        let added = CORNER_WEIGHT
            * 2.0
            * [p, q, r]
                .map(|c| c.distance_squared(middle + 3.0 * DVec3::Z))
                .iter()
                .sum::<f64>();
        let error = quadric.error(middle + 3.0 * DVec3::Z);
        assert!((error - 3.0 * 2.0 * 9.0 - added).abs() < 1e-9, "{error}");
    }

    #[test]
    fn three_planes_meet_in_their_corner() {
        let corner = DVec3::new(0.3, -0.2, 0.7);
        let [x, y, z] = [DVec3::X, DVec3::Y, DVec3::Z].map(|axis| corner + axis);
        let quadric = sum(&[[corner, x, y], [corner, y, z], [corner, z, x]]);
        // The corners pull by a part of CORNER_WEIGHT.
        assert!(quadric.least(DVec3::ZERO).distance(corner) < 2.0 * CORNER_WEIGHT);
    }

    #[test]
    fn nothing_has_no_least_place() {
        let quadric = sum(&[[DVec3::ONE; 3]]);
        assert_eq!(quadric.least(DVec3::X), DVec3::X);
        assert_eq!(quadric.error(DVec3::X), 0.0);
    }
}
