//! `dreamsmith dream`: words to an object.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{
    Image, ImageError, create_folder, grid, write_atomic_bytes, write_png, write_webp,
};
use dreamsmith_diffusion::Precision;
use dreamsmith_lift::checkpoint;
use dreamsmith_lift::dream::Dream as Dreaming;
use dreamsmith_lift::export::{Exported, camera, export};
use dreamsmith_lift::prior::Prior;
use dreamsmith_lift::run::{DreamEvent, Metrics, run};
use dreamsmith_lift::spec::DreamSpec;
use dreamsmith_scene::extract::{ExtractSpec, Paint};
use dreamsmith_scene::raster::{Channel, Light, Shading, Surface, render};
use dreamsmith_scene::render::{self, Extent};
use dreamsmith_scene::run::{Outcome, RunFolder};
use dreamsmith_scene::spec::Length;
use glam::Vec3;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde_json::json;

use crate::console::{Console, stop_flag};
use crate::imagine::shipped_model;

/// Columns of progress: a share of the run in thousandths, as its steps may not be known.
const PROGRESS: u64 = 1000;
/// Views on a sheet, and their pixels.
const AROUND: u32 = 8;
const SIDE: u32 = 128;
/// What the program takes for itself.
const OWN_MB: u64 = 100;
/// Degrees above the ground.
const ELEVATION: f32 = 15.0;
/// Pictures of a turntable, and how long a turn takes.
const FRAMES: u32 = 48;
const TURN: Duration = Duration::from_secs(4);
/// Rounds that take the bumps of a field from its mesh.
const FAIRING: u32 = 40;
/// The most faces of an object, and the texels along an edge of its texture.
const FACES: usize = 20_000;
const TEXELS: u32 = 1024;

/// Dream an object of what a text says
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith dream \"a red armchair\"                   an object in runs/dream: object.glb, turntable.webp, sheet.png
  dreamsmith dream \"a teddy bear\" --seed 7 -o bear
  dreamsmith dream --resume bear                      go on after Ctrl-C or a power cut
  dreamsmith dream \"a blue teddy bear\" --start bear -o blue    begin with what another dream has learnt")]
pub struct Dream {
    /// What to dream of
    #[arg(required_unless_present_any = ["resume", "spec", "print_spec"], conflicts_with = "resume")]
    prompt: Option<String>,
    /// Folder for the object, its pictures, the field and metrics
    #[arg(short, long, default_value = "runs/dream", conflicts_with = "resume")]
    output: PathBuf,
    /// A model folder that reads text; the shipped one if not given
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    model: Option<PathBuf>,
    /// Learn for so many steps: the result is then the same on every machine of a kind
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    steps: Option<u64>,
    /// Learn for so long instead
    #[arg(long, value_name = "S", conflicts_with_all = ["steps", "resume"])]
    seconds: Option<f64>,
    /// Everything random follows from it
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// Strength of the prompt; 1 is unguided
    #[arg(long, value_name = "SCALE", conflicts_with = "resume")]
    guidance: Option<f64>,
    /// What it is not to be
    #[arg(long, value_name = "PROMPT", conflicts_with = "resume")]
    negative: Option<String>,
    /// Begin with what the dream in this folder has learnt, perhaps of another prompt
    #[arg(long, value_name = "OUT", conflicts_with = "resume")]
    start: Option<PathBuf>,
    /// Most faces of the object
    #[arg(long, value_name = "N", default_value_t = FACES)]
    faces: usize,
    /// Cells of the mesh along an edge, up to 512: how fine it is before it has so few faces
    #[arg(long, value_name = "N", default_value_t = ExtractSpec::default().cells)]
    cells: usize,
    /// Texels along an edge of the texture
    #[arg(long, value_name = "N", default_value_t = TEXELS, value_parser = clap::value_parser!(u32).range(16..=8192))]
    texture: u32,
    /// A spec, as `spec.toml` of a dream; other options override it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    spec: Option<PathBuf>,
    /// Print the spec with every default, and do nothing
    #[arg(long)]
    print_spec: bool,
    /// Go on with the dream in this folder
    #[arg(long, value_name = "OUT")]
    resume: Option<PathBuf>,
}

impl Dream {
    pub fn run(
        self,
        device: &Device,
        precision: Option<Precision>,
        console: &Console,
    ) -> anyhow::Result<()> {
        if self.print_spec {
            let spec = self.spec(precision)?;
            console.result(spec.to_toml()?.trim_end(), &serde_json::to_value(&spec)?);
            return Ok(());
        }
        let folder = RunFolder::new(self.resume.as_ref().unwrap_or(&self.output));
        let spec = match &self.resume {
            Some(_) if precision.is_some() => {
                bail!("a dream goes on in the precision it began with: leave --precision out")
            }
            Some(_) => checkpoint::read_spec(&folder.checkpoint())?,
            None if folder.checkpoint().exists() => bail!(
                "`{0}` holds a dream already; go on with `--resume {0}`, or choose another folder with -o",
                folder.path().display()
            ),
            None => self.spec(precision)?,
        };
        let (prior, losses) = Prior::load(&spec, device)?;
        losses.iter().for_each(|lost| console.note(lost));
        let mut dream = Dreaming::new(spec, prior)?;
        let mut seconds = 0.0;
        if self.resume.is_some() {
            let state = checkpoint::load(&folder.checkpoint(), &mut dream)?;
            seconds = state.seconds;
            console.note(&format!(
                "resuming at step {} after {seconds:.0} s",
                state.step
            ));
        } else {
            if let Some(start) = &self.start {
                checkpoint::begin_with(&RunFolder::new(start).checkpoint(), &mut dream)?;
            }
            create_folder(folder.path())?;
            let text = dream.spec().to_toml()?;
            write_atomic_bytes(&folder.path().join("spec.toml"), text.as_bytes())?;
        }
        self.dream((dream, seconds), &folder, console)
    }

    fn spec(&self, precision: Option<Precision>) -> anyhow::Result<DreamSpec> {
        let mut spec = match &self.spec {
            Some(path) => DreamSpec::read(path)?,
            None => DreamSpec::default(),
        };
        if let Some(prompt) = &self.prompt {
            spec.prompt.clone_from(prompt);
        }
        match (&self.model, &self.spec) {
            (Some(model), _) => spec.prior.model.clone_from(model),
            (None, None) => spec.prior.model = shipped_model()?,
            (None, Some(_)) => {}
        }
        spec.prior.precision = precision.unwrap_or(spec.prior.precision);
        if let Some(negative) = &self.negative {
            spec.prior.negative.clone_from(negative);
        }
        spec.run.length = match (self.steps, self.seconds) {
            (Some(steps), _) => Length::Steps { steps },
            (None, Some(seconds)) => Length::Seconds { seconds },
            (None, None) => spec.run.length,
        };
        if self.start.is_some() {
            spec.sketch.keep_what_is_there();
        }
        spec.run.seed = self.seed.unwrap_or(spec.run.seed);
        spec.prior.guidance.scale = self.guidance.unwrap_or(spec.prior.guidance.scale);
        spec.check()?;
        Ok(spec)
    }

    fn dream(
        &self,
        (mut dream, mut seconds): (Dreaming, f64),
        folder: &RunFolder,
        console: &Console,
    ) -> anyhow::Result<()> {
        console.note(&format!(
            "dreaming of {:?} in at most about {} MB, into {}",
            dream.spec().prompt,
            (dream.bytes() >> 20) + OWN_MB,
            folder.path().display()
        ));
        let stop = stop_flag(console)?;
        let bar = console.bar(PROGRESS, "‰");
        let mut preview = Ok(());
        let outcome = run(
            &mut dream,
            &mut seconds,
            folder,
            &stop,
            &mut |event| match event {
                DreamEvent::Step(_, progress) => {
                    bar.set_position((progress * PROGRESS as f64) as u64);
                }
                DreamEvent::Metrics(line) => tell(line, &bar, console),
                DreamEvent::Look(dream) => {
                    preview = look(dream, &folder.path().join("preview.png"));
                }
                DreamEvent::Saved(_) => {}
                DreamEvent::SetBack { step, place, to } => console.note(&format!(
                    "step {step}: {place} is not finite; going on from step {to} at half the rate"
                )),
            },
        );
        bar.finish_and_clear();
        preview?;
        if outcome? == Outcome::Stopped {
            let step = dream.steps_done();
            console.result(
                &format!(
                    "saved at step {step}; go on with `dreamsmith dream --resume {}`",
                    folder.path().display()
                ),
                &json!({ "command": "dream", "finished": false, "step": step, "folder": folder.path() }),
            );
            return Ok(());
        }
        let spec = ExtractSpec {
            faces: self.faces,
            cells: self.cells,
            joined: true,
            fairing: FAIRING,
            paint: Paint::Texture(self.texture),
            ..ExtractSpec::default()
        };
        let object = folder.path().join("object.glb");
        let made = export(dream.model(), &spec, &object)?;
        show(&made, folder.path())?;
        let agreement = &made.agreement;
        console.result(
            &format!(
                "wrote {}: {} faces, whose silhouettes agree with the field by {:.1} % and colours at {:.1} dB, after {seconds:.0} s",
                object.display(),
                made.mesh.faces().len(),
                100.0 * agreement.mask_iou,
                made.psnr,
            ),
            &json!({
                "command": "dream",
                "finished": true,
                "folder": folder.path(),
                "object": object,
                "steps": dream.steps_done(),
                "seconds": seconds,
                "faces": made.mesh.faces().len(),
                "level": made.level,
                "mask_iou": agreement.mask_iou,
                "depth_error": agreement.depth_error,
                "psnr": made.psnr,
            }),
        );
        Ok(())
    }
}

fn tell(line: &Metrics, bar: &ProgressBar, console: &Console) {
    let words = format!(
        "step {} residual {:.4} opacity {:.3} {:.0} ms a step",
        line.step,
        line.residual,
        line.opacity,
        line.milliseconds.iter().sum::<f64>()
    );
    match console.has_bar() {
        true => bar.set_message(words),
        false => console.note(&words),
    }
}

/// A picture of the field as it is: colours above, normals below.
fn look(dream: &Dreaming, path: &Path) -> Result<(), ImageError> {
    let (mut colors, mut normals) = (vec![], vec![]);
    for i in 0..AROUND / 2 {
        let azimuth = 720.0 * i as f32 / AROUND as f32;
        // A camera around the origin can always be.
        if let Ok(camera) = camera(azimuth, ELEVATION, SIDE / 2) {
            let frame = render::render(dream.model(), &camera, Extent::WithNormals);
            colors.push(frame.picture()?);
            normals.push(frame.normal_picture()?);
        }
    }
    let sheet = grid(&[colors, normals].concat(), AROUND as usize / 2, 2)?;
    write_png(path, &sheet, &[])
}

/// Pictures of the object: under a lamp, in clay, and its normals, from all around.
fn show(made: &Exported, folder: &Path) -> anyhow::Result<()> {
    let surface = Surface::new(&made.mesh, Shading::default());
    let from = |azimuth: f32| -> anyhow::Result<Vec<Image>> {
        let camera = camera(azimuth, ELEVATION, SIDE)?;
        let right = camera.camera_to_world().transform_vector3(Vec3::X);
        let light = Light::at(camera.position() + 2.0 * Vec3::Y - 1.5 * right);
        let frame = render(&surface, &camera, &light)?;
        let channels = [Channel::Color, Channel::Clay, Channel::Normals];
        let pictures = channels.map(|channel| Ok(frame.picture(channel)?.over([255; 3])));
        pictures.into_iter().collect()
    };
    let all = |n: u32| -> anyhow::Result<Vec<Vec<Image>>> {
        let views = (0..n).into_par_iter();
        views.map(|i| from(360.0 * i as f32 / n as f32)).collect()
    };
    let frames = all(FRAMES)?;
    let sides: Result<Vec<Image>, _> = frames.iter().map(|of| grid(of, of.len(), 2)).collect();
    write_webp(&folder.join("turntable.webp"), &sides?, TURN / FRAMES)?;
    let views = all(AROUND)?;
    let rows = (0..3).flat_map(|row| views.iter().map(move |of| of[row].clone()));
    let sheet = grid(&rows.collect::<Vec<Image>>(), AROUND as usize, 2)?;
    write_png(&folder.join("sheet.png"), &sheet, &[])?;
    Ok(())
}
