//! From a drawn picture to a larger one, and on: a base model and the enlarging models behind it, [Ho22b].
//! On disk a stage lies in the folder `enlarge` of the one before. Leaves out training: each stage by itself.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{AtomicDir, Image, Purpose, Stream, create_folder};
use dreamsmith_nets::{Precision, WeightType};

use crate::condition::{Condition, Wants};
use crate::denoise::{Denoiser, SampleStep};
use crate::enlarge::{Centred, Enlargement, Enlarging, Task};
use crate::model::{Model, ModelError};
use crate::patch::to_patches;
use crate::pipeline::{self, DrawError, DrawRequest, DrawStep, Rng, draw, pictures};
use crate::spec::SampleSpec;
use crate::threshold::Thresholded;
use crate::workers::Workers;

/// The folder of the next stage.
pub const NEXT_STAGE: &str = "enlarge";
/// 64 to 256 to 1024 to 4096 is more than anybody has drawn so.
const MAX_STAGES: usize = 3;
/// A larger picture has activations of gigabytes.
const MAX_SIDE: u32 = 1024;

/// Whoever watches the steps of a drawing, from several threads; may stop it.
pub type WatchDraw<'a> = &'a (dyn Fn(&DrawStep<'_>) -> ControlFlow<()> + Sync);

/// Small pictures, one for each seed, and how to enlarge them.
#[derive(Clone, Debug, PartialEq)]
pub struct EnlargeRequest {
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Squares, all of one size.
    pub small: Vec<Image>,
    /// Standard deviation of the noise on them, 0 to the most that the model was trained with: more lets it
    /// draw more of its own.
    pub noise: f64,
    /// Steps, spacing, sampler, threshold.
    pub sample: SampleSpec,
    /// Where noise comes from; that on the small picture comes first.
    pub rng: Rng,
}

/// Errs where [`enlarge`] would before its first step. Else what the model does and the side of the results.
pub fn check_enlargement(
    model: &Model,
    request: &EnlargeRequest,
) -> Result<(Enlargement, u32), DrawError> {
    let unfit = |what, found: String, expected: String| {
        Err(DrawError::Unfit {
            what,
            found,
            expected,
        })
    };
    let Task::Enlarge(task) = model.card.task else {
        return unfit(
            "the model",
            "one that draws".into(),
            "one that enlarges".into(),
        );
    };
    let (count, small) = (request.seeds.len(), &request.small);
    if small.len() != count {
        let expected = format!("{count}, one for each seed");
        return unfit(
            "the number of small pictures",
            small.len().to_string(),
            expected,
        );
    }
    let side = small.first().map_or(1, Image::width);
    let sides = |image: &Image| (image.width(), image.height());
    if let Some((width, height)) = small.iter().map(sides).find(|sides| *sides != (side, side)) {
        let expected = format!("{side}x{side} as the first");
        return unfit("a small picture", format!("{width}x{height}"), expected);
    }
    // Divides the factor, so that any small picture will do.
    if side > MAX_SIDE / task.factor {
        let expected = format!("up to {} pixels", MAX_SIDE / task.factor);
        return unfit("the side of the small picture", side.to_string(), expected);
    }
    if !(0.0..=task.noise).contains(&request.noise) {
        let expected = format!("0 to {}", task.noise);
        return unfit(
            "the noise on the small picture",
            request.noise.to_string(),
            expected,
        );
    }
    request.sample.sampler.check()?;
    request.sample.threshold.check()?;
    let SampleSpec { spacing, steps, .. } = request.sample;
    model.precondition.levels(spacing, steps)?;
    Ok((task, side * task.factor))
}

/// The small pictures of `request` at their larger size. `watch` is called after each step.
pub fn enlarge(
    model: &Model,
    request: &EnlargeRequest,
    device: &Device,
    watch: WatchDraw<'_>,
) -> Result<Vec<Image>, DrawError> {
    let (task, side) = check_enlargement(model, request)?;
    let precondition = task.precondition(&model.precondition, request.noise);
    let SampleSpec { spacing, steps, .. } = request.sample;
    let levels = precondition.levels(spacing, steps)?;
    let (count, patch) = (request.seeds.len(), model.card.patch_size as usize);
    let (total, done) = (levels.n_steps() * count, AtomicUsize::new(0));
    let sides = (side as usize, patch);
    let small_side = side as usize / patch;
    let shape = [1, 3 * patch * patch, small_side, small_side];
    // One at a time on any device: a large picture fills it.
    let one = |i: usize| {
        let (small, seed) = (&request.small[i], request.seeds[i]);
        let plain = task.plain(small)?.to_signed();
        let patches = |pixels: &[f32]| {
            let patches = TensorData::new(to_patches(pixels, sides.0, patch), shape);
            Tensor::<4>::from_data(patches, device)
        };
        let mut noise = request.rng.noise(&[seed]);
        let seen = match request.rng {
            Rng::Native => patches(&task.noised(&plain, request.noise, seed)),
            Rng::Torch if request.noise == 0.0 => patches(&plain),
            Rng::Torch => patches(&plain) + noise.normal(shape, device) * request.noise,
        };
        let network = Enlarging {
            unet: &model.unet,
            seen: seen.clone(),
            told: Wants::Small.told(&[Condition::Small(task.level(request.noise))], device),
        };
        let net = Centred::new(Denoiser::new(network, precondition.clone()), seen.clone());
        let net = Thresholded::new(net, request.sample.threshold)?;
        let start = levels.noised(seen, noise.as_mut());
        let mut step = |step: &SampleStep<'_>| {
            watch(&DrawStep {
                done: 1 + done.fetch_add(1, Ordering::Relaxed),
                total,
                first: i,
                denoised: step.denoised,
                sides,
            })
        };
        let sampler = &request.sample.sampler;
        let x = sampler.run(&net, start, &levels, noise.as_mut(), &mut step)?;
        Ok(pictures(&x, sides)?)
    };
    let images: Result<Vec<Vec<Image>>, DrawError> = Workers::new(device, count)?
        .map(count, one)
        .into_iter()
        .collect();
    Ok(images?.concat())
}

/// A model that draws, and those that enlarge what it drew, in order. Without the latter it is the model alone.
pub struct Cascade {
    /// Draws.
    pub base: Model,
    /// Enlarge.
    pub stages: Vec<Model>,
}

impl Cascade {
    /// Reads the model in `dir` and all stages behind it onto `device`, to multiply in `precision`.
    pub fn load(dir: &Path, device: &Device, precision: Precision) -> Result<Self, ModelError> {
        let mut cascade = Self {
            base: Model::load(dir, device, precision)?,
            stages: vec![],
        };
        let mut next = dir.join(NEXT_STAGE);
        while next.is_dir() {
            cascade.add(&next, device, precision)?;
            next.push(NEXT_STAGE);
        }
        Ok(cascade)
    }

    /// Puts the model in `dir`, which must enlarge, behind all others.
    pub fn add(
        &mut self,
        dir: &Path,
        device: &Device,
        precision: Precision,
    ) -> Result<(), ModelError> {
        let wrong = |problem: String| ModelError::NotAModel {
            folder: dir.display().to_string(),
            problem,
        };
        if self.stages.len() == MAX_STAGES {
            let problem = format!("it would be a stage behind {MAX_STAGES}, which are the most");
            return Err(wrong(problem));
        }
        let stage = Model::load(dir, device, precision)?;
        if !matches!(stage.card.task, Task::Enlarge(_)) {
            let problem = "a stage behind another must enlarge, but this one draws";
            return Err(wrong(problem.into()));
        }
        self.stages.push(stage);
        Ok(())
    }

    /// Writes the model folder `dir` with all stages, whole or not at all.
    pub fn save(
        &self,
        dir: &Path,
        weight_type: WeightType,
        encoder_type: WeightType,
    ) -> Result<(), ModelError> {
        let folder = AtomicDir::create(dir)?;
        let mut place = folder.path().to_path_buf();
        self.base.write_into(&place, weight_type, encoder_type)?;
        for stage in &self.stages {
            place.push(NEXT_STAGE);
            create_folder(&place)?;
            stage.write_into(&place, weight_type, encoder_type)?;
        }
        folder.commit()?;
        Ok(())
    }

    /// Errs where [`Cascade::draw`] would before its first step.
    pub fn check(&self, request: &DrawRequest) -> Result<(), DrawError> {
        pipeline::check(&self.base, request)?;
        let factor = self.sides(1).into_iter().next_back().unwrap_or(1);
        if factor > 1 && request.size > MAX_SIDE / factor {
            let most = MAX_SIDE / factor;
            return Err(DrawError::Unfit {
                what: "the size",
                found: request.size.to_string(),
                expected: format!("up to {most}, for the stages make it {factor} times as large"),
            });
        }
        let mut side = request.size;
        for stage in 0..self.stages.len() {
            let small = vec![Image::filled(side, side, [0; 3])?; request.seeds.len().min(1)];
            let (_, larger) = self.check_stage(stage, small)?;
            side = larger;
        }
        Ok(())
    }

    fn check_stage(
        &self,
        stage: usize,
        small: Vec<Image>,
    ) -> Result<(Enlargement, u32), DrawError> {
        let seeds = vec![0; small.len()];
        check_enlargement(
            &self.stages[stage],
            &self.request(stage, &seeds, small, Rng::Native),
        )
    }

    /// Draws `request` with the base and takes the pictures through all stages. `watch` sees the steps of all.
    pub fn draw(
        &self,
        request: &DrawRequest,
        device: &Device,
        watch: WatchDraw<'_>,
    ) -> Result<Vec<Image>, DrawError> {
        let drawn = self.draw_each(request, device, watch)?;
        Ok(drawn.into_iter().next_back().unwrap_or_default())
    }

    /// The same, with what the base has drawn and what each stage has made of it, in order.
    pub fn draw_each(
        &self,
        request: &DrawRequest,
        device: &Device,
        watch: WatchDraw<'_>,
    ) -> Result<Vec<Vec<Image>>, DrawError> {
        self.check(request)?;
        let seeds = &request.seeds;
        let mut before = pipeline::n_steps(&self.base, request, device)?;
        let stage_steps = |stage: &Model| stage.card.sample.steps * seeds.len();
        let total = before + self.stages.iter().map(stage_steps).sum::<usize>();
        let mut small = draw(&self.base, request, device, &|step| {
            watch(&DrawStep { total, ..*step })
        })?;
        let mut drawn = vec![];
        for (i, stage) in self.stages.iter().enumerate() {
            let rng = request.rng;
            let request = self.request(i, seeds, small.clone(), rng);
            drawn.push(small);
            small = enlarge(stage, &request, device, &|step| {
                let done = before + step.done;
                watch(&DrawStep {
                    done,
                    total,
                    ..*step
                })
            })?;
            before += stage_steps(stage);
        }
        drawn.push(small);
        Ok(drawn)
    }

    /// Sides of the pictures that the base draws, of `side` pixels, and of what each stage makes of them.
    pub fn sides(&self, side: u32) -> Vec<u32> {
        let factor = |stage: &Model| match stage.card.task {
            Task::Enlarge(task) => task.factor,
            Task::Draw => 1,
        };
        let larger = self.stages.iter().scan(side, |side, stage| {
            *side = side.saturating_mul(factor(stage));
            Some(*side)
        });
        std::iter::once(side).chain(larger).collect()
    }

    /// What `stage` is to make of the pictures `small` of images of `seeds`.
    fn request(&self, stage: usize, seeds: &[u64], small: Vec<Image>, rng: Rng) -> EnlargeRequest {
        let card = &self.stages[stage].card;
        // Noise of its own: the base has drawn from the streams of these seeds.
        let seed = |&seed| Stream::new(seed, Purpose::Stage, stage as u64).next_u64();
        EnlargeRequest {
            seeds: seeds.iter().map(seed).collect(),
            small,
            noise: match card.task {
                Task::Enlarge(task) => task.noise_on_drawn,
                Task::Draw => 0.0,
            },
            sample: card.sample,
            rng,
        }
    }
}
