//! `dreamsmith forward`: the forward process as a strip of pictures.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dreamsmith_base::{Image, ImageLimits, Purpose, Stream, read_image, write_png};
use dreamsmith_diffusion::level::{Schedule, Timestep};
use dreamsmith_diffusion::schedule::{Betas, ScheduleSpec};
use serde_json::json;

use crate::chart::captioned_row;
use crate::console::Console;
use crate::output::prepare_file;

/// Show what the forward process does to a picture
///
/// Writes a strip of x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps over the timesteps t, with
/// sigma and the signal-to-noise ratio under each.
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith forward cat.png
  dreamsmith forward cat.png --schedule cosine --count 12 -o cat-noise.png")]
pub struct Forward {
    /// The picture
    image: PathBuf,
    /// The PNG to write
    #[arg(short, long, default_value = "forward.png")]
    output: PathBuf,
    /// The noise schedule
    #[arg(long, value_enum, default_value = "linear")]
    schedule: ScheduleName,
    /// Number of timesteps of the schedule
    #[arg(long, default_value_t = 1000, value_name = "T")]
    timesteps: u32,
    /// Pictures in the strip
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..=32))]
    count: u32,
    /// Side of each picture in pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(64..=1024))]
    size: u32,
    /// Seed of the noise; all pictures share it
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    Linear,
    ScaledLinear,
    Cosine,
    Sigmoid,
}

impl ScheduleName {
    fn betas(self) -> Betas {
        match self {
            Self::Linear => Betas::default(),
            Self::ScaledLinear => Betas::ScaledLinear {
                start: 0.00085,
                end: 0.012,
            },
            Self::Cosine => Betas::Cosine {},
            Self::Sigmoid => Betas::Sigmoid {
                start: 1e-4,
                end: 0.02,
            },
        }
    }
}

impl Forward {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        let schedule = Schedule::new(&ScheduleSpec {
            betas: self.schedule.betas(),
            timesteps: self.timesteps,
            ..ScheduleSpec::default()
        })?;
        let picture = read_image(&self.image, &ImageLimits::default())?.over([255; 3]);
        let longest = picture.width().max(picture.height());
        let scaled =
            |side: u32| (u64::from(side) * u64::from(self.size) / u64::from(longest)).max(1) as u32;
        let (width, height) = (scaled(picture.width()), scaled(picture.height()));
        let x0 = picture.resize(width, height)?.to_signed();
        let eps = Stream::new(self.seed, Purpose::Forward, 0).normals(x0.len());
        let last = schedule.last().0;
        let mut strip = vec![];
        let mut levels = vec![];
        for i in 0..self.count {
            let timestep =
                Timestep((u64::from(last) * u64::from(i) / u64::from(self.count - 1)) as u32);
            let sigma = schedule.sigma(timestep);
            let (alpha, sigma_vp) = (sigma.alpha() as f32, (sigma.alpha() * sigma.0) as f32);
            let x: Vec<f32> = x0
                .iter()
                .zip(&eps)
                .map(|(x0, eps)| alpha * x0 + sigma_vp * eps)
                .collect();
            let text = vec![
                format!("t = {}", timestep.0),
                format!("σ = {}", short(sigma.0)),
                format!("SNR = {}", short(sigma.snr())),
            ];
            levels.push(json!({"timestep": timestep.0, "sigma": sigma.0, "snr": sigma.snr()}));
            strip.push((Image::from_signed(&x, width, height)?, text));
        }
        prepare_file(&self.output)?;
        write_png(&self.output, &captioned_row(&strip)?, &[])?;
        let words = format!("wrote {}", self.output.display());
        console.result(
            &words,
            &json!({"command": "forward", "file": self.output, "levels": levels}),
        );
        Ok(())
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e4 || (v > 0.0 && v < 1e-2) => format!("{value:.1e}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
