//! The unconditional or class-conditional U-Net, with the configs and weights of diffusers'
//! `UNet2DModel` [Ho20, Dhariwal21].
//! Leaves out Fourier and learned time embeddings, skip blocks, and dropout.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use dreamsmith_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::attention::Heads;
use crate::block::{AttentionSpec, BlockSpec, DownBlock, MidBlock, ResampleSpec, UpBlock};
use crate::class_embedding::{ClassCondition, ClassEmbedding};
use crate::config::{self, PerBlock, check_only, check_size};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, Embedding, GroupNorm};
use crate::plan::{
    DownBlockType, Ladder, Level, ResampleType, Shared, UpBlockType, check_blocks, check_layers,
};
use crate::resnet::{ResnetSpec, TimeScaleShift};
use crate::time_embedding::{Sinusoids, TimeFeatures, TimestepEmbedding};

/// The class name in config.json.
const CLASS_NAME: &str = "UNet2DModel";

/// The keys of diffusers' `UNet2DModel`, with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet2DConfig {
    /// Height and width the network was trained at; only a note.
    pub sample_size: Option<PerBlock<usize>>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Map the input from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// Only "positional".
    pub time_embedding_type: TimeEmbeddingType,
    /// Features of the time embedding; four times the first block's channels if absent.
    pub time_embedding_dim: Option<usize>,
    /// 1 makes the last frequency of the time embedding exactly 1/10000.
    pub freq_shift: f64,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// From the finest resolution to the coarsest.
    pub down_block_types: Vec<DownBlockType>,
    /// Absent for no middle block.
    pub mid_block_type: Option<MidBlockType>,
    /// From the coarsest resolution to the finest.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each block, from the finest to the coarsest.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each down block; an up block has one more.
    pub layers_per_block: usize,
    /// The middle block divides its sums with the residual by this.
    pub mid_block_scale_factor: f64,
    /// Zeros around the input of a halving convolution; 0 means one row and column at the end.
    pub downsample_padding: usize,
    /// How `AttnDownBlock2D` halves.
    pub downsample_type: ResampleType,
    /// How `AttnUpBlock2D` doubles.
    pub upsample_type: ResampleType,
    /// Only 0.
    pub dropout: f64,
    /// The activation of residual blocks.
    pub act_fn: Activation,
    /// Channels of an attention head; all of a block's if absent.
    pub attention_head_dim: Option<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's norm; if absent, `norm_num_groups` with the default
    /// `resnet_time_scale_shift`, no norm otherwise.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to variances.
    pub norm_eps: f64,
    /// How residual blocks use the time embedding.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Whether the middle block has attention.
    pub add_attention: bool,
    /// How the class is embedded if not by a table.
    pub class_embed_type: Option<ClassEmbedType>,
    /// Rows of the table of classes.
    pub num_class_embeds: Option<usize>,
    /// Only for learned time embeddings; only a note here.
    pub num_train_timesteps: Option<usize>,
}

/// How timesteps become vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeEmbeddingType {
    /// Sinusoids.
    #[default]
    Positional,
}

/// Kinds of middle blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// Two residual blocks with self-attention between them.
    UNetMidBlock2D,
}

/// How a class becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassEmbedType {
    /// As a timestep does.
    Timestep,
}

impl Default for UNet2DConfig {
    fn default() -> Self {
        use {DownBlockType::*, UpBlockType::*};
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbeddingType::Positional,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![
                DownBlock2D,
                AttnDownBlock2D,
                AttnDownBlock2D,
                AttnDownBlock2D,
            ],
            mid_block_type: Some(MidBlockType::UNetMidBlock2D),
            up_block_types: vec![AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: ResampleType::Conv,
            upsample_type: ResampleType::Conv,
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

impl UNet2DConfig {
    /// Reads a config.json.
    pub fn from_json(text: &str) -> Result<Self, NetError> {
        config::from_json(text)
    }

    /// The config.json that diffusers reads.
    pub fn to_json(&self) -> String {
        config::to_json(self, CLASS_NAME)
    }

    /// Builds the network with PyTorch's default initialisation, drawn from `seed` when each
    /// parameter is first used: the same values on every device. It multiplies in `precision`.
    pub fn init(
        &self,
        seed: u64,
        device: &Device,
        precision: Precision,
    ) -> Result<UNet2DModel, NetError> {
        let blocks = check_blocks(
            &self.down_block_types,
            &self.up_block_types,
            &self.block_out_channels,
        )?;
        check_only("dropout", &self.dropout, &0.0)?;
        let init = &mut Init::new(seed, device, precision, CLASS_NAME);
        let (first, last) = (
            self.block_out_channels[0],
            self.block_out_channels[blocks - 1],
        );
        let time_features = check_size(
            "time_embedding_dim",
            self.time_embedding_dim.unwrap_or(4 * first),
        )?;
        let ladder = self.ladder(time_features)?;
        Ok(UNet2DModel {
            conv_in: Conv2d::same(init, check_size("in_channels", self.in_channels)?, first, 3),
            time_embedding: TimestepEmbedding::new(init, first, time_features, Activation::Silu),
            class_embedding: match (self.class_embed_type, self.num_class_embeds) {
                (Some(ClassEmbedType::Timestep), _) => Some(ClassEmbedding::Timestep(
                    TimestepEmbedding::new(init, first, time_features, Activation::Silu),
                )),
                (None, Some(n)) => {
                    let n = check_size("num_class_embeds", n)?;
                    Some(ClassEmbedding::Table(Embedding::new(
                        init,
                        n,
                        time_features,
                    )))
                }
                (None, None) => None,
            },
            down_blocks: ladder
                .down_blocks()?
                .iter()
                .map(|spec| DownBlock::new(init, spec))
                .collect::<Result<_, _>>()?,
            mid_block: match self.mid_block_type {
                Some(MidBlockType::UNetMidBlock2D) => Some(MidBlock::new(
                    init,
                    &self.mid_block(ladder.shared.resnet, last)?,
                )?),
                None => None,
            },
            up_blocks: ladder
                .up_blocks()?
                .iter()
                .map(|spec| UpBlock::new(init, spec))
                .collect::<Result<_, _>>()?,
            conv_norm_out: GroupNorm::new(init, first, self.norm_num_groups, self.norm_eps)?,
            conv_out: Conv2d::same(
                init,
                first,
                check_size("out_channels", self.out_channels)?,
                3,
            ),
            config: self.clone(),
        })
    }

    fn ladder(&self, time_features: usize) -> Result<Ladder, NetError> {
        let resnet = ResnetSpec {
            time_features,
            groups: self.norm_num_groups,
            eps: self.norm_eps,
            act: self.act_fn,
            time: self.resnet_time_scale_shift,
            skip_time_act: false,
            output_scale_factor: 1.0,
        };
        let layers = check_layers(self.layers_per_block)?;
        let level = |&channels: &usize| Level {
            channels,
            layers,
            head_dim: self.attention_head_dim,
            n_heads: None,
            text_features: None,
            depths: Vec::new(),
            only_cross_attention: false,
        };
        let levels = self.block_out_channels.iter().map(level);
        Ok(Ladder {
            shared: Shared {
                resnet,
                resnet_of_if: resnet,
                downsample_padding: self.downsample_padding,
                downsample: self.downsample_type,
                upsample: self.upsample_type,
                linear_projection: false,
                cross_norm: None,
            },
            down: self
                .down_block_types
                .iter()
                .copied()
                .zip(levels.clone())
                .collect(),
            up: self
                .up_block_types
                .iter()
                .copied()
                .zip(levels.rev())
                .collect(),
        })
    }

    fn mid_block(&self, resnet: ResnetSpec, channels: usize) -> Result<BlockSpec, NetError> {
        let groups = match self.resnet_time_scale_shift {
            TimeScaleShift::Default => {
                Some(self.attn_norm_num_groups.unwrap_or(self.norm_num_groups))
            }
            TimeScaleShift::ScaleShift => self.attn_norm_num_groups,
        };
        let attention = AttentionSpec::Pixels {
            heads: Heads::of_size(self.attention_head_dim.unwrap_or(channels), channels)?,
            groups,
            scale_factor: self.mid_block_scale_factor,
        };
        Ok(BlockSpec {
            inputs: vec![channels; 2],
            outputs: channels,
            resnet: ResnetSpec {
                output_scale_factor: self.mid_block_scale_factor,
                ..resnet
            },
            attention: if self.add_attention {
                attention
            } else {
                AttentionSpec::None
            },
            resample: ResampleSpec::None,
        })
    }
}

/// A U-Net over images, conditioned on the timestep and perhaps on a class.
#[derive(Module, Debug)]
pub struct UNet2DModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<ClassEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNet2DConfig,
}

impl UNet2DModel {
    /// What the network was built from.
    pub fn config(&self) -> &UNet2DConfig {
        &self.config
    }

    /// One evaluation: `sample` `[B, C, H, W]`, `timestep` `[B]`, `class_labels` `[B]` exactly when
    /// the config has classes. Gives `[B, C', H, W]`. H and W should be multiples of two for each
    /// halving; other sizes lose their last row or column on the way down and regain it going up.
    ///
    /// # Panics
    ///
    /// When `sample` has not C = `in_channels`, or when `class_labels` are given to a network without classes, or not to one with them.
    pub fn forward(
        &self,
        sample: Tensor<4>,
        timestep: Tensor<1>,
        class_labels: Option<Tensor<1, Int>>,
    ) -> Tensor<4> {
        let wanted = self.config.in_channels;
        assert_eq!(
            sample.dims()[1],
            wanted,
            "UNet2DModel: channels of the sample, in_channels"
        );
        let time = self.time_features(timestep, class_labels);
        let x = if self.config.center_input_sample {
            sample * 2.0 - 1.0
        } else {
            sample
        };
        let mut x = self.conv_in.forward(x);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &time, None, &mut skips);
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(x, &time, None);
        }
        for block in &self.up_blocks {
            x = block.forward(x, &time, None, &mut skips);
        }
        self.conv_out
            .forward(self.conv_norm_out.forward_then(x, Activation::Silu))
    }

    fn time_features(
        &self,
        timestep: Tensor<1>,
        class_labels: Option<Tensor<1, Int>>,
    ) -> TimeFeatures {
        let sinusoids = Sinusoids {
            features: self.config.block_out_channels[0],
            flip_sin_to_cos: self.config.flip_sin_to_cos,
            freq_shift: self.config.freq_shift,
        };
        let time = self.time_embedding.forward(sinusoids.forward(timestep));
        let time = match (&self.class_embedding, class_labels) {
            (None, None) => time,
            (Some(embedding), Some(labels)) => {
                let class = match self.config.class_embed_type {
                    Some(ClassEmbedType::Timestep) => ClassCondition::Number(labels.float()),
                    None => ClassCondition::Label(labels),
                };
                time + embedding.forward(class, &sinusoids)
            }
            (Some(_), None) => panic!("UNet2DModel: the config has classes, wanted class_labels"),
            (None, Some(_)) => panic!("UNet2DModel: the config has no classes, found class_labels"),
        };
        TimeFeatures::new(time, self.config.act_fn)
    }
}
