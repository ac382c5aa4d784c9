//! Attention with a bias for each pair of tokens, which holds the whole matrix of scores: texts are short.
//! Leaves out padding, which no text here has.

use burn::tensor::Tensor;
use dreamsmith_kernels::softmax;

/// softmax(scale q k^T + bias) v for each of `heads` heads, which lie side by side in the features: `q`,
/// `k` and `v` are `[B, L, heads*d]`, `bias` is `[H, L, L]` with H = `heads` or 1.
pub(crate) fn attention_with_bias(
    [q, k, v]: [Tensor<3>; 3],
    heads: usize,
    scale: f64,
    bias: Tensor<3>,
) -> Tensor<3> {
    let [batch, length, features] = q.dims();
    let split = |x: Tensor<3>| {
        x.reshape([batch, length, heads, features / heads])
            .swap_dims(1, 2)
    };
    let scores = split(q * scale).matmul(split(k).swap_dims(2, 3));
    let weights = softmax(scores + bias.unsqueeze());
    let read = weights.matmul(split(v)).swap_dims(1, 2);
    read.reshape([batch, length, features])
}
