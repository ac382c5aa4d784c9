//! What a diffusion model thinks of pictures of a dream: for each view, told the text and the camera, the gradient of
//! its score. Each view is judged by itself, on one thread, so that neither batch nor threads change anything.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_data::{CameraRecord, ViewWord};
use dreamsmith_diffusion::condition::{Condition, TextCode};
use dreamsmith_diffusion::denoise::Denoise;
use dreamsmith_diffusion::follower::{Follower, Sight};
use dreamsmith_diffusion::guidance::{Guidance, GuidanceSpec};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::model::{Model, weights_hash};
use dreamsmith_diffusion::patch::{from_patches, to_patches};
use dreamsmith_diffusion::perp_neg::PerpNeg;
use dreamsmith_diffusion::pipeline::{denoiser, plain_denoiser};
use dreamsmith_diffusion::text::text_hash;
use dreamsmith_diffusion::workers::Workers;
use dreamsmith_scene::viewpoint::Viewpoint;
use serde::{Deserialize, Serialize};

use crate::distill::{Distill, ism_grad, sds_grad, vsd_grad};
use crate::error::LiftError;
use crate::sketch::{Sketches, sketch, sketch_grad, sketch_levels};
use crate::spec::{DreamSpec, PriorSpec, SketchSpec, TellCamera};
use crate::view::worded;

/// The words of views, in the order of their texts.
const WORDS: [ViewWord; 4] = [
    ViewWord::Front,
    ViewWord::Side,
    ViewWord::Back,
    ViewWord::Overhead,
];

/// A diffusion model that is asked about one text.
pub struct Prior {
    model: Model,
    fingerprint: Fingerprint,
    device: Device,
    spec: PriorSpec,
    /// The text as seen from the side of each of `WORDS`.
    texts: Vec<Arc<TextCode>>,
    negative: Option<Arc<TextCode>>,
    /// Knows what pictures there are, for VSD.
    follower: Option<Follower>,
    sketch: SketchSpec,
    sketches: Sketches,
}

/// A picture of a dream.
pub struct Picture {
    /// sRGB in [-1, 1] `[3, S, S]`.
    pub pixels: Vec<f32>,
    /// Where it is seen from.
    pub viewpoint: Viewpoint,
    /// What lies behind the object, sRGB in [0, 1].
    pub behind: [f32; 3],
    /// Its number among all pictures of the dream, from which its noise follows.
    pub number: u64,
}

/// By what a model is known again: BLAKE3 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    weights: String,
    text: String,
}

impl Prior {
    /// The model in the folder `spec.prior.model`, on `device`, asked about the prompt of `spec`; and in words what of
    /// the text it cannot be told.
    pub fn load(spec: &DreamSpec, device: &Device) -> Result<(Self, Vec<String>), LiftError> {
        let sketch = spec.sketch.clone();
        let (folder, prompt, spec) = (&spec.prior.model, &spec.prompt, &spec.prior);
        let model = Model::load(folder, device, spec.precision)?;
        let fingerprint = Fingerprint {
            weights: weights_hash(folder)?,
            text: text_hash(folder)?,
        };
        let Some(source) = &model.text else {
            return Err(LiftError::NoText);
        };
        let (mut texts, mut losses) = (vec![], vec![]);
        for word in WORDS {
            let (code, lost) = source.read_prompt(&worded(prompt, word, spec.tell_view))?;
            texts.push(code);
            losses = lost;
        }
        let negative = match spec.negative.as_str() {
            "" => None,
            words => Some(source.read_prompt(words)?.0),
        };
        let prior = Self {
            fingerprint,
            device: device.clone(),
            spec: spec.clone(),
            texts,
            negative,
            follower: match spec.distill {
                Distill::Vsd { learning_rate } => Some(Follower::new(&model, learning_rate)),
                Distill::Sds {} | Distill::Ism { .. } => None,
            },
            sketch,
            sketches: Sketches::default(),
            model,
        };
        Ok((prior, losses))
    }

    /// By what the model is known again.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// About how many bytes it takes: the networks with their packed weights, and what reads the text.
    pub fn bytes(&self) -> u64 {
        let unet = self.model.unet.num_params() as u64;
        // A copy that learns has weights, gradients for each thread and in all, and two moments.
        let copy = self.follower.as_ref().map_or(0, |_| 24 * unet);
        8 * unet + copy + self.model.text.as_ref().map_or(0, |text| text.bytes())
    }

    /// The side in pixels of the pictures it judges.
    pub fn side(&self) -> u32 {
        self.model.picture_size().unwrap_or(64)
    }

    /// What learns what pictures there are, if anything does.
    pub fn follower(&self) -> Option<&Follower> {
        self.follower.as_ref()
    }

    /// The same, to be filled from a checkpoint.
    pub fn follower_mut(&mut self) -> Option<&mut Follower> {
        self.follower.as_mut()
    }

    /// The pictures of a sketch, as far as they were drawn.
    pub fn sketches(&self) -> &Sketches {
        &self.sketches
    }

    /// The same, to be filled from a checkpoint.
    pub fn sketches_mut(&mut self) -> &mut Sketches {
        &mut self.sketches
    }

    /// For each of `pictures` the gradient `[3, S, S]` of the step at the share `progress` of the run with this seed.
    pub fn gradients(
        &mut self,
        pictures: &[Picture],
        (seed, progress): (u64, f64),
    ) -> Result<Vec<Vec<f32>>, LiftError> {
        let workers = Workers::new(&self.device, pictures.len())?;
        if let Some(round) = self.sketch.round(progress) {
            return self.toward_sketches(pictures, (seed, round), &workers);
        }
        self.sketches = Sketches::default();
        let one = |i: usize| self.gradient(&pictures[i], (seed, progress));
        let gradients = workers.map(pictures.len(), one);
        let sights = pictures.iter().map(|picture| self.sight(picture, seed));
        let sights: Vec<Sight> = sights.collect();
        if let Some(follower) = &mut self.follower {
            follower.learn(&self.model, sights, (&workers, &self.device));
        }
        gradients.into_iter().collect()
    }

    /// Gradients that lead `pictures` to what the model draws of their views.
    fn toward_sketches(
        &mut self,
        pictures: &[Picture],
        (seed, round): (u64, usize),
        workers: &Workers,
    ) -> Result<Vec<Vec<f32>>, LiftError> {
        let SketchSpec { sweep, weight, .. } = self.sketch;
        let place = |picture: &Picture| picture.number % (u64::from(sweep) * pictures.len() as u64);
        let new = |picture: &&Picture| self.sketches.get(place(picture), round).is_none();
        let new: Vec<&Picture> = pictures.iter().filter(new).collect();
        let drawn = workers.map(new.len(), |i| self.sketch_of(new[i], (seed, round)));
        for (picture, drawn) in new.into_iter().zip(drawn) {
            self.sketches.keep(place(picture), round, drawn?);
        }
        let gradient = |picture: &Picture| {
            let drawn = self.sketches.get(place(picture), round).unwrap_or_default();
            sketch_grad(&picture.pixels, drawn, weight)
        };
        Ok(pictures.iter().map(gradient).collect())
    }

    /// What the model draws of `picture` in a round, from the same noise for all views.
    fn sketch_of(
        &self,
        picture: &Picture,
        (seed, round): (u64, usize),
    ) -> Result<Vec<f32>, LiftError> {
        let time = self.sketch.times[round];
        let seen = (time < 1.0).then(|| self.patches_of(&picture.pixels));
        // Behind the streams of the pictures, and before those of the follower.
        let mut stream = Stream::new(seed, Purpose::DreamNoise, 1 << 62 | round as u64);
        let eps = self.tensor(stream.normals(picture.pixels.len()));
        let guidance = GuidanceSpec {
            scale: self.sketch.guidance_scale,
            ..self.spec.guidance
        };
        let net = self.denoiser(picture, (guidance, self.opposite(picture)))?;
        let level = |share| self.model.precondition.sigma_at(share);
        let levels = sketch_levels(&level, (time, self.sketch.steps))?;
        let drawn = sketch(&*net, (seen, eps), &levels)?;
        Ok(self.pixels_of(drawn))
    }

    /// Sides of a picture and of a patch, in pixels.
    fn sides(&self) -> [usize; 2] {
        [self.side(), self.model.card.patch_size].map(|side| side as usize)
    }

    /// `values` in patches, as the network takes them `[1, 3 p^2, S/p, S/p]`.
    fn tensor(&self, values: Vec<f32>) -> Tensor<4> {
        let [side, patch] = self.sides();
        let shape = [1, 3 * patch * patch, side / patch, side / patch];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn patches_of(&self, pixels: &[f32]) -> Tensor<4> {
        let [side, patch] = self.sides();
        self.tensor(to_patches(pixels, side, patch))
    }

    fn pixels_of(&self, patches: Tensor<4>) -> Vec<f32> {
        let [side, patch] = self.sides();
        let values: Vec<f32> = patches.to_data().iter::<f32>().collect();
        from_patches(&values, side, patch)
    }

    /// How the follower sees a picture: at any level.
    fn sight(&self, picture: &Picture, seed: u64) -> Sight {
        // Behind the streams of the pictures.
        let mut stream = Stream::new(seed, Purpose::DreamNoise, picture.number | 1 << 63);
        let (cond, _) = self.conditions(picture);
        Sight {
            condition: cond,
            sigma: self.model.precondition.sigma_at(stream.uniform_f64()),
            eps: stream.normals(picture.pixels.len()),
            pixels: picture.pixels.clone(),
        }
    }

    fn gradient(
        &self,
        picture: &Picture,
        (seed, progress): (u64, f64),
    ) -> Result<Vec<f32>, LiftError> {
        let mut stream = Stream::new(seed, Purpose::DreamNoise, picture.number);
        let time = self.spec.times.at(progress, stream.uniform_f64());
        let level = |share| self.model.precondition.sigma_at(share);
        let led = (self.spec.guidance, self.other_sides(picture));
        let net = self.denoiser(picture, led)?;
        let x0 = self.patches_of(&picture.pixels);
        let eps = self.tensor(stream.normals(picture.pixels.len()));
        let at = (level(time), self.spec.weight);
        let gradient = match (self.spec.distill, &self.follower) {
            (Distill::Vsd { .. }, Some(follower)) => {
                let told = [self.conditions(picture).0];
                let own = plain_denoiser((&self.model, follower.unet()), &told, &self.device);
                vsd_grad((&*net, &own), x0, eps, at)
            }
            (Distill::Sds {} | Distill::Vsd { .. }, _) => sds_grad(&*net, x0, eps, at),
            (Distill::Ism { steps, interval }, _) => {
                let free = self.plain(Condition::Text {
                    text: None,
                    camera: None,
                    behind: picture.behind,
                });
                let up = (1..=steps).map(|i| (time - interval) * f64::from(i) / f64::from(steps));
                let levels: Vec<Sigma> = up.chain([time]).map(level).collect();
                ism_grad((&*net, &free), x0, (&levels, self.spec.weight))
            }
        };
        Ok(self.pixels_of(gradient))
    }

    /// What the model is told of a view, and what it is led away from.
    fn conditions(&self, picture: &Picture) -> (Condition, Condition) {
        let camera = picture.viewpoint.record;
        let always = self.spec.tell_camera == TellCamera::Always;
        let uncond = Condition::Text {
            text: self.negative.clone(),
            camera: always.then_some(camera),
            behind: picture.behind,
        };
        (self.told(picture, (camera, place(&camera))), uncond)
    }

    /// The text in its version number `text`, and the camera, if that is told.
    fn told(&self, picture: &Picture, (camera, text): (CameraRecord, usize)) -> Condition {
        Condition::Text {
            text: Some(self.texts[text].clone()),
            camera: (self.spec.tell_camera != TellCamera::Never).then_some(camera),
            behind: picture.behind,
        }
    }

    /// The texts of the other sides, and how strongly a view is led away from them.
    fn other_sides(&self, picture: &Picture) -> Vec<(Condition, f64)> {
        let camera = picture.viewpoint.record;
        let away = self.spec.other_sides;
        let texts = (0..WORDS.len()).filter(|text| away > 0.0 && *text != place(&camera));
        texts
            .map(|text| (self.told(picture, (camera, text)), away))
            .collect()
    }

    /// The view from the opposite side, and how strongly that of a sketch is led away from it.
    fn opposite(&self, picture: &Picture) -> Vec<(Condition, f64)> {
        let camera = picture.viewpoint.opposite();
        let away = self.sketch.opposite;
        let opposite = (away > 0.0).then(|| (self.told(picture, (camera, place(&camera))), away));
        opposite.into_iter().collect()
    }

    /// The model told of `condition`, without guidance.
    fn plain(&self, condition: Condition) -> impl Denoise {
        plain_denoiser((&self.model, &self.model.unet), &[condition], &self.device)
    }

    /// The model told of a view, and led away from what that is not.
    fn denoiser(
        &self,
        picture: &Picture,
        (guidance, negatives): (GuidanceSpec, Vec<(Condition, f64)>),
    ) -> Result<Box<dyn Denoise + '_>, LiftError> {
        let (cond, uncond) = self.conditions(picture);
        if negatives.is_empty() {
            let led = (guidance, &uncond);
            return Ok(denoiser(&self.model, &[cond], led, &self.device)?);
        }
        let negatives = negatives.into_iter();
        let negatives = negatives.map(|(condition, away)| (self.plain(condition), away));
        Ok(Box::new(PerpNeg::new(
            self.plain(cond),
            self.plain(uncond),
            negatives.collect(),
            Guidance::new(guidance)?,
        )))
    }
}

/// Which of the texts is that of a view.
fn place(camera: &CameraRecord) -> usize {
    let word = ViewWord::of(camera.azimuth, camera.elevation);
    WORDS.iter().position(|other| *other == word).unwrap_or(0)
}
