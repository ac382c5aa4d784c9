//! `dreamsmith imagine`: words to a picture.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{Image, ImageLimits, grid, read_image, read_limited, write_png};
use dreamsmith_data::CameraRecord;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::condition::Condition;
use dreamsmith_diffusion::model::{Card, Model, weights_hash};
use dreamsmith_diffusion::pipeline::{DrawError, DrawRequest, Rng, Start, check, draw};
use dreamsmith_diffusion::sampler::{SampleError, Sampler};
use dreamsmith_diffusion::spacing::Spacing;
use serde::Serialize;
use serde_json::json;

use crate::console::{Console, stop_flag};
use crate::output::prepare_file;
use crate::view::View;

/// The model that ships with the program.
const SHIPPED_MODEL: &str = "models/emoji-32";
/// For models that do not say what they were trained at.
const DEFAULT_SIZE: u32 = 64;
/// A file of given noise: 64 MiB are 5,461 pictures of 3x32x32.
const MAX_NOISE_BYTES: u64 = 1 << 26;

/// Draw pictures from a trained model
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith imagine                               a picture from the shipped model
  dreamsmith imagine animals-nature --seed 7       one of a class
  dreamsmith imagine --count 64 --grid -o all.png  a sheet of 64
  dreamsmith imagine --image cat.png --strength 0.6
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
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// One sheet instead of one file for each picture
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
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
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
    /// How much of the picture to redraw: above 0 (little) to 1 (all)
    #[arg(long, default_value_t = 0.6, requires = "image")]
    strength: f64,
}

/// All that a picture depends on, as its PNG carries it.
#[derive(Serialize)]
struct Provenance<'a> {
    program: &'a str,
    version: &'a str,
    model: String,
    weights_blake3: String,
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<CameraRecord>,
    seed: u64,
    size: u32,
    steps: usize,
    sampler: String,
    schedule: String,
    guidance: f64,
    rng: Rng,
    precision: Precision,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
}

impl Imagine {
    pub fn run(
        self,
        device: &Device,
        precision: Precision,
        console: &Console,
    ) -> anyhow::Result<()> {
        let folder = match &self.model {
            Some(folder) => folder.clone(),
            None => shipped_model()?,
        };
        let model = Model::load(&folder, device, precision)?;
        let request = self.request(&model, console)?;
        check(&model, &request)?;
        let stop = stop_flag(console)?;
        if self.guidance.is_some() && self.prompt.is_none() {
            console.note("--guidance does nothing without a prompt");
        }
        prepare_file(&self.output)?;
        let bar = console.bar(0, "steps");
        let images = draw(&model, &request, device, &|step| {
            bar.set_length(step.total as u64);
            bar.set_position(step.done as u64);
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        bar.finish_and_clear();
        let images = match images {
            Err(DrawError::Sample(SampleError::Stopped { .. })) => {
                bail!("stopped; nothing was written")
            }
            images => self.enlarged(images?)?,
        };
        let provenance = self.provenance(&folder, &request, precision)?;
        let written = self.write(&images, &request, provenance)?;
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
            &json!({"command": "imagine", "files": names, "seeds": request.seeds}),
        );
        Ok(())
    }

    fn request(&self, model: &Model, console: &Console) -> anyhow::Result<DrawRequest> {
        let size = self.size.or(model.picture_size()).unwrap_or(DEFAULT_SIZE);
        let count = self.count as usize;
        let mut request = DrawRequest::new(&model.card, self.seed, count, size);
        request.rng = self.rng;
        let camera = self.view.camera();
        if camera.is_some() && model.text.is_none() {
            bail!(
                "this model was trained without cameras; draw without --view, --azimuth and --elevation"
            );
        }
        let condition = told(model, self.prompt.as_deref(), camera, console)?;
        request.conditions = vec![condition; count];
        request.negative = told(model, self.negative.as_deref(), None, console)?;
        let sample = &mut request.sample;
        sample.steps = self.steps.unwrap_or(sample.steps);
        sample.sampler = self.sampler.unwrap_or(sample.sampler);
        sample.spacing = self.schedule.unwrap_or(sample.spacing);
        sample.guidance.scale = self.guidance.unwrap_or(sample.guidance.scale);
        if let Some(path) = &self.init {
            request.start = Start::Given(read_noise(path, count, size, model.card.patch_size)?);
        }
        if let Some(path) = &self.image {
            let picture = read_image(path, &ImageLimits::default())?.over([255; 3]);
            let side = picture.width().min(picture.height());
            let corner = ((picture.width() - side) / 2, (picture.height() - side) / 2);
            request.start = Start::Picture {
                pixels: picture
                    .crop(corner, (side, side))?
                    .resize(size, size)?
                    .to_signed(),
                strength: self.strength,
            };
        }
        Ok(request)
    }

    fn enlarged(&self, images: Vec<Image>) -> anyhow::Result<Vec<Image>> {
        if self.scale == 1 {
            return Ok(images);
        }
        let larger =
            |image: &Image| image.resize(image.width() * self.scale, image.height() * self.scale);
        Ok(images.iter().map(larger).collect::<Result<_, _>>()?)
    }

    fn provenance(
        &self,
        folder: &Path,
        request: &DrawRequest,
        precision: Precision,
    ) -> anyhow::Result<Provenance<'_>> {
        let start = match (&self.init, &self.image) {
            (Some(path), _) => Some(format!("noise of {}", path.display())),
            (_, Some(path)) => Some(format!("{} at strength {}", path.display(), self.strength)),
            (None, None) => None,
        };
        Ok(Provenance {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            model: folder.display().to_string(),
            weights_blake3: weights_hash(folder)?,
            prompt: self.prompt.as_deref(),
            negative: self.negative.as_deref(),
            camera: self.view.camera(),
            seed: self.seed,
            size: request.size,
            steps: request.sample.steps,
            sampler: request.sample.sampler.to_string(),
            schedule: request.sample.spacing.to_string(),
            guidance: request.sample.guidance.scale,
            rng: request.rng,
            precision,
            start,
        })
    }

    fn write(
        &self,
        images: &[Image],
        request: &DrawRequest,
        mut provenance: Provenance<'_>,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let text = |provenance: &Provenance<'_>| -> anyhow::Result<[(&str, String); 1]> {
            Ok([("dreamsmith", serde_json::to_string(provenance)?)])
        };
        if self.grid || images.len() == 1 {
            let columns = (images.len() as f64).sqrt().ceil() as usize;
            let sheet = match images {
                [image] => image.clone(),
                images => grid(images, columns, 2 * self.scale)?,
            };
            write_png(&self.output, &sheet, &text(&provenance)?)?;
            return Ok(vec![self.output.clone()]);
        }
        let mut written = vec![];
        for (image, &seed) in images.iter().zip(&request.seeds) {
            provenance.seed = seed;
            let path = with_seed(&self.output, seed);
            write_png(&path, image, &text(&provenance)?)?;
            written.push(path);
        }
        Ok(written)
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
    Ok(Condition::Text { text, camera })
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

fn parse_rng(text: &str) -> Result<Rng, String> {
    match text {
        "native" => Ok(Rng::Native),
        "torch" => Ok(Rng::Torch),
        _ => Err("expected native or torch".into()),
    }
}

/// The shipped model: in the working directory, or above the program itself.
fn shipped_model() -> anyhow::Result<PathBuf> {
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

fn read_noise(path: &Path, count: usize, size: u32, patch: u32) -> anyhow::Result<Vec<Vec<f32>>> {
    let bytes = read_limited(path, MAX_NOISE_BYTES)?;
    let name = path.display();
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .with_context(|| format!("`{name}` is no safetensors file"))?;
    let noise = file
        .tensor("noise")
        .with_context(|| format!("`{name}` has no tensor `noise`"))?;
    let (side, channels) = ((size / patch) as usize, (3 * patch * patch) as usize);
    let wanted = [count, channels, side, side];
    if noise.shape() != wanted || noise.dtype() != safetensors::Dtype::F32 {
        bail!(
            "`{name}`: `noise` is {:?} of {:?}, expected {wanted:?} of F32",
            noise.shape(),
            noise.dtype()
        );
    }
    let (values, _) = noise.data().as_chunks::<4>();
    let values: Vec<f32> = values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    Ok(values
        .chunks(values.len() / count)
        .map(<[f32]>::to_vec)
        .collect())
}
