//! Named values in one safetensors file, which is trusted only by its hash.

use std::collections::HashMap;
use std::path::Path;

use dreamsmith_base::{read_limited, write_atomic_bytes};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::reconstruct_error::ReconstructError;

const MAX_TENSOR_BYTES: u64 = 1 << 34;

/// Writes `tensors` to the file `path`; gives the BLAKE3 of it.
pub fn write_tensors(
    path: &Path,
    tensors: Vec<(String, &[f32])>,
) -> Result<String, ReconstructError> {
    let bytes = to_safetensors(tensors).map_err(|e| problem(path, e))?;
    write_atomic_bytes(path, &bytes)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// The tensors in the file `path`, if it has this hash.
pub fn read_tensors(
    path: &Path,
    hash: &str,
) -> Result<HashMap<String, Vec<f32>>, ReconstructError> {
    let bytes = read_limited(path, MAX_TENSOR_BYTES)?;
    if blake3::hash(&bytes).to_hex().to_string() != hash {
        let words = "its content is not what was written; start again or take another checkpoint";
        return Err(problem(path, words.into()));
    }
    from_safetensors(&bytes).map_err(|words| problem(path, words))
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

pub(crate) fn problem(path: &Path, problem: String) -> ReconstructError {
    ReconstructError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
