//! A small residual network [He16] that tells from which side a thing is seen, if told what the thing is: the front of a
//! chair is another than that of a car. It judges objects; nothing is trained against it.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use dreamsmith_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::config::{self, check_size};
use crate::error::NetError;
use crate::image_tower::Levels;
use crate::init::Init;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::resnet::{ResnetBlock2D, ResnetSpec, Resolution, TimeScaleShift};
use crate::time_embedding::TimeFeatures;

/// The class name in config.json.
const CLASS_NAME: &str = "Compass";
const EPS: f64 = 1e-5;

/// Sizes of a [`Compass`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompassConfig {
    /// Height and width of the pictures.
    pub sample_size: usize,
    /// Channels of each level, from the finest to the coarsest; each halves the resolution of the one before, the first
    /// that of the pictures.
    pub block_out_channels: Vec<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Features of the sentence embeddings that say what is seen.
    pub sentence_dim: usize,
    /// Features that are left of a sentence: few, so that things alike share what is learnt of them.
    pub told_dim: usize,
    /// Parts of the circle that are told apart. The first has the front in its middle; they follow each other as
    /// azimuths do.
    pub n_sectors: usize,
}

impl Default for CompassConfig {
    fn default() -> Self {
        Self {
            sample_size: 64,
            block_out_channels: vec![32, 64, 128, 192],
            norm_num_groups: 8,
            sentence_dim: 384,
            told_dim: 32,
            n_sectors: 12,
        }
    }
}

/// Pictures and sentences to sides.
#[derive(Module, Debug)]
pub struct Compass {
    conv_in: Conv2d,
    sentence: Linear,
    blocks: Vec<ResnetBlock2D>,
    norm_out: GroupNorm,
    sectors: Linear,
    #[module(skip)]
    config: CompassConfig,
}

impl CompassConfig {
    /// Reads config.json.
    pub fn from_json(text: &str) -> Result<Self, NetError> {
        config::from_json(text)
    }

    /// Writes config.json.
    pub fn to_json(&self) -> String {
        config::to_json(self, CLASS_NAME)
    }

    /// Builds the network with PyTorch's default initialisation drawn from `seed`. It multiplies in `precision`.
    pub fn init(
        &self,
        seed: u64,
        device: &Device,
        precision: Precision,
    ) -> Result<Compass, NetError> {
        let init = &mut Init::new(seed, device, precision, CLASS_NAME);
        let levels = Levels::check(self.sample_size, &self.block_out_channels)?;
        let sentence_dim = check_size("sentence_dim", self.sentence_dim)?;
        let spec = ResnetSpec {
            time_features: check_size("told_dim", self.told_dim)?,
            groups: self.norm_num_groups,
            eps: EPS,
            act: Activation::Silu,
            time: TimeScaleShift::ScaleShift,
            skip_time_act: false,
            output_scale_factor: 1.0,
        };
        let n_sectors = check_size("n_sectors", self.n_sectors)?;
        let features = levels.last * levels.side * levels.side;
        Ok(Compass {
            conv_in: Conv2d::halving(init, [3, levels.first], 1),
            sentence: Linear::new(init, sentence_dim, self.told_dim),
            blocks: levels
                .steps()
                .enumerate()
                .map(|(level, channels)| {
                    let resolution = match level {
                        0 => Resolution::Keep,
                        _ => Resolution::Halve,
                    };
                    ResnetBlock2D::new(init, channels.into(), resolution, spec)
                })
                .collect::<Result<_, _>>()?,
            norm_out: GroupNorm::new(init, levels.last, self.norm_num_groups, EPS)?,
            sectors: Linear::new(init, features, n_sectors),
            config: self.clone(),
        })
    }
}

impl Compass {
    /// Its sizes.
    pub fn config(&self) -> &CompassConfig {
        &self.config
    }

    /// Logits of the sectors, `[B, n_sectors]`, of pictures `[B, 3, H, W]` in [-1, 1] that show what sentences of
    /// length 1 say, `[B, sentence_dim]`.
    pub fn forward(&self, pictures: Tensor<4>, sentences: Tensor<2>) -> Tensor<2> {
        // So that a feature of a sentence has a variance of about 1.
        let sentences = sentences.mul_scalar((self.config.sentence_dim as f64).sqrt());
        let told = TimeFeatures::new(self.sentence.forward(sentences), Activation::Silu);
        let mut x = self.conv_in.forward(pictures);
        for block in &self.blocks {
            x = block.forward(x, &told);
        }
        let x = self.norm_out.forward_then(x, Activation::Silu);
        self.sectors.forward(x.flatten::<2>(1, 3))
    }
}
