//! From the names of block types to plans of blocks, for both kinds of U-Net.

use serde::{Deserialize, Serialize};

use crate::attention::{AddedText, AmongPixels, CrossNorm, Heads};
use crate::block::{AttentionSpec, BlockSpec, ResampleSpec};
use crate::config::check_size;
use crate::error::NetError;
use crate::resnet::ResnetSpec;
use crate::transformer::TransformerSpec;

/// Kinds of down blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks, then a convolution with stride 2.
    DownBlock2D,
    /// The same with self-attention after each residual block.
    AttnDownBlock2D,
    /// The same with a transformer that reads text after each residual block.
    CrossAttnDownBlock2D,
    /// Residual blocks, the last of which halves.
    ResnetDownsampleBlock2D,
    /// The same with attention to text and pixels after each.
    SimpleCrossAttnDownBlock2D,
}

/// Kinds of up blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks, then repetition and a convolution.
    UpBlock2D,
    /// The same with self-attention after each residual block.
    AttnUpBlock2D,
    /// The same with a transformer that reads text after each residual block.
    CrossAttnUpBlock2D,
    /// Residual blocks, the last of which doubles.
    ResnetUpsampleBlock2D,
    /// The same with attention to text and pixels after each.
    SimpleCrossAttnUpBlock2D,
}

/// How blocks with self-attention change the resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResampleType {
    /// A convolution.
    #[default]
    Conv,
    /// A residual block.
    Resnet,
}

/// What the two kinds' variants have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Pixels,
    Transformer,
    Resnet,
    AddedText,
}

impl From<DownBlockType> for Kind {
    fn from(kind: DownBlockType) -> Self {
        match kind {
            DownBlockType::DownBlock2D => Self::Plain,
            DownBlockType::AttnDownBlock2D => Self::Pixels,
            DownBlockType::CrossAttnDownBlock2D => Self::Transformer,
            DownBlockType::ResnetDownsampleBlock2D => Self::Resnet,
            DownBlockType::SimpleCrossAttnDownBlock2D => Self::AddedText,
        }
    }
}

impl From<UpBlockType> for Kind {
    fn from(kind: UpBlockType) -> Self {
        match kind {
            UpBlockType::UpBlock2D => Self::Plain,
            UpBlockType::AttnUpBlock2D => Self::Pixels,
            UpBlockType::CrossAttnUpBlock2D => Self::Transformer,
            UpBlockType::ResnetUpsampleBlock2D => Self::Resnet,
            UpBlockType::SimpleCrossAttnUpBlock2D => Self::AddedText,
        }
    }
}

/// What one level of resolution adds to what all levels share.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) channels: usize,
    pub(crate) layers: usize,
    /// Channels of a head, all of the level's if none is given.
    pub(crate) head_dim: Option<usize>,
    /// Heads of a transformer.
    pub(crate) n_heads: Option<usize>,
    /// Features of the text, where there is any.
    pub(crate) text_features: Option<usize>,
    /// Transformer layers after each residual block.
    pub(crate) depths: Vec<usize>,
    pub(crate) only_cross_attention: bool,
}

/// What all blocks share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// For blocks that do not name a special time activation or output scale.
    pub(crate) resnet: ResnetSpec,
    /// For the kinds of blocks that DeepFloyd IF brought.
    pub(crate) resnet_of_if: ResnetSpec,
    pub(crate) downsample_padding: usize,
    pub(crate) downsample: ResampleType,
    pub(crate) upsample: ResampleType,
    pub(crate) linear_projection: bool,
    pub(crate) cross_norm: Option<CrossNorm>,
}

/// All down blocks and all up blocks.
pub(crate) struct Ladder {
    pub(crate) shared: Shared,
    /// From the finest resolution to the coarsest.
    pub(crate) down: Vec<(DownBlockType, Level)>,
    /// From the coarsest to the finest.
    pub(crate) up: Vec<(UpBlockType, Level)>,
}

impl Ladder {
    /// The plans of the down blocks. The first receives as many channels as it gives.
    pub(crate) fn down_blocks(&self) -> Result<Vec<BlockSpec>, NetError> {
        let Shared {
            downsample,
            downsample_padding,
            ..
        } = self.shared;
        let mut before = self.down.first().map_or(0, |(_, level)| level.channels);
        let plan = |(i, (kind, level)): (usize, &(DownBlockType, Level))| {
            let kind = Kind::from(*kind);
            let inputs =
                (0..level.layers).map(|layer| if layer == 0 { before } else { level.channels });
            let inputs = inputs.collect();
            before = level.channels;
            let resample = match i + 1 == self.down.len() {
                true => ResampleSpec::None,
                false => kind.resample(downsample, downsample_padding),
            };
            self.shared.block(kind, level, inputs, resample)
        };
        self.down.iter().enumerate().map(plan).collect()
    }

    /// The plans of the up blocks. Each residual block also receives a skip connection: the last of a
    /// level the one from the next finer level, whose channels it has.
    pub(crate) fn up_blocks(&self) -> Result<Vec<BlockSpec>, NetError> {
        let mut before = self.up.first().map_or(0, |(_, level)| level.channels);
        let plan = |(i, (kind, level)): (usize, &(UpBlockType, Level))| {
            let kind = Kind::from(*kind);
            let finer = self
                .up
                .get(i + 1)
                .map_or(level.channels, |(_, level)| level.channels);
            let inputs = (0..=level.layers).map(|layer| {
                let below = if layer == 0 { before } else { level.channels };
                let skip = if layer == level.layers {
                    finer
                } else {
                    level.channels
                };
                below + skip
            });
            let inputs = inputs.collect();
            before = level.channels;
            let resample = match i + 1 == self.up.len() {
                true => ResampleSpec::None,
                false => kind.resample(self.shared.upsample, 1),
            };
            self.shared.block(kind, level, inputs, resample)
        };
        self.up.iter().enumerate().map(plan).collect()
    }
}

impl Kind {
    fn resample(self, with_pixels: ResampleType, padding: usize) -> ResampleSpec {
        match (self, with_pixels) {
            (Self::Plain | Self::Transformer, _) | (Self::Pixels, ResampleType::Conv) => {
                ResampleSpec::Conv { padding }
            }
            (Self::Pixels, ResampleType::Resnet) | (Self::Resnet | Self::AddedText, _) => {
                ResampleSpec::Resnet
            }
        }
    }
}

impl Shared {
    fn block(
        &self,
        kind: Kind,
        level: &Level,
        inputs: Vec<usize>,
        resample: ResampleSpec,
    ) -> Result<BlockSpec, NetError> {
        let (resnet, attention) = match kind {
            Kind::Plain => (self.resnet, AttentionSpec::None),
            Kind::Pixels => (self.resnet, self.pixels(level)?),
            Kind::Transformer => (self.resnet, self.transformer(level)?),
            Kind::Resnet => (self.resnet_of_if, AttentionSpec::None),
            Kind::AddedText => (self.resnet_of_if, self.added_text(level)?),
        };
        Ok(BlockSpec {
            inputs,
            outputs: level.channels,
            resnet,
            attention,
            resample,
        })
    }

    fn pixels(&self, level: &Level) -> Result<AttentionSpec, NetError> {
        Ok(AttentionSpec::Pixels {
            heads: Heads::of_size(level.head_dim.unwrap_or(level.channels), level.channels)?,
            groups: Some(self.resnet.groups),
            scale_factor: 1.0,
        })
    }

    pub(crate) fn transformer(&self, level: &Level) -> Result<AttentionSpec, NetError> {
        let text_features = level.text_features()?;
        let spec = TransformerSpec {
            heads: Heads::of_count(level.n_heads.unwrap_or(0), level.channels)?,
            text_features,
            groups: self.resnet.groups,
            linear_projection: self.linear_projection,
            only_cross_attention: level.only_cross_attention,
        };
        Ok(AttentionSpec::Transformer {
            spec,
            depths: level.depths.clone(),
        })
    }

    pub(crate) fn added_text(&self, level: &Level) -> Result<AttentionSpec, NetError> {
        Ok(AttentionSpec::AddedText {
            heads: Heads::of_size(level.head_dim.unwrap_or(level.channels), level.channels)?,
            text: AddedText {
                features: level.text_features()?,
                norm: self.cross_norm,
                among_pixels: if level.only_cross_attention {
                    AmongPixels::No
                } else {
                    AmongPixels::Yes
                },
            },
        })
    }
}

impl Level {
    fn text_features(&self) -> Result<usize, NetError> {
        match self.text_features {
            Some(features) => check_size("cross_attention_dim", features),
            None => Err(NetError::config(
                "cross_attention_dim",
                self.text_features,
                "but a block type attends to text",
            )),
        }
    }
}

/// The checks on block lists that both configs need; returns the number of blocks.
pub(crate) fn check_blocks(
    down: &[DownBlockType],
    up: &[UpBlockType],
    channels: &[usize],
) -> Result<usize, NetError> {
    let n = down.len();
    if n == 0 {
        return Err(NetError::config(
            "down_block_types",
            down,
            "wanted at least one",
        ));
    }
    if up.len() != n {
        return Err(NetError::config(
            "up_block_types",
            up,
            format!("wanted {n}, as many as down_block_types"),
        ));
    }
    if channels.len() != n {
        return Err(NetError::config(
            "block_out_channels",
            channels,
            format!("wanted {n} entries, one for each block"),
        ));
    }
    for &channels in channels {
        check_size("block_out_channels", channels)?;
    }
    Ok(n)
}

/// A number of residual blocks that a block can have.
pub(crate) fn check_layers(layers: usize) -> Result<usize, NetError> {
    match layers {
        1..=256 => Ok(layers),
        _ => Err(NetError::config(
            "layers_per_block",
            layers,
            "wanted 1 to 256",
        )),
    }
}
