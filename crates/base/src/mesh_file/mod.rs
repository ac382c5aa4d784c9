//! Meshes in files: OBJ, glTF and PLY, told by their content and name, also inside zips.
//! Limits come before allocation; what can be done without is a warning, the rest an error.
//! Leaves out animation, skins, cameras and lights.

mod accessor;
mod corners;
mod files;
mod glb_out;
mod gltf;
mod load;
mod mtl;
mod obj;
mod obj_out;
mod ply;
mod ply_out;
mod polygon;
mod uri;

use std::path::{Path, PathBuf};

pub use files::Files;
use load::Load;

use crate::file::{FileError, write_atomic, write_atomic_bytes};
use crate::image::ImageError;
use crate::mesh::{Mesh, MeshError};

/// What a mesh file may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshLimits {
    /// Most bytes of one file, packed or unpacked, and of all files of a mesh together.
    pub max_file_bytes: u64,
    /// Most vertices.
    pub max_verts: usize,
    /// Most triangles.
    pub max_faces: usize,
    /// Most materials.
    pub max_materials: usize,
    /// Most pixels of all textures together.
    pub max_texture_pixels: u64,
}

impl Default for MeshLimits {
    /// 512 MiB, 8 million vertices and faces, 65536 materials, 128 million pixels.
    fn default() -> Self {
        Self {
            max_file_bytes: 1 << 29,
            max_verts: 1 << 23,
            max_faces: 1 << 23,
            max_materials: 1 << 16,
            max_texture_pixels: 1 << 27,
        }
    }
}

/// Why a mesh file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MeshFileError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file named by the mesh, or inside an archive, is not there.
    #[error("`{path}` does not exist, or lies outside of the mesh's folder or archive", path = path.display())]
    Missing {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// An archive without a mesh, or with several.
    #[error("`{archive}` holds {count} meshes where one is needed{examples}")]
    Choice {
        /// The archive.
        archive: String,
        /// How many meshes it holds.
        count: usize,
        /// How to name one of them.
        examples: String,
    },
    /// The content is of no known format.
    #[error(
        "`{name}` is not a mesh that can be read: expected OBJ, GLB, glTF, PLY or a zip of them"
    )]
    UnknownFormat {
        /// The file.
        name: String,
    },
    /// The name of a file to write has no known ending.
    #[error("`{path}` cannot be written: its name must end in .glb, .obj or .ply", path = path.display())]
    UnknownEnding {
        /// The file.
        path: PathBuf,
    },
    /// The format is known, the content is broken.
    #[error("`{name}` is a broken {format}: {reason}; export it again")]
    Broken {
        /// The file.
        name: String,
        /// OBJ, glTF, PLY or zip archive.
        format: &'static str,
        /// Where, what was expected, what was found.
        reason: String,
    },
    /// The file needs something that is not supported.
    #[error("`{name}` cannot be read: {reason}")]
    Unsupported {
        /// The file.
        name: String,
        /// What it needs.
        reason: String,
    },
    /// More than the limits allow.
    #[error("`{name}` has more than {limit} {what}: make it simpler")]
    TooMany {
        /// The file.
        name: String,
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The parts do not make a mesh.
    #[error("`{name}`: {source}")]
    Mesh {
        /// The file.
        name: String,
        /// Why not.
        source: MeshError,
    },
    /// A texture cannot be written.
    #[error(transparent)]
    Texture(#[from] ImageError),
}

/// A mesh as it was read.
#[derive(Clone, Debug)]
pub struct MeshFile {
    /// The mesh.
    pub mesh: Mesh,
    /// What was left out or guessed, for a person.
    pub warnings: Vec<String>,
}

/// The formats of meshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Obj,
    Gltf,
    Ply,
}

/// Reads a mesh file, the only mesh of a zip archive, or `archive.zip!folder/model.obj`.
pub fn read_mesh(path: &Path, limits: &MeshLimits) -> Result<MeshFile, MeshFileError> {
    if let Some((archive, name)) = in_archive(path) {
        return read_mesh_from(&Files::zip(&archive, limits)?, &name, limits);
    }
    let start = first_bytes(path)?;
    if start.starts_with(b"PK") {
        let files = Files::zip(path, limits)?;
        let name = only_mesh(path, &files)?;
        return read_mesh_from(&files, &name, limits);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => read_mesh_from(&Files::folder(folder), name, limits),
        None => Err(MeshFileError::Missing { path: path.into() }),
    }
}

/// Reads the mesh called `name` (with slashes) in a folder or archive.
pub fn read_mesh_from(
    files: &Files,
    name: &str,
    limits: &MeshLimits,
) -> Result<MeshFile, MeshFileError> {
    let mut load = Load::new(files, name, limits);
    let bytes = load.main_file()?;
    let parts = match format_of(name, &bytes) {
        Some(Format::Obj) => obj::read(&bytes, &mut load)?,
        Some(Format::Gltf) => gltf::read(&bytes, &mut load)?,
        Some(Format::Ply) => ply::read(&bytes, &mut load)?,
        None => return Err(MeshFileError::UnknownFormat { name: load.title() }),
    };
    let mesh = parts.build().map_err(|source| MeshFileError::Mesh {
        name: load.title(),
        source,
    })?;
    Ok(MeshFile {
        mesh,
        warnings: load.into_warnings(),
    })
}

/// Writes a mesh as its name's ending says, whole or not at all: `.glb`, `.ply`, or `.obj` with
/// its `.mtl` and PNGs of the same stem beside it.
pub fn write_mesh(path: &Path, mesh: &Mesh) -> Result<(), MeshFileError> {
    match ending(&path.to_string_lossy()).as_str() {
        "glb" => Ok(write_atomic_bytes(path, &glb_out::encode(path, mesh)?)?),
        "ply" => Ok(write_atomic(path, |w| ply_out::write(w, mesh))?),
        "obj" => obj_out::write(path, mesh),
        _ => Err(MeshFileError::UnknownEnding { path: path.into() }),
    }
}

fn format_of(name: &str, bytes: &[u8]) -> Option<Format> {
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    match ending(name).as_str() {
        _ if bytes.starts_with(b"glTF") => Some(Format::Gltf),
        _ if bytes.starts_with(b"ply\n") || bytes.starts_with(b"ply\r") => Some(Format::Ply),
        "gltf" | "glb" if first == Some(&b'{') => Some(Format::Gltf),
        "obj" => Some(Format::Obj),
        _ => None,
    }
}

/// What follows the last dot, in lower case.
fn ending(name: &str) -> String {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending.to_lowercase()
}

/// `archive.zip!folder/model.obj` in its two parts, if there is such an archive.
fn in_archive(path: &Path) -> Option<(PathBuf, String)> {
    let text = path.to_str()?;
    let (archive, name) = text.match_indices('!').find_map(|(at, _)| {
        let archive = Path::new(&text[..at]);
        archive.is_file().then_some((archive, &text[at + 1..]))
    })?;
    (!path.exists()).then(|| (archive.into(), name.into()))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let fail = |e| FileError::new("read", path, e);
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(4).read_to_end(&mut start).map_err(fail)?;
    Ok(start)
}

fn only_mesh(path: &Path, files: &Files) -> Result<String, MeshFileError> {
    let mut meshes = files.names();
    meshes.retain(|name| {
        ["obj", "glb", "gltf", "ply"].contains(&ending(name).as_str())
            && !name.starts_with("__MACOSX/")
    });
    match meshes.as_slice() {
        [name] => Ok(name.to_string()),
        meshes => Err(MeshFileError::Choice {
            archive: path.display().to_string(),
            count: meshes.len(),
            examples: match meshes.first() {
                Some(first) => format!(": name one, as in `{}!{first}`", path.display()),
                None => String::new(),
            },
        }),
    }
}
