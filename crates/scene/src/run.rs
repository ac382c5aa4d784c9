//! The loop around steps of a reconstruction: metrics, looks at held-out views, checkpoints, and stopping in between.
//! Reports events and prints nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dreamsmith_base::{Image, ImageError, MetricsFile, create_folder, remove_unfinished};
use dreamsmith_data::View;
use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::metrics::{mean_squared_error, psnr_of, ssim};
use crate::model::Model;
use crate::reconstruct::{Reconstruction, StepReport};
use crate::reconstruct_error::ReconstructError;
use crate::render::{Extent, Frame, render};
use crate::spec::Length;

/// One line of `metrics.jsonl`: means since the line before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// Time spent, all starts together.
    pub seconds: f64,
    /// Loss of a channel of a pixel.
    pub loss: f64,
    /// PSNR in dB of the pixels learnt from, each over the background of its step.
    pub train_psnr: f64,
    /// PSNR in dB at the last look at a held-out view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_psnr: Option<f64>,
    /// The learning rate.
    pub learning_rate: f64,
    /// Rays a second.
    pub rays_per_second: f64,
    /// Samples a second, before those that nobody sees are left out.
    pub samples_per_second: f64,
    /// Samples of a step that are learnt from.
    pub seen_samples: f64,
}

/// What a run reports.
pub enum ReconstructEvent<'a> {
    /// A step is done, at this share of the run.
    Step(&'a StepReport, f64),
    /// A line of metrics was written.
    Metrics(&'a Metrics),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// It was told to stop, and saved.
    Stopped,
}

/// The files of a run.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The last checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// One line of JSON for each `log_every` steps.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }
}

/// Where a run stands.
pub struct Run<'a> {
    /// What learns.
    pub reconstruction: &'a mut Reconstruction,
    /// Views that are looked at now and then, never learnt from.
    pub held_out: &'a [View],
    /// Time spent before this start.
    pub seconds: f64,
}

/// Learns until the end of the run, or until `stop` is set; saves in both cases. Returns the time spent, too.
/// On an error the last checkpoint stays as it is.
pub fn run(
    run: &mut Run<'_>,
    folder: &RunFolder,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(ReconstructEvent<'_>),
) -> Result<Outcome, ReconstructError> {
    create_folder(&folder.0)?;
    remove_unfinished(&folder.0)?;
    let spec = run.reconstruction.spec().run;
    let mut metrics = MetricsFile::open(&folder.metrics(), run.reconstruction.steps_done())?;
    let (before, start) = (run.seconds, Instant::now());
    let (mut window, mut test_psnr) = (Window::new(), None);
    loop {
        run.seconds = before + start.elapsed().as_secs_f64();
        let progress = match spec.length {
            Length::Steps { steps } => run.reconstruction.steps_done() as f64 / steps as f64,
            Length::Seconds { seconds } => run.seconds / seconds,
        };
        if progress >= 1.0 {
            break;
        }
        let report = run.reconstruction.step(progress)?;
        window.add(&report);
        watch(ReconstructEvent::Step(&report, progress));
        if report.step.is_multiple_of(spec.look_every) && !run.held_out.is_empty() {
            let number = (report.step / spec.look_every) as usize % run.held_out.len();
            let view = &run.held_out[number];
            test_psnr = compare(run.reconstruction.model(), view, Extent::Color)?.psnr();
            window.restart_clock();
        }
        if report.step.is_multiple_of(spec.log_every) {
            let seconds = before + start.elapsed().as_secs_f64();
            let line = window.close(&report, seconds, test_psnr);
            metrics.append(&line)?;
            watch(ReconstructEvent::Metrics(&line));
        }
        if stop.load(Ordering::Relaxed) {
            run.seconds = before + start.elapsed().as_secs_f64();
            save(run, folder, watch)?;
            return Ok(Outcome::Stopped);
        }
        if report.step.is_multiple_of(spec.checkpoint_every) {
            run.seconds = before + start.elapsed().as_secs_f64();
            save(run, folder, watch)?;
            window.restart_clock();
        }
    }
    save(run, folder, watch)?;
    Ok(Outcome::Finished)
}

fn save(
    run: &Run<'_>,
    folder: &RunFolder,
    watch: &mut dyn FnMut(ReconstructEvent<'_>),
) -> Result<(), ReconstructError> {
    checkpoint::save(&folder.checkpoint(), run.reconstruction, run.seconds)?;
    watch(ReconstructEvent::Saved(&folder.checkpoint()));
    Ok(())
}

/// A held-out view and what the field shows there.
pub struct Comparison {
    /// The picture that was taken.
    pub truth: Image,
    /// What the field shows.
    pub frame: Frame,
    /// The same as a picture.
    pub picture: Image,
}

impl Comparison {
    /// In dB; `None` only if a picture has no pixels.
    pub fn psnr(&self) -> Option<f64> {
        mean_squared_error(&self.truth, &self.picture).map(psnr_of)
    }

    /// From -1 to 1, which is the same picture.
    pub fn ssim(&self) -> Option<f64> {
        ssim(&self.truth, &self.picture)
    }
}

/// Draws what the camera of `view` sees, beside what it saw, both over the model's background.
pub fn compare(model: &Model, view: &View, extent: Extent) -> Result<Comparison, ImageError> {
    let frame = render(model, &view.camera, extent);
    let (width, height) = (view.picture.width(), view.picture.height());
    let mut dirs = vec![];
    for y in 0..height {
        for x in 0..width {
            dirs.push(view.camera.ray(x as f32 + 0.5, y as f32 + 0.5).dir.into());
        }
    }
    let behind = model.background.colors(&dirs);
    let pixels = view
        .picture
        .rgba()
        .chunks_exact(4)
        .zip(behind.chunks_exact(3));
    let bytes = pixels.flat_map(|(rgba, behind)| {
        let alpha = f32::from(rgba[3]) / 255.0;
        [0, 1, 2].map(|c| {
            let over = f32::from(rgba[c]) * alpha + 255.0 * behind[c] * (1.0 - alpha);
            over.round() as u8
        })
    });
    Ok(Comparison {
        truth: Image::new(width, height, bytes.collect())?,
        picture: frame.picture()?,
        frame,
    })
}

/// Sums since the last line of metrics.
struct Window {
    steps: u64,
    loss: f64,
    squared_error: f64,
    seen: usize,
    /// Since the clock was started: rays and samples.
    timed: [usize; 2],
    since: Instant,
    /// What had passed before it was restarted.
    passed: f64,
}

impl Window {
    fn new() -> Self {
        Self {
            steps: 0,
            loss: 0.0,
            squared_error: 0.0,
            seen: 0,
            timed: [0; 2],
            since: Instant::now(),
            passed: 0.0,
        }
    }

    fn add(&mut self, report: &StepReport) {
        self.steps += 1;
        self.loss += report.loss;
        self.squared_error += report.squared_error;
        self.seen += report.seen;
        self.timed[0] += report.rays;
        self.timed[1] += report.samples;
        // Looking and saving, between here and the restart of the clock, are not learning time.
        self.passed += self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
    }

    fn restart_clock(&mut self) {
        self.since = Instant::now();
    }

    fn close(&mut self, report: &StepReport, seconds: f64, test_psnr: Option<f64>) -> Metrics {
        let steps = self.steps.max(1) as f64;
        let rate = |n: usize| n as f64 / self.passed.max(1e-9);
        let line = Metrics {
            step: report.step,
            seconds,
            loss: self.loss / steps,
            // Without an end JSON would have no number for it.
            train_psnr: psnr_of((self.squared_error / steps).max(1e-10)),
            test_psnr,
            learning_rate: report.learning_rate,
            rays_per_second: rate(self.timed[0]),
            samples_per_second: rate(self.timed[1]),
            seen_samples: self.seen as f64 / steps,
        };
        *self = Self::new();
        line
    }
}
