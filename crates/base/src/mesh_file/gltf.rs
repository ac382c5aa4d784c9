//! glTF 2.0 in: GLB and .gltf, all triangles of the scene in one mesh, the nodes' transforms applied.
//! Reads base colour, its texture and KHR_texture_transform, alpha modes and the first vertex colours.
//! Leaves out animation, skins, morph targets, compressed geometry and all other textures.

use std::collections::HashMap;
use std::sync::Arc;

use ::gltf::json;
use glam::{Affine3A, Mat3, Mat4, Quat, Vec3};
use json::material::AlphaMode;
use json::mesh::{Mode, Primitive};
use json::validation::Checked;

use super::MeshFileError;
use super::accessor::Data;
use super::corners::Corners;
use super::load::Load;
use super::uri;
use crate::image::Rgba;
use crate::mesh::{Material, MeshParts};

/// What a file may require; all of it is read, or changes nothing that is.
const KNOWN_EXTENSIONS: [&str; 4] = [
    "KHR_texture_transform",
    "KHR_materials_unlit",
    "KHR_mesh_quantization",
    "KHR_lights_punctual",
];

/// More are no scene but an attack: each takes hundreds of bytes once it is parsed.
const MOST_OBJECTS: usize = 1 << 20;
const MOST_VALUES: usize = 1 << 23;

/// The mesh of a glTF file.
pub(super) fn read(bytes: &[u8], load: &mut Load) -> Result<MeshParts, MeshFileError> {
    let (text, mut blob) = match bytes.starts_with(b"glTF") {
        true => chunks(bytes).map_err(|reason| load.broken("GLB", reason))?,
        false => (bytes, None),
    };
    let count = |symbol: u8| text.iter().filter(|b| **b == symbol).count();
    load.check("JSON objects", count(b'{'), MOST_OBJECTS)?;
    load.check("JSON values", count(b','), MOST_VALUES)?;
    let root: json::Root = json::deserialize::from_slice(text).map_err(|e| {
        let reason = e.to_string();
        load.broken("glTF", format!("{reason}{}", hint(&reason)))
    })?;
    if !root.asset.version.starts_with("2.") {
        return Err(load.unsupported(format!(
            "it is of glTF version {}, not 2",
            root.asset.version
        )));
    }
    let unknown = |name: &&String| !KNOWN_EXTENSIONS.contains(&name.as_str());
    if let Some(name) = root.extensions_required.iter().find(unknown) {
        return Err(load.unsupported(format!("it requires the extension {name}")));
    }
    let mut buffers = Vec::new();
    for buffer in &root.buffers {
        buffers.push(match &buffer.uri {
            Some(name) => Some(uri::fetch(name, load)?),
            None => blob.take().map(<[u8]>::to_vec),
        });
    }
    let data = Data::new(&root, &buffers);
    let mut reader = Reader {
        data,
        load,
        parts: MeshParts::default(),
        materials: Vec::new(),
        material_numbers: HashMap::new(),
        textures: HashMap::new(),
    };
    reader.scene()?;
    reader.materials();
    Ok(reader.parts)
}

/// The JSON and the binary chunk of a GLB.
fn chunks(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), String> {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    match word(4) {
        Some(2) => {}
        Some(version) => return Err(format!("it is of version {version}, not 2")),
        None => return Err("it ends in its header".into()),
    }
    let (mut text, mut blob, mut at) = (None, None, 12);
    while let (Some(length), Some(kind)) = (word(at), word(at + 4)) {
        let length = length as usize;
        let chunk = bytes.get(at + 8..at + 8 + length);
        let chunk = chunk.ok_or_else(|| format!("a chunk of {length} bytes is cut off"))?;
        match &kind.to_le_bytes() {
            b"JSON" => text = text.or(Some(chunk)),
            b"BIN\0" => blob = blob.or(Some(chunk)),
            _ => {}
        }
        at += 8 + length.next_multiple_of(4);
    }
    Ok((text.ok_or("it has no JSON chunk")?, blob))
}

/// glTF 1.0 has tables where 2.0 has lists, and its parser's words would not help.
fn hint(reason: &str) -> &'static str {
    match reason.starts_with("invalid type: map, expected a sequence") {
        true => " (is it glTF 1.0, which is not read?)",
        false => "",
    }
}

struct Reader<'a, 'b, 'c> {
    data: Data<'a>,
    load: &'b mut Load<'c>,
    parts: MeshParts,
    /// Of the file, in the order they came up; none is the default one.
    materials: Vec<Option<usize>>,
    material_numbers: HashMap<Option<usize>, u32>,
    /// By texture and what becomes of its alpha.
    textures: HashMap<(usize, Alpha), Option<Arc<Rgba>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Alpha {
    Ignored,
    /// Solid from this byte up.
    Cut(u8),
    Kept,
}

impl Reader<'_, '_, '_> {
    fn broken(&self, reason: impl Into<String>) -> MeshFileError {
        self.load.broken("glTF", reason)
    }

    /// Walks the default scene, or else the first, or else all nodes that are nobody's child.
    fn scene(&mut self) -> Result<(), MeshFileError> {
        let root = self.data.root;
        let scene = root.scene.map_or(0, |index| index.value());
        let roots: Vec<usize> = match root.scenes.get(scene) {
            Some(scene) => scene.nodes.iter().map(|node| node.value()).collect(),
            None => {
                let mut roots = vec![true; root.nodes.len()];
                for child in root
                    .nodes
                    .iter()
                    .flat_map(|node| node.children.iter().flatten())
                {
                    if let Some(root) = roots.get_mut(child.value()) {
                        *root = false;
                    }
                }
                (0..roots.len()).filter(|i| roots[*i]).collect()
            }
        };
        let mut seen = vec![false; root.nodes.len()];
        let mut open: Vec<(usize, Affine3A)> = Vec::new();
        open.extend(
            roots
                .into_iter()
                .rev()
                .map(|node| (node, Affine3A::IDENTITY)),
        );
        while let Some((index, parent)) = open.pop() {
            let (Some(node), Some(seen)) = (root.nodes.get(index), seen.get_mut(index)) else {
                return Err(self.broken(format!("node {index} does not exist")));
            };
            if std::mem::replace(seen, true) {
                return Err(self.broken(format!("node {index} hangs in the tree twice")));
            }
            let world = parent * transform(node);
            if let Some(mesh) = node.mesh {
                if node.skin.is_some() {
                    self.load
                        .warn("a skin is ignored: the mesh stands as it was modelled".into());
                }
                self.mesh(mesh.value(), world)?;
            }
            let children = node.children.iter().flatten().rev();
            open.extend(children.map(|child| (child.value(), world)));
        }
        Ok(())
    }

    fn mesh(&mut self, index: usize, world: Affine3A) -> Result<(), MeshFileError> {
        let mesh = self.data.root.meshes.get(index);
        let mesh = mesh.ok_or_else(|| self.broken(format!("mesh {index} does not exist")))?;
        for (i, primitive) in mesh.primitives.iter().enumerate() {
            match primitive.mode {
                Checked::Valid(
                    mode @ (Mode::Triangles | Mode::TriangleStrip | Mode::TriangleFan),
                ) => self
                    .primitive(primitive, mode, world)
                    .map_err(|e| match e {
                        Refusal::Reason(reason) => {
                            self.broken(format!("primitive {i} of mesh {index}: {reason}"))
                        }
                        Refusal::Limit(e) => e,
                    })?,
                Checked::Valid(_) => self.load.warn("points and lines are left out".into()),
                Checked::Invalid => {
                    return Err(self.broken(format!("mesh {index} has an unknown mode")));
                }
            }
        }
        Ok(())
    }

    fn primitive(
        &mut self,
        primitive: &Primitive,
        mode: Mode,
        world: Affine3A,
    ) -> Result<(), Refusal> {
        let material = primitive.material.map(|index| index.value());
        let picture = self.texture_info(material);
        let mut corners = Corners::open(&self.data, primitive, picture.as_ref())?;
        let n_indices = corners.n_indices();
        let n_triangles = match mode {
            Mode::Triangles => n_indices / 3,
            _ => n_indices.saturating_sub(2),
        };
        self.load
            .check_faces(self.parts.faces.len().saturating_add(n_triangles))?;
        let material = self.material_number(material)?;
        let start = self.parts.verts.len();
        self.fill_up(&corners);
        for triangle in 0..n_triangles {
            let [a, b, c] = match mode {
                Mode::Triangles => [3 * triangle, 3 * triangle + 1, 3 * triangle + 2],
                Mode::TriangleStrip => [
                    triangle,
                    triangle + 1 + triangle % 2,
                    triangle + 2 - triangle % 2,
                ],
                _ => [0, triangle + 1, triangle + 2],
            };
            let face = [corners.vert(a)?, corners.vert(b)?, corners.vert(c)?];
            self.parts.faces.push(face.map(|i| start as u32 + i));
            self.load.check_verts(start + corners.used.len())?;
        }
        for index in std::mem::take(&mut corners.used) {
            self.vert(&corners, index as usize, world)?;
        }
        let first_face = self.parts.face_materials.len();
        if world.matrix3.determinant() < 0.0 {
            for face in &mut self.parts.faces[first_face..] {
                face.swap(1, 2);
            }
        }
        if corners.normals.is_none() && !self.parts.normals.is_empty() {
            self.smooth(start, first_face);
        }
        let n_faces = self.parts.faces.len();
        self.parts.face_materials.resize(n_faces, material);
        Ok(())
    }

    /// Gives the vertices so far what the next ones have and they have not.
    fn fill_up(&mut self, next: &Corners) {
        let n_verts = self.parts.verts.len();
        if next.uvs.is_some() {
            self.parts.uvs.resize(n_verts, [0.0; 2]);
        }
        if next.colors.is_some() {
            self.parts.colors.resize(n_verts, [1.0; 3]);
        }
        if next.normals.is_some() && self.parts.normals.len() < n_verts {
            self.smooth(0, 0);
        }
    }

    /// Normals for the vertices from `start` on, from the faces around them weighted by area.
    fn smooth(&mut self, start: usize, first_face: usize) {
        let parts = &mut self.parts;
        let mut sums = vec![Vec3::ZERO; parts.verts.len() - start];
        for face in &parts.faces[first_face..] {
            let [a, b, c] = face.map(|i| Vec3::from(parts.verts[i as usize]));
            for index in face {
                sums[*index as usize - start] += (b - a).cross(c - a);
            }
        }
        parts.normals.truncate(start);
        let unit = |sum: Vec3| -> [f32; 3] { sum.try_normalize().unwrap_or(Vec3::Y).into() };
        parts.normals.extend(sums.into_iter().map(unit));
    }

    fn vert(&mut self, corners: &Corners, index: usize, world: Affine3A) -> Result<(), Refusal> {
        let outside = || Refusal::Reason(format!("vertex {index} does not exist"));
        let place: [f32; 3] = corners.places.numbers(index, 0.0).ok_or_else(outside)?;
        let place = world.transform_point3(place.into());
        self.parts.verts.push(place.into());
        if let Some(normals) = &corners.normals {
            let normal: [f32; 3] = normals.numbers(index, 0.0).ok_or_else(outside)?;
            // Scaled axes tilt normals the other way.
            let [x, y, z] = [world.x_axis, world.y_axis, world.z_axis].map(Vec3::from);
            let cofactors = Mat3::from_cols(y.cross(z), z.cross(x), x.cross(y));
            let sign = if world.matrix3.determinant() < 0.0 {
                -1.0
            } else {
                1.0
            };
            let turned = (cofactors * Vec3::from(normal) * sign).try_normalize();
            self.parts.normals.push(turned.unwrap_or(Vec3::Y).into());
        }
        if !self.parts.uvs.is_empty() || corners.uvs.is_some() {
            let uv = match &corners.uvs {
                Some((uvs, change)) => change.of(uvs.numbers(index, 0.0).ok_or_else(outside)?),
                None => [0.0; 2],
            };
            self.parts.uvs.push(uv);
        }
        if !self.parts.colors.is_empty() || corners.colors.is_some() {
            let color: [f32; 3] = match &corners.colors {
                Some(colors) => colors.numbers(index, 1.0).ok_or_else(outside)?,
                None => [1.0; 3],
            };
            self.parts.colors.push(color.map(|c| c.clamp(0.0, 1.0)));
        }
        Ok(())
    }

    fn material_number(&mut self, material: Option<usize>) -> Result<u32, Refusal> {
        let next = self.materials.len() as u32;
        let number = *self.material_numbers.entry(material).or_insert(next);
        if number == next {
            self.load.check_materials(self.materials.len() + 1)?;
            self.materials.push(material);
        }
        Ok(number)
    }

    fn texture_info(&self, material: Option<usize>) -> Option<json::texture::Info> {
        let material = self.data.root.materials.get(material?)?;
        material.pbr_metallic_roughness.base_color_texture.clone()
    }

    fn materials(&mut self) {
        if self.materials.iter().all(Option::is_none) {
            self.parts.face_materials.clear();
            return;
        }
        for index in std::mem::take(&mut self.materials) {
            let material = self.material(index);
            self.parts.materials.push(material);
        }
    }

    fn material(&mut self, index: Option<usize>) -> Material {
        let root = self.data.root;
        let Some(material) = index.and_then(|index| root.materials.get(index)) else {
            if index.is_some() {
                self.load.warn("a missing material became white".into());
            }
            return Material::default();
        };
        let pbr = &material.pbr_metallic_roughness;
        let [r, g, b, alpha] = pbr.base_color_factor.0.map(|x| x.clamp(0.0, 1.0));
        let info = pbr.base_color_texture.as_ref();
        let cutoff = material.alpha_cutoff.map_or(0.5, |cutoff| cutoff.0);
        let (alpha, texture_alpha) = match material.alpha_mode {
            Checked::Valid(AlphaMode::Blend) => (alpha, Alpha::Kept),
            // With a texture it is the product that is cut.
            Checked::Valid(AlphaMode::Mask) if info.is_some() => {
                let byte = (cutoff / alpha.max(1e-6) * 255.0).ceil().clamp(0.0, 255.0);
                (1.0, Alpha::Cut(byte as u8))
            }
            Checked::Valid(AlphaMode::Mask) => {
                (if alpha < cutoff { 0.0 } else { 1.0 }, Alpha::Ignored)
            }
            _ => (1.0, Alpha::Ignored),
        };
        Material {
            name: material.name.clone().unwrap_or_default(),
            base_color: [r, g, b],
            alpha,
            texture: info.and_then(|info| self.texture(info.index.value(), texture_alpha)),
        }
    }

    /// A texture that cannot be read is a warning.
    fn texture(&mut self, index: usize, alpha: Alpha) -> Option<Arc<Rgba>> {
        if let Some(known) = self.textures.get(&(index, alpha)) {
            return known.clone();
        }
        let source = self.data.root.textures.get(index);
        let source = source.map_or(usize::MAX, |texture| texture.source.value());
        let texture = self
            .picture(source)
            .and_then(|picture| with_alpha(picture, alpha));
        let texture = texture
            .map_err(|e| self.load.warn(format!("texture {index} is left out: {e}")))
            .ok();
        self.textures.insert((index, alpha), texture.clone());
        texture
    }

    fn picture(&mut self, index: usize) -> Result<Rgba, String> {
        let image = self.data.root.images.get(index);
        let image = image.ok_or("its image does not exist or is of another extension")?;
        let title = format!("image {index}");
        let decoded = match (&image.uri, image.buffer_view) {
            (Some(uri), _) => {
                let bytes = uri::fetch(uri, self.load).map_err(|e| e.to_string())?;
                self.load.decode(&title, &bytes)
            }
            (None, Some(view)) => {
                let (bytes, _) = self.data.view(view.value())?;
                self.load.decode(&title, bytes)
            }
            (None, None) => return Err("its image has no content".into()),
        };
        decoded.map_err(|e| e.to_string())
    }
}

/// Why a primitive ends the reading.
enum Refusal {
    Reason(String),
    Limit(MeshFileError),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<MeshFileError> for Refusal {
    fn from(e: MeshFileError) -> Self {
        Self::Limit(e)
    }
}

fn transform(node: &json::Node) -> Affine3A {
    if let Some(matrix) = &node.matrix {
        return Affine3A::from_mat4(Mat4::from_cols_array(matrix));
    }
    let rotation = node.rotation.map_or([0.0, 0.0, 0.0, 1.0], |r| r.0);
    let rotation = glam::Vec4::from(rotation)
        .try_normalize()
        .map_or(Quat::IDENTITY, Quat::from_vec4);
    Affine3A::from_scale_rotation_translation(
        node.scale.unwrap_or([1.0; 3]).into(),
        rotation,
        node.translation.unwrap_or([0.0; 3]).into(),
    )
}

fn with_alpha(picture: Rgba, alpha: Alpha) -> Result<Arc<Rgba>, String> {
    let change = |byte: u8| match alpha {
        Alpha::Kept => byte,
        Alpha::Ignored => 255,
        Alpha::Cut(least) if byte >= least => 255,
        Alpha::Cut(_) => 0,
    };
    let (width, height) = (picture.width(), picture.height());
    let mut pixels = picture.rgba().to_vec();
    for pixel in pixels.chunks_exact_mut(4) {
        pixel[3] = change(pixel[3]);
    }
    let changed = Rgba::new(width, height, pixels).map_err(|e| e.to_string())?;
    Ok(Arc::new(changed))
}
