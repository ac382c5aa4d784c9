//! From a dream to an object: a mesh that is written, read again, and held against the field's own pictures.

use std::path::Path;

use dreamsmith_base::{Camera, CameraError, Mesh, MeshLimits, read_mesh, write_mesh};
use dreamsmith_data::CameraRecord;
use dreamsmith_scene::agreement::Agreement;
use dreamsmith_scene::extract::{ExtractSpec, extract};
use dreamsmith_scene::metrics::psnr_of;
use dreamsmith_scene::model::Model;
use dreamsmith_scene::raster::{Light, Shading, Surface, render};
use dreamsmith_scene::render::{self, Extent};
use dreamsmith_scene::viewpoint::orbit;

use crate::error::LiftError;

/// Views that the mesh and its colours come from, and their pixels.
const LEARNT: (u32, u32) = (48, 128);
/// Views between these that tell how well mesh and field agree, and their pixels.
const HELD_OUT: (u32, u32) = (24, 96);
/// Degrees from one to the next: they never come to the same side.
const TURN: f32 = 137.508;
/// Degrees, from the lowest view to the highest.
const ELEVATIONS: [f32; 2] = [-10.0, 60.0];
const FOV: f32 = 40.0;
/// How much farther than needed to see all of a ball of radius 1.
const MARGIN: f32 = 1.075;

/// What was written, and how true it is.
#[derive(Clone, Debug)]
pub struct Exported {
    /// As it was read again.
    pub mesh: Mesh,
    /// The share of light that a cell takes at the surface.
    pub level: f32,
    /// Of silhouettes and depths.
    pub agreement: Agreement,
    /// Of its colours and the field's, where both are, in dB, as other cameras see them than those it was made with.
    pub psnr: f64,
}

/// A camera that has all of a ball of radius 1 in a square picture.
pub fn camera(azimuth: f32, elevation: f32, side: u32) -> Result<Camera, CameraError> {
    let record = CameraRecord {
        azimuth,
        elevation,
        distance: MARGIN / (FOV.to_radians() / 2.0).sin(),
        fov: FOV,
    };
    orbit(&record, side)
}

/// Writes the object of `model` to `path`, as its ending says: GLB, OBJ or PLY.
pub fn export(model: &Model, spec: &ExtractSpec, path: &Path) -> Result<Exported, LiftError> {
    let found = extract(model, &cameras(0.0, LEARNT)?, spec)?;
    write_mesh(path, &found.mesh)?;
    let mesh = read_mesh(path, &MeshLimits::default())?.mesh;
    Ok(Exported {
        psnr: psnr(model, &mesh, &cameras(0.5 * TURN, HELD_OUT)?)?,
        mesh,
        level: found.level,
        agreement: found.agreement,
    })
}

/// Cameras on a spiral upwards that begins at `azimuth`, in degrees: how many, and their pixels.
fn cameras(azimuth: f32, (n_views, side): (u32, u32)) -> Result<Vec<Camera>, CameraError> {
    let [low, high] = ELEVATIONS;
    let view = |i: u32| {
        let elevation = low + (high - low) * i as f32 / (n_views - 1) as f32;
        camera(azimuth + i as f32 * TURN, elevation, side)
    };
    (0..n_views).map(view).collect()
}

/// How alike the colours of field and mesh are, in pixels that both fill.
fn psnr(model: &Model, mesh: &Mesh, cameras: &[Camera]) -> Result<f64, LiftError> {
    let surface = Surface::new(mesh, Shading::default());
    let (mut sum, mut n) = (0.0, 0u32);
    for camera in cameras {
        let field = render::render(model, camera, Extent::Color);
        let drawn = render(&surface, camera, &Light::at(camera.position()))?;
        let drawn = drawn.picture(dreamsmith_scene::raster::Channel::Albedo)?;
        let pixels = drawn.rgba().chunks_exact(4).zip(&field.color);
        for ((rgba, color), opacity) in pixels.zip(&field.opacity) {
            if rgba[3] == 255 && *opacity > 0.99 {
                let errors = [0, 1, 2].map(|c| f64::from(rgba[c]) / 255.0 - f64::from(color[c]));
                sum += errors.iter().map(|e| e * e).sum::<f64>() / 3.0;
                n += 1;
            }
        }
    }
    Ok(psnr_of(sum / f64::from(n.max(1))))
}
