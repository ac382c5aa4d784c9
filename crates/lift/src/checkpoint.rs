//! A dream on disk: what it has learnt, step and spec, in one folder that is replaced whole.

use std::path::Path;

use dreamsmith_base::{AtomicDir, read_limited, write_atomic_bytes};
use dreamsmith_scene::learner_file::{read_learner, write_learner};
use serde::{Deserialize, Serialize};

use crate::dream::Dream;
use crate::error::LiftError;
use crate::prior::Fingerprint;
use crate::sketch::Sketches;
use crate::spec::DreamSpec;

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
    /// How often the dream went back to a checkpoint.
    pub setbacks: u32,
    /// What judged it.
    prior: Fingerprint,
    /// BLAKE3 of the tensors.
    hash: String,
    /// The same of what learns what pictures there are, if anything does.
    #[serde(default)]
    follower: Option<String>,
    /// The same of the pictures of a sketch, while it lasts.
    #[serde(default)]
    sketches: Option<String>,
}

/// Writes `dream`, on which `seconds` were spent, as the folder `dir`, replacing the one before.
pub fn save(dir: &Path, dream: &Dream, seconds: f64) -> Result<(), LiftError> {
    let folder = AtomicDir::create(dir)?;
    let state = State {
        format: FORMAT,
        step: dream.steps_done(),
        seconds,
        setbacks: dream.setbacks(),
        prior: dream.prior().fingerprint().clone(),
        hash: write_learner(folder.path(), dream.learner())?,
        follower: match dream.prior().follower() {
            Some(follower) => Some(follower.save(folder.path())?),
            None => None,
        },
        sketches: dream.prior().sketches().save(folder.path())?,
    };
    let text = serde_json::to_string_pretty(&state).map_err(|e| problem(dir, e.to_string()))?;
    let write =
        |name: &str, text: &str| write_atomic_bytes(&folder.path().join(name), text.as_bytes());
    write(SPEC, &dream.spec().to_toml()?)?;
    write(STATE, &text)?;
    Ok(folder.commit()?)
}

/// The spec that the checkpoint `dir` was made from.
pub fn read_spec(dir: &Path) -> Result<DreamSpec, LiftError> {
    if !dir.is_dir() {
        let words = "there is no such folder; give the folder that `dream` wrote";
        return Err(problem(dir, words.into()));
    }
    Ok(DreamSpec::read(&dir.join(SPEC))?)
}

/// Fills `dream`, which is of the same spec, with what the checkpoint `dir` holds.
pub fn load(dir: &Path, dream: &mut Dream) -> Result<State, LiftError> {
    let state = read_state(dir)?;
    if state.prior != *dream.prior().fingerprint() {
        let words = "another model judged it than the one that is there now; go on with the same";
        return Err(problem(dir, words.into()));
    }
    read_learner(dir, (state.step, &state.hash), dream.learner_mut())?;
    if let (Some(follower), Some(hash)) = (dream.prior_mut().follower_mut(), &state.follower) {
        follower.load(dir, hash)?;
    }
    let prior = dream.prior_mut();
    *prior.sketches_mut() = match &state.sketches {
        Some(hash) => Sketches::load(dir, hash, 3 * prior.side().pow(2) as usize)?,
        None => Sketches::default(),
    };
    dream.set_setbacks(state.setbacks);
    Ok(state)
}

/// Fills `dream` with what the dream of the checkpoint `dir` has learnt, perhaps of another text and from another model,
/// to begin anew with that.
pub fn begin_with(dir: &Path, dream: &mut Dream) -> Result<(), LiftError> {
    let state = read_state(dir)?;
    read_learner(dir, (0, &state.hash), dream.learner_mut())?;
    dream.learner_mut().forget_moments();
    Ok(())
}

fn read_state(dir: &Path) -> Result<State, LiftError> {
    let path = dir.join(STATE);
    let bytes = read_limited(&path, MAX_TEXT_BYTES)?;
    let state: State = serde_json::from_slice(&bytes).map_err(|e| problem(&path, e.to_string()))?;
    match state.format {
        FORMAT => Ok(state),
        found => {
            let words = format!("format {found}, expected {FORMAT}; another version wrote it");
            Err(problem(&path, words))
        }
    }
}

fn problem(path: &Path, problem: String) -> LiftError {
    LiftError::Checkpoint {
        path: path.to_path_buf(),
        problem,
    }
}
