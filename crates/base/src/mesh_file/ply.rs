//! PLY in [Turk94]: ASCII and binary of both endiannesses; vertices with normals, colours (sRGB) and
//! uvs, polygons, and the texture that a comment of MeshLab names. Other elements are read over.
//! Leaves out triangle strips, edges, and texture coordinates of face corners.

use glam::Vec3;

use super::MeshFileError;
use super::load::Load;
use super::polygon::Triangulator;
use crate::color::srgb_to_linear;
use crate::mesh::{Material, MeshParts};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Ascii,
    Little,
    Big,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

struct Property {
    name: String,
    /// What counts the values, if it is a list.
    list: Option<Kind>,
    kind: Kind,
}

struct Element {
    name: String,
    count: u64,
    properties: Vec<Property>,
}

struct Header {
    encoding: Encoding,
    elements: Vec<Element>,
    texture: Option<String>,
}

/// The values after the header.
struct Values<'a> {
    rest: &'a [u8],
    encoding: Encoding,
}

/// The mesh of a PLY file.
pub(super) fn read(bytes: &[u8], load: &mut Load) -> Result<MeshParts, MeshFileError> {
    let (header, body) = header(bytes).map_err(|reason| load.broken("PLY", reason))?;
    let mut values = Values {
        rest: body,
        encoding: header.encoding,
    };
    let mut parts = MeshParts::default();
    for element in &header.elements {
        let count = usize::try_from(element.count).unwrap_or(usize::MAX);
        match element.name.as_str() {
            "vertex" => {
                load.check_verts(count)?;
                verts(element, &mut values, &mut parts)
                    .map_err(|reason| load.broken("PLY", reason))?;
            }
            "face" => {
                load.check_faces(count)?;
                faces(element, &mut values, &mut parts, load)?;
            }
            name => {
                if name == "tristrips" {
                    load.warn("triangle strips are left out".into());
                }
                skip(element, &mut values).map_err(|reason| load.broken("PLY", reason))?;
            }
        }
    }
    if let Some(name) = header.texture.filter(|_| !parts.uvs.is_empty()) {
        parts.materials.push(Material {
            texture: load.texture(&name),
            ..Material::default()
        });
    }
    Ok(parts)
}

fn header(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    const MOST_LINES: usize = 1000;
    let (mut encoding, mut texture) = (None, None);
    let mut elements: Vec<Element> = Vec::new();
    let mut rest = bytes;
    for _ in 0..MOST_LINES {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let end = end.ok_or("its header has no end")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let two = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(two)..];
        let words: Vec<&str> = line.split_whitespace().collect();
        let unknown = || format!("the header line `{}` makes no sense", line.trim());
        match words.as_slice() {
            ["ply"] | ["obj_info", ..] | [] => {}
            ["comment", "TextureFile", ..] => {
                let name = line.split_once("TextureFile").map(|(_, name)| name.trim());
                texture = name.map(str::to_owned);
            }
            ["comment", ..] => {}
            ["format", name, ..] => {
                encoding = Some(match *name {
                    "ascii" => Encoding::Ascii,
                    "binary_little_endian" => Encoding::Little,
                    "binary_big_endian" => Encoding::Big,
                    _ => return Err(unknown()),
                });
            }
            ["element", name, count] => elements.push(Element {
                name: name.to_string(),
                count: count.parse().map_err(|_| unknown())?,
                properties: Vec::new(),
            }),
            ["property", kinds @ .., name] => {
                let (list, kind) = match kinds {
                    ["list", list, kind] => (Some(Kind::of(list).ok_or_else(unknown)?), kind),
                    [kind] => (None, kind),
                    _ => return Err(unknown()),
                };
                let element = elements.last_mut().ok_or_else(unknown)?;
                element.properties.push(Property {
                    name: name.to_lowercase(),
                    list,
                    kind: Kind::of(kind).ok_or_else(unknown)?,
                });
            }
            ["end_header"] => {
                let encoding = encoding.ok_or("its header names no format")?;
                let header = Header {
                    encoding,
                    elements,
                    texture,
                };
                return Ok((header, rest));
            }
            _ => return Err(unknown()),
        }
    }
    Err(format!("its header has more than {MOST_LINES} lines"))
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "char" | "int8" => Self::I8,
            "uchar" | "uint8" => Self::U8,
            "short" | "int16" => Self::I16,
            "ushort" | "uint16" => Self::U16,
            "int" | "int32" => Self::I32,
            "uint" | "uint32" => Self::U32,
            "float" | "float32" => Self::F32,
            "double" | "float64" => Self::F64,
            _ => return None,
        })
    }

    /// Colours are whole bytes or words, or numbers up to 1.
    fn most(self) -> f32 {
        match self {
            Self::I8 | Self::U8 => 255.0,
            Self::I16 | Self::U16 => 65535.0,
            Self::I32 | Self::U32 => 255.0,
            Self::F32 | Self::F64 => 1.0,
        }
    }
}

impl Values<'_> {
    /// The next value: integers of 32 bits are exact.
    fn next(&mut self, kind: Kind) -> Option<f64> {
        match (self.encoding, kind) {
            (Encoding::Ascii, _) => self.word()?.parse().ok(),
            (_, Kind::I8) => self.take().map(|b| f64::from(i8::from_le_bytes(b))),
            (_, Kind::U8) => self.take().map(|b| f64::from(u8::from_le_bytes(b))),
            (_, Kind::I16) => self.take().map(|b| f64::from(i16::from_le_bytes(b))),
            (_, Kind::U16) => self.take().map(|b| f64::from(u16::from_le_bytes(b))),
            (_, Kind::I32) => self.take().map(|b| f64::from(i32::from_le_bytes(b))),
            (_, Kind::U32) => self.take().map(|b| f64::from(u32::from_le_bytes(b))),
            (_, Kind::F32) => self.take().map(|b| f64::from(f32::from_le_bytes(b))),
            (_, Kind::F64) => self.take().map(f64::from_le_bytes),
        }
    }

    fn word(&mut self) -> Option<&str> {
        let start = self.rest.iter().position(|b| !b.is_ascii_whitespace())?;
        let rest = &self.rest[start..];
        let end = rest.iter().position(u8::is_ascii_whitespace);
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.rest = rest;
        std::str::from_utf8(word).ok()
    }

    /// The next bytes, least first.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        let mut bytes = *bytes;
        if self.encoding == Encoding::Big {
            bytes.reverse();
        }
        self.rest = rest;
        Some(bytes)
    }

    /// All values of a property of one item.
    fn property(&mut self, property: &Property, mut each: impl FnMut(f64)) -> Option<()> {
        let count = match property.list {
            Some(kind) => self.next(kind)? as u64,
            None => 1,
        };
        for _ in 0..count {
            each(self.next(property.kind)?);
        }
        Some(())
    }
}

fn cut_off(element: &Element, item: u64) -> String {
    format!(
        "{} {item} of {} is cut off or no number",
        element.name, element.count
    )
}

fn skip(element: &Element, values: &mut Values) -> Result<(), String> {
    if element.properties.is_empty() {
        return Ok(());
    }
    for item in 0..element.count {
        for property in &element.properties {
            let read = values.property(property, |_| {});
            read.ok_or_else(|| cut_off(element, item))?;
        }
    }
    Ok(())
}

/// Where a vertex property goes: position, normal, uv, colour.
fn place(name: &str) -> Option<usize> {
    Some(match name {
        "x" => 0,
        "y" => 1,
        "z" => 2,
        "nx" => 3,
        "ny" => 4,
        "nz" => 5,
        "u" | "s" | "s0" | "texture_u" => 6,
        "v" | "t" | "t0" | "texture_v" => 7,
        "red" | "r" | "diffuse_red" => 8,
        "green" | "g" | "diffuse_green" => 9,
        "blue" | "b" | "diffuse_blue" => 10,
        _ => return None,
    })
}

fn verts(element: &Element, values: &mut Values, parts: &mut MeshParts) -> Result<(), String> {
    let places: Vec<Option<usize>> = element.properties.iter().map(|p| place(&p.name)).collect();
    let has = |range: std::ops::Range<usize>| {
        range.into_iter().all(|place| places.contains(&Some(place)))
    };
    if !has(0..3) {
        return Err("its vertices lack x, y or z".into());
    }
    let (with_normals, with_uvs, with_colors) = (has(3..6), has(6..8), has(8..11));
    for item in 0..element.count {
        let mut row = [0.0f32; 11];
        for (property, place) in element.properties.iter().zip(&places) {
            let scale = if place.is_some_and(|p| p >= 8) {
                property.kind.most()
            } else {
                1.0
            };
            let read = values.property(property, |value| {
                if let Some(place) = place {
                    row[*place] = value as f32 / scale;
                }
            });
            read.ok_or_else(|| cut_off(element, item))?;
        }
        let [x, y, z, nx, ny, nz, u, v, r, g, b] = row;
        parts.verts.push([x, y, z]);
        if with_normals {
            let normal = Vec3::new(nx, ny, nz).try_normalize();
            parts.normals.push(normal.unwrap_or(Vec3::Y).into());
        }
        if with_uvs {
            parts.uvs.push([u, 1.0 - v]);
        }
        if with_colors {
            let linear = |c: f32| srgb_to_linear(c.clamp(0.0, 1.0));
            parts.colors.push([r, g, b].map(linear));
        }
    }
    Ok(())
}

fn faces(
    element: &Element,
    values: &mut Values,
    parts: &mut MeshParts,
    load: &mut Load,
) -> Result<(), MeshFileError> {
    let is_corners =
        |p: &Property| p.list.is_some() && ["vertex_indices", "vertex_index"].contains(&&*p.name);
    if !element.properties.iter().any(is_corners) {
        return Err(load.broken("PLY", "its faces lack the list vertex_indices"));
    }
    if element.properties.iter().any(|p| p.name == "texcoord") {
        load.warn("texture coordinates of face corners are left out".into());
    }
    let n_verts = parts.verts.len();
    let mut triangulator = Triangulator::new();
    let (mut corners, mut places) = (Vec::new(), Vec::new());
    for item in 0..element.count {
        corners.clear();
        let mut outside = None;
        for property in &element.properties {
            let wanted = is_corners(property);
            let read = values.property(property, |value| {
                let index = value as u32;
                if !wanted || outside.is_some() {
                } else if f64::from(index) == value && (index as usize) < n_verts {
                    corners.push(index);
                } else {
                    outside = Some(value);
                }
            });
            read.ok_or_else(|| load.broken("PLY", cut_off(element, item)))?;
        }
        if let Some(value) = outside {
            let reason = format!("face {item} names vertex {value}, but there are only {n_verts}");
            return Err(load.broken("PLY", reason));
        }
        load.check_faces(parts.faces.len() + corners.len().saturating_sub(2))?;
        places.clear();
        places.extend(corners.iter().map(|i| Vec3::from(parts.verts[*i as usize])));
        let faces = &mut parts.faces;
        triangulator.cut(&places, |t| faces.push(t.map(|i| corners[i as usize])));
    }
    Ok(())
}
