//! The encoder of T5 [Raffel20], of version 1.0 and of 1.1 and Flan with gated activations [Shazeer20].
//! Leaves out the decoder and dropout.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use dreamsmith_kernels::Precision;
use serde::Deserialize;

use crate::config::{check_size, from_json};
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Embedding, Linear, RmsNorm};
use crate::naming::Naming;
use crate::text::activation::TextActivation;
use crate::text::attention::attention_with_bias;
use crate::text::config::check_layers;
use crate::text::hidden::Hidden;

/// The names of transformers. Files of the whole T5 have a decoder and a head too.
pub(crate) const NAMING: Naming = Naming {
    older: &[("encoder.embed_tokens.", "shared.")],
    spelled: &[
        (".layer.0.SelfAttention.", ".attention."),
        (".layer.0.layer_norm.", ".attention_norm."),
        (".layer.1.DenseReluDense.", ".feed."),
        (".layer.1.layer_norm.", ".feed_norm."),
    ],
    unused: &["decoder.", "lm_head."],
};

/// The keys of config.json that are read, with the defaults of transformers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct T5Config {
    pub(crate) vocab_size: usize,
    pub(crate) d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f64,
    feed_forward_proj: FeedForward,
}

/// How a token is mapped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FeedForward {
    Relu,
    Gelu,
    Silu,
    GatedRelu,
    GatedGelu,
    GatedSilu,
}

impl FeedForward {
    /// The activation.
    fn act(self) -> TextActivation {
        match self {
            Self::Relu | Self::GatedRelu => TextActivation::Relu,
            Self::Gelu => TextActivation::Gelu,
            Self::Silu | Self::GatedSilu => TextActivation::Silu,
            // Not the exact one, which its name means in every other config.
            Self::GatedGelu => TextActivation::GeluNew,
        }
    }

    fn gated(self) -> bool {
        match self {
            Self::Relu | Self::Gelu | Self::Silu => false,
            Self::GatedRelu | Self::GatedGelu | Self::GatedSilu => true,
        }
    }
}

impl Default for T5Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: FeedForward::Relu,
        }
    }
}

impl T5Config {
    pub(crate) fn from_json(text: &str) -> Result<Self, NetError> {
        let config: Self = from_json(text)?;
        check_size("vocab_size", config.vocab_size)?;
        check_size("d_model", config.d_model)?;
        check_size("d_ff", config.d_ff)?;
        check_size("d_kv", config.d_kv)?;
        check_size("num_heads", config.num_heads)?;
        check_size("d_kv", config.d_kv * config.num_heads)?;
        check_layers("num_layers", config.num_layers)?;
        let buckets = check_size(
            "relative_attention_num_buckets",
            config.relative_attention_num_buckets,
        )?;
        let distance = config.relative_attention_max_distance;
        check_size("relative_attention_max_distance", distance)?;
        // Half for each direction, half of these for one distance each, the rest for longer ones.
        if buckets < 4 || distance <= buckets / 4 {
            let problem = format!("wanted 4 or more, and less than 4 x the distance of {distance}");
            let key = "relative_attention_num_buckets";
            return Err(NetError::config(key, buckets, problem));
        }
        Ok(config)
    }
}

/// The whole encoder.
#[derive(Module, Debug)]
pub struct T5 {
    shared: Embedding,
    encoder: T5Stack,
}

/// The layers, one after another.
#[derive(Module, Debug)]
pub struct T5Stack {
    block: Vec<T5Block>,
    final_layer_norm: RmsNorm,
    #[module(skip)]
    buckets: Buckets,
}

/// Attention, then a map of each token by itself. The norms come before them.
#[derive(Module, Debug)]
pub struct T5Block {
    attention: T5Attention,
    attention_norm: RmsNorm,
    feed: T5Feed,
    feed_norm: RmsNorm,
}

/// Attention among the tokens. Only the first layer has a bias, which all of them use.
#[derive(Module, Debug)]
pub struct T5Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    relative_attention_bias: Option<Embedding>,
    #[module(skip)]
    heads: usize,
}

/// A map of each token by itself: `wi`, or `wi_0` and `wi_1` if it is gated.
#[derive(Module, Debug)]
pub struct T5Feed {
    wi: Option<Linear>,
    wi_0: Option<Linear>,
    wi_1: Option<Linear>,
    wo: Linear,
    #[module(skip)]
    act: TextActivation,
}

impl T5 {
    pub(crate) fn new(config: &T5Config, device: &Device, precision: Precision) -> Self {
        let init = &mut Init::new(0, device, precision, "T5EncoderModel");
        let (width, eps) = (config.d_model, config.layer_norm_epsilon);
        let shared = Embedding::new(init, config.vocab_size, width);
        let block = |i| T5Block {
            attention: T5Attention::new(init, config, i == 0),
            attention_norm: RmsNorm::new(init, width, eps),
            feed: T5Feed::new(init, config),
            feed_norm: RmsNorm::new(init, width, eps),
        };
        let block = (0..config.num_layers).map(block).collect();
        Self {
            shared,
            encoder: T5Stack {
                block,
                final_layer_norm: RmsNorm::new(init, width, eps),
                buckets: Buckets {
                    n: config.relative_attention_num_buckets,
                    max_distance: config.relative_attention_max_distance,
                },
            },
        }
    }

    /// Tokens `[B, L]`, each row one text without padding, to states `[B, L, D]`.
    pub(crate) fn forward(&self, ids: Tensor<2, Int>) -> Hidden {
        let Self { shared, encoder } = self;
        let [_, length] = ids.dims();
        let bias = encoder.bias(length, &ids.device());
        let forward = |block: &T5Block, x| block.forward(x, bias.clone());
        let mut hidden = Hidden::through(&encoder.block, shared.forward_tokens(ids), forward);
        hidden.last = encoder.final_layer_norm.forward(hidden.last);
        hidden
    }
}

impl T5Stack {
    /// What is added to the score of each pair of `length` tokens, `[H, L, L]`.
    fn bias(&self, length: usize, device: &Device) -> Tensor<3> {
        let first = self.block.first().map(|block| &block.attention);
        let Some((first, table)) =
            first.and_then(|first| Some((first, first.relative_attention_bias.as_ref()?)))
        else {
            return Tensor::zeros([1, length, length], device);
        };
        let pairs = (0..length).flat_map(|q| (0..length).map(move |k| (q, k)));
        let buckets: Vec<i32> = pairs.map(|(q, k)| self.buckets.of(q, k)).collect();
        let buckets = TensorData::new(buckets, [length * length]);
        let bias = table.forward(Tensor::from_data(buckets, device));
        bias.swap_dims(0, 1).reshape([first.heads, length, length])
    }
}

impl T5Block {
    fn forward(&self, x: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
        let read = self.attention_norm.forward(x.clone());
        let x = x + self.attention.forward(read, bias);
        let own = self.feed_norm.forward(x.clone());
        x + self.feed.forward(own)
    }
}

impl T5Attention {
    fn new(init: &mut Init, config: &T5Config, first: bool) -> Self {
        let (width, inner) = (config.d_model, config.d_kv * config.num_heads);
        let table = config.relative_attention_num_buckets;
        Self {
            q: Linear::without_bias(init, width, inner),
            k: Linear::without_bias(init, width, inner),
            v: Linear::without_bias(init, width, inner),
            o: Linear::without_bias(init, inner, width),
            relative_attention_bias: first.then(|| Embedding::new(init, table, config.num_heads)),
            heads: config.num_heads,
        }
    }

    /// The scores are not divided by sqrt(d), which the weights have taken in.
    fn forward(&self, x: Tensor<3>, bias: Tensor<3>) -> Tensor<3> {
        let projected = [&self.q, &self.k, &self.v].map(|layer| layer.forward(x.clone()));
        self.o
            .forward(attention_with_bias(projected, self.heads, 1.0, bias))
    }
}

impl T5Feed {
    fn new(init: &mut Init, config: &T5Config) -> Self {
        let (width, inner) = (config.d_model, config.d_ff);
        let gated = config.feed_forward_proj.gated();
        let mut map = |wanted: bool| wanted.then(|| Linear::without_bias(init, width, inner));
        Self {
            wi: map(!gated),
            wi_0: map(gated),
            wi_1: map(gated),
            wo: Linear::without_bias(init, inner, width),
            act: config.feed_forward_proj.act(),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = match (&self.wi, &self.wi_0, &self.wi_1) {
            (_, Some(gate), Some(map)) => {
                self.act.forward(gate.forward(x.clone())) * map.forward(x)
            }
            (Some(map), _, _) => self.act.forward(map.forward(x)),
            _ => x,
        };
        self.wo.forward(inner)
    }
}

/// From the distance between two tokens to a row of the table of biases.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    n: usize,
    max_distance: usize,
}

impl Buckets {
    /// One half of the rows is for keys after the query. Of each half, one half again is for the
    /// distances 0, 1, 2 .., the other for longer ones up to `max_distance`, by their logarithm.
    fn of(self, query: usize, key: usize) -> i32 {
        let half = self.n / 2;
        let exact = half / 2;
        let distance = query.abs_diff(key);
        let row = if distance < exact {
            distance
        } else {
            // In f32, as the reference, so that no distance falls into another row.
            let over = (distance as f32 / exact as f32).ln();
            let full = (self.max_distance as f64 / exact as f64).ln() as f32;
            let beyond = over / full * (half - exact) as f32;
            (exact + beyond as usize).min(half - 1)
        };
        (row + if key > query { half } else { 0 }) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_fall_into_the_rows_of_transformers() {
        /// Sizes, and the distance with which each row begins, by `T5Attention._relative_position_bucket`.
        const CASES: [(usize, usize, &[usize]); 2] = [
            (
                32,
                128,
                &[0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91],
            ),
            (12, 10, &[0, 1, 2, 3, 5, 7]),
        ];
        for (n, max_distance, begins) in CASES {
            let buckets = Buckets { n, max_distance };
            for distance in 0..3 * max_distance {
                let row = begins.partition_point(|begin| *begin <= distance) - 1;
                assert_eq!(buckets.of(distance, 0), row as i32, "{n}: -{distance}");
                let after = if distance == 0 { 0 } else { row + n / 2 };
                assert_eq!(buckets.of(0, distance), after as i32, "{n}: {distance}");
            }
        }
    }
}
