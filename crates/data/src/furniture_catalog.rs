//! The catalogs of Sweet Home 3D's furniture libraries: zip archives of OBJ models with a Java
//! properties file that names each one.
//! Leaves out all languages but English, and what only house plans need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dreamsmith_base::mesh_file::{Files, read_mesh_from};
use dreamsmith_base::{FileError, Mesh, MeshFileError, MeshLimits};
use glam::{Affine3A, Mat3};

use crate::error::Skip;

const CATALOG: &str = "PluginFurnitureCatalog.properties";
const ENDING: &str = "sh3f";
/// How deep below the given folder an archive may lie: `usr/share/sweethome3d/furniture` is four.
const SEARCH_DEPTH: u32 = 6;
const MAX_CATALOG_BYTES: u64 = 1 << 24;
/// Numbers of a catalog go up from 1; this many in a row may be missing.
const MOST_GAPS: u32 = 100;
const ROTATION_TOLERANCE: f32 = 1e-2;

/// Why there is no furniture.
#[derive(Debug, thiserror::Error)]
pub enum FurnitureError {
    /// No archives below the folder.
    #[error(
        "no furniture libraries (*.sh3f) in `{from}`: fetch them with `apt-get download sweethome3d-furniture`, unpack the .deb with `dpkg -x`, and give the folder that holds it"
    )]
    NoLibrary {
        /// Where they were looked for.
        from: PathBuf,
    },
    /// An archive without catalog, or one that cannot be read.
    #[error(transparent)]
    Library(#[from] MeshFileError),
    /// A folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A model and what its catalog says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The library, as in "Scopia".
    pub library: String,
    /// The number in its catalog.
    pub number: u32,
    /// As the catalog calls it.
    pub name: String,
    /// As in "Living room".
    pub category: String,
    /// Whom to thank.
    pub creator: String,
    /// What may be done with it.
    pub licence: String,
    /// The path of the OBJ in the archive.
    pub model: String,
    /// From the model to the world, where +Y is up and +Z is the front.
    pub rotation: Mat3,
    /// It belongs into a hole of a wall.
    pub is_door_or_window: bool,
}

/// A furniture archive with its catalog.
pub struct Library {
    files: Files,
    /// In the order of the catalog.
    pub pieces: Vec<Piece>,
    /// Entries that could not be understood.
    pub faults: Vec<Skip>,
}

/// Opens all furniture archives in a folder or below, in the order of their names.
pub fn open_libraries(from: &Path) -> Result<Vec<Library>, FurnitureError> {
    let mut archives = Vec::new();
    find_archives(from, SEARCH_DEPTH, &mut archives)
        .map_err(|e| FileError::new("read", from, e))?;
    if archives.is_empty() {
        return Err(FurnitureError::NoLibrary { from: from.into() });
    }
    archives.sort();
    archives.iter().map(|path| Library::open(path)).collect()
}

fn find_archives(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            find_archives(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|ending| ending == ENDING) {
            found.push(path);
        }
    }
    Ok(())
}

impl Library {
    fn open(path: &Path) -> Result<Self, FurnitureError> {
        let files = Files::zip(path, &MeshLimits::default())?;
        let bytes = files.read(CATALOG, MAX_CATALOG_BYTES)?;
        let stem = path.file_stem().unwrap_or_default();
        let (pieces, faults) = read_catalog(&stem.to_string_lossy(), &properties(&bytes));
        Ok(Self {
            files,
            pieces,
            faults,
        })
    }

    /// Reads a model, turned upright with its front towards +Z, in the ball of radius 1.
    pub fn read(&self, piece: &Piece) -> Result<Mesh, MeshFileError> {
        let name = piece.model.trim_start_matches('/');
        let read = read_mesh_from(&self.files, name, &MeshLimits::default())?;
        let turned = read.mesh.transformed(Affine3A::from_mat3(piece.rotation));
        Ok(turned.fitted(1.0))
    }
}

fn read_catalog(library: &str, entries: &BTreeMap<String, String>) -> (Vec<Piece>, Vec<Skip>) {
    let (mut pieces, mut faults) = (Vec::new(), Vec::new());
    let licence = entries.get("license").cloned().unwrap_or_default();
    let licence = licence.split_whitespace().collect::<Vec<_>>().join(" ");
    let (mut number, mut gaps) = (1, 0);
    while gaps < MOST_GAPS {
        let get = |key: &str| entries.get(&format!("{key}#{number}")).map(|v| v.trim());
        match (get("name"), get("model")) {
            (Some(name), Some(model)) => {
                gaps = 0;
                let turned = get("modelRotation").map_or(Some(Mat3::IDENTITY), rotation);
                if turned.is_none() {
                    faults.push(Skip {
                        what: format!("{library} {number}, {name}"),
                        reason: "its modelRotation is no rotation, so it was not turned".into(),
                    });
                }
                pieces.push(Piece {
                    library: library.into(),
                    number,
                    name: name.into(),
                    category: get("category").unwrap_or_default().into(),
                    creator: get("creator").unwrap_or_default().into(),
                    licence: licence.clone(),
                    model: model.into(),
                    rotation: turned.unwrap_or_default(),
                    is_door_or_window: get("doorOrWindow") == Some("true"),
                });
            }
            (None, None) => gaps += 1,
            _ => {
                gaps = 0;
                faults.push(Skip {
                    what: format!("{library} {number}"),
                    reason: "the catalog gives it a name or a model, but not both".into(),
                });
            }
        }
        number += 1;
    }
    (pieces, faults)
}

/// Nine numbers, row by row.
fn rotation(text: &str) -> Option<Mat3> {
    let numbers: Vec<f32> = text.split_whitespace().flat_map(str::parse).collect();
    let rows: [f32; 9] = numbers.try_into().ok()?;
    let matrix = Mat3::from_cols_array(&rows).transpose();
    let off = matrix * matrix.transpose() - Mat3::IDENTITY;
    let is_rotation = matrix.determinant() > 0.0
        && off
            .to_cols_array()
            .iter()
            .all(|x| x.abs() < ROTATION_TOLERANCE);
    is_rotation.then_some(matrix)
}

/// Java's properties: Latin-1 with `\uXXXX`, `key=value` or `key:value`, `\` at the end of a line
/// joins it with the next.
fn properties(bytes: &[u8]) -> BTreeMap<String, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut entries = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_string();
        if line.starts_with(['#', '!']) {
            continue;
        }
        while line.ends_with('\\') && !line.ends_with("\\\\") {
            line.pop();
            match lines.next() {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        if let Some((key, value)) = line.split_once(['=', ':']) {
            entries.insert(key.trim().to_string(), unescape(value.trim()));
        }
    }
    entries
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('u') => {
                let hex: String = rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A comment = nothing
license=Creative  Commons
name#1=Armchair
model#1=/a/armchair.obj
category#1=Office
creator#1=Absfrm
modelRotation#1=0 0 1 0 1 0 -1 0 0
name#3 = Bill 10\\u20ac
model#3: /b\\
   /bill.obj
doorOrWindow#3=true
modelRotation#3=1 0 0 0 1 0 0 0 0
name#4=Lost
";

    #[test]
    fn a_catalog_is_read() {
        let (pieces, faults) = read_catalog("Lib", &properties(TEXT.as_bytes()));
        assert_eq!(pieces.len(), 2);
        let armchair = &pieces[0];
        assert_eq!((armchair.number, &*armchair.name), (1, "Armchair"));
        assert_eq!(armchair.licence, "Creative Commons");
        // Row by row: x of the world is z of the model.
        assert_eq!(armchair.rotation * glam::Vec3::Z, glam::Vec3::X);
        assert_eq!(pieces[1].name, "Bill 10€");
        assert_eq!(pieces[1].model, "/b/bill.obj");
        assert!(pieces[1].is_door_or_window);
        assert_eq!(pieces[1].rotation, Mat3::IDENTITY);
        let whats: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(whats, ["Lib 3, Bill 10€", "Lib 4"]);
    }

    #[test]
    fn a_folder_without_libraries_says_what_to_fetch() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let missing = open_libraries(dir.path()).err().map(|e| e.to_string());
        assert!(missing.is_some_and(|words| words.contains("apt-get download")));
        fs::write(dir.path().join("a.sh3f"), "no zip")?;
        assert!(matches!(
            open_libraries(dir.path()),
            Err(FurnitureError::Library(_))
        ));
        Ok(())
    }
}
