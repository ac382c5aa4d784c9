//! `dreamsmith train-tower`: the network that judges drawings, from captioned pictures.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use burn::tensor::Device;
use clap::Args;
use dreamsmith_data::{Dataset, FolderOptions};
use dreamsmith_diffusion::eval::{TowerReport, TowerSpec, TowerTrainer};
use dreamsmith_nets::WeightType;
use serde_json::json;

use crate::console::{Console, stop_flag};

/// Steps over which the figures shown are averaged, so that they can be read.
const REPORT_EVERY: u64 = 50;

/// Train the tower that judges a model's pictures
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith train-tower specs/eval/tower.toml -o runs/tower
  dreamsmith eval runs/base/model --tower runs/tower --prompts prompts.toml

The pictures must not be those that the model was trained on: other views of the same objects.")]
pub struct TrainTower {
    /// The spec of the run
    spec: PathBuf,
    /// Folder of the tower
    #[arg(short, long, default_value = "runs/tower")]
    output: PathBuf,
}

impl TrainTower {
    pub fn run(self, device: &Device, console: &Console) -> anyhow::Result<()> {
        let spec = TowerSpec::read(&self.spec)?;
        let options = FolderOptions {
            fit: spec.data.fit,
            on_fault: spec.data.on_fault,
            ..FolderOptions::new(spec.model.sample_size as u32)
        };
        let dataset = Dataset::open(&spec.data.dir, &options)?;
        console.note(&format!("{} pictures", dataset.len()));
        let steps = spec.steps;
        let mut trainer = TowerTrainer::new(spec, dataset, device.clone())?;
        let stop = stop_flag(console)?;
        let bar = console.bar(steps, "steps");
        let mut last: Vec<TowerReport> = vec![];
        let mut done = 0;
        while done < steps && !stop.load(Ordering::Relaxed) {
            last.push(trainer.step()?);
            done += 1;
            bar.set_position(done);
            if done % REPORT_EVERY == 0 || done == steps {
                let [loss, recall, views] = means(&last);
                bar.set_message(format!("loss {loss:.3}"));
                bar.suspend(|| {
                    console.note(&format!(
                        "step {done}: loss {loss:.3}, captions told {:.0} %, views {:.0} %",
                        100.0 * recall,
                        100.0 * views
                    ));
                });
                if done < steps {
                    last.clear();
                }
            }
        }
        bar.finish_and_clear();
        trainer.tower().save(&self.output, WeightType::F16)?;
        let [loss, recall, views] = means(&last);
        console.result(
            &format!("wrote {} after {done} steps", self.output.display()),
            &json!({
                "command": "train-tower", "tower": self.output, "steps": done,
                "loss": loss, "captions_told": recall, "views_told": views,
            }),
        );
        Ok(())
    }
}

/// Mean loss, recall and share of views; steps without a camera say nothing of views.
fn means(reports: &[TowerReport]) -> [f64; 3] {
    let mean = |of: &dyn Fn(&TowerReport) -> f64| {
        let values = reports.iter().map(of).filter(|value| !value.is_nan());
        let (sum, n) = values.fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
        sum / f64::from(n)
    };
    [
        mean(&|r| r.loss),
        mean(&|r| r.recall),
        mean(&|r| r.views_right),
    ]
}
