//! A whole text as one vector that joins the time embedding: pooling by attention, as DeepFloyd IF
//! does [Saharia22].

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use dreamsmith_kernels::{Precision, attention};

use crate::error::NetError;
use crate::init::{Fill, Init};
use crate::layers::{LayerNorm, Linear};

/// Norm, pooling, projection, norm.
#[derive(Module, Debug)]
pub struct TextTimeEmbedding {
    norm1: LayerNorm,
    pool: AttentionPooling,
    proj: Linear,
    norm2: LayerNorm,
}

impl TextTimeEmbedding {
    pub(crate) fn new(
        init: &mut Init,
        text: usize,
        outputs: usize,
        heads: usize,
    ) -> Result<Self, NetError> {
        if heads == 0 || !text.is_multiple_of(heads) {
            let problem = format!("which does not divide the {text} features of the text");
            return Err(NetError::config(
                "addition_embed_type_num_heads",
                heads,
                problem,
            ));
        }
        Ok(Self {
            norm1: LayerNorm::new(init, text),
            pool: AttentionPooling::new(init, text, heads),
            proj: Linear::new(init, text, outputs),
            norm2: LayerNorm::new(init, outputs),
        })
    }

    /// Text states `[B, L, D]` to `[B, D']`.
    pub(crate) fn forward(&self, states: Tensor<3>) -> Tensor<2> {
        let pooled = self.pool.forward(self.norm1.forward(states));
        self.norm2.forward(self.proj.forward(pooled))
    }
}

/// The mean of the tokens attends to itself and to all of them.
#[derive(Module, Debug)]
pub struct AttentionPooling {
    positional_embedding: Param<Tensor<2>>,
    k_proj: Linear,
    q_proj: Linear,
    v_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    precision: Precision,
}

impl AttentionPooling {
    fn new(init: &mut Init, features: usize, heads: usize) -> Self {
        let deviation = 1.0 / (features as f32).sqrt();
        Self {
            positional_embedding: init.param([1, features], Fill::Normal(deviation)),
            k_proj: Linear::new(init, features, features),
            q_proj: Linear::new(init, features, features),
            v_proj: Linear::new(init, features, features),
            heads,
            precision: init.precision(),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, _, features] = x.dims();
        let mean = x.clone().mean_dim(1) + self.positional_embedding.val().unsqueeze::<3>();
        let x = Tensor::cat(vec![mean.clone(), x], 1);
        let q = self.q_proj.forward(mean);
        let k = self.k_proj.forward(x.clone());
        let v = self.v_proj.forward(x);
        attention(q, k, v, self.heads, None, self.precision).reshape([batch, features])
    }
}
