//! `dreamsmith info`: what a model, a run, a checkpoint, a weight file or a picture holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{ImageLimits, read_image, read_limited, read_png_text};
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::checkpoint;
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::run::RunFolder;
use serde_json::{Map, Value, json};

use crate::console::Console;

const MAX_WEIGHT_BYTES: u64 = 1 << 36;
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Tell what a model, run, checkpoint, weight file or PNG holds
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith info models/emoji-32
  dreamsmith info runs/first
  dreamsmith info imagine.png        how it was drawn")]
pub struct Info {
    /// A model folder, a run folder, a checkpoint, a .safetensors file or a picture
    path: PathBuf,
}

impl Info {
    pub fn run(self, console: &Console) -> anyhow::Result<()> {
        let path = &self.path;
        let facts = if path.join("unet/config.json").is_file() {
            model(path)?
        } else if path.join("state.json").is_file() {
            training(path)?
        } else if path.join("checkpoint/state.json").is_file() {
            training(&RunFolder::new(path).checkpoint())?
        } else if path.is_dir() {
            bail!(
                "`{}` is neither a model (unet/config.json) nor a run (checkpoint/state.json)",
                path.display()
            )
        } else if path.extension().is_some_and(|e| e == "safetensors") {
            weight_file(path)?
        } else {
            picture(path)?
        };
        let facts: Map<String, Value> = facts
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        console.result(&outline(&facts, 0).join("\n"), &Value::Object(facts));
        Ok(())
    }
}

/// One line for each value, tables indented under their names.
fn outline(table: &Map<String, Value>, indent: usize) -> Vec<String> {
    let width = table.keys().map(String::len).max().unwrap_or(0);
    let lines = |(key, value): (&String, &Value)| match value {
        Value::Object(inner) => {
            let mut lines = vec![format!("{:indent$}{key}", "")];
            lines.extend(outline(inner, indent + 2));
            lines
        }
        Value::String(text) => vec![format!("{:indent$}{key:width$}  {text}", "")],
        value => vec![format!("{:indent$}{key:width$}  {value}", "")],
    };
    table.iter().flat_map(lines).collect()
}

type Facts = Vec<(&'static str, Value)>;

fn model(path: &Path) -> anyhow::Result<Facts> {
    let Model { unet, card, .. } = Model::load(path, &Device::flex(), Precision::F32)?;
    Ok(vec![
        ("kind", json!("model")),
        ("network", json!("UNet2DModel")),
        ("parameters", json!(unet.num_params())),
        ("sample_size", json!(unet.config().sample_size)),
        ("channels", json!(unet.config().block_out_channels)),
        ("diffusion", json!(card.diffusion)),
        ("sample", json!(card.sample)),
        ("classes", json!(card.classes)),
        ("trained", json!(card.trained)),
    ])
}

fn training(path: &Path) -> anyhow::Result<Facts> {
    let spec = checkpoint::read_spec(path)?;
    let (step, pictures) = checkpoint::read_progress(path)?;
    Ok(vec![
        ("kind", json!("training")),
        ("step", json!(step)),
        ("steps", json!(spec.train.steps)),
        ("images_seen", json!(step * spec.train.batch as u64)),
        ("pictures", json!(pictures)),
        ("data", json!(spec.data.dir)),
        ("seed", json!(spec.train.seed)),
        ("finished", json!(step >= spec.train.steps)),
    ])
}

fn weight_file(path: &Path) -> anyhow::Result<Facts> {
    let bytes = read_limited(path, MAX_WEIGHT_BYTES)?;
    let name = path.display();
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .with_context(|| format!("`{name}` is no safetensors file"))?;
    let mut types = BTreeMap::new();
    let mut values = 0;
    for (_, tensor) in file.tensors() {
        *types.entry(format!("{:?}", tensor.dtype())).or_insert(0) += 1;
        values += tensor.shape().iter().product::<usize>();
    }
    let mut shapes: Vec<(String, Vec<usize>)> = file
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape().to_vec()))
        .collect();
    shapes.sort();
    Ok(vec![
        ("kind", json!("weights")),
        ("tensors", json!(shapes.len())),
        ("values", json!(values)),
        ("types", json!(types)),
        (
            "shapes",
            json!(shapes.into_iter().collect::<BTreeMap<_, _>>()),
        ),
    ])
}

fn picture(path: &Path) -> anyhow::Result<Facts> {
    let limits = ImageLimits::default();
    let image = read_image(path, &limits)?;
    let mut facts = vec![
        ("kind", json!("picture")),
        ("width", json!(image.width())),
        ("height", json!(image.height())),
    ];
    if read_limited(path, limits.max_file_bytes)?.starts_with(PNG_SIGNATURE) {
        for (key, text) in read_png_text(path)? {
            if key == "dreamsmith" {
                let drawn = serde_json::from_str(&text).unwrap_or(Value::String(text));
                facts.push(("drawn", drawn));
            }
        }
    }
    Ok(facts)
}
