//! The tower that judges pictures: it learns which caption and which view a picture shows.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use dreamsmith_base::{Image, write_png};
use dreamsmith_data::{CachePlace, Dataset, FolderOptions, ViewWord};
use dreamsmith_diffusion::eval::{
    Bearings, CompassSpec, CompassTrainer, Judge, Sentences, TowerSpec, TowerTrainer, frontness,
    nearest,
};
use dreamsmith_diffusion::optimizer::LearningRate;
use dreamsmith_diffusion::train_error::TrainError;
use dreamsmith_nets::{CompassConfig, ImageTowerConfig, Precision, WeightType};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CAPTIONS: [&str; 4] = ["red chair", "two", "lamp and lamp", "a b c"];
const COLOURS: [[u8; 3]; 4] = [[250, 30, 30], [30, 250, 30], [30, 30, 250], [240, 240, 20]];

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text/bert")
}

/// Four pictures of one colour each, the first two from the front, the others from behind.
fn pictures(folder: &Path) -> Outcome<Dataset> {
    let mut lines = String::new();
    for (i, (caption, colour)) in CAPTIONS.into_iter().zip(COLOURS).enumerate() {
        write_png(
            &folder.join(format!("{i}.png")),
            &Image::filled(8, 8, colour)?,
            &[],
        )?;
        let azimuth = if i < 2 { 0 } else { 180 };
        lines += &format!(
            "{{\"file_name\": \"{i}.png\", \"text\": \"{caption}\", \
             \"camera\": {{\"azimuth\": {azimuth}, \"elevation\": 10, \"distance\": 3, \"fov\": 40}}}}\n"
        );
    }
    std::fs::write(folder.join("metadata.jsonl"), lines)?;
    let options = FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(8)
    };
    Ok(Dataset::open(folder, &options)?)
}

fn spec() -> TowerSpec {
    TowerSpec {
        encoder: encoder(),
        steps: 60,
        batch: 4,
        precision: Precision::F32,
        learning_rate: LearningRate {
            peak: 1e-2,
            ..LearningRate::default()
        },
        model: ImageTowerConfig {
            sample_size: 8,
            block_out_channels: vec![8, 16],
            norm_num_groups: 4,
            projection_dim: 12,
            n_views: 4,
        },
        ..TowerSpec::default()
    }
}

fn trained(spec: TowerSpec) -> Outcome<TowerTrainer> {
    let folder = tempfile::tempdir()?;
    let steps = spec.steps;
    let mut trainer = TowerTrainer::new(spec, pictures(folder.path())?, Device::flex())?;
    for _ in 0..steps {
        trainer.step()?;
    }
    Ok(trainer)
}

#[test]
fn it_learns_captions_and_views() -> Outcome {
    let folder = tempfile::tempdir()?;
    trained(spec())?
        .tower()
        .save(folder.path(), WeightType::F32)?;
    let judge = Judge::load(folder.path(), &Device::flex())?;
    let sentences = CAPTIONS.map(Arc::from);
    let mut places = Sentences::open(&encoder(), &Device::flex())?;
    places.read(sentences)?;
    let places: Vec<f32> = CAPTIONS
        .iter()
        .filter_map(|caption| places.get(caption))
        .flatten()
        .copied()
        .collect();
    // Larger than the tower's pictures, as a drawing may be.
    let drawn = COLOURS.map(|colour| Image::filled(16, 16, colour));
    let drawn = drawn.into_iter().collect::<Result<Vec<_>, _>>()?;
    let verdicts = judge.judge(&drawn)?;
    assert_eq!(nearest(&verdicts.embeddings, &places, 12), [0, 1, 2, 3]);
    let (front, back) = (ViewWord::Front, ViewWord::Back);
    assert_eq!(verdicts.views, [front, front, back, back]);
    assert_eq!(verdicts.features.len(), 4 * judge.feature_width());
    Ok(())
}

#[test]
fn the_same_spec_gives_the_same_tower() -> Outcome {
    let few = TowerSpec { steps: 3, ..spec() };
    let step_on = |threads| -> Outcome<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        let folder = tempfile::tempdir()?;
        let mut trainer = TowerTrainer::new(few.clone(), pictures(folder.path())?, Device::flex())?;
        let losses: Result<Vec<f64>, TrainError> =
            pool.install(|| (0..3).map(|_| Ok(trainer.step()?.loss)).collect());
        Ok(losses?)
    };
    assert_eq!(step_on(1)?, step_on(3)?);
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Outcome {
    let refused = |spec: TowerSpec| -> Outcome<String> {
        let folder = tempfile::tempdir()?;
        match TowerTrainer::new(spec, pictures(folder.path())?, Device::flex()) {
            Ok(_) => Err("a tower that cannot be".into()),
            Err(e) => Ok(e.to_string()),
        }
    };
    let of = |change: &dyn Fn(&mut ImageTowerConfig)| {
        let mut spec = spec();
        change(&mut spec.model);
        spec
    };
    assert!(refused(of(&|model| model.projection_dim = 7))?.contains("projection_dim"));
    assert!(refused(of(&|model| model.sample_size = 16))?.contains("sample_size"));
    assert!(refused(of(&|model| model.n_views = 2))?.contains("n_views"));
    assert!(refused(of(&|model| model.norm_num_groups = 3))?.contains("norm_num_groups"));
    assert!(refused(of(&|model| model.block_out_channels.clear()))?.contains("block_out_channels"));
    Ok(())
}

/// A bright and a dark picture of each of two things: bright is the front of the first and the back of the other.
fn sides(folder: &Path) -> Outcome<Dataset> {
    let mut lines = String::new();
    for (i, (thing, shade, azimuth)) in [
        ("a red chair", 230, 0),
        ("a red chair", 20, 180),
        ("lamp", 230, 180),
        ("lamp", 20, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let picture = Image::filled(8, 8, [shade; 3])?;
        write_png(&folder.join(format!("{i}.png")), &picture, &[])?;
        lines += &format!(
            "{{\"file_name\": \"{i}.png\", \"text\": [\"{thing}\", \"front view\"], \
             \"camera\": {{\"azimuth\": {azimuth}, \"elevation\": 10, \"distance\": 3, \"fov\": 40}}}}\n"
        );
    }
    std::fs::write(folder.join("metadata.jsonl"), lines)?;
    let options = FolderOptions {
        cache: CachePlace::Memory,
        ..FolderOptions::new(8)
    };
    Ok(Dataset::open(folder, &options)?)
}

fn compass_spec() -> CompassSpec {
    CompassSpec {
        encoder: encoder(),
        steps: 60,
        batch: 4,
        precision: Precision::F32,
        learning_rate: LearningRate {
            peak: 1e-2,
            ..LearningRate::default()
        },
        model: CompassConfig {
            sample_size: 8,
            block_out_channels: vec![8, 16],
            norm_num_groups: 4,
            sentence_dim: 12,
            told_dim: 8,
            n_sectors: 8,
        },
        ..CompassSpec::default()
    }
}

#[test]
fn a_compass_tells_sides_of_what_it_is_told() -> Outcome {
    let folder = tempfile::tempdir()?;
    let data = sides(folder.path())?;
    let mut trainer = CompassTrainer::new(compass_spec(), data, Device::flex())?;
    assert_eq!(trainer.n_lessons(), 4);
    for _ in 0..60 {
        trainer.step()?;
    }
    trainer.compass().save(folder.path(), WeightType::F32)?;
    let mut bearings = Bearings::load(folder.path(), &encoder(), &Device::flex())?;
    let drawn = [230, 20].map(|shade| Image::filled(16, 16, [shade; 3]));
    let drawn = drawn.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The colour is no part of what a thing is.
    for (thing, front) in [("a blue chair", 0), ("lamp", 1)] {
        let odds = bearings.odds(&drawn, thing)?;
        let fronts: Vec<f32> = odds.chunks_exact(8).map(frontness).collect();
        assert!(
            fronts[front] > 0.9 && fronts[1 - front] < -0.9,
            "{thing}: {fronts:?}"
        );
        // Left and right are treated alike.
        for odds in odds.chunks_exact(8) {
            assert!((1..4).all(|i| odds[i] == odds[8 - i]));
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_a_compass_is_named() -> Outcome {
    let refused = |change: &dyn Fn(&mut CompassSpec)| -> Outcome<String> {
        let folder = tempfile::tempdir()?;
        let mut spec = compass_spec();
        change(&mut spec);
        match CompassTrainer::new(spec, sides(folder.path())?, Device::flex()) {
            Ok(_) => Err("a compass that cannot be".into()),
            Err(e) => Ok(e.to_string()),
        }
    };
    assert!(refused(&|spec| spec.model.sentence_dim = 7)?.contains("sentence_dim"));
    assert!(refused(&|spec| spec.model.sample_size = 16)?.contains("sample_size"));
    assert!(refused(&|spec| spec.model.n_sectors = 0)?.contains("n_sectors"));
    assert!(refused(&|spec| spec.elevations = [40.0, 50.0])?.contains("40 to 50 degrees"));
    Ok(())
}
