//! A small perceptron with ReLU, all layers of a block of samples in one go. [Mueller22]
//! Leaves out skip connections and other activations.

mod backward;
mod forward;
mod panel;

use std::ops::Range;

use bytemuck::cast_slice_mut;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::isa::{Isa, Precision};
use crate::lanes::LANES;
use crate::pack::{Matrix, Order};
use crate::scratch::with_scratch;
use backward::{BLOCK, Backward, Room};
use forward::Forward;
use panel::{SIDE, Stage};

/// Samples that a thread takes at a time.
const PART: usize = 16 * SIDE;
/// Values of all partial weight gradients together, and how many there are at most.
const PARTIAL_VALUES: usize = 4 << 20;
const PARTS: usize = 64;

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
        self.check(weights, x, to);
        let isa = Isa::of(precision);
        let (inputs, outputs) = (self.n_inputs(), self.n_outputs());
        let biases = self.biases(weights);
        let forward = self.matrices(weights);
        with_packed(isa, &forward, |stages| {
            let x = x.par_chunks(PART * inputs);
            let parts = x.zip(to.par_chunks_mut(PART * outputs));
            parts.with_max_len(1).for_each(|(x, to)| {
                let lens = [self.widest() * SIDE; 3];
                with_rooms(lens, |[items, next, values]| {
                    isa.run(Forward {
                        stages,
                        biases: &biases,
                        x: Matrix::new(x, [x.len() / inputs, inputs]),
                        items: [items, next],
                        values: cast_slice_mut(values),
                        to,
                    });
                });
            });
        });
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
        let (inputs, outputs) = (self.n_inputs(), self.n_outputs());
        let biases = self.biases(weights);
        let mut matrices = self.matrices(weights);
        matrices.extend(self.matrices(weights).into_iter().map(Matrix::transposed));
        let parts = (PARTIAL_VALUES / weights.len()).clamp(4, PARTS);
        let each = n.div_ceil(parts).next_multiple_of(BLOCK).max(PART);
        let lens = self.rooms(isa);
        let all = n.div_ceil(each) * weights.len();
        with_rooms([all], |[partial]| {
            let partial: &mut [f32] = cast_slice_mut(partial);
            partial.fill(0.0);
            with_packed(isa, &matrices, |stages| {
                let (forward, back) = stages.split_at(self.layers.len());
                let samples = x
                    .par_chunks(each * inputs)
                    .zip(grad.par_chunks(each * outputs));
                let by_x = by_x.par_chunks_mut(each * inputs);
                let to = by_x.zip(partial.par_chunks_mut(weights.len()));
                samples
                    .zip(to)
                    .with_max_len(1)
                    .for_each(|((x, grad), (by_x, by_weights))| {
                        let n = x.len() / inputs;
                        with_rooms(lens, |[items, next, values, hidden, by_hidden, a, b]| {
                            isa.run(Backward {
                                layers: &self.layers,
                                biases: &biases,
                                stages: [forward, back],
                                x: Matrix::new(x, [n, inputs]),
                                grad: Matrix::new(grad, [n, outputs]),
                                room: Room {
                                    items: [items, next],
                                    values: cast_slice_mut(values),
                                    hidden: cast_slice_mut(hidden),
                                    by_hidden: cast_slice_mut(by_hidden),
                                    operands: [a, b],
                                },
                                by_x,
                                by_weights,
                            });
                        });
                    });
            });
            for partial in partial.chunks_exact(weights.len()) {
                for (to, by) in by_weights.iter_mut().zip(partial) {
                    *to += by;
                }
            }
        });
    }

    /// The number of samples.
    fn check(&self, weights: &[f32], x: &[f32], y: &[f32]) -> usize {
        let n = x.len() / self.n_inputs();
        assert_eq!(weights.len(), self.n_weights(), "weights");
        assert_eq!(x.len(), n * self.n_inputs(), "values of the samples");
        assert_eq!(y.len(), n * self.n_outputs(), "values of the results");
        n
    }

    fn matrices<'a>(&self, weights: &'a [f32]) -> Vec<Matrix<'a>> {
        let layers = self.layers.iter();
        layers
            .map(|l| Matrix::new(&weights[l.weights.clone()], [l.outputs, l.inputs]))
            .collect()
    }

    fn biases<'a>(&self, weights: &'a [f32]) -> Vec<&'a [f32]> {
        let layers = self.layers.iter();
        layers.map(|l| &weights[l.bias.clone()]).collect()
    }

    /// The most values that a layer has of a sample, in whole vectors.
    fn widest(&self) -> usize {
        let layers = self.layers.iter();
        let most = layers.map(|l| l.inputs.max(l.outputs)).max();
        most.unwrap_or(0).next_multiple_of(LANES)
    }

    /// The lengths of what a [`Room`] holds.
    fn rooms(&self, isa: Isa) -> [usize; 7] {
        let (widest, hidden) = (self.widest(), self.layers.len() - 1);
        let steps = BLOCK.div_ceil(isa.depth());
        let hidden = hidden * self.layers[0].outputs * BLOCK;
        [
            widest * SIDE,
            widest * SIDE,
            widest * SIDE,
            hidden,
            hidden,
            Order::Rows.len(widest, steps),
            (widest + SIDE) * steps,
        ]
    }
}

/// Calls `work` with `matrices` packed.
fn with_packed<T>(isa: Isa, matrices: &[Matrix<'_>], work: impl FnOnce(&[Stage<'_>]) -> T) -> T {
    let len = |matrix: &Matrix<'_>| Stage::len(isa, matrix.size);
    with_scratch(matrices.iter().map(len).sum(), |mut room| {
        let mut stages = vec![];
        for matrix in matrices {
            let items = room.split_off_mut(..len(matrix)).unwrap_or_default();
            stages.push(Stage::pack(isa, *matrix, items));
        }
        work(&stages)
    })
}

/// Calls `work` with rooms of so many items each.
fn with_rooms<T, const N: usize>(lens: [usize; N], work: impl FnOnce([&mut [u32]; N]) -> T) -> T {
    // Whole cache lines.
    let lens = lens.map(|len| len.next_multiple_of(LANES));
    with_scratch(lens.iter().sum(), |mut all| {
        work(lens.map(|len| all.split_off_mut(..len).unwrap_or_default()))
    })
}
