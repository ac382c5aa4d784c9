//! The moments of an optimiser on disk, trusted only by their hash.

use std::path::Path;

use burn::optim::ModuleOptimizer;
use burn::tensor::Bytes;
use burn_pack::{Reader, Writer};
use dreamsmith_base::{read_limited, write_atomic_bytes};

use crate::optimizer::OptimizerSpec;
use crate::train_error::TrainError;

const MAX_BYTES: u64 = 1 << 36;

/// Writes the moments of `optimizer` to `path`; gives the BLAKE3 of the file in hexadecimal.
pub fn write_optimizer(path: &Path, optimizer: &ModuleOptimizer) -> Result<String, TrainError> {
    let cannot = |e: String| problem(path, format!("cannot write the optimiser: {e}"));
    let pack = optimizer.into_bytes().map_err(|e| cannot(e.to_string()))?;
    let pack = sorted(pack).map_err(|e| cannot(e.to_string()))?;
    write_atomic_bytes(path, &pack)?;
    Ok(blake3::hash(&pack).to_hex().to_string())
}

/// The optimiser of `spec` with the moments in the file `path`, if that has this hash.
pub fn read_optimizer(
    path: &Path,
    hash: &str,
    spec: &OptimizerSpec,
) -> Result<ModuleOptimizer, TrainError> {
    let bytes = read_limited(path, MAX_BYTES)?;
    if blake3::hash(&bytes).to_hex().to_string() != hash {
        let words = "its content is not what was written; start again from another checkpoint";
        return Err(problem(path, words.into()));
    }
    let optimizer = spec.build().from_bytes(Bytes::from_bytes_vec(bytes));
    optimizer.map_err(|e| problem(path, e.to_string()))
}

/// The same pack with its tensors in the order of their names: burn writes them in that of a hash map, so that
/// equal states would give unequal files.
fn sorted(pack: Bytes) -> Result<Bytes, burn_pack::Error> {
    let reader = Reader::from_bytes(pack)?;
    let (paths, scalars) = (reader.metadata().clone(), reader.scalars().clone());
    let mut tensors = reader.into_tensors()?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut writer = Writer::new(tensors);
    for (key, value) in scalars {
        writer = writer.with_scalar(&key, value);
    }
    for (key, value) in paths {
        writer = writer.with_metadata(&key, &value);
    }
    writer.into_bytes()
}

fn problem(path: &Path, problem: String) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
