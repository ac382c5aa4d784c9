//! Images, cameras and meshes, their files, seeds, random streams, atomic files. No tensors.

pub mod camera;
pub mod color;
pub mod file;
pub mod grid;
pub mod image;
pub mod image_file;
pub mod mesh;
pub mod mesh_file;
pub mod metrics_file;
mod resample;
pub mod seed;
pub mod torch_rng;
pub mod webp_animation;

pub use camera::{Camera, CameraError, Lens, Radians, Ray};
pub use file::{
    AtomicDir, FileError, create_folder, read_limited, remove_unfinished, write_atomic,
    write_atomic_bytes,
};
pub use grid::grid;
pub use image::{Image, ImageError, Rgba};
pub use image_file::{
    ImageLimits, decode_image, encode_rgba_png, read_image, read_png_text, write_gif, write_png,
    write_rgba_png,
};
pub use mesh::{Material, Mesh, MeshError, MeshParts};
pub use mesh_file::{MeshFile, MeshFileError, MeshLimits, read_mesh, write_mesh};
pub use metrics_file::MetricsFile;
pub use seed::{Purpose, Stream};
pub use torch_rng::TorchRng;
pub use webp_animation::write_webp;
