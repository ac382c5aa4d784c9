//! Training at random noise levels: one optimiser step, from pictures to weights.
//! [Ho20] algorithm 1, in the preconditioned form of [Karras22] eq. 8. Leaves out the loop around it: see `run`.

use std::borrow::Cow;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_data::{Dataset, Shuffler};
use dreamsmith_nets::UNet2DModel;
use dreamsmith_nets::unet_2d::ClassEmbedType;

use crate::ema::{EmaSpec, blend};
use crate::enlarge::{Example, Task, labels};
use crate::level::Sigma;
use crate::optimizer::{add_gradients, clip_by_global_norm, first_not_finite};
use crate::patch::to_patches;
use crate::precondition::Precondition;
use crate::spec::{RunSpec, TrainSpec};
use crate::train_error::TrainError;
use crate::workers::Workers;

/// Everything that a step changes. A checkpoint holds just this.
pub struct TrainState {
    /// Steps done.
    pub step: u64,
    /// The weights, without autodiff.
    pub weights: UNet2DModel,
    /// Their moving average.
    pub average: UNet2DModel,
    /// The averages that snapshots are taken of, one for each width in the spec.
    pub tracks: Vec<UNet2DModel>,
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
        let follow = |average: &mut UNet2DModel, ema: EmaSpec| {
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
    device: Device,
    workers: Workers,
    state: TrainState,
}

/// What one picture is to teach.
struct Lesson<'a> {
    /// What the network should find behind noise, [3, H, W].
    x0: Vec<f32>,
    /// What it sees beside the noisy x0: nothing, or of the same shape.
    seen: Vec<f32>,
    /// What it is told instead of the class.
    told: Option<u32>,
    precondition: Cow<'a, Precondition>,
}

/// One image on its way into the network: everything is a pure function of (seed, sample number).
struct Draw {
    sigma: Sigma,
    label: u32,
    eps: Vec<f32>,
}

impl Trainer {
    /// A training of `spec` from step 0. `dataset` holds the spec's pictures at the network's size;
    /// `device` is plain (no autodiff).
    pub fn new(spec: TrainSpec, dataset: Dataset, device: Device) -> Result<Self, TrainError> {
        let weights = spec
            .model
            .init(spec.train.seed, &device, spec.train.precision)?
            .valid();
        let state = TrainState {
            step: 0,
            average: weights.clone(),
            tracks: vec![weights.clone(); spec.snapshots.sigma_rels().len()],
            weights,
            optimizer: spec.optimizer.build(),
        };
        Self::from_state(spec, dataset, device, state)
    }

    /// A training that goes on from `state`.
    pub fn from_state(
        spec: TrainSpec,
        dataset: Dataset,
        device: Device,
        state: TrainState,
    ) -> Result<Self, TrainError> {
        check_fit(&spec, &dataset)?;
        Ok(Self {
            precondition: spec.diffusion.precondition()?,
            side: spec.network_side()?,
            workers: Workers::new(&device, spec.train.batch / spec.train.micro_batch)?,
            spec,
            dataset,
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

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// One optimiser step. On an error the state is as before the step.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.state.step;
        let (loss, gradients) = self.gradients();
        let weights = &self.state.weights;
        let (gradients, gradient_norm) =
            clip_by_global_norm(weights, gradients, self.spec.train.clip);
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
        // In the pool, where its many short passes find the other threads faster than from outside.
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

    /// Forward and backward of micro-batch `part` of the present step.
    fn micro_batch(&self, part: usize) -> (f64, GradientsParams) {
        let RunSpec {
            batch, micro_batch, ..
        } = self.spec.train;
        let first = self.state.step * batch as u64 + (part * micro_batch) as u64;
        let part_of_run = first / micro_batch as u64;
        let indices = Shuffler::new(self.spec.train.seed, self.dataset.len(), micro_batch)
            .indices(part_of_run);
        let pictures = self.dataset.batch(
            &indices,
            &self.spec.data.augment,
            self.spec.train.seed,
            self.state.step,
        );
        let patch = self.spec.patch_size as usize;
        let whole = 3 * (self.dataset.size() as usize).pow(2);
        let side = self.side as usize;
        let shape = [micro_batch, 3 * patch * patch, side / patch, side / patch];
        let pixels = 3 * side * side;

        let mut input = Vec::with_capacity(pictures.pixels.len());
        let mut target = Vec::with_capacity(pictures.pixels.len());
        let (mut time, mut told, mut weights) = (vec![], vec![], vec![]);
        for (i, picture) in pictures.pixels.chunks_exact(whole).enumerate() {
            let draw = self.draw(first + i as u64, pictures.labels[i], pixels);
            let lesson = self.lesson(first + i as u64, picture);
            let x0 = to_patches(&lesson.x0, side, patch);
            let c = lesson.precondition.at(draw.sigma);
            let sigma = draw.sigma.0;
            // The network should say (x0 - c_skip x) / c_out, with x = x0 + sigma eps.
            let of_x0 = ((1.0 - c.c_skip) / c.c_out) as f32;
            let of_eps = (-c.c_skip * sigma / c.c_out) as f32;
            let (in_x0, in_eps) = (c.c_in as f32, (c.c_in * sigma) as f32);
            for (x0, eps) in x0.iter().zip(&draw.eps) {
                input.push(in_x0 * x0 + in_eps * eps);
                target.push(of_x0 * x0 + of_eps * eps);
            }
            input.extend(to_patches(&lesson.seen, side, patch));
            time.push(c.c_noise as f32);
            told.push(lesson.told.unwrap_or(draw.label));
            let weight = self.spec.loss.weight.at_c_out(c.c_out, draw.sigma);
            weights.push((weight / (batch * pixels) as f64) as f32);
        }

        let device = self.device.clone().autodiff();
        let network = self.state.weights.clone().train();
        let tensor = |values: Vec<f32>| {
            let channels = values.len() / (micro_batch * shape[2] * shape[3]);
            let shape = [micro_batch, channels, shape[2], shape[3]];
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        };
        let wants_label = match self.spec.task {
            Task::Draw => !self.dataset.classes().is_empty(),
            Task::Enlarge(_) => true,
        };
        let labels = wants_label.then(|| labels(&told, &device));
        let time = Tensor::<1>::from_data(TensorData::new(time, [micro_batch]), &device);
        let weights =
            Tensor::<4>::from_data(TensorData::new(weights, [micro_batch, 1, 1, 1]), &device);
        let output = network.forward(tensor(input), time, labels);
        let loss = ((output - tensor(target)).square() * weights).sum();
        let value: f32 = loss.clone().inner().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        (f64::from(value), gradients)
    }

    /// What training sample number `sample` teaches, from `picture` [3, S, S].
    fn lesson(&self, sample: u64, picture: &[f32]) -> Lesson<'_> {
        match self.spec.task {
            Task::Draw => Lesson {
                x0: picture.to_vec(),
                seen: vec![],
                told: None,
                precondition: Cow::Borrowed(&self.precondition),
            },
            Task::Enlarge(task) => {
                let example = task.example(picture, self.side, (self.spec.train.seed, sample));
                let Example { rest, seen, noise } =
                    example.expect("the spec was checked, and a batch holds finite squares");
                Lesson {
                    x0: rest,
                    seen,
                    told: Some(task.label(noise)),
                    precondition: Cow::Owned(task.precondition(&self.precondition, noise)),
                }
            }
        }
    }

    /// Level, label and noise of training sample number `sample`.
    fn draw(&self, sample: u64, label: Option<u32>, pixels: usize) -> Draw {
        let seed = self.spec.train.seed;
        let stream = |purpose| Stream::new(seed, purpose, sample);
        let (levels, stream_of_level) = (self.spec.loss.levels, &mut stream(Purpose::Timestep));
        let sigma = match &self.precondition {
            Precondition::Discrete { schedule, .. } => {
                schedule.sigma(levels.timestep(stream_of_level, schedule))
            }
            Precondition::Edm { .. } | Precondition::Flow { .. } => levels.sigma(stream_of_level),
        };
        let unlabelled = self.dataset.classes().len() as u32;
        let dropped = stream(Purpose::Dropout).uniform_f64() < self.spec.train.label_dropout;
        Draw {
            sigma,
            label: label.filter(|_| !dropped).unwrap_or(unlabelled),
            eps: stream(Purpose::TrainNoise).normals(pixels),
        }
    }
}

fn check_fit(spec: &TrainSpec, dataset: &Dataset) -> Result<(), TrainError> {
    let wrong = |key: &'static str, found: String, expected: String| TrainError::Unfit {
        key,
        found,
        expected,
    };
    let model = &spec.model;
    let channels = 3 * spec.patch_size as usize * spec.patch_size as usize;
    let inputs = match spec.task {
        Task::Draw => channels,
        Task::Enlarge(_) => 2 * channels,
    };
    if [model.in_channels, model.out_channels] != [inputs, channels] {
        let found = format!("{} and {}", model.in_channels, model.out_channels);
        let expected =
            format!("{inputs} and {channels}: RGB times patch_size squared, twice in to enlarge");
        return Err(wrong("model.in_channels and out_channels", found, expected));
    }
    if dataset.size() != spec.picture_size()? {
        let expected = format!("{} / patch_size", dataset.size());
        return Err(wrong(
            "model.sample_size",
            format!("{:?}", model.sample_size),
            expected,
        ));
    }
    if let Task::Enlarge(_) = spec.task {
        let kind = model.class_embed_type;
        return match (kind, model.num_class_embeds) {
            (Some(ClassEmbedType::Timestep), None) => Ok(()),
            (kind, _) => {
                let expected =
                    "\"timestep\", and num_class_embeds not set: it is told of noise".into();
                Err(wrong(
                    "model.class_embed_type",
                    format!("{kind:?}"),
                    expected,
                ))
            }
        };
    }
    if let Some(kind) = model.class_embed_type {
        let expected = "not set: classes are rows of a table".into();
        return Err(wrong(
            "model.class_embed_type",
            format!("{kind:?}"),
            expected,
        ));
    }
    let classes = dataset.classes().len();
    let wanted = (classes > 0).then_some(classes + 1);
    if model.num_class_embeds != wanted {
        let found = match model.num_class_embeds {
            Some(n) => n.to_string(),
            None => "not set".into(),
        };
        let expected = match wanted {
            Some(n) => format!("{n}: {classes} classes of the pictures and one for no class"),
            None => "not set: the pictures have no labels".into(),
        };
        return Err(wrong("model.num_class_embeds", found, expected));
    }
    Ok(())
}
