//! The down, middle and up blocks of a U-Net [Ronneberger15], one struct each for all their kinds.
//! What a kind has or lacks is written in a [`BlockSpec`], which the configs make.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::attention::{AddedText, Attention, Heads, Text};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, GroupNorm};
use crate::resample::{Downsampler, Resampling, Upsampler};
use crate::resnet::{ResnetBlock2D, ResnetSpec, Resolution};
use crate::time_embedding::TimeFeatures;
use crate::transformer::{Transformer2D, TransformerSpec};

/// What follows each residual block.
#[derive(Clone, Debug)]
pub(crate) enum AttentionSpec {
    None,
    /// Self-attention among pixels.
    Pixels {
        heads: Heads,
        groups: Option<usize>,
        scale_factor: f64,
    },
    /// Attention to text and pixels at once.
    AddedText {
        heads: Heads,
        text: AddedText,
    },
    /// Transformer layers, `depths[i]` of them after residual block i.
    Transformer {
        spec: TransformerSpec,
        depths: Vec<usize>,
    },
}

/// How a block changes the resolution at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResampleSpec {
    None,
    Conv { padding: usize },
    Resnet,
}

/// The plan of a block; its kind's name is spent.
#[derive(Clone, Debug)]
pub(crate) struct BlockSpec {
    /// Input channels of each residual block.
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: usize,
    pub(crate) resnet: ResnetSpec,
    pub(crate) attention: AttentionSpec,
    pub(crate) resample: ResampleSpec,
}

impl BlockSpec {
    fn resnets(&self, init: &mut Init) -> Result<Vec<ResnetBlock2D>, NetError> {
        self.inputs
            .iter()
            .map(|&inputs| {
                ResnetBlock2D::new(init, (inputs, self.outputs), Resolution::Keep, self.resnet)
            })
            .collect()
    }

    fn attentions(&self, init: &mut Init, n: usize) -> Result<Vec<Attend>, NetError> {
        (0..n)
            .filter_map(|i| self.attend(init, i).transpose())
            .collect()
    }

    fn attend(&self, init: &mut Init, i: usize) -> Result<Option<Attend>, NetError> {
        /// PyTorch's default, which the blocks with added text leave as it is.
        const ADDED_TEXT_EPS: f64 = 1e-5;
        let channels = self.outputs;
        let ResnetSpec {
            groups: resnet_groups,
            eps,
            ..
        } = self.resnet;
        Ok(match &self.attention {
            AttentionSpec::None => None,
            AttentionSpec::Pixels {
                heads,
                groups,
                scale_factor,
            } => {
                let norm = groups
                    .map(|groups| GroupNorm::new(init, channels, groups, eps))
                    .transpose()?;
                Some(Attend::Direct(Attention::pixels(
                    init,
                    channels,
                    *heads,
                    norm,
                    *scale_factor,
                )))
            }
            AttentionSpec::AddedText { heads, text } => {
                let norm = GroupNorm::new(init, channels, resnet_groups, ADDED_TEXT_EPS)?;
                Some(Attend::Direct(Attention::added_text(
                    init, channels, *text, *heads, norm,
                )?))
            }
            AttentionSpec::Transformer { spec, depths } => {
                let depth = depths.get(i).copied().unwrap_or(1);
                Some(Attend::Transformer(Transformer2D::new(
                    init, channels, depth, *spec,
                )?))
            }
        })
    }

    fn resampling_resnet(
        &self,
        init: &mut Init,
        resolution: Resolution,
    ) -> Result<ResnetBlock2D, NetError> {
        ResnetBlock2D::new(init, (self.outputs, self.outputs), resolution, self.resnet)
    }
}

/// Attention after a residual block.
#[expect(
    clippy::large_enum_variant,
    reason = "few of them live, and a Box is no Module"
)]
#[derive(Module, Debug)]
pub enum Attend {
    /// One attention layer on the pixels themselves.
    Direct(Attention),
    /// Transformer layers between two projections.
    Transformer(Transformer2D),
}

impl Attend {
    fn forward(&self, x: Tensor<4>, text: Option<&Text>) -> Tensor<4> {
        match self {
            Self::Direct(attention) => attention.forward_pixels(x, text),
            Self::Transformer(transformer) => transformer.forward(x, text),
        }
    }
}

/// Every kind of down block.
#[derive(Module, Debug)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attend>,
    downsamplers: Vec<Downsampler>,
}

impl DownBlock {
    pub(crate) fn new(init: &mut Init, spec: &BlockSpec) -> Result<Self, NetError> {
        Ok(Self {
            resnets: spec.resnets(init)?,
            attentions: spec.attentions(init, spec.inputs.len())?,
            downsamplers: match spec.resample {
                ResampleSpec::None => Vec::new(),
                ResampleSpec::Conv { padding } => {
                    vec![Downsampler::Conv(Resampling::new(Conv2d::halving(
                        init,
                        [spec.outputs; 2],
                        padding,
                    )))]
                }
                ResampleSpec::Resnet => {
                    vec![Downsampler::Resnet(
                        spec.resampling_resnet(init, Resolution::Halve)?,
                    )]
                }
            },
        })
    }

    /// Runs the block and pushes what its residual blocks and its downsampler give onto `skips`.
    pub(crate) fn forward(
        &self,
        mut x: Tensor<4>,
        time: &TimeFeatures,
        text: Option<&Text>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, time);
            if let Some(attend) = self.attentions.get(i) {
                x = attend.forward(x, text);
            }
            skips.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x, time);
            skips.push(x.clone());
        }
        x
    }
}

/// Every kind of middle block: attention between residual blocks.
#[derive(Module, Debug)]
pub struct MidBlock {
    attentions: Vec<Attend>,
    resnets: Vec<ResnetBlock2D>,
}

impl MidBlock {
    pub(crate) fn new(init: &mut Init, spec: &BlockSpec) -> Result<Self, NetError> {
        Ok(Self {
            attentions: spec.attentions(init, spec.inputs.len().saturating_sub(1))?,
            resnets: spec.resnets(init)?,
        })
    }

    pub(crate) fn forward(
        &self,
        mut x: Tensor<4>,
        time: &TimeFeatures,
        text: Option<&Text>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if let Some(attend) = i
                .checked_sub(1)
                .and_then(|before| self.attentions.get(before))
            {
                x = attend.forward(x, text);
            }
            x = resnet.forward(x, time);
        }
        x
    }
}

/// Every kind of up block.
#[derive(Module, Debug)]
pub struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attend>,
    upsamplers: Vec<Upsampler>,
}

impl UpBlock {
    pub(crate) fn new(init: &mut Init, spec: &BlockSpec) -> Result<Self, NetError> {
        Ok(Self {
            resnets: spec.resnets(init)?,
            attentions: spec.attentions(init, spec.inputs.len())?,
            upsamplers: match spec.resample {
                ResampleSpec::None => Vec::new(),
                ResampleSpec::Conv { .. } => {
                    vec![Upsampler::Conv(Resampling::new(Conv2d::same(
                        init,
                        spec.outputs,
                        spec.outputs,
                        3,
                    )))]
                }
                ResampleSpec::Resnet => {
                    vec![Upsampler::Resnet(
                        spec.resampling_resnet(init, Resolution::Double)?,
                    )]
                }
            },
        })
    }

    /// Runs the block, taking one skip connection off `skips` for each residual block.
    pub(crate) fn forward(
        &self,
        mut x: Tensor<4>,
        time: &TimeFeatures,
        text: Option<&Text>,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let joined = vec![Some(x), skips.pop()].into_iter().flatten().collect();
            x = resnet.forward(Tensor::cat(joined, 1), time);
            if let Some(attend) = self.attentions.get(i) {
                x = attend.forward(x, text);
            }
        }
        for upsampler in &self.upsamplers {
            let [_, _, h, w] = x.dims();
            let size = skips
                .last()
                .map_or([2 * h, 2 * w], |skip| [skip.dims()[2], skip.dims()[3]]);
            x = upsampler.forward(x, time, size);
        }
        x
    }
}
