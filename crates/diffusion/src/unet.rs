//! Either of diffusers' two U-Nets, by the `_class_name` of its config.
//! Leaves out what a network is told beside its level: see `condition`.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use dreamsmith_base::read_limited;
use dreamsmith_nets::folder::CONFIG_FILE;
use dreamsmith_nets::unet_2d_condition_config::ClassEmbedType;
use dreamsmith_nets::{
    NetError, PerBlock, Precision, UNet2DConditionConfig, UNet2DConditionModel, UNet2DConfig,
    UNet2DModel, WeightType, unet_2d,
};

use crate::condition::{CAMERA_FEATURES, Told, Wants};
use crate::view_map::{VIEW_CHANNELS, view_maps};

/// A config is text of a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The config of either network.
#[expect(clippy::large_enum_variant, reason = "few of them live")]
#[derive(Clone, Debug, PartialEq)]
pub enum UNetConfig {
    /// Perhaps with classes.
    Plain(UNet2DConfig),
    /// With text.
    Text(UNet2DConditionConfig),
}

/// A key of a config that does not go with what its network is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What would do.
    pub expected: String,
}

/// Either network.
#[expect(
    clippy::large_enum_variant,
    reason = "few of them live, and a Box is no Module"
)]
#[derive(Module, Debug)]
pub enum UNet {
    /// Perhaps with classes.
    Plain(UNet2DModel),
    /// With text.
    Text(UNet2DConditionModel),
}

impl UNetConfig {
    /// The network, its weights drawn from `seed`.
    pub fn init(&self, seed: u64, device: &Device, precision: Precision) -> Result<UNet, NetError> {
        Ok(match self {
            Self::Plain(config) => UNet::Plain(config.init(seed, device, precision)?),
            Self::Text(config) => UNet::Text(config.init(seed, device, precision)?),
        })
    }

    /// As in `_class_name`.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "UNet2DModel",
            Self::Text(_) => "UNet2DConditionModel",
        }
    }

    /// What keeps the network from being told what `wants` says; nothing if it can be.
    pub fn misfit(&self, wants: Wants) -> Option<Misfit> {
        let differs = |key, found: String, expected: String| {
            (found != expected).then_some(Misfit {
                key,
                found,
                expected,
            })
        };
        let number = |n: Option<usize>| n.map_or("not set".to_owned(), |n| n.to_string());
        match (self, wants) {
            (Self::Plain(config), Wants::Nothing | Wants::Class(_) | Wants::Small) => {
                let (kind, rows, words) = match wants {
                    Wants::Class(n) => {
                        let rows = n as usize + 1;
                        let words = format!("{rows}: {n} classes and one for none of them");
                        ("not set", Some(rows), words)
                    }
                    Wants::Small => ("timestep", None, "not set, to enlarge".to_owned()),
                    Wants::Nothing | Wants::Text { .. } => {
                        ("not set", None, "not set: there are no labels".to_owned())
                    }
                };
                let found_kind = match config.class_embed_type {
                    Some(unet_2d::ClassEmbedType::Timestep) => "timestep",
                    None => "not set",
                };
                let found = config.num_class_embeds;
                differs("class_embed_type", found_kind.to_owned(), kind.to_owned()).or_else(|| {
                    (found != rows).then(|| Misfit {
                        key: "num_class_embeds",
                        found: number(found),
                        expected: words,
                    })
                })
            }
            (Self::Text(config), Wants::Text { width, .. }) => {
                let kind = match config.class_embed_type {
                    Some(ClassEmbedType::Projection) => "projection".to_owned(),
                    kind => format!("{kind:?}"),
                };
                let states = match (config.encoder_hid_dim, &config.cross_attention_dim) {
                    (Some(features), _) => features.to_string(),
                    (None, PerBlock::Same(features)) => features.to_string(),
                    (None, PerBlock::Each(features)) => format!("{features:?}"),
                };
                let vector = number(config.projection_class_embeddings_input_dim);
                let wanted = number(Some(width + CAMERA_FEATURES));
                differs("class_embed_type", kind, "projection".to_owned())
                    .or_else(|| differs("cross_attention_dim", states, width.to_string()))
                    .or_else(|| differs("projection_class_embeddings_input_dim", vector, wanted))
                    .or_else(|| {
                        let added = config.addition_embed_type.map(|kind| format!("{kind:?}"));
                        let added = added.unwrap_or("not set".to_owned());
                        differs("addition_embed_type", added, "not set".to_owned())
                    })
            }
            (Self::Plain(_), Wants::Text { .. }) => {
                let expected = "UNet2DConditionModel, for the condition is text";
                differs(
                    "_class_name",
                    self.class_name().to_owned(),
                    expected.to_owned(),
                )
            }
            (Self::Text(_), Wants::Nothing | Wants::Class(_) | Wants::Small) => {
                let expected = "UNet2DModel, for the condition is not text";
                differs(
                    "_class_name",
                    self.class_name().to_owned(),
                    expected.to_owned(),
                )
            }
        }
    }

    /// Channels of pictures in and out; a view map does not count.
    pub fn channels(&self) -> [usize; 2] {
        let of_map = if self.sees_view() { VIEW_CHANNELS } else { 0 };
        match self {
            Self::Plain(config) => [config.in_channels, config.out_channels],
            Self::Text(config) => [config.in_channels - of_map, config.out_channels],
        }
    }

    /// Whether the network sees a view map beside the noise, for which it has channels more than it gives.
    pub fn sees_view(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Text(config) => config.in_channels == config.out_channels + VIEW_CHANNELS,
        }
    }

    /// Side of the squares it was or will be trained on.
    pub fn sample_size(&self) -> Option<&PerBlock<usize>> {
        match self {
            Self::Plain(config) => config.sample_size.as_ref(),
            Self::Text(config) => config.sample_size.as_ref(),
        }
    }

    /// Channels of each block, from the finest to the coarsest; each block but the last halves.
    pub fn block_out_channels(&self) -> &[usize] {
        match self {
            Self::Plain(config) => &config.block_out_channels,
            Self::Text(config) => &config.block_out_channels,
        }
    }
}

impl UNet {
    /// Reads config and weights from `folder` onto `device`, to multiply in `precision`.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, NetError> {
        let bytes = read_limited(&folder.join(CONFIG_FILE), MAX_CONFIG_BYTES)?;
        let name = serde_json::from_slice::<serde_json::Value>(&bytes)
            .map(|config| config["_class_name"] == "UNet2DConditionModel");
        Ok(match name {
            Ok(true) => Self::Text(UNet2DConditionModel::load(folder, device, precision)?),
            // What is wrong with a broken file, the network's own reader says best.
            Ok(false) | Err(_) => Self::Plain(UNet2DModel::load(folder, device, precision)?),
        })
    }

    /// Writes config and weights into `folder`, which is created if need be.
    pub fn save(&self, folder: &Path, weight_type: WeightType) -> Result<(), NetError> {
        match self {
            Self::Plain(unet) => unet.save(folder, weight_type),
            Self::Text(unet) => unet.save(folder, weight_type),
        }
    }

    /// What the network was built from.
    pub fn config(&self) -> UNetConfig {
        match self {
            Self::Plain(unet) => UNetConfig::Plain(unet.config().clone()),
            Self::Text(unet) => UNetConfig::Text(unet.config().clone()),
        }
    }

    /// One evaluation: `x` `[B, C, H, W]` at `time` `[B]`, told `told`. Gives `[B, C', H, W]`.
    ///
    /// # Panics
    ///
    /// When `told` is of the other network, or `x` has other channels than the network.
    pub fn forward(&self, x: Tensor<4>, time: Tensor<1>, told: &Told) -> Tensor<4> {
        match (self, told) {
            (Self::Plain(unet), Told::Labels(labels)) => unet.forward(x, time, labels.clone()),
            (Self::Text(unet), Told::Text { whole, frames }) => {
                let [_, channels, height, width] = x.dims();
                let x = match unet.config().in_channels == channels + VIEW_CHANNELS {
                    true => Tensor::cat(vec![x, view_maps(frames, [height, width])], 1),
                    false => x,
                };
                unet.forward(x, time, whole)
            }
            (Self::Plain(_), Told::Text { .. }) => panic!("UNet2DModel: wanted labels, found text"),
            (Self::Text(_), Told::Labels(_)) => {
                panic!("UNet2DConditionModel: wanted text, found labels")
            }
        }
    }
}
