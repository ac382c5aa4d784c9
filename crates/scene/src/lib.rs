//! Meshes and radiance fields: rendering, marching, surfaces. Knows nothing of diffusion.

pub mod raster;
