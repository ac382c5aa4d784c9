//! Networks as burn modules, each named as in its weight file; loading and saving weights.
//! U-Nets as in diffusers, text encoders as in transformers. Knows nothing of noise levels.

mod activation;
mod attention;
mod block;
mod class_embedding;
mod compass;
mod config;
mod error;
mod float8;
pub mod folder;
mod image_tower;
mod init;
mod layers;
mod naming;
mod plan;
mod resample;
mod resnet;
mod text;
mod text_embedding;
mod time_embedding;
mod transformer;
pub mod unet_2d;
pub mod unet_2d_condition;
pub mod unet_2d_condition_config;
mod weight_file;
pub mod weights;

pub use activation::Activation;
pub use attention::CrossNorm;
pub use class_embedding::ClassCondition;
pub use compass::{Compass, CompassConfig};
pub use config::PerBlock;
pub use dreamsmith_kernels::Precision;
pub use error::NetError;
pub use image_tower::{ImageTower, ImageTowerConfig, Judgement};
pub use plan::{DownBlockType, ResampleType, UpBlockType};
pub use resnet::TimeScaleShift;
pub use text::{Cut, StatesFrom, TextEncoder, TextStates, Unknown, WeightedPrompt};
pub use unet_2d::{UNet2DConfig, UNet2DModel};
pub use unet_2d_condition::{TextTime, UNet2DConditionModel, UNetCondition};
pub use unet_2d_condition_config::UNet2DConditionConfig;
pub use weights::{
    NamedParameter, WeightType, load_weights, named_parameters, parameter_shapes, save_weights,
};
