//! `dreamsmith export`: a model as it is handed on, in fewer bits and with the stages that enlarge what it draws.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::create_folder;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::cascade::Cascade;
use dreamsmith_nets::WeightType;
use serde_json::{Map, Value, json};

use crate::console::Console;

/// Write a model as it is handed on: in fewer bits, with its stages in one folder
///
/// Weights as f16 draw the same pictures, but for a value here and there. A text encoder as f8 places texts a little
/// elsewhere; a network that is trained with the small encoder does not mind: give the folder written here as
/// `condition.reader.dir`.
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith export runs/base/model -o models/mine
  dreamsmith export runs/base/model --encoder f8 --stage runs/to-64/model --stage runs/to-256/model -o models/mine
  dreamsmith imagine \"a red armchair\" --model models/mine")]
pub struct Export {
    /// The model folder
    model: PathBuf,
    /// A model that enlarges what all before it have made; may be given several times
    #[arg(long, value_name = "DIR")]
    stage: Vec<PathBuf>,
    /// Numbers of the networks: f32, bf16, f16 or f8
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    weights: WeightType,
    /// Numbers of the text encoder, likewise
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    encoder: WeightType,
    /// The model folder to write
    #[arg(short, long)]
    output: PathBuf,
}

impl Export {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        if self.output.exists() {
            bail!(
                "`{}` exists already; choose another folder with -o",
                self.output.display()
            );
        }
        let mut cascade = Cascade::load(&self.model, device, Precision::F32)?;
        for stage in &self.stage {
            cascade.add(stage, device, Precision::F32)?;
        }
        if let Some(parent) = self.output.parent() {
            create_folder(parent)?;
        }
        cascade.save(&self.output, self.weights, self.encoder)?;
        let parts = parts(&self.output)?;
        let bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
        let list: Vec<String> = parts
            .iter()
            .map(|(name, bytes)| format!("{name} {:.1}", megabytes(*bytes)))
            .collect();
        let values = parts.into_iter().map(|(name, bytes)| (name, json!(bytes)));
        console.result(
            &format!(
                "wrote {}: {:.1} MB ({})",
                self.output.display(),
                megabytes(bytes),
                list.join(", ")
            ),
            &json!({
                "command": "export",
                "model": self.output,
                "bytes": bytes,
                "parts": values.collect::<Map<String, Value>>(),
            }),
        );
        Ok(())
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What stands in a folder, by name, with its bytes.
fn parts(folder: &Path) -> anyhow::Result<Vec<(String, u64)>> {
    let name = || format!("`{}` cannot be listed", folder.display());
    let mut found = vec![];
    for entry in fs::read_dir(folder).with_context(name)? {
        let entry = entry.with_context(name)?;
        let bytes = match entry.file_type().with_context(name)?.is_dir() {
            true => parts(&entry.path())?.iter().map(|(_, bytes)| bytes).sum(),
            false => entry.metadata().with_context(name)?.len(),
        };
        found.push((entry.file_name().to_string_lossy().into_owned(), bytes));
    }
    found.sort();
    Ok(found)
}
