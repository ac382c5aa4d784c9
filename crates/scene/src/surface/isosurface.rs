//! A closed mesh around the inside of a sampled field: marching cubes [Lorensen87], parallel over layers.
//! What is outside the lattice is empty, so that the mesh is closed there too, and never leaves its box.
//! Leaves out sharp edges inside a cell and the interpolation of the field inside cubes.

use dreamsmith_base::{Mesh, MeshParts};
use glam::{DVec3, Vec3};
use rayon::prelude::*;

use super::SurfaceError;
use super::lattice::Lattice;
use super::marching_cases::{edge_place, triangles};

/// Vertices keep this part of an edge away from its ends. Where the field equals the level at a point of the lattice,
/// up to six vertices would else fall together there and leave faces without area.
const MARGIN: f64 = 1.0 / 256.0;

/// Which side of the level is solid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Values above the level: densities, occupancies.
    Above,
    /// Values below the level: signed distances.
    Below,
}

/// The surface where the field crosses `iso`: closed, manifold, looking outwards, without two vertices on one place.
///
/// `values` are those at the points of `lattice`, in its order. A value equal to `iso` is outside.
pub fn isosurface(
    lattice: &Lattice,
    values: &[f32],
    iso: f32,
    inside: Inside,
) -> Result<Mesh, SurfaceError> {
    let field = Padded::new(lattice, values, iso, inside)?;
    let crossings: Vec<Vec<u32>> = (0..field.side)
        .into_par_iter()
        .map(|z| field.crossings(z))
        .collect();
    let first_verts: Vec<usize> = crossings
        .iter()
        .scan(0, |n_verts, crossings| {
            let first = *n_verts;
            *n_verts += crossings.len();
            Some(first)
        })
        .collect();
    let n_verts: usize = crossings.iter().map(Vec::len).sum();
    if n_verts == 0 {
        let start = (f32::INFINITY, f32::NEG_INFINITY);
        let (least, greatest) = values
            .iter()
            .fold(start, |(l, g), v| (l.min(*v), g.max(*v)));
        return Err(SurfaceError::Nothing {
            iso,
            least,
            greatest,
        });
    }
    let verts: Vec<Vec<[f32; 3]>> = crossings
        .par_iter()
        .enumerate()
        .map(|(z, slots)| slots.iter().map(|slot| field.vert(z, *slot)).collect())
        .collect();
    let faces: Vec<Vec<[u32; 3]>> = (0..field.side - 1)
        .into_par_iter()
        .map_init(
            || [(); 2].map(|()| vec![0; 3 * field.side * field.side]),
            |numbers, z| {
                for (above, numbers) in numbers.iter_mut().enumerate() {
                    for (i, slot) in crossings[z + above].iter().enumerate() {
                        numbers[*slot as usize] = (first_verts[z + above] + i) as u32;
                    }
                }
                field.faces(z, numbers)
            },
        )
        .collect();
    let mesh = MeshParts {
        verts: verts.concat(),
        faces: faces.concat(),
        ..MeshParts::default()
    };
    Ok(mesh.build()?)
}

/// The field with a layer of outside around it. Layer z holds the points with that z; the edges from them are numbered
/// by slots: three for each point, along x, y and z.
struct Padded<'a> {
    lattice: &'a Lattice,
    values: &'a [f32],
    iso: f32,
    /// Points a side with the padding.
    side: usize,
    is_inside: Vec<bool>,
}

impl<'a> Padded<'a> {
    fn new(
        lattice: &'a Lattice,
        values: &'a [f32],
        iso: f32,
        inside: Inside,
    ) -> Result<Self, SurfaceError> {
        if values.len() != lattice.n_points() {
            return Err(SurfaceError::Count {
                expected: lattice.n_points(),
                found: values.len(),
            });
        }
        let not_finite = |what: String, value: f32| Err(SurfaceError::NotFinite { what, value });
        if !iso.is_finite() {
            return not_finite("the level".into(), iso);
        }
        if let Some(index) = values.par_iter().position_first(|v| !v.is_finite()) {
            return not_finite(
                format!("the field at {}", lattice.point(index)),
                values[index],
            );
        }
        let inner = lattice.side();
        let side = inner + 2;
        let mut is_inside = vec![false; side.pow(3)];
        let layers = is_inside.par_chunks_mut(side * side).skip(1);
        layers
            .zip(values.par_chunks(inner * inner))
            .for_each(|(layer, values)| {
                let rows = layer.chunks_mut(side).skip(1);
                for (row, values) in rows.zip(values.chunks(inner)) {
                    for (point, value) in row[1..].iter_mut().zip(values) {
                        *point = match inside {
                            Inside::Above => *value > iso,
                            Inside::Below => *value < iso,
                        };
                    }
                }
            });
        Ok(Self {
            lattice,
            values,
            iso,
            side,
            is_inside,
        })
    }

    fn layer(&self, z: usize) -> &[bool] {
        &self.is_inside[z * self.side * self.side..][..self.side * self.side]
    }

    /// The slots of the edges from layer `z` that cross the surface, ascending.
    fn crossings(&self, z: usize) -> Vec<u32> {
        let (side, layer) = (self.side, self.layer(z));
        // The last point of each row and layer is padding, equal to the next one: nothing crosses there.
        let rest = &self.is_inside[z * side * side..];
        let mut slots = Vec::new();
        for (point, here) in layer.iter().enumerate() {
            for (axis, step) in [1, side, side * side].into_iter().enumerate() {
                if rest.get(point + step).is_some_and(|there| there != here) {
                    slots.push((3 * point + axis) as u32);
                }
            }
        }
        slots
    }

    /// How far the field is from the level at a point with the padding; 0 in the padding itself.
    fn level(&self, point: [usize; 3]) -> f64 {
        let n = self.lattice.side();
        if point.iter().any(|x| *x == 0 || *x > n) {
            return 0.0;
        }
        let [x, y, z] = point.map(|x| x - 1);
        f64::from(self.values[(z * n + y) * n + x]) - f64::from(self.iso)
    }

    /// Where a point with the padding is, in cells. The padding lies on the border of the box, and the points of the
    /// border a little inside.
    fn place(&self, point: [usize; 3]) -> DVec3 {
        let cells = self.lattice.cells() as f64;
        let place = point.map(|x| match x {
            0 => 0.0,
            x if x > self.lattice.side() => cells,
            x => (x as f64 - 1.0).clamp(MARGIN, cells - MARGIN),
        });
        DVec3::from(place)
    }

    /// Where the field equals the level on an edge, if it is linear there.
    fn vert(&self, z: usize, slot: u32) -> [f32; 3] {
        let (point, axis) = (slot as usize / 3, slot as usize % 3);
        let from = [point % self.side, point / self.side, z];
        let mut to = from;
        to[axis] += 1;
        let (here, there) = (self.level(from), self.level(to));
        let part = (here / (here - there)).clamp(MARGIN, 1.0 - MARGIN);
        let place: Vec3 = self.place(from).lerp(self.place(to), part).as_vec3();
        self.lattice.at(place).into()
    }

    /// The faces in the cubes on layer `z`; `numbers` are those of the vertices at the slots of this layer and the next.
    fn faces(&self, z: usize, numbers: &[Vec<u32>; 2]) -> Vec<[u32; 3]> {
        let (side, layers) = (self.side, [self.layer(z), self.layer(z + 1)]);
        let mut faces = Vec::new();
        for y in 0..side - 1 {
            // The four rows of points beside a row of cubes, in the order of the corners.
            let rows = [0, 1, 2, 3].map(|i| &layers[i >> 1][(y + (i & 1)) * side..][..side]);
            let column = |x: usize| (0..4).fold(0, |set, i| set | u8::from(rows[i][x]) << (2 * i));
            let mut left = column(0);
            for x in 0..side - 1 {
                let right = column(x + 1);
                let inside = left | right << 1;
                left = right;
                for triangle in triangles(inside) {
                    faces.push(triangle.map(|edge| {
                        let ([dx, dy, dz], axis) = edge_place(edge as usize);
                        numbers[dz][3 * ((y + dy) * side + x + dx) + axis]
                    }));
                }
            }
        }
        faces
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{gyroid, noise, solid, sphere, torus};
    use super::*;
    use crate::surface::Topology;
    use std::f64::consts::PI;

    #[track_caller]
    fn assert_near(found: f64, expected: f64, part: f64) {
        assert!(
            (found / expected - 1.0).abs() < part,
            "{found} instead of {expected}"
        );
    }

    #[track_caller]
    fn assert_sound(mesh: &Mesh) -> Topology {
        let topology = Topology::of(mesh);
        assert!(topology.is_closed_manifold(), "{topology:?}");
        assert_eq!(topology.n_verts, mesh.verts().len());
        let mut places: Vec<_> = mesh.verts().iter().map(|v| v.map(f32::to_bits)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(
            places.len(),
            mesh.verts().len(),
            "two vertices on one place"
        );
        assert!(mesh.verts().iter().flatten().all(|x| x.abs() <= 1.0));
        assert!(mesh.signed_volume() > 0.0);
        topology
    }

    #[test]
    fn a_sphere_has_its_area_and_volume() {
        let mesh = sphere(64, 0.8);
        let topology = assert_sound(&mesh);
        assert_eq!(topology.euler_characteristic(), 2);
        // Chords lie h²/8r inside the circle: a part of 2e-4 of the radius here, and twice or thrice of area and volume.
        assert_near(mesh.area(), 4.0 * PI * 0.64, 2e-3);
        assert_near(mesh.signed_volume(), 4.0 / 3.0 * PI * 0.512, 2e-3);
    }

    #[test]
    fn faces_look_from_inside_to_outside_whichever_side_that_is() {
        let lattice = Lattice::unit(16).unwrap();
        let density = lattice.sample(|p| 1.0 / (p - 0.1).length_squared());
        let mesh = isosurface(&lattice, &density, 4.0, Inside::Above).unwrap();
        assert_sound(&mesh);
        for face in 0..mesh.faces().len() {
            let [a, b, c] = mesh.triangle(face);
            assert!((b - a).cross(c - a).dot((a + b + c) / 3.0 - 0.1) > 0.0);
        }
        let around = isosurface(&lattice, &density, 4.0, Inside::Below).unwrap();
        assert_sound(&around);
        assert_near(around.signed_volume() + mesh.signed_volume(), 8.0, 1e-3);
    }

    #[test]
    fn a_torus_has_one_handle_and_two_balls_are_two_parts() {
        let mesh = solid(48, torus);
        assert_eq!(assert_sound(&mesh).genus(), Some(1));
        assert_near(mesh.signed_volume(), 2.0 * PI * PI * 0.6 * 0.0625, 0.01);
        let balls = solid(32, |p| (p.abs() - Vec3::X * 0.5).length() - 0.3);
        let topology = assert_sound(&balls);
        assert_eq!((topology.components, topology.genus()), (2, Some(0)));
    }

    #[test]
    fn what_the_box_cuts_is_closed_there() {
        assert!(assert_sound(&solid(40, gyroid)).genus() > Some(5));
        let full = solid(8, |_| -1.0);
        assert_eq!(assert_sound(&full).euler_characteristic(), 2);
        // The faces lie MARGIN² of a cell inside, the edges are bevelled by MARGIN: 6e-6 of the volume here.
        assert_near(full.signed_volume(), 8.0, 1e-4);
        assert_eq!(
            assert_sound(&solid(1, |p| p.x + p.y)).euler_characteristic(),
            2
        );
    }

    #[test]
    fn noise_gives_sound_meshes() {
        let lattice = Lattice::unit(8).unwrap();
        for seed in 0..50 {
            let values = noise(&lattice, seed);
            for inside in [Inside::Above, Inside::Below] {
                assert_sound(&isosurface(&lattice, &values, 0.0, inside).unwrap());
            }
        }
    }

    #[test]
    fn values_at_the_level_give_sound_meshes() {
        let lattice = Lattice::unit(8).unwrap();
        for seed in 0..50 {
            let values: Vec<f32> = noise(&lattice, seed)
                .iter()
                .map(|x| x.round().clamp(-1.0, 1.0))
                .collect();
            assert!(values.iter().filter(|x| **x == 0.0).count() > 200);
            for inside in [Inside::Above, Inside::Below] {
                assert_sound(&isosurface(&lattice, &values, 0.0, inside).unwrap());
            }
        }
        // The octahedron's corners, edges and faces all lie on points of the lattice.
        let octahedron = solid(8, |p| p.abs().element_sum() - 1.0);
        assert_eq!(assert_sound(&octahedron).euler_characteristic(), 2);
        assert_near(octahedron.signed_volume(), 4.0 / 3.0, 0.02);
    }

    #[test]
    fn fields_far_from_the_level_in_size_are_meshed() {
        let lattice = Lattice::unit(4).unwrap();
        let huge = lattice.sample(|p| if p.length() < 0.7 { f32::MAX } else { f32::MIN });
        assert_sound(&isosurface(&lattice, &huge, 0.0, Inside::Above).unwrap());
        let tiny = lattice.sample(|p| {
            if p.length() < 0.7 {
                f32::from_bits(1)
            } else {
                0.0
            }
        });
        assert_sound(&isosurface(&lattice, &tiny, 0.0, Inside::Above).unwrap());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let mesh_with = |n| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(n)
                .build()
                .unwrap();
            pool.install(|| solid(20, gyroid))
        };
        assert_eq!(mesh_with(1), mesh_with(3));
    }

    #[test]
    fn fields_without_a_surface_are_refused() {
        let lattice = Lattice::unit(2).unwrap();
        let refused =
            |values: &[f32], iso| isosurface(&lattice, values, iso, Inside::Above).unwrap_err();
        let nothing = refused(&[1.0; 27], 1.0);
        assert!(matches!(
            nothing,
            SurfaceError::Nothing {
                least: 1.0,
                greatest: 1.0,
                ..
            }
        ));
        assert!(matches!(
            refused(&[1.0; 8], 0.0),
            SurfaceError::Count {
                expected: 27,
                found: 8
            }
        ));
        assert!(matches!(
            refused(&[1.0; 27], f32::NAN),
            SurfaceError::NotFinite { .. }
        ));
        let mut values = [1.0; 27];
        values[13] = f32::INFINITY;
        let text = refused(&values, 0.0).to_string();
        assert_eq!(text, "the field at [0, 0, 0] is inf: it must be finite");
    }
}
