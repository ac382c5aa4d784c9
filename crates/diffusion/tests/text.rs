//! Training and drawing with text and cameras, with a tiny encoder of random weights.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use dreamsmith_base::{Image, write_png};
use dreamsmith_data::{CachePlace, CameraRecord, Dataset, FolderOptions};
use dreamsmith_diffusion::checkpoint;
use dreamsmith_diffusion::condition::{Condition, TextCode, Told, Wants};
use dreamsmith_diffusion::model::Model;
use dreamsmith_diffusion::pipeline::{DrawRequest, DrawStep, draw};
use dreamsmith_diffusion::run::averaged_model;
use dreamsmith_diffusion::spec::TrainSpec;
use dreamsmith_diffusion::text::{Captions, TextSource};
use dreamsmith_diffusion::train::Trainer;
use dreamsmith_nets::{
    ClassCondition, Precision, UNetCondition, WeightType, WeightedPrompt, named_parameters,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MODEL: &str = r#"
[model]
_class_name = "UNet2DConditionModel"
sample_size = 8
block_out_channels = [8, 8]
layers_per_block = 1
down_block_types = ["DownBlock2D", "CrossAttnDownBlock2D"]
up_block_types = ["CrossAttnUpBlock2D", "UpBlock2D"]
norm_num_groups = 4
attention_head_dim = 2
cross_attention_dim = WIDTH
class_embed_type = "projection"
projection_class_embeddings_input_dim = VECTOR
"#;

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text/bert")
}

/// The spec with a network for an encoder of `width` features.
fn spec(head: &str, dropout: f64, width: usize) -> Outcome<TrainSpec> {
    let model = MODEL.replace("WIDTH", &width.to_string());
    let model = model.replace("VECTOR", &(width + 7).to_string());
    let encoder = encoder();
    let text = format!(
        "{head}\n[condition]\nkind = \"text\"\nreader = {{ kind = \"frozen\", dir = {encoder:?} }}\ntokens = 12\n\
         text_dropout = {dropout:?}\ncamera_dropout = {dropout:?}\nprompts = [\"two red\"]\n{model}"
    );
    Ok(TrainSpec::parse("test", &text)?)
}

/// What the pictures are called; words of the tiny encoder.
const WORDS: [&str; 4] = ["red", "chair", "lamp", "two"];

/// Four pictures of 8x8, of one colour each, two captions each, and two with a camera.
fn pictures(folder: &Path) -> Outcome<Dataset> {
    let colours = [[250, 30, 30], [30, 250, 30], [30, 30, 250], [240, 240, 20]];
    let mut lines = String::new();
    for (i, colour) in colours.into_iter().enumerate() {
        let picture = Image::filled(8, 8, colour)?;
        write_png(&folder.join(format!("{i}.png")), &picture, &[])?;
        let camera = match i {
            0 | 1 => r#", "camera": {"azimuth": 10, "elevation": 20, "distance": 3, "fov": 40}"#,
            _ => "",
        };
        lines += &format!(
            "{{\"file_name\": \"{i}.png\", \"text\": [\"{0}\", \"and {0}\"]{camera}}}\n",
            WORDS[i]
        );
    }
    std::fs::write(folder.join("metadata.jsonl"), lines)?;
    let options = FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(8)
    };
    Ok(Dataset::open(folder, &options)?)
}

fn trainer_of(spec: TrainSpec) -> Outcome<Trainer> {
    let folder = tempfile::tempdir()?;
    let dataset = pictures(folder.path())?;
    let captions = Captions::open(&spec, &dataset, &Device::flex())?;
    Ok(Trainer::new(spec, dataset, captions, Device::flex())?)
}

fn source() -> Outcome<TextSource> {
    Ok(TextSource::frozen(&encoder(), 12, &Device::flex())?)
}

fn width() -> Outcome<usize> {
    match source()?.wants() {
        Wants::Text { width, .. } => Ok(width),
        wants => Err(format!("{wants:?}").into()),
    }
}

fn trainer(head: &str, dropout: f64) -> Outcome<Trainer> {
    trainer_of(spec(head, dropout, width()?)?)
}

fn weights(trainer: &Trainer) -> Vec<f32> {
    let parameters = named_parameters(&trainer.state().weights);
    let values = parameters.iter();
    values
        .flat_map(|p| p.values.to_data().iter::<f32>().collect::<Vec<_>>())
        .collect()
}

fn numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

const CAMERA: CameraRecord = CameraRecord {
    azimuth: 90.0,
    elevation: 0.0,
    distance: 1.0,
    fov: 60.0,
};

fn told(wants: Wants, conditions: &[Condition]) -> Outcome<(Vec<f32>, Vec<f32>, Vec<bool>)> {
    let Told::Text {
        whole:
            UNetCondition {
                encoder_hidden_states,
                mask: Some(mask),
                class: Some(ClassCondition::Vector(vector)),
                ..
            },
        ..
    } = wants.told(conditions, &Device::flex())
    else {
        return Err("no text".into());
    };
    let mask = mask.to_data().iter::<bool>().collect();
    Ok((numbers(&encoder_hidden_states), numbers(&vector), mask))
}

#[test]
fn what_is_unknown_is_zeros_and_what_is_known_is_told() -> Outcome {
    let source = source()?;
    let (codes, losses) = source.read(&["two red", "red"].map(WeightedPrompt::plain))?;
    assert!(losses.is_empty());
    let TextCode::States {
        states: own,
        pooled,
    } = &*codes[0]
    else {
        return Err("no states".into());
    };
    let conditions = [
        Condition::Anything,
        Condition::text(None, None),
        Condition::text(Some(codes[0].clone()), Some(CAMERA)),
    ];
    let (states, vectors, mask) = told(source.wants(), &conditions)?;
    let (width, rows) = (width()?, states.len() / 3);
    assert_eq!(rows, 12 * width);
    // Two of nothing: zeros, and one token that says so.
    assert!(states[..2 * rows].iter().all(|x| *x == 0.0));
    assert!(vectors[..2 * (width + 7)].iter().all(|x| *x == 0.0));
    assert_eq!(mask[..12], [&[true][..], &[false; 11]].concat());
    // A start, two words, an end.
    let heeded = own.len() / width;
    assert_eq!(mask[24..].iter().filter(|m| **m).count(), heeded);
    assert!(mask[24..][..heeded].iter().all(|m| *m));
    assert_eq!(vectors[2 * (width + 7)..][..width], *pooled);
    let camera = &vectors[3 * (width + 7) - 7..];
    let expected = [1.0, 0.0, 0.0, 1.0, 0.0, 60f32.to_radians(), 1.0];
    for (found, expected) in camera.iter().zip(expected) {
        // sin and cos of f32 angles.
        assert!((found - expected).abs() < 1e-6, "{camera:?}");
    }
    Ok(())
}

#[test]
fn the_states_of_a_text_do_not_depend_on_those_beside_it() -> Outcome {
    let source = source()?;
    let together = source
        .read(&["red", "two red and 3", "and"].map(WeightedPrompt::plain))?
        .0;
    let alone = source.read_prompt("two red and 3")?.0;
    assert_eq!(together[1], alone);
    let heavier = source.read_prompt("two (red:1.5) and 3")?.0;
    assert_ne!(heavier, alone);
    Ok(())
}

#[test]
fn all_dropped_is_training_without_condition() -> Outcome {
    // The same pictures with other captions and no camera: with all dropped, nothing of that matters.
    let head = "train = { steps = 10, batch = 4, micro_batch = 2 }";
    let train = |dropout, captions: &str| -> Outcome<Vec<f32>> {
        let folder = tempfile::tempdir()?;
        pictures(folder.path())?;
        if captions == "others" {
            let lines =
                (0..4).map(|i| format!("{{\"file_name\": \"{i}.png\", \"text\": \"two\"}}\n"));
            std::fs::write(
                folder.path().join("metadata.jsonl"),
                lines.collect::<String>(),
            )?;
        }
        let options = FolderOptions {
            cache: CachePlace::Memory,
            ..FolderOptions::new(8)
        };
        let dataset = Dataset::open(folder.path(), &options)?;
        let spec = spec(head, dropout, width()?)?;
        let captions = Captions::open(&spec, &dataset, &Device::flex())?;
        let mut trainer = Trainer::new(spec, dataset, captions, Device::flex())?;
        for _ in 0..3 {
            trainer.step()?;
        }
        Ok(weights(&trainer))
    };
    assert_eq!(train(1.0, "own")?, train(1.0, "others")?);
    assert_ne!(train(0.0, "own")?, train(0.0, "others")?);
    Ok(())
}

#[test]
fn it_learns_what_words_mean() -> Outcome {
    let mut trainer = trainer(
        "train = { steps = 300, batch = 16, micro_batch = 16 }\n\
         learning_rate = { peak = 0.01, floor = 0.001, warmup = 5 }\n\
         sample = { steps = 10, threshold = { kind = \"static\", bound = 1.0 } }",
        0.1,
    )?;
    for _ in 0..300 {
        trainer.step()?;
    }
    let model = averaged_model(&trainer)?;
    let source = model.text.as_ref().ok_or("no text")?;
    // How much redder than blue four pictures are, whose noise is the same for every text.
    let redness = |text: &str| -> Outcome<f64> {
        let condition = Condition::text(Some(source.read_prompt(text)?.0), None);
        let mut request = DrawRequest {
            conditions: vec![condition; 4],
            ..DrawRequest::new(&model.card, 1, 4, 8)
        };
        request.sample.guidance.scale = 3.0;
        let go_on = |_: &DrawStep<'_>| ControlFlow::Continue(());
        let images = draw(&model, &request, &Device::flex(), &go_on)?;
        let pixels = images.iter().flat_map(|image| image.rgb().chunks_exact(3));
        let differences = pixels.map(|rgb| f64::from(rgb[0]) - f64::from(rgb[2]));
        Ok(differences.sum::<f64>() / 256.0)
    };
    let (red, blue) = (redness("red")?, redness("lamp")?);
    // Between pictures of the two colours themselves it is 440.
    assert!(red > blue + 100.0, "{red} {blue}");
    Ok(())
}

#[test]
fn a_model_folder_draws_as_the_trainer_did() -> Outcome {
    let mut trainer = trainer(
        "train = { steps = 4, batch = 4, micro_batch = 2 }\nsample = { steps = 3 }",
        0.1,
    )?;
    trainer.step()?;
    let model = averaged_model(&trainer)?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("model");
    model.save(&dir, WeightType::F32)?;
    let read = Model::load(&dir, &Device::flex(), Precision::F32)?;
    let draw_with = |model: &Model| -> Outcome<Vec<Image>> {
        let text = model.text.as_ref().ok_or("no text")?;
        let (code, _) = text.read_prompt("two red")?;
        let condition = Condition::text(Some(code), Some(CAMERA));
        let mut request = DrawRequest {
            conditions: vec![condition; 2],
            ..DrawRequest::new(&model.card, 1, 2, 8)
        };
        request.sample.guidance.scale = 2.0;
        Ok(draw(model, &request, &Device::flex(), &|_| {
            ControlFlow::Continue(())
        })?)
    };
    let (before, after) = (draw_with(&model)?, draw_with(&read)?);
    for (before, after) in before.iter().zip(&after) {
        // The encoder was rounded to f16 on its way.
        let worst = before
            .rgb()
            .iter()
            .zip(after.rgb())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(worst <= Some(2), "{worst:?}");
    }
    assert_eq!(before.len(), 2);
    Ok(())
}

#[test]
fn a_resumed_training_equals_an_unbroken_one() -> Outcome {
    let head = "train = { steps = 6, batch = 4, micro_batch = 2 }";
    let mut whole = trainer(head, 0.3)?;
    for _ in 0..6 {
        whole.step()?;
    }
    let mut first = trainer(head, 0.3)?;
    for _ in 0..3 {
        first.step()?;
    }
    let folder = tempfile::tempdir()?;
    let (dir, spec) = (folder.path().join("checkpoint"), first.spec().clone());
    checkpoint::save(&dir, first.state(), &spec, 4)?;
    let dataset = pictures(folder.path())?;
    let captions = Captions::open(&spec, &dataset, &Device::flex())?;
    let state = checkpoint::load(&dir, &checkpoint::read_spec(&dir)?, 4, &Device::flex())?;
    let mut second = Trainer::from_state(spec, (dataset, captions), Device::flex(), state)?;
    for _ in 0..3 {
        second.step()?;
    }
    assert_eq!(weights(&second), weights(&whole));
    Ok(())
}

#[test]
fn a_training_starts_from_the_weights_of_a_model() -> Outcome {
    let mut first = trainer("train = { steps = 4, batch = 4, micro_batch = 2 }", 0.1)?;
    first.step()?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("model");
    averaged_model(&first)?.save(&dir, WeightType::F32)?;
    let head = format!("start = {{ kind = \"model\", dir = {dir:?} }}\ntrain = {{ seed = 5 }}");
    let second = trainer(&head, 0.1)?;
    // The average of the first step is that step's weights.
    assert_eq!(weights(&second), weights(&first));
    Ok(())
}

#[test]
fn a_network_that_sees_its_view_starts_from_one_that_does_not_and_heeds_them() -> Outcome {
    let blind = trainer("train = { steps = 4, batch = 4, micro_batch = 2 }", 0.1)?;
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("model");
    averaged_model(&blind)?.save(&dir, WeightType::F32)?;
    let head = format!(
        "start = {{ kind = \"model\", dir = {dir:?} }}\ntrain = {{ batch = 4, micro_batch = 2 }}\nlearning_rate = {{ warmup = 0 }}"
    );
    let text = spec(&head, 0.0, width()?)?.to_toml()?;
    let text = text.replace("in_channels = 3", "in_channels = 13");
    let mut seeing = trainer_of(TrainSpec::parse("test", &text)?)?;

    let wants = source()?.wants();
    let draw = |trainer: &Trainer, azimuth| {
        let camera = Some(CameraRecord { azimuth, ..CAMERA });
        let told = wants.told(&[Condition::text(None, camera)], &Device::flex());
        let x = Tensor::<4>::ones([1, 3, 8, 8], &Device::flex());
        let time = Tensor::<1>::ones([1], &Device::flex());
        // The vector of the camera aside: only the map differs.
        let Told::Text { frames, .. } = told else {
            return vec![];
        };
        let told = wants.told(&[Condition::Anything], &Device::flex());
        let Told::Text { whole, .. } = told else {
            return vec![];
        };
        let told = Told::Text { whole, frames };
        numbers(&trainer.state().weights.forward(x, time, &told))
    };
    assert_eq!(draw(&seeing, 0.0), draw(&blind, 0.0));
    assert_eq!(draw(&seeing, 0.0), draw(&seeing, 90.0));
    seeing.step()?;
    assert_ne!(draw(&seeing, 0.0), draw(&seeing, 90.0));
    assert_eq!(draw(&blind, 0.0), draw(&blind, 90.0));
    Ok(())
}

#[test]
fn parts_that_do_not_go_together_are_named() -> Outcome {
    let width = width()?;
    let good = spec("", 0.1, width)?.to_toml()?;
    for (old, new, words) in [
        (
            format!("cross_attention_dim = {width}"),
            "cross_attention_dim = 5".to_owned(),
            ["model.cross_attention_dim", "5", "expected"],
        ),
        (
            format!("projection_class_embeddings_input_dim = {}", width + 7),
            "projection_class_embeddings_input_dim = 9".to_owned(),
            [
                "model.projection_class_embeddings_input_dim",
                "9",
                "expected",
            ],
        ),
        (
            "class_embed_type = \"projection\"".to_owned(),
            "num_class_embeds = 3".to_owned(),
            ["model.class_embed_type", "None", "projection"],
        ),
    ] {
        assert!(good.contains(&old), "{old}: {good}");
        let spec = TrainSpec::parse("test", &good.replace(&old, &new))?;
        let error = trainer_of(spec)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    for (old, new, words) in [
        ("kind = \"text\"", "kind = \"texts\"", "texts"),
        ("tokens = 12", "tokens = 0", "condition.tokens"),
        (
            "text_dropout = 0.1",
            "text_dropout = 1.5",
            "condition.text_dropout",
        ),
        ("UNet2DConditionModel", "UNet3D", "_class_name"),
    ] {
        assert!(good.contains(old), "{old}: {good}");
        let error = TrainSpec::parse("test", &good.replace(old, new)).err();
        let error = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error}");
    }
    let missing = good.replace("testdata/text/bert", "testdata/text/nowhere");
    let error = trainer_of(TrainSpec::parse("test", &missing)?).err();
    let error = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("nowhere"), "{error}");
    Ok(())
}

#[test]
fn words_are_learned_with_the_network_and_saved_with_it() -> Outcome {
    let text = spec(
        "train = { steps = 4, batch = 4, micro_batch = 2 }\nsample = { steps = 3 }",
        0.1,
        6,
    )?;
    let text = text.to_toml()?.replace(
        "cross_attention_dim = 6",
        "cross_attention_dim = 5\nencoder_hid_dim = 6",
    );
    let frozen = format!("kind = \"frozen\"\ndir = {:?}", encoder());
    assert!(text.contains(&frozen), "{frozen}: {text}");
    let text = text.replace(&frozen, "kind = \"words\"\nsize = 6");
    let mut trainer = trainer_of(TrainSpec::parse("test", &text)?)?;
    let before = weights(&trainer);
    trainer.step()?;
    assert_ne!(before, weights(&trainer));
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("model");
    averaged_model(&trainer)?.save(&dir, WeightType::F32)?;
    let model = Model::load(&dir, &Device::flex(), Precision::F32)?;
    let source = model.text.as_ref().ok_or("no text")?;
    let (codes, losses) = source.read(&["red and two", "red grue"].map(WeightedPrompt::plain))?;
    assert_eq!(losses, ["`grue` is not known"]);
    let conditions = codes
        .into_iter()
        .map(|code| Condition::text(Some(code), None));
    let (states, vectors, mask) = told(source.wants(), &conditions.collect::<Vec<_>>())?;
    assert_eq!(states.iter().sum::<f32>(), 4.0);
    assert_eq!(mask.iter().filter(|m| **m).count(), 4);
    assert!((vectors.iter().sum::<f32>() - 2.0).abs() < 1e-6);
    Ok(())
}
