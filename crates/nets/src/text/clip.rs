//! The text side of CLIP [Radford21], of OpenAI and of OpenCLIP: each token reads those before it.
//! Leaves out the side for pictures.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use dreamsmith_kernels::Precision;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{check_size, from_json};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::naming::Naming;
use crate::text::activation::TextActivation;
use crate::text::attention::attention_with_bias;
use crate::text::config::{check_heads, check_layers};
use crate::text::hidden::Hidden;

/// The names of transformers. From version 5 on, a file without a projection leaves out the prefix.
pub(crate) const NAMING: Naming = Naming {
    older: &[
        ("embeddings.", "text_model.embeddings."),
        ("encoder.", "text_model.encoder."),
        ("final_layer_norm.", "text_model.final_layer_norm."),
        ("text_model.text_model.", "text_model."),
    ],
    spelled: &[],
    unused: &[
        "text_model.embeddings.position_ids",
        "vision_model.",
        "visual_projection.",
        "logit_scale",
    ],
};

/// The keys of config.json that are read, with the defaults of transformers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ClipConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    intermediate_size: usize,
    projection_dim: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    pub(crate) max_position_embeddings: usize,
    hidden_act: TextActivation,
    layer_norm_eps: f64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: TextActivation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl ClipConfig {
    /// Reads the config of the text side.
    pub(crate) fn from_json(text: &str) -> Result<Self, NetError> {
        let config: Self = from_json(text)?;
        check_size("vocab_size", config.vocab_size)?;
        check_size("hidden_size", config.hidden_size)?;
        check_size("intermediate_size", config.intermediate_size)?;
        check_size("projection_dim", config.projection_dim)?;
        check_size("max_position_embeddings", config.max_position_embeddings)?;
        check_layers("num_hidden_layers", config.num_hidden_layers)?;
        check_heads(
            "num_attention_heads",
            config.num_attention_heads,
            config.hidden_size,
        )?;
        Ok(config)
    }

    /// Reads the text side's part of a config of both sides.
    pub(crate) fn of_both_sides(text: &str) -> Result<Self, NetError> {
        let whole: Value =
            serde_json::from_str(text).map_err(|e| NetError::NotJson(e.to_string()))?;
        let mut part = whole.get("text_config").cloned().unwrap_or_default();
        if let (Some(part), Some(projection)) = (part.as_object_mut(), whole.get("projection_dim"))
        {
            part.insert("projection_dim".to_owned(), projection.clone());
        }
        Self::from_json(&part.to_string())
    }
}

/// The text side, with the projection into the space that it shares with pictures if its file has one.
#[derive(Module, Debug)]
pub struct Clip {
    text_model: ClipText,
    text_projection: Option<Linear>,
}

/// The network without the projection.
#[derive(Module, Debug)]
pub struct ClipText {
    embeddings: ClipEmbeddings,
    encoder: ClipLayers,
    final_layer_norm: LayerNorm,
}

/// Words and places as vectors.
#[derive(Module, Debug)]
pub struct ClipEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

/// The layers, one after another.
#[derive(Module, Debug)]
pub struct ClipLayers {
    layers: Vec<ClipLayer>,
}

/// Attention, then a map of each token by itself. The norms come before them.
#[derive(Module, Debug)]
pub struct ClipLayer {
    self_attn: ClipAttention,
    layer_norm1: LayerNorm,
    mlp: ClipMlp,
    layer_norm2: LayerNorm,
}

/// Attention of each token to itself and those before it.
#[derive(Module, Debug)]
pub struct ClipAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

/// A map of each token by itself.
#[derive(Module, Debug)]
pub struct ClipMlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    act: TextActivation,
}

/// Whether a weight file has the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projection {
    Absent,
    Present,
}

impl Clip {
    pub(crate) const PROJECTION: &str = "text_projection.weight";

    pub(crate) fn new(
        config: &ClipConfig,
        projection: Projection,
        device: &Device,
        precision: Precision,
    ) -> Self {
        let init = &mut Init::new(0, device, precision, "CLIPTextModel");
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let eps = config.layer_norm_eps;
        let embeddings = ClipEmbeddings {
            token_embedding: Embedding::new(init, config.vocab_size, width),
            position_embedding: Embedding::new(init, config.max_position_embeddings, width),
        };
        let layer = |_| ClipLayer {
            self_attn: ClipAttention {
                q_proj: Linear::new(init, width, width),
                k_proj: Linear::new(init, width, width),
                v_proj: Linear::new(init, width, width),
                out_proj: Linear::new(init, width, width),
                heads: config.num_attention_heads,
            },
            layer_norm1: LayerNorm::with_eps(init, width, eps),
            mlp: ClipMlp {
                fc1: Linear::new(init, width, inner),
                fc2: Linear::new(init, inner, width),
                act: config.hidden_act,
            },
            layer_norm2: LayerNorm::with_eps(init, width, eps),
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        Self {
            text_model: ClipText {
                embeddings,
                encoder: ClipLayers { layers },
                final_layer_norm: LayerNorm::with_eps(init, width, eps),
            },
            text_projection: match projection {
                Projection::Absent => None,
                Projection::Present => {
                    Some(Linear::without_bias(init, width, config.projection_dim))
                }
            },
        }
    }

    /// Tokens `[B, L]` to states `[B, L, D]`.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Hidden {
        let text = &self.text_model;
        let [_, length] = ids.dims();
        let bias = future(length, &ids.device());
        let places = text.embeddings.position_embedding.first(length);
        let x = text.embeddings.token_embedding.forward_tokens(ids) + places.unsqueeze();
        let forward = |layer: &ClipLayer, x| layer.forward(x, bias.clone());
        let mut hidden = Hidden::through(&text.encoder.layers, x, forward);
        hidden.last = text.final_layer_norm.forward(hidden.last);
        hidden
    }

    /// What reads the weights in transformers.
    pub(crate) fn transformers_class(&self) -> &'static str {
        match self.text_projection {
            Some(_) => "CLIPTextModelWithProjection",
            None => "CLIPTextModel",
        }
    }

    /// The last states `[B, D]` of the tokens that end the texts, projected if there is a projection.
    pub(crate) fn project(&self, ends: Tensor<2>) -> Tensor<2> {
        match &self.text_projection {
            Some(projection) => projection.forward(ends),
            None => ends,
        }
    }
}

/// What keeps each of `length` tokens from reading those after it, `[1, L, L]`.
fn future(length: usize, device: &Device) -> Tensor<3> {
    let pairs = (0..length).flat_map(|q| (0..length).map(move |k| (q, k)));
    let bias: Vec<f32> = pairs
        .map(|(q, k)| if k > q { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Tensor::from_data(TensorData::new(bias, [1, length, length]), device)
}

impl ClipLayer {
    fn forward(&self, x: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
        let read = self.layer_norm1.forward(x.clone());
        let x = x + self.self_attn.forward(read, bias);
        let own = self.layer_norm2.forward(x.clone());
        x + self.mlp.forward(own)
    }
}

impl ClipAttention {
    fn forward(&self, x: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
        let [_, _, width] = x.dims();
        let scale = ((width / self.heads) as f64).sqrt().recip();
        let projected =
            [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.forward(x.clone()));
        self.out_proj
            .forward(attention_with_bias(projected, self.heads, scale, bias))
    }
}

impl ClipMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.act.forward(self.fc1.forward(x)))
    }
}
