//! From a radiance field to a coloured mesh: the surface where smoothed opacity crosses a level, without dust and
//! hidden hollows, with so many faces. The level is the one at which silhouettes and depths agree best with the field; what
//! is seen and thinner is added, and parts that hang together by a haze are joined.
//! Each vertex or texel has the colour that is seen from straight above; texels are then corrected by pictures.

use dreamsmith_base::color::{linear_to_srgb, srgb_to_linear};
use dreamsmith_base::{Camera, CameraError, Mesh, MeshError};
use glam::{Affine3A, Vec3};
use rayon::prelude::*;

use crate::agreement::{Agreement, Sights};
use crate::bake::{BakeError, Place, Texels};
use crate::model::{Model, Sampling};
use crate::raster::RasterError;
use crate::recolor::corrected;
use crate::surface::{
    Inside, Lattice, SurfaceError, Volume, decimate, faired, isosurface, paint, spread_colors,
    unwrap, vertex_normals, without_dust,
};

/// Points whose density is asked together.
const BLOCK: usize = 1 << 16;
/// What lies so many cells behind what is seen, from wherever one looks, is inside: the field has learnt nothing about it.
/// Smoothing reaches one cell.
const MARGIN: f32 = 2.0;
/// A surface has the colour that is seen of it from so many cells before it to as many behind it.
const REACH: f32 = 4.0;
/// The levels that are tried: from a haze to what hides nearly all behind one cell.
const LEVELS: [f32; 8] = [0.03, 0.06, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8];

/// How fine a mesh is, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtractSpec {
    /// Cells along an edge of the box.
    pub cells: usize,
    /// Where the surface lies.
    pub level: Level,
    /// Parts that enclose less than this share of what the largest encloses are dust.
    pub least_part: f64,
    /// Whether parts that hang together by a haze become one.
    pub joined: bool,
    /// Rounds in which small bumps are smoothed away.
    pub fairing: u32,
    /// The most faces.
    pub faces: usize,
    /// What carries the colours.
    pub paint: Paint,
}

/// What carries the colours of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Each vertex has one.
    Vertices,
    /// A square texture of so many texels along an edge.
    Texture(u32),
}

/// Where the surface of a field lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Where it agrees best with what the cameras see of the field, thin parts included.
    Agreeing,
    /// Where a way as long as a cell takes this share of the light.
    Opacity(f32),
}

impl Default for ExtractSpec {
    /// Dust is what has less than a tenth of the size of the largest part.
    fn default() -> Self {
        Self {
            cells: 160,
            level: Level::Agreeing,
            least_part: 1e-3,
            joined: false,
            fairing: 0,
            faces: 50_000,
            paint: Paint::Vertices,
        }
    }
}

/// The mesh of a field.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// In the world: closed, looking outwards, with normals and colours.
    pub mesh: Mesh,
    /// The share of light that a cell takes at the surface.
    pub level: f32,
    /// How well the field and the mesh agree.
    pub agreement: Agreement,
}

/// Why a field has no mesh.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExtractError {
    /// It is thin air.
    #[error(
        "the field is nowhere solid: the densest cell of the mesh takes {most:.3} of the light, and its surface would \
         be at {level}: learn longer"
    )]
    Thin {
        /// The greatest opacity of a cell.
        most: f32,
        /// The level that was asked for, or the lowest that was tried.
        level: f32,
    },
    /// It fills the box, or its surface cannot be made.
    #[error(transparent)]
    Surface(#[from] SurfaceError),
    /// It has no texture.
    #[error(transparent)]
    Bake(#[from] BakeError),
    /// A camera cannot be used for a smaller picture.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// The mesh cannot be drawn.
    #[error(transparent)]
    Raster(#[from] RasterError),
}

impl From<MeshError> for ExtractError {
    fn from(error: MeshError) -> Self {
        Self::Surface(error.into())
    }
}

/// The mesh of a field that was learnt from `cameras`.
pub fn extract(
    model: &Model,
    cameras: &[Camera],
    spec: &ExtractSpec,
) -> Result<Extracted, ExtractError> {
    let sights = Sights::new(model, cameras)?;
    let volume = opacities(model, Lattice::unit(spec.cells)?)?;
    let margin = MARGIN * volume.lattice().cell_size().x * model.cube.half_side;
    let is_hidden = |point| sights.hide(model.cube.to_world(point), margin);
    let most = volume
        .smoothed()
        .values()
        .iter()
        .copied()
        .fold(0.0, f32::max);
    let volume = volume.filled(is_hidden, 1.0);
    let smoothed = volume.smoothed();
    let (mut surface, level) = best_surface(model, (&smoothed, &sights), cameras, spec, most)?;
    let mut slopes = smoothed;
    let agreeing = spec.level == Level::Agreeing;
    if agreeing {
        let cube = &model.cube;
        let to_cube = |point: Vec3| (point - Vec3::from(cube.center)) / cube.half_side;
        let mesh = to_world(model, surface.clone());
        slopes = sights
            .completed((&volume, &slopes), &mesh, (to_cube, level))?
            .smoothed();
    }
    if spec.joined {
        slopes = slopes.joined(level, spec.least_part);
    }
    if agreeing || spec.joined {
        let at_level = ExtractSpec {
            level: Level::Opacity(level),
            ..*spec
        };
        (surface, _) = best_surface(model, (&slopes, &sights), cameras, &at_level, most)?;
    }
    let surface = decimate(faired(surface, spec.fairing)?, spec.faces)?;
    // The slopes of the volume have the bumps still.
    let normals: Vec<Vec3> = match spec.fairing {
        0 => {
            let outward = |vert: &[f32; 3]| -slopes.slope(Vec3::from(*vert));
            surface.verts().iter().map(outward).collect()
        }
        _ => vertex_normals(&surface)
            .into_iter()
            .map(Vec3::from)
            .collect(),
    };
    let mut parts = surface.into_parts();
    let normals = normals.into_iter();
    parts.normals = normals
        .map(|normal| normal.normalize_or(Vec3::Y).into())
        .collect();
    let reach = REACH * volume.lattice().cell_size().x;
    let mesh = paint(parts.build()?, |verts, normals| {
        colors(model, verts, normals, reach)
    })?;
    let mesh = to_world(model, mesh);
    // A field has no colours where nobody looked.
    let verts = mesh.verts().par_iter().zip(mesh.normals());
    let shown =
        verts.map(|(vert, normal)| sights.show((*vert).into(), (*normal).into(), 0.5 * margin));
    let shown = shown.collect();
    let mut mesh = spread_colors(mesh, shown)?;
    let agreement = sights.agreement(&mesh)?;
    if let Paint::Texture(side) = spec.paint {
        let texels = Texels::new(unwrap(mesh, side)?, side);
        let colors = texel_colors(model, (&sights, 0.5 * margin), reach, texels.places());
        mesh = corrected(&texels, colors, &sights)?;
    }
    Ok(Extracted {
        agreement,
        level,
        mesh,
    })
}

/// The surface in the box at the level of `spec`, and this level; the field is nowhere more opaque than `most`.
fn best_surface(
    model: &Model,
    (volume, sights): (&Volume, &Sights),
    cameras: &[Camera],
    spec: &ExtractSpec,
    most: f32,
) -> Result<(Mesh, f32), ExtractError> {
    let levels = match &spec.level {
        Level::Agreeing => LEVELS.as_slice(),
        Level::Opacity(level) => std::slice::from_ref(level),
    };
    let cube = &model.cube;
    let in_box = |camera: &Camera| (camera.position() - Vec3::from(cube.center)) / cube.half_side;
    let windows: Vec<Vec3> = cameras.iter().map(in_box).collect();
    let mut best: Option<(Mesh, f32, f64)> = None;
    for level in levels.iter().copied().filter(|level| *level < most) {
        let solid = volume.without_hollows(level, &windows, 1.0);
        let surface = isosurface(solid.lattice(), solid.values(), level, Inside::Above)?;
        let surface = without_dust(surface, spec.least_part)?;
        let agreement = sights.agreement(&to_world(model, surface.clone()))?;
        if best
            .as_ref()
            .is_none_or(|(_, _, fault)| agreement.fault < *fault)
        {
            best = Some((surface, level, agreement.fault));
        }
    }
    let least = levels.iter().copied().fold(1.0, f32::min);
    let (surface, level, _) = best.ok_or(ExtractError::Thin { most, level: least })?;
    Ok((surface, level))
}

/// The field's colours of places of the world where it has any, elsewhere those between the vertices; sRGB.
fn texel_colors(
    model: &Model,
    (sights, margin): (&Sights, f32),
    reach: f32,
    places: &[Place],
) -> Vec<[f32; 3]> {
    let cube = &model.cube;
    let in_box = |place: &Place| (place.point - Vec3::from(cube.center)) / cube.half_side;
    let points: Vec<[f32; 3]> = places.iter().map(|place| in_box(place).into()).collect();
    let dirs: Vec<[f32; 3]> = places.iter().map(|place| (-place.normal).into()).collect();
    let blocks = points.chunks(BLOCK).zip(dirs.chunks(BLOCK));
    let own = blocks.flat_map(|(points, dirs)| model.colors(points, dirs, reach));
    let own: Vec<f32> = own.collect();
    let colors = places.par_iter().zip(own.par_chunks_exact(3));
    let color =
        |(place, own): (&Place, &[f32])| match sights.show(place.point, place.normal, margin) {
            true => [own[0], own[1], own[2]],
            false => place.color.to_array().map(linear_to_srgb),
        };
    colors.map(color).collect()
}

fn to_world(model: &Model, mesh: Mesh) -> Mesh {
    let scale = Affine3A::from_scale(Vec3::splat(model.cube.half_side));
    let place = Affine3A::from_translation(model.cube.center.into());
    mesh.transformed(place * scale)
}

/// What share of light is lost on a way as long as a cell, at all points of the lattice: 1 - exp(-density length).
/// Other than the density it has a bound, so that a surface between two points lies where it should. Nothing where
/// the field was found empty while learning.
fn opacities(model: &Model, lattice: Lattice) -> Result<Volume, SurfaceError> {
    let there = |point: Vec3| match &model.sampling {
        Sampling::Occupied { grid, .. } => grid.is_occupied(grid.cell_of(point)),
        Sampling::Hierarchical { .. } => true,
    };
    let n_points = 0..lattice.n_points();
    let asked: Vec<usize> = n_points.filter(|i| there(lattice.point(*i))).collect();
    let length = lattice.cell_size().x;
    let mut values = vec![0.0; lattice.n_points()];
    for block in asked.chunks(BLOCK) {
        let points: Vec<[f32; 3]> = block.iter().map(|i| lattice.point(*i).into()).collect();
        for (i, density) in block.iter().zip(model.density(&points)) {
            values[*i] = 1.0 - (-density * length).exp();
        }
    }
    Volume::new(lattice, values)
}

/// Linear colours of vertices, seen against their normals.
fn colors(model: &Model, verts: &[[f32; 3]], normals: &[[f32; 3]], reach: f32) -> Vec<[f32; 3]> {
    let dirs: Vec<[f32; 3]> = normals.iter().map(|n| n.map(|x| -x)).collect();
    let srgb = model.colors(verts, &dirs, reach);
    let rows = srgb.as_chunks::<3>().0.iter();
    rows.map(|rgb| rgb.map(srgb_to_linear)).collect()
}
