//! One reading of a mesh: the neighbours it asks for, what that may still cost, and the warnings.
//! Leaves out the formats themselves.

use std::collections::HashMap;
use std::sync::Arc;

use super::files::inside;
use super::{Files, MeshFileError, MeshLimits};
use crate::image::{ImageError, Rgba};
use crate::image_file::{ImageLimits, decode_image};

/// More are not worth reading, nor asking the disk for.
const MOST_WARNINGS: usize = 50;
const MOST_NEIGHBOURS: usize = 4096;

pub(super) struct Load<'a> {
    files: &'a Files,
    name: &'a str,
    pub(super) limits: &'a MeshLimits,
    bytes_left: u64,
    pixels_left: u64,
    neighbours_left: usize,
    textures: HashMap<String, Option<Arc<Rgba>>>,
    warnings: Vec<String>,
    unsaid: usize,
}

impl<'a> Load<'a> {
    pub(super) fn new(files: &'a Files, name: &'a str, limits: &'a MeshLimits) -> Self {
        Self {
            files,
            name,
            limits,
            bytes_left: limits.max_file_bytes,
            pixels_left: limits.max_texture_pixels,
            neighbours_left: MOST_NEIGHBOURS,
            textures: HashMap::new(),
            warnings: Vec::new(),
            unsaid: 0,
        }
    }

    /// What errors call the mesh's own file.
    pub(super) fn title(&self) -> String {
        self.files.title(self.name)
    }

    pub(super) fn broken(&self, format: &'static str, reason: impl Into<String>) -> MeshFileError {
        MeshFileError::Broken {
            name: self.title(),
            format,
            reason: reason.into(),
        }
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> MeshFileError {
        MeshFileError::Unsupported {
            name: self.title(),
            reason: reason.into(),
        }
    }

    /// Refuses more than `limit` of something.
    pub(super) fn check(
        &self,
        what: &'static str,
        found: usize,
        limit: usize,
    ) -> Result<(), MeshFileError> {
        match found > limit {
            true => Err(MeshFileError::TooMany {
                name: self.title(),
                what,
                limit,
            }),
            false => Ok(()),
        }
    }

    pub(super) fn check_verts(&self, found: usize) -> Result<(), MeshFileError> {
        self.check("vertices", found, self.limits.max_verts)
    }

    pub(super) fn check_faces(&self, found: usize) -> Result<(), MeshFileError> {
        self.check("faces", found, self.limits.max_faces)
    }

    pub(super) fn check_materials(&self, found: usize) -> Result<(), MeshFileError> {
        self.check("materials", found, self.limits.max_materials)
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.contains(&warning) {
            return;
        }
        match self.warnings.len() < MOST_WARNINGS {
            true => self.warnings.push(warning),
            false => self.unsaid += 1,
        }
    }

    pub(super) fn into_warnings(mut self) -> Vec<String> {
        if self.unsaid > 0 {
            self.warnings.push(format!("and {} more", self.unsaid));
        }
        self.warnings
    }

    pub(super) fn main_file(&mut self) -> Result<Vec<u8>, MeshFileError> {
        self.read(self.name.to_owned())
    }

    fn read(&mut self, name: String) -> Result<Vec<u8>, MeshFileError> {
        let bytes = self.files.read(&name, self.bytes_left)?;
        self.bytes_left -= bytes.len() as u64;
        Ok(bytes)
    }

    /// The folder of a file in `folder`, as seen from where the mesh's file lies.
    fn folder(&self) -> &'a str {
        self.name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The bytes of a file that the mesh names. Exporters like to write paths of their own
    /// machine: a file of that name beside the mesh is what they mean.
    pub(super) fn neighbour(&mut self, name: &str) -> Result<Vec<u8>, MeshFileError> {
        let Some(left) = self.neighbours_left.checked_sub(1) else {
            return Err(
                self.unsupported(format!("it names more than {MOST_NEIGHBOURS} other files"))
            );
        };
        self.neighbours_left = left;
        let folder = self.folder();
        let bare = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let named = inside(folder, name).map(|name| self.read(name));
        match named {
            Some(Err(MeshFileError::Missing { .. })) | None => match inside(folder, bare) {
                Some(bare) => self.read(bare),
                None => Err(MeshFileError::Missing { path: name.into() }),
            },
            Some(read) => read,
        }
    }

    /// A texture beside the mesh; one that cannot be read is a warning. Read once, however often
    /// it is asked for.
    pub(super) fn texture(&mut self, name: &str) -> Option<Arc<Rgba>> {
        if let Some(known) = self.textures.get(name) {
            return known.clone();
        }
        let texture = self.neighbour(name).and_then(|bytes| {
            let title = format!("`{name}`");
            Ok(Arc::new(self.decode(&title, &bytes)?))
        });
        let texture = texture
            .map_err(|e| self.warn(format!("a texture is left out: {e}")))
            .ok();
        self.textures.insert(name.to_owned(), texture.clone());
        texture
    }

    /// Decodes a picture against what is left of the limit on pixels.
    pub(super) fn decode(&mut self, title: &str, bytes: &[u8]) -> Result<Rgba, ImageError> {
        let limits = ImageLimits {
            max_pixels: self.pixels_left.min(ImageLimits::default().max_pixels),
            ..ImageLimits::default()
        };
        let picture = decode_image(title, bytes, &limits)?;
        self.pixels_left -= u64::from(picture.width()) * u64::from(picture.height());
        Ok(picture)
    }
}
