//! The sum at the end of a residual block [He16], scaled in the same pass.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::elementwise::{Function, Scale, map};
use crate::lanes::{F32s, Lanes};
use crate::operation::{Operation, Values, binary, runs_on, tensor};
use crate::twin;

/// (a + b) scale, for `a` and `b` of one shape.
pub fn add_scaled<const D: usize>(a: Tensor<D>, b: Tensor<D>, scale: f32) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "the shapes of a sum");
    if runs_on(&a) && runs_on(&b) {
        binary(AddScaled(scale), a, b)
    } else {
        twin::add_scaled(a, b, scale)
    }
}

#[derive(Clone, Copy, Debug)]
struct AddScaled(f32);

impl Function<2, 1> for AddScaled {
    #[inline(always)]
    fn at<L: Lanes>(self, [mut a, b]: [F32s; 2]) -> [F32s; 1] {
        for (a, b) in a.iter_mut().zip(b) {
            *a = (*a + b) * self.0;
        }
        [a]
    }
}

impl Operation<2> for AddScaled {
    type Saved = ();

    fn infer(&self, [a, b]: [FlexTensor; 2]) -> FlexTensor {
        let shape = a.layout().shape().clone();
        tensor(map(*self, [&Values::of(a), &Values::of(b)]), shape)
    }

    fn forward(&self, inputs: [FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, ()) {
        (self.infer(inputs), ())
    }

    fn backward(&self, (): (), grad: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        // Without a scale both derivatives share the memory of `grad`.
        let grad = if self.0 == 1.0 {
            grad
        } else {
            let shape = grad.layout().shape().clone();
            tensor(map(Scale(self.0), [&Values::of(grad)]), shape)
        };
        [Some(grad.clone()), Some(grad)]
    }
}
