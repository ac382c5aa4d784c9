//! Reads bytes as a mesh file inside an archive in memory, with limits that a fuzzer can reach.
//! Leaves out folders: nothing is read from the disk.

use std::io::{Cursor, Write};
use std::path::Path;

use dreamsmith_base::mesh_file::{Files, MeshLimits, read_mesh_from};

/// Reads the bytes as a file of that name, and then as the archive itself.
pub fn read(name: &str, bytes: &[u8]) {
    let limits = MeshLimits {
        max_file_bytes: 1 << 20,
        max_verts: 1 << 16,
        max_faces: 1 << 16,
        max_materials: 1 << 8,
        max_texture_pixels: 1 << 16,
    };
    let path = Path::new("fuzz.zip");
    for archive in [stored(name, bytes), Some(bytes.to_vec())] {
        let files = archive.map(|archive| Files::zip_bytes(path, archive));
        if let Some(Ok(files)) = files {
            let _ = read_mesh_from(&files, name, &limits);
        }
    }
}

fn stored(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    let options = options.compression_method(zip::CompressionMethod::Stored);
    zip.start_file(name, options).ok()?;
    zip.write_all(bytes).ok()?;
    Some(zip.finish().ok()?.into_inner())
}
