//! A reconstruction on disk: weights, moments, occupancy, step and spec, in one folder that is replaced whole.
//! Randomness needs no state: every draw is a function of (seed, step).

use std::collections::HashMap;
use std::path::Path;

use dreamsmith_base::{AtomicDir, read_limited, write_atomic_bytes};
use dreamsmith_data::View;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::bound::SceneCube;
use crate::model::Sampling;
use crate::occupancy::Occupancy;
use crate::reconstruct::Reconstruction;
use crate::reconstruct_error::ReconstructError;
use crate::spec::{FieldSpec, ReconstructSpec};

const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const SPEC: &str = "spec.toml";
const TENSORS: &str = "field.safetensors";
const OCCUPANCY: &str = "occupancy";
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_TENSOR_BYTES: u64 = 1 << 34;

/// What is known besides the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// Steps done.
    pub step: u64,
    /// Time spent on them, all starts together.
    pub seconds: f64,
    /// The part of the world that the field fills.
    pub cube: SceneCube,
    /// How many views it learns from, and their pixels.
    views: [u64; 2],
    /// BLAKE3 of the tensors, which are trusted only as written.
    hash: String,
}

/// Writes `reconstruction`, on which `seconds` were spent, as the folder `dir`, replacing the one before.
pub fn save(
    dir: &Path,
    reconstruction: &Reconstruction,
    seconds: f64,
) -> Result<(), ReconstructError> {
    let folder = AtomicDir::create(dir)?;
    let model = reconstruction.model();
    let [first, second] = reconstruction.learner().moments();
    let mut tensors: Vec<(String, &[f32])> = vec![];
    for ((name, values), (m1, m2)) in model.weights().into_iter().zip(first.iter().zip(second)) {
        tensors.push((format!("moments.0.{name}"), m1));
        tensors.push((format!("moments.1.{name}"), m2));
        tensors.push((name, values));
    }
    if let Sampling::Occupied { grid, .. } = &model.sampling {
        tensors.push((OCCUPANCY.into(), grid.opacity()));
    }
    let bytes = to_safetensors(tensors).map_err(|e| problem(dir, e))?;
    let state = State {
        format: FORMAT,
        step: reconstruction.steps_done(),
        seconds,
        cube: model.cube,
        views: extent(reconstruction.views()),
        hash: blake3::hash(&bytes).to_hex().to_string(),
    };
    let text = serde_json::to_string_pretty(&state).map_err(|e| problem(dir, e.to_string()))?;
    let spec = reconstruction.spec().to_toml()?;
    let write = |name: &str, bytes: &[u8]| write_atomic_bytes(&folder.path().join(name), bytes);
    write(TENSORS, &bytes)?;
    write(SPEC, spec.as_bytes())?;
    write(STATE, text.as_bytes())?;
    Ok(folder.commit()?)
}

/// The spec that the checkpoint `dir` was made from.
pub fn read_spec(dir: &Path) -> Result<ReconstructSpec, ReconstructError> {
    if !dir.is_dir() {
        let words = "there is no such folder; give the folder that `reconstruct` wrote";
        return Err(problem(dir, words.into()));
    }
    Ok(ReconstructSpec::read(&dir.join(SPEC))?)
}

/// The reconstruction in the checkpoint `dir`, to go on with `views`, and what is known about it.
pub fn load(
    dir: &Path,
    spec: ReconstructSpec,
    views: Vec<View>,
) -> Result<(Reconstruction, State), ReconstructError> {
    let path = dir.join(STATE);
    let bytes = read_limited(&path, MAX_TEXT_BYTES)?;
    let state: State = serde_json::from_slice(&bytes).map_err(|e| problem(&path, e.to_string()))?;
    if state.format != FORMAT {
        let found = state.format;
        let words = format!("format {found}, expected {FORMAT}; another version wrote it");
        return Err(problem(&path, words));
    }
    let ([n_views, n_pixels], [now, pixels_now]) = (state.views, extent(&views));
    if state.views != [now, pixels_now] {
        return Err(problem(
            dir,
            format!(
                "it learnt from {n_views} views with {n_pixels} pixels, `{}` now holds {now} with {pixels_now}; resume with the same pictures",
                spec.data.dir.display()
            ),
        ));
    }
    let path = dir.join(TENSORS);
    let bytes = read_limited(&path, MAX_TENSOR_BYTES)?;
    if blake3::hash(&bytes).to_hex().to_string() != state.hash {
        let words = "its content is not what was written; start again or take another checkpoint";
        return Err(problem(&path, words.into()));
    }
    let mut tensors = from_safetensors(&bytes).map_err(|words| problem(&path, words))?;
    let mut take = |name: &str, length: usize| match tensors.remove(name) {
        Some(values) if values.len() == length => Ok(values),
        Some(values) => {
            let words = format!(
                "`{name}` has {} values, the spec wants {length}",
                values.len()
            );
            Err(problem(&path, words))
        }
        None => Err(problem(&path, format!("`{name}` is missing"))),
    };
    let field = spec.field.clone();
    let mut reconstruction = Reconstruction::new(spec, views)?;
    let named = reconstruction.model().weights().into_iter();
    let lengths: Vec<_> = named.map(|(name, values)| (name, values.len())).collect();
    let learner = reconstruction.learner_mut();
    learner.set_step(state.step);
    for (i, (name, length)) in lengths.iter().enumerate() {
        for (number, moments) in learner.moments_mut().iter_mut().enumerate() {
            moments[i] = take(&format!("moments.{number}.{name}"), *length)?;
        }
    }
    let model = &mut learner.model;
    model.cube = state.cube;
    for (values, (name, length)) in model.weights_mut().into_iter().zip(&lengths) {
        *values = take(name, *length)?;
    }
    if let (Sampling::Occupied { grid, .. }, FieldSpec::Hash(hash)) = (&mut model.sampling, &field)
    {
        let opacity = take(OCCUPANCY, grid.opacity().len())?;
        *grid = Occupancy::from_opacity(hash.occupancy, opacity);
    }
    Ok((reconstruction, state))
}

/// How many views there are, and how many pixels they have together.
fn extent(views: &[View]) -> [u64; 2] {
    let pixels = |view: &View| u64::from(view.picture.width()) * u64::from(view.picture.height());
    [views.len() as u64, views.iter().map(pixels).sum()]
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
