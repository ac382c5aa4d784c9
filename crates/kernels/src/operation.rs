//! What makes a kernel an operation of burn: a backend extension over any number of inputs, with the
//! derivative recorded. Other backends than burn's own on the CPU never get here: see `runs_on`.

use std::fmt::Debug;
use std::ops::Deref;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Device, Shape, Tensor, TensorData};
use burn_flex::FlexTensor;

/// An operation on `N` tensors of f32, which may be views, with its derivative.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + 'static {
    /// What the derivative needs to know of the inputs.
    type Saved: Clone + Debug + Send + 'static;

    /// The result.
    fn infer(&self, inputs: [FlexTensor; N]) -> FlexTensor;

    /// The result, and what `backward` needs. `tracked[i]` tells whether the derivative by input i
    /// will be asked for.
    fn forward(&self, inputs: [FlexTensor; N], tracked: [bool; N]) -> (FlexTensor, Self::Saved);

    /// The derivatives by the inputs, as `grad` is the one by the result; those of inputs that are
    /// not tracked may be left out.
    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        tracked: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

#[backend_extension(Flex, Autodiff)]
trait Operations: Backend {
    fn unary<O: Operation<1>>(op: O, a: FloatTensor<Self>) -> FloatTensor<Self>;
    fn binary<O: Operation<2>>(
        op: O,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn ternary<O: Operation<3>>(
        op: O,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn quaternary<O: Operation<4>>(
        op: O,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Operations for Flex {
    fn unary<O: Operation<1>>(op: O, a: FlexTensor) -> FlexTensor {
        op.infer([a])
    }

    fn binary<O: Operation<2>>(op: O, a: FlexTensor, b: FlexTensor) -> FlexTensor {
        op.infer([a, b])
    }

    fn ternary<O: Operation<3>>(op: O, a: FlexTensor, b: FlexTensor, c: FlexTensor) -> FlexTensor {
        op.infer([a, b, c])
    }

    fn quaternary<O: Operation<4>>(
        op: O,
        a: FlexTensor,
        b: FlexTensor,
        c: FlexTensor,
        d: FlexTensor,
    ) -> FlexTensor {
        op.infer([a, b, c, d])
    }
}

type Recorded<C> = FloatTensor<Autodiff<Flex, C>>;

impl<C: CheckpointStrategy> Operations for Autodiff<Flex, C> {
    fn unary<O: Operation<1>>(op: O, a: Recorded<C>) -> Recorded<C> {
        record::<O, C, 1>(op, [a])
    }

    fn binary<O: Operation<2>>(op: O, a: Recorded<C>, b: Recorded<C>) -> Recorded<C> {
        record::<O, C, 2>(op, [a, b])
    }

    fn ternary<O: Operation<3>>(
        op: O,
        a: Recorded<C>,
        b: Recorded<C>,
        c: Recorded<C>,
    ) -> Recorded<C> {
        record::<O, C, 3>(op, [a, b, c])
    }

    fn quaternary<O: Operation<4>>(
        op: O,
        a: Recorded<C>,
        b: Recorded<C>,
        c: Recorded<C>,
        d: Recorded<C>,
    ) -> Recorded<C> {
        record::<O, C, 4>(op, [a, b, c, d])
    }
}

/// The backward step of an operation.
#[derive(Debug)]
struct Derivative<O>(O);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Derivative<O> {
    type State = O::Saved;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let tracked = ops.parents.each_ref().map(Option::is_some);
        let derivatives = self.0.backward(ops.state, grad, tracked);
        for (parent, derivative) in ops.parents.into_iter().zip(derivatives) {
            if let (Some(parent), Some(derivative)) = (parent, derivative) {
                grads.register::<Flex>(parent.id, derivative);
            }
        }
    }
}

fn record<O: Operation<N>, C: CheckpointStrategy, const N: usize>(
    op: O,
    inputs: [Recorded<C>; N],
) -> Recorded<C> {
    let tracked = inputs.each_ref().map(|input| input.is_tracked());
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    match Derivative(op.clone())
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => {
            let (output, saved) = op.forward(inputs, tracked);
            prep.finish(saved, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(op.infer(inputs)),
    }
}

/// Whether `x` is f32 on burn's own CPU backend, where the kernels run.
pub fn runs_on<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    x.dtype() == DType::F32 && (device == Device::flex() || device == Device::flex().autodiff())
}

/// Applies `op` to one tensor.
pub(crate) fn unary<const A: usize, const R: usize>(
    op: impl Operation<1>,
    a: Tensor<A>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::unary(op, a.into_dispatch()))
}

/// Applies `op` to two tensors.
pub(crate) fn binary<const A: usize, const B: usize, const R: usize>(
    op: impl Operation<2>,
    a: Tensor<A>,
    b: Tensor<B>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::binary(op, a.into_dispatch(), b.into_dispatch()))
}

/// Applies `op` to three tensors.
pub(crate) fn ternary<const A: usize, const B: usize, const C: usize, const R: usize>(
    op: impl Operation<3>,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::ternary(
        op,
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
    ))
}

/// Applies `op` to four tensors.
pub(crate) fn quaternary<
    const A: usize,
    const B: usize,
    const C: usize,
    const D: usize,
    const R: usize,
>(
    op: impl Operation<4>,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    d: Tensor<D>,
) -> Tensor<R> {
    Tensor::from_dispatch(Dispatch::quaternary(
        op,
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
        d.into_dispatch(),
    ))
}

/// The f32 values of a tensor, row-major; copied only if it is a scattered view.
#[derive(Clone, Debug)]
pub(crate) struct Values(FlexTensor);

impl Values {
    pub(crate) fn of(x: FlexTensor) -> Self {
        Self(match x.as_slice::<f32>() {
            Some(_) => x,
            None => x.to_contiguous(),
        })
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().unwrap_or_default()
    }
}

/// A tensor that owns `values`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
