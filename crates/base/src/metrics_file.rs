//! What a run tells of itself: lines of JSON, each with the `step` it was written after, appended as the run goes on.
//! Leaves out what else a line says.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file::{FileError, read_limited, write_atomic_bytes};

/// Metrics are lines of some 200 bytes; a run of a billion steps is not expected.
const MAX_BYTES: u64 = 1 << 32;

/// The file, open for appending.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

/// What every line has.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

impl MetricsFile {
    /// The file at `path` without the lines after `step`, which a killed run may have left; a new one if there is none.
    pub fn open(path: &Path, step: u64) -> Result<Self, FileError> {
        // As they were written: a number that is read and written again may end in another digit.
        write_atomic_bytes(path, &Self::lines(path, step)?.concat())?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self {
            path: path.to_path_buf(),
            file: file.map_err(|e| FileError::new("open", path, e))?,
        })
    }

    /// The lines of the file at `path` up to `step`; none if there is no file.
    pub fn lines(path: &Path, step: u64) -> Result<Vec<Vec<u8>>, FileError> {
        if !path.exists() {
            return Ok(vec![]);
        }
        let bytes = read_limited(path, MAX_BYTES)?;
        // The last line may be cut off where a run was killed.
        let kept = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| {
            let known = serde_json::from_slice::<Step>(line);
            line.ends_with(b"\n") && known.is_ok_and(|known| known.step <= step)
        });
        Ok(kept.map(<[u8]>::to_vec).collect())
    }

    /// Adds a line, whole or, if the disk is full, in a part that is left out when the file is opened again.
    pub fn append(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let text = serde_json::to_string(line).map_err(std::io::Error::from);
        let written = text.and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()));
        written.map_err(|e| FileError::new("write", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_killed_run_left_is_dropped() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(&path, 0)?;
        for step in 1..=3 {
            file.append(&json!({"step": step, "loss": 0.1}))?;
        }
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)?
            .write_all(b"{\"step\": 2, \"lo")?;
        MetricsFile::open(&path, 2)?.append(&json!({"step": 3}))?;
        let lines = MetricsFile::lines(&path, 9)?;
        let steps: Result<Vec<Value>, _> = lines
            .iter()
            .map(|line| serde_json::from_slice(line))
            .collect();
        let steps: Vec<u64> = steps?
            .iter()
            .filter_map(|line| line["step"].as_u64())
            .collect();
        assert_eq!(steps, [1, 2, 3]);
        assert!(MetricsFile::lines(&folder.path().join("none"), 9)?.is_empty());
        Ok(())
    }
}
