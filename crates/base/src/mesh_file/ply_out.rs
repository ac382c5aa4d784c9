//! PLY out: binary, little endian; vertices with normals, uvs and colours (8-bit sRGB), triangles.
//! Leaves out materials and textures.

use std::io::{self, Write};

use crate::color::linear_to_srgb;
use crate::mesh::Mesh;

pub(super) fn write(w: &mut dyn Write, mesh: &Mesh) -> io::Result<()> {
    let (n_verts, n_faces) = (mesh.verts().len(), mesh.faces().len());
    write!(
        w,
        "ply\nformat binary_little_endian 1.0\nelement vertex {n_verts}\n"
    )?;
    let columns: [(bool, &str, &[&str]); 4] = [
        (true, "float", &["x", "y", "z"]),
        (!mesh.normals().is_empty(), "float", &["nx", "ny", "nz"]),
        (!mesh.uvs().is_empty(), "float", &["s", "t"]),
        (
            !mesh.colors().is_empty(),
            "uchar",
            &["red", "green", "blue"],
        ),
    ];
    for (_, kind, names) in columns.iter().filter(|(there, ..)| *there) {
        for name in *names {
            writeln!(w, "property {kind} {name}")?;
        }
    }
    write!(
        w,
        "element face {n_faces}\nproperty list uchar int vertex_indices\nend_header\n"
    )?;
    for (i, vert) in mesh.verts().iter().enumerate() {
        write_floats(w, vert)?;
        if let Some(normal) = mesh.normals().get(i) {
            write_floats(w, normal)?;
        }
        if let Some([u, v]) = mesh.uvs().get(i) {
            write_floats(w, &[*u, 1.0 - v])?;
        }
        if let Some(color) = mesh.colors().get(i) {
            w.write_all(&color.map(|c| (linear_to_srgb(c) * 255.0).round() as u8))?;
        }
    }
    for face in mesh.faces() {
        w.write_all(&[3])?;
        for index in face {
            w.write_all(&index.to_le_bytes())?;
        }
    }
    Ok(())
}

fn write_floats(w: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    for value in values {
        w.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}
