//! From a field to a closed mesh, and what may then be done to it: parts, topology, fewer faces, fewer bumps, colours, an
//! atlas for textures, distances.
//! Leaves out rendering, and the mending of broken meshes.

mod components;
mod decimate;
mod disjoint;
mod distance;
mod fair;
mod isosurface;
mod join;
mod lattice;
mod marching_cases;
mod nearest;
mod paint;
mod quadric;
#[cfg(test)]
mod shapes;
mod topology;
mod unwrap;
mod volume;

pub use components::{Component, components, without_dust};
pub use decimate::decimate;
pub use distance::{Chamfer, chamfer};
pub use fair::faired;
pub use isosurface::{Inside, isosurface};
pub use lattice::{Lattice, MAX_CELLS};
pub use nearest::NearestSurface;
pub use paint::{paint, spread_colors, vertex_normals};
pub use topology::Topology;
pub use unwrap::unwrap;
pub(crate) use unwrap::{GAP, texels_inside};
pub use volume::Volume;

use dreamsmith_base::MeshError;

/// Why there is no surface.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SurfaceError {
    /// A lattice that has no cells, too many, or no extent.
    #[error(
        "the lattice has {cells} cells a side between {low:?} and {high:?}: choose 1 to {MAX_CELLS} cells and finite \
         corners, the second beyond the first in x, y and z"
    )]
    Lattice {
        /// How many cells a side.
        cells: usize,
        /// The corner with the least coordinates.
        low: [f32; 3],
        /// The corner with the greatest coordinates.
        high: [f32; 3],
    },
    /// Another number of values than the lattice has points.
    #[error("the field has {found} values where the lattice has {expected} points")]
    Count {
        /// How many points the lattice has.
        expected: usize,
        /// How many values were given.
        found: usize,
    },
    /// NaN or infinity in the field, or as its level.
    #[error("{what} is {value}: it must be finite")]
    NotFinite {
        /// Which value.
        what: String,
        /// NaN or an infinity.
        value: f32,
    },
    /// The level is not crossed.
    #[error(
        "the field lies between {least} and {greatest}, so nothing is inside at the level {iso}: choose another level"
    )]
    Nothing {
        /// The level asked for.
        iso: f32,
        /// The least value of the field.
        least: f32,
        /// Its greatest value.
        greatest: f32,
    },
    /// All faces are lines or points.
    #[error("the mesh has {faces} faces but no area: there is no surface to measure")]
    NoArea {
        /// How many faces.
        faces: usize,
    },
    /// The parts do not make a mesh.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}
