//! Attention without the matrix of scores in memory: softmax in one pass over blocks of keys
//! [Milakov18], recomputed for the derivative [Dao22]. Leaves out dropout and masks by query.

mod backward;
mod forward;
mod head;

use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::attention::backward::{Given, backward};
use crate::attention::forward::forward;
use crate::attention::head::{Sizes, Tokens};
use crate::isa::{Isa, Precision};
use crate::operation::{self, Operation};
use crate::twin;

/// softmax(q k^T / sqrt(d) + bias) v for each of `heads` heads, which lie side by side in the
/// features: `q` is `[B, N, heads*d]`, `k` and `v` are `[B, L, heads*d]`, `bias` is `[B, L]`, the
/// result `[B, N, heads*d]`. The bias is not differentiated.
///
/// # Panics
/// If the shapes do not fit together.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    bias: Option<Tensor<2>>,
    precision: Precision,
) -> Tensor<3> {
    let [batch, queries, features] = q.dims();
    let [_, keys, _] = k.dims();
    assert_eq!(k.dims(), [batch, keys, features], "keys fit the queries");
    assert_eq!(v.dims(), k.dims(), "one value for each key");
    assert!(
        heads > 0 && features % heads == 0,
        "{features} features are {heads} heads"
    );
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [batch, keys], "one bias for each key");
    }
    if !(operation::runs_on(&q) && operation::runs_on(&k) && operation::runs_on(&v)) {
        return twin::attention(q, k, v, heads, bias);
    }
    let sizes = Sizes {
        batch,
        heads,
        queries,
        keys,
        d: features / heads,
    };
    let bias = bias.map(|bias| bias.into_data().iter::<f32>().collect());
    operation::ternary(
        Attention {
            isa: Isa::of(precision),
            sizes,
            bias,
        },
        q,
        k,
        v,
    )
}

/// The operation that burn records.
#[derive(Clone, Debug)]
struct Attention {
    isa: Isa,
    sizes: Sizes,
    bias: Option<Arc<[f32]>>,
}

/// What the derivative needs: the operands, the result, and for each head and query the logarithm
/// of the sum of exponentials.
#[derive(Clone, Debug)]
struct Saved {
    operands: [Tokens; 3],
    out: FlexTensor,
    log_sums: Arc<[f32]>,
}

impl Operation<3> for Attention {
    type Saved = Saved;

    fn infer(&self, inputs: [FlexTensor; 3]) -> FlexTensor {
        let Self { isa, sizes, bias } = self;
        let operands = inputs.map(Tokens::of);
        let mut out = vec![0.0; sizes.outputs()];
        forward(
            *isa,
            *sizes,
            &operands,
            bias.as_deref(),
            [&mut out, &mut []],
        );
        operation::tensor(out, sizes.shape(sizes.queries))
    }

    fn forward(&self, inputs: [FlexTensor; 3], _tracked: [bool; 3]) -> (FlexTensor, Saved) {
        let Self { isa, sizes, bias } = self;
        let operands = inputs.map(Tokens::of);
        let mut out = vec![0.0; sizes.outputs()];
        let mut log_sums = vec![0.0; sizes.batch * sizes.heads * sizes.queries];
        let results: [&mut [f32]; 2] = [&mut out, &mut log_sums];
        forward(*isa, *sizes, &operands, bias.as_deref(), results);
        let out = operation::tensor(out, sizes.shape(sizes.queries));
        let saved = Saved {
            operands,
            out: out.clone(),
            log_sums: log_sums.into(),
        };
        (out, saved)
    }

    fn backward(
        &self,
        saved: Saved,
        grad: FlexTensor,
        _tracked: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let Self { isa, sizes, bias } = self;
        let given = Given {
            operands: &saved.operands,
            bias: bias.as_deref(),
            log_sums: &saved.log_sums,
            out: &Tokens::of(saved.out),
            grad: &Tokens::of(grad),
        };
        let shapes = [sizes.queries, sizes.keys, sizes.keys].map(|length| sizes.shape(length));
        let mut results = shapes.map(|shape| vec![0.0; shape.iter().product()]);
        backward(
            *isa,
            *sizes,
            given,
            results.each_mut().map(Vec::as_mut_slice),
        );
        let mut shapes = shapes.into_iter();
        results.map(|values| Some(operation::tensor(values, shapes.next()?)))
    }
}
