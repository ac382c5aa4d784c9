//! What a radiance field computes for each sample, forward and back, on plain slices: encodings, a
//! small perceptron, volume rendering, and the step of a table's optimiser.
//! Leaves out where samples lie, and what a field makes of the numbers.

mod composite;
mod hash_grid;
mod mlp;
mod positional;
mod sparse_adam;
mod spherical_harmonics;

use thiserror::Error;

pub use composite::{accumulate, accumulate_backward, render_weights, render_weights_backward};
pub use hash_grid::{HashGrid, HashGridSpec};
pub use mlp::{Bias, Layer, Mlp, MlpSpec};
pub use positional::{Positional, PositionalSpec};
pub use sparse_adam::sparse_adam;
pub use spherical_harmonics::{N_HARMONICS, spherical_harmonics};

/// A number in a spec that no field can have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{key}` is {found}; expected {expected}")]
pub struct SpecError {
    key: &'static str,
    found: u64,
    expected: &'static str,
}

impl SpecError {
    fn unless(
        holds: bool,
        key: &'static str,
        found: impl TryInto<u64>,
        expected: &'static str,
    ) -> Result<(), Self> {
        let found = found.try_into().unwrap_or(u64::MAX);
        if holds {
            Ok(())
        } else {
            Err(Self {
                key,
                found,
                expected,
            })
        }
    }
}
