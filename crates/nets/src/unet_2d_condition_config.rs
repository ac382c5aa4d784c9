//! The config of diffusers' `UNet2DConditionModel`: its keys, their defaults, and the plan of blocks
//! that they mean.
//! Leaves out the keys of Kandinsky, GLIGEN, VersatileDiffusion and the K-upscaler.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::attention::CrossNorm;
use crate::block::{AttentionSpec, BlockSpec, ResampleSpec};
use crate::config::{self, PerBlock, check_only, check_size};
use crate::error::NetError;
use crate::plan::{
    DownBlockType, Ladder, Level, ResampleType, Shared, UpBlockType, check_blocks, check_layers,
};
use crate::resnet::{ResnetSpec, TimeScaleShift};
use crate::unet_2d::TimeEmbeddingType;

/// The class name in config.json.
pub(crate) const CLASS_NAME: &str = "UNet2DConditionModel";

/// The keys of diffusers' `UNet2DConditionModel`, with its defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNet2DConditionConfig {
    /// Height and width the network was trained at; only a note.
    pub sample_size: Option<PerBlock<usize>>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Map the input from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// Cosines before sines in the time embedding.
    pub flip_sin_to_cos: bool,
    /// 1 makes the last frequency of the time embedding exactly 1/10000.
    pub freq_shift: f64,
    /// From the finest resolution to the coarsest.
    pub down_block_types: Vec<DownBlockType>,
    /// Absent for no middle block.
    pub mid_block_type: Option<MidBlockType>,
    /// From the coarsest resolution to the finest.
    pub up_block_types: Vec<UpBlockType>,
    /// Blocks with added text: no attention among pixels. Transformers: text in both attentions.
    pub only_cross_attention: PerBlock<bool>,
    /// Channels of each block, from the finest to the coarsest.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each down block; an up block has one more.
    pub layers_per_block: PerBlock<usize>,
    /// Zeros around the input of a halving convolution; 0 means one row and column at the end.
    pub downsample_padding: usize,
    /// The middle block divides its sums with the residual by this.
    pub mid_block_scale_factor: f64,
    /// Only 0.
    pub dropout: f64,
    /// The activation of residual blocks and of the time embedding.
    pub act_fn: Activation,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Added to variances.
    pub norm_eps: f64,
    /// Features of the text that the blocks read.
    pub cross_attention_dim: PerBlock<usize>,
    /// Transformer layers after each residual block, perhaps by block, perhaps by residual block.
    pub transformer_layers_per_block: PerBlock<PerBlock<usize>>,
    /// The same for the up blocks, where they differ.
    pub reverse_transformer_layers_per_block: Option<Vec<PerBlock<usize>>>,
    /// Features of the text as it comes, where a layer maps it to `cross_attention_dim`.
    pub encoder_hid_dim: Option<usize>,
    /// Only "text_proj", which is also the default where `encoder_hid_dim` is given.
    pub encoder_hid_dim_type: Option<EncoderHidDimType>,
    /// Channels of a head in blocks with added text; the number of heads in transformers, by a slip
    /// of diffusers that all configs rely on.
    pub attention_head_dim: PerBlock<Option<usize>>,
    /// Only absent, as in diffusers.
    pub num_attention_heads: Option<PerBlock<usize>>,
    /// Only false.
    pub dual_cross_attention: bool,
    /// A matrix instead of a 1×1 convolution around transformers.
    pub use_linear_projection: bool,
    /// How the class is embedded if not by a table.
    pub class_embed_type: Option<ClassEmbedType>,
    /// What else joins the time embedding.
    pub addition_embed_type: Option<AdditionEmbedType>,
    /// Features of each number of "text_time".
    pub addition_time_embed_dim: Option<usize>,
    /// Rows of the table of classes.
    pub num_class_embeds: Option<usize>,
    /// No meaning here: all attention is computed in the tensors' own type.
    pub upcast_attention: bool,
    /// How residual blocks use the time embedding.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// IF's blocks use the time embedding without the activation.
    pub resnet_skip_time_act: bool,
    /// IF's blocks divide their sums with the residual by this.
    pub resnet_out_scale_factor: f64,
    /// Only "positional".
    pub time_embedding_type: TimeEmbeddingType,
    /// Features of the time embedding; four times the first block's channels if absent.
    pub time_embedding_dim: Option<usize>,
    /// An activation on the time embedding, once for all blocks.
    pub time_embedding_act_fn: Option<Activation>,
    /// Only absent.
    pub timestep_post_act: Option<Activation>,
    /// Only absent.
    pub time_cond_proj_dim: Option<usize>,
    /// Odd width of the first convolution.
    pub conv_in_kernel: usize,
    /// Odd width of the last convolution.
    pub conv_out_kernel: usize,
    /// Features of the vectors that a class projection or "text_time" receives.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// Only "default".
    pub attention_type: AttentionType,
    /// The class embedding is put beside the time embedding instead of added to it.
    pub class_embeddings_concat: bool,
    /// `only_cross_attention` of the middle block; like the others' if that is one value for all.
    pub mid_block_only_cross_attention: Option<bool>,
    /// A norm on the text in blocks with added text.
    pub cross_attention_norm: Option<CrossNorm>,
    /// Heads that pool the text for "text".
    pub addition_embed_type_num_heads: usize,
}

/// Kinds of middle blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// A transformer between two residual blocks.
    UNetMidBlock2DCrossAttn,
    /// Attention to text and pixels between two residual blocks.
    UNetMidBlock2DSimpleCrossAttn,
    /// One residual block.
    UNetMidBlock2D,
}

/// Where the text's features come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderHidDimType {
    /// One layer on each token.
    TextProj,
}

/// How a class becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedType {
    /// As a timestep does.
    Timestep,
    /// It is one.
    Identity,
    /// By two layers.
    Projection,
    /// By one layer.
    SimpleProjection,
}

/// What else joins the time embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdditionEmbedType {
    /// The text, pooled by attention (DeepFloyd IF).
    Text,
    /// A pooled text and numbers such as the image's size (Stable Diffusion XL).
    TextTime,
}

/// What attention layers there are beside the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionType {
    /// None.
    #[default]
    Default,
}

impl Default for UNet2DConditionConfig {
    fn default() -> Self {
        use {DownBlockType::*, UpBlockType::*};
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![
                CrossAttnDownBlock2D,
                CrossAttnDownBlock2D,
                CrossAttnDownBlock2D,
                DownBlock2D,
            ],
            mid_block_type: Some(MidBlockType::UNetMidBlock2DCrossAttn),
            up_block_types: vec![
                UpBlock2D,
                CrossAttnUpBlock2D,
                CrossAttnUpBlock2D,
                CrossAttnUpBlock2D,
            ],
            only_cross_attention: PerBlock::Same(false),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::Same(2),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            dropout: 0.0,
            act_fn: Activation::Silu,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerBlock::Same(1280),
            transformer_layers_per_block: PerBlock::Same(PerBlock::Same(1)),
            reverse_transformer_layers_per_block: None,
            encoder_hid_dim: None,
            encoder_hid_dim_type: None,
            attention_head_dim: PerBlock::Same(Some(8)),
            num_attention_heads: None,
            dual_cross_attention: false,
            use_linear_projection: false,
            class_embed_type: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            num_class_embeds: None,
            upcast_attention: false,
            resnet_time_scale_shift: TimeScaleShift::Default,
            resnet_skip_time_act: false,
            resnet_out_scale_factor: 1.0,
            time_embedding_type: TimeEmbeddingType::Positional,
            time_embedding_dim: None,
            time_embedding_act_fn: None,
            timestep_post_act: None,
            time_cond_proj_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            projection_class_embeddings_input_dim: None,
            attention_type: AttentionType::Default,
            class_embeddings_concat: false,
            mid_block_only_cross_attention: None,
            cross_attention_norm: None,
            addition_embed_type_num_heads: 64,
        }
    }
}

/// The blocks of a network.
pub(crate) struct Blocks {
    pub(crate) down: Vec<BlockSpec>,
    pub(crate) mid: Option<BlockSpec>,
    pub(crate) up: Vec<BlockSpec>,
}

impl UNet2DConditionConfig {
    /// Reads a config.json.
    pub fn from_json(text: &str) -> Result<Self, NetError> {
        config::from_json(text)
    }

    /// The config.json that diffusers reads.
    pub fn to_json(&self) -> String {
        config::to_json(self, CLASS_NAME)
    }

    /// Features of the time embedding.
    pub(crate) fn time_features(&self) -> Result<usize, NetError> {
        let usual = self
            .block_out_channels
            .first()
            .map_or(0, |channels| channels.saturating_mul(4));
        check_size(
            "time_embedding_dim",
            self.time_embedding_dim.unwrap_or(usual),
        )
    }

    /// Features of the text that the blocks read, where all read the same.
    pub(crate) fn text_features(&self) -> Result<usize, NetError> {
        const KEY: &str = "cross_attention_dim";
        let all = self
            .cross_attention_dim
            .spread(KEY, self.block_out_channels.len())?;
        match all.first() {
            Some(first) if all.iter().all(|features| features == first) => check_size(KEY, *first),
            _ => Err(NetError::config(
                KEY,
                all,
                "but one layer before the blocks makes it: wanted one value",
            )),
        }
    }

    /// Checks what nothing but the defaults is supported for.
    pub(crate) fn check_supported(&self) -> Result<(), NetError> {
        check_only("dropout", &self.dropout, &0.0)?;
        check_only("num_attention_heads", &self.num_attention_heads, &None)?;
        check_only("dual_cross_attention", &self.dual_cross_attention, &false)?;
        check_only("timestep_post_act", &self.timestep_post_act, &None)?;
        check_only("time_cond_proj_dim", &self.time_cond_proj_dim, &None)
    }

    pub(crate) fn blocks(&self) -> Result<Blocks, NetError> {
        let n = check_blocks(
            &self.down_block_types,
            &self.up_block_types,
            &self.block_out_channels,
        )?;
        let levels = self.levels(n)?;
        let shared = self.shared()?;
        let mid = self.mid_block(&shared, &levels[n - 1])?;
        let up = self.up_levels(&levels)?;
        let ladder = Ladder {
            shared,
            up: self.up_block_types.iter().copied().zip(up).collect(),
            down: self.down_block_types.iter().copied().zip(levels).collect(),
        };
        Ok(Blocks {
            down: ladder.down_blocks()?,
            mid,
            up: ladder.up_blocks()?,
        })
    }

    fn shared(&self) -> Result<Shared, NetError> {
        let resnet = ResnetSpec {
            time_features: self.time_features()? * if self.class_embeddings_concat { 2 } else { 1 },
            groups: self.norm_num_groups,
            eps: self.norm_eps,
            act: self.act_fn,
            time: self.resnet_time_scale_shift,
            skip_time_act: false,
            output_scale_factor: 1.0,
        };
        Ok(Shared {
            resnet,
            resnet_of_if: ResnetSpec {
                skip_time_act: self.resnet_skip_time_act,
                output_scale_factor: self.resnet_out_scale_factor,
                ..resnet
            },
            downsample_padding: self.downsample_padding,
            downsample: ResampleType::Conv,
            upsample: ResampleType::Conv,
            linear_projection: self.use_linear_projection,
            cross_norm: self.cross_attention_norm,
        })
    }

    fn levels(&self, n: usize) -> Result<Vec<Level>, NetError> {
        let layers = self.layers_per_block.spread("layers_per_block", n)?;
        let heads = self.attention_head_dim.spread("attention_head_dim", n)?;
        let text = self.cross_attention_dim.spread("cross_attention_dim", n)?;
        let only_cross = self
            .only_cross_attention
            .spread("only_cross_attention", n)?;
        let depths = self.transformer_layers_per_block.spread(DEPTH_KEY, n)?;
        (0..n)
            .map(|i| {
                let layers = check_layers(layers[i])?;
                Ok(Level {
                    channels: self.block_out_channels[i],
                    layers,
                    head_dim: heads[i],
                    n_heads: heads[i],
                    text_features: Some(text[i]),
                    depths: check_depths(&depths[i], layers)?,
                    only_cross_attention: only_cross[i],
                })
            })
            .collect()
    }

    /// The levels in the order of the up blocks.
    fn up_levels(&self, levels: &[Level]) -> Result<Vec<Level>, NetError> {
        let depths = match &self.reverse_transformer_layers_per_block {
            Some(depths) => depths.clone(),
            None => self
                .transformer_layers_per_block
                .spread(DEPTH_KEY, levels.len())?
                .into_iter()
                .rev()
                .collect(),
        };
        if depths.len() != levels.len() {
            let problem = format!("wanted {} entries, one for each block", levels.len());
            return Err(NetError::config(
                "reverse_transformer_layers_per_block",
                depths,
                problem,
            ));
        }
        let up =
            levels
                .iter()
                .rev()
                .zip(levels)
                .zip(&depths)
                .map(|((level, same_place), depths)| {
                    Ok(Level {
                        depths: check_depths(depths, level.layers + 1)?,
                        // Not reversed in diffusers, so that weights fit.
                        head_dim: same_place.head_dim,
                        ..level.clone()
                    })
                });
        up.collect()
    }

    fn mid_block(&self, shared: &Shared, level: &Level) -> Result<Option<BlockSpec>, NetError> {
        let Some(kind) = self.mid_block_type else {
            return Ok(None);
        };
        let (resnets, resnet, attention) = match kind {
            MidBlockType::UNetMidBlock2D => (1, shared.resnet, AttentionSpec::None),
            MidBlockType::UNetMidBlock2DCrossAttn => {
                let level = Level {
                    only_cross_attention: false,
                    ..level.clone()
                };
                (2, shared.resnet, shared.transformer(&level)?)
            }
            MidBlockType::UNetMidBlock2DSimpleCrossAttn => {
                let everywhere = match self.only_cross_attention {
                    PerBlock::Same(value) => value,
                    PerBlock::Each(_) => false,
                };
                let only_cross_attention =
                    self.mid_block_only_cross_attention.unwrap_or(everywhere);
                let level = Level {
                    only_cross_attention,
                    ..level.clone()
                };
                (2, shared.resnet_of_if, shared.added_text(&level)?)
            }
        };
        Ok(Some(BlockSpec {
            inputs: vec![level.channels; resnets],
            outputs: level.channels,
            resnet: ResnetSpec {
                output_scale_factor: self.mid_block_scale_factor,
                ..resnet
            },
            attention,
            resample: ResampleSpec::None,
        }))
    }
}

const DEPTH_KEY: &str = "transformer_layers_per_block";

/// The number of transformer layers after each of `n` residual blocks.
fn check_depths(depths: &PerBlock<usize>, n: usize) -> Result<Vec<usize>, NetError> {
    let depths = depths.spread(DEPTH_KEY, n)?;
    match depths.iter().find(|&&depth| depth > 256) {
        Some(depth) => Err(NetError::config(DEPTH_KEY, depth, "wanted at most 256")),
        None => Ok(depths),
    }
}
