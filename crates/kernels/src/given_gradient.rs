//! The one place where a gradient that was computed elsewhere is given to autodiff: distillation, and
//! anything else whose derivative is known without a loss.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::elementwise::{Scale, map};
use crate::operation::{Operation, Values, binary, runs_on, tensor};

/// A loss whose derivative by `y` is `grad`, of the same shape. Its own value is zero where the
/// kernels run, and means nothing elsewhere.
///
/// # Panics
/// If the shapes differ.
pub fn given_gradient<const D: usize>(y: Tensor<D>, grad: Tensor<D>) -> Tensor<1> {
    assert_eq!(
        y.dims(),
        grad.dims(),
        "the shapes of a value and its gradient"
    );
    if runs_on(&y) && runs_on(&grad) {
        binary(GivenGradient, y, grad)
    } else {
        (y * grad.detach()).sum()
    }
}

#[derive(Clone, Copy, Debug)]
struct GivenGradient;

impl Operation<2> for GivenGradient {
    type Saved = FlexTensor;

    fn infer(&self, _: [FlexTensor; 2]) -> FlexTensor {
        tensor(vec![0.0], [1])
    }

    fn forward(&self, [y, grad]: [FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, FlexTensor) {
        (self.infer([y, grad.clone()]), grad)
    }

    fn backward(
        &self,
        saved: FlexTensor,
        grad: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let scale = Values::of(grad)[0];
        let by_y = if scale == 1.0 {
            saved
        } else {
            let shape = saved.layout().shape().clone();
            tensor(map(Scale(scale), [&Values::of(saved)]), shape)
        };
        [Some(by_y), None]
    }
}
