//! A small perceptron with ReLU, all layers of a block of samples in one go. [Mueller22]
//! Leaves out skip connections and other activations.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::isa::{Isa, Precision};
use crate::matmul::matmul;
use crate::pack::Matrix;

/// The sizes of a perceptron.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpSpec {
    /// Values of a sample: 1 to 1024.
    pub inputs: usize,
    /// Values of a hidden layer: a multiple of 16 up to 1024.
    pub width: usize,
    /// Hidden layers: 1 to 16.
    pub layers: usize,
    /// Values of a result, after no ReLU: 1 to 1024.
    pub outputs: usize,
    /// Whether something is added in each layer.
    #[serde(default)]
    pub bias: Bias,
}

/// What a layer adds to its products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    /// Nothing.
    #[default]
    None,
    /// A weight for each output.
    Each,
}

/// A perceptron without its weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mlp {
    layers: Vec<Layer>,
}

/// Where a layer's weights lie among all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Columns of its matrix.
    pub inputs: usize,
    /// Rows of its matrix.
    pub outputs: usize,
    /// Its matrix, `[outputs, inputs]`.
    pub weights: Range<usize>,
    /// What it adds, `[outputs]`; empty without bias.
    pub bias: Range<usize>,
}

impl Mlp {
    /// The perceptron of `spec`.
    ///
    /// # Errors
    /// A number of `spec` is out of its range.
    pub fn new(spec: &MlpSpec) -> Result<Self, SpecError> {
        let range = 1..=1024;
        let expected = "1 to 1024";
        SpecError::unless(
            range.contains(&spec.inputs),
            "inputs",
            spec.inputs,
            expected,
        )?;
        let fits = range.contains(&spec.width) && spec.width.is_multiple_of(16);
        let multiple = "a multiple of 16 up to 1024";
        SpecError::unless(fits, "width", spec.width, multiple)?;
        SpecError::unless(
            (1..=16).contains(&spec.layers),
            "layers",
            spec.layers,
            "1 to 16",
        )?;
        SpecError::unless(
            range.contains(&spec.outputs),
            "outputs",
            spec.outputs,
            expected,
        )?;
        let mut first = 0;
        let layers = (0..=spec.layers).map(|l| {
            let inputs = if l == 0 { spec.inputs } else { spec.width };
            let outputs = if l == spec.layers {
                spec.outputs
            } else {
                spec.width
            };
            let weights = first..first + inputs * outputs;
            let n = if spec.bias == Bias::Each { outputs } else { 0 };
            first = weights.end + n;
            Layer {
                inputs,
                outputs,
                bias: weights.end..first,
                weights,
            }
        });
        Ok(Self {
            layers: layers.collect(),
        })
    }

    /// The layers, whose weights lie one after the other.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Weights of all layers, biases included.
    pub fn n_weights(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.bias.end)
    }

    /// Values of a sample.
    pub fn n_inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Values of a result.
    pub fn n_outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// The results of `x`, `[S, n_inputs]`, to `to`, `[S, n_outputs]`: W relu(.. relu(W x)).
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn forward(&self, weights: &[f32], x: &[f32], precision: Precision, to: &mut [f32]) {
        let n = self.check(weights, x, to);
        let mut hidden = self.hidden(weights, x, n, precision);
        let last = hidden.pop().unwrap_or_default();
        to.copy_from_slice(&last);
    }

    /// The derivatives of the sum of `grad`, `[S, n_outputs]`, times results: by `x` to `by_x`, and
    /// by the weights added to `by_weights`. Computes the hidden layers again, as that takes less time
    /// than memory would, and so keeps nothing between forward and here. The order of summation
    /// depends on nothing but S.
    ///
    /// # Panics
    /// If the lengths do not fit together.
    pub fn backward(
        &self,
        weights: &[f32],
        (x, grad): (&[f32], &[f32]),
        precision: Precision,
        by_x: &mut [f32],
        by_weights: &mut [f32],
    ) {
        let n = self.check(weights, x, grad);
        assert_eq!(by_x.len(), x.len(), "values of the samples");
        assert_eq!(by_weights.len(), weights.len(), "weights");
        let isa = Isa::of(precision);
        let mut hidden = self.hidden(weights, x, n, precision);
        hidden.pop();
        let mut grad = grad.to_vec();
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let below = if l == 0 { x } else { &hidden[l - 1] };
            let g = Matrix::new(&grad, [n, layer.outputs]);
            let from = Matrix::new(below, [n, layer.inputs]);
            let by_weight = matmul(isa, g.transposed(), from.transposed());
            for (to, by) in by_weights[layer.weights.clone()].iter_mut().zip(by_weight) {
                *to += by;
            }
            for (o, to) in by_weights[layer.bias.clone()].iter_mut().enumerate() {
                *to += grad[o..].iter().step_by(layer.outputs).sum::<f32>();
            }
            let weight = Matrix::new(
                &weights[layer.weights.clone()],
                [layer.outputs, layer.inputs],
            );
            let mut by_below = matmul(isa, g, weight.transposed());
            if l > 0 {
                for (g, below) in by_below.iter_mut().zip(below) {
                    *g = if *below > 0.0 { *g } else { 0.0 };
                }
            }
            grad = by_below;
        }
        by_x.copy_from_slice(&grad);
    }

    /// Results of all layers.
    fn hidden(&self, weights: &[f32], x: &[f32], n: usize, precision: Precision) -> Vec<Vec<f32>> {
        let isa = Isa::of(precision);
        let mut hidden: Vec<Vec<f32>> = vec![];
        for (l, layer) in self.layers.iter().enumerate() {
            let from = Matrix::new(hidden.last().map_or(x, |h| h), [n, layer.inputs]);
            let weight = Matrix::new(
                &weights[layer.weights.clone()],
                [layer.outputs, layer.inputs],
            );
            let mut to = matmul(isa, from, weight);
            let bias = &weights[layer.bias.clone()];
            for (to, bias) in to.iter_mut().zip(bias.iter().cycle()) {
                *to += bias;
            }
            if l + 1 < self.layers.len() {
                to.iter_mut().for_each(|h| *h = h.max(0.0));
            }
            hidden.push(to);
        }
        hidden
    }

    /// The number of samples.
    fn check(&self, weights: &[f32], x: &[f32], y: &[f32]) -> usize {
        let n = x.len() / self.n_inputs();
        assert_eq!(weights.len(), self.n_weights(), "weights");
        assert_eq!(x.len(), n * self.n_inputs(), "values of the samples");
        assert_eq!(y.len(), n * self.n_outputs(), "values of the results");
        n
    }
}
