//! A learner on disk: weights, moments and occupied cells as tensors of one file, which is trusted only by its hash.
//! Randomness needs no state: every draw is a function of (seed, step).

use std::path::Path;

use crate::learner::Learner;
use crate::model::Sampling;
use crate::reconstruct_error::ReconstructError;
use crate::tensor_file::{problem, read_tensors, write_tensors};

const TENSORS: &str = "field.safetensors";
const OCCUPANCY: &str = "occupancy";

/// Writes `learner` into the folder `dir`; gives the BLAKE3 of the file.
pub fn write_learner(dir: &Path, learner: &Learner) -> Result<String, ReconstructError> {
    let model = &learner.model;
    let [first, second] = learner.moments();
    let mut tensors: Vec<(String, &[f32])> = vec![];
    for ((name, values), (m1, m2)) in model.weights().into_iter().zip(first.iter().zip(second)) {
        tensors.push((format!("moments.0.{name}"), m1));
        tensors.push((format!("moments.1.{name}"), m2));
        tensors.push((name, values));
    }
    if let Sampling::Occupied { grid, .. } = &model.sampling {
        tensors.push((OCCUPANCY.into(), grid.opacity()));
    }
    write_tensors(&dir.join(TENSORS), tensors)
}

/// Fills `learner` with what the folder `dir` holds of one of the same spec after `step` steps, if the file has this hash.
pub fn read_learner(
    dir: &Path,
    (step, hash): (u64, &str),
    learner: &mut Learner,
) -> Result<(), ReconstructError> {
    let path = dir.join(TENSORS);
    let mut tensors = read_tensors(&path, hash)?;
    let mut take = |name: &str, length: usize| match tensors.remove(name) {
        Some(values) if values.len() == length => Ok(values),
        Some(values) => {
            let found = values.len();
            let words = format!("`{name}` has {found} values, the spec wants {length}");
            Err(problem(&path, words))
        }
        None => Err(problem(&path, format!("`{name}` is missing"))),
    };
    let named = learner.model.weights().into_iter();
    let lengths: Vec<_> = named.map(|(name, values)| (name, values.len())).collect();
    learner.set_step(step);
    for (i, (name, length)) in lengths.iter().enumerate() {
        for (number, moments) in learner.moments_mut().iter_mut().enumerate() {
            moments[i] = take(&format!("moments.{number}.{name}"), *length)?;
        }
    }
    for (values, (name, length)) in learner.model.weights_mut().into_iter().zip(&lengths) {
        *values = take(name, *length)?;
    }
    if let Sampling::Occupied { grid, .. } = &mut learner.model.sampling {
        let opacity = take(OCCUPANCY, grid.opacity().len())?;
        *grid = grid.with_opacity(opacity);
    }
    Ok(())
}
