//! What can go wrong while training.

use std::path::PathBuf;

use dreamsmith_base::{FileError, ImageError};
use dreamsmith_data::DataError;
use dreamsmith_nets::NetError;

use crate::model::ModelError;
use crate::pipeline::DrawError;
use crate::spec::SpecError;
use crate::text::TextError;

/// Why a training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// NaN or infinity; the weights are as before the step.
    #[error(
        "step {step}: {place} is not finite (loss {loss}); the last checkpoint, if there is one, is kept: set a lower learning_rate.peak or train.clip in the spec (a run's is checkpoint/spec.toml), then start or resume"
    )]
    NotFinite {
        /// The step that failed, counted from 1.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The first parameter that is not finite.
        place: String,
    },
    /// Network and pictures do not fit.
    #[error("`{key}` is {found}, expected {expected}")]
    Unfit {
        /// The key of the spec.
        key: String,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A checkpoint that does not hold what it should.
    #[error("checkpoint `{path}`: {problem}")]
    Checkpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A thread pool could not be made.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The pictures are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network or its weights are wrong.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The captions cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Drawing pictures failed.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The model folder cannot be written.
    #[error(transparent)]
    Model(#[from] ModelError),
}
