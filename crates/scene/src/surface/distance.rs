//! The Chamfer distance of two meshes: how far points drawn evenly on one are from the other, on average.
//! Deviates from [Fan17], which compares two sets of points: here the other side is the surface itself, so that equal
//! surfaces are at distance zero, however they are cut into triangles.

use std::num::NonZeroU32;

use dreamsmith_base::{Mesh, Purpose, Stream};
use glam::{DVec3, Vec3};
use rayon::prelude::*;

use super::SurfaceError;
use super::nearest::NearestSurface;

/// Points drawn from one stream.
const CHUNK: u32 = 4096;

/// The mean distances between two surfaces, in the unit of their coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chamfer {
    /// From the found surface to the reference: large if it has too much.
    pub to_reference: f64,
    /// From the reference to the found surface: large if it lacks something.
    pub from_reference: f64,
    /// The diagonal of the reference's bounding box.
    pub diagonal: f64,
}

impl Chamfer {
    /// The mean of both directions over the diagonal.
    pub fn relative(&self) -> f64 {
        (self.to_reference + self.from_reference) / 2.0 / self.diagonal
    }
}

/// Compares a mesh with a reference, by `n_points` drawn on each.
pub fn chamfer(
    found: &Mesh,
    reference: &Mesh,
    n_points: NonZeroU32,
    seed: u64,
) -> Result<Chamfer, SurfaceError> {
    let [low, high] = reference.bounds().map(Vec3::as_dvec3);
    Ok(Chamfer {
        to_reference: Sampler::new(found, seed, 0)?.mean_distance(reference, n_points),
        from_reference: Sampler::new(reference, seed, 1)?.mean_distance(found, n_points),
        diagonal: low.distance(high),
    })
}

/// Draws points evenly by area.
struct Sampler<'a> {
    mesh: &'a Mesh,
    /// The area of all faces up to each.
    areas: Vec<f64>,
    total: f64,
    seed: u64,
    /// Which of the two meshes.
    side: u64,
}

impl<'a> Sampler<'a> {
    fn new(mesh: &'a Mesh, seed: u64, side: u64) -> Result<Self, SurfaceError> {
        let mut total = 0.0;
        let areas = (0..mesh.faces().len()).map(|face| {
            let [a, b, c] = mesh.triangle(face).map(|v| v.as_dvec3());
            total += (b - a).cross(c - a).length() / 2.0;
            total
        });
        let areas: Vec<f64> = areas.collect();
        if total <= 0.0 {
            return Err(SurfaceError::NoArea { faces: areas.len() });
        }
        Ok(Self {
            mesh,
            areas,
            total,
            seed,
            side,
        })
    }

    fn point(&self, stream: &mut Stream) -> Vec3 {
        let area = stream.uniform_f64() * self.total;
        let face = self
            .areas
            .partition_point(|sum| *sum <= area)
            .min(self.areas.len() - 1);
        let [a, b, c] = self.mesh.triangle(face).map(|v| v.as_dvec3());
        // The root spreads the points evenly: there is more of the triangle far from a.
        let (away, across) = (stream.uniform_f64().sqrt(), stream.uniform_f64());
        let point: DVec3 = a.lerp(b.lerp(c, across), away);
        point.as_vec3()
    }

    fn mean_distance(&self, other: &Mesh, n_points: NonZeroU32) -> f64 {
        let (surface, n_points) = (NearestSurface::new(other), n_points.get());
        let sums: Vec<f64> = (0..n_points.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| {
                let index = 2 * u64::from(chunk) + self.side;
                let mut stream = Stream::new(self.seed, Purpose::Surface, index);
                let n = CHUNK.min(n_points - chunk * CHUNK);
                (0..n)
                    .map(|_| surface.distance(self.point(&mut stream)))
                    .sum()
            })
            .collect();
        sums.iter().sum::<f64>() / f64::from(n_points)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{solid, sphere, torus};
    use super::*;
    use dreamsmith_base::MeshParts;

    fn n(points: u32) -> NonZeroU32 {
        NonZeroU32::new(points).unwrap()
    }

    #[test]
    fn a_mesh_is_at_distance_zero_from_itself() {
        let mesh = solid(32, torus);
        let found = chamfer(&mesh, &mesh, n(5000), 1).unwrap();
        // Points are rounded to f32.
        assert!(found.relative() < 1e-7, "{found:?}");
    }

    #[test]
    fn a_larger_sphere_is_as_far_away_as_its_radius_is_larger() {
        let found = chamfer(&sphere(48, 0.8), &sphere(48, 0.6), n(20_000), 2).unwrap();
        // The facets lie up to h²/8r inside their spheres, for h = 1/24: 4e-4.
        assert!((found.to_reference - 0.2).abs() < 5e-4, "{found:?}");
        assert!((found.from_reference - 0.2).abs() < 5e-4, "{found:?}");
        assert!((found.diagonal - 1.2 * 3f64.sqrt()).abs() < 1e-3);
        assert!((found.relative() - 0.2 / found.diagonal).abs() < 5e-4);
    }

    #[test]
    fn what_is_missing_shows_in_one_direction_only() {
        let both = solid(32, |p| (p.abs() - Vec3::X * 0.5).length() - 0.3);
        let one = solid(32, |p| (p - Vec3::X * 0.5).length() - 0.3);
        let found = chamfer(&one, &both, n(4000), 3).unwrap();
        assert!(found.to_reference < 1e-6);
        // Half of the points are missed by 0.4 to 1.
        assert!((0.2..0.5).contains(&found.from_reference), "{found:?}");
    }

    #[test]
    fn points_are_even_and_the_number_of_threads_changes_nothing() {
        // One right triangle, seen from its corner: the mean distance of its points to the side x = 0 is a third.
        let flat = |verts: [[f32; 3]; 3]| {
            let parts = MeshParts {
                verts: verts.to_vec(),
                faces: vec![[0, 1, 2]],
                ..MeshParts::default()
            };
            parts.build().unwrap()
        };
        let triangle = flat([[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        let side = flat([[0.0; 3], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]);
        let mean_with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let sampler = Sampler::new(&triangle, 4, 0).unwrap();
            pool.install(|| sampler.mean_distance(&side, n(50_000)))
        };
        // Five standard errors: √(1/18 / 50 000) = 1.05e-3.
        assert!((mean_with(1) - 1.0 / 3.0).abs() < 5.3e-3);
        assert_eq!(mean_with(1), mean_with(3));
        assert!(matches!(
            chamfer(&triangle, &side, n(9), 1),
            Err(SurfaceError::NoArea { faces: 1 })
        ));
    }
}
