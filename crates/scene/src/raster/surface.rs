//! A mesh made ready to be drawn: a normal for each corner of a face, textures with their mip-maps.
//! Made once, drawn from many sides.
//! Leaves out roughness, metal and emission: surfaces are matt.

use std::collections::HashMap;
use std::sync::Arc;

use dreamsmith_base::{Mesh, Radians, Rgba};
use glam::Vec3;

use super::normals::corner_normals;
use super::texture::{Footprint, Texture};

/// How normals run over the faces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shading {
    /// The mesh's own; where it has none, those of neighbouring faces are averaged, weighted by area,
    /// over edges that bend by less than the angle.
    Smooth(Radians),
    /// Each face has its own.
    Flat,
}

impl Default for Shading {
    /// Smooth over edges that bend by less than 40 degrees.
    fn default() -> Self {
        Self::Smooth(Radians::from_degrees(40.0))
    }
}

struct Paint {
    base_color: [f32; 3],
    alpha: f32,
    texture: Option<Arc<Texture>>,
}

/// A mesh ready to be drawn. V vertices, F faces.
pub struct Surface {
    verts: Vec<Vec3>,
    faces: Vec<[u32; 3]>,
    /// On the side of the face that its winding calls the outside `[F, 3]`.
    corner_normals: Vec<[Vec3; 3]>,
    /// `[V, 2]`, or empty.
    uvs: Vec<[f32; 2]>,
    /// `[V, 3]`, or empty.
    colors: Vec<[f32; 3]>,
    /// The paint of each face `[F]`.
    face_paints: Vec<u32>,
    /// One for each material of the mesh, and white at the end.
    paints: Vec<Paint>,
    /// Which of them hide what is behind.
    is_solid: Vec<bool>,
}

/// What is seen at a point of a face.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) albedo: [f32; 3],
    pub(super) alpha: f32,
    /// Of length 1, on the outside.
    pub(super) normal: Vec3,
    pub(super) position: Vec3,
}

impl Surface {
    /// Prepares a mesh.
    pub fn new(mesh: &Mesh, shading: Shading) -> Self {
        let mut known: HashMap<*const Rgba, Arc<Texture>> = HashMap::new();
        let mut paints: Vec<Paint> = mesh
            .materials()
            .iter()
            .map(|material| Paint {
                base_color: material.base_color,
                alpha: material.alpha.clamp(0.0, 1.0),
                texture: material.texture.as_ref().map(|picture| {
                    let make = || Arc::new(Texture::new(picture));
                    known
                        .entry(Arc::as_ptr(picture))
                        .or_insert_with(make)
                        .clone()
                }),
            })
            .collect();
        paints.push(Paint {
            base_color: [1.0; 3],
            alpha: 1.0,
            texture: None,
        });
        let white = paints.len() - 1;
        let n_faces = mesh.faces().len();
        let is_solid = paints
            .iter()
            .map(|paint| paint.alpha == 1.0 && paint.texture.as_ref().is_none_or(|t| t.is_solid()))
            .collect();
        Self {
            verts: mesh.verts().iter().map(|v| Vec3::from(*v)).collect(),
            faces: mesh.faces().to_vec(),
            corner_normals: corner_normals(mesh, shading),
            uvs: mesh.uvs().to_vec(),
            colors: mesh.colors().to_vec(),
            face_paints: (0..n_faces)
                .map(|face| mesh.material_of(face).unwrap_or(white) as u32)
                .collect(),
            paints,
            is_solid,
        }
    }

    /// Gives a material another linear RGB; nothing changes if there is no such material.
    pub fn paint(&mut self, material: usize, base_color: [f32; 3]) {
        if let Some(paint) = self.paints.get_mut(material) {
            paint.base_color = base_color;
        }
    }

    /// Positions `[V, 3]`.
    pub(super) fn verts(&self) -> &[Vec3] {
        &self.verts
    }

    /// `[F, 3]`.
    pub(super) fn faces(&self) -> &[[u32; 3]] {
        &self.faces
    }

    /// Whether a face hides what is behind it.
    pub(super) fn is_solid(&self, face: u32) -> bool {
        self.is_solid[self.face_paints[face as usize] as usize]
    }

    /// What is seen of a face at `bary`, which changes by `along` to the next pixel in x and in y.
    pub(super) fn look(&self, face: u32, bary: [f32; 3], along: [[f32; 3]; 2]) -> Sight {
        let corners = self.faces[face as usize].map(|i| i as usize);
        let paint = &self.paints[self.face_paints[face as usize] as usize];
        let mut albedo = paint.base_color;
        let mut alpha = paint.alpha;
        if let (Some(texture), false) = (&paint.texture, self.uvs.is_empty()) {
            let uvs = corners.map(|i| self.uvs[i]);
            let mix = |w: [f32; 3]| [0, 1].map(|k| (0..3).map(|i| w[i] * uvs[i][k]).sum());
            let (color, texture_alpha) = texture.lookup(&Footprint {
                uv: mix(bary),
                along_x: mix(along[0]),
                along_y: mix(along[1]),
            });
            albedo = [0, 1, 2].map(|k| albedo[k] * color[k]);
            alpha *= texture_alpha;
        }
        if !self.colors.is_empty() {
            let color = corners.map(|i| Vec3::from(self.colors[i]));
            let color = mix(bary, color);
            albedo = [0, 1, 2].map(|k| albedo[k] * color[k]);
        }
        let normals = self.corner_normals[face as usize];
        let normal = mix(bary, normals);
        Sight {
            albedo,
            alpha,
            normal: normal.try_normalize().unwrap_or(normals[0]),
            position: mix(bary, corners.map(|i| self.verts[i])),
        }
    }
}

fn mix(bary: [f32; 3], [a, b, c]: [Vec3; 3]) -> Vec3 {
    bary[0] * a + bary[1] * b + bary[2] * c
}
