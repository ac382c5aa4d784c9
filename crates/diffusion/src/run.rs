//! The loop around training steps: metrics, checkpoints, sample grids, and stopping in between.
//! Reports events and prints nothing.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::Module;
use dreamsmith_base::{ImageError, MetricsFile, create_folder, grid, remove_unfinished, write_png};
use dreamsmith_nets::{WeightType, save_weights};
use serde::{Deserialize, Serialize};

use crate::cascade::{self, EnlargeRequest, enlarge};
use crate::checkpoint;
use crate::condition::{Condition, Wants};
use crate::condition_spec::ConditionSpec;
use crate::enlarge::{Enlargement, Task};
use crate::model::{Card, Model, Trained};
use crate::pipeline::{self, DrawRequest, Rng, draw};
use crate::post_hoc::{Profile, Snapshot};
use crate::text::TextError;
use crate::train::{StepReport, Trainer};
use crate::train_error::TrainError;

/// One line of `metrics.jsonl`: means since the line before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// Pictures seen, repetitions counted.
    pub images: u64,
    /// Weighted loss.
    pub loss: f64,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Pictures a second.
    pub images_per_second: f64,
}

/// What a run reports.
pub enum TrainEvent<'a> {
    /// A step is done.
    Step(&'a StepReport),
    /// A line of metrics was written.
    Metrics(&'a Metrics),
    /// A checkpoint and a model folder were written.
    Saved(&'a Path),
    /// A grid of pictures was written.
    Grid(&'a Path),
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

    /// The last checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// The averaged weights as a model folder.
    pub fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// Stored averages of several lengths.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// One line of JSON for each `log_every` steps.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The loss curve.
    pub fn loss_curve(&self) -> PathBuf {
        self.0.join("loss.png")
    }

    /// Pictures drawn at `step`.
    pub fn grid(&self, step: u64) -> PathBuf {
        self.0.join(format!("samples/step-{step:08}.png"))
    }

    /// Reads the metrics up to `step`.
    pub fn read_metrics(&self, step: u64) -> Result<Vec<Metrics>, TrainError> {
        let lines = MetricsFile::lines(&self.metrics(), step)?;
        let known = lines.iter().map(|line| serde_json::from_slice(line));
        Ok(known.filter_map(Result::ok).collect())
    }
}

/// What the trainer's averaged weights are as a model.
pub fn averaged_model(trainer: &Trainer) -> Result<Model, TrainError> {
    let (spec, state) = (trainer.spec(), trainer.state());
    Ok(Model {
        unet: state.average.clone().valid(),
        text: trainer.captions().source().cloned(),
        precondition: spec.diffusion.precondition()?,
        card: Card {
            diffusion: spec.diffusion.clone(),
            patch_size: spec.patch_size,
            task: spec.task,
            sample: spec.sample,
            classes: known_classes(trainer),
            text_tokens: trainer.captions().source().map(|text| text.tokens()),
            trained: Some(Trained {
                steps: state.step,
                images_seen: state.step * spec.train.batch as u64,
                pictures: trainer.dataset().len(),
                seed: spec.train.seed,
            }),
        },
    })
}

/// Errs if the grids of this training could not be drawn: better now than after the first checkpoint.
pub fn check(trainer: &Trainer) -> Result<(), TrainError> {
    let model = averaged_model(trainer)?;
    match trainer.spec().task {
        Task::Draw => pipeline::check(&model, &grid_request(trainer, &model)?)?,
        Task::Enlarge(task) => {
            cascade::check_enlargement(&model, &enlarged_grid(trainer, task)?)?;
        }
    }
    Ok(())
}

/// Trains until the last step, or until `stop` is set; saves in both cases.
/// On an error the last checkpoint stays as it is.
pub fn run(
    trainer: &mut Trainer,
    folder: &RunFolder,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(TrainEvent<'_>),
) -> Result<Outcome, TrainError> {
    create_folder(&folder.0.join("samples"))?;
    remove_unfinished(&folder.0)?;
    let mut metrics = MetricsFile::open(&folder.metrics(), trainer.state().step)?;
    let mut window = Window::new();
    let run = trainer.spec().train.clone();
    while trainer.state().step < run.steps {
        let report = trainer.step()?;
        watch(TrainEvent::Step(&report));
        window.add(&report);
        if report.step % run.log_every == 0 {
            let line = window.close(&report, run.batch);
            metrics.append(&line)?;
            watch(TrainEvent::Metrics(&line));
        }
        let stopped = stop.load(Ordering::Relaxed);
        let last = report.step == run.steps;
        let due = last || report.step % run.checkpoint_every == 0;
        if due || stopped {
            save(trainer, folder, watch)?;
        }
        if due {
            take_snapshots(trainer, folder)?;
            draw_grid(trainer, folder, stop, watch)?;
            window.restart_clock();
        }
        if stopped && !last {
            return Ok(Outcome::Stopped);
        }
    }
    Ok(Outcome::Finished)
}

fn save(
    trainer: &Trainer,
    folder: &RunFolder,
    watch: &mut dyn FnMut(TrainEvent<'_>),
) -> Result<(), TrainError> {
    trainer.check_finite()?;
    let pictures = trainer.dataset().len();
    checkpoint::save(
        &folder.checkpoint(),
        trainer.state(),
        trainer.spec(),
        pictures,
    )?;
    averaged_model(trainer)?.save(&folder.model(), trainer.spec().train.model_weights)?;
    watch(TrainEvent::Saved(&folder.checkpoint()));
    Ok(())
}

/// Stores the averages of several lengths as they are at this step.
fn take_snapshots(trainer: &Trainer, folder: &RunFolder) -> Result<(), TrainError> {
    let state = trainer.state();
    if !state.tracks.is_empty() {
        create_folder(&folder.snapshots())?;
    }
    for (track, sigma_rel) in state
        .tracks
        .iter()
        .zip(trainer.spec().snapshots.sigma_rels())
    {
        let profile = Profile {
            step: state.step,
            sigma_rel: *sigma_rel,
        };
        let snapshot = Snapshot::new(&folder.snapshots(), profile);
        save_weights(track, &snapshot.path, WeightType::F32)?;
    }
    Ok(())
}

fn grid_request(trainer: &Trainer, model: &Model) -> Result<DrawRequest, TrainError> {
    let count = trainer.spec().sample.count;
    let conditions = (0..count).map(|i| sheet_condition(trainer, model, i));
    Ok(DrawRequest {
        conditions: conditions.collect::<Result<_, _>>()?,
        ..DrawRequest::new(&model.card, 0, count, trainer.dataset().size())
    })
}

/// The classes that the network is told of.
fn known_classes(trainer: &Trainer) -> Vec<String> {
    match trainer.wants() {
        Wants::Class(_) => trainer.dataset().classes().to_vec(),
        Wants::Nothing | Wants::Small | Wants::Text { .. } => vec![],
    }
}

/// The first pictures, made small.
fn enlarged_grid(trainer: &Trainer, task: Enlargement) -> Result<EnlargeRequest, TrainError> {
    let count = trainer.spec().sample.count.min(trainer.dataset().len());
    let side = task.size / task.factor;
    let small = |i| trainer.dataset().image(i, [255; 3])?.resize(side, side);
    let small: Result<_, ImageError> = (0..count).map(small).collect();
    Ok(EnlargeRequest {
        seeds: (0..count as u64).collect(),
        small: small?,
        noise: 0.0,
        sample: trainer.spec().sample,
        rng: Rng::Native,
    })
}

/// Every class or prompt in turn, so that the grid shows them all; or captions with their cameras, spread over
/// the data set.
fn sheet_condition(trainer: &Trainer, model: &Model, i: usize) -> Result<Condition, TextError> {
    let (ConditionSpec::Text(spec), Some(source)) = (&trainer.spec().condition, &model.text) else {
        return Ok(match model.card.classes.len() {
            0 => Condition::Anything,
            classes => Condition::Class((i % classes) as u32),
        });
    };
    let (dataset, count) = (trainer.dataset(), trainer.spec().sample.count);
    let (prompt, camera) = match spec.prompts.len() {
        0 => {
            let item = dataset.item(i * dataset.len() / count.max(1));
            (item.captions.first().map(|c| &**c), item.camera)
        }
        n => (Some(spec.prompts[i % n].as_str()), None),
    };
    let text = prompt.map(|prompt| source.read_prompt(prompt));
    let text = text.transpose()?.map(|(code, _)| code);
    Ok(Condition::text(text, camera))
}

fn draw_grid(
    trainer: &Trainer,
    folder: &RunFolder,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(TrainEvent<'_>),
) -> Result<(), TrainError> {
    let model = averaged_model(trainer)?;
    let count = trainer.spec().sample.count;
    if count == 0 {
        return Ok(());
    }
    let go_on = |_: &pipeline::DrawStep<'_>| match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let device = trainer.device();
    let images = match trainer.spec().task {
        Task::Draw => draw(&model, &grid_request(trainer, &model)?, device, &go_on),
        Task::Enlarge(task) => enlarge(&model, &enlarged_grid(trainer, task)?, device, &go_on),
    };
    let images = match images {
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
        images => images?,
    };
    let columns = (count as f64).sqrt().ceil() as usize;
    let path = folder.grid(trainer.state().step);
    write_png(&path, &grid(&images, columns, 2)?, &[])?;
    watch(TrainEvent::Grid(&path));
    Ok(())
}

/// Sums since the last line of metrics.
struct Window {
    steps: u64,
    loss: f64,
    gradient_norm: f64,
    since: Instant,
    timed: u64,
}

impl Window {
    fn new() -> Self {
        Self {
            steps: 0,
            loss: 0.0,
            gradient_norm: 0.0,
            since: Instant::now(),
            timed: 0,
        }
    }

    fn add(&mut self, report: &StepReport) {
        self.steps += 1;
        self.timed += 1;
        self.loss += report.loss;
        self.gradient_norm += report.gradient_norm;
    }

    fn close(&mut self, report: &StepReport, batch: usize) -> Metrics {
        let steps = self.steps.max(1) as f64;
        let images = (self.timed * batch as u64) as f64;
        let line = Metrics {
            step: report.step,
            images: report.step * batch as u64,
            loss: self.loss / steps,
            gradient_norm: self.gradient_norm / steps,
            learning_rate: report.learning_rate,
            images_per_second: images / self.since.elapsed().as_secs_f64().max(1e-9),
        };
        *self = Self::new();
        line
    }

    /// Saving and drawing are not training time.
    fn restart_clock(&mut self) {
        self.since = Instant::now();
        self.timed = 0;
    }
}
