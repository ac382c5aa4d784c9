//! Training of the compass, which tells the side from which a named thing is seen: objects with known cameras, what each
//! is as a frozen encoder places it. Every other step sees its pictures mirrored, and mirrored sides.
//! Leaves out checkpoints: it takes minutes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_data::{Dataset, Shuffler};
use dreamsmith_nets::{Compass, CompassConfig, Precision};
use serde::{Deserialize, Serialize};

use crate::eval::object_color::without_color;
use crate::eval::sectors::{sector_of, spread_over_sectors};
use crate::eval::tower::{Sentences, cross_entropy, share_told, unfit};
use crate::optimizer::{LearningRate, OptimizerSpec, clip_by_global_norm, first_not_finite};
use crate::spec::{DataSpec, SpecError, parse_toml, read_text};
use crate::spec_check::{expect, positive};
use crate::train_error::TrainError;

/// How a compass is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompassSpec {
    /// Pictures with cameras, whose first caption says what they show and not from which side.
    pub data: DataSpec,
    /// Folder of the frozen sentence encoder.
    pub encoder: PathBuf,
    /// Degrees above the ground, from where to where; other pictures are not learnt from.
    pub elevations: [f32; 2],
    /// Optimiser steps.
    pub steps: u64,
    /// Pictures per step.
    pub batch: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// How the network multiplies.
    pub precision: Precision,
    /// The learning rate over the run.
    pub learning_rate: LearningRate,
    /// The optimiser.
    pub optimizer: OptimizerSpec,
    /// The network.
    pub model: CompassConfig,
}

impl Default for CompassSpec {
    fn default() -> Self {
        Self {
            data: DataSpec::default(),
            encoder: PathBuf::from("text_encoder"),
            elevations: [-10.0, 50.0],
            steps: 3000,
            batch: 64,
            seed: 0,
            precision: Precision::Bf16,
            learning_rate: LearningRate::default(),
            optimizer: OptimizerSpec::default(),
            model: CompassConfig::default(),
        }
    }
}

impl CompassSpec {
    /// Reads and checks a spec file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let (name, text) = read_text(path)?;
        let spec: Self = parse_toml(&name, &text)?;
        expect("steps", spec.steps, "1 or more", spec.steps > 0)?;
        expect("batch", spec.batch, "1 or more", spec.batch > 0)?;
        positive("learning_rate.peak", spec.learning_rate.peak)?;
        Ok(spec)
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CompassReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Share of pictures whose sector was told.
    pub told: f64,
}

/// A compass in training.
pub struct CompassTrainer {
    spec: CompassSpec,
    dataset: Dataset,
    /// What is learnt from: its number in the data set, what it shows, and from where.
    lessons: Vec<Lesson>,
    sentences: Sentences,
    device: Device,
    compass: Compass,
    optimizer: ModuleOptimizer,
    step: u64,
}

struct Lesson {
    picture: usize,
    thing: Arc<str>,
    azimuth: f32,
}

impl CompassTrainer {
    /// A training of `spec` from step 0. `device` is plain (no autodiff).
    pub fn new(spec: CompassSpec, dataset: Dataset, device: Device) -> Result<Self, TrainError> {
        let side = dataset.size() as usize;
        if side != spec.model.sample_size {
            let found = spec.model.sample_size;
            return Err(unfit("model.sample_size", found, format!("{side}")));
        }
        let lessons = lessons(&dataset, spec.elevations);
        if lessons.is_empty() {
            let [low, high] = spec.elevations;
            return Err(unfit(
                "data.dir",
                spec.data.dir.display(),
                format!("pictures with captions and cameras {low} to {high} degrees high"),
            ));
        }
        let mut sentences = Sentences::open(&spec.encoder, &device)?;
        if sentences.width() != spec.model.sentence_dim {
            let expected = format!("{}, as the encoder", sentences.width());
            let found = spec.model.sentence_dim;
            return Err(unfit("model.sentence_dim", found, expected));
        }
        sentences.read(lessons.iter().map(|lesson| lesson.thing.clone()))?;
        let compass = spec.model.init(spec.seed, &device, spec.precision)?;
        Ok(Self {
            compass: compass.valid(),
            optimizer: spec.optimizer.build(),
            lessons,
            sentences,
            dataset,
            device,
            spec,
            step: 0,
        })
    }

    /// The compass as it is.
    pub fn compass(&self) -> &Compass {
        &self.compass
    }

    /// Pictures that are learnt from.
    pub fn n_lessons(&self) -> usize {
        self.lessons.len()
    }

    /// One optimiser step. On an error the state is as before the step.
    pub fn step(&mut self) -> Result<CompassReport, TrainError> {
        let spec = &self.spec;
        let chosen = Shuffler::new(spec.seed, self.lessons.len(), spec.batch).indices(self.step);
        let (report, gradients) = rayon::scope(|_| self.gradients(&chosen));
        let (gradients, norm) = clip_by_global_norm(&self.compass, gradients, 1.0);
        if !report.loss.is_finite() || !norm.is_finite() {
            let place = first_not_finite(&self.compass, &gradients);
            return Err(TrainError::NotFinite {
                step: self.step + 1,
                loss: report.loss,
                place: place.unwrap_or_else(|| "the loss".into()),
            });
        }
        let rate = spec.learning_rate.at(self.step, spec.steps);
        let compass = self.compass.clone().train();
        self.compass = rayon::scope(|_| self.optimizer.step(rate, compass, gradients)).valid();
        self.step += 1;
        Ok(report)
    }

    fn gradients(&self, chosen: &[usize]) -> (CompassReport, GradientsParams) {
        let spec = &self.spec;
        let lessons = || chosen.iter().map(|i| &self.lessons[*i]);
        let pictures: Vec<usize> = lessons().map(|lesson| lesson.picture).collect();
        let batch = (self.dataset).batch(&pictures, &spec.data.augment, spec.seed, self.step);
        let (n, side) = (pictures.len(), self.dataset.size() as usize);
        let device = self.device.clone().autodiff();
        let pixels = TensorData::new(batch.pixels, [n, 3, side, side]);
        let pixels = Tensor::<4>::from_data(pixels, &device);
        let (pixels, turn) = match self.step % 2 {
            0 => (pixels, 1.0),
            _ => (pixels.flip([3]), -1.0),
        };
        let things = lessons().filter_map(|lesson| self.sentences.get(&lesson.thing));
        let things: Vec<f32> = things.flatten().copied().collect();
        let things = TensorData::new(things, [n, spec.model.sentence_dim]);
        let things = Tensor::<2>::from_data(things, &device);

        let n_sectors = spec.model.n_sectors;
        let azimuths = || lessons().map(|lesson| turn * lesson.azimuth);
        let targets: Vec<f32> = azimuths()
            .flat_map(|azimuth| spread_over_sectors(azimuth, n_sectors))
            .collect();
        let targets = Tensor::from_data(TensorData::new(targets, [n, n_sectors]), &device);
        let right: Vec<Vec<usize>> = azimuths()
            .map(|azimuth| vec![sector_of(azimuth, n_sectors)])
            .collect();
        let compass = self.compass.clone().train();
        let logits = compass.forward(pixels, things);
        let told = share_told(&logits, &right);
        let loss = cross_entropy(logits, targets);
        let value: f32 = loss.clone().inner().into_scalar();
        let report = CompassReport {
            step: self.step + 1,
            loss: f64::from(value),
            told,
        };
        let gradients = GradientsParams::from_grads(loss.backward(), &compass);
        (report, gradients)
    }
}

/// The pictures that say what they show and from where, from heights within `elevations`.
fn lessons(dataset: &Dataset, [low, high]: [f32; 2]) -> Vec<Lesson> {
    let lesson = |picture: usize| {
        let item = dataset.item(picture);
        let camera = item.camera?;
        let thing = without_color(item.captions.first()?);
        let fits = (low..=high).contains(&camera.elevation);
        fits.then(|| Lesson {
            picture,
            thing: thing.into(),
            azimuth: camera.azimuth,
        })
    };
    (0..dataset.len()).filter_map(lesson).collect()
}
