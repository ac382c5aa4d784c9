//! Normals for the corners of faces: the mesh's own, or averages over the faces around a corner.
//! They lie on the side that the face's winding calls the outside, whatever the file says, so that
//! drawing may turn all of them to the viewer.

use std::collections::HashMap;

use dreamsmith_base::Mesh;
use glam::Vec3;
use rayon::prelude::*;

use super::surface::Shading;

/// Corners where more faces meet keep the face's normal: the work grows with the square.
const MAX_FACES_AROUND: usize = 256;

/// Normals of length 1 `[F, 3]`; those of a face without area point upwards.
pub(super) fn corner_normals(mesh: &Mesh, shading: Shading) -> Vec<[Vec3; 3]> {
    let doubled_areas: Vec<Vec3> = (0..mesh.faces().len())
        .into_par_iter()
        .map(|face| {
            let [a, b, c] = mesh.triangle(face).map(|v| v.as_dvec3());
            // Products of tiny edges would vanish in f32.
            (b - a).cross(c - a).as_vec3()
        })
        .collect();
    let flat: Vec<Vec3> = (0..mesh.faces().len())
        .map(|face| {
            let [a, b, c] = mesh.triangle(face).map(|v| v.as_dvec3());
            let normal = (b - a).cross(c - a).try_normalize();
            normal.map_or(Vec3::Y, |n| n.as_vec3())
        })
        .collect();
    match shading {
        Shading::Flat => flat.into_iter().map(|normal| [normal; 3]).collect(),
        Shading::Smooth(_) if !mesh.normals().is_empty() => own_normals(mesh, &flat),
        Shading::Smooth(crease) => smooth_normals(mesh, &flat, &doubled_areas, crease.0.cos()),
    }
}

fn own_normals(mesh: &Mesh, flat: &[Vec3]) -> Vec<[Vec3; 3]> {
    let faces = mesh.faces().iter().zip(flat);
    faces
        .map(|(corners, flat)| {
            corners.map(|i| {
                let normal = Vec3::from(mesh.normals()[i as usize]);
                let side = normal.dot(*flat);
                // Zero is no normal; nor is one along the face.
                match normal.try_normalize() {
                    Some(normal) if side != 0.0 => normal * side.signum(),
                    _ => *flat,
                }
            })
        })
        .collect()
}

fn smooth_normals(mesh: &Mesh, flat: &[Vec3], areas: &[Vec3], least_cos: f32) -> Vec<[Vec3; 3]> {
    let (places, n_places) = weld(mesh.verts());
    let around = faces_around(mesh.faces(), &places, n_places);
    (0..mesh.faces().len())
        .into_par_iter()
        .map(|face| {
            let own = flat[face];
            mesh.faces()[face].map(|i| {
                let neighbours = around.of(places[i as usize]);
                if neighbours.len() > MAX_FACES_AROUND {
                    return own;
                }
                let sum = neighbours.iter().fold(Vec3::ZERO, |sum, other| {
                    let cos = own.dot(flat[*other as usize]);
                    // A neighbour of the other winding counts as if it had this one.
                    match cos.abs() >= least_cos {
                        true => sum + areas[*other as usize] * cos.signum(),
                        false => sum,
                    }
                });
                sum.try_normalize().unwrap_or(own)
            })
        })
        .collect()
}

/// A number for each distinct position: vertices are doubled where uvs or normals differ `[V]`.
fn weld(verts: &[[f32; 3]]) -> (Vec<u32>, usize) {
    let mut known: HashMap<[u32; 3], u32> = HashMap::with_capacity(verts.len());
    let places = verts
        .iter()
        .map(|vert| {
            // Adding zero makes -0 and 0 one.
            let key = vert.map(|x| (x + 0.0).to_bits());
            let next = known.len() as u32;
            *known.entry(key).or_insert(next)
        })
        .collect();
    (places, known.len())
}

struct Around {
    /// Where the faces of a place begin in `faces`, and where the last one's end.
    starts: Vec<usize>,
    faces: Vec<u32>,
}

impl Around {
    fn of(&self, place: u32) -> &[u32] {
        let place = place as usize;
        &self.faces[self.starts[place]..self.starts[place + 1]]
    }
}

fn faces_around(faces: &[[u32; 3]], places: &[u32], n_places: usize) -> Around {
    let mut starts = vec![0; n_places + 1];
    let place = |i: u32| places[i as usize] as usize;
    for i in faces.iter().flatten() {
        starts[place(*i) + 1] += 1;
    }
    for i in 0..n_places {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut sorted = vec![0; faces.len() * 3];
    for (face, corners) in faces.iter().enumerate() {
        for i in corners {
            let slot = &mut next[place(*i)];
            sorted[*slot] = face as u32;
            *slot += 1;
        }
    }
    Around {
        starts,
        faces: sorted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dreamsmith_base::{MeshError, MeshParts, Radians};

    /// Two faces that meet in an edge along X, bent by `bend`, the second with its own vertices and
    /// the other winding.
    fn fold(bend: f32) -> Result<Mesh, MeshError> {
        let (sin, cos) = bend.sin_cos();
        MeshParts {
            verts: vec![
                [0.0, 0.0, 0.0],
                [1.0, 0.0, 0.0],
                [0.0, 0.0, 1.0],
                [0.0, -0.0, 0.0],
                [1.0, 0.0, -0.0],
                [0.0, -sin, -cos],
            ],
            faces: vec![[0, 2, 1], [3, 5, 4]],
            ..MeshParts::default()
        }
        .build()
    }

    #[test]
    fn gentle_bends_are_smooth_and_sharp_ones_are_not() -> Result<(), MeshError> {
        let shading = Shading::Smooth(Radians::from_degrees(40.0));
        for (degrees, smooth) in [(20.0f32, true), (60.0, false)] {
            let bend = degrees.to_radians();
            let normals = corner_normals(&fold(bend)?, shading);
            let lean = if smooth { bend / 2.0 } else { 0.0 };
            // Both have the same area, so that the common normal is half way.
            let expected = Vec3::new(0.0, lean.cos(), -lean.sin());
            assert!(normals[0][0].distance(expected) < 1e-6, "{normals:?}");
            assert!(normals[0][1].distance(Vec3::Y) < 1e-6);
            // The second face looks down, and so do its normals.
            assert!(normals[1][0].y < 0.0);
        }
        Ok(())
    }

    #[test]
    fn own_normals_come_to_the_side_of_the_winding() -> Result<(), MeshError> {
        let mut parts = fold(0.0)?.into_parts();
        let tilted = Vec3::new(0.6, 0.8, 0.0);
        parts.normals = vec![tilted.into(); 6];
        parts.normals[2] = [0.0; 3];
        let mesh = parts.build()?;
        let normals = corner_normals(&mesh, Shading::default());
        assert_eq!(normals[0], [tilted, Vec3::Y, tilted]);
        assert_eq!(normals[1], [-tilted; 3]);
        assert_eq!(corner_normals(&mesh, Shading::Flat)[1], [-Vec3::Y; 3]);
        Ok(())
    }
}
