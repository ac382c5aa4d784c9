//! `dreamsmith eval`: draws what a list of prompts says, and has a tower judge whether the pictures show it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, anyhow, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{Image, read_limited, write_atomic_bytes};
use dreamsmith_data::{CameraRecord, Dataset, FolderOptions, ViewWord};
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::cascade::Cascade;
use dreamsmith_diffusion::condition::Condition;
use dreamsmith_diffusion::eval::{
    FeatureGaussian, Judge, Sentences, Share, Verdicts, color_in, frechet_distance, nearest,
    object_color,
};
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::pipeline::DrawRequest;
use dreamsmith_diffusion::text::TextSource;
use dreamsmith_diffusion::threshold::Threshold;
use dreamsmith_nets::WeightedPrompt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::chart::{GuidancePoint, draw_guidance};
use crate::console::{Console, stop_flag};
use crate::view::Viewpoint;

/// A list of prompts is text of a few kilobytes.
const MAX_PROMPT_BYTES: u64 = 1 << 20;
/// Pictures whose features are compared at once: more say no more.
const MAX_REAL: usize = 4096;

/// Judge a model by the pictures it draws, and those that its stages make of them
#[derive(Args)]
#[command(after_help = "The list of prompts is a TOML file:
  objects = [\"a red armchair\"]        drawn from the front, the side, behind and above in turn
  others = [\"3D emoji of fox\"]        drawn as they are

Examples:
  dreamsmith eval runs/base/model --tower models/tower --prompts prompts.toml --real furniture/held-out
  dreamsmith eval runs/base/model --tower models/tower --prompts prompts.toml --real furniture/held-out \
    --guidance 1,2,4,8,15 --threshold none,dynamic:percentile=0.995 --plot guidance.png")]
pub struct Eval {
    /// The model folder
    model: PathBuf,
    /// The tower that judges, as `train-tower` makes it
    #[arg(long, value_name = "DIR")]
    tower: PathBuf,
    /// The sentence encoder that the tower was trained with, where the model has none of its own
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
    /// What to draw
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Real pictures with captions, which are judged as well, and whose features are compared with
    #[arg(long, value_name = "DIR")]
    real: Option<PathBuf>,
    /// Pictures of each prompt, with the seeds from 0 on
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Strengths of the prompt, one row of the table for each; the model's own if not given
    #[arg(long, value_delimiter = ',', value_name = "SCALES")]
    guidance: Vec<f64>,
    /// What is done to guesses out of range: none, static or dynamic, each with all strengths; the model's own if not
    /// given
    #[arg(long, value_delimiter = ',', value_name = "THRESHOLDS")]
    threshold: Vec<Threshold>,
    /// Draw R@1 and FD over the strengths, a line for each threshold, to this PNG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the figures to this file as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is to be drawn, and told apart.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prompts {
    objects: Vec<String>,
    others: Vec<String>,
}

impl Prompts {
    /// Objects first.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().chain(&self.others).map(String::as_str)
    }
}

/// One picture that is wanted: its prompt's number, and from where it is to be seen.
#[derive(Clone, Copy)]
struct Wanted {
    prompt: usize,
    view: Option<ViewWord>,
}

/// A share as people and machines read it.
#[derive(Serialize)]
pub struct Figure {
    value: f64,
    low: f64,
    high: f64,
    count: usize,
}

impl From<Share> for Figure {
    fn from(share: Share) -> Self {
        let interval = share.interval();
        Self {
            value: share.value(),
            low: interval.low,
            high: interval.high,
            count: share.count,
        }
    }
}

impl Figure {
    /// In per cent, with its interval.
    pub fn words(&self) -> String {
        match self.count {
            0 => "-".into(),
            _ => format!(
                "{:5.1} % ({:.0}-{:.0})",
                100.0 * self.value,
                100.0 * self.low,
                100.0 * self.high
            ),
        }
    }
}

/// A row of the table.
#[derive(Serialize)]
struct Row {
    pictures: String,
    /// Pictures nearest to their own prompt.
    recall_at_1: Figure,
    /// Of the prompts with a colour, objects called by it.
    colour: Figure,
    /// Of the pictures with a camera, those seen from where they should be.
    view: Figure,
    /// Fréchet distance of the tower's features from those of the real pictures.
    frechet: Option<f64>,
}

impl Eval {
    pub fn run(
        self,
        device: &Device,
        precision: Precision,
        console: &Console,
    ) -> anyhow::Result<()> {
        let prompts = read_prompts(&self.prompts)?;
        let cascade = Cascade::load(&self.model, device, precision)?;
        let model = &cascade.base;
        let source = reader(model, &self.model)?;
        let texts: Vec<&str> = prompts.all().collect();
        let encoder = self.encoder.as_ref().unwrap_or(&self.model);
        let (judge, places) = open_judge((&self.tower, encoder), &texts, device)?;
        let panel = Panel {
            judge: &judge,
            texts: &texts,
            places: &places,
        };
        let size = model
            .picture_size()
            .context("the model does not say its size")?;
        let sides = cascade.sides(size);
        console.row(HEADER);
        let mut rows = vec![];
        let mut features = vec![];
        if let Some(folder) = &self.real {
            for side in &sides {
                let (row, gaussian) = panel.real(folder, *side)?;
                console.row(&row.line());
                rows.push(row);
                features.push(gaussian);
            }
        }
        let plain: Vec<WeightedPrompt> = texts
            .iter()
            .map(|text| WeightedPrompt::plain(text))
            .collect();
        let (codes, losses) = source.read(&plain)?;
        losses.iter().for_each(|loss| console.note(loss));
        let drawings: Vec<(u64, usize, Option<Viewpoint>)> = (0..self.seeds)
            .flat_map(|seed| {
                let n_objects = prompts.objects.len();
                (0..texts.len()).map(move |prompt| {
                    let side = Viewpoint::ALL[seed as usize % Viewpoint::ALL.len()];
                    let view = (prompt < n_objects).then_some(side);
                    (seed, prompt, view)
                })
            })
            .collect();
        let wanted: Vec<Wanted> = drawings
            .iter()
            .map(|(_, prompt, side)| Wanted {
                prompt: *prompt,
                view: side.map(Viewpoint::word),
            })
            .collect();
        let mut request = DrawRequest::new(&model.card, 0, drawings.len(), size);
        request.seeds = drawings.iter().map(|(seed, ..)| *seed).collect();
        request.conditions = drawings
            .iter()
            .map(|(_, prompt, side)| {
                Condition::text(Some(codes[*prompt].clone()), side.map(Viewpoint::camera))
            })
            .collect();
        let stop = stop_flag(console)?;
        let draw = |request: &DrawRequest| {
            let bar = console.bar(0, "steps");
            let drawn = cascade.draw_each(request, device, &|step| {
                bar.set_length(step.total as u64);
                bar.set_position(step.done as u64);
                match stop.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            bar.finish_and_clear();
            drawn
        };
        let scales = or_own(&self.guidance, request.sample.guidance.scale);
        let mut curves = vec![];
        for threshold in or_own(&self.threshold, request.sample.threshold) {
            let told = match self.threshold.len() {
                0 | 1 => String::new(),
                _ => format!("{threshold}, "),
            };
            let mut points = vec![];
            for &scale in &scales {
                request.sample.guidance.scale = scale;
                request.sample.threshold = threshold;
                for (i, (pictures, side)) in draw(&request)?.iter().zip(&sides).enumerate() {
                    let name = format!("guidance {scale}, {told}{side}x{side}");
                    let row = panel.row(&name, pictures, &wanted, features.get(i))?;
                    console.row(&row.line());
                    rows.push(row);
                }
                // What the last stage made.
                points.extend(rows.last().map(|row| GuidancePoint {
                    scale,
                    recall: [
                        row.recall_at_1.low,
                        row.recall_at_1.value,
                        row.recall_at_1.high,
                    ],
                    frechet: row.frechet,
                }));
            }
            points.sort_by(|a, b| a.scale.total_cmp(&b.scale));
            curves.push((threshold.to_string(), points));
        }
        if let Some(path) = &self.plot {
            draw_guidance(&curves, path)?;
        }
        let value = json!({"command": "eval", "model": self.model, "rows": rows});
        if let Some(path) = &self.output {
            write_atomic_bytes(path, format!("{value:#}\n").as_bytes())?;
        }
        console.result("", &value);
        Ok(())
    }
}

/// The tower in one folder, and where the sentence encoder in the other, or of the model there, places `texts`.
pub fn open_judge(
    (tower, encoder): (&Path, &Path),
    texts: &[&str],
    device: &Device,
) -> anyhow::Result<(Judge, Vec<f32>)> {
    let judge = Judge::load(tower, device)?;
    let mut sentences = Sentences::open(encoder, device)
        .context("a sentence encoder places the prompts; give one with --encoder DIR")?;
    sentences.read(texts.iter().map(|text| Arc::from(*text)))?;
    if sentences.width() != judge.embedding_width() {
        bail!(
            "the tower's embeddings have {} features, those of the encoder {}; give the tower that was trained with this encoder",
            judge.embedding_width(),
            sentences.width()
        );
    }
    let placed = texts.iter().filter_map(|text| sentences.get(text));
    let places = placed.flatten().copied().collect();
    Ok((judge, places))
}

/// What reads the texts for the model of a folder.
pub fn reader<'a>(model: &'a Model, folder: &Path) -> anyhow::Result<&'a TextSource> {
    model.text.as_deref().ok_or_else(|| {
        anyhow!(
            "`{}` reads no texts; give a model that was trained with captions",
            folder.display()
        )
    })
}

/// The list of prompts in a file.
pub fn read_prompts(path: &Path) -> anyhow::Result<Prompts> {
    let name = path.display();
    let bytes = read_limited(path, MAX_PROMPT_BYTES)?;
    let text = String::from_utf8(bytes).with_context(|| format!("`{name}` is no text"))?;
    let prompts: Prompts = toml::from_str(&text).map_err(|e| {
        anyhow!(
            "`{name}` is no list of prompts: {}",
            e.message().replace('\n', ", ")
        )
    })?;
    if prompts.all().count() < 2 {
        bail!("`{name}` has fewer than two prompts; a picture must have something to choose among");
    }
    Ok(prompts)
}

/// What was asked for, or else what the model says itself.
fn or_own<T: Copy>(asked: &[T], own: T) -> Vec<T> {
    match asked {
        [] => vec![own],
        asked => asked.to_vec(),
    }
}

const HEADER: &str =
    "R@1                 colour              view                FD       pictures";

impl Row {
    fn line(&self) -> String {
        let frechet = self
            .frechet
            .map_or_else(|| "-".into(), |fd| format!("{fd:.3}"));
        format!(
            "{:19} {:19} {:19} {frechet:8} {}",
            self.recall_at_1.words(),
            self.colour.words(),
            self.view.words(),
            self.pictures,
        )
    }
}

/// Who judges, and what a picture is to be told from.
struct Panel<'a> {
    judge: &'a Judge,
    texts: &'a [&'a str],
    /// Of the texts, among sentences.
    places: &'a [f32],
}

impl Panel<'_> {
    fn row(
        &self,
        name: &str,
        pictures: &[Image],
        wanted: &[Wanted],
        real: Option<&FeatureGaussian>,
    ) -> anyhow::Result<Row> {
        let verdicts = self.judge.judge(pictures)?;
        let Verdicts {
            embeddings, views, ..
        } = &verdicts;
        let found = nearest(embeddings, self.places, self.judge.embedding_width());
        let told = found.iter().zip(wanted);
        let recall = Share::of(told.map(|(found, wanted)| *found == wanted.prompt));
        let colour = Share::of(pictures.iter().zip(wanted).filter_map(|(picture, wanted)| {
            let color = color_in(self.texts[wanted.prompt])?;
            Some(object_color(picture) == Some(color))
        }));
        let seen = views.iter().zip(wanted);
        let view = Share::of(seen.filter_map(|(found, wanted)| Some(*found == wanted.view?)));
        let gaussian = FeatureGaussian::of(&verdicts.features, self.judge.feature_width());
        Ok(Row {
            pictures: name.into(),
            recall_at_1: recall.into(),
            colour: colour.into(),
            view: view.into(),
            frechet: gaussian
                .zip(real)
                .and_then(|(a, b)| frechet_distance(&a, b)),
        })
    }

    /// The same of the pictures in `folder` that have one of the prompts among their captions, at `size` pixels, and
    /// the features of all of them.
    fn real(&self, folder: &Path, size: u32) -> anyhow::Result<(Row, FeatureGaussian)> {
        let dataset = Dataset::open(folder, &FolderOptions::new(size))?;
        let numbers: HashMap<&str, usize> = self.texts.iter().copied().zip(0..).collect();
        let step = dataset.len().div_ceil(MAX_REAL).max(1);
        let (mut pictures, mut wanted, mut all) = (vec![], vec![], vec![]);
        for i in 0..dataset.len() {
            let item = dataset.item(i);
            let prompt = item.captions.iter().find_map(|text| numbers.get(&**text));
            if let Some(&prompt) = prompt {
                pictures.push(dataset.image(i, [255; 3])?);
                let word = |camera: &CameraRecord| ViewWord::of(camera.azimuth, camera.elevation);
                let view = item.camera.as_ref().map(word);
                wanted.push(Wanted { prompt, view });
            }
            if i % step == 0 {
                all.push(dataset.image(i, [255; 3])?);
            }
        }
        let row = self.row(&format!("real, {size}x{size}"), &pictures, &wanted, None)?;
        let features = self.judge.judge(&all)?.features;
        let gaussian = FeatureGaussian::of(&features, self.judge.feature_width());
        let gaussian = gaussian.with_context(|| {
            format!(
                "`{}` holds {} pictures; two at least have a distance",
                folder.display(),
                all.len()
            )
        })?;
        Ok((row, gaussian))
    }
}
