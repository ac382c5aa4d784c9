//! `dreamsmith train`: from a spec or a checkpoint to a trained model.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::module::Module;
use burn::tensor::Device;
use clap::Args;
use dreamsmith_base::{create_folder, write_atomic_bytes};
use dreamsmith_data::{DataEvent, Dataset, FolderOptions, OnFault};
use dreamsmith_diffusion::Precision;
use dreamsmith_diffusion::checkpoint;
use dreamsmith_diffusion::run::{self, Metrics, Outcome, RunFolder, TrainEvent};
use dreamsmith_diffusion::spec::TrainSpec;
use dreamsmith_diffusion::text::Captions;
use dreamsmith_diffusion::train::Trainer;
use serde_json::json;

use crate::chart::draw_loss_curve;
use crate::console::{Console, stop_flag};

/// Train a diffusion model on a folder of pictures
#[derive(Args)]
#[command(after_help = "Examples:
  dreamsmith train --print-spec > my.toml     every setting with its default
  dreamsmith train my.toml -o runs/first      start
  dreamsmith train --resume runs/first        go on after Ctrl-C or a power cut
  dreamsmith imagine --model runs/first/model draw from it")]
pub struct Train {
    /// The spec of the run
    #[arg(required_unless_present_any = ["print_spec", "resume"], conflicts_with = "resume")]
    spec: Option<PathBuf>,
    /// Folder for checkpoints, the model, metrics and sample pictures
    #[arg(short, long, default_value = "runs/train", conflicts_with = "resume")]
    output: PathBuf,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Refuse to train if any picture or caption is broken, as data.on_fault = "strict" in the spec does
    #[arg(long)]
    strict: bool,
    /// Print the spec with every default, and do not train
    #[arg(long)]
    print_spec: bool,
}

impl Train {
    pub fn run(
        self,
        device: &Device,
        precision: Option<Precision>,
        console: &Console,
    ) -> anyhow::Result<()> {
        if self.print_spec {
            let spec = match &self.spec {
                Some(path) => TrainSpec::read(path)?,
                None => TrainSpec::default(),
            };
            let text = spec.to_toml()?;
            console.result(text.trim_end(), &serde_json::to_value(&spec)?);
            return Ok(());
        }
        let folder = self.resume.as_ref().unwrap_or(&self.output);
        let mut spec = match (&self.resume, &self.spec) {
            (Some(run), _) => checkpoint::read_spec(&RunFolder::new(run).checkpoint())?,
            (None, Some(spec)) => TrainSpec::read(spec)?,
            (None, None) => bail!("give a spec, or --resume DIR"),
        };
        if self.strict {
            spec.data.on_fault = OnFault::Strict;
        }
        spec.train.precision = precision.unwrap_or(spec.train.precision);
        let trainer = match &self.resume {
            Some(run) => resume(spec, run, device, console)?,
            None => start(spec, folder, device, console)?,
        };
        train(trainer, folder, console)
    }
}

fn start(
    spec: TrainSpec,
    folder: &Path,
    device: &Device,
    console: &Console,
) -> anyhow::Result<Trainer> {
    if RunFolder::new(folder).checkpoint().exists() {
        bail!(
            "`{0}` holds a run already; go on with `--resume {0}`, or choose another folder with -o",
            folder.display()
        );
    }
    let dataset = open_pictures(&spec, console)?;
    let text = spec.to_toml()?;
    let captions = Captions::open(&spec, &dataset, device)?;
    let trainer = Trainer::new(spec, dataset, captions, device.clone())?;
    run::check(&trainer)?;
    create_folder(folder)?;
    write_atomic_bytes(&folder.join("spec.toml"), text.as_bytes())?;
    Ok(trainer)
}

fn resume(
    spec: TrainSpec,
    folder: &Path,
    device: &Device,
    console: &Console,
) -> anyhow::Result<Trainer> {
    let checkpoint = RunFolder::new(folder).checkpoint();
    let dataset = open_pictures(&spec, console)?;
    let state = checkpoint::load(&checkpoint, &spec, dataset.len(), device)?;
    console.note(&format!(
        "resuming at step {} of {}",
        state.step, spec.train.steps
    ));
    let captions = Captions::open(&spec, &dataset, device)?;
    Ok(Trainer::from_state(
        spec,
        (dataset, captions),
        device.clone(),
        state,
    )?)
}

fn open_pictures(spec: &TrainSpec, console: &Console) -> anyhow::Result<Dataset> {
    let size = spec.picture_size()?;
    let options = FolderOptions {
        fit: spec.data.fit,
        on_fault: spec.data.on_fault,
        ..FolderOptions::new(size)
    };
    let bar = console.bar(0, "pictures");
    let dataset = Dataset::open_watched(&spec.data.dir, &options, &|event| match event {
        DataEvent::Listed { pictures } => bar.set_length(pictures as u64),
        DataEvent::Decoded { done, .. } => bar.set_position(done as u64),
        DataEvent::CacheRefused { reason } => console.note(&format!("cache not used: {reason}")),
    });
    bar.finish_and_clear();
    let dataset = dataset?;
    let summary = dataset.summary();
    console.note(&format!(
        "{} pictures at {size}x{size}, {} with captions, {} with labels ({} classes), {} skipped",
        summary.pictures,
        summary.captioned,
        summary.labelled,
        dataset.classes().len(),
        summary.skipped.len()
    ));
    for skip in summary.skipped.iter().take(10) {
        console.note(&format!("  skipped {skip}"));
    }
    if summary.skipped.len() > 10 {
        console.note(&format!("  and {} more", summary.skipped.len() - 10));
    }
    Ok(dataset)
}

fn train(mut trainer: Trainer, folder: &Path, console: &Console) -> anyhow::Result<()> {
    let files = RunFolder::new(folder);
    let spec = trainer.spec().clone();
    let parameters = trainer.state().weights.num_params();
    let (first, steps) = (trainer.state().step, spec.train.steps);
    console.note(&format!(
        "training {parameters} parameters, steps {first} to {steps}, batch {}, into {}",
        spec.train.batch,
        folder.display()
    ));
    let stop = stop_flag(console)?;
    let mut history = files.read_metrics(first)?;
    let bar = console.bar(steps, "steps");
    bar.set_position(first);
    bar.reset_eta();
    let outcome = run::run(&mut trainer, &files, &stop, &mut |event| match event {
        TrainEvent::Step(report) => bar.set_position(report.step),
        TrainEvent::Metrics(line) => {
            history.push(*line);
            // What fits into 80 columns beside the bar.
            bar.set_message(format!(
                "loss {:.4} rate {:.1e}",
                line.loss, line.learning_rate
            ));
            if !console.has_bar() {
                console.note(&format!("step {} {}", line.step, describe(line)));
            }
        }
        TrainEvent::Saved(_) => {
            // One that cannot be drawn now is told at the end: it is no reason to stop the training.
            let _ = draw_loss_curve(&history, &files.loss_curve());
        }
        TrainEvent::Grid(path) => bar.println(format!("drew {}", path.display())),
    });
    bar.finish_and_clear();
    let outcome = outcome?;
    draw_loss_curve(&history, &files.loss_curve()).context("the loss curve cannot be drawn")?;
    let step = trainer.state().step;
    let last = history.last();
    let words = match outcome {
        Outcome::Finished => format!(
            "trained {step} steps; the model is in {}",
            files.model().display()
        ),
        Outcome::Stopped => format!(
            "saved at step {step}; go on with `dreamsmith train --resume {}`",
            folder.display()
        ),
    };
    console.result(
        &words,
        &json!({
            "command": "train",
            "finished": outcome == Outcome::Finished,
            "step": step,
            "images": step * spec.train.batch as u64,
            "parameters": parameters,
            "loss": last.map(|line| line.loss),
            "images_per_second": last.map(|line| line.images_per_second),
            "folder": folder,
            "model": files.model(),
        }),
    );
    Ok(())
}

fn describe(line: &Metrics) -> String {
    format!(
        "loss {:.4} gradient {:.3} rate {:.2e} {:.1} images/s",
        line.loss, line.gradient_norm, line.learning_rate, line.images_per_second
    )
}
