//! A trained model on disk: a diffusers folder (unet/, scheduler/, model_index.json) with a
//! `dreamsmith.json` beside, and the same read back, or a foreign folder without the latter.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use dreamsmith_base::{AtomicDir, FileError, read_limited, write_atomic_bytes};
use dreamsmith_nets::folder::weights_in;
use dreamsmith_nets::{NetError, PerBlock, Precision, WeightType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::condition::Wants;
use crate::enlarge::Task;
use crate::precondition::Precondition;
use crate::scheduler_config::{SchedulerConfig, SchedulerConfigError};
use crate::spec::{DiffusionSpec, SampleSpec, SpecError};
use crate::text::{TextError, TextSource};
use crate::unet::{Misfit, UNet, UNetConfig};

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
    /// The most tokens that are heeded of a text; none where the network reads no text.
    #[serde(default)]
    pub text_tokens: Option<usize>,
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
    pub unet: UNet,
    /// What reads prompts for it, if it wants text.
    pub text: Option<Arc<TextSource>>,
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
    /// Prompts cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
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
        match self.unet.config().sample_size() {
            Some(PerBlock::Same(size)) => {
                u32::try_from(*size).ok()?.checked_mul(self.card.patch_size)
            }
            _ => None,
        }
    }

    /// What the network is told about each picture.
    pub fn wants(&self) -> Wants {
        let Card { task, classes, .. } = &self.card;
        task.wants(self.text.as_deref(), classes.len())
    }

    /// Reads the model folder `dir` onto `device`, to multiply in `precision`.
    pub fn load(dir: &Path, device: &Device, precision: Precision) -> Result<Self, ModelError> {
        let card = read_card(dir)?;
        let unet = UNet::load(&dir.join(UNET), device, precision)?;
        let text = card.text_tokens;
        let text = text.map(|tokens| TextSource::load(dir, tokens, device));
        let model = Self {
            unet,
            text: text.transpose()?.map(Arc::new),
            precondition: card.diffusion.precondition()?,
            card,
        };
        model.check(dir)?;
        Ok(model)
    }

    /// Errs if the parts of the model do not go together, or are of a kind that cannot be drawn from.
    fn check(&self, dir: &Path) -> Result<(), ModelError> {
        let wrong = |problem| {
            Err(ModelError::Config {
                file: dir.join(UNET_CONFIG).display().to_string(),
                problem,
            })
        };
        let config = self.unet.config();
        if let Some(Misfit {
            key,
            found,
            expected,
        }) = config.misfit(self.wants())
        {
            let says = match self.wants() {
                Wants::Nothing => "names no classes and no text".to_owned(),
                Wants::Class(n) => format!("names {n} classes and no text"),
                Wants::Small => "says that it enlarges".to_owned(),
                Wants::Text { .. } => "wants text".to_owned(),
            };
            return wrong(format!(
                "`{key}` is {found}, expected {expected}: {CARD} {says}"
            ));
        }
        let patch = self.card.patch_size;
        let ([inputs, outputs], channels) = (config.channels(), self.card.task.channels(patch));
        if [inputs, outputs] != channels {
            return wrong(format!(
                "{inputs} channels in and {outputs} out, expected {} and {} (RGB in patches of {patch}); other models cannot be drawn from yet",
                channels[0], channels[1],
            ));
        }
        Ok(())
    }

    /// Writes the model folder `dir`, whole or not at all; the text encoder in f16.
    pub fn save(&self, dir: &Path, weight_type: WeightType) -> Result<(), ModelError> {
        let folder = AtomicDir::create(dir)?;
        self.write_into(folder.path(), weight_type, WeightType::F16)?;
        folder.commit()?;
        Ok(())
    }

    /// Writes the files of a model folder into `folder`, file by file.
    pub(crate) fn write_into(
        &self,
        folder: &Path,
        weight_type: WeightType,
        encoder_type: WeightType,
    ) -> Result<(), ModelError> {
        let write =
            |name: &str, text: String| write_atomic_bytes(&folder.join(name), text.as_bytes());
        dreamsmith_base::create_folder(&folder.join("scheduler"))?;
        self.unet.save(&folder.join(UNET), weight_type)?;
        if let Some(text) = &self.text {
            text.save(folder, encoder_type)?;
        }
        let scheduler = SchedulerConfig {
            precondition: self.precondition.clone(),
            spacing: self.card.sample.spacing,
            threshold: self.card.sample.threshold,
        };
        let scheduler = scheduler.to_json()?;
        let index = model_index(&scheduler, &self.unet.config(), self.text.as_deref());
        write("model_index.json", pretty(&index))?;
        write(SCHEDULER_CONFIG, pretty(&scheduler))?;
        write(CARD, pretty(&self.card))?;
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
        text_tokens: None,
        trained: None,
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
/// `DDPMPipeline` stands for all that is not DDIM. No pipeline of diffusers takes pixels, BERT and a camera: with text,
/// tools/parity/words_pipeline.py is one that does.
fn model_index(scheduler: &Value, unet: &UNetConfig, text: Option<&TextSource>) -> Value {
    let scheduler = &scheduler["_class_name"];
    let pipeline = match (unet, scheduler.as_str()) {
        (UNetConfig::Text(_), _) => "DiffusionPipeline",
        (UNetConfig::Plain(_), Some("DDIMScheduler")) => "DDIMPipeline",
        (UNetConfig::Plain(_), _) => "DDPMPipeline",
    };
    let mut index = json!({
        "_class_name": pipeline,
        "_diffusers_version": "0.42.0",
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", unet.class_name()],
    });
    if let Some(text) = text {
        index["text_tokens"] = json!(text.tokens());
        if let Some(class) = text.transformers_class() {
            index["text_encoder"] = json!(["transformers", class]);
            index["tokenizer"] = json!(["transformers", "PreTrainedTokenizerFast"]);
        }
    }
    index
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
