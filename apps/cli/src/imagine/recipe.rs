//! All that a picture depends on: made from arguments, carried by its PNG, and read from there to draw it again.
//! Leaves out the processor: other instruction sets may round otherwise.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dreamsmith_base::read_png_text;
use dreamsmith_data::CameraRecord;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::cascade::{Cascade, EnlargeRequest, NEXT_STAGE};
use dreamsmith_diffusion::condition::Condition;
use dreamsmith_diffusion::enlarge::Task;
use dreamsmith_diffusion::model::{Card, Model, weights_hash};
use dreamsmith_diffusion::pipeline::{DrawRequest, Rng, Start};
use dreamsmith_diffusion::spec::{SampleSpec, SideSpec};
use dreamsmith_diffusion::text::text_hash;
use serde::{Deserialize, Serialize};

use super::start::{StartFile, as_text};
use crate::console::Console;
use crate::view::chosen;

/// Pictures at once.
pub const MAX_COUNT: u32 = 10_000;
/// Enlargement for the eye.
pub const MAX_SCALE: u32 = 64;

/// What a prompt says of the side, as captions do.
const SIDE_WORDS: [&str; 2] = [" view", "seen from"];

/// The keyword of the text chunk that holds a recipe.
const KEYWORD: &str = "dreamsmith";

/// Everything that [`Recipe::request`] needs beside the model; samplers and schedules as the command line has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub program: String,
    pub version: String,
    #[serde(serialize_with = "as_text")]
    pub model: PathBuf,
    pub weights_blake3: String,
    pub card_blake3: String,
    /// Of what reads texts; none where nothing does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text_blake3: String,
    /// Of weights and card of each later stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages_blake3: Vec<String>,
    pub prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraRecord>,
    /// Whether the model chooses no side of its own.
    #[serde(default)]
    pub any_side: bool,
    pub seed: u64,
    pub count: u32,
    pub size: u32,
    pub scale: u32,
    pub steps: usize,
    pub sampler: String,
    pub schedule: String,
    pub guidance: f64,
    pub rng: Rng,
    pub precision: Precision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartFile>,
}

/// What tells one model from another, beside its folder.
pub struct Fingerprint {
    pub weights: String,
    pub card: String,
    /// Empty where the model reads no texts.
    pub text: String,
    pub stages: Vec<String>,
}

/// What a recipe asks a model for.
pub enum Request {
    Draw(DrawRequest),
    Enlarge(EnlargeRequest),
}

impl Request {
    pub fn seeds(&self) -> &[u64] {
        match self {
            Self::Draw(request) => &request.seeds,
            Self::Enlarge(request) => &request.seeds,
        }
    }

    /// Whether the strength of guidance makes a difference.
    pub fn is_guided(&self) -> bool {
        match self {
            Self::Draw(request) => request.is_guided(),
            Self::Enlarge(_) => false,
        }
    }
}

impl Fingerprint {
    /// Of `cascade`, which was read from `folder`.
    pub fn of(cascade: &Cascade, folder: &Path) -> anyhow::Result<Self> {
        let text = match cascade.base.text {
            Some(_) => text_hash(folder)?,
            None => String::new(),
        };
        let mut folder = folder.to_path_buf();
        let mut parts = |model: &Model| -> anyhow::Result<_> {
            let card = blake3::hash(&serde_json::to_vec(&model.card)?);
            let weights = weights_hash(&folder)?;
            folder.push(NEXT_STAGE);
            Ok((weights, card.to_hex().to_string()))
        };
        let (weights, card) = parts(&cascade.base)?;
        let mut stages = vec![];
        for stage in &cascade.stages {
            let (weights, card) = parts(stage)?;
            stages.extend([weights, card]);
        }
        Ok(Self {
            weights,
            card,
            text,
            stages,
        })
    }
}

impl Recipe {
    /// What `picture`, a PNG, carries.
    pub fn read(picture: &Path) -> anyhow::Result<Self> {
        let name = picture.display();
        let text = read_png_text(picture)?;
        let Some((_, recipe)) = text.iter().find(|(key, _)| key == KEYWORD) else {
            bail!("`{name}` does not say how it was drawn; give a PNG that `imagine` wrote");
        };
        let recipe: Self = serde_json::from_str(recipe).with_context(|| {
            format!("`{name}` was drawn by another version, or what it says was changed; see `dreamsmith info {name}`")
        })?;
        for (key, found, limit) in [
            ("count", recipe.count, MAX_COUNT),
            ("scale", recipe.scale, MAX_SCALE),
        ] {
            if !(1..=limit).contains(&found) {
                bail!("`{name}`: its {key} is {found}, expected 1 to {limit}");
            }
        }
        Ok(recipe)
    }

    /// The same for this version of the program, which says so if it is not the one that drew.
    pub fn of_this_version(self, console: &Console) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        if self.version != version {
            let old = &self.version;
            console.note(&format!(
                "drawn by version {old}, this is {version}: the pictures may differ"
            ));
        }
        Self {
            version: version.into(),
            ..self
        }
    }

    /// As the text of a PNG.
    pub fn text(&self) -> anyhow::Result<[(&'static str, String); 1]> {
        Ok([(KEYWORD, serde_json::to_string(self)?)])
    }

    /// Errs unless `found` is the model that this was drawn with.
    pub fn check_model(&self, folder: &Path, found: &Fingerprint) -> anyhow::Result<()> {
        let stages = (found.stages.concat(), self.stages_blake3.concat());
        let pairs = [
            ("weights", &found.weights, &self.weights_blake3),
            ("card", &found.card, &self.card_blake3),
            ("text encoder", &found.text, &self.text_blake3),
            ("later stages", &stages.0, &stages.1),
        ];
        match pairs.into_iter().find(|(_, found, wanted)| found != wanted) {
            None => Ok(()),
            Some((part, found, wanted)) => bail!(
                "the model in `{}` has a {part} of BLAKE3 {found}, but the picture was drawn with {wanted}; give the folder of that model with --model",
                folder.display()
            ),
        }
    }

    /// What is asked of `model`; reads the pictures that the start is made of.
    pub fn request(&self, model: &Model, console: &Console) -> anyhow::Result<Request> {
        if self.camera.is_some() && model.text.is_none() {
            bail!(
                "this model was trained without cameras; draw without --view, --azimuth and --elevation"
            );
        }
        match model.card.task {
            Task::Draw => Ok(Request::Draw(self.draw(model, console)?)),
            Task::Enlarge(_) => Ok(Request::Enlarge(self.enlarge(model)?)),
        }
    }

    fn enlarge(&self, model: &Model) -> anyhow::Result<EnlargeRequest> {
        if let Some(prompt) = self.prompt.as_ref().or(self.negative.as_ref()) {
            bail!("`{prompt}`: this model enlarges a picture and takes no prompt");
        }
        let Some(start) = &self.start else {
            bail!("this model enlarges a picture; give one with --image");
        };
        let (small, noise) = start.read_small()?;
        let count = self.count as usize;
        let seeds = (0..count as u64).map(|i| self.seed.wrapping_add(i));
        Ok(EnlargeRequest {
            seeds: seeds.collect(),
            small: vec![small; count],
            noise,
            sample: self.sample(model)?,
            rng: self.rng,
        })
    }

    fn sample(&self, model: &Model) -> anyhow::Result<SampleSpec> {
        let mut sample = model.card.sample;
        sample.steps = self.steps;
        sample.sampler = self.sampler.parse()?;
        sample.spacing = self.schedule.parse()?;
        sample.guidance.scale = self.guidance;
        Ok(sample)
    }

    fn draw(&self, model: &Model, console: &Console) -> anyhow::Result<DrawRequest> {
        let count = self.count as usize;
        let mut request = DrawRequest::new(&model.card, self.seed, count, self.size);
        request.rng = self.rng;
        let condition = told(model, self.prompt.as_deref(), self.camera, console)?;
        request.conditions = vec![condition; count];
        if let Some(side) = self.own_side(model) {
            for (condition, seed) in request.conditions.iter_mut().zip(&request.seeds) {
                condition.see_from(chosen(&side, *seed));
            }
        }
        request.negative = told(model, self.negative.as_deref(), None, console)?;
        request.sample = self.sample(model)?;
        request.start = match &self.start {
            None => Start::Noise,
            Some(file) => file.read((count, self.size), model.card.patch_size)?,
        };
        Ok(request)
    }

    /// The side that the model chooses for a text that says none, where nothing is drawn yet.
    fn own_side(&self, model: &Model) -> Option<SideSpec> {
        let prompt = self.prompt.as_ref()?.to_lowercase();
        let told = self.camera.is_some() || SIDE_WORDS.iter().any(|word| prompt.contains(word));
        let is_free = !told && !self.any_side && self.start.is_none();
        model.card.sample.side.filter(|_| is_free)
    }

    /// The recipe of image `i` alone.
    pub fn of_one(&self, i: usize) -> Self {
        Self {
            seed: self.seed.wrapping_add(i as u64),
            count: 1,
            start: self.start.as_ref().map(|file| file.of_one(i)),
            ..self.clone()
        }
    }
}

/// What the model is told for `prompt` and `camera`.
fn told(
    model: &Model,
    prompt: Option<&str>,
    camera: Option<CameraRecord>,
    console: &Console,
) -> anyhow::Result<Condition> {
    let prompt = prompt.filter(|prompt| !prompt.trim().is_empty());
    if prompt.is_none() && camera.is_none() {
        return Ok(Condition::Anything);
    }
    let text = match (prompt, &model.text) {
        (Some(prompt), None) => return label(&model.card, prompt),
        (Some(prompt), Some(source)) => {
            let (code, losses) = source.read_prompt(prompt)?;
            losses.iter().for_each(|loss| console.note(loss));
            Some(code)
        }
        (None, _) => None,
    };
    Ok(Condition::text(text, camera))
}

fn label(card: &Card, prompt: &str) -> anyhow::Result<Condition> {
    match card.classes.iter().position(|class| class == prompt) {
        Some(label) => Ok(Condition::Class(label as u32)),
        None if card.classes.is_empty() => {
            bail!("`{prompt}`: this model has no classes; draw without a prompt")
        }
        None => bail!(
            "`{prompt}` is no class of this model, expected one of {}",
            card.classes.join(", ")
        ),
    }
}
