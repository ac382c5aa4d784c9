//! What can go wrong in a reconstruction, in words that say what to do.

use std::path::PathBuf;

use dreamsmith_base::{FileError, ImageError};

/// A spec that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is no spec.
    #[error("`{name}`: {message}")]
    Toml {
        /// The file.
        name: String,
        /// The line, and what the parser said.
        message: String,
    },
    /// A value out of range.
    #[error("`{key}` is {found}, expected {expected}")]
    Range {
        /// The key, as `march.step`.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A size that no field can have.
    #[error("the field cannot be: {0}")]
    Field(#[from] dreamsmith_kernels::field::SpecError),
}

/// Why a reconstruction cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ReconstructError {
    /// NaN or infinity; the last checkpoint is kept.
    #[error(
        "step {step}: {place} is not finite; the last checkpoint, if there is one, is kept: set a lower optimizer.peak in the spec"
    )]
    NotFinite {
        /// The step that failed, counted from 1.
        step: u64,
        /// What is not finite.
        place: &'static str,
    },
    /// Nothing to learn from.
    #[error("there are no views to learn from; expected at least one")]
    NoViews,
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
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A picture cannot be made or written.
    #[error(transparent)]
    Image(#[from] ImageError),
}
