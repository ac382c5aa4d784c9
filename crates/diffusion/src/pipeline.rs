//! From a model and seeds to pictures: noise, levels, guidance, sampler, and back to sRGB.
//! On the CPU each image is drawn by itself, so that it depends on its own seed only.

use std::ops::ControlFlow;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Image, ImageError};
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Told};
use crate::denoise::{Denoise, Denoiser, Network, Noise, SampleStep, Watch};
use crate::enlarge::Task;
use crate::guidance::{Guidance, GuidanceError, GuidanceSpec, Guided};
use crate::inpaint::{Inpainted, Resampled};
use crate::levels::{Levels, LevelsError};
use crate::model::{Card, Model};
use crate::noise::{NativeNoise, TorchNoise};
use crate::patch::{from_patches, to_patches};
use crate::precondition::Precondition;
use crate::sampler::SampleError;
use crate::spec::SampleSpec;
use crate::threshold::{ThresholdError, Thresholded};
use crate::unet::UNet;
use crate::workers::{Workers, is_cpu};

/// More than the ten of [Lugmayr22] times ten are a mistake.
const MAX_TIMES: u32 = 100;
/// Images larger than this are a mistake for a network in pixel space.
const MAX_SIDE: usize = 4096;

/// Where noise comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rng {
    /// Counter-based streams.
    #[default]
    Native,
    /// What PyTorch draws on the CPU from the same seed.
    Torch,
}

impl Rng {
    /// The noise of images of these seeds.
    pub(crate) fn noise(self, seeds: &[u64]) -> Box<dyn Noise> {
        match self {
            Self::Native => Box::new(NativeNoise::new(seeds)),
            Self::Torch => Box::new(TorchNoise::new(seeds)),
        }
    }
}

/// What an image starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Noise of the image's seed.
    Noise,
    /// Given unit normal values [3 p^2, H/p, W/p] for patches of p, one set for each image.
    Given(Vec<Vec<f32>>),
    /// A picture [3, H, W] in [-1, 1], noised by `strength` of the way.
    Picture {
        /// The picture.
        pixels: Vec<f32>,
        /// Above 0 (keeps the picture) to 1 (forgets it).
        strength: f64,
    },
    /// A picture of which a part is redrawn, from where `strength` of the way has noised it.
    Masked {
        /// The picture, as above.
        pixels: Vec<f32>,
        /// [H, W]: 0 where the picture stays, 1 where it is redrawn, and between them where both are mixed.
        mask: Vec<f32>,
        /// As above; 1 draws the part without a look at what it was.
        strength: f64,
        /// How often each step is taken, 1 to 100: more make the part fit better to the rest.
        times: u32,
    },
}

/// Which images are to be drawn. `seeds` and `conditions` have one entry for each.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawRequest {
    /// Seeds.
    pub seeds: Vec<u64>,
    /// What they are to show.
    pub conditions: Vec<Condition>,
    /// What they are not to show; guidance leads away from it.
    pub negative: Condition,
    /// Steps, spacing, sampler, guidance.
    pub sample: SampleSpec,
    /// Side of the images in pixels.
    pub size: u32,
    /// Where noise comes from.
    pub rng: Rng,
    /// What images start from.
    pub start: Start,
}

impl DrawRequest {
    /// `count` images of anything with the model's own settings and seeds `first_seed`, `first_seed + 1`, ...
    pub fn new(card: &Card, first_seed: u64, count: usize, size: u32) -> Self {
        Self {
            seeds: (0..count as u64)
                .map(|i| first_seed.wrapping_add(i))
                .collect(),
            conditions: vec![Condition::Anything; count],
            negative: Condition::Anything,
            sample: card.sample,
            size,
            rng: Rng::default(),
            start: Start::Noise,
        }
    }

    /// Whether any image is to show something else than what guidance leads away from.
    pub fn is_guided(&self) -> bool {
        self.conditions.iter().any(|c| *c != self.negative)
    }
}

/// A step of one image, or of all where they are drawn together.
#[derive(Clone, Copy, Debug)]
pub struct DrawStep<'a> {
    /// Steps done, over all images.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Place in the request of the first image that this step is of.
    pub first: usize,
    /// The guess of x0 as the network has it, [B, 3 p^2, H/p, W/p].
    pub(crate) denoised: &'a Tensor<4>,
    /// Side of the images in pixels, and of their patches (p).
    pub(crate) sides: (usize, usize),
}

impl DrawStep<'_> {
    /// What the images of this step would be if their noise were gone now.
    pub fn guesses(&self) -> Result<Vec<Image>, ImageError> {
        pictures(self.denoised, self.sides)
    }
}

/// Why no picture came out.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The levels cannot be.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// The guidance cannot be.
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    /// The threshold cannot be.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// The sampler failed or was stopped.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The result is no picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A value that does not fit the model.
    #[error("{what} is {found}, expected {expected}")]
    Unfit {
        /// What does not fit.
        what: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Errs where [`draw`] would before its first step.
pub fn check(model: &Model, request: &DrawRequest) -> Result<(), DrawError> {
    check_fit(model, request)?;
    request.sample.sampler.check()?;
    request.sample.threshold.check()?;
    Guidance::new(request.sample.guidance)?;
    levels(&model.precondition, request).map(|_| ())
}

/// Draws the images of `request`. `watch` is called after each step, from several threads, and may stop it all.
pub fn draw(
    model: &Model,
    request: &DrawRequest,
    device: &Device,
    watch: &(dyn Fn(&DrawStep<'_>) -> ControlFlow<()> + Sync),
) -> Result<Vec<Image>, DrawError> {
    check(model, request)?;
    let levels = levels(&model.precondition, request)?;
    let count = request.seeds.len();
    let chunk = chunk(request, device);
    let chunks = count.div_ceil(chunk);
    let total = n_steps(model, request, device)?;
    let done = AtomicUsize::new(0);
    let job = Job {
        model,
        request,
        device,
        levels: &levels,
    };
    let images = Workers::new(device, chunks)?.map(chunks, |i| {
        let range = i * chunk..((i + 1) * chunk).min(count);
        let first = range.start;
        job.draw(range, &mut |step: &SampleStep<'_>| {
            watch(&DrawStep {
                done: 1 + done.fetch_add(1, Ordering::Relaxed),
                total,
                first,
                denoised: step.denoised,
                sides: (request.size as usize, model.card.patch_size as usize),
            })
        })
    });
    let images: Result<Vec<Vec<Image>>, DrawError> = images.into_iter().collect();
    Ok(images?.concat())
}

/// The steps that [`draw`] takes, over all images.
pub(crate) fn n_steps(
    model: &Model,
    request: &DrawRequest,
    device: &Device,
) -> Result<usize, DrawError> {
    let levels = levels(&model.precondition, request)?;
    let chunks = request.seeds.len().div_ceil(chunk(request, device));
    Ok(sampler(request).n_steps(&levels) * chunks)
}

/// Images in a batch.
fn chunk(request: &DrawRequest, device: &Device) -> usize {
    match is_cpu(device) {
        true => 1,
        false => request.seeds.len().max(1),
    }
}

/// What all images of a request have in common.
struct Job<'a> {
    model: &'a Model,
    request: &'a DrawRequest,
    device: &'a Device,
    levels: &'a Levels,
}

impl Job<'_> {
    /// The images in `range`, as one batch.
    fn draw(&self, range: Range<usize>, watch: &mut dyn Watch) -> Result<Vec<Image>, DrawError> {
        let side = self.request.size as usize;
        let patch = self.model.card.patch_size as usize;
        let count = range.len();
        let shape = [count, 3 * patch * patch, side / patch, side / patch];
        let seeds = &self.request.seeds[range.clone()];
        let mut noise = self.request.rng.noise(seeds);
        let tensor = |values| Tensor::<4>::from_data(TensorData::new(values, shape), self.device);
        let x = match &self.request.start {
            Start::Noise => self.levels.pure_noise(noise.as_mut(), shape, self.device),
            Start::Given(eps) => {
                let eps = tensor(eps[range.clone()].concat());
                eps.mul_scalar(self.levels.first().0.hypot(1.0))
            }
            Start::Picture { pixels, .. } | Start::Masked { pixels, .. } => {
                let x0 = tensor(to_patches(pixels, side, patch).repeat(count));
                self.levels.noised(x0, noise.as_mut())
            }
        };
        let conditions = &self.request.conditions[range];
        let (sample, negative) = (&self.request.sample, &self.request.negative);
        let led = (sample.guidance, negative);
        let net = denoiser(self.model, conditions, led, self.device)?;
        let net = Thresholded::new(net, sample.threshold)?;
        let net: Box<dyn Denoise> = match &self.request.start {
            Start::Masked { pixels, mask, .. } => {
                let all = |image: &[f32]| tensor(to_patches(image, side, patch).repeat(count));
                Box::new(Inpainted::new(net, all(pixels), all(&mask.repeat(3))))
            }
            Start::Noise | Start::Given(_) | Start::Picture { .. } => Box::new(net),
        };
        let sampler = sampler(self.request);
        let x = sampler.run(&net, x, self.levels, noise.as_mut(), watch)?;
        Ok(pictures(&x, (side, patch))?)
    }
}

/// What `unet`, a network as that of `model`, sees in pictures of `conditions`, as patches [B, 3 p^2, H/p, W/p], without
/// guidance.
pub fn plain_denoiser<'a>(
    (model, unet): (&'a Model, &'a UNet),
    conditions: &[Condition],
    device: &Device,
) -> impl Denoise + use<'a> {
    let network = Conditioned {
        unet,
        told: model.wants().told(conditions, device),
    };
    Denoiser::new(network, model.precondition.clone())
}

/// What `model` sees in pictures of `conditions`, as patches [B, 3 p^2, H/p, W/p]: led away from the negative condition.
pub fn denoiser<'a>(
    model: &'a Model,
    conditions: &[Condition],
    (guidance, negative): (GuidanceSpec, &Condition),
    device: &Device,
) -> Result<Box<dyn Denoise + 'a>, GuidanceError> {
    let told = |conditions: &[Condition]| plain_denoiser((model, &model.unet), conditions, device);
    let guidance = Guidance::new(guidance)?;
    let cond = told(conditions);
    if conditions.iter().all(|condition| condition == negative) {
        return Ok(Box::new(cond));
    }
    let uncond = told(&vec![negative.clone(); conditions.len()]);
    Ok(Box::new(Guided::new(cond, uncond, guidance)))
}

/// The images in `x` [B, 3 p^2, S/p, S/p], of side S and in patches of p.
pub(crate) fn pictures(
    x: &Tensor<4>,
    (side, patch): (usize, usize),
) -> Result<Vec<Image>, ImageError> {
    let values: Vec<f32> = x.to_data().iter::<f32>().collect();
    let image = |values: &[f32]| {
        Image::from_signed(&from_patches(values, side, patch), side as u32, side as u32)
    };
    values.chunks_exact(3 * side * side).map(image).collect()
}

/// A network with what its batch is to show.
struct Conditioned<'a> {
    unet: &'a UNet,
    told: Told,
}

impl Network for Conditioned<'_> {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        self.unet.forward(x, time, &self.told)
    }
}

fn sampler(request: &DrawRequest) -> Resampled {
    Resampled {
        sampler: request.sample.sampler,
        times: match request.start {
            Start::Masked { times, .. } => times,
            Start::Noise | Start::Given(_) | Start::Picture { .. } => 1,
        },
    }
}

fn levels(precondition: &Precondition, request: &DrawRequest) -> Result<Levels, DrawError> {
    let levels = precondition.levels(request.sample.spacing, request.sample.steps)?;
    match request.start {
        Start::Picture { strength, .. } | Start::Masked { strength, .. } => {
            Ok(levels.from_strength(strength)?)
        }
        Start::Noise | Start::Given(_) => Ok(levels),
    }
}

fn check_fit(model: &Model, request: &DrawRequest) -> Result<(), DrawError> {
    let unfit = |what, found: String, expected: String| {
        Err(DrawError::Unfit {
            what,
            found,
            expected,
        })
    };
    let (count, side) = (request.seeds.len(), request.size as usize);
    let halvings = model.unet.config().block_out_channels().len() - 1;
    let multiple = (model.card.patch_size as usize) << halvings;
    if side == 0 || side % multiple != 0 || side > MAX_SIDE {
        let expected = format!("a multiple of {multiple} up to {MAX_SIDE}");
        return unfit("the size", side.to_string(), expected);
    }
    if request.conditions.len() != count {
        let found = request.conditions.len().to_string();
        let expected = format!("{count}, one for each image");
        return unfit("the number of conditions", found, expected);
    }
    if model.card.task != Task::Draw {
        let expected = "one that draws; this one needs a small picture".into();
        return unfit("the model", "one that enlarges".into(), expected);
    }
    let mut conditions = request.conditions.iter().chain([&request.negative]);
    if let Some((found, expected)) = conditions.find_map(|c| c.objection(model.wants())) {
        return unfit("what is to be drawn", found, expected);
    }
    let values = 3 * side * side;
    let given: Vec<usize> = match &request.start {
        Start::Noise => vec![],
        Start::Given(eps) if eps.len() != count => {
            let found = eps.len().to_string();
            return unfit(
                "the number of given noises",
                found,
                format!("{count}, one for each image"),
            );
        }
        Start::Given(eps) => eps.iter().map(Vec::len).collect(),
        Start::Picture { pixels, .. } => vec![pixels.len()],
        Start::Masked { times, .. } if !(1..=MAX_TIMES).contains(times) => {
            let expected = format!("1 to {MAX_TIMES}");
            return unfit("how often a step is taken", times.to_string(), expected);
        }
        Start::Masked { pixels, mask, .. } => {
            if let Some(value) = mask.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                let expected = "0 (stays) to 1 (is redrawn)";
                return unfit("a value of the mask", value.to_string(), expected.into());
            }
            vec![pixels.len(), 3 * mask.len()]
        }
    };
    match given.into_iter().find(|len| *len != values) {
        Some(len) => unfit(
            "a start",
            format!("{len} values"),
            format!("{values} (3x{side}x{side})"),
        ),
        None => Ok(()),
    }
}
