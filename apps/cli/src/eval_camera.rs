//! `dreamsmith eval-camera`: whether a model heeds the camera. What it draws from all around a thing has one front then, and
//! so may have what is dreamt with it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::write_atomic_bytes;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::condition::{Condition, TextCode};
use dreamsmith_diffusion::eval::{Bearings, Fronts, Share};
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::pipeline::{DrawRequest, draw};
use serde::Serialize;
use serde_json::json;

use crate::console::{Console, stop_flag};
use crate::eval::{Figure, read_prompts, reader};
use crate::eval_compass::seen_by;
use crate::eval_dream::{AROUND, Fronted, front_words, is_ahead, viewpoints};

/// Judge by a compass whether a model heeds the camera
#[derive(Args)]
#[command(
    after_help = "Each object of the list that has a front is drawn from twelve sides, all from one noise.

Example:
  dreamsmith eval-camera models/objects --prompts specs/eval/objects.toml --compass models/compass \\
    --fronted specs/eval/fronts.toml"
)]
pub struct EvalCamera {
    /// The model folder
    model: PathBuf,
    /// What to draw, as for `eval`
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The compass that tells sides, as `train-compass` makes it
    #[arg(long, value_name = "DIR")]
    compass: PathBuf,
    /// The sentence encoder that the compass was trained with, where the model has none of its own
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
    /// A list of the names of things that have a front, as `eval-compass` makes it; all are taken to have one without
    #[arg(long, value_name = "FILE")]
    fronted: Option<PathBuf>,
    /// Times that each is drawn, with the seeds from 0 on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Write the figures to this file as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was found of the pictures of one prompt.
#[derive(Serialize)]
struct Row {
    prompt: String,
    /// Views that were told within 45 degrees.
    told: Figure,
    /// Of each seed.
    fronts: Vec<Fronts>,
}

impl EvalCamera {
    pub fn run(
        self,
        device: &Device,
        precision: Precision,
        console: &Console,
    ) -> anyhow::Result<()> {
        let prompts = read_prompts(&self.prompts)?;
        let fronted = self.fronted.as_deref().map(Fronted::read).transpose()?;
        let has_front =
            |prompt: &&str| (fronted.as_ref()).is_none_or(|fronted| fronted.hold(prompt));
        let prompts: Vec<&str> = prompts.all().filter(has_front).collect();
        if prompts.is_empty() {
            bail!("none of the prompts is of a thing that has a front");
        }
        let model = Model::load(&self.model, device, precision)?;
        let source = reader(&model, &self.model)?;
        let encoder = self.encoder.as_ref().unwrap_or(&self.model);
        let mut compass = Bearings::load(&self.compass, encoder, device)
            .context("a sentence encoder tells the compass what it sees; give --encoder DIR")?;
        let size = model
            .picture_size()
            .context("the model does not say its size")?;
        let stop = stop_flag(console)?;
        let bar = console.bar(prompts.len() as u64 * self.seeds, "drawings");
        console.row("told                fronts   prompt");
        let (mut rows, mut all_told) = (vec![], 0);
        for prompt in prompts {
            let (code, _) = source.read_prompt(prompt)?;
            let (mut fronts, mut n_told) = (vec![], 0);
            for seed in 0..self.seeds {
                let request = from_all_around(&model, &code, (seed, size))?;
                let pictures = draw(&model, &request, device, &|_| match stop
                    .load(Ordering::Relaxed)
                {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })?;
                let (told, seen) = seen_by(&mut compass, &pictures, prompt)?;
                fronts.push(seen);
                n_told += told;
                bar.inc(1);
            }
            all_told += n_told;
            let row = Row {
                prompt: prompt.into(),
                told: share(n_told, AROUND as usize * fronts.len()),
                fronts,
            };
            let words: Vec<String> = row.fronts.iter().copied().map(front_words).collect();
            let line = format!("{:19} {:<8} {prompt}", row.told.words(), words.join(" "));
            bar.suspend(|| console.row(&line));
            rows.push(row);
        }
        bar.finish_and_clear();
        let fronts = || rows.iter().flat_map(|row| &row.fronts).copied();
        let told = share(all_told, AROUND as usize * fronts().count());
        let single = Figure::from(Share::of(fronts().map(|fronts| fronts.count == 1)));
        let ahead = Figure::from(Share::of(fronts().map(is_ahead)));
        console.row(&format!(
            "{:19} of {} views; {} of {} objects with a single front, {} with it ahead",
            told.words(),
            AROUND as usize * fronts().count(),
            single.words(),
            fronts().count(),
            ahead.words()
        ));
        let value = json!({
            "command": "eval-camera",
            "model": self.model,
            "told": told,
            "single_front": single,
            "front_ahead": ahead,
            "prompts": rows,
        });
        if let Some(path) = &self.output {
            write_atomic_bytes(path, format!("{value:#}\n").as_bytes())?;
        }
        console.result("", &value);
        Ok(())
    }
}

/// A thing from twelve sides, all from the noise of one seed, as the model draws by default.
fn from_all_around(
    model: &Model,
    code: &Arc<TextCode>,
    (seed, size): (u64, u32),
) -> anyhow::Result<DrawRequest> {
    let mut request = DrawRequest::new(&model.card, seed, AROUND as usize, size);
    request.seeds = vec![seed; AROUND as usize];
    let conditions = viewpoints().map(|viewpoint| {
        let camera = viewpoint?.record;
        Ok(Condition::text(Some(code.clone()), Some(camera)))
    });
    request.conditions = conditions.collect::<anyhow::Result<_>>()?;
    Ok(request)
}

fn share(hits: usize, of: usize) -> Figure {
    Share::of((0..of).map(|i| i < hits)).into()
}
