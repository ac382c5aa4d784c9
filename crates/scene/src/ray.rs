//! Rays against the two shapes a scene is bounded by: the box [-1, 1]^3 and a sphere around the origin.
//! The box by slabs [Kay86]. Leaves out meshes, which are rasterised.

use dreamsmith_base::Ray;

/// The part of a ray inside a shape: `t_near <= t_far`, neither negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where the ray enters, or 0 if it begins inside.
    pub t_near: f32,
    /// Where it leaves.
    pub t_far: f32,
}

impl Span {
    fn new(t_near: f32, t_far: f32) -> Option<Self> {
        let t_near = t_near.max(0.0);
        (t_near < t_far).then_some(Self { t_near, t_far })
    }

    /// How long the part is.
    pub fn length(self) -> f32 {
        self.t_far - self.t_near
    }
}

/// The part of `ray` inside the box [-1, 1]^3.
pub fn hit_box(ray: &Ray) -> Option<Span> {
    let (mut t_near, mut t_far) = (f32::NEG_INFINITY, f32::INFINITY);
    for axis in 0..3 {
        let (origin, inverse) = (ray.origin[axis], 1.0 / ray.dir[axis]);
        let (a, b) = ((-1.0 - origin) * inverse, (1.0 - origin) * inverse);
        // Along a face of the box 0 * infinity is NaN, which `min` and `max` pass over: such a ray misses.
        t_near = t_near.max(a.min(b));
        t_far = t_far.min(a.max(b));
    }
    Span::new(t_near, t_far)
}

/// The part of `ray` inside the sphere of `radius` around the origin.
pub fn hit_sphere(ray: &Ray, radius: f32) -> Option<Span> {
    let middle = -ray.origin.dot(ray.dir);
    // From the nearest point on, not b^2 - 4ac, which cancels for far origins.
    let nearest = ray.origin + middle * ray.dir;
    let half = (radius * radius - nearest.length_squared()).max(0.0).sqrt();
    Span::new(middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use glam::Vec3;

    fn ray(origin: [f32; 3], dir: [f32; 3]) -> Ray {
        Ray {
            origin: origin.into(),
            dir: Vec3::from(dir).normalize(),
        }
    }

    #[test]
    fn a_box_is_entered_left_and_missed() {
        let through = hit_box(&ray([0.0, 0.0, 3.0], [0.0, 0.0, -1.0]));
        assert_eq!(through, Span::new(2.0, 4.0));
        let inside = hit_box(&ray([0.5, 0.0, 0.0], [1.0, 0.0, 0.0]));
        assert_eq!(inside, Span::new(0.0, 0.5));
        assert_eq!(hit_box(&ray([0.0, 0.0, 3.0], [0.0, 0.0, 1.0])), None);
        assert_eq!(hit_box(&ray([0.0, 1.5, 3.0], [0.0, 0.0, -1.0])), None);
        let corner = hit_box(&ray([3.0; 3], [-1.0; 3])).map_or(0.0, Span::length);
        // The diagonal of a cube of side 2; a few roundings.
        assert!((corner - 2.0 * 3f32.sqrt()).abs() < 1e-5);
        // Along a face, where slabs give 0 * infinity.
        let along = hit_box(&ray([1.0, 0.0, 3.0], [0.0, 0.0, -1.0]));
        assert_eq!(along, None);
    }

    #[test]
    fn a_sphere_is_entered_left_and_missed() {
        let through = hit_sphere(&ray([0.0, 0.0, 3.0], [0.0, 0.0, -1.0]), 0.5);
        assert_eq!(through, Span::new(2.5, 3.5));
        let inside = hit_sphere(&ray([0.0; 3], [1.0, 0.0, 0.0]), 2.0);
        assert_eq!(inside, Span::new(0.0, 2.0));
        assert_eq!(
            hit_sphere(&ray([0.0, 1.0, 3.0], [0.0, 0.0, -1.0]), 0.9),
            None
        );
        // A chord at height 0.6 of a unit sphere is 1.6 long, from far away too; 1e3 * 2^-24 of rounding.
        let chord = hit_sphere(&ray([0.0, 0.6, 1e3], [0.0, 0.0, -1.0]), 1.0);
        assert!((chord.map_or(0.0, Span::length) - 1.6).abs() < 1e-3);
    }
}
