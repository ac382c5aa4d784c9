//! From a radiance field to a coloured mesh: the surface where its density crosses a level, its largest part, with so
//! many faces. Leaves out textures: each vertex has a colour, as seen from straight above.

use dreamsmith_base::Mesh;
use dreamsmith_base::color::srgb_to_linear;
use glam::{Affine3A, Vec3};

use crate::model::{Model, Sampling};
use crate::surface::{
    Inside, Lattice, SurfaceError, decimate, isosurface, largest_component, paint,
};

/// Points whose density is asked together.
const BLOCK: usize = 1 << 16;

/// How fine a mesh is, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtractSpec {
    /// Cells along an edge of the box.
    pub cells: usize,
    /// The density of the surface, per unit of length in the box.
    pub density: f32,
    /// The most faces.
    pub faces: usize,
}

impl Default for ExtractSpec {
    /// Where a fiftieth of the box's half side lets half of the light through.
    fn default() -> Self {
        Self {
            cells: 160,
            density: 35.0,
            faces: 50_000,
        }
    }
}

/// The mesh of a field, in the world.
pub fn extract(model: &Model, spec: &ExtractSpec) -> Result<Mesh, SurfaceError> {
    let lattice = Lattice::unit(spec.cells)?;
    let values = densities(model, &lattice);
    let surface = isosurface(&lattice, &values, spec.density, Inside::Above)?;
    let surface = decimate(largest_component(surface)?, spec.faces)?;
    let surface = paint(surface, |verts, normals| colors(model, verts, normals))?;
    let scale = Affine3A::from_scale(Vec3::splat(model.cube.half_side));
    let place = Affine3A::from_translation(model.cube.center.into());
    Ok(surface.transformed(place * scale))
}

/// The densities at all points of the lattice; none where the field was found empty while learning.
fn densities(model: &Model, lattice: &Lattice) -> Vec<f32> {
    let there = |point: Vec3| match &model.sampling {
        Sampling::Occupied { grid, .. } => grid.is_occupied(grid.cell_of(point)),
        Sampling::Hierarchical { .. } => true,
    };
    let n_points = 0..lattice.n_points();
    let asked: Vec<usize> = n_points.filter(|i| there(lattice.point(*i))).collect();
    let mut values = vec![0.0; lattice.n_points()];
    for block in asked.chunks(BLOCK) {
        let points: Vec<[f32; 3]> = block.iter().map(|i| lattice.point(*i).into()).collect();
        for (i, density) in block.iter().zip(model.density(&points)) {
            values[*i] = density;
        }
    }
    values
}

/// Linear colours of vertices, seen against their normals.
fn colors(model: &Model, verts: &[[f32; 3]], normals: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let towards = |normal: &[f32; 3]| {
        let dir = -Vec3::from(*normal);
        if dir == Vec3::ZERO {
            [0.0, 0.0, -1.0]
        } else {
            dir.into()
        }
    };
    let dirs: Vec<[f32; 3]> = normals.iter().map(towards).collect();
    let srgb = model.colors(verts, &dirs);
    let rows = srgb.as_chunks::<3>().0.iter();
    rows.map(|rgb| rgb.map(srgb_to_linear)).collect()
}
