//! What a training run is made from: one TOML file with every default visible.
//! Leaves out what is drawn afterwards: see `pipeline`.

use std::path::{Path, PathBuf};

use dreamsmith_base::{FileError, read_limited};
use dreamsmith_data::{Augment, Fit, OnFault};
use dreamsmith_nets::{
    DownBlockType, PerBlock, Precision, UNet2DConditionConfig, UNet2DConfig, UpBlockType,
    WeightType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::condition_spec::{ConditionSpec, StartSpec};
use crate::ema::EmaSpec;
use crate::enlarge::{EnlargementError, Task};
use crate::guidance::{GuidanceError, GuidanceSpec};
use crate::level::{Schedule, Sigma};
use crate::levels::LevelsError;
use crate::loss::{LossWeight, LossWeightError};
use crate::optimizer::{LearningRate, OptimizerSpec};
use crate::post_hoc::SnapshotSpec;
use crate::precondition::Precondition;
use crate::prediction::Prediction;
use crate::sampler::{SampleError, Sampler};
use crate::schedule::{ScheduleError, ScheduleSpec};
use crate::spacing::{SigmaRange, Spacing};
use crate::spec_check::positive;
use crate::threshold::{Threshold, ThresholdError};
use crate::timestep_sampling::{TimestepSampling, TimestepSamplingError};
use crate::unet::UNetConfig;

/// A spec file is text of a few kilobytes; more is somebody's mistake.
const MAX_SPEC_BYTES: u64 = 1 << 20;

/// A whole training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSpec {
    /// Pixels along a side of the squares that become channels before the network (space to depth).
    /// The network then has 3 patch_size^2 channels, and `model.sample_size` is 1/patch_size of the pictures' side.
    pub patch_size: u32,
    /// What the network is for.
    pub task: Task,
    /// The pictures.
    pub data: DataSpec,
    /// What the network is told about each of them.
    pub condition: ConditionSpec,
    /// The weights of step 0.
    pub start: StartSpec,
    /// The run itself.
    pub train: RunSpec,
    /// The learning rate over the run.
    pub learning_rate: LearningRate,
    /// The optimiser.
    pub optimizer: OptimizerSpec,
    /// The averaged weights that are drawn with.
    pub ema: EmaSpec,
    /// Averages stored at each checkpoint, from which others can be made afterwards.
    pub snapshots: SnapshotSpec,
    /// Noise levels and what the network says.
    pub diffusion: DiffusionSpec,
    /// Which levels are trained, and how much each counts.
    pub loss: LossSpec,
    /// Pictures drawn while training, and the default of the finished model.
    pub sample: SampleSpec,
    /// The network, as in diffusers' `unet/config.json`; `_class_name` tells which of the two.
    #[serde(with = "crate::model_table")]
    pub model: UNetConfig,
}

/// The pictures to train on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// A folder of pictures, relative to where the program runs.
    pub dir: PathBuf,
    /// How pictures that are not square become so.
    pub fit: Fit,
    /// What happens to broken pictures.
    pub on_fault: OnFault,
    /// Mirroring, and what lies behind transparent parts.
    pub augment: Augment,
}

/// The run itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// Optimiser steps.
    pub steps: u64,
    /// Pictures per optimiser step.
    pub batch: usize,
    /// Pictures that go through the network together; their gradients are added up to a whole batch.
    /// It fixes the arithmetic, and with it the result to the bit; micro-batches run on as many threads as there are.
    pub micro_batch: usize,
    /// How the network multiplies; weights, gradients and the optimiser are f32 in any case.
    pub precision: Precision,
    /// Everything random follows from it.
    pub seed: u64,
    /// Largest norm of the gradient of all parameters together.
    pub clip: f64,
    /// Share of pictures trained without their label, for classifier-free guidance.
    pub label_dropout: f64,
    /// Steps between lines of metrics.
    pub log_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Number type of the weights in the model folder; checkpoints always keep every bit.
    pub model_weights: WeightType,
}

/// Noise levels and what the network says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiffusionSpec {
    /// A table of timesteps.
    Discrete {
        /// The table.
        #[serde(default)]
        schedule: ScheduleSpec,
        /// What the network says.
        #[serde(default)]
        prediction: Prediction,
    },
    /// Continuous levels with the preconditioning of [Karras22].
    Edm {
        /// Standard deviation of the pictures.
        sigma_data: f64,
        /// Lowest level that is sampled before 0.
        #[serde(default = "edm_sigma_min")]
        sigma_min: f64,
        /// Level that sampling starts at.
        #[serde(default = "edm_sigma_max")]
        sigma_max: f64,
    },
    /// The straight path from picture to noise.
    Flow {
        /// The network is told the time in [0, 1] times this.
        time_scale: f64,
    },
}

/// Which levels are trained, and how much each counts.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSpec {
    /// How levels are drawn.
    pub levels: TimestepSampling,
    /// How much each counts.
    pub weight: LossWeight,
}

/// How pictures are drawn from the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleSpec {
    /// Pictures in a grid while training.
    pub count: usize,
    /// Sampler steps.
    pub steps: usize,
    /// How strongly the condition pulls, and where.
    pub guidance: GuidanceSpec,
    /// Where on the noise scale the steps lie.
    pub spacing: Spacing,
    /// The sampler.
    pub sampler: Sampler,
    /// What is done to each guess of the clean picture.
    pub threshold: Threshold,
    /// From which side an object is drawn where a prompt does not say it, if the network knows cameras.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<SideSpec>,
}

/// Where a camera is chosen evenly, in degrees; azimuth 0 is the front.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideSpec {
    /// From and to, to the right.
    pub azimuths: [f32; 2],
    /// From and to, above the ground.
    pub elevations: [f32; 2],
}

impl Default for SampleSpec {
    fn default() -> Self {
        Self {
            count: 16,
            steps: 25,
            guidance: GuidanceSpec::default(),
            spacing: Spacing::Trailing {},
            sampler: Sampler::default(),
            threshold: Threshold::default(),
            side: None,
        }
    }
}

impl Default for DiffusionSpec {
    fn default() -> Self {
        Self::Discrete {
            schedule: ScheduleSpec::default(),
            prediction: Prediction::default(),
        }
    }
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            patch_size: 1,
            task: Task::default(),
            data: DataSpec::default(),
            condition: ConditionSpec::default(),
            start: StartSpec::default(),
            train: RunSpec::default(),
            learning_rate: LearningRate::default(),
            optimizer: OptimizerSpec::default(),
            ema: EmaSpec::default(),
            snapshots: SnapshotSpec::default(),
            diffusion: DiffusionSpec::default(),
            loss: LossSpec::default(),
            sample: SampleSpec::default(),
            model: small_network(),
        }
    }
}

/// What `[model]` starts from: diffusers' defaults, but for pictures of 32x32 and of a size that a CPU can train.
pub(crate) fn small_network() -> UNetConfig {
    UNetConfig::Plain(UNet2DConfig {
        sample_size: Some(PerBlock::Same(32)),
        block_out_channels: vec![32, 64, 96, 128],
        layers_per_block: 1,
        ..UNet2DConfig::default()
    })
}

/// The same for `_class_name = "UNet2DConditionModel"`: RGB, and text from 16x16 down.
pub(crate) fn small_text_network() -> UNetConfig {
    use {DownBlockType::*, UpBlockType::*};
    UNetConfig::Text(UNet2DConditionConfig {
        sample_size: Some(PerBlock::Same(32)),
        in_channels: 3,
        out_channels: 3,
        block_out_channels: vec![32, 64, 96, 128],
        down_block_types: vec![
            DownBlock2D,
            CrossAttnDownBlock2D,
            CrossAttnDownBlock2D,
            CrossAttnDownBlock2D,
        ],
        up_block_types: vec![
            CrossAttnUpBlock2D,
            CrossAttnUpBlock2D,
            CrossAttnUpBlock2D,
            UpBlock2D,
        ],
        layers_per_block: PerBlock::Same(1),
        ..UNet2DConditionConfig::default()
    })
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("pictures"),
            fit: Fit::default(),
            on_fault: OnFault::default(),
            augment: Augment::default(),
        }
    }
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            steps: 10_000,
            batch: 32,
            micro_batch: 16,
            precision: Precision::default(),
            seed: 0,
            clip: 1.0,
            label_dropout: 0.1,
            log_every: 10,
            checkpoint_every: 500,
            model_weights: WeightType::default(),
        }
    }
}

/// A spec that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is no spec.
    #[error("`{name}`: {message}")]
    Toml {
        /// The file.
        name: String,
        /// The line, and what the parser said.
        message: String,
    },
    /// A value out of range.
    #[error("`{key}` is {found}, expected {expected}")]
    Range {
        /// The key, as `train.batch`.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// The schedule cannot be built.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The loss weight cannot be.
    #[error(transparent)]
    LossWeight(#[from] LossWeightError),
    /// Levels cannot be drawn so.
    #[error(transparent)]
    LevelSampling(#[from] TimestepSamplingError),
    /// The range of levels cannot be.
    #[error(transparent)]
    SigmaRange(#[from] LevelsError),
    /// The threshold cannot be.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// The enlargement cannot be.
    #[error(transparent)]
    Enlargement(#[from] EnlargementError),
    /// The guidance cannot be.
    #[error(transparent)]
    Guidance(#[from] GuidanceError),
    /// The sampler's options cannot be.
    #[error(transparent)]
    Sampler(#[from] SampleError),
}

impl From<&Precondition> for DiffusionSpec {
    fn from(precondition: &Precondition) -> Self {
        match precondition {
            Precondition::Discrete {
                schedule,
                prediction,
            } => Self::Discrete {
                schedule: schedule.spec().clone(),
                prediction: *prediction,
            },
            Precondition::Edm { sigma_data, range } => Self::Edm {
                sigma_data: *sigma_data,
                sigma_min: range.min().0,
                sigma_max: range.max().0,
            },
            Precondition::Flow { time_scale } => Self::Flow {
                time_scale: *time_scale,
            },
        }
    }
}

impl DiffusionSpec {
    /// The border between network and denoiser that this describes.
    pub fn precondition(&self) -> Result<Precondition, SpecError> {
        Ok(match self {
            Self::Discrete {
                schedule,
                prediction,
            } => Precondition::Discrete {
                schedule: Schedule::new(schedule)?,
                prediction: *prediction,
            },
            Self::Edm {
                sigma_data,
                sigma_min,
                sigma_max,
            } => Precondition::Edm {
                sigma_data: positive("diffusion.sigma_data", *sigma_data)?,
                range: SigmaRange::new(Sigma(*sigma_min), Sigma(*sigma_max))?,
            },
            Self::Flow { time_scale } => Precondition::Flow {
                time_scale: positive("diffusion.time_scale", *time_scale)?,
            },
        })
    }
}

/// Name and text of a spec file.
pub(crate) fn read_text(path: &Path) -> Result<(String, String), SpecError> {
    let bytes = read_limited(path, MAX_SPEC_BYTES)?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(_) => Err(SpecError::Toml {
            name,
            message: "not UTF-8 text; expected a TOML file".into(),
        }),
    }
}

/// What the text of a spec called `name` says, not yet checked.
pub(crate) fn parse_toml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, SpecError> {
    toml::from_str(text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
        SpecError::Toml {
            name: name.into(),
            message: format!("line {line}: {}", e.message().replace('\n', ", ")),
        }
    })
}

impl TrainSpec {
    /// Side of the training pictures in pixels.
    pub fn picture_size(&self) -> Result<u32, SpecError> {
        match self.task {
            Task::Draw => self.network_side(),
            Task::Enlarge(task) => Ok(task.size),
        }
    }

    /// Side in pixels of what the network sees in training.
    pub fn network_side(&self) -> Result<u32, SpecError> {
        let expected = "the side of the pictures over patch_size, as 32";
        let wrong = |found: String| SpecError::Range {
            key: "model.sample_size",
            found,
            expected,
        };
        match self.model.sample_size() {
            Some(PerBlock::Same(size)) => u32::try_from(*size)
                .ok()
                .and_then(|size| size.checked_mul(self.patch_size))
                .ok_or_else(|| wrong(size.to_string())),
            Some(PerBlock::Each(sides)) => Err(wrong(format!("{sides:?}"))),
            None => Err(wrong("not set".into())),
        }
    }

    /// Reads and checks a spec file.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let (name, text) = read_text(path)?;
        Self::parse(&name, &text)
    }

    /// Parses and checks the text of a spec called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let spec: Self = parse_toml(name, text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The whole spec as TOML, defaults included.
    pub fn to_toml(&self) -> Result<String, SpecError> {
        toml::to_string_pretty(self).map_err(|e| SpecError::Toml {
            name: "spec".into(),
            message: e.to_string(),
        })
    }
}

fn edm_sigma_min() -> f64 {
    SigmaRange::EDM.min().0
}

fn edm_sigma_max() -> f64 {
    SigmaRange::EDM.max().0
}
