//! `dreamsmith imagine`: words to a picture.

mod recipe;
mod sheet;
mod start;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{Image, write_png};
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::cascade::{Cascade, check_enlargement, enlarge};
use dreamsmith_diffusion::enlarge::Task;
use dreamsmith_diffusion::pipeline::{DrawError, DrawStep, Rng};
use dreamsmith_diffusion::sampler::{SampleError, Sampler};
use dreamsmith_diffusion::spacing::Spacing;
use serde_json::json;

use crate::console::{Console, stop_flag};
use crate::output::prepare_file;
use crate::view::View;
use recipe::{Fingerprint, MAX_COUNT, MAX_SCALE, Recipe, Request};
use sheet::{Preview, enlarged, sheet};
use start::{Given, StartFile};

/// The model that ships with the program.
const SHIPPED_MODEL: &str = "models/objects";
/// For models that do not say what they were trained at.
const DEFAULT_SIZE: u32 = 64;
/// Of `--image` without a mask: keeps the shape of things and redraws the rest.
const DEFAULT_STRENGTH: f64 = 0.6;

/// Draw pictures from a trained model
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith imagine \"a red armchair\"              a picture from the shipped model
  dreamsmith imagine \"a blue sofa\" --view back --seed 7
  dreamsmith imagine \"3D emoji of fox\" --count 16 --grid -o all.png  a sheet, each with its seed
  dreamsmith imagine \"a toy\" --image cat.png --strength 0.6
  dreamsmith imagine \"a hat\" --image cat.png --mask hat.png
  dreamsmith imagine --model enlarger --image small.png
  dreamsmith imagine --from all.png -o again.png   the same again, to the byte
  dreamsmith imagine --model runs/first/model --sampler ddim:eta=0.5 --steps 50")]
pub struct Imagine {
    /// What to draw, in words, or a class of the model; anything it knows if not given
    prompt: Option<String>,
    /// What not to draw
    #[arg(long, value_name = "PROMPT")]
    negative: Option<String>,
    #[command(flatten)]
    view: View,
    /// The PNG to write; with --count and no --grid, seeds are put into the name
    #[arg(short, long, default_value = "imagine.png")]
    output: PathBuf,
    /// A model folder in diffusers' format; the shipped one if not given
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Seed of the first picture; the next ones count up
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many pictures
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_COUNT)))]
    count: u32,
    /// One sheet with the seed under each picture, instead of one file for each
    #[arg(long)]
    grid: bool,
    /// Sampler steps; the model's own if not given
    #[arg(long)]
    steps: Option<usize>,
    /// ddpm, ddim, euler, euler-ancestral, heun, dpm2, dpmpp-2s-ancestral, dpmpp-2m, dpmpp-2m-sde,
    /// lms, pndm, unipc, edm or lcm, with options as in ddim:eta=0.5
    #[arg(long)]
    sampler: Option<Sampler>,
    /// Where the steps lie: linspace, leading, trailing, karras, exponential, polyexponential,
    /// align-your-steps, flow or consistency, with options as in karras:rho=5
    #[arg(long, value_name = "SPACING")]
    schedule: Option<Spacing>,
    /// Strength of the prompt; 1 is unguided
    #[arg(long, value_name = "SCALE")]
    guidance: Option<f64>,
    /// Side of the pictures in pixels; what the model was trained at if not given
    #[arg(long)]
    size: Option<u32>,
    /// Enlarge the pictures this many times for the eye, after drawing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SCALE)))]
    scale: u32,
    /// Where noise comes from: native, or torch for what PyTorch draws on the CPU
    #[arg(long, default_value = "native", value_parser = parse_rng)]
    rng: Rng,
    /// Start from the tensor `noise` [count, channels, height, width] of a safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    init: Option<PathBuf>,
    /// Start from a picture
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How much of the picture to redraw: above 0 (little) to 1 (all); 0.6 if not given, 1 with a mask
    #[arg(long, requires = "image")]
    strength: Option<f64>,
    /// Redraw only where this picture, as large as the other, is white; what is black stays
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    /// With a mask, take each step this many times: the more, the better the new part fits the old
    #[arg(long, default_value_t = 4, value_name = "TIMES", requires = "mask")]
    resample: u32,
    /// To enlarge: noise on the small picture, from 0 to what the model was trained with; the more,
    /// the more it draws of its own
    #[arg(long, default_value_t = 0.0, requires = "image")]
    noise: f64,
    /// Draw again what a PNG of `imagine` says it is; --model says where its model is now
    #[arg(
        long,
        value_name = "PNG",
        conflicts_with_all = [
            "prompt", "negative", "view", "azimuth", "elevation", "any_side", "seed", "count", "grid", "steps", "sampler", "schedule", "guidance", "size",
            "scale", "rng", "init", "image",
        ]
    )]
    from: Option<PathBuf>,
    /// Write what the pictures look like by now to this PNG, again and again while they are drawn
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
}

impl Imagine {
    pub fn run(
        self,
        device: &Device,
        precision: Precision,
        console: &Console,
    ) -> anyhow::Result<()> {
        let again = self.from.as_deref().map(Recipe::read).transpose()?;
        let folder = match (&self.model, &again) {
            (Some(folder), _) => folder.clone(),
            (None, Some(recipe)) => recipe.model.clone(),
            (None, None) => shipped_model()?,
        };
        let precision = again.as_ref().map_or(precision, |recipe| recipe.precision);
        let cascade = Cascade::load(&folder, device, precision)?;
        let fingerprint = Fingerprint::of(&cascade, &folder)?;
        let recipe = match again {
            None => self.recipe(&folder, &cascade, fingerprint, precision)?,
            Some(recipe) => {
                recipe.check_model(&folder, &fingerprint)?;
                recipe.of_this_version(console)
            }
        };
        let request = recipe.request(&cascade.base, console)?;
        match &request {
            Request::Draw(request) => cascade.check(request)?,
            Request::Enlarge(request) => {
                check_enlargement(&cascade.base, request)?;
            }
        }
        let drawing = Drawing {
            recipe,
            request,
            cascade,
        };
        // Before the first note, so that whoever has read it can stop the drawing.
        let stop = stop_flag(console)?;
        if self.guidance.is_some() && !drawing.request.is_guided() {
            console.note("--guidance does nothing without a prompt or a view");
        }
        prepare_file(&self.output)?;
        let images = self.draw(&drawing, device, (console, &stop))?;
        let written = self.write(&images, &drawing)?;
        let names: Vec<String> = written
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let words = match names.len() {
            1 => format!("wrote {}", names[0]),
            n => format!("wrote {n} pictures, {} to {}", names[0], names[n - 1]),
        };
        console.result(
            &words,
            &json!({"command": "imagine", "files": names, "seeds": drawing.request.seeds()}),
        );
        Ok(())
    }

    /// The arguments, and what the model says where they are silent.
    fn recipe(
        &self,
        folder: &Path,
        cascade: &Cascade,
        fingerprint: Fingerprint,
        precision: Precision,
    ) -> anyhow::Result<Recipe> {
        let (model, own) = (&cascade.base, &cascade.base.card.sample);
        Ok(Recipe {
            program: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: folder.to_path_buf(),
            weights_blake3: fingerprint.weights,
            card_blake3: fingerprint.card,
            text_blake3: fingerprint.text,
            stages_blake3: fingerprint.stages,
            prompt: self.prompt.clone(),
            negative: self.negative.clone(),
            camera: self.view.camera(),
            any_side: self.view.any_side,
            seed: self.seed,
            count: self.count,
            size: self.size.or(model.picture_size()).unwrap_or(DEFAULT_SIZE),
            scale: self.scale,
            steps: self.steps.unwrap_or(own.steps),
            sampler: self.sampler.unwrap_or(own.sampler).to_string(),
            schedule: self.schedule.unwrap_or(own.spacing).to_string(),
            guidance: self.guidance.unwrap_or(own.guidance.scale),
            rng: self.rng,
            precision,
            start: self.start(model.card.task)?,
        })
    }

    fn start(&self, task: Task) -> anyhow::Result<Option<StartFile>> {
        if let Some(path) = &self.init {
            let of = self.count as usize;
            let file = Given::new(path)?;
            return Ok(Some(StartFile::Noise { file, first: 0, of }));
        }
        let Some(path) = &self.image else {
            return Ok(None);
        };
        if task == Task::Draw && self.noise != 0.0 {
            bail!(
                "--noise is for models that enlarge, and this one draws; did you mean --strength?"
            );
        }
        let picture = Given::new(path)?;
        let plain = self.mask.is_none() && self.strength.is_none();
        if matches!(task, Task::Enlarge(_)) && plain {
            let noise = self.noise;
            return Ok(Some(StartFile::Small { picture, noise }));
        }
        Ok(Some(match &self.mask {
            None => StartFile::Picture {
                picture,
                strength: self.strength.unwrap_or(DEFAULT_STRENGTH),
            },
            Some(mask) => StartFile::Masked {
                picture,
                mask: Given::new(mask)?,
                strength: self.strength.unwrap_or(1.0),
                times: self.resample,
            },
        }))
    }

    fn draw(
        &self,
        drawing: &Drawing,
        device: &Device,
        (console, stop): (&Console, &AtomicBool),
    ) -> anyhow::Result<Vec<Image>> {
        let Drawing {
            recipe,
            request,
            cascade,
        } = drawing;
        let preview = match &self.preview {
            None => None,
            Some(path) => {
                prepare_file(path)?;
                let sides = (recipe.size, recipe.scale);
                Some(Preview::new(path, request.seeds(), sides)?)
            }
        };
        let bar = console.bar(0, "steps");
        let watch = |step: &DrawStep<'_>| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => preview
                    .as_ref()
                    .map_or(ControlFlow::Continue(()), |preview| preview.see(step)),
            }
        };
        let images = match request {
            Request::Draw(request) => cascade.draw(request, device, &watch),
            Request::Enlarge(request) => enlarge(&cascade.base, request, device, &watch),
        };
        bar.finish_and_clear();
        match (images, preview) {
            (Err(DrawError::Sample(SampleError::Stopped { .. })), preview) => {
                preview.map_or(Ok(()), Preview::fault)?;
                bail!("stopped; nothing was written")
            }
            (images, None) => Ok(images?),
            (images, Some(preview)) => {
                let images = images?;
                preview.write(&images)?;
                Ok(images)
            }
        }
    }

    fn write(&self, images: &[Image], drawing: &Drawing) -> anyhow::Result<Vec<PathBuf>> {
        let Drawing {
            recipe, request, ..
        } = drawing;
        let images = enlarged(images, recipe.scale)?;
        if self.grid || self.from.is_some() || images.len() == 1 {
            let sheet = sheet(&images, request.seeds())?;
            write_png(&self.output, &sheet, &recipe.text()?)?;
            return Ok(vec![self.output.clone()]);
        }
        let mut written = vec![];
        for (i, image) in images.iter().enumerate() {
            let recipe = recipe.of_one(i);
            let path = with_seed(&self.output, recipe.seed);
            write_png(&path, image, &recipe.text()?)?;
            written.push(path);
        }
        Ok(written)
    }
}

/// What is drawn, in words and in numbers, and from what.
struct Drawing {
    recipe: Recipe,
    request: Request,
    cascade: Cascade,
}

fn parse_rng(text: &str) -> Result<Rng, String> {
    match text {
        "native" => Ok(Rng::Native),
        "torch" => Ok(Rng::Torch),
        _ => Err("expected native or torch".into()),
    }
}

/// The shipped model: in the working directory, or above the program itself.
pub fn shipped_model() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let places = std::iter::once(Path::new("")).chain(program.ancestors().skip(1));
    let mut folders = places.map(|place| place.join(SHIPPED_MODEL));
    folders.find(|folder| folder.is_dir()).with_context(|| {
        format!("the shipped model {SHIPPED_MODEL} is neither here nor above the program; give one with --model DIR")
    })
}

fn with_seed(path: &Path, seed: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match extension.is_empty() {
        true => path.with_file_name(format!("{stem}-{seed}.png")),
        false => path.with_file_name(format!("{stem}-{seed}.{extension}")),
    }
}
