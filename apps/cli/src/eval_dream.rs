//! `dreamsmith eval-dream`: whether dreamt objects show what they were dreamt of, in colour and in clay, and whether
//! they have one front. R-precision as [Poole22] section 4 measures it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{
    CameraError, Image, MeshLimits, Purpose, Stream, read_limited, read_mesh, write_atomic_bytes,
};
use dreamsmith_diffusion::eval::{Bearings, Fronts, Share, nearest, without_color};
use dreamsmith_lift::spec::DreamSpec;
use dreamsmith_scene::raster::{Channel, Shading, Surface, render};
use dreamsmith_scene::viewpoint::{Viewpoint, ViewpointSpec};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::console::Console;
use crate::eval::{Figure, open_judge, read_prompts};
use crate::eval_compass::seen_by;

/// Views all around an object, and how high they are, in degrees.
pub const AROUND: u32 = 12;
const ELEVATION: f32 = 30.0;
/// The vertical angle of view in degrees.
const FOV: f32 = 40.0;
/// Pixels along an edge of a view.
const SIDE: u32 = 128;
/// A list of names is text of a few kilobytes.
const MAX_NAME_BYTES: u64 = 1 << 20;
/// Degrees that a front may be off from where the camera's words put it.
pub const AHEAD_WITHIN: f32 = 45.0;

/// Judge dreamt objects by pictures of them from all around
#[derive(Args)]
#[command(
    after_help = "Each folder is one that `dream` wrote. Its prompt must be among those of the list.

Example:
  dreamsmith eval-dream runs/dreams/* --tower models/tower --prompts specs/eval/objects.toml --encoder models/objects \
    --compass models/compass --fronted specs/eval/fronts.toml"
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
    /// The sentence encoder that tower and compass were trained with, or a model that has it
    #[arg(long, value_name = "DIR")]
    encoder: PathBuf,
    /// The compass that tells fronts, as `train-compass` makes it; they are not counted without
    #[arg(long, value_name = "DIR")]
    compass: Option<PathBuf>,
    /// A list of the names of things that have a front, as `eval-compass` makes it; all are taken to have one without
    #[arg(long, value_name = "FILE", requires = "compass")]
    fronted: Option<PathBuf>,
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
    /// The fronts that come around the circle, if the thing has one and there is a compass.
    fronts: Option<Fronts>,
}

/// Things that have a front, as names without article and colour.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fronted {
    pub names: BTreeSet<String>,
}

impl Fronted {
    /// The names in a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(&read_limited(path, MAX_NAME_BYTES)?).into_owned();
        toml::from_str(&text).map_err(|e| {
            let problem = e.message().replace('\n', ", ");
            anyhow!("`{}` is no list of names: {problem}", path.display())
        })
    }

    /// Whether what `prompt` says is among them.
    pub fn hold(&self, prompt: &str) -> bool {
        self.names.contains(&without_color(prompt))
    }
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
        let mut compass = match &self.compass {
            Some(folder) => Some(Bearings::load(folder, &self.encoder, device)?),
            None => None,
        };
        let fronted = self.fronted.as_deref().map(Fronted::read).transpose()?;
        let (mut rows, mut hits) = (vec![], [vec![], vec![]]);
        console.row("colour              geometry            fronts   object");
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
            let in_color = views(&surface, Channel::Color)?;
            let colored = judge.judge(&in_color)?;
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
            let fronts = match &mut compass {
                Some(compass) if fronted.as_ref().is_none_or(|list| list.hold(&prompt)) => {
                    Some(seen_by(compass, &in_color, &prompt)?.1)
                }
                _ => None,
            };
            let row = Row {
                colour,
                geometry,
                fronts,
                prompt,
                folder: folder.clone(),
            };
            let words = &row.prompt;
            let fronts = row.fronts.map_or_else(|| "-".into(), front_words);
            console.row(&format!(
                "{:19} {:19} {fronts:<8} {words}",
                row.colour.words(),
                row.geometry.words()
            ));
            rows.push(row);
        }
        let [colour, geometry] = hits.map(|hits| figure(&hits));
        let counted = || rows.iter().filter_map(|row| row.fronts);
        let single = Figure::from(Share::of(counted().map(|fronts| fronts.count == 1)));
        let ahead = Figure::from(Share::of(counted().map(is_ahead)));
        let of_fronts = match counted().count() {
            0 => String::new(),
            n => format!(
                "; of {n} that have a front, {} with a single one, {} with it ahead",
                single.words(),
                ahead.words()
            ),
        };
        console.row(&format!(
            "{:19} {:19} of {} objects{of_fronts}",
            colour.words(),
            geometry.words(),
            rows.len()
        ));
        let value = json!({
            "command": "eval-dream",
            "colour": colour,
            "geometry": geometry,
            "single_front": single,
            "front_ahead": ahead,
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

/// Whether there is one front, which lies where the camera's words put it.
pub fn is_ahead(fronts: Fronts) -> bool {
    fronts.count == 1 && fronts.facing.abs() <= AHEAD_WITHIN
}

/// How many, and where a single one is: in degrees from where the camera's words put it.
pub fn front_words(fronts: Fronts) -> String {
    match fronts.count {
        1 => format!("1 {:+.0}", fronts.facing),
        n => n.to_string(),
    }
}

/// Twelve viewpoints around an object, the first in front of it, under lamps as those of the data.
pub fn viewpoints() -> impl Iterator<Item = Result<Viewpoint, CameraError>> {
    (0..AROUND).map(|i| {
        let around = ViewpointSpec {
            azimuths: [360.0 * i as f32 / AROUND as f32; 2],
            elevations: [ELEVATION; 2],
            fovs: [FOV; 2],
            ..ViewpointSpec::default()
        };
        around.draw(&mut Stream::new(0, Purpose::DreamView, u64::from(i)), SIDE)
    })
}

/// Pictures from all around, before white.
pub fn views(surface: &Surface, channel: Channel) -> anyhow::Result<Vec<Image>> {
    let view = |viewpoint: Viewpoint| -> anyhow::Result<Image> {
        let frame = render(surface, &viewpoint.camera, &viewpoint.light())?;
        Ok(frame.picture(channel)?.over([255; 3]))
    };
    let viewpoints: Vec<Viewpoint> = viewpoints().collect::<Result<_, _>>()?;
    viewpoints.into_par_iter().map(view).collect()
}
