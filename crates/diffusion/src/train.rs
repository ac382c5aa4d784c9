//! Training at random noise levels: one optimiser step, from pictures to weights.
//! Leaves out what one picture teaches (`lesson`), and the loop around steps (`run`).

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Device;
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_data::{Batch, Dataset, Shuffler};
use dreamsmith_nets::folder::weights_in;
use dreamsmith_nets::{UNet2DConditionConfig, load_weights};

use crate::condition::{Condition, Wants};
use crate::condition_spec::{ConditionSpec, StartSpec};
use crate::ema::{EmaSpec, blend};
use crate::enlarge::{Example, Task};
use crate::lesson::{Lesson, Teaching};
use crate::optimizer::{add_gradients, clip_by_global_norm, first_not_finite};
use crate::precondition::Precondition;
use crate::spec::{RunSpec, TrainSpec};
use crate::text::Captions;
use crate::train_error::TrainError;
use crate::unet::{Misfit, UNet, UNetConfig};
use crate::view_map::VIEW_CHANNELS;
use crate::workers::Workers;

/// Everything that a step changes. A checkpoint holds just this.
pub struct TrainState {
    /// Steps done.
    pub step: u64,
    /// The weights, without autodiff.
    pub weights: UNet,
    /// Their moving average.
    pub average: UNet,
    /// The averages that snapshots are taken of, one for each width in the spec.
    pub tracks: Vec<UNet>,
    /// The optimiser with its moments.
    pub optimizer: ModuleOptimizer,
}

impl TrainState {
    /// One step of the optimiser and of all averages.
    fn update(&mut self, spec: &TrainSpec, learning_rate: f64, gradients: GradientsParams) {
        // burn's optimiser only takes a module with autodiff.
        let weights = self.weights.clone().train();
        let weights = self.optimizer.step(learning_rate, weights, gradients);
        self.weights = weights.valid();
        self.step += 1;
        let follow = |average: &mut UNet, ema: EmaSpec| {
            let decay = ema.decay(self.step);
            let old = std::mem::replace(average, self.weights.clone());
            *average = blend(old, decay, &self.weights, 1.0 - decay);
        };
        for (track, &sigma_rel) in self.tracks.iter_mut().zip(spec.snapshots.sigma_rels()) {
            follow(track, EmaSpec::Power { sigma_rel });
        }
        follow(&mut self.average, spec.ema);
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Mean weighted loss of the batch.
    pub loss: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
}

/// A spec, its pictures, and the state of the training.
pub struct Trainer {
    spec: TrainSpec,
    precondition: Precondition,
    /// Of what the network sees, in pixels.
    side: u32,
    dataset: Dataset,
    captions: Captions,
    wants: Wants,
    device: Device,
    workers: Workers,
    state: TrainState,
}

impl Trainer {
    /// A training of `spec` from step 0. `dataset` holds the spec's pictures at [`TrainSpec::picture_size`], `captions`
    /// their captions; `device` is plain (no autodiff).
    pub fn new(
        spec: TrainSpec,
        dataset: Dataset,
        captions: Captions,
        device: Device,
    ) -> Result<Self, TrainError> {
        let weights = spec
            .model
            .init(spec.train.seed, &device, spec.train.precision)?;
        let weights = match &spec.start {
            StartSpec::Random {} => weights,
            StartSpec::Model { dir } => started(&spec, weights, &dir.join("unet"), &device)?,
        }
        .valid();
        let state = TrainState {
            step: 0,
            average: weights.clone(),
            tracks: vec![weights.clone(); spec.snapshots.sigma_rels().len()],
            weights,
            optimizer: spec.optimizer.build(),
        };
        Self::from_state(spec, (dataset, captions), device, state)
    }

    /// A training that goes on from `state`.
    pub fn from_state(
        spec: TrainSpec,
        (dataset, captions): (Dataset, Captions),
        device: Device,
        state: TrainState,
    ) -> Result<Self, TrainError> {
        let wants = check_fit(&spec, &dataset, &captions)?;
        Ok(Self {
            precondition: spec.diffusion.precondition()?,
            side: spec.network_side()?,
            workers: Workers::new(&device, spec.train.batch / spec.train.micro_batch)?,
            spec,
            dataset,
            captions,
            wants,
            device,
            state,
        })
    }

    /// The spec of this training.
    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    /// Where the training is.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// The pictures.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The captions of the pictures.
    pub fn captions(&self) -> &Captions {
        &self.captions
    }

    /// What the network is told about each picture.
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One optimiser step. On an error the state is as before the step.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.state.step;
        // In the pool, where many short passes find the other threads faster than from outside.
        rayon::scope(|_| self.read_captions())?;
        let (loss, gradients) = self.gradients();
        let weights = &self.state.weights;
        let (gradients, gradient_norm) =
            rayon::scope(|_| clip_by_global_norm(weights, gradients, self.spec.train.clip));
        if !loss.is_finite() || !gradient_norm.is_finite() {
            let place = first_not_finite(weights, &gradients).unwrap_or_else(|| "the loss".into());
            return Err(TrainError::NotFinite {
                step: step + 1,
                loss,
                place,
            });
        }
        let learning_rate = self.spec.learning_rate.at(step, self.spec.train.steps);
        let (spec, state) = (&self.spec, &mut self.state);
        rayon::scope(|_| state.update(spec, learning_rate, gradients));
        Ok(StepReport {
            step: state.step,
            loss,
            gradient_norm,
            learning_rate,
        })
    }

    /// Errs if a weight is NaN or infinite, as a step may leave it: such a state must not replace a good checkpoint.
    pub fn check_finite(&self) -> Result<(), TrainError> {
        match first_not_finite(&self.state.weights, &GradientsParams::new()) {
            None => Ok(()),
            Some(place) => Err(TrainError::NotFinite {
                step: self.state.step,
                loss: f64::NAN,
                place,
            }),
        }
    }

    /// Loss and gradients of one batch: micro-batches run side by side, each on one thread, and are
    /// added up in their order, so that the number of threads changes nothing.
    fn gradients(&self) -> (f64, GradientsParams) {
        let parts = self.spec.train.batch / self.spec.train.micro_batch;
        let add = |(a, sum), (b, more)| (a + b, add_gradients(&self.state.weights, sum, more));
        let empty = (0.0, GradientsParams::new());
        self.workers
            .fold(parts, empty, |part| self.micro_batch(part), add)
    }

    /// Reads the captions of the present step that are new.
    fn read_captions(&mut self) -> Result<(), TrainError> {
        let (seed, step) = (self.spec.train.seed, self.state.step);
        let parts = self.spec.train.batch / self.spec.train.micro_batch;
        let samples: Vec<usize> = (0..parts).flat_map(|part| self.samples(part)).collect();
        let dataset = &self.dataset;
        let captions = samples
            .into_iter()
            .filter_map(|i| dataset.caption(i, seed, step).cloned());
        Ok(self.captions.read(captions)?)
    }

    /// The samples of micro-batch `part` of the present step.
    fn samples(&self, part: usize) -> Vec<usize> {
        let RunSpec {
            batch,
            micro_batch,
            seed,
            ..
        } = self.spec.train;
        let first = self.state.step * batch as u64 + (part * micro_batch) as u64;
        let draws = self.dataset.draws();
        let order = &mut Shuffler::new(seed, draws.len(), micro_batch);
        let indices = order.indices(first / micro_batch as u64);
        indices.iter().map(|i| draws[*i] as usize).collect()
    }

    /// Forward and backward of micro-batch `part` of the present step.
    fn micro_batch(&self, part: usize) -> (f64, GradientsParams) {
        let RunSpec {
            batch, micro_batch, ..
        } = self.spec.train;
        let first = self.state.step * batch as u64 + (part * micro_batch) as u64;
        let pictures = self.dataset.batch(
            &self.samples(part),
            &self.spec.data.augment,
            self.spec.train.seed,
            self.state.step,
        );
        let lesson = |i| self.lesson(first + i as u64, (&pictures, i));
        let lessons: Vec<Lesson<'_>> = (0..micro_batch).map(lesson).collect();
        let teaching = Teaching {
            wants: self.wants,
            sides: (self.side as usize, self.spec.patch_size as usize),
            weight: self.spec.loss.weight,
            of: batch,
            device: &self.device,
        };
        teaching.gradients(&self.state.weights, &lessons)
    }

    /// What training sample number `sample`, which is picture `i` of `batch`, teaches: a pure function of the seed and
    /// the number.
    fn lesson(&self, sample: u64, (batch, i): (&Batch, usize)) -> Lesson<'_> {
        let seed = self.spec.train.seed;
        let values = 3 * (self.dataset.size() as usize).pow(2);
        let picture = &batch.pixels[i * values..][..values];
        let (x0, seen, condition, precondition) = match self.spec.task {
            Task::Draw => {
                let condition = self.condition(sample, (batch, i));
                let precondition = Cow::Borrowed(&self.precondition);
                (picture.to_vec(), vec![], condition, precondition)
            }
            Task::Enlarge(task) => {
                let example = task.example(picture, self.side, (seed, sample));
                let Example { rest, seen, noise } =
                    example.expect("the spec was checked, and a batch holds finite squares");
                let condition = Condition::Small(task.level(noise));
                let precondition = Cow::Owned(task.precondition(&self.precondition, noise));
                (rest, seen, condition, precondition)
            }
        };
        let levels = self.spec.loss.levels;
        let stream = &mut Stream::new(seed, Purpose::Timestep, sample);
        let sigma = match &self.precondition {
            Precondition::Discrete { schedule, .. } => {
                schedule.sigma(levels.timestep(stream, schedule))
            }
            Precondition::Edm { .. } | Precondition::Flow { .. } => levels.sigma(stream),
        };
        Lesson {
            eps: Stream::new(seed, Purpose::TrainNoise, sample).normals(x0.len()),
            x0,
            seen,
            condition,
            precondition,
            sigma,
        }
    }

    /// What the network is told about training sample number `sample`, which is picture `i` of `batch`.
    fn condition(&self, sample: u64, (batch, i): (&Batch, usize)) -> Condition {
        let seed = self.spec.train.seed;
        let drops = |purpose, share| Stream::new(seed, purpose, sample).uniform_f64() < share;
        match &self.spec.condition {
            ConditionSpec::Classes(_) => batch.labels[i]
                .filter(|_| !drops(Purpose::Dropout, self.spec.train.label_dropout))
                .map_or(Condition::Anything, Condition::Class),
            ConditionSpec::Text(spec) => {
                let caption = batch.captions[i].as_ref();
                let text = caption.and_then(|caption| self.captions.code(caption));
                let text = text.filter(|_| !drops(Purpose::Dropout, spec.text_dropout));
                let camera = batch.cameras[i]
                    .filter(|_| !drops(Purpose::CameraDropout, spec.camera_dropout));
                Condition::Text {
                    text: text.cloned(),
                    camera,
                    behind: batch.behind[i],
                }
            }
        }
    }
}

/// `network` with the weights in `folder`. A network that sees a view map may start from one that does not.
fn started(
    spec: &TrainSpec,
    network: UNet,
    folder: &Path,
    device: &Device,
) -> Result<UNet, TrainError> {
    let file = weights_in(folder)?;
    let config = match &spec.model {
        UNetConfig::Text(config) if spec.model.sees_view() => config,
        _ => return Ok(load_weights(network, &file)?),
    };
    let narrow = UNetConfig::Text(UNet2DConditionConfig {
        in_channels: spec.model.channels()[0],
        ..config.clone()
    });
    let blind = narrow.init(spec.train.seed, device, spec.train.precision)?;
    match load_weights(blind, &file) {
        Ok(UNet::Text(unet)) => Ok(UNet::Text(unet.widened(VIEW_CHANNELS))),
        _ => Ok(load_weights(network, &file)?),
    }
}

fn wrong(key: &str, found: impl ToString, expected: impl ToString) -> TrainError {
    TrainError::Unfit {
        key: key.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

/// What the network is to be told, if spec, pictures and captions fit.
fn check_fit(
    spec: &TrainSpec,
    dataset: &Dataset,
    captions: &Captions,
) -> Result<Wants, TrainError> {
    let model = &spec.model;
    let channels = spec.task.channels(spec.patch_size);
    if model.channels() != channels {
        let words = |[inputs, outputs]: [usize; 2]| format!("{inputs} and {outputs}");
        return Err(wrong(
            "model.in_channels and out_channels",
            words(model.channels()),
            words(channels) + ": RGB times patch_size squared, twice in to enlarge",
        ));
    }
    if dataset.size() != spec.picture_size()? {
        let expected = format!("{} / patch_size", dataset.size());
        let found = format!("{:?}", model.sample_size());
        return Err(wrong("model.sample_size", found, expected));
    }
    let source = captions.source().map(Arc::as_ref);
    let wants = spec.task.wants(source, dataset.classes().len());
    match model.misfit(wants) {
        None => Ok(wants),
        Some(Misfit {
            key,
            found,
            expected,
        }) => Err(wrong(&format!("model.{key}"), found, expected)),
    }
}
