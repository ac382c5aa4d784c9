//! `dreamsmith average`: another length of the weight average, chosen after training.

use std::path::PathBuf;

use anyhow::bail;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::create_folder;
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::post_hoc::{Profile, list, reconstruct};
use dreamsmith_diffusion::run::RunFolder;
use dreamsmith_nets::WeightType;
use serde_json::json;

use crate::console::Console;

/// Choose the length of the weight average after training
///
/// Needs a run whose spec has snapshots = { kind = "pair", sigma_rels = [0.05, 0.10] }.
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith average runs/first --sigma-rel 0.15 -o runs/first/longer
  dreamsmith imagine --model runs/first/longer")]
pub struct Average {
    /// The folder of the run
    run: PathBuf,
    /// Width of the average relative to the length of the training; longer averages are smoother
    #[arg(long)]
    sigma_rel: f64,
    /// The model folder to write
    #[arg(short, long)]
    output: PathBuf,
}

impl Average {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        let run = RunFolder::new(&self.run);
        let snapshots = list(&run.snapshots());
        let Some(step) = snapshots.iter().map(|snapshot| snapshot.profile.step).max() else {
            bail!(
                "`{}` has no snapshots; train with snapshots = {{ kind = \"pair\", sigma_rels = [0.05, 0.10] }} in the spec",
                self.run.display()
            );
        };
        if !(0.001..=0.28).contains(&self.sigma_rel) {
            bail!("--sigma-rel is {}, expected 0.001 to 0.28", self.sigma_rel);
        }
        if self.output.exists() {
            bail!(
                "`{}` exists already; choose another folder with -o",
                self.output.display()
            );
        }
        if let Some(parent) = self.output.parent() {
            create_folder(parent)?;
        }
        let mut model = Model::load(&run.model(), device, Precision::F32)?;
        let wanted = Profile {
            step,
            sigma_rel: self.sigma_rel,
        };
        model.unet = reconstruct(&model.unet, &snapshots, wanted)?;
        model.save(&self.output, WeightType::F32)?;
        console.result(
            &format!(
                "wrote {} from {} snapshots",
                self.output.display(),
                snapshots.len()
            ),
            &json!({
                "command": "average",
                "model": self.output,
                "snapshots": snapshots.len(),
                "step": step,
                "sigma_rel": self.sigma_rel,
            }),
        );
        Ok(())
    }
}
