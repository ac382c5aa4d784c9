//! Where rays are looked at: at a fixed step through the box [-1, 1]^3, only in occupied cells [Mueller22, appendix E].
//! Leaves out steps that grow with distance, which unbounded scenes need.

use dreamsmith_base::Ray;
use glam::Vec3;

use crate::occupancy::Occupancy;
use crate::ray::hit_box;
use crate::samples::Samples;

/// Adds `ray` with samples each `step` in the occupied cells it passes; the first is `jitter` steps behind where the
/// ray enters the box, with `jitter` in [0, 1).
pub fn march(ray: &Ray, grid: &Occupancy, step: f32, jitter: f32, to: &mut Samples) {
    let Some(span) = hit_box(ray) else {
        return to.push_ray(ray, []);
    };
    let faces = Faces::new(ray, grid.resolution());
    let per_step = 1.0 / step;
    // The next step, and the end of those that lie in the same occupied cell.
    let (mut i, mut end) = (0u32, 0u32);
    let depths = std::iter::from_fn(|| {
        loop {
            let depth = span.t_near + (i as f32 + jitter) * step;
            if depth >= span.t_far {
                return None;
            }
            if i < end {
                i += 1;
                return Some((depth, step));
            }
            let cell = grid.cell_of(ray.origin + depth * ray.dir);
            let empty = grid.empty_cube(cell);
            let (corner, size) = empty.unwrap_or((cell.map(|x| x as i32), 1));
            // The first step at or behind the face; where rounding says otherwise, the next one.
            let steps = (faces.leave(corner, size) - span.t_near) * per_step - jitter;
            let whole = steps as u32;
            end = (i + 1).max(whole.saturating_add(u32::from((whole as f32) < steps)));
            if empty.is_some() {
                i = end;
            }
        }
    });
    to.push_ray(ray, depths);
}

/// The faces of cells that a ray comes to.
struct Faces {
    /// From the box's least corner.
    origin: Vec3,
    /// 1 over the direction; infinite along an axis the ray does not move on.
    inverse: Vec3,
    /// Of a cell.
    side: f32,
    /// 1 on the axes where the ray leaves a cell at its far face, elsewhere 0.
    far: [i32; 3],
}

impl Faces {
    fn new(ray: &Ray, resolution: u32) -> Self {
        let inverse = ray.dir.recip();
        Self {
            origin: ray.origin + 1.0,
            inverse,
            side: 2.0 / resolution as f32,
            far: inverse.to_array().map(|x| i32::from(x.is_sign_positive())),
        }
    }

    /// How far along the ray it leaves the cube of `size` cells with this least corner.
    #[inline(always)]
    fn leave(&self, corner: [i32; 3], size: i32) -> f32 {
        let mut nearest = f32::INFINITY;
        for (axis, corner) in corner.into_iter().enumerate() {
            let face = corner + self.far[axis] * size;
            let leaves = (face as f32 * self.side - self.origin[axis]) * self.inverse[axis];
            // On a face and along it this is NaN, which `min` passes over.
            nearest = nearest.min(leaves);
        }
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::occupancy::OccupancySpec;
    use dreamsmith_base::{Purpose, Stream};

    /// A grid of which a ball of radius 0.6 is occupied.
    fn ball() -> Occupancy {
        let spec = OccupancySpec {
            resolution: 32,
            ..OccupancySpec::default()
        };
        let opacity = (0..32u32.pow(3)).map(|i| {
            let cell = Vec3::new((i % 32) as f32, (i / 32 % 32) as f32, (i / 1024) as f32);
            let middle = (cell + 0.5) / 16.0 - 1.0;
            if middle.length() < 0.6 { 1.0 } else { 0.0 }
        });
        Occupancy::from_opacity(spec, opacity.collect())
    }

    #[test]
    fn skipping_finds_what_looking_everywhere_finds() {
        let grid = ball();
        let step = 0.01;
        let (mut found, mut differing) = (0, 0);
        for i in 0..300 {
            let mut stream = Stream::new(5, Purpose::Test, i);
            let mut random =
                || 2.0 * Vec3::new(stream.uniform(), stream.uniform(), stream.uniform()) - 1.0;
            // Some along the axes, where divisions by zero lie.
            let dir = if i % 10 == 0 {
                Vec3::NEG_Z
            } else {
                random().normalize()
            };
            let origin = 0.5 * random() - 3.0 * dir;
            let ray = Ray { origin, dir };
            let mut samples = Samples::new();
            march(&ray, &grid, step, 0.25, &mut samples);
            let mut slow = vec![];
            if let Some(span) = hit_box(&ray) {
                for i in 0.. {
                    let depth = span.t_near + (i as f32 + 0.25) * step;
                    if depth >= span.t_far {
                        break;
                    }
                    if grid.is_occupied(grid.cell_of(origin + depth * dir)) {
                        slow.push(depth);
                    }
                }
            }
            found += slow.len();
            differing += slow.len().abs_diff(samples.len());
            assert!(samples.depths.iter().all(|depth| slow.contains(depth)));
        }
        // Only a sample on the very face of a cell may be passed over by rounding.
        assert!(found > 10_000 && differing < 5, "{differing} of {found}");
    }

    #[test]
    fn a_ray_that_misses_has_no_samples() {
        let ray = Ray {
            origin: Vec3::new(0.0, 5.0, 3.0),
            dir: Vec3::NEG_Z,
        };
        let mut samples = Samples::new();
        march(&ray, &ball(), 0.01, 0.0, &mut samples);
        assert_eq!((samples.n_rays(), samples.len()), (1, 0));
    }
}
