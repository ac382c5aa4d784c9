//! GLB out: glTF 2.0 in one file, one primitive for each material, textures as PNG inside.
//! Vertices stand once; every primitive has its own indices into them.
//! Leaves out compression; all materials are rough, not metallic, and two-sided.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::gltf::json;
use glam::Vec3;
use json::accessor::{Accessor, ComponentType, GenericComponentType, Type};
use json::buffer::{Buffer, Target, View};
use json::material::{
    AlphaMode, Material, PbrBaseColorFactor, PbrMetallicRoughness, StrengthFactor,
};
use json::mesh::{Mode, Primitive, Semantic};
use json::validation::{Checked, USize64};
use json::{Index, Root};

use super::MeshFileError;
use crate::image::Rgba;
use crate::image_file::encode_rgba_png;
use crate::mesh::{self, Mesh};

/// The bytes of the GLB; `path` is what errors call it.
pub(super) fn encode(path: &Path, mesh: &Mesh) -> Result<Vec<u8>, MeshFileError> {
    let mut out = Out {
        path,
        root: Root::default(),
        bytes: Vec::new(),
        images: Vec::new(),
    };
    out.root.asset.generator = Some(concat!("dreamsmith ", env!("CARGO_PKG_VERSION")).into());
    let primitives = out.primitives(mesh)?;
    out.scene(primitives);
    out.finish()
}

struct Out<'a> {
    path: &'a Path,
    root: Root,
    bytes: Vec<u8>,
    /// Textures that materials share are written once.
    images: Vec<(Arc<Rgba>, Index<json::Texture>)>,
}

impl Out<'_> {
    fn too_large(&self) -> MeshFileError {
        MeshFileError::Unsupported {
            name: self.path.display().to_string(),
            reason: "a GLB holds at most 4 GiB".into(),
        }
    }

    fn primitives(&mut self, mesh: &Mesh) -> Result<Vec<Primitive>, MeshFileError> {
        let mut attributes = BTreeMap::new();
        let mut add = |semantic, accessor| attributes.insert(Checked::Valid(semantic), accessor);
        add(Semantic::Positions, self.table(mesh.verts(), Type::Vec3));
        let places = self.root.accessors.last_mut();
        if let Some(places) = places {
            let [low, high] = bounds(mesh.verts());
            places.min = Some(json::Value::from(low.to_vec()));
            places.max = Some(json::Value::from(high.to_vec()));
        }
        if !mesh.normals().is_empty() {
            // Readers insist on unit length.
            let unit = |n: &[f32; 3]| Vec3::from(*n).try_normalize().unwrap_or(Vec3::Y).into();
            let normals: Vec<[f32; 3]> = mesh.normals().iter().map(unit).collect();
            add(Semantic::Normals, self.table(&normals, Type::Vec3));
        }
        if !mesh.uvs().is_empty() {
            add(Semantic::TexCoords(0), self.table(mesh.uvs(), Type::Vec2));
        }
        if !mesh.colors().is_empty() {
            let unit = |c: &[f32; 3]| c.map(|x| x.clamp(0.0, 1.0));
            let colors: Vec<[f32; 3]> = mesh.colors().iter().map(unit).collect();
            add(Semantic::Colors(0), self.table(&colors, Type::Vec3));
        }
        let mut primitives = Vec::new();
        for (material, faces) in by_material(mesh) {
            let material = match material {
                Some(index) => Some(self.material(&mesh.materials()[index], mesh)?),
                None => None,
            };
            primitives.push(Primitive {
                attributes: attributes.clone(),
                extensions: None,
                extras: Default::default(),
                indices: Some(self.indices(&faces)),
                material,
                mode: Checked::Valid(Mode::Triangles),
                targets: None,
            });
        }
        Ok(primitives)
    }

    fn table<const N: usize>(&mut self, rows: &[[f32; N]], kind: Type) -> Index<Accessor> {
        let bytes = rows.as_flattened().iter().flat_map(|x| x.to_le_bytes());
        let view = self.view(bytes.collect(), Some(Target::ArrayBuffer));
        self.accessor(view, rows.len(), (ComponentType::F32, kind))
    }

    fn indices(&mut self, faces: &[[u32; 3]]) -> Index<Accessor> {
        let bytes = faces.as_flattened().iter().flat_map(|i| i.to_le_bytes());
        let view = self.view(bytes.collect(), Some(Target::ElementArrayBuffer));
        self.accessor(view, 3 * faces.len(), (ComponentType::U32, Type::Scalar))
    }

    fn accessor(
        &mut self,
        view: Index<View>,
        count: usize,
        (component, kind): (ComponentType, Type),
    ) -> Index<Accessor> {
        self.root.push(Accessor {
            buffer_view: Some(view),
            byte_offset: None,
            count: USize64::from(count),
            component_type: Checked::Valid(GenericComponentType(component)),
            extensions: None,
            extras: Default::default(),
            type_: Checked::Valid(kind),
            min: None,
            max: None,
            name: None,
            normalized: false,
            sparse: None,
        })
    }

    fn view(&mut self, bytes: Vec<u8>, target: Option<Target>) -> Index<View> {
        let start = self.bytes.len();
        let view = View {
            buffer: Index::new(0),
            byte_length: USize64::from(bytes.len()),
            byte_offset: Some(USize64::from(start)),
            byte_stride: None,
            name: None,
            target: target.map(Checked::Valid),
            extensions: None,
            extras: Default::default(),
        };
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.root.push(view)
    }

    fn material(
        &mut self,
        material: &mesh::Material,
        mesh: &Mesh,
    ) -> Result<Index<Material>, MeshFileError> {
        // A texture without coordinates would be invalid.
        let texture = material.texture.as_ref().filter(|_| !mesh.uvs().is_empty());
        let clear = |texture: &Arc<Rgba>| texture.rgba().chunks_exact(4).any(|p| p[3] < 255);
        let blended = material.alpha < 1.0 || texture.is_some_and(clear);
        let texture = match texture {
            Some(texture) => Some(json::texture::Info {
                index: self.texture(texture)?,
                tex_coord: 0,
                extensions: None,
                extras: Default::default(),
            }),
            None => None,
        };
        let [r, g, b] = material.base_color;
        let factor = [r, g, b, material.alpha].map(|x| x.clamp(0.0, 1.0));
        Ok(self.root.push(Material {
            alpha_mode: Checked::Valid(match blended {
                true => AlphaMode::Blend,
                false => AlphaMode::Opaque,
            }),
            double_sided: true,
            name: Some(material.name.clone()).filter(|name| !name.is_empty()),
            pbr_metallic_roughness: PbrMetallicRoughness {
                base_color_factor: PbrBaseColorFactor(factor),
                base_color_texture: texture,
                metallic_factor: StrengthFactor(0.0),
                roughness_factor: StrengthFactor(1.0),
                ..Default::default()
            },
            ..Default::default()
        }))
    }

    fn texture(&mut self, picture: &Arc<Rgba>) -> Result<Index<json::Texture>, MeshFileError> {
        let known = self.images.iter().find(|(p, _)| Arc::ptr_eq(p, picture));
        if let Some((_, index)) = known {
            return Ok(*index);
        }
        let bytes = encode_rgba_png(self.path, picture)?;
        let view = self.view(bytes, None);
        let source = self.root.push(json::Image {
            buffer_view: Some(view),
            mime_type: Some(json::image::MimeType("image/png".into())),
            name: None,
            uri: None,
            extensions: None,
            extras: Default::default(),
        });
        let index = self.root.push(json::Texture {
            name: None,
            sampler: None,
            source,
            extensions: None,
            extras: Default::default(),
        });
        self.images.push((Arc::clone(picture), index));
        Ok(index)
    }

    fn scene(&mut self, primitives: Vec<Primitive>) {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str());
        let name = stem.map(str::to_owned);
        let mesh = self.root.push(json::Mesh {
            extensions: None,
            extras: Default::default(),
            name: name.clone(),
            primitives,
            weights: None,
        });
        let node = self.root.push(json::Node {
            mesh: Some(mesh),
            name,
            ..Default::default()
        });
        let scene = self.root.push(json::Scene {
            extensions: None,
            extras: Default::default(),
            name: None,
            nodes: vec![node],
        });
        self.root.scene = Some(scene);
    }

    /// Header, JSON chunk padded with spaces, binary chunk padded with zeros.
    fn finish(mut self) -> Result<Vec<u8>, MeshFileError> {
        self.root.push(Buffer {
            byte_length: USize64::from(self.bytes.len()),
            name: None,
            uri: None,
            extensions: None,
            extras: Default::default(),
        });
        let broken = |e: json::Error| MeshFileError::Unsupported {
            name: self.path.display().to_string(),
            reason: e.to_string(),
        };
        let mut text = json::serialize::to_vec(&self.root).map_err(broken)?;
        text.resize(text.len().next_multiple_of(4), b' ');
        let whole = 12 + 8 + text.len() + 8 + self.bytes.len();
        let word = |length: usize| match u32::try_from(length) {
            Ok(word) => Ok(word.to_le_bytes()),
            Err(_) => Err(self.too_large()),
        };
        let mut glb = b"glTF\x02\0\0\0".to_vec();
        glb.extend(word(whole)?);
        for (kind, chunk) in [(b"JSON", &text), (b"BIN\0", &self.bytes)] {
            glb.extend(word(chunk.len())?);
            glb.extend(kind);
            glb.extend(chunk);
        }
        Ok(glb)
    }
}

/// The faces of each material, in the order of the materials; those without one at the end.
fn by_material(mesh: &Mesh) -> Vec<(Option<usize>, Vec<[u32; 3]>)> {
    let mut groups = vec![Vec::new(); mesh.materials().len() + 1];
    for (face, verts) in mesh.faces().iter().enumerate() {
        let group = mesh.material_of(face).unwrap_or(mesh.materials().len());
        groups[group].push(*verts);
    }
    let named = |(i, faces)| ((i < mesh.materials().len()).then_some(i), faces);
    let groups = groups.into_iter().enumerate().map(named);
    groups
        .filter(|(_, faces): &(_, Vec<_>)| !faces.is_empty())
        .collect()
}

fn bounds(verts: &[[f32; 3]]) -> [[f32; 3]; 2] {
    let start = [Vec3::INFINITY, Vec3::NEG_INFINITY];
    let bounds = verts.iter().fold(start, |[low, high], vert| {
        [low.min((*vert).into()), high.max((*vert).into())]
    });
    bounds.map(Vec3::into)
}
