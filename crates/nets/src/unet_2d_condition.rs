//! The text-conditional U-Net, with the configs and weights of diffusers' `UNet2DConditionModel`:
//! Stable Diffusion 1, 2 and XL [Rombach22, Podell23] and DeepFloyd IF [Saharia22].
//! Leaves out control networks, adapters, image conditions and dropout.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use dreamsmith_kernels::Precision;

use crate::activation::Activation;
use crate::attention::Text;
use crate::block::{DownBlock, MidBlock, UpBlock};
use crate::class_embedding::{ClassCondition, ClassEmbedding};
use crate::config::check_size;
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, Embedding, GroupNorm, Linear, Weightless};
use crate::text_embedding::TextTimeEmbedding;
use crate::time_embedding::{Sinusoids, TimeFeatures, TimestepEmbedding};
use crate::unet_2d_condition_config::{
    AdditionEmbedType, CLASS_NAME, ClassEmbedType, UNet2DConditionConfig,
};

/// What the network is told about each image beside its timestep.
#[derive(Clone, Debug)]
pub struct UNetCondition {
    /// The text encoder's states, `[B, L, D]`.
    pub encoder_hidden_states: Tensor<3>,
    /// True for the tokens to heed, `[B, L]`; all if absent.
    pub mask: Option<Tensor<2, Bool>>,
    /// Exactly where the config has a class embedding.
    pub class: Option<ClassCondition>,
    /// Exactly where the config says `addition_embed_type: "text_time"`.
    pub text_time: Option<TextTime>,
}

impl UNetCondition {
    /// Text and nothing else.
    pub fn text(encoder_hidden_states: Tensor<3>) -> Self {
        Self {
            encoder_hidden_states,
            mask: None,
            class: None,
            text_time: None,
        }
    }
}

/// The additional condition of Stable Diffusion XL.
#[derive(Clone, Debug)]
pub struct TextTime {
    /// The pooled text, `[B, D]`.
    pub text_embeds: Tensor<2>,
    /// Sizes and crops in pixels, `[B, 6]`.
    pub time_ids: Tensor<2>,
}

/// What else joins the time embedding.
#[expect(
    clippy::large_enum_variant,
    reason = "few of them live, and a Box is no Module"
)]
#[derive(Module, Debug)]
pub enum AddEmbedding {
    /// The text, pooled by attention.
    Text(TextTimeEmbedding),
    /// Pooled text and numbers.
    TextTime(TimestepEmbedding),
}

/// A U-Net over images or latents, conditioned on the timestep, on text and perhaps on more.
#[derive(Module, Debug)]
pub struct UNet2DConditionModel {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    encoder_hid_proj: Option<Linear>,
    class_embedding: Option<ClassEmbedding>,
    add_embedding: Option<AddEmbedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: Option<MidBlock>,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNet2DConditionConfig,
}

impl UNet2DConditionConfig {
    /// Builds the network with PyTorch's default initialisation, drawn from `seed` when each
    /// parameter is first used: the same values on every device. It multiplies in `precision`.
    pub fn init(
        &self,
        seed: u64,
        device: &Device,
        precision: Precision,
    ) -> Result<UNet2DConditionModel, NetError> {
        self.check_supported()?;
        let blocks = self.blocks()?;
        let init = &mut Init::new(seed, device, precision, CLASS_NAME);
        let first = self.block_out_channels[0];
        let inputs = check_size("in_channels", self.in_channels)?;
        let outputs = check_size("out_channels", self.out_channels)?;
        Ok(UNet2DConditionModel {
            conv_in: Conv2d::same(
                init,
                inputs,
                first,
                check_kernel("conv_in_kernel", self.conv_in_kernel)?,
            ),
            time_embedding: TimestepEmbedding::new(init, first, self.time_features()?, self.act_fn),
            encoder_hid_proj: self.encoder_hid_proj(init)?,
            class_embedding: self.class_embedding(init)?,
            add_embedding: self.add_embedding(init)?,
            down_blocks: blocks
                .down
                .iter()
                .map(|spec| DownBlock::new(init, spec))
                .collect::<Result<_, _>>()?,
            mid_block: blocks
                .mid
                .map(|spec| MidBlock::new(init, &spec))
                .transpose()?,
            up_blocks: blocks
                .up
                .iter()
                .map(|spec| UpBlock::new(init, spec))
                .collect::<Result<_, _>>()?,
            conv_norm_out: GroupNorm::new(init, first, self.norm_num_groups, self.norm_eps)?,
            conv_out: Conv2d::same(
                init,
                first,
                outputs,
                check_kernel("conv_out_kernel", self.conv_out_kernel)?,
            ),
            config: self.clone(),
        })
    }

    fn encoder_hid_proj(&self, init: &mut Init) -> Result<Option<Linear>, NetError> {
        match (self.encoder_hid_dim, self.encoder_hid_dim_type) {
            (Some(inputs), _) => {
                let inputs = check_size("encoder_hid_dim", inputs)?;
                Ok(Some(Linear::new(init, inputs, self.text_features()?)))
            }
            (None, Some(kind)) => Err(NetError::config(
                "encoder_hid_dim_type",
                kind,
                "but encoder_hid_dim is absent",
            )),
            (None, None) => Ok(None),
        }
    }

    fn class_embedding(&self, init: &mut Init) -> Result<Option<ClassEmbedding>, NetError> {
        let features = self.time_features()?;
        Ok(match (self.class_embed_type, self.num_class_embeds) {
            (None, None) => None,
            (None, Some(n)) => {
                let n = check_size("num_class_embeds", n)?;
                Some(ClassEmbedding::Table(Embedding::new(init, n, features)))
            }
            (Some(ClassEmbedType::Timestep), _) => Some(ClassEmbedding::Timestep(
                TimestepEmbedding::new(init, self.block_out_channels[0], features, self.act_fn),
            )),
            (Some(ClassEmbedType::Identity), _) => Some(ClassEmbedding::Identity(Weightless {})),
            (Some(ClassEmbedType::Projection), _) => {
                let inputs = self.projection_inputs()?;
                let layers = TimestepEmbedding::new(init, inputs, features, Activation::Silu);
                Some(ClassEmbedding::Projection(layers))
            }
            (Some(ClassEmbedType::SimpleProjection), _) => {
                let layer = Linear::new(init, self.projection_inputs()?, features);
                Some(ClassEmbedding::SimpleProjection(layer))
            }
        })
    }

    fn add_embedding(&self, init: &mut Init) -> Result<Option<AddEmbedding>, NetError> {
        let features = self.time_features()?;
        Ok(match self.addition_embed_type {
            None => None,
            Some(AdditionEmbedType::Text) => {
                let text = match self.encoder_hid_dim {
                    Some(text) => text,
                    None => self.text_features()?,
                };
                let heads = self.addition_embed_type_num_heads;
                Some(AddEmbedding::Text(TextTimeEmbedding::new(
                    init, text, features, heads,
                )?))
            }
            Some(AdditionEmbedType::TextTime) => {
                self.addition_time_features()?;
                let inputs = self.projection_inputs()?;
                let layers = TimestepEmbedding::new(init, inputs, features, Activation::Silu);
                Some(AddEmbedding::TextTime(layers))
            }
        })
    }

    fn projection_inputs(&self) -> Result<usize, NetError> {
        const KEY: &str = "projection_class_embeddings_input_dim";
        match self.projection_class_embeddings_input_dim {
            Some(inputs) => check_size(KEY, inputs),
            None => Err(NetError::config(
                KEY,
                (),
                "but another key asks for a projection: wanted a number",
            )),
        }
    }

    fn addition_time_features(&self) -> Result<usize, NetError> {
        const KEY: &str = "addition_time_embed_dim";
        match self.addition_time_embed_dim {
            Some(features) => check_size(KEY, features),
            None => Err(NetError::config(
                KEY,
                (),
                "but addition_embed_type is \"text_time\": wanted a number",
            )),
        }
    }
}

fn check_kernel(key: &'static str, kernel: usize) -> Result<usize, NetError> {
    match kernel {
        1..=31 if kernel % 2 == 1 => Ok(kernel),
        _ => Err(NetError::config(
            key,
            kernel,
            "wanted an odd number up to 31",
        )),
    }
}

impl UNet2DConditionModel {
    /// What the network was built from.
    pub fn config(&self) -> &UNet2DConditionConfig {
        &self.config
    }

    /// The same network with `more` channels in, which it does not heed yet: their weights are 0. To be called before it
    /// is used.
    pub fn widened(self, more: usize) -> Self {
        let config = UNet2DConditionConfig {
            in_channels: self.config.in_channels + more,
            ..self.config
        };
        Self {
            conv_in: self.conv_in.widened(more),
            config,
            ..self
        }
    }

    /// One evaluation: `sample` `[B, C, H, W]`, `timestep` `[B]`. Gives `[B, C', H, W]`.
    ///
    /// # Panics
    ///
    /// When `sample` has not C = `in_channels`, or when `condition` lacks what the config asks for, or has what it does not know.
    pub fn forward(
        &self,
        sample: Tensor<4>,
        timestep: Tensor<1>,
        condition: &UNetCondition,
    ) -> Tensor<4> {
        let wanted = self.config.in_channels;
        assert_eq!(
            sample.dims()[1],
            wanted,
            "UNet2DConditionModel: channels of the sample, in_channels"
        );
        let time = self.time_features(timestep, condition);
        let text = Some(&self.text(condition));
        let x = if self.config.center_input_sample {
            sample * 2.0 - 1.0
        } else {
            sample
        };
        let mut x = self.conv_in.forward(x);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &time, text, &mut skips);
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(x, &time, text);
        }
        for block in &self.up_blocks {
            x = block.forward(x, &time, text, &mut skips);
        }
        self.conv_out
            .forward(self.conv_norm_out.forward_then(x, self.config.act_fn))
    }

    fn text(&self, condition: &UNetCondition) -> Text {
        /// Far below any score, and finite, as in diffusers.
        const IGNORED: f64 = -10_000.0;
        let states = condition.encoder_hidden_states.clone();
        let states = match &self.encoder_hid_proj {
            Some(layer) => layer.forward(states),
            None => states,
        };
        let mask = condition.mask.clone();
        let bias = mask.map(|mask| mask.bool_not().float() * IGNORED);
        Text { states, bias }
    }

    fn time_features(&self, timestep: Tensor<1>, condition: &UNetCondition) -> TimeFeatures {
        let sinusoids = self.sinusoids(self.config.block_out_channels[0]);
        let time = self.time_embedding.forward(sinusoids.forward(timestep));
        let time = match (&self.class_embedding, condition.class.clone()) {
            (None, None) => time,
            (Some(embedding), Some(class)) => {
                let class = embedding.forward(class, &sinusoids);
                if self.config.class_embeddings_concat {
                    Tensor::cat(vec![time, class], 1)
                } else {
                    time + class
                }
            }
            (Some(_), None) => {
                panic!("UNet2DConditionModel: the config has classes, wanted a class condition")
            }
            (None, Some(_)) => {
                panic!("UNet2DConditionModel: the config has no classes, found a class condition")
            }
        };
        let time = match (&self.add_embedding, condition.text_time.clone()) {
            (None, None) => time,
            (Some(AddEmbedding::Text(pooling)), None) => {
                time + pooling.forward(condition.encoder_hidden_states.clone())
            }
            (Some(AddEmbedding::TextTime(layers)), Some(added)) => {
                time + layers.forward(self.text_time(added))
            }
            (Some(AddEmbedding::TextTime(_)), None) => {
                panic!("UNet2DConditionModel: the config wants text_time")
            }
            (_, Some(_)) => panic!("UNet2DConditionModel: the config does not know text_time"),
        };
        let time = match self.config.time_embedding_act_fn {
            Some(act) => act.forward(time),
            None => time,
        };
        TimeFeatures::new(time, self.config.act_fn)
    }

    /// The pooled text, and beside it the sinusoids of each number: `[B, D + 6 D']`.
    fn text_time(&self, added: TextTime) -> Tensor<2> {
        let [batch, numbers] = added.time_ids.dims();
        let sinusoids = self.sinusoids(self.config.addition_time_embed_dim.unwrap_or(0));
        let times = sinusoids.forward(added.time_ids.reshape([batch * numbers]));
        let times = times.reshape([batch as i64, -1]);
        Tensor::cat(vec![added.text_embeds, times], 1)
    }

    fn sinusoids(&self, features: usize) -> Sinusoids {
        Sinusoids {
            features,
            flip_sin_to_cos: self.config.flip_sin_to_cos,
            freq_shift: self.config.freq_shift,
        }
    }
}
