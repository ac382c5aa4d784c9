//! The loop around steps of a dream: metrics, previews, checkpoints, stopping in between, and going back when numbers
//! are no longer finite. Reports events and prints nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dreamsmith_base::{MetricsFile, create_folder, remove_unfinished};
use dreamsmith_scene::run::{Outcome, RunFolder};
use dreamsmith_scene::spec::Length;
use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::dream::{Dream, StepReport};
use crate::error::LiftError;

/// More often than this it is not chance.
const MOST_SETBACKS: u32 = 4;

/// One line of `metrics.jsonl`: means since the line before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// Time spent, all starts together.
    pub seconds: f64,
    /// The root mean square of the prior's gradient by a value of a picture.
    pub residual: f64,
    /// The mean opacity of rays.
    pub opacity: f64,
    /// Samples of a step: asked about, seen and learnt from, and lit, with four points more for each normal.
    pub samples: [f64; 3],
    /// The learning rate.
    pub learning_rate: f64,
    /// Milliseconds of a step: the views, the prior, the way back, Adam with the occupied cells.
    pub milliseconds: [f64; 4],
}

/// What a run reports.
pub enum DreamEvent<'a> {
    /// A step is done, at this share of the run.
    Step(&'a StepReport, f64),
    /// A line of metrics was written.
    Metrics(&'a Metrics),
    /// It is time for a look.
    Look(&'a Dream),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// Something was not finite, and the dream goes on from an earlier step.
    SetBack {
        /// The step that failed, counted from 1.
        step: u64,
        /// What was not finite.
        place: &'static str,
        /// Steps that are left of what was done.
        to: u64,
    },
}

/// Dreams until the end of the run, or until `stop` is set; saves in both cases. `seconds` is the time spent, before and
/// after. On an error the last checkpoint stays as it is.
pub fn run(
    dream: &mut Dream,
    seconds: &mut f64,
    folder: &RunFolder,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(DreamEvent<'_>),
) -> Result<Outcome, LiftError> {
    create_folder(folder.path())?;
    remove_unfinished(folder.path())?;
    let spec = dream.spec().run;
    let mut metrics = MetricsFile::open(&folder.metrics(), dream.steps_done())?;
    let (before, start) = (*seconds, Instant::now());
    let mut window = Window::default();
    if !folder.checkpoint().exists() {
        save(dream, *seconds, folder, watch)?;
    }
    loop {
        *seconds = before + start.elapsed().as_secs_f64();
        let progress = match spec.length {
            Length::Steps { steps } => dream.steps_done() as f64 / steps as f64,
            Length::Seconds { seconds: all } => *seconds / all,
        };
        if progress >= 1.0 {
            break;
        }
        let report = match dream.step(progress)? {
            Ok(report) => report,
            Err(place) => {
                let step = dream.steps_done() + 1;
                let times = dream.setbacks();
                if times == MOST_SETBACKS {
                    return Err(LiftError::NotFinite { step, place, times });
                }
                checkpoint::load(&folder.checkpoint(), dream)?;
                dream.set_setbacks(times + 1);
                let to = dream.steps_done();
                metrics = MetricsFile::open(&folder.metrics(), to)?;
                window = Window::default();
                watch(DreamEvent::SetBack { step, place, to });
                continue;
            }
        };
        window.add(&report);
        watch(DreamEvent::Step(&report, progress));
        if report.step.is_multiple_of(spec.log_every) {
            let line = window.close(before + start.elapsed().as_secs_f64());
            metrics.append(&line)?;
            watch(DreamEvent::Metrics(&line));
        }
        if report.step.is_multiple_of(spec.look_every) {
            watch(DreamEvent::Look(dream));
        }
        *seconds = before + start.elapsed().as_secs_f64();
        if stop.load(Ordering::Relaxed) {
            save(dream, *seconds, folder, watch)?;
            return Ok(Outcome::Stopped);
        }
        if report.step.is_multiple_of(spec.checkpoint_every) {
            save(dream, *seconds, folder, watch)?;
        }
    }
    save(dream, *seconds, folder, watch)?;
    Ok(Outcome::Finished)
}

fn save(
    dream: &Dream,
    seconds: f64,
    folder: &RunFolder,
    watch: &mut dyn FnMut(DreamEvent<'_>),
) -> Result<(), LiftError> {
    checkpoint::save(&folder.checkpoint(), dream, seconds)?;
    watch(DreamEvent::Saved(&folder.checkpoint()));
    Ok(())
}

/// Sums since the last line of metrics.
#[derive(Default)]
struct Window {
    steps: f64,
    sums: Metrics,
}

impl Window {
    fn add(&mut self, report: &StepReport) {
        let sums = &mut self.sums;
        self.steps += 1.0;
        sums.step = report.step;
        sums.residual += report.residual;
        sums.opacity += report.opacity;
        sums.learning_rate = report.learning_rate;
        for (sum, samples) in sums.samples.iter_mut().zip(report.samples) {
            *sum += samples as f64;
        }
        for (sum, seconds) in sums.milliseconds.iter_mut().zip(report.seconds) {
            *sum += 1e3 * seconds;
        }
    }

    fn close(&mut self, seconds: f64) -> Metrics {
        let (sums, n) = (self.sums, self.steps.max(1.0));
        *self = Self::default();
        Metrics {
            seconds,
            residual: sums.residual / n,
            opacity: sums.opacity / n,
            samples: sums.samples.map(|sum| sum / n),
            milliseconds: sums.milliseconds.map(|sum| sum / n),
            ..sums
        }
    }
}
