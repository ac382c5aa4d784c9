//! Products of matrices as operations with derivatives: `linear` for layers, `matmul` for the rest.

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::isa::{Isa, Precision};
use crate::matmul::{Columns, matmul as product, matmul_packed};
use crate::operation::{self, Operation, Values};
use crate::pack::Matrix;
use crate::packs::{Form, Packs};
use crate::twin;

/// y = x W^T + b: `x` is `[.., in]`, `weight` `[out, in]`, `bias` `[out]`, y `[.., out]`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    packs: &Packs,
) -> Tensor<D> {
    if !operation::runs_on(&x) {
        return twin::linear(x, weight, bias);
    }
    let [outputs, inputs] = weight.dims();
    let mut shape = x.dims();
    assert_eq!(shape[D - 1], inputs, "features of x and of the weight");
    shape[D - 1] = outputs;
    let linear = Linear {
        shape: shape.to_vec(),
        packs: packs.clone(),
    };
    match bias {
        Some(bias) => {
            assert_eq!(bias.dims(), [outputs], "one bias for each output");
            operation::ternary(linear, x, weight, bias)
        }
        None => operation::binary(linear, x, weight),
    }
}

/// The product of `a`, `[M, K]`, and `b`, `[K, N]`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul(a: Tensor<2>, b: Tensor<2>, precision: Precision) -> Tensor<2> {
    if !operation::runs_on(&a) {
        return twin::matmul(a, b);
    }
    assert_eq!(a.dims()[1], b.dims()[0], "columns of a and rows of b");
    operation::binary(Product(Isa::of(precision)), a, b)
}

/// The operation that burn records for a layer; `shape` is the one of the result.
#[derive(Clone, Debug)]
struct Linear {
    shape: Vec<usize>,
    packs: Packs,
}

impl Linear {
    fn run(&self, x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
        let weight_size = size(&weight);
        let columns = self.packs.get(&weight, Form::Forward, || {
            let values = Values::of(weight.clone());
            Columns::pack(self.packs.isa(), Matrix::new(&values, weight_size))
        });
        let x = Values::of(x);
        let bias = bias.map(Values::of);
        let values = matmul_packed(rows(&x, weight_size[1]), &columns, bias.as_deref());
        operation::tensor(values, self.shape.clone())
    }

    /// The derivatives by x and by the weight.
    fn derivatives(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: &[f32],
        [by_x, by_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [outputs, inputs] = size(&weight);
        let grad = rows(grad, outputs);
        let x_shape = x.layout().shape().clone();
        let by_x = by_x.then(|| {
            let columns = self.packs.get(&weight, Form::Backward, || {
                let values = Values::of(weight.clone());
                let matrix = Matrix::new(&values, [outputs, inputs]).transposed();
                Columns::pack(self.packs.isa(), matrix)
            });
            operation::tensor(matmul_packed(grad, &columns, None), x_shape)
        });
        let by_weight = by_weight.then(|| {
            let x = Values::of(x);
            let x = rows(&x, inputs);
            let values = product(self.packs.isa(), grad.transposed(), x.transposed());
            operation::tensor(values, [outputs, inputs])
        });
        [by_x, by_weight]
    }
}

impl Operation<2> for Linear {
    type Saved = [FlexTensor; 2];

    fn infer(&self, [x, weight]: [FlexTensor; 2]) -> FlexTensor {
        self.run(x, weight, None)
    }

    fn forward(&self, inputs: [FlexTensor; 2], _tracked: [bool; 2]) -> (FlexTensor, Self::Saved) {
        (self.infer(inputs.clone()), inputs)
    }

    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        tracked: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        self.derivatives(saved, &Values::of(grad), tracked)
    }
}

impl Operation<3> for Linear {
    type Saved = [FlexTensor; 2];

    fn infer(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
        self.run(x, weight, Some(bias))
    }

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        _tracked: [bool; 3],
    ) -> (FlexTensor, Self::Saved) {
        let out = self.run(x.clone(), weight.clone(), Some(bias));
        (out, [x, weight])
    }

    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        [x, weight, bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let outputs = size(&saved[1])[0];
        let grad = Values::of(grad);
        let [by_x, by_weight] = self.derivatives(saved, &grad, [x, weight]);
        let by_bias = bias.then(|| {
            let sums = crate::reduce::column_sums(&grad, outputs);
            operation::tensor(sums, [outputs])
        });
        [by_x, by_weight, by_bias]
    }
}

/// The operation that burn records for a product.
#[derive(Clone, Debug)]
struct Product(Isa);

impl Operation<2> for Product {
    type Saved = [FlexTensor; 2];

    fn infer(&self, [a, b]: [FlexTensor; 2]) -> FlexTensor {
        let ([m, k], [_, n]) = (size(&a), size(&b));
        let (a, b) = (Values::of(a), Values::of(b));
        let columns = Matrix::new(&b, [k, n]).transposed();
        let values = product(self.0, Matrix::new(&a, [m, k]), columns);
        operation::tensor(values, [m, n])
    }

    fn forward(&self, inputs: [FlexTensor; 2], _tracked: [bool; 2]) -> (FlexTensor, Self::Saved) {
        (self.infer(inputs.clone()), inputs)
    }

    fn backward(
        &self,
        [a, b]: Self::Saved,
        grad: FlexTensor,
        [by_a, by_b]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let ([m, k], [_, n]) = (size(&a), size(&b));
        let (a, b, grad) = (Values::of(a), Values::of(b), Values::of(grad));
        let grad = Matrix::new(&grad, [m, n]);
        let multiply = |left: Matrix<'_>, right: Matrix<'_>| {
            let size = [left.size[0], right.size[0]];
            operation::tensor(product(self.0, left, right), size)
        };
        [
            by_a.then(|| multiply(grad, Matrix::new(&b, [k, n]))),
            by_b.then(|| multiply(Matrix::new(&a, [m, k]).transposed(), grad.transposed())),
        ]
    }
}

/// Rows and columns of a tensor of two axes.
fn size(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// `values` as rows of `features`.
fn rows(values: &[f32], features: usize) -> Matrix<'_> {
    Matrix::new(values, [values.len() / features.max(1), features])
}
