//! Multi-head attention [Vaswani17]: over pixels, over text, or over pixels and text at once.
//! Leaves out masks among pixels and normalised queries and keys.

use burn::module::Module;
use burn::tensor::Tensor;
use dreamsmith_kernels::{Precision, add_scaled, attention};

use crate::error::NetError;
use crate::init::Init;
use crate::layers::{GroupNorm, LayerNorm, Linear};

/// What a network attends to beside its own pixels.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// `[B, L, D]`.
    pub(crate) states: Tensor<3>,
    /// `[B, L]`, added to the scores: 0 for a token to heed, -10000 for one to ignore.
    pub(crate) bias: Option<Tensor<2>>,
}

/// How the text is normalised before its keys and values are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossNorm {
    /// Each token over its features.
    LayerNorm,
    /// Each of 32 groups of features over all tokens.
    GroupNorm,
}

/// The norm chosen by a [`CrossNorm`].
#[derive(Module, Debug)]
pub enum NormCross {
    /// See [`CrossNorm::LayerNorm`].
    Layer(LayerNorm),
    /// See [`CrossNorm::GroupNorm`].
    Group(GroupNorm),
}

/// Sizes of an attention layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) n: usize,
    pub(crate) features: usize,
}

impl Heads {
    /// Heads of `features` channels each, as many as fit.
    pub(crate) fn of_size(features: usize, channels: usize) -> Result<Self, NetError> {
        let bad = || {
            NetError::config(
                "attention_head_dim",
                features,
                format!("wanted 1 to {channels}, the channels of a layer"),
            )
        };
        match channels.checked_div(features) {
            Some(n) if n > 0 => Ok(Self { n, features }),
            _ => Err(bad()),
        }
    }

    /// `n` heads that share the channels.
    pub(crate) fn of_count(n: usize, channels: usize) -> Result<Self, NetError> {
        let bad = || {
            NetError::config(
                "attention_head_dim",
                n,
                format!("wanted 1 to {channels}, the channels of a layer: it counts heads here"),
            )
        };
        match channels.checked_div(n) {
            Some(features) if features > 0 => Ok(Self { n, features }),
            _ => Err(bad()),
        }
    }

    fn inner(&self) -> usize {
        self.n * self.features
    }
}

/// Multi-head attention with the projections that its kind needs.
#[derive(Module, Debug)]
pub struct Attention {
    group_norm: Option<GroupNorm>,
    norm_cross: Option<NormCross>,
    to_q: Linear,
    to_k: Option<Linear>,
    to_v: Option<Linear>,
    add_k_proj: Option<Linear>,
    add_v_proj: Option<Linear>,
    to_out: [Linear; 1],
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    output_scale: f64,
}

impl Attention {
    /// Attention without biases from tokens of `features` to keys of `context` features.
    pub(crate) fn tokens(init: &mut Init, features: usize, context: usize, heads: Heads) -> Self {
        let inner = heads.inner();
        Self {
            group_norm: None,
            norm_cross: None,
            to_q: Linear::without_bias(init, features, inner),
            to_k: Some(Linear::without_bias(init, context, inner)),
            to_v: Some(Linear::without_bias(init, context, inner)),
            add_k_proj: None,
            add_v_proj: None,
            to_out: [Linear::new(init, inner, features)],
            heads: heads.n,
            precision: init.precision(),
            output_scale: 1.0,
        }
    }

    /// Self-attention among pixels, divided with its residual by `scale_factor`.
    pub(crate) fn pixels(
        init: &mut Init,
        channels: usize,
        heads: Heads,
        norm: Option<GroupNorm>,
        scale_factor: f64,
    ) -> Self {
        let inner = heads.inner();
        Self {
            group_norm: norm,
            norm_cross: None,
            to_q: Linear::new(init, channels, inner),
            to_k: Some(Linear::new(init, channels, inner)),
            to_v: Some(Linear::new(init, channels, inner)),
            add_k_proj: None,
            add_v_proj: None,
            to_out: [Linear::new(init, inner, channels)],
            heads: heads.n,
            precision: init.precision(),
            output_scale: 1.0 / scale_factor,
        }
    }

    /// Attention from pixels to text, and unless `among_pixels` is [`AmongPixels::No`] to pixels.
    pub(crate) fn added_text(
        init: &mut Init,
        channels: usize,
        text: AddedText,
        heads: Heads,
        norm: GroupNorm,
    ) -> Result<Self, NetError> {
        const CROSS_GROUPS: usize = 32;
        const CROSS_EPS: f64 = 1e-5;
        let inner = heads.inner();
        let norm_cross = match text.norm {
            None => None,
            Some(CrossNorm::LayerNorm) => Some(NormCross::Layer(LayerNorm::new(init, channels))),
            Some(CrossNorm::GroupNorm) => Some(NormCross::Group(GroupNorm::new(
                init,
                text.features,
                CROSS_GROUPS,
                CROSS_EPS,
            )?)),
        };
        let mut pixel_projection = || match text.among_pixels {
            AmongPixels::Yes => Some(Linear::new(init, channels, inner)),
            AmongPixels::No => None,
        };
        let (to_k, to_v) = (pixel_projection(), pixel_projection());
        Ok(Self {
            group_norm: Some(norm),
            norm_cross,
            to_q: Linear::new(init, channels, inner),
            to_k,
            to_v,
            add_k_proj: Some(Linear::new(init, text.features, inner)),
            add_v_proj: Some(Linear::new(init, text.features, inner)),
            to_out: [Linear::new(init, inner, channels)],
            heads: heads.n,
            precision: init.precision(),
            output_scale: 1.0,
        })
    }

    /// Tokens `[B, N, C]` to `[B, N, C]`, attending to `text` or else to themselves. No residual.
    pub(crate) fn forward(&self, x: Tensor<3>, text: Option<&Text>) -> Tensor<3> {
        match (&self.add_k_proj, &self.add_v_proj, text) {
            (Some(add_k), Some(add_v), Some(text)) => self.mixed(x, text, add_k, add_v),
            _ => {
                let context = text.map_or_else(|| x.clone(), |text| text.states.clone());
                let project = |linear: &Option<Linear>| match linear {
                    Some(linear) => linear.forward(context.clone()),
                    None => context.clone(),
                };
                let (k, v) = (project(&self.to_k), project(&self.to_v));
                self.attend(x, k, v, text.and_then(|text| text.bias.clone()))
            }
        }
    }

    /// Pixels `[B, C, H, W]` to `[B, C, H, W]`, normalised before and with the residual added.
    pub(crate) fn forward_pixels(&self, x: Tensor<4>, text: Option<&Text>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let normal = match &self.group_norm {
            Some(norm) => norm.forward(x.clone()),
            None => x.clone(),
        };
        let tokens = normal
            .reshape([batch, channels, height * width])
            .swap_dims(1, 2);
        let out = self.forward(tokens, text).swap_dims(1, 2);
        let out = out.reshape([batch, channels, height, width]);
        add_scaled(x, out, self.output_scale as f32)
    }

    fn mixed(&self, x: Tensor<3>, text: &Text, add_k: &Linear, add_v: &Linear) -> Tensor<3> {
        let states = match &self.norm_cross {
            None => text.states.clone(),
            Some(NormCross::Layer(norm)) => norm.forward(text.states.clone()),
            Some(NormCross::Group(norm)) => norm
                .forward(text.states.clone().swap_dims(1, 2))
                .swap_dims(1, 2),
        };
        let join = |added: &Linear, own: &Option<Linear>| {
            let added = added.forward(states.clone());
            match own {
                Some(own) => Tensor::cat(vec![added, own.forward(x.clone())], 1),
                None => added,
            }
        };
        let (k, v) = (join(add_k, &self.to_k), join(add_v, &self.to_v));
        let extra = k.dims()[1] - states.dims()[1];
        let bias = text.bias.clone();
        let bias = bias.map(|bias| bias.pad((0, extra, 0, 0), 0.0));
        self.attend(x, k, v, bias)
    }

    /// softmax(q k^T / sqrt(d) + bias) v for each head, projected.
    fn attend(
        &self,
        x: Tensor<3>,
        k: Tensor<3>,
        v: Tensor<3>,
        bias: Option<Tensor<2>>,
    ) -> Tensor<3> {
        let q = self.to_q.forward(x);
        let [to_out] = &self.to_out;
        to_out.forward(attention(q, k, v, self.heads, bias, self.precision))
    }
}

/// Whether pixels attend to pixels too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AmongPixels {
    Yes,
    No,
}

/// The text side of [`Attention::added_text`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddedText {
    pub(crate) features: usize,
    pub(crate) norm: Option<CrossNorm>,
    pub(crate) among_pixels: AmongPixels,
}
