//! A learner on disk: weights, moments and occupied cells as tensors of one file, which is trusted only by its hash.
//! Randomness needs no state: every draw is a function of (seed, step).

use std::collections::HashMap;
use std::path::Path;

use dreamsmith_base::{read_limited, write_atomic_bytes};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::learner::Learner;
use crate::model::Sampling;
use crate::reconstruct_error::ReconstructError;

const TENSORS: &str = "field.safetensors";
const OCCUPANCY: &str = "occupancy";
const MAX_TENSOR_BYTES: u64 = 1 << 34;

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
    let path = dir.join(TENSORS);
    let bytes = to_safetensors(tensors).map_err(|e| problem(&path, e))?;
    write_atomic_bytes(&path, &bytes)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Fills `learner` with what the folder `dir` holds of one of the same spec after `step` steps, if the file has this hash.
pub fn read_learner(
    dir: &Path,
    (step, hash): (u64, &str),
    learner: &mut Learner,
) -> Result<(), ReconstructError> {
    let path = dir.join(TENSORS);
    let bytes = read_limited(&path, MAX_TENSOR_BYTES)?;
    if blake3::hash(&bytes).to_hex().to_string() != hash {
        let words = "its content is not what was written; start again or take another checkpoint";
        return Err(problem(&path, words.into()));
    }
    let mut tensors = from_safetensors(&bytes).map_err(|words| problem(&path, words))?;
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

fn to_safetensors(tensors: Vec<(String, &[f32])>) -> Result<Vec<u8>, String> {
    let bytes: Vec<(String, usize, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, values)| {
            let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, values.len(), bytes)
        })
        .collect();
    let views: Result<Vec<_>, _> = bytes
        .iter()
        .map(|(name, n, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![*n], bytes)?)))
        .collect();
    let views = views.map_err(|e: safetensors::SafeTensorError| e.to_string())?;
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

fn from_safetensors(bytes: &[u8]) -> Result<HashMap<String, Vec<f32>>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("`{name}` is {:?}, expected F32", view.dtype()));
        }
        let words = view.data().as_chunks::<4>().0.iter();
        tensors.insert(
            name.to_string(),
            words.map(|b| f32::from_le_bytes(*b)).collect(),
        );
    }
    Ok(tensors)
}

fn problem(path: &Path, problem: String) -> ReconstructError {
    ReconstructError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
