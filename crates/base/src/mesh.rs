//! Triangle meshes in memory: positions, faces, and what each of them may carry.
//! Leaves out files (`mesh_file`), edges and topology, animation, and quads.

use std::sync::Arc;

use glam::{Affine3A, Vec3};

use crate::image::Rgba;

/// Why parts do not make a mesh.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MeshError {
    /// No vertices, or no faces.
    #[error("the mesh has {verts} vertices and {faces} faces: there is nothing to see")]
    Empty {
        /// How many vertices.
        verts: usize,
        /// How many faces.
        faces: usize,
    },
    /// An attribute with another count than what it belongs to.
    #[error("the mesh has {found} {what} where {expected} are needed, or none at all")]
    Count {
        /// Which attribute.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A face or a material index that points nowhere.
    #[error("face {face} of the mesh names {what} {index}, but there are only {len}")]
    Index {
        /// Which face.
        face: usize,
        /// Vertex or material.
        what: &'static str,
        /// The index.
        index: u32,
        /// How many there are.
        len: usize,
    },
    /// NaN or infinity.
    #[error("{what} {index} of the mesh is NaN or infinite")]
    NotFinite {
        /// Which attribute.
        what: &'static str,
        /// Which of them.
        index: usize,
    },
}

/// The surface of some faces.
#[derive(Clone, Debug, PartialEq)]
pub struct Material {
    /// As the file calls it; may be empty.
    pub name: String,
    /// Linear RGB; multiplied with the texture.
    pub base_color: [f32; 3],
    /// 1 is solid, 0 is not there; multiplied with the texture's.
    pub alpha: f32,
    /// sRGB, looked up at the uvs, repeated outside [0, 1].
    pub texture: Option<Arc<Rgba>>,
}

impl Default for Material {
    /// Solid white.
    fn default() -> Self {
        Self {
            name: String::new(),
            base_color: [1.0; 3],
            alpha: 1.0,
            texture: None,
        }
    }
}

/// The parts of a mesh, not yet checked. V vertices, F faces; attributes may be empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshParts {
    /// Positions `[V, 3]`.
    pub verts: Vec<[f32; 3]>,
    /// Counter-clockwise from outside `[F, 3]`.
    pub faces: Vec<[u32; 3]>,
    /// Of length 1 `[V, 3]`, or empty.
    pub normals: Vec<[f32; 3]>,
    /// (0, 0) is the upper left corner of the texture, as in glTF `[V, 2]`, or empty.
    pub uvs: Vec<[f32; 2]>,
    /// Linear RGB of the vertices, multiplied with the material `[V, 3]`, or empty.
    pub colors: Vec<[f32; 3]>,
    /// The material of each face `[F]`, or empty: all have the first, or a default one.
    pub face_materials: Vec<u32>,
    /// What `face_materials` counts.
    pub materials: Vec<Material>,
}

/// A mesh: at least one face, all indices good, all numbers finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh(MeshParts);

impl MeshParts {
    /// Checks the parts.
    pub fn build(self) -> Result<Mesh, MeshError> {
        let (n_verts, n_faces) = (self.verts.len(), self.faces.len());
        if n_verts == 0 || n_faces == 0 {
            return Err(MeshError::Empty {
                verts: n_verts,
                faces: n_faces,
            });
        }
        for (what, found, expected) in [
            ("normals", self.normals.len(), n_verts),
            ("uvs", self.uvs.len(), n_verts),
            ("colours", self.colors.len(), n_verts),
            ("material indices", self.face_materials.len(), n_faces),
        ] {
            if found != 0 && found != expected {
                return Err(MeshError::Count {
                    what,
                    expected,
                    found,
                });
            }
        }
        for (face, verts) in self.faces.iter().enumerate() {
            if let Some(index) = verts.iter().find(|i| **i as usize >= n_verts) {
                return Err(MeshError::Index {
                    face,
                    what: "vertex",
                    index: *index,
                    len: n_verts,
                });
            }
        }
        let n_materials = self.materials.len();
        for (face, index) in self.face_materials.iter().enumerate() {
            if *index as usize >= n_materials {
                return Err(MeshError::Index {
                    face,
                    what: "material",
                    index: *index,
                    len: n_materials,
                });
            }
        }
        all_finite("vertex", &self.verts)?;
        all_finite("normal", &self.normals)?;
        all_finite("uv", &self.uvs)?;
        all_finite("colour", &self.colors)?;
        for (index, material) in self.materials.iter().enumerate() {
            let [r, g, b] = material.base_color;
            if ![r, g, b, material.alpha].iter().all(|x| x.is_finite()) {
                return Err(MeshError::NotFinite {
                    what: "material",
                    index,
                });
            }
        }
        Ok(Mesh(self))
    }
}

fn all_finite<const N: usize>(what: &'static str, values: &[[f32; N]]) -> Result<(), MeshError> {
    let bad = |value: &[f32; N]| !value.iter().all(|x| x.is_finite());
    match values.iter().position(bad) {
        Some(index) => Err(MeshError::NotFinite { what, index }),
        None => Ok(()),
    }
}

impl Mesh {
    /// The parts, to change them.
    pub fn into_parts(self) -> MeshParts {
        self.0
    }

    /// Positions `[V, 3]`.
    pub fn verts(&self) -> &[[f32; 3]] {
        &self.0.verts
    }

    /// Counter-clockwise from outside `[F, 3]`.
    pub fn faces(&self) -> &[[u32; 3]] {
        &self.0.faces
    }

    /// Of length 1 `[V, 3]`, or empty.
    pub fn normals(&self) -> &[[f32; 3]] {
        &self.0.normals
    }

    /// (0, 0) is the upper left corner of the texture `[V, 2]`, or empty.
    pub fn uvs(&self) -> &[[f32; 2]] {
        &self.0.uvs
    }

    /// Linear RGB of the vertices `[V, 3]`, or empty.
    pub fn colors(&self) -> &[[f32; 3]] {
        &self.0.colors
    }

    /// All materials.
    pub fn materials(&self) -> &[Material] {
        &self.0.materials
    }

    /// The number of the material of a face; none where the mesh has no materials.
    pub fn material_of(&self, face: usize) -> Option<usize> {
        match self.0.face_materials.get(face) {
            Some(index) => Some(*index as usize),
            None => (!self.0.materials.is_empty()).then_some(0),
        }
    }

    /// The corners of a face.
    pub fn triangle(&self, face: usize) -> [Vec3; 3] {
        self.0.faces[face].map(|i| self.0.verts[i as usize].into())
    }

    /// The smallest box around all vertices that faces use: its least and greatest corner.
    pub fn bounds(&self) -> [Vec3; 2] {
        let used = self.0.faces.iter().flatten();
        let start = [Vec3::INFINITY, Vec3::NEG_INFINITY];
        used.fold(start, |[low, high], i| {
            let vert = Vec3::from(self.0.verts[*i as usize]);
            [low.min(vert), high.max(vert)]
        })
    }

    /// The area of all faces.
    pub fn area(&self) -> f64 {
        (0..self.0.faces.len())
            .map(|face| {
                let [a, b, c] = self.triangle(face).map(|v| v.as_dvec3());
                (b - a).cross(c - a).length() / 2.0
            })
            .sum()
    }

    /// The volume inside a closed mesh, positive if its faces look outwards.
    pub fn signed_volume(&self) -> f64 {
        (0..self.0.faces.len())
            .map(|face| {
                let [a, b, c] = self.triangle(face).map(|v| v.as_dvec3());
                a.dot(b.cross(c)) / 6.0
            })
            .sum()
    }

    /// Moves and turns the mesh; `transform` should keep angles, as normals are only turned.
    pub fn transformed(mut self, transform: Affine3A) -> Self {
        for vert in &mut self.0.verts {
            *vert = transform.transform_point3(Vec3::from(*vert)).into();
        }
        for normal in &mut self.0.normals {
            let turned = transform.transform_vector3(Vec3::from(*normal));
            *normal = turned.normalize_or_zero().into();
        }
        self
    }

    /// Moves the middle of the bounding box to the origin and scales the mesh so that its farthest
    /// vertex is `radius` away from there.
    pub fn fitted(self, radius: f32) -> Self {
        let [low, high] = self.bounds();
        let middle = (low + high) / 2.0;
        let used = self.0.faces.iter().flatten();
        let farthest = used.fold(0.0, |far: f32, i| {
            far.max(middle.distance(self.0.verts[*i as usize].into()))
        });
        let scale = if farthest > 0.0 {
            radius / farthest
        } else {
            1.0
        };
        let transform = Affine3A::from_scale(Vec3::splat(scale));
        self.transformed(transform * Affine3A::from_translation(-middle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit cube whose faces look outwards.
    pub(crate) fn cube() -> MeshParts {
        let verts = (0..8)
            .map(|i| [i & 1, i >> 1 & 1, i >> 2].map(|x| x as f32))
            .collect();
        let quads: [[u32; 4]; 6] = [
            [0, 2, 3, 1],
            [4, 5, 7, 6],
            [0, 1, 5, 4],
            [2, 6, 7, 3],
            [0, 4, 6, 2],
            [1, 3, 7, 5],
        ];
        let faces = quads
            .iter()
            .flat_map(|[a, b, c, d]| [[*a, *b, *c], [*a, *c, *d]])
            .collect();
        MeshParts {
            verts,
            faces,
            ..MeshParts::default()
        }
    }

    #[test]
    fn a_cube_has_its_area_and_volume() {
        let cube = cube().build().unwrap();
        assert!((cube.area() - 6.0).abs() < 1e-9);
        assert!((cube.signed_volume() - 1.0).abs() < 1e-9);
        let fitted = cube.fitted(2.0);
        let [low, high] = fitted.bounds();
        assert!((low + high).length() < 1e-6);
        assert!((high.length() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn bad_parts_are_refused() {
        let with = |change: fn(&mut MeshParts)| {
            let mut parts = cube();
            change(&mut parts);
            parts.build().unwrap_err()
        };
        assert!(matches!(with(|m| m.faces.clear()), MeshError::Empty { .. }));
        assert!(matches!(
            with(|m| m.faces[3][1] = 8),
            MeshError::Index {
                face: 3,
                index: 8,
                ..
            }
        ));
        assert!(matches!(
            with(|m| m.face_materials = vec![0; 12]),
            MeshError::Index {
                what: "material",
                ..
            }
        ));
        assert!(matches!(
            with(|m| m.uvs = vec![[0.0; 2]; 3]),
            MeshError::Count { what: "uvs", .. }
        ));
        assert!(matches!(
            with(|m| m.verts[2][1] = f32::NAN),
            MeshError::NotFinite { index: 2, .. }
        ));
    }
}
