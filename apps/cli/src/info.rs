//! `dreamsmith info`: what a model, a run, a checkpoint, a weight file, a mesh or a picture holds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{
    ImageLimits, Material, MeshLimits, read_image, read_limited, read_mesh, read_png_text,
};
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::checkpoint;
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::run::RunFolder;
use serde_json::{Map, Value, json};

use crate::console::Console;

const MAX_WEIGHT_BYTES: u64 = 1 << 36;
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Tell what a model, run, checkpoint, weight file, mesh or PNG holds
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith info models/emoji-32
  dreamsmith info runs/first
  dreamsmith info chair.glb          or .obj, .gltf, .ply, archive.zip!chair.obj
  dreamsmith info imagine.png        how it was drawn")]
pub struct Info {
    /// A model folder, a run folder, a checkpoint, a .safetensors file, a mesh or a picture
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
        } else if is_mesh(path) {
            mesh(path)?
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
    let config = unet.config();
    Ok(vec![
        ("kind", json!("model")),
        ("network", json!(config.class_name())),
        ("parameters", json!(unet.num_params())),
        ("sample_size", json!(config.sample_size())),
        ("channels", json!(config.block_out_channels())),
        ("text_tokens", json!(card.text_tokens)),
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
        ("network", json!(spec.model.class_name())),
        ("condition", json!(spec.condition)),
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

fn is_mesh(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = ["obj", "glb", "gltf", "ply", "zip", "sh3f"];
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn mesh(path: &Path) -> anyhow::Result<Facts> {
    let read = read_mesh(path, &MeshLimits::default())?;
    let mesh = &read.mesh;
    let [low, high] = mesh.bounds().map(|corner| corner.to_array());
    let materials: Vec<Value> = mesh.materials().iter().map(material).collect();
    Ok(vec![
        ("kind", json!("mesh")),
        ("vertices", json!(mesh.verts().len())),
        ("faces", json!(mesh.faces().len())),
        ("bounds", json!([low, high])),
        ("area", json!(mesh.area())),
        ("closed", json!(is_closed(mesh.verts(), mesh.faces()))),
        ("signed_volume", json!(mesh.signed_volume())),
        ("normals", json!(!mesh.normals().is_empty())),
        ("uvs", json!(!mesh.uvs().is_empty())),
        ("colors", json!(!mesh.colors().is_empty())),
        ("materials", json!(materials)),
        ("warnings", json!(read.warnings)),
    ])
}

fn material(material: &Material) -> Value {
    let texture = material.texture.as_ref();
    json!({
        "name": material.name,
        "base_color": material.base_color,
        "alpha": material.alpha,
        "texture": texture.map(|t| format!("{}x{}", t.width(), t.height())),
    })
}

/// Whether each edge is walked as often one way as the other; vertices at one place count as one.
fn is_closed(verts: &[[f32; 3]], faces: &[[u32; 3]]) -> bool {
    let mut places = HashMap::new();
    let numbers: Vec<usize> = verts
        .iter()
        .map(|vert| {
            // Adding zero makes one of the two zeros.
            let key = vert.map(|x| (x + 0.0).to_bits());
            let next = places.len();
            *places.entry(key).or_insert(next)
        })
        .collect();
    let mut walked: HashMap<(usize, usize), i64> = HashMap::new();
    for face in faces {
        let [a, b, c] = face.map(|i| numbers[i as usize]);
        for (from, to) in [(a, b), (b, c), (c, a)] {
            let way = if from < to { 1 } else { -1 };
            *walked.entry((from.min(to), from.max(to))).or_default() += way;
        }
    }
    // An edge from a vertex to itself belongs to a face without area.
    walked
        .iter()
        .all(|((from, to), balance)| from == to || *balance == 0)
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
