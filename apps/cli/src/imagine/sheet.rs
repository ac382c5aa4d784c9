//! Many pictures on one sheet with a line of text under each, and the sheet of guesses while they are drawn.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dreamsmith_base::{Image, write_png};
use dreamsmith_diffusion::pipeline::DrawStep;

use crate::chart::labelled_grid;

/// Between two writings of a preview: often enough for the eye, and seldom enough to cost nothing.
const PAUSE: Duration = Duration::from_millis(250);

/// One picture as it is, or several in a square of rows with their seeds below.
pub fn sheet(images: &[Image], seeds: &[u64]) -> anyhow::Result<Image> {
    match images {
        [image] => Ok(image.clone()),
        images => {
            let labels: Vec<String> = seeds.iter().map(|seed| format!("seed {seed}")).collect();
            labelled_grid(images, &labels)
        }
    }
}

/// Each picture enlarged `scale` times for the eye.
pub fn enlarged(images: &[Image], scale: u32) -> anyhow::Result<Vec<Image>> {
    if scale == 1 {
        return Ok(images.to_vec());
    }
    let larger = |image: &Image| image.resize(image.width() * scale, image.height() * scale);
    Ok(images.iter().map(larger).collect::<Result<_, _>>()?)
}

/// A file that shows what the pictures would be if their noise were gone now.
pub struct Preview {
    path: PathBuf,
    seeds: Vec<u64>,
    scale: u32,
    state: Mutex<State>,
}

struct State {
    guesses: Vec<Image>,
    written: Option<Instant>,
    fault: Option<anyhow::Error>,
}

impl Preview {
    /// Of pictures of `size` pixels, white until their first step.
    pub fn new(path: &Path, seeds: &[u64], (size, scale): (u32, u32)) -> anyhow::Result<Self> {
        let blank = Image::filled(size, size, [255; 3])?;
        Ok(Self {
            path: path.to_path_buf(),
            seeds: seeds.to_vec(),
            scale,
            state: Mutex::new(State {
                guesses: vec![blank; seeds.len()],
                written: None,
                fault: None,
            }),
        })
    }

    /// Takes in the guesses of `step`, and writes the file if it is time. Breaks if that fails.
    pub fn see(&self, step: &DrawStep<'_>) -> ControlFlow<()> {
        // Only a panic poisons, and that ends the drawing anyway.
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.take(step, state) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                state.fault.get_or_insert(fault);
                ControlFlow::Break(())
            }
        }
    }

    fn take(&self, step: &DrawStep<'_>, state: &mut State) -> anyhow::Result<()> {
        for (place, guess) in state.guesses[step.first..].iter_mut().zip(step.guesses()?) {
            *place = guess;
        }
        if state.written.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.write(&state.guesses)?;
            state.written = Some(Instant::now());
        }
        Ok(())
    }

    /// Why the drawing was stopped, if this was it.
    pub fn fault(self) -> anyhow::Result<()> {
        let state = self.state.into_inner();
        let fault = state.unwrap_or_else(PoisonError::into_inner).fault;
        fault.map_or(Ok(()), Err)
    }

    /// Shows `images`.
    pub fn write(&self, images: &[Image]) -> anyhow::Result<()> {
        let images = enlarged(images, self.scale)?;
        Ok(write_png(&self.path, &sheet(&images, &self.seeds)?, &[])?)
    }
}
