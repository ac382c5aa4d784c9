//! BERT [Devlin19]: words to states, each of which has read all the others; MiniLM [Wang20] and bge are
//! smaller ones. Leaves out the pooler, heads, segments of a second sentence and relative positions.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use dreamsmith_kernels::{Precision, attention};
use serde::Deserialize;

use crate::config::{check_only, check_size, from_json};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::naming::Naming;
use crate::text::activation::TextActivation;
use crate::text::config::{check_heads, check_layers};
use crate::text::hidden::Hidden;

/// The names of transformers; those of the first files had the prefix of a class with heads.
pub(crate) const NAMING: Naming = Naming {
    older: &[
        ("bert.embeddings.", "embeddings."),
        ("bert.encoder.", "encoder."),
        ("bert.pooler.", "pooler."),
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ],
    spelled: &[(".self.", ".own."), ("LayerNorm", "layer_norm")],
    unused: &["pooler.", "cls.", "embeddings.position_ids"],
};

/// The keys of config.json that are read, with the defaults of transformers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct BertConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: TextActivation,
    pub(crate) max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    position_embedding_type: String,
    is_decoder: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: TextActivation::Gelu,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".to_owned(),
            is_decoder: false,
        }
    }
}

impl BertConfig {
    pub(crate) fn from_json(text: &str) -> Result<Self, NetError> {
        let config: Self = from_json(text)?;
        check_size("vocab_size", config.vocab_size)?;
        check_size("hidden_size", config.hidden_size)?;
        check_size("intermediate_size", config.intermediate_size)?;
        check_size("max_position_embeddings", config.max_position_embeddings)?;
        check_size("type_vocab_size", config.type_vocab_size)?;
        check_layers("num_hidden_layers", config.num_hidden_layers)?;
        check_heads(
            "num_attention_heads",
            config.num_attention_heads,
            config.hidden_size,
        )?;
        let absolute = Self::default().position_embedding_type;
        check_only(
            "position_embedding_type",
            &config.position_embedding_type,
            &absolute,
        )?;
        check_only("is_decoder", &config.is_decoder, &false)?;
        Ok(config)
    }
}

/// The whole encoder.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: BertEmbeddings,
    encoder: BertLayers,
}

/// Words, places and segments as vectors.
#[derive(Module, Debug)]
pub struct BertEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
}

/// The layers, one after another.
#[derive(Module, Debug)]
pub struct BertLayers {
    layer: Vec<BertLayer>,
}

/// Attention, then two maps of each token by itself. The norms come after the residuals.
#[derive(Module, Debug)]
pub struct BertLayer {
    attention: BertAttention,
    intermediate: Dense,
    output: DenseNorm,
    #[module(skip)]
    act: TextActivation,
}

/// Attention among the tokens.
#[derive(Module, Debug)]
pub struct BertAttention {
    own: BertHeads,
    output: DenseNorm,
}

/// Queries, keys and values.
#[derive(Module, Debug)]
pub struct BertHeads {
    query: Linear,
    key: Linear,
    value: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

/// A map.
#[derive(Module, Debug)]
pub struct Dense {
    dense: Linear,
}

/// A map whose result is added to what came before, and normalised.
#[derive(Module, Debug)]
pub struct DenseNorm {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl Bert {
    pub(crate) fn new(config: &BertConfig, device: &Device, precision: Precision) -> Self {
        let init = &mut Init::new(0, device, precision, "BertModel");
        let width = config.hidden_size;
        let eps = config.layer_norm_eps;
        let embeddings = BertEmbeddings {
            word_embeddings: Embedding::new(init, config.vocab_size, width),
            position_embeddings: Embedding::new(init, config.max_position_embeddings, width),
            token_type_embeddings: Embedding::new(init, config.type_vocab_size, width),
            layer_norm: LayerNorm::with_eps(init, width, eps),
        };
        let layer = |_| BertLayer {
            attention: BertAttention {
                own: BertHeads {
                    query: Linear::new(init, width, width),
                    key: Linear::new(init, width, width),
                    value: Linear::new(init, width, width),
                    heads: config.num_attention_heads,
                    precision: init.precision(),
                },
                output: DenseNorm::new(init, width, width, eps),
            },
            intermediate: Dense {
                dense: Linear::new(init, width, config.intermediate_size),
            },
            output: DenseNorm::new(init, config.intermediate_size, width, eps),
            act: config.hidden_act,
        };
        let layer = (0..config.num_hidden_layers).map(layer).collect();
        Self {
            embeddings,
            encoder: BertLayers { layer },
        }
    }

    /// Tokens `[B, L]`, each row one sentence without padding, to states `[B, L, D]`.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Hidden {
        let x = self.embeddings.forward(ids);
        Hidden::through(&self.encoder.layer, x, BertLayer::forward)
    }
}

impl BertEmbeddings {
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let places = self.position_embeddings.first(length) + self.token_type_embeddings.first(1);
        let words = self.word_embeddings.forward_tokens(ids);
        self.layer_norm.forward(words + places.unsqueeze())
    }
}

impl BertLayer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.attention.forward(x);
        let inner = self.act.forward(self.intermediate.dense.forward(x.clone()));
        self.output.forward(inner, x)
    }
}

impl BertAttention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let own = &self.own;
        let q = own.query.forward(x.clone());
        let k = own.key.forward(x.clone());
        let v = own.value.forward(x.clone());
        let read = attention(q, k, v, own.heads, None, own.precision);
        self.output.forward(read, x)
    }
}

impl DenseNorm {
    fn new(init: &mut Init, inputs: usize, outputs: usize, eps: f64) -> Self {
        Self {
            dense: Linear::new(init, inputs, outputs),
            layer_norm: LayerNorm::with_eps(init, outputs, eps),
        }
    }

    fn forward(&self, x: Tensor<3>, before: Tensor<3>) -> Tensor<3> {
        self.layer_norm.forward(self.dense.forward(x) + before)
    }
}
