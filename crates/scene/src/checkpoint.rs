//! A reconstruction on disk: what it has learnt (`learner_file`), step and spec, in one folder that is replaced whole.

use std::path::Path;

use dreamsmith_base::{AtomicDir, read_limited, write_atomic_bytes};
use dreamsmith_data::View;
use serde::{Deserialize, Serialize};

use crate::bound::SceneCube;
use crate::learner_file::{read_learner, write_learner};
use crate::reconstruct::Reconstruction;
use crate::reconstruct_error::ReconstructError;
use crate::spec::ReconstructSpec;

const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const SPEC: &str = "spec.toml";
const MAX_TEXT_BYTES: u64 = 1 << 20;

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
    let learner = reconstruction.learner();
    let hash = write_learner(folder.path(), learner)?;
    let state = State {
        format: FORMAT,
        step: reconstruction.steps_done(),
        seconds,
        cube: learner.model.cube,
        views: extent(reconstruction.views()),
        hash,
    };
    let text = serde_json::to_string_pretty(&state).map_err(|e| problem(dir, e.to_string()))?;
    let spec = reconstruction.spec().to_toml()?;
    let write = |name: &str, bytes: &[u8]| write_atomic_bytes(&folder.path().join(name), bytes);
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
    let mut reconstruction = Reconstruction::new(spec, views)?;
    let learner = reconstruction.learner_mut();
    read_learner(dir, (state.step, &state.hash), learner)?;
    learner.model.cube = state.cube;
    Ok((reconstruction, state))
}

/// How many views there are, and how many pixels they have together.
fn extent(views: &[View]) -> [u64; 2] {
    let pixels = |view: &View| u64::from(view.picture.width()) * u64::from(view.picture.height());
    [views.len() as u64, views.iter().map(pixels).sum()]
}

fn problem(path: &Path, problem: String) -> ReconstructError {
    ReconstructError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
