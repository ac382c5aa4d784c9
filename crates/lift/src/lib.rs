//! Text to 3D: a field is changed until pictures of it, from everywhere, are what a diffusion model expects of a text.
//! The only crate that knows both diffusion and scenes.

pub mod checkpoint;
pub mod distill;
pub mod dream;
pub mod error;
pub mod export;
pub mod prior;
mod regularize;
pub mod run;
pub mod sketch;
pub mod spec;
mod spec_check;
pub mod view;
