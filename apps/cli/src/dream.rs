//! `dreamsmith dream`: words to an object.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use dreamsmith_base::mesh_file::write_mesh;
use dreamsmith_base::{Camera, Image, create_folder, grid, write_atomic_bytes, write_png};
use dreamsmith_data::CameraRecord;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::model::Model;
use dreamsmith_lift::dream::Dream as Dreaming;
use dreamsmith_lift::prior::Prior;
use dreamsmith_lift::spec::DreamSpec;
use dreamsmith_scene::extract::{ExtractSpec, extract};
use dreamsmith_scene::render::{Extent, render};
use dreamsmith_scene::spec::Length;
use dreamsmith_scene::viewpoint::orbit;
use serde_json::json;

use burn::tensor::Device;

use crate::console::{Console, stop_flag};

/// Views on the sheet.
const AROUND: usize = 8;
/// Pixels along an edge of each.
const SIDE: u32 = 96;

/// Dream an object of what a text says
#[derive(Args)]
pub struct Dream {
    /// What to dream of
    prompt: Option<String>,
    /// Folder for the object, its pictures, the field and metrics
    #[arg(short, long, default_value = "runs/dream")]
    output: PathBuf,
    /// A model folder that reads text
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Learn for so many steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Everything random follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Strength of the prompt
    #[arg(long, value_name = "SCALE")]
    guidance: Option<f64>,
    /// A spec, as `spec.toml` of a run; other options override it
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Print the spec with every default, and do nothing
    #[arg(long)]
    print_spec: bool,
}

impl Dream {
    pub fn run(
        self,
        device: &Device,
        precision: Precision,
        console: &Console,
    ) -> anyhow::Result<()> {
        let mut spec = match &self.spec {
            Some(path) => DreamSpec::read(path)?,
            None => DreamSpec::default(),
        };
        if let Some(prompt) = &self.prompt {
            spec.prompt.clone_from(prompt);
        }
        if let Some(steps) = self.steps {
            spec.run.length = Length::Steps { steps };
        }
        spec.run.seed = self.seed.unwrap_or(spec.run.seed);
        spec.prior.guidance.scale = self.guidance.unwrap_or(spec.prior.guidance.scale);
        if self.print_spec {
            console.result(spec.to_toml()?.trim_end(), &serde_json::to_value(&spec)?);
            return Ok(());
        }
        let Some(folder) = &self.model else {
            bail!("give --model");
        };
        let model = Model::load(folder, device, precision)?;
        let (prior, losses) = Prior::new(model, device, &spec.prompt, &spec.prior)?;
        losses.iter().for_each(|lost| console.note(lost));
        create_folder(&self.output)?;
        write_atomic_bytes(&self.output.join("spec.toml"), spec.to_toml()?.as_bytes())?;
        let Length::Steps { steps } = spec.run.length else {
            bail!("steps only");
        };
        let stop = stop_flag(console)?;
        let mut dream = Dreaming::new(spec, prior)?;
        let mut sums = [0.0; 4];
        for step in 0..steps {
            let report = match dream.step(step as f64 / steps as f64)? {
                Ok(report) => report,
                Err(place) => bail!("{place} is not finite"),
            };
            for (sum, seconds) in sums.iter_mut().zip(report.seconds) {
                *sum += seconds;
            }
            if report.step % 100 == 0 {
                console.note(&format!(
                    "step {} residual {:.4} opacity {:.3} seen {} rate {:.2e} ms {:.0?}",
                    report.step,
                    report.residual,
                    report.opacity,
                    report.seen,
                    report.learning_rate,
                    sums.map(|s| s * 10.0)
                ));
                sums = [0.0; 4];
                self.sheet(&dream)?;
            }
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                break;
            }
        }
        self.sheet(&dream)?;
        let cameras: Vec<Camera> = (0..24)
            .map(|i| camera(i as f32 * 137.5, (i as f32 * 7.3) % 70.0 - 5.0, 128))
            .collect::<Result<_, _>>()?;
        let found = extract(dream.model(), &cameras, &ExtractSpec::default())?;
        write_mesh(&self.output.join("object.glb"), &found.mesh)?;
        console.result(
            &format!("{:?}", found.agreement),
            &json!({"command": "dream"}),
        );
        Ok(())
    }

    fn sheet(&self, dream: &Dreaming) -> anyhow::Result<()> {
        let (mut colors, mut normals) = (vec![], vec![]);
        for i in 0..AROUND {
            let azimuth = 360.0 * i as f32 / AROUND as f32;
            let camera = camera(azimuth, 15.0, SIDE)?;
            let frame = render(dream.model(), &camera, Extent::WithNormals);
            colors.push(frame.picture()?);
            normals.push(frame.normal_picture()?);
        }
        let images: Vec<Image> = [colors, normals].concat();
        let sheet = grid(&images, AROUND, 2)?;
        write_png(&self.output.join("sheet.png"), &sheet, &[])?;
        Ok(())
    }
}

fn camera(azimuth: f32, elevation: f32, side: u32) -> anyhow::Result<Camera> {
    let fov: f32 = 40.0;
    let record = CameraRecord {
        azimuth,
        elevation,
        distance: 1.08 / (fov.to_radians() / 2.0).sin(),
        fov,
    };
    Ok(orbit(&record, side)?)
}
