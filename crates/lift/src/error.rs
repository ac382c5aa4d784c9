//! What can go wrong in a dream, in words that say what to do.

use std::path::PathBuf;

use dreamsmith_base::{CameraError, FileError, ImageError, MeshFileError};
use dreamsmith_diffusion::guidance::GuidanceError;
use dreamsmith_diffusion::levels::LevelsError;
use dreamsmith_diffusion::model::ModelError;
use dreamsmith_diffusion::sampler::SampleError;
use dreamsmith_diffusion::text::TextError;
use dreamsmith_diffusion::train_error::TrainError;
use dreamsmith_scene::extract::ExtractError;
use dreamsmith_scene::raster::RasterError;
use dreamsmith_scene::reconstruct_error::{ReconstructError, SpecError};

/// Why a dream cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    /// A model of something else.
    #[error("the model reads no text; dream with one that does, such as specs/base-32.toml trains")]
    NoText,
    /// NaN or infinity, again and again.
    #[error(
        "step {step}: {place} is not finite, even after going back {times} times: set a lower optimizer.peak in the spec"
    )]
    NotFinite {
        /// The step that failed, counted from 1.
        step: u64,
        /// What is not finite.
        place: &'static str,
        /// How often it went back.
        times: u32,
    },
    /// A checkpoint that does not hold what it should.
    #[error("`{path}`: {problem}")]
    Checkpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What was learnt cannot be read or written.
    #[error(transparent)]
    Learner(#[from] ReconstructError),
    /// The copy of the model cannot be read or written.
    #[error(transparent)]
    Follower(#[from] TrainError),
    /// The field has no mesh.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The mesh cannot be written or read.
    #[error(transparent)]
    Mesh(#[from] MeshFileError),
    /// The mesh cannot be drawn.
    #[error(transparent)]
    Raster(#[from] RasterError),
    /// The text cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The guidance cannot be.
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    /// The model's levels are too close for so many steps of a sketch.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// A picture of a sketch cannot be drawn.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// There is no such view.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be made or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}
