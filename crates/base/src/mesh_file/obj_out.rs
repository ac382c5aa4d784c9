//! Wavefront OBJ out, with its MTL and a PNG for each texture, named after the OBJ.
//! Numbers are written so that they come back to the bit; Kd and vertex colours as sRGB. A texture carries the colour of
//! its material in its pixels: readers do not agree on what Kd means beside one.
//! Leaves out groups. The OBJ comes last, so that what it names is there.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MeshFileError;
use crate::color::{linear_to_srgb, srgb_to_linear};
use crate::file::{write_atomic, write_atomic_bytes};
use crate::image::{ImageError, Rgba};
use crate::image_file::write_rgba_png;
use crate::mesh::Mesh;

pub(super) fn write(path: &Path, mesh: &Mesh) -> Result<(), MeshFileError> {
    let names = material_names(mesh);
    let library = path.with_extension("mtl");
    if !names.is_empty() {
        write_library(&library, &names, mesh)?;
    }
    Ok(write_atomic(path, |w| {
        if !names.is_empty() {
            writeln!(w, "mtllib {}", file_name(&library))?;
        }
        write_tables(w, mesh)?;
        write_faces(w, mesh, &names)
    })?)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into()
}

/// Names without spaces, each different.
fn material_names(mesh: &Mesh) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut taken = std::collections::HashSet::new();
    for (i, material) in mesh.materials().iter().enumerate() {
        let plain = |c: char| {
            if c.is_whitespace() || c.is_control() {
                '_'
            } else {
                c
            }
        };
        let mut name: String = material.name.chars().map(plain).collect();
        if name.is_empty() {
            name = format!("material_{i}");
        }
        while !taken.insert(name.clone()) {
            name = format!("{name}_{i}");
        }
        names.push(name);
    }
    names
}

fn write_library(path: &Path, names: &[String], mesh: &Mesh) -> Result<(), MeshFileError> {
    let mut text = String::new();
    let mut pictures: Vec<(Arc<Rgba>, [f32; 3], PathBuf)> = Vec::new();
    for (name, material) in names.iter().zip(mesh.materials()) {
        let tint = material.base_color;
        let [r, g, b] = match &material.texture {
            Some(_) => [1.0; 3],
            None => tint.map(linear_to_srgb),
        };
        let alpha = material.alpha;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "newmtl {name}\nKd {r} {g} {b}\nd {alpha}");
        let Some(texture) = &material.texture else {
            continue;
        };
        let is_known = |(p, t, _): &&(_, _, _)| Arc::ptr_eq(p, texture) && *t == tint;
        let picture = match pictures.iter().find(is_known) {
            Some((_, _, picture)) => picture.clone(),
            None => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let picture = path.with_file_name(format!("{stem}_{}.png", pictures.len()));
                write_rgba_png(&picture, &tinted(texture, tint)?)?;
                pictures.push((Arc::clone(texture), tint, picture.clone()));
                picture
            }
        };
        let _ = writeln!(text, "map_Kd {}", file_name(&picture));
        if texture.rgba().chunks_exact(4).any(|p| p[3] < 255) {
            let _ = writeln!(text, "map_d {}", file_name(&picture));
        }
    }
    Ok(write_atomic_bytes(path, text.as_bytes())?)
}

/// The texture under glass of a linear colour.
fn tinted(texture: &Rgba, tint: [f32; 3]) -> Result<Rgba, ImageError> {
    let mut pixels = texture.rgba().to_vec();
    if tint != [1.0; 3] {
        for (i, byte) in pixels.iter_mut().enumerate().filter(|(i, _)| i % 4 < 3) {
            let light = srgb_to_linear(f32::from(*byte) / 255.0) * tint[i % 4];
            *byte = (255.0 * linear_to_srgb(light)).round() as u8;
        }
    }
    Rgba::new(texture.width(), texture.height(), pixels)
}

fn write_tables(w: &mut dyn io::Write, mesh: &Mesh) -> io::Result<()> {
    for (i, [x, y, z]) in mesh.verts().iter().enumerate() {
        write!(w, "v {x} {y} {z}")?;
        if let Some(color) = mesh.colors().get(i) {
            let [r, g, b] = color.map(linear_to_srgb);
            write!(w, " {r} {g} {b}")?;
        }
        writeln!(w)?;
    }
    for [u, v] in mesh.uvs() {
        // In f64, so that reading it back gives the same f32.
        writeln!(w, "vt {u} {}", 1.0 - f64::from(*v))?;
    }
    for [x, y, z] in mesh.normals() {
        writeln!(w, "vn {x} {y} {z}")?;
    }
    Ok(())
}

fn write_faces(w: &mut dyn io::Write, mesh: &Mesh, names: &[String]) -> io::Result<()> {
    let mut current = None;
    for (face, verts) in mesh.faces().iter().enumerate() {
        let material = mesh.material_of(face);
        if material != current {
            if let Some(name) = material.and_then(|i| names.get(i)) {
                writeln!(w, "usemtl {name}")?;
            }
            current = material;
        }
        write!(w, "f")?;
        for i in verts.map(|i| i + 1) {
            match (mesh.uvs().is_empty(), mesh.normals().is_empty()) {
                (true, true) => write!(w, " {i}"),
                (false, true) => write!(w, " {i}/{i}"),
                (true, false) => write!(w, " {i}//{i}"),
                (false, false) => write!(w, " {i}/{i}/{i}"),
            }?;
        }
        writeln!(w)?;
    }
    Ok(())
}
