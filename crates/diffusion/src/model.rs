//! A trained model on disk: a diffusers folder (unet/, scheduler/, model_index.json) with a
//! `dreamsmith.json` beside, and the same read back, or a foreign folder without the latter.

use std::path::Path;

use burn::tensor::Device;
use dreamsmith_base::{AtomicDir, FileError, read_limited, write_atomic_bytes};
use dreamsmith_nets::folder::weights_in;
use dreamsmith_nets::{NetError, PerBlock, Precision, UNet2DConfig, UNet2DModel, WeightType};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::enlarge::Task;
use crate::precondition::Precondition;
use crate::scheduler_config::{SchedulerConfig, SchedulerConfigError};
use crate::spec::{DiffusionSpec, SampleSpec, SpecError};

/// A config is text of a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// The largest U-Net published is 10 GB.
const MAX_WEIGHT_BYTES: u64 = 1 << 36;
const CARD: &str = "dreamsmith.json";
const UNET: &str = "unet";
const UNET_CONFIG: &str = "unet/config.json";
const SCHEDULER_CONFIG: &str = "scheduler/scheduler_config.json";

/// What a diffusers folder has no place for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Noise levels and what the network says.
    pub diffusion: DiffusionSpec,
    /// Pixels along a side of the squares that are the network's channels.
    #[serde(default = "no_patches")]
    pub patch_size: u32,
    /// What the network is for.
    #[serde(default)]
    pub task: Task,
    /// How it is best drawn from.
    #[serde(default)]
    pub sample: SampleSpec,
    /// Names of the classes; label `classes.len()` means none of them.
    #[serde(default)]
    pub classes: Vec<String>,
    /// How it came about.
    #[serde(default)]
    pub trained: Option<Trained>,
}

/// How a model came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Optimiser steps.
    pub steps: u64,
    /// Pictures seen, repetitions counted.
    pub images_seen: u64,
    /// Different pictures.
    pub pictures: usize,
    /// The seed of the run.
    pub seed: u64,
}

/// A network with all that is needed to draw from it.
pub struct Model {
    /// The network.
    pub unet: UNet2DModel,
    /// What is known about it.
    pub card: Card,
    /// The border between network and denoiser.
    pub precondition: Precondition,
}

/// Why a model folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not a model.
    #[error("`{folder}` is no model: {problem}")]
    NotAModel {
        /// The folder.
        folder: String,
        /// What is missing or wrong, and what to do.
        problem: String,
    },
    /// A file of the folder holds nonsense.
    #[error("`{file}`: {problem}")]
    Config {
        /// The file.
        file: String,
        /// What the parser said.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The network or its weights are wrong.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Levels that cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The scheduler's file cannot be read or written.
    #[error(transparent)]
    Scheduler(#[from] SchedulerConfigError),
}

impl Model {
    /// Side in pixels of the pictures it was trained on, if known.
    pub fn picture_size(&self) -> Option<u32> {
        match self.unet.config().sample_size {
            Some(PerBlock::Same(size)) => {
                u32::try_from(size).ok()?.checked_mul(self.card.patch_size)
            }
            _ => None,
        }
    }

    /// Reads the model folder `dir` onto `device`, to multiply in `precision`.
    pub fn load(dir: &Path, device: &Device, precision: Precision) -> Result<Self, ModelError> {
        let card = read_card(dir)?;
        let unet = UNet2DModel::load(&dir.join(UNET), device, precision)?;
        if let Some(problem) = misfit(&card, unet.config()) {
            return Err(ModelError::Config {
                file: dir.join(UNET_CONFIG).display().to_string(),
                problem,
            });
        }
        Ok(Self {
            unet,
            precondition: card.diffusion.precondition()?,
            card,
        })
    }

    /// Writes the model folder `dir`, whole or not at all.
    pub fn save(&self, dir: &Path, weight_type: WeightType) -> Result<(), ModelError> {
        let folder = AtomicDir::create(dir)?;
        let write = |name: &str, text: String| {
            write_atomic_bytes(&folder.path().join(name), text.as_bytes())
        };
        dreamsmith_base::create_folder(&folder.path().join("scheduler"))?;
        self.unet.save(&folder.path().join(UNET), weight_type)?;
        let scheduler = SchedulerConfig {
            precondition: self.precondition.clone(),
            spacing: self.card.sample.spacing,
            threshold: self.card.sample.threshold,
        };
        let scheduler = scheduler.to_json()?;
        write("model_index.json", pretty(&model_index(&scheduler)))?;
        write(SCHEDULER_CONFIG, pretty(&scheduler))?;
        write(CARD, pretty(&self.card))?;
        folder.commit()?;
        Ok(())
    }
}

/// What is known about the model in `dir`, without its weights.
pub fn read_card(dir: &Path) -> Result<Card, ModelError> {
    let not_a_model = |problem: &str| ModelError::NotAModel {
        folder: dir.display().to_string(),
        problem: problem.into(),
    };
    if !dir.is_dir() {
        return Err(not_a_model(
            "there is no such folder; give a diffusers folder",
        ));
    }
    if !dir.join(UNET_CONFIG).is_file() {
        return Err(not_a_model(&format!(
            "it has no {UNET_CONFIG}; give a diffusers folder"
        )));
    }
    let card = dir.join(CARD);
    if card.is_file() {
        return serde_json::from_str(&read_text(&card)?).map_err(|e| ModelError::Config {
            file: card.display().to_string(),
            problem: e.to_string(),
        });
    }
    let scheduler = dir.join(SCHEDULER_CONFIG);
    if !scheduler.is_file() {
        return Err(not_a_model(&format!(
            "it has neither {CARD} nor {SCHEDULER_CONFIG}, so its noise levels are unknown"
        )));
    }
    let config = SchedulerConfig::parse(&read_text(&scheduler)?)?;
    Ok(Card {
        diffusion: DiffusionSpec::from(&config.precondition),
        sample: SampleSpec {
            spacing: config.spacing,
            threshold: config.threshold,
            ..SampleSpec::default()
        },
        patch_size: no_patches(),
        task: Task::Draw,
        classes: vec![],
        trained: None,
    })
}

/// Why a network cannot do what the card says.
fn misfit(card: &Card, config: &UNet2DConfig) -> Option<String> {
    // Only a table with a last row for "no class" can be drawn from; which row that is must be known.
    let rows = (!card.classes.is_empty()).then_some(card.classes.len() + 1);
    let (told, wanted) = match card.task {
        Task::Draw => (
            config.num_class_embeds == rows && config.class_embed_type.is_none(),
            "one row more than classes, or neither",
        ),
        Task::Enlarge(_) => (
            config.num_class_embeds.is_none() && config.class_embed_type.is_some(),
            "\"timestep\" for the noise on the small picture, and no rows",
        ),
    };
    if !told {
        return Some(format!(
            "`num_class_embeds` is {:?} and `class_embed_type` {:?}, but {CARD} names {} classes; expected {wanted}",
            config.num_class_embeds,
            config.class_embed_type,
            card.classes.len(),
        ));
    }
    let channels = 3 * card.patch_size as usize * card.patch_size as usize;
    let seen = match card.task {
        Task::Draw => channels,
        Task::Enlarge(_) => 2 * channels,
    };
    ([config.in_channels, config.out_channels] != [seen, channels]).then(|| {
        format!(
            "{} channels in and {} out, expected {seen} and {channels} (RGB in patches of {}); other models cannot be drawn from yet",
            config.in_channels, config.out_channels, card.patch_size
        )
    })
}

/// BLAKE3 of the weight file of the model in `dir`, in hexadecimal.
pub fn weights_hash(dir: &Path) -> Result<String, ModelError> {
    let bytes = read_limited(&weights_in(&dir.join(UNET))?, MAX_WEIGHT_BYTES)?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

fn no_patches() -> u32 {
    1
}

/// The list of parts that diffusers' pipelines read. The ones for flow and EDM draw from text only, so that
/// `DDPMPipeline` stands for all that is not DDIM.
fn model_index(scheduler: &serde_json::Value) -> serde_json::Value {
    let scheduler = &scheduler["_class_name"];
    let pipeline = match scheduler.as_str() {
        Some("DDIMScheduler") => "DDIMPipeline",
        _ => "DDPMPipeline",
    };
    json!({
        "_class_name": pipeline,
        "_diffusers_version": "0.42.0",
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", "UNet2DModel"],
    })
}

fn pretty<T: Serialize>(value: &T) -> String {
    // Our own plain structs always serialise.
    serde_json::to_string_pretty(value).map_or_else(|_| String::new(), |text| text + "\n")
}

fn read_text(path: &Path) -> Result<String, ModelError> {
    let bytes = read_limited(path, MAX_CONFIG_BYTES)?;
    String::from_utf8(bytes).map_err(|_| ModelError::Config {
        file: path.display().to_string(),
        problem: "not UTF-8 text; expected JSON".into(),
    })
}
