//! Meshes and radiance fields: rendering, marching, surfaces. Knows nothing of diffusion.

pub mod agreement;
pub mod background;
pub mod bound;
pub mod checkpoint;
pub mod distortion;
pub mod extract;
pub mod field;
pub mod field_start;
pub mod hash_field;
pub mod hierarchical;
pub mod look;
pub mod march;
pub mod metrics;
pub mod model;
pub mod occupancy;
pub mod positional_field;
pub mod raster;
pub mod ray;
pub mod reconstruct;
pub mod reconstruct_error;
pub mod render;
pub mod run;
pub mod samples;
pub mod spec;
mod spec_check;
pub mod surface;
pub mod thinning;
