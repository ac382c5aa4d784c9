//! The corners of a glTF primitive: its tables, which vertices its indices use, and what
//! KHR_texture_transform makes of texture coordinates.
//! Leaves out tangents and all sets of coordinates but the one of the base colour.

use std::collections::HashMap;

use ::gltf::json;
use json::mesh::{Primitive, Semantic};
use json::validation::Checked;

use super::accessor::{Data, Elements};

/// The tables of a primitive, and which of its vertices are used.
pub(super) struct Corners<'a> {
    indices: Option<Elements<'a>>,
    pub(super) places: Elements<'a>,
    pub(super) normals: Option<Elements<'a>>,
    pub(super) uvs: Option<(Elements<'a>, UvChange)>,
    pub(super) colors: Option<Elements<'a>>,
    numbers: HashMap<u32, u32>,
    pub(super) used: Vec<u32>,
}

impl<'a> Corners<'a> {
    pub(super) fn open(
        data: &Data<'a>,
        primitive: &Primitive,
        texture: Option<&json::texture::Info>,
    ) -> Result<Self, String> {
        let attribute = |semantic: Semantic| {
            let index = primitive.attributes.get(&Checked::Valid(semantic));
            index.map(|index| data.elements(index.value())).transpose()
        };
        let change = UvChange::new(texture);
        let uvs = attribute(Semantic::TexCoords(change.set))?;
        Ok(Self {
            indices: primitive
                .indices
                .map(|index| data.elements(index.value()))
                .transpose()?,
            places: attribute(Semantic::Positions)?.ok_or("it has no positions")?,
            normals: attribute(Semantic::Normals)?,
            uvs: uvs.map(|uvs| (uvs, change)),
            colors: attribute(Semantic::Colors(0))?,
            numbers: HashMap::new(),
            used: Vec::new(),
        })
    }

    pub(super) fn n_indices(&self) -> usize {
        let source = self.indices.as_ref().unwrap_or(&self.places);
        source.count
    }

    /// The number that the vertex behind an index gets among those used.
    pub(super) fn vert(&mut self, at: usize) -> Result<u32, String> {
        let index = match &self.indices {
            Some(indices) => indices.index(at).ok_or("an index is missing")?,
            None => at as u32,
        };
        if index as usize >= self.places.count {
            return Err(format!(
                "index {index} points beyond its {} vertices",
                self.places.count
            ));
        }
        let next = self.used.len() as u32;
        let number = *self.numbers.entry(index).or_insert(next);
        if number == next {
            self.used.push(index);
        }
        Ok(number)
    }
}

/// KHR_texture_transform, and which set of coordinates it is about.
pub(super) struct UvChange {
    set: u32,
    offset: [f32; 2],
    rotation: f32,
    scale: [f32; 2],
}

impl UvChange {
    fn new(info: Option<&json::texture::Info>) -> Self {
        let extension = info.and_then(|info| info.extensions.as_ref());
        let change = extension.and_then(|extension| extension.texture_transform.as_ref());
        let set = info.map_or(0, |info| info.tex_coord);
        match change {
            Some(change) => Self {
                set: change.tex_coord.unwrap_or(set),
                offset: change.offset.0,
                rotation: change.rotation.0,
                scale: change.scale.0,
            },
            None => Self {
                set,
                offset: [0.0; 2],
                rotation: 0.0,
                scale: [1.0; 2],
            },
        }
    }

    pub(super) fn of(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let (u, v) = (u * self.scale[0], v * self.scale[1]);
        let (sin, cos) = (libm::sinf(self.rotation), libm::cosf(self.rotation));
        [
            cos * u + sin * v + self.offset[0],
            cos * v - sin * u + self.offset[1],
        ]
    }
}
