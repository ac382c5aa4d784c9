//! Where a mesh file and its neighbours (MTL, textures, buffers) lie: a folder, or a zip in memory.
//! Names stay inside, and nothing is unpacked beyond the limits.
//! Leaves out nested, encrypted and multi-part archives.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use super::{MeshFileError, MeshLimits};
use crate::file::{FileError, read_limited};

/// Files that may name each other.
#[derive(Clone)]
pub struct Files(Place);

#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Zip(Zipped),
}

#[derive(Clone)]
struct Zipped {
    path: PathBuf,
    archive: ZipArchive<Cursor<Arc<[u8]>>>,
    entries: Arc<HashMap<String, usize>>,
    lower_case: Arc<HashMap<String, usize>>,
}

impl Files {
    /// All that lies in and below a folder.
    pub fn folder(path: &Path) -> Self {
        Self(Place::Folder(path.to_path_buf()))
    }

    /// The files of a zip archive, which is read into memory but not unpacked.
    pub fn zip(path: &Path, limits: &MeshLimits) -> Result<Self, MeshFileError> {
        Self::zip_bytes(path, read_limited(path, limits.max_file_bytes)?)
    }

    /// [`Files::zip`] of bytes at hand; `path` is what errors call it.
    pub fn zip_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, MeshFileError> {
        let archive = ZipArchive::new(Cursor::new(Arc::from(bytes)))
            .map_err(|e| broken_zip(path, &e.to_string()))?;
        let mut entries = HashMap::new();
        let mut lower_case = HashMap::new();
        for index in 0..archive.len() {
            let Some(Ok(name)) = archive.name_for_index(index) else {
                continue;
            };
            if let Some(name) = inside("", &name).filter(|_| !name.ends_with('/')) {
                lower_case.insert(name.to_lowercase(), index);
                entries.insert(name, index);
            }
        }
        Ok(Self(Place::Zip(Zipped {
            path: path.to_path_buf(),
            archive,
            entries: Arc::new(entries),
            lower_case: Arc::new(lower_case),
        })))
    }

    /// The names in an archive, sorted; none for a folder.
    pub fn names(&self) -> Vec<&str> {
        let Place::Zip(zipped) = &self.0 else {
            return Vec::new();
        };
        let mut names: Vec<&str> = zipped.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// What errors call a file: its path, or `archive.zip!name`.
    pub fn title(&self, name: &str) -> String {
        match &self.0 {
            Place::Folder(path) => path.join(name).display().to_string(),
            Place::Zip(zipped) => format!("{}!{name}", zipped.path.display()),
        }
    }

    /// The bytes of a file of at most `max_bytes`. `name` has slashes; neither `..` nor a drive
    /// leads out. Where no file has exactly this name, another case of its letters will do.
    pub fn read(&self, name: &str, max_bytes: u64) -> Result<Vec<u8>, MeshFileError> {
        let missing = || MeshFileError::Missing {
            path: self.title(name).into(),
        };
        let inner = inside("", name).ok_or_else(missing)?;
        match &self.0 {
            Place::Folder(path) => {
                let found = in_folder(path, &inner).ok_or_else(missing)?;
                Ok(read_limited(&found, max_bytes)?)
            }
            Place::Zip(zipped) => {
                let exact = zipped.entries.get(&inner);
                let index = exact.or_else(|| zipped.lower_case.get(&inner.to_lowercase()));
                zipped.unpack(*index.ok_or_else(missing)?, name, max_bytes)
            }
        }
    }
}

impl Zipped {
    fn unpack(&self, index: usize, name: &str, max_bytes: u64) -> Result<Vec<u8>, MeshFileError> {
        let path = PathBuf::from(format!("{}!{name}", self.path.display()));
        let fail = |e: &dyn std::fmt::Display| broken_zip(&path, &e.to_string());
        let mut archive = self.archive.clone();
        let file = archive.by_index(index).map_err(|e| fail(&e))?;
        let mut bytes = Vec::new();
        // The size in the header may lie, so what comes out is counted.
        let claimed = file.size();
        if claimed <= max_bytes {
            file.take(max_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|e| fail(&e))?;
        }
        let found = claimed.max(bytes.len() as u64);
        match found > max_bytes {
            true => Err(MeshFileError::File(FileError::TooLarge {
                path,
                found,
                limit: max_bytes,
            })),
            false => Ok(bytes),
        }
    }
}

fn broken_zip(path: &Path, reason: &str) -> MeshFileError {
    MeshFileError::Broken {
        name: path.display().to_string(),
        format: "zip archive",
        reason: reason.into(),
    }
}

/// The place of `name` as a file in `folder` names it; none if it leads out of everything.
pub(super) fn inside(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    if name.starts_with(['/', '\\']) || name.contains(['\0', ':']) {
        return None;
    }
    for part in name.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The regular file of that name in the folder, or one whose name differs in case.
fn in_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    const MOST_NEIGHBOURS: usize = 2_000;
    let exact = folder.join(name);
    if exact.is_file() {
        return Some(exact);
    }
    let wanted = exact.file_name()?.to_str()?.to_lowercase();
    let neighbours = exact.parent()?.read_dir().ok()?.take(MOST_NEIGHBOURS);
    neighbours
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.to_lowercase() == wanted) && path.is_file()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(inside("a/b", "c.png").as_deref(), Some("a/b/c.png"));
        assert_eq!(inside("a/b", "..\\c.png").as_deref(), Some("a/c.png"));
        for name in [
            "../../../etc/passwd",
            "/etc/passwd",
            "C:\\x.png",
            "../..",
            "a\0b",
        ] {
            assert_eq!(inside("a/b", name), None, "{name}");
        }
    }
}
