//! A training on disk: weights, their average, the optimiser, the step and the spec, in one folder
//! that is replaced whole. Randomness needs no state: every draw is a function of (seed, step).

use std::path::Path;

use burn::tensor::Device;
use dreamsmith_base::{AtomicDir, read_limited, write_atomic_bytes};
use dreamsmith_nets::{WeightType, load_weights, save_weights};
use serde::{Deserialize, Serialize};

use crate::optimizer_file::{read_optimizer, write_optimizer};
use crate::spec::TrainSpec;
use crate::train::TrainState;
use crate::train_error::TrainError;

const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const SPEC: &str = "spec.toml";
const WEIGHTS: &str = "weights.safetensors";
const AVERAGE: &str = "average.safetensors";
const OPTIMIZER: &str = "optimizer.bpk";
const MAX_TEXT_BYTES: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    format: u32,
    step: u64,
    pictures: usize,
    /// BLAKE3 of the optimiser's file, which is trusted only as written.
    optimizer_hash: String,
}

/// Writes `state` as the folder `dir`, replacing the one before.
pub fn save(
    dir: &Path,
    state: &TrainState,
    spec: &TrainSpec,
    pictures: usize,
) -> Result<(), TrainError> {
    let folder = AtomicDir::create(dir)?;
    let file = |name: &str| folder.path().join(name);
    save_weights(&state.weights, &file(WEIGHTS), WeightType::F32)?;
    save_weights(&state.average, &file(AVERAGE), WeightType::F32)?;
    for (i, track) in state.tracks.iter().enumerate() {
        save_weights(track, &file(&track_name(i)), WeightType::F32)?;
    }
    let optimizer_hash = write_optimizer(&file(OPTIMIZER), &state.optimizer)?;
    write_atomic_bytes(&file(SPEC), spec.to_toml()?.as_bytes())?;
    let text = serde_json::to_string_pretty(&StateFile {
        format: FORMAT,
        step: state.step,
        pictures,
        optimizer_hash,
    })
    .map_err(|e| problem(dir, e.to_string()))?;
    write_atomic_bytes(&file(STATE), text.as_bytes())?;
    folder.commit()?;
    Ok(())
}

/// The spec that the checkpoint `dir` was trained with.
pub fn read_spec(dir: &Path) -> Result<TrainSpec, TrainError> {
    if !dir.is_dir() {
        return Err(problem(
            dir,
            "there is no such folder; give the folder that `train` wrote".into(),
        ));
    }
    Ok(TrainSpec::read(&dir.join(SPEC))?)
}

/// Steps done and number of pictures of the checkpoint `dir`.
pub fn read_progress(dir: &Path) -> Result<(u64, usize), TrainError> {
    read_state(dir).map(|state| (state.step, state.pictures))
}

/// Reads the checkpoint `dir` back for a training of `spec` on `pictures` pictures.
pub fn load(
    dir: &Path,
    spec: &TrainSpec,
    pictures: usize,
    device: &Device,
) -> Result<TrainState, TrainError> {
    let state = read_state(dir)?;
    if state.pictures != pictures {
        return Err(problem(
            dir,
            format!(
                "it was trained on {} pictures, `{}` now holds {pictures}; resume with the same pictures",
                state.pictures,
                spec.data.dir.display()
            ),
        ));
    }
    let (path, hash) = (dir.join(OPTIMIZER), &state.optimizer_hash);
    let optimizer = read_optimizer(&path, hash, &spec.optimizer)?;
    let network = spec
        .model
        .init(spec.train.seed, device, spec.train.precision)?;
    let tracks = 0..spec.snapshots.sigma_rels().len();
    Ok(TrainState {
        step: state.step,
        weights: load_weights(network.clone(), &dir.join(WEIGHTS))?,
        average: load_weights(network.clone(), &dir.join(AVERAGE))?,
        tracks: tracks
            .map(|i| load_weights(network.clone(), &dir.join(track_name(i))))
            .collect::<Result<_, _>>()?,
        optimizer,
    })
}

fn track_name(track: usize) -> String {
    format!("track-{track}.safetensors")
}

fn read_state(dir: &Path) -> Result<StateFile, TrainError> {
    let path = dir.join(STATE);
    let bytes = read_limited(&path, MAX_TEXT_BYTES)?;
    let state: StateFile =
        serde_json::from_slice(&bytes).map_err(|e| problem(&path, e.to_string()))?;
    if state.format != FORMAT {
        return Err(problem(
            &path,
            format!(
                "format {}, expected {FORMAT}; it was written by another version",
                state.format
            ),
        ));
    }
    Ok(state)
}

fn problem(path: &Path, problem: String) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
