//! A small residual network [He16] that says what a picture shows: its place among sentence
//! embeddings, and from which side it is seen. It judges drawings; nothing is trained against it.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::{Precision, add_scaled};
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::config::{self, check_size};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::resample;

/// The class name in config.json.
const CLASS_NAME: &str = "ImageTower";

/// Sizes of an [`ImageTower`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageTowerConfig {
    /// Height and width of the pictures.
    pub sample_size: usize,
    /// Channels of each level, from the finest to the coarsest; each halves the resolution of the one before, the first
    /// that of the pictures.
    pub block_out_channels: Vec<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Features of the sentence embeddings.
    pub projection_dim: usize,
    /// Sides that a picture can be taken from.
    pub n_views: usize,
}

impl Default for ImageTowerConfig {
    fn default() -> Self {
        Self {
            sample_size: 64,
            block_out_channels: vec![32, 64, 128, 256],
            norm_num_groups: 8,
            projection_dim: 384,
            n_views: 4,
        }
    }
}

/// What the tower says about B pictures.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Features before any projection, `[B, C]`, which Fréchet distances are measured on.
    pub features: Tensor<2>,
    /// Sentence embeddings of length 1, `[B, D]`.
    pub embedding: Tensor<2>,
    /// Logits of the sides, `[B, n_views]`.
    pub view: Tensor<2>,
}

/// Two convolutions and a residual, then half the resolution.
#[derive(Module, Debug)]
struct TowerBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Conv2d,
}

impl TowerBlock {
    fn new(
        init: &mut Init,
        [inputs, outputs]: [usize; 2],
        groups: usize,
    ) -> Result<Self, NetError> {
        Ok(Self {
            norm1: GroupNorm::new(init, inputs, groups, EPS)?,
            conv1: Conv2d::same(init, inputs, outputs, 3),
            norm2: GroupNorm::new(init, outputs, groups, EPS)?,
            conv2: Conv2d::same(init, outputs, outputs, 3),
            conv_shortcut: Conv2d::same(init, inputs, outputs, 1),
        })
    }

    /// `[B, in, H, W]` to `[B, out, H, W]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.norm1.forward_then(x.clone(), Activation::Silu);
        let h = self
            .norm2
            .forward_then(self.conv1.forward(h), Activation::Silu);
        add_scaled(self.conv_shortcut.forward(x), self.conv2.forward(h), 1.0)
    }
}

const EPS: f64 = 1e-5;

/// The levels of a network each of which halves the resolution, checked.
pub(crate) struct Levels<'a> {
    channels: &'a [usize],
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Height and width of the last.
    pub(crate) side: usize,
}

impl<'a> Levels<'a> {
    pub(crate) fn check(sample_size: usize, channels: &'a [usize]) -> Result<Self, NetError> {
        for &n in channels {
            check_size("block_out_channels", n)?;
        }
        let (Some(&first), Some(&last)) = (channels.first(), channels.last()) else {
            return Err(NetError::config(
                "block_out_channels",
                channels,
                "wanted at least one",
            ));
        };
        let halvings = channels.len() as u32;
        if halvings > 16 || !check_size("sample_size", sample_size)?.is_multiple_of(1 << halvings) {
            return Err(NetError::config(
                "sample_size",
                sample_size,
                format!("which cannot be halved {halvings} times, as block_out_channels wants"),
            ));
        }
        Ok(Self {
            channels,
            first,
            last,
            side: sample_size >> halvings,
        })
    }

    /// Inputs and outputs of each.
    pub(crate) fn steps(&self) -> impl Iterator<Item = [usize; 2]> + use<'a> {
        let inputs = std::iter::once(self.first).chain(self.channels.iter().copied());
        inputs.zip(self.channels).map(|(i, o)| [i, *o])
    }
}

/// Pictures to embeddings.
#[derive(Module, Debug)]
pub struct ImageTower {
    conv_in: Conv2d,
    blocks: Vec<TowerBlock>,
    norm_out: GroupNorm,
    projection: Linear,
    view: Linear,
    #[module(skip)]
    config: ImageTowerConfig,
}

impl ImageTowerConfig {
    /// Reads config.json.
    pub fn from_json(text: &str) -> Result<Self, NetError> {
        config::from_json(text)
    }

    /// Writes config.json.
    pub fn to_json(&self) -> String {
        config::to_json(self, CLASS_NAME)
    }

    /// Builds the network with PyTorch's default initialisation drawn from `seed`. It multiplies in
    /// `precision`.
    pub fn init(
        &self,
        seed: u64,
        device: &Device,
        precision: Precision,
    ) -> Result<ImageTower, NetError> {
        let init = &mut Init::new(seed, device, precision, CLASS_NAME);
        let levels = Levels::check(self.sample_size, &self.block_out_channels)?;
        let (first, last, side) = (levels.first, levels.last, levels.side);
        Ok(ImageTower {
            conv_in: Conv2d::halving(init, [3, first], 1),
            blocks: levels
                .steps()
                .map(|channels| TowerBlock::new(init, channels, self.norm_num_groups))
                .collect::<Result<_, _>>()?,
            norm_out: GroupNorm::new(init, last, self.norm_num_groups, EPS)?,
            projection: Linear::new(
                init,
                last,
                check_size("projection_dim", self.projection_dim)?,
            ),
            view: Linear::new(
                init,
                last * side * side,
                check_size("n_views", self.n_views)?,
            ),
            config: self.clone(),
        })
    }
}

impl ImageTower {
    /// Its sizes.
    pub fn config(&self) -> &ImageTowerConfig {
        &self.config
    }

    /// Judges pictures `[B, 3, H, W]` in [-1, 1], of the config's size.
    pub fn forward(&self, pictures: Tensor<4>) -> Judgement {
        let mut x = self.conv_in.forward(pictures);
        for (level, block) in self.blocks.iter().enumerate() {
            if level > 0 {
                x = resample::halve(x);
            }
            x = block.forward(x);
        }
        let x = self.norm_out.forward_then(x, Activation::Silu);
        let [batch, channels, ..] = x.dims();
        // A side is told by what lies where, which a mean does not know.
        let view = self.view.forward(x.clone().flatten::<2>(1, 3));
        let features = x.mean_dim(3).mean_dim(2).reshape([batch, channels]);
        let embedding = self.projection.forward(features.clone());
        let length = embedding
            .clone()
            .square()
            .sum_dim(1)
            .add_scalar(1e-12)
            .sqrt();
        Judgement {
            embedding: embedding / length,
            view,
            features,
        }
    }
}
