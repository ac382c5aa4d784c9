//! Colours of a surface in a texture: each texel knows where it lies on the mesh, and what lies around the charts is
//! filled from them, so that no seam is seen. Leaves out anything but colour.

use std::sync::Arc;

use dreamsmith_base::{ImageError, Material, Mesh, MeshError, Rgba};
use glam::{Vec2, Vec3};

use crate::surface::{GAP, texels_inside};

/// A texel that lies outside of its face by no more than this share of the face still belongs to it.
const OUTSIDE: f32 = -0.001;

/// Why there is no texture.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BakeError {
    /// The mesh cannot be.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The texture cannot be.
    #[error("{0}")]
    Image(String),
}

impl From<ImageError> for BakeError {
    fn from(error: ImageError) -> Self {
        Self::Image(error.to_string())
    }
}

/// A place on a surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Where it is.
    pub point: Vec3,
    /// Its normal, of length 1.
    pub normal: Vec3,
    /// The colour between those of its face's vertices, linear.
    pub color: Vec3,
}

/// A mesh whose texture is still to be painted.
pub struct Texels {
    mesh: Mesh,
    side: u32,
    /// The numbers of the texels that lie on the mesh, and where that is.
    texels: Vec<usize>,
    places: Vec<Place>,
    is_known: Vec<bool>,
}

impl Texels {
    /// Those of a square texture of `side` texels for `mesh`, which has normals, colours and coordinates without overlaps.
    pub fn new(mesh: Mesh, side: u32) -> Self {
        let n = side as usize;
        let (mut texels, mut places) = (vec![], vec![]);
        let mut is_known = vec![false; n * n];
        for face in mesh.faces() {
            let at = face.map(|i| i as usize);
            let corners = at.map(|i| Vec2::from(mesh.uvs()[i]) * side as f32);
            for (x, y, shares) in texels_inside(corners, [n; 2], OUTSIDE) {
                if std::mem::replace(&mut is_known[y * n + x], true) {
                    continue;
                }
                let between = |values: &[[f32; 3]]| -> Vec3 {
                    let corners = at.iter().zip(shares.to_array());
                    corners
                        .map(|(i, share)| share * Vec3::from(values[*i]))
                        .sum()
                };
                texels.push(y * n + x);
                places.push(Place {
                    point: between(mesh.verts()),
                    normal: between(mesh.normals()).normalize_or(Vec3::Y),
                    color: between(mesh.colors()),
                });
            }
        }
        Self {
            mesh,
            side,
            texels,
            places,
            is_known,
        }
    }

    /// Where the texels lie that lie on the mesh.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The mesh with a texture instead of its colours: `colors` of the places, sRGB.
    pub fn painted(&self, colors: &[[f32; 3]]) -> Result<Mesh, BakeError> {
        let n = self.side as usize;
        let mut picture = vec![[0.0; 3]; n * n];
        for (texel, color) in self.texels.iter().zip(colors) {
            picture[*texel] = *color;
        }
        fill(&mut picture, self.is_known.clone(), n);
        let byte = |x: f32| (255.0 * x).round() as u8;
        let bytes = picture
            .iter()
            .flat_map(|[r, g, b]| [byte(*r), byte(*g), byte(*b), 255]);
        let texture = Arc::new(Rgba::new(self.side, self.side, bytes.collect())?);
        let mut parts = self.mesh.clone().into_parts();
        parts.colors = vec![];
        parts.face_materials = vec![];
        parts.materials = vec![Material {
            name: "baked".into(),
            texture: Some(texture),
            ..Material::default()
        }];
        Ok(parts.build()?)
    }
}

/// Gives unknown texels the mean of their known neighbours, ring by ring, and the rest the mean of all.
fn fill(picture: &mut [[f32; 3]], mut is_known: Vec<bool>, n: usize) {
    let mean = |texels: &mut dyn Iterator<Item = [f32; 3]>| {
        let (sum, count) = texels.fold((Vec3::ZERO, 0.0), |(sum, count), color| {
            (sum + Vec3::from(color), count + 1.0)
        });
        (count > 0.0).then(|| (sum / count).to_array())
    };
    for _ in 0..2 * GAP {
        let ring: Vec<(usize, [f32; 3])> = (0..n * n)
            .filter(|texel| !is_known[*texel])
            .filter_map(|texel| {
                let (x, y) = (texel % n, texel / n);
                let rows = y.saturating_sub(1)..(y + 2).min(n);
                let around = rows
                    .flat_map(|y| (x.saturating_sub(1)..(x + 2).min(n)).map(move |x| y * n + x));
                let mut known = around.filter(|i| is_known[*i]).map(|i| picture[i]);
                mean(&mut known).map(|color| (texel, color))
            })
            .collect();
        for (texel, color) in ring {
            picture[texel] = color;
            is_known[texel] = true;
        }
    }
    let known = picture.iter().zip(&is_known).filter(|(_, known)| **known);
    let rest = mean(&mut known.map(|(color, _)| *color)).unwrap_or_default();
    for (color, known) in picture.iter_mut().zip(is_known) {
        if !known {
            *color = rest;
        }
    }
}
