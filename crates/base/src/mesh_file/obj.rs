//! Wavefront OBJ in: v (with colours), vt, vn, f, usemtl and mtllib, in any order and any index style.
//! Vertex colours are taken as sRGB, like Kd. Broken lines are named by their number.
//! Leaves out curves, lines, points, groups and smoothing groups.

use std::borrow::Cow;
use std::collections::HashMap;

use glam::Vec3;

use super::load::Load;
use super::polygon::{Triangulator, newell};
use super::{MeshFileError, mtl};
use crate::color::srgb_to_linear;
use crate::mesh::{Material, MeshParts};

const NONE: u32 = u32::MAX;

/// The file's own tables, indices counted from 0.
#[derive(Default)]
struct Tables {
    verts: Vec<[f32; 3]>,
    /// White up to the last vertex that has one.
    colors: Vec<[f32; 3]>,
    uvs: Vec<[f32; 2]>,
    normals: Vec<[f32; 3]>,
    /// Vertex, uv and normal of every corner of every polygon.
    corners: Vec<[u32; 3]>,
    polygons: Vec<Polygon>,
    n_triangles: usize,
    materials: Vec<String>,
    libraries: Vec<String>,
}

struct Polygon {
    /// Where its corners end.
    end: usize,
    material: u32,
}

/// The mesh of an OBJ file, its materials and textures read through `load`.
pub(super) fn read(bytes: &[u8], load: &mut Load) -> Result<MeshParts, MeshFileError> {
    let text = decoded(bytes);
    let tables = parse(&text, load)?;
    drop(text);
    let mut parts = assemble(&tables, load)?;
    parts.materials = materials(&tables, load)?;
    Ok(parts)
}

/// The text behind a byte order mark of UTF-8 or UTF-16, or without one.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    let words =
        |from: fn([u8; 2]) -> u16| bytes[2..].as_chunks().0.iter().copied().map(from).collect();
    let words: Vec<u16> = match bytes {
        [0xfe, 0xff, ..] => words(u16::from_be_bytes),
        [0xff, 0xfe, ..] => words(u16::from_le_bytes),
        _ => return String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)),
    };
    Cow::Owned(String::from_utf16_lossy(&words))
}

fn parse(text: &str, load: &mut Load) -> Result<Tables, MeshFileError> {
    let mut tables = Tables::default();
    let mut numbers = HashMap::new();
    let mut material = NONE;
    let mut joined = String::new();
    for (number, line) in text.lines().enumerate() {
        let mut line = line.trim();
        if let Some(start) = line.strip_suffix('\\') {
            joined.push_str(start);
            joined.push(' ');
            continue;
        }
        if !joined.is_empty() {
            joined.push_str(line);
            line = &joined;
        }
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let done = match key {
            "v" => tables.vert(value, load)?,
            "vt" => tables.uv(value, load),
            "vn" => tables.normal(value),
            "f" => tables.polygon(value, material, load)?,
            "mtllib" => {
                let library = value.trim().to_owned();
                if !tables.libraries.contains(&library) && tables.libraries.len() < 64 {
                    tables.libraries.push(library);
                }
                Ok(())
            }
            "usemtl" => {
                let name = value.trim();
                let next = tables.materials.len() as u32;
                material = *numbers.entry(name.to_owned()).or_insert(next);
                if material == next {
                    load.check_materials(next as usize + 1)?;
                    tables.materials.push(name.to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        };
        done.map_err(|what| load.broken("OBJ", format!("line {} {what}", number + 1)))?;
        joined.clear();
    }
    Ok(tables)
}

/// What is wrong with a line, to follow its number; outside of it stands what ends the reading.
type Line = Result<(), String>;

/// The first `N` numbers of a line.
fn floats<const N: usize, T: std::str::FromStr + Copy + Default>(text: &str) -> Option<[T; N]> {
    let mut values = [T::default(); N];
    let mut words = text.split_whitespace();
    for value in &mut values {
        *value = words.next()?.parse().ok()?;
    }
    Some(values)
}

impl Tables {
    fn vert(&mut self, value: &str, load: &Load) -> Result<Line, MeshFileError> {
        load.check_verts(self.verts.len() + 1)?;
        let Some(vert) = floats::<3, f32>(value).filter(|v| v.iter().all(|x| x.is_finite())) else {
            return Ok(Err(format!(
                "needs three finite numbers after `v`, found `{}`",
                excerpt(value)
            )));
        };
        if let Some([_, _, _, color @ ..]) = floats::<6, f32>(value) {
            let color: [f32; 3] = color;
            self.colors.resize(self.verts.len(), [1.0; 3]);
            self.colors
                .push(color.map(|c| srgb_to_linear(c.clamp(0.0, 1.0))));
        }
        self.verts.push(vert);
        Ok(Ok(()))
    }

    fn uv(&mut self, value: &str, load: &mut Load) -> Line {
        let both = floats::<2, f64>(value).or_else(|| floats::<1, f64>(value).map(|[u]| [u, 0.0]));
        let [u, v] = match both {
            Some(uv) if uv.iter().all(|x| (*x as f32).is_finite()) => uv,
            Some(_) => {
                load.warn("texture coordinates that are not finite became 0".into());
                [0.0; 2]
            }
            None => {
                return Err(format!(
                    "needs numbers after `vt`, found `{}`",
                    excerpt(value)
                ));
            }
        };
        // Upwards there, downwards here.
        self.uvs.push([u as f32, (1.0 - v) as f32]);
        Ok(())
    }

    /// Normals without a direction stay zero and are replaced by the face's.
    fn normal(&mut self, value: &str) -> Line {
        let normal = floats::<3, f32>(value)
            .ok_or_else(|| format!("needs three numbers after `vn`, found `{}`", excerpt(value)))?;
        let normal = Vec3::from(normal).try_normalize().unwrap_or(Vec3::ZERO);
        self.normals.push(normal.into());
        Ok(())
    }

    fn polygon(
        &mut self,
        value: &str,
        material: u32,
        load: &mut Load,
    ) -> Result<Line, MeshFileError> {
        let start = self.corners.len();
        for word in value.split_whitespace() {
            match self.corner(word) {
                Some(corner) => self.corners.push(corner),
                None => {
                    return Ok(Err(format!(
                        "has a corner `{}` where vertex/uv/normal numbers are needed, from 1 up or from -1 down",
                        excerpt(word)
                    )));
                }
            }
        }
        let n_corners = self.corners.len() - start;
        if n_corners < 3 {
            self.corners.truncate(start);
            load.warn("faces with fewer than three corners are left out".into());
            return Ok(Ok(()));
        }
        self.n_triangles += n_corners - 2;
        load.check_faces(self.n_triangles)?;
        self.polygons.push(Polygon {
            end: self.corners.len(),
            material,
        });
        Ok(Ok(()))
    }

    /// `v`, `v/vt`, `v//vn` or `v/vt/vn`; negative numbers count back from the last line so far.
    fn corner(&self, word: &str) -> Option<[u32; 3]> {
        let mut corner = [NONE; 3];
        let lengths = [self.verts.len(), self.uvs.len(), self.normals.len()];
        for (i, number) in word.split('/').enumerate() {
            let (place, length) = (corner.get_mut(i)?, lengths[i]);
            if number.is_empty() && i > 0 {
                continue;
            }
            let number: i64 = number.parse().ok()?;
            let index = match number {
                0 => return None,
                1.. => number - 1,
                _ => length as i64 + number,
            };
            *place = u32::try_from(index).ok().filter(|i| *i != NONE)?;
        }
        Some(corner)
    }

    fn position(&self, corner: &[u32; 3]) -> Vec3 {
        self.verts[corner[0] as usize].into()
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// One vertex for each different corner.
fn assemble(tables: &Tables, load: &Load) -> Result<MeshParts, MeshFileError> {
    check_indices(tables, load)?;
    let mut normals = tables.normals.clone();
    let with_normals = tables.corners.iter().any(|c| c[2] != NONE);
    let with_uvs = tables.corners.iter().any(|c| c[1] != NONE);
    let mut parts = MeshParts::default();
    let mut known: HashMap<[u32; 3], u32> = HashMap::new();
    let mut triangulator = Triangulator::new();
    let (mut start, mut corners, mut places) = (0, Vec::new(), Vec::new());
    for polygon in &tables.polygons {
        corners.clear();
        corners.extend_from_slice(&tables.corners[start..polygon.end]);
        start = polygon.end;
        places.clear();
        places.extend(corners.iter().map(|c| tables.position(c)));
        let lacks_normal = |c: &[u32; 3]| c[2] == NONE || tables.normals[c[2] as usize] == [0.0; 3];
        if with_normals && corners.iter().any(lacks_normal) {
            for corner in corners.iter_mut().filter(|c| lacks_normal(c)) {
                corner[2] = normals.len() as u32;
            }
            normals.push(newell(&places).into());
        }
        let verts = corners.iter().map(|corner| {
            let next = known.len() as u32;
            let index = *known.entry(*corner).or_insert(next);
            if index == next {
                let [vert, uv, normal] = corner.map(|i| i as usize);
                parts.verts.push(tables.verts[vert]);
                if with_normals {
                    parts.normals.push(normals[normal]);
                }
                if with_uvs {
                    let uv = tables.uvs.get(uv).copied();
                    parts.uvs.push(uv.unwrap_or([0.0; 2]));
                }
                if !tables.colors.is_empty() {
                    let color = tables.colors.get(vert).copied();
                    parts.colors.push(color.unwrap_or([1.0; 3]));
                }
            }
            index
        });
        let verts: Vec<u32> = verts.collect();
        load.check_verts(parts.verts.len())?;
        let faces = &mut parts.faces;
        triangulator.cut(&places, |t| faces.push(t.map(|i| verts[i as usize])));
        parts
            .face_materials
            .resize(parts.faces.len(), polygon.material);
    }
    give_materials(tables, &mut parts);
    Ok(parts)
}

/// Faces before the first `usemtl` get the material after the last one, or all none.
fn give_materials(tables: &Tables, parts: &mut MeshParts) {
    if tables.materials.is_empty() {
        parts.face_materials.clear();
    }
    for material in &mut parts.face_materials {
        *material = (*material).min(tables.materials.len() as u32);
    }
}

fn check_indices(tables: &Tables, load: &Load) -> Result<(), MeshFileError> {
    let limits = [
        ("vertex", tables.verts.len()),
        ("texture coordinate", tables.uvs.len()),
        ("normal", tables.normals.len()),
    ];
    for (i, (what, length)) in limits.into_iter().enumerate() {
        let outside = |c: &[u32; 3]| c[i] != NONE && c[i] as usize >= length;
        if let Some(at) = tables.corners.iter().position(outside) {
            let face = tables.polygons.partition_point(|p| p.end <= at) + 1;
            let index = u64::from(tables.corners[at][i]) + 1;
            return Err(load.broken(
                "OBJ",
                format!("face {face} names {what} {index}, but there are only {length}"),
            ));
        }
    }
    Ok(())
}

/// The materials that faces name, in the order of `tables.materials`, and a plain one if some
/// faces name none.
fn materials(tables: &Tables, load: &mut Load) -> Result<Vec<Material>, MeshFileError> {
    if tables.materials.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries: HashMap<String, mtl::Entry> = HashMap::new();
    for name in &tables.libraries {
        for text in library(name, load) {
            for entry in mtl::parse(&text, load) {
                entries.entry(entry.name.clone()).or_insert(entry);
            }
        }
    }
    let mut materials = Vec::new();
    for name in &tables.materials {
        materials.push(match entries.get(name) {
            Some(entry) => entry.material(load),
            None => {
                load.warn(format!(
                    "material `{name}` is in no library: it became white"
                ));
                Material {
                    name: name.clone(),
                    ..Material::default()
                }
            }
        });
    }
    if tables.polygons.iter().any(|p| p.material == NONE) {
        materials.push(Material::default());
    }
    Ok(materials)
}

/// The text of a library, or of several whose names stand in one line.
fn library(name: &str, load: &mut Load) -> Vec<String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let whole = match load.neighbour(name) {
        Ok(bytes) => return vec![text(bytes)],
        Err(e) => e,
    };
    let several: Vec<String> = match name.contains(char::is_whitespace) {
        true => name
            .split_whitespace()
            .filter_map(|name| load.neighbour(name).ok().map(text))
            .collect(),
        false => Vec::new(),
    };
    if several.is_empty() {
        load.warn(format!("a material library is left out: {whole}"));
    }
    several
}
