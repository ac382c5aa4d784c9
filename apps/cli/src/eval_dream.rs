//! `dreamsmith eval-dream`: whether dreamt objects show what they were dreamt of, in colour and in clay, and whether
//! they have one front. R-precision as [Poole22] section 4 measures it.

use std::f32::consts::TAU;
use std::path::PathBuf;

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{Image, MeshLimits, Purpose, Stream, read_mesh, write_atomic_bytes};
use dreamsmith_diffusion::eval::{Share, VIEWS, nearest, without_color};
use dreamsmith_lift::spec::DreamSpec;
use dreamsmith_scene::raster::{Channel, Shading, Surface, render};
use dreamsmith_scene::viewpoint::ViewpointSpec;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::console::Console;
use crate::eval::{Figure, open_judge, read_prompts};

/// Views all around an object, and how high they are, in degrees.
const AROUND: u32 = 12;
const ELEVATION: f32 = 30.0;
/// The vertical angle of view in degrees.
const FOV: f32 = 40.0;
/// Pixels along an edge of a view.
const SIDE: u32 = 128;
/// Waves that are told apart.
const MOST_FRONTS: usize = 3;
/// A weaker wave is none.
const LEAST_WAVE: f32 = 0.05;

/// Judge dreamt objects by pictures of them from all around
#[derive(Args)]
#[command(
    after_help = "Each folder is one that `dream` wrote. Its prompt must be among those of the list.

Example:
  dreamsmith eval-dream runs/dreams/* --tower models/tower --prompts specs/eval/objects.toml --encoder models/objects"
)]
pub struct EvalDream {
    /// Folders of dreams
    #[arg(required = true)]
    dreams: Vec<PathBuf>,
    /// The tower that judges, as `train-tower` makes it
    #[arg(long, value_name = "DIR")]
    tower: PathBuf,
    /// The prompts among which an object must be nearest to its own, as for `eval`
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The sentence encoder that the tower was trained with, or a model that has it
    #[arg(long, value_name = "DIR")]
    encoder: PathBuf,
    /// Write the figures to this file as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was found of one object.
#[derive(Serialize)]
struct Row {
    prompt: String,
    folder: PathBuf,
    /// Views that show the prompt in colour, and in clay what of it is shape.
    colour: Figure,
    geometry: Figure,
    /// How often a front comes around the circle.
    fronts: usize,
}

impl EvalDream {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        let prompts = read_prompts(&self.prompts)?;
        let texts: Vec<&str> = prompts.all().collect();
        // Clay has no colour: so it is to be found among shapes.
        let shapes: Vec<String> = texts.iter().map(|text| without_color(text)).collect();
        let all: Vec<&str> = texts
            .iter()
            .copied()
            .chain(shapes.iter().map(String::as_str))
            .collect();
        let (judge, places) = open_judge((&self.tower, &self.encoder), &all, device)?;
        let width = judge.embedding_width();
        let (of_texts, of_shapes) = places.split_at(texts.len() * width);
        let (mut rows, mut hits) = (vec![], [vec![], vec![]]);
        console.row("colour              geometry            fronts  object");
        for folder in &self.dreams {
            let prompt = DreamSpec::read(&folder.join("spec.toml"))?.prompt;
            let Some(own) = texts.iter().position(|text| *text == prompt) else {
                bail!(
                    "`{}` is a dream of {prompt:?}, which is not among the prompts of `{}`",
                    folder.display(),
                    self.prompts.display()
                );
            };
            let object = read_mesh(&folder.join("object.glb"), &MeshLimits::default())?;
            let surface = Surface::new(&object.mesh, Shading::default());
            let colored = judge.judge(&views(&surface, Channel::Color)?)?;
            let clay = judge.judge(&views(&surface, Channel::Clay)?)?;
            let found = [
                nearest(&colored.embeddings, of_texts, width)
                    .into_iter()
                    .map(|i| i == own)
                    .collect(),
                nearest(&clay.embeddings, of_shapes, width)
                    .into_iter()
                    .map(|i| shapes[i] == shapes[own])
                    .collect::<Vec<bool>>(),
            ];
            let [colour, geometry] = found.each_ref().map(|hits| figure(hits));
            for (all, hits) in hits.iter_mut().zip(found) {
                all.extend(hits);
            }
            let row = Row {
                colour,
                geometry,
                fronts: fronts(&colored.view_odds),
                prompt,
                folder: folder.clone(),
            };
            let (words, fronts) = (&row.prompt, row.fronts);
            console.row(&format!(
                "{:19} {:19} {fronts:<7} {words}",
                row.colour.words(),
                row.geometry.words()
            ));
            rows.push(row);
        }
        let [colour, geometry] = hits.map(|hits| figure(&hits));
        let single = Figure::from(Share::of(rows.iter().map(|row| row.fronts == 1)));
        console.row(&format!(
            "{:19} {:19} of {} objects, {} with a single front",
            colour.words(),
            geometry.words(),
            rows.len(),
            single.words()
        ));
        let value = json!({
            "command": "eval-dream",
            "colour": colour,
            "geometry": geometry,
            "single_front": single,
            "objects": rows,
        });
        if let Some(path) = &self.output {
            write_atomic_bytes(path, format!("{value:#}\n").as_bytes())?;
        }
        console.result("", &value);
        Ok(())
    }
}

fn figure(hits: &[bool]) -> Figure {
    Share::of(hits.iter().copied()).into()
}

/// Pictures from all around, under lamps as those that the tower knows. White clay stands before grey.
fn views(surface: &Surface, channel: Channel) -> anyhow::Result<Vec<Image>> {
    let behind = if channel == Channel::Clay { 128 } else { 255 };
    let view = |i: u32| -> anyhow::Result<Image> {
        let around = ViewpointSpec {
            azimuths: [360.0 * i as f32 / AROUND as f32; 2],
            elevations: [ELEVATION; 2],
            fovs: [FOV; 2],
            ..ViewpointSpec::default()
        };
        let mut stream = Stream::new(0, Purpose::DreamView, u64::from(i));
        let viewpoint = around.draw(&mut stream, SIDE)?;
        let frame = render(surface, &viewpoint.camera, &viewpoint.light())?;
        Ok(frame.picture(channel)?.over([behind; 3]))
    };
    (0..AROUND).into_par_iter().map(view).collect()
}

/// How often a front comes around the circle: the order of the strongest wave in the odds of a front, 0 if they hardly
/// change. A sharp front (a cube of a cosine) whose echo behind has a fifth of its height already counts as two. `odds`
/// are those of `VIEWS` for each view.
fn fronts(odds: &[f32]) -> usize {
    let views = odds.chunks_exact(VIEWS.len()).map(|odds| odds[0]);
    let n = views.len() as f32;
    let wave = |order: usize| {
        let sum: [f32; 2] = views
            .clone()
            .enumerate()
            .fold([0.0; 2], |[re, im], (i, odds)| {
                let (sin, cos) = (TAU * (order * i) as f32 / n).sin_cos();
                [re + odds * cos, im + odds * sin]
            });
        2.0 * sum[0].hypot(sum[1]) / n
    };
    let strongest = (1..=MOST_FRONTS).max_by(|a, b| wave(*a).total_cmp(&wave(*b)));
    strongest
        .filter(|order| wave(*order) > LEAST_WAVE)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fronts_are_waves_around_a_circle() {
        let around = |front: &dyn Fn(f32) -> f32| -> Vec<f32> {
            let odds = |i: u32| front(TAU * i as f32 / AROUND as f32);
            (0..AROUND)
                .flat_map(|i| [odds(i), 1.0 - odds(i), 0.0, 0.0])
                .collect()
        };
        assert_eq!(fronts(&around(&|angle| 0.5 + 0.4 * angle.cos())), 1);
        // One that is sharp, and has a little echo behind.
        assert_eq!(
            fronts(&around(&|angle| angle
                .cos()
                .powi(3)
                .max(-0.1 * angle.cos()))),
            1
        );
        assert_eq!(fronts(&around(&|angle| 0.5 + 0.4 * (2.0 * angle).cos())), 2);
        assert_eq!(fronts(&around(&|_| 0.9)), 0);
    }
}
