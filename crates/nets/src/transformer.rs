//! Transformer layers over pixels with text as context, as in latent diffusion [Rombach22].
//! Leaves out adaptive norms, gated boxes and every feed-forward but GEGLU [Shazeer20].

use burn::module::Module;
use burn::tensor::Tensor;
use dreamsmith_kernels::geglu;

use crate::attention::{Attention, Heads, Text};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, GroupNorm, LayerNorm, Linear, Weightless};

/// What the layers of a transformer share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerSpec {
    pub(crate) heads: Heads,
    pub(crate) text_features: usize,
    pub(crate) groups: usize,
    pub(crate) linear_projection: bool,
    /// The first attention of each layer reads the text too.
    pub(crate) only_cross_attention: bool,
}

/// The map into and out of a transformer.
#[derive(Module, Debug)]
pub enum Projection {
    /// A 1×1 convolution, before the pixels become tokens.
    Conv(Conv2d),
    /// The same as a matrix, after they have become tokens.
    Linear(Linear),
}

impl Projection {
    fn new(init: &mut Init, spec: TransformerSpec, inputs: usize, outputs: usize) -> Self {
        if spec.linear_projection {
            Self::Linear(Linear::new(init, inputs, outputs))
        } else {
            Self::Conv(Conv2d::same(init, inputs, outputs, 1))
        }
    }
}

/// A transformer over the pixels of a feature map.
#[derive(Module, Debug)]
pub struct Transformer2D {
    norm: GroupNorm,
    proj_in: Projection,
    transformer_blocks: Vec<TransformerBlock>,
    proj_out: Projection,
}

impl Transformer2D {
    pub(crate) fn new(
        init: &mut Init,
        channels: usize,
        depth: usize,
        spec: TransformerSpec,
    ) -> Result<Self, NetError> {
        /// Fixed in diffusers, whatever `norm_eps` says.
        const EPS: f64 = 1e-6;
        let inner = spec.heads.n * spec.heads.features;
        Ok(Self {
            norm: GroupNorm::new(init, channels, spec.groups, EPS)?,
            proj_in: Projection::new(init, spec, channels, inner),
            transformer_blocks: (0..depth)
                .map(|_| TransformerBlock::new(init, inner, spec))
                .collect(),
            proj_out: Projection::new(init, spec, inner, channels),
        })
    }

    /// `[B, C, H, W]` to `[B, C, H, W]`, residual included.
    pub(crate) fn forward(&self, x: Tensor<4>, text: Option<&Text>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let normal = self.norm.forward(x.clone());
        let mut tokens = match &self.proj_in {
            Projection::Conv(conv) => to_tokens(conv.forward(normal)),
            Projection::Linear(linear) => linear.forward(to_tokens(normal)),
        };
        for block in &self.transformer_blocks {
            tokens = block.forward(tokens, text);
        }
        x + match &self.proj_out {
            Projection::Conv(conv) => conv.forward(to_pixels(tokens, height, width)),
            Projection::Linear(linear) => to_pixels(linear.forward(tokens), height, width),
        }
    }
}

fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h * w]).swap_dims(1, 2)
}

fn to_pixels(x: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [b, _, c] = x.dims();
    x.swap_dims(1, 2).reshape([b, c, height, width])
}

/// Self-attention, cross-attention, feed-forward.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
    #[module(skip)]
    only_cross_attention: bool,
}

impl TransformerBlock {
    fn new(init: &mut Init, features: usize, spec: TransformerSpec) -> Self {
        let TransformerSpec {
            heads,
            text_features,
            only_cross_attention,
            ..
        } = spec;
        let first_context = if only_cross_attention {
            text_features
        } else {
            features
        };
        Self {
            norm1: LayerNorm::new(init, features),
            attn1: Attention::tokens(init, features, first_context, heads),
            norm2: LayerNorm::new(init, features),
            attn2: Attention::tokens(init, features, text_features, heads),
            norm3: LayerNorm::new(init, features),
            ff: FeedForward::new(init, features),
            only_cross_attention,
        }
    }

    fn forward(&self, x: Tensor<3>, text: Option<&Text>) -> Tensor<3> {
        // The mask belongs to the second attention only, even where the first reads the text.
        let unmasked = text.filter(|_| self.only_cross_attention).map(|text| Text {
            bias: None,
            ..text.clone()
        });
        let x = self
            .attn1
            .forward(self.norm1.forward(x.clone()), unmasked.as_ref())
            + x;
        let x = self.attn2.forward(self.norm2.forward(x.clone()), text) + x;
        self.ff.forward(self.norm3.forward(x.clone())) + x
    }
}

/// Linear, GEGLU, linear. The middle of `net` is diffusers' dropout, which has no weights.
#[derive(Module, Debug)]
pub struct FeedForward {
    net: (Geglu, Weightless, Linear),
}

impl FeedForward {
    fn new(init: &mut Init, features: usize) -> Self {
        let inner = 4 * features;
        let geglu = Geglu {
            proj: Linear::new(init, features, 2 * inner),
        };
        Self {
            net: (geglu, Weightless {}, Linear::new(init, inner, features)),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (geglu, _, linear) = &self.net;
        linear.forward(geglu.forward(x))
    }
}

/// x, gate = W h + b; x · GELU(gate).
#[derive(Module, Debug)]
pub struct Geglu {
    proj: Linear,
}

impl Geglu {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        geglu(self.proj.forward(x))
    }
}
