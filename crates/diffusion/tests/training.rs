//! Training on tiny pictures: that it learns, whatever the formulation; that micro-batches are only a
//! way to compute the same gradient; and that it stops with a name when numbers break.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use dreamsmith_base::{Image, write_png};
use dreamsmith_data::{CachePlace, Dataset, FolderOptions};
use dreamsmith_diffusion::pipeline::{DrawRequest, draw};
use dreamsmith_diffusion::run::{RunFolder, averaged_model, run};
use dreamsmith_diffusion::spec::TrainSpec;
use dreamsmith_diffusion::text::Captions;
use dreamsmith_diffusion::train::Trainer;
use dreamsmith_diffusion::train_error::TrainError;
use dreamsmith_nets::named_parameters;

type Outcome = Result<(), Box<dyn Error>>;

const MODEL: &str = r#"
[model]
sample_size = 8
block_out_channels = [8, 8]
layers_per_block = 1
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
norm_num_groups = 4
attention_head_dim = 4
"#;

/// Four pictures of 8x8, each of one colour.
fn pictures(folder: &Path) -> Result<Dataset, Box<dyn Error>> {
    let colours = [[250, 30, 30], [30, 250, 30], [30, 30, 250], [240, 240, 20]];
    for (i, colour) in colours.into_iter().enumerate() {
        write_png(
            &folder.join(format!("{i}.png")),
            &Image::filled(8, 8, colour)?,
            &[],
        )?;
    }
    let options = FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(8)
    };
    Ok(Dataset::open(folder, &options)?)
}

fn trainer(head: &str) -> Result<Trainer, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let dataset = pictures(folder.path())?;
    let spec = TrainSpec::parse("test", &format!("{head}\n{MODEL}"))?;
    Ok(Trainer::new(
        spec,
        dataset,
        Captions::default(),
        Device::flex(),
    )?)
}

#[test]
fn it_learns_with_every_formulation() -> Outcome {
    let formulations = [
        r#"{ kind = "discrete", prediction = "epsilon" }"#,
        r#"{ kind = "discrete", prediction = "velocity", schedule = { betas = { kind = "cosine" } } }"#,
        r#"{ kind = "discrete", prediction = "sample" }"#,
        r#"{ kind = "edm", sigma_data = 0.8 }"#,
        r#"{ kind = "flow", time_scale = 1000.0 }"#,
    ];
    for formulation in formulations {
        let spacing = if formulation.contains("discrete") {
            "trailing"
        } else {
            "flow"
        };
        let mut trainer = trainer(&format!(
            "diffusion = {formulation}\ntrain = {{ steps = 60, batch = 16, micro_batch = 8 }}\n\
             learning_rate = {{ peak = 0.01, floor = 0.001, warmup = 5 }}\nloss = {{ weight = {{ kind = \"simple\" }} }}\n\
             sample = {{ steps = 8, spacing = {{ kind = \"{spacing}\" }} }}"
        ))?;
        let losses: Vec<f64> = (0..60)
            .map(|_| trainer.step().map(|report| report.loss))
            .collect::<Result<_, _>>()?;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[50..]));
        assert!(last < 0.7 * first, "{formulation}: {first} to {last}");
        let model = averaged_model(&trainer)?;
        let request = DrawRequest::new(&model.card, 1, 2, 8);
        let images = draw(&model, &request, &Device::flex(), &|_| {
            ControlFlow::Continue(())
        })?;
        assert_eq!(images.len(), 2);
        assert_ne!(
            images[0], images[1],
            "{formulation}: two seeds, one picture"
        );
    }
    Ok(())
}

#[test]
fn micro_batches_add_up_to_the_whole_batch() -> Outcome {
    let after_one_step = |micro_batch: usize| -> Result<Vec<f32>, Box<dyn Error>> {
        let head = format!(
            "train = {{ batch = 8, micro_batch = {micro_batch}, clip = 1e9 }}\n\
             optimizer = {{ kind = \"adam\", betas = [0.9, 0.99], epsilon = 1.0 }}\nlearning_rate = {{ peak = 1.0, warmup = 0 }}"
        );
        let mut trainer = trainer(&head)?;
        trainer.step()?;
        let parameters = named_parameters(&trainer.state().weights);
        Ok(parameters
            .iter()
            .flat_map(|p| p.values.to_data().iter::<f32>().collect::<Vec<_>>())
            .collect())
    };
    let (whole, parts) = (after_one_step(8)?, after_one_step(2)?);
    // With so large an epsilon the update is nearly the gradient itself; sums in another order differ
    // by a few units of f32's last place relative to values of up to 1.
    let worst = whole
        .iter()
        .zip(&parts)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
    let initial = trainer("train = { batch = 8, micro_batch = 8 }")?;
    let initial: Vec<f32> = named_parameters(&initial.state().weights)
        .iter()
        .flat_map(|p| p.values.to_data().iter::<f32>().collect::<Vec<_>>())
        .collect();
    let moved = whole
        .iter()
        .zip(&initial)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(moved > 1e-3, "the step moved nothing: {moved}");
    Ok(())
}

#[test]
fn broken_numbers_stop_it_with_step_and_name() -> Outcome {
    let mut trainer = trainer(
        "train = { steps = 10, batch = 4, micro_batch = 4 }\nlearning_rate = { peak = 1e30, warmup = 0 }",
    )?;
    trainer.step()?;
    let before = trainer.state().step;
    let error = loop {
        match trainer.step() {
            Ok(_) => assert!(trainer.state().step < 10, "it should have failed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, TrainError::NotFinite { step, .. } if *step > before));
    assert!(error.to_string().contains("` is not finite"), "{error}");
    Ok(())
}

#[test]
fn weights_that_a_step_broke_replace_no_checkpoint() -> Outcome {
    // The first step's loss and gradients are fine; its update is beyond f32.
    let mut trainer = trainer(
        "train = { steps = 10, batch = 4, micro_batch = 4, checkpoint_every = 1 }\nlearning_rate = { peak = 1e39, warmup = 0 }",
    )?;
    let folder = tempfile::tempdir()?;
    let files = RunFolder::new(folder.path());
    let error = run(&mut trainer, &files, &AtomicBool::new(false), &mut |_| {}).err();
    let error = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("step 1: the value of `"), "{error}");
    assert!(!files.checkpoint().exists() && !files.model().exists());
    Ok(())
}

#[test]
fn a_network_that_does_not_fit_the_pictures_is_refused() -> Outcome {
    for (key, expected) in [
        ("num_class_embeds = 3", "no labels"),
        ("class_embed_type = \"timestep\"", "not set"),
        ("in_channels = 4", "3 and 3"),
    ] {
        let folder = tempfile::tempdir()?;
        let dataset = pictures(folder.path())?;
        let text = MODEL.replace("sample_size = 8", &format!("sample_size = 8\n{key}"));
        let spec = TrainSpec::parse("test", &text)?;
        let refused = Trainer::new(spec, dataset, Captions::default(), Device::flex()).err();
        let error = refused.map(|e| e.to_string()).unwrap_or_default();
        let name = key.split(' ').next().unwrap_or(key);
        assert!(
            error.contains(name) && error.contains(expected),
            "{key}: {error}"
        );
    }
    Ok(())
}
