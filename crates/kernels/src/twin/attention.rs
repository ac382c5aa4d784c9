//! Attention with the whole matrix of scores.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

/// See [`crate::attention`].
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    bias: Option<Tensor<2>>,
) -> Tensor<3> {
    let [batch, queries, features] = q.dims();
    let [_, keys, _] = k.dims();
    let d = features / heads;
    let split = |x: Tensor<3>, length| x.reshape([batch, length, heads, d]).swap_dims(1, 2);
    let (q, k, v) = (split(q, queries), split(k, keys), split(v, keys));
    let mut scores = q.matmul(k.swap_dims(2, 3)) / (d as f64).sqrt();
    if let Some(bias) = bias {
        scores = scores + bias.reshape([batch, 1, 1, keys]);
    }
    let out = softmax(scores, 3).matmul(v);
    out.swap_dims(1, 2).reshape([batch, queries, features])
}
