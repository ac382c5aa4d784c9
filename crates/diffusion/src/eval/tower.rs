//! Training of the image tower that judges drawings: each picture is to lie nearest to its own caption
//! among those of the batch, as a frozen encoder places them [Radford21], and to tell its view.
//! Leaves out checkpoints: it takes minutes.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use dreamsmith_data::{Batch, Dataset, Shuffler, ViewWord};
use dreamsmith_nets::{ImageTower, ImageTowerConfig, NetError, Precision, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::eval::Share;
use crate::optimizer::{LearningRate, OptimizerSpec, clip_by_global_norm, first_not_finite};
use crate::spec::{DataSpec, SpecError, parse_toml, read_text};
use crate::spec_check::{expect, positive};
use crate::train_error::TrainError;

/// Captions that are read at once.
const AT_ONCE: usize = 256;

/// How a tower is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TowerSpec {
    /// The pictures, none of which a judged model may have been trained on.
    pub data: DataSpec,
    /// Folder of the frozen sentence encoder.
    pub encoder: PathBuf,
    /// Optimiser steps.
    pub steps: u64,
    /// Pictures per step, which are also the captions that each picture chooses among.
    pub batch: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// How the network multiplies.
    pub precision: Precision,
    /// Cosines are divided by this before the softmax.
    pub temperature: f64,
    /// Weight of telling the view beside telling the caption.
    pub view_weight: f64,
    /// The learning rate over the run.
    pub learning_rate: LearningRate,
    /// The optimiser.
    pub optimizer: OptimizerSpec,
    /// The network.
    pub model: ImageTowerConfig,
}

impl Default for TowerSpec {
    fn default() -> Self {
        Self {
            data: DataSpec::default(),
            encoder: PathBuf::from("text_encoder"),
            steps: 3000,
            batch: 64,
            seed: 0,
            precision: Precision::Bf16,
            // [Radford21] section 2.5 starts from 0.07.
            temperature: 0.07,
            view_weight: 0.5,
            learning_rate: LearningRate::default(),
            optimizer: OptimizerSpec::default(),
            model: ImageTowerConfig::default(),
        }
    }
}

impl TowerSpec {
    /// Reads and checks a spec file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let (name, text) = read_text(path)?;
        let spec: Self = parse_toml(&name, &text)?;
        expect("steps", spec.steps, "1 or more", spec.steps > 0)?;
        expect("batch", spec.batch, "2 or more", spec.batch > 1)?;
        positive("temperature", spec.temperature)?;
        let weight = spec.view_weight;
        let fits = weight >= 0.0 && weight.is_finite();
        expect("view_weight", weight, "a finite number from 0 on", fits)?;
        positive("learning_rate.peak", spec.learning_rate.peak)?;
        Ok(spec)
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TowerReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean loss of the batch, both parts.
    pub loss: f64,
    /// Share of pictures nearest to a caption like their own.
    pub recall: f64,
    /// Share of those with a known camera whose view was told.
    pub views_right: f64,
}

/// A tower in training.
pub struct TowerTrainer {
    spec: TowerSpec,
    dataset: Dataset,
    captions: Sentences,
    device: Device,
    tower: ImageTower,
    optimizer: ModuleOptimizer,
    step: u64,
}

/// Embeddings of length 1 of different sentences, each read when it is first wanted.
pub struct Sentences {
    encoder: TextEncoder,
    rows: HashMap<Arc<str>, Vec<f32>>,
}

impl Sentences {
    /// None yet; the encoder in `folder` will place them: the mean of its states, of length 1.
    pub fn open(folder: &Path, device: &Device) -> Result<Self, NetError> {
        Ok(Self {
            encoder: TextEncoder::load(folder, device, Precision::F32)?,
            rows: HashMap::new(),
        })
    }

    /// Places those of `sentences` that were not read before.
    pub fn read(&mut self, sentences: impl IntoIterator<Item = Arc<str>>) -> Result<(), NetError> {
        let new = sentences.into_iter().filter(|s| !self.rows.contains_key(s));
        let new: Vec<Arc<str>> = BTreeSet::from_iter(new).into_iter().collect();
        for sentences in new.chunks(AT_ONCE) {
            let texts: Vec<&str> = sentences.iter().map(|sentence| &**sentence).collect();
            let pooled = self.encoder.encode(&texts)?.pooled.to_data();
            let pooled: Vec<f32> = pooled.iter::<f32>().collect();
            for (sentence, row) in sentences.iter().zip(pooled.chunks(self.width())) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                let row = row.iter().map(|x| x / length).collect();
                self.rows.insert(sentence.clone(), row);
            }
        }
        Ok(())
    }

    /// Features of an embedding.
    pub fn width(&self) -> usize {
        self.encoder.width()
    }

    /// Where a sentence lies; `None` if it was not among those that were read.
    pub fn get(&self, sentence: &str) -> Option<&[f32]> {
        self.rows.get(sentence).map(Vec::as_slice)
    }
}

impl TowerTrainer {
    /// A training of `spec` from step 0. `device` is plain (no autodiff).
    pub fn new(spec: TowerSpec, dataset: Dataset, device: Device) -> Result<Self, TrainError> {
        let side = dataset.size() as usize;
        if side != spec.model.sample_size {
            return Err(unfit(
                "model.sample_size",
                spec.model.sample_size,
                format!("{side}"),
            ));
        }
        if (0..dataset.len()).all(|i| dataset.item(i).captions.is_empty()) {
            return Err(unfit(
                "data.dir",
                spec.data.dir.display(),
                "pictures with captions".into(),
            ));
        }
        let captions = Sentences::open(&spec.encoder, &device)?;
        if captions.width() != spec.model.projection_dim {
            let expected = format!("{}, as the encoder", captions.width());
            return Err(unfit(
                "model.projection_dim",
                spec.model.projection_dim,
                expected,
            ));
        }
        if spec.model.n_views != VIEWS.len() {
            let expected = format!("{}: front, side, back and overhead", VIEWS.len());
            return Err(unfit("model.n_views", spec.model.n_views, expected));
        }
        let tower = spec.model.init(spec.seed, &device, spec.precision)?;
        Ok(Self {
            tower: tower.valid(),
            optimizer: spec.optimizer.build(),
            captions,
            dataset,
            device,
            spec,
            step: 0,
        })
    }

    /// The tower as it is.
    pub fn tower(&self) -> &ImageTower {
        &self.tower
    }

    /// One optimiser step. On an error the state is as before the step.
    pub fn step(&mut self) -> Result<TowerReport, TrainError> {
        let spec = &self.spec;
        let draws = self.dataset.draws();
        let indices = Shuffler::new(spec.seed, draws.len(), spec.batch).indices(self.step);
        let indices: Vec<usize> = indices.iter().map(|i| draws[*i] as usize).collect();
        let batch = self
            .dataset
            .batch(&indices, &spec.data.augment, spec.seed, self.step);
        self.captions
            .read(batch.captions.iter().flatten().cloned())?;
        let (report, gradients) = rayon::scope(|_| self.gradients(&batch));
        let (gradients, norm) = clip_by_global_norm(&self.tower, gradients, 1.0);
        if !report.loss.is_finite() || !norm.is_finite() {
            let place = first_not_finite(&self.tower, &gradients);
            return Err(TrainError::NotFinite {
                step: self.step + 1,
                loss: report.loss,
                place: place.unwrap_or_else(|| "the loss".into()),
            });
        }
        let rate = spec.learning_rate.at(self.step, spec.steps);
        let tower = self.tower.clone().train();
        self.tower = rayon::scope(|_| self.optimizer.step(rate, tower, gradients)).valid();
        self.step += 1;
        Ok(report)
    }

    fn gradients(&self, batch: &Batch) -> (TowerReport, GradientsParams) {
        let n = batch.captions.len();
        let side = self.dataset.size() as usize;
        let device = self.device.clone().autodiff();
        let pixels = TensorData::new(batch.pixels.clone(), [n, 3, side, side]);
        let tower = self.tower.clone().train();
        let judged = tower.forward(Tensor::from_data(pixels, &device));

        // What has no caption lies at 0, as far from one picture as from another.
        let mut places = vec![0.0; n * self.captions.width()];
        for (place, caption) in places
            .chunks_mut(self.captions.width())
            .zip(&batch.captions)
        {
            if let Some(row) = caption.as_ref().and_then(|text| self.captions.get(text)) {
                place.copy_from_slice(row);
            }
        }
        let places = TensorData::new(places, [n, self.captions.width()]);
        let places = Tensor::<2>::from_data(places, &device);
        let scores = judged.embedding.matmul(places.transpose());
        let scores = scores.div_scalar(self.spec.temperature);
        let (same, views) = (same_captions(batch), views(batch));
        let captions_told = targets(&same, n, &device);
        let views_told = targets(&views, VIEWS.len(), &device);
        let recall = share_told(&scores, &same);
        let views_right = share_told(&judged.view, &views);
        let loss = cross_entropy(scores, captions_told)
            + cross_entropy(judged.view, views_told).mul_scalar(self.spec.view_weight);
        let value: f32 = loss.clone().inner().into_scalar();
        let report = TowerReport {
            step: self.step + 1,
            loss: f64::from(value),
            recall,
            views_right,
        };
        (report, GradientsParams::from_grads(loss.backward(), &tower))
    }
}

/// The views that a tower tells apart, in the order of its logits.
pub const VIEWS: [ViewWord; 4] = [
    ViewWord::Front,
    ViewWord::Side,
    ViewWord::Back,
    ViewWord::Overhead,
];

/// For each picture, which of the batch have its caption; none where it has none. `[N][N]`
fn same_captions(batch: &Batch) -> Vec<Vec<usize>> {
    let like = |caption: &Arc<str>| {
        let same = |other: &Option<Arc<str>>| other.as_ref() == Some(caption);
        (0..batch.captions.len())
            .filter(|i| same(&batch.captions[*i]))
            .collect()
    };
    let captions = batch.captions.iter();
    captions
        .map(|caption| caption.as_ref().map_or_else(Vec::new, like))
        .collect()
}

/// For each picture its view, if its camera is known.
fn views(batch: &Batch) -> Vec<Vec<usize>> {
    let view = |camera: &dreamsmith_data::CameraRecord| {
        let word = ViewWord::of(camera.azimuth, camera.elevation);
        VIEWS.iter().position(|view| *view == word)
    };
    let cameras = batch.cameras.iter();
    cameras
        .map(|camera| camera.as_ref().and_then(view).into_iter().collect())
        .collect()
}

/// Each row shared evenly among what is right, `[N, of]`; zeros where nothing is.
fn targets(right: &[Vec<usize>], of: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0_f32; right.len() * of];
    for (row, right) in values.chunks_mut(of).zip(right) {
        for i in right {
            row[*i] = 1.0 / right.len() as f32;
        }
    }
    Tensor::from_data(TensorData::new(values, [right.len(), of]), device)
}

/// Mean over N of -sum(target log softmax(logits)).
pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let n = logits.dims()[0] as f64;
    (log_softmax(logits, 1) * targets).sum().div_scalar(-n)
}

/// The share of rows whose largest logit is right, of those where anything is; NaN of none.
pub(super) fn share_told(logits: &Tensor<2>, right: &[Vec<usize>]) -> f64 {
    let best: Tensor<2, Int> = logits.clone().inner().argmax(1);
    let best = best.to_data();
    let rows = best
        .iter::<i64>()
        .zip(right)
        .filter(|(_, right)| !right.is_empty());
    Share::of(rows.map(|(best, right)| right.iter().any(|i| *i as i64 == best))).value()
}

pub(super) fn unfit(key: &str, found: impl ToString, expected: String) -> TrainError {
    TrainError::Unfit {
        key: key.into(),
        found: found.to_string(),
        expected,
    }
}
