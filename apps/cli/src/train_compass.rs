//! `dreamsmith train-compass`: the network that tells from which side an object is seen.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use burn::tensor::Device;
use clap::Args;
use dreamsmith_data::{Dataset, FolderOptions};
use dreamsmith_diffusion::eval::{CompassReport, CompassSpec, CompassTrainer};
use dreamsmith_nets::WeightType;
use serde_json::json;

use crate::console::{Console, stop_flag};

/// Steps over which the figures shown are averaged, so that they can be read.
const REPORT_EVERY: u64 = 50;

/// Train the compass that tells fronts
#[derive(Args)]
#[command(after_help = "Example:
  dreamsmith train-compass specs/eval/compass.toml -o runs/compass
  dreamsmith eval-compass --compass runs/compass --from unpacked --encoder models/objects")]
pub struct TrainCompass {
    /// The spec of the run
    spec: PathBuf,
    /// Folder of the compass
    #[arg(short, long, default_value = "runs/compass")]
    output: PathBuf,
}

impl TrainCompass {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        let spec = CompassSpec::read(&self.spec)?;
        let options = FolderOptions {
            fit: spec.data.fit,
            on_fault: spec.data.on_fault,
            ..FolderOptions::new(spec.model.sample_size as u32)
        };
        let dataset = Dataset::open(&spec.data.dir, &options)?;
        let steps = spec.steps;
        let mut trainer = CompassTrainer::new(spec, dataset, device.clone())?;
        console.note(&format!("{} pictures", trainer.n_lessons()));
        let stop = stop_flag(console)?;
        let bar = console.bar(steps, "steps");
        let mut last: Vec<CompassReport> = vec![];
        let mut done = 0;
        while done < steps && !stop.load(Ordering::Relaxed) {
            last.push(trainer.step()?);
            done += 1;
            bar.set_position(done);
            if done % REPORT_EVERY == 0 || done == steps {
                let [loss, told] = means(&last);
                bar.set_message(format!("loss {loss:.3}"));
                bar.suspend(|| {
                    let told = 100.0 * told;
                    console.note(&format!("step {done}: loss {loss:.3}, told {told:.0} %"));
                });
                if done < steps {
                    last.clear();
                }
            }
        }
        bar.finish_and_clear();
        trainer.compass().save(&self.output, WeightType::F16)?;
        let [loss, told] = means(&last);
        console.result(
            &format!("wrote {} after {done} steps", self.output.display()),
            &json!({
                "command": "train-compass", "compass": self.output, "steps": done,
                "loss": loss, "told": told,
            }),
        );
        Ok(())
    }
}

/// Mean loss and share of sectors told.
fn means(reports: &[CompassReport]) -> [f64; 2] {
    let n = reports.len() as f64;
    [
        reports.iter().map(|r| r.loss).sum::<f64>() / n,
        reports.iter().map(|r| r.told).sum::<f64>() / n,
    ]
}
