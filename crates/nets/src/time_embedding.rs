//! Timesteps and other numbers as vectors: sinusoids [Vaswani17] and the two-layer map after them.
//! Leaves out Fourier features of random frequency.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use crate::activation::Activation;
use crate::init::Init;
use crate::layers::Linear;

/// Which sinusoids stand for a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sinusoids {
    /// Features of the result, D.
    pub(crate) features: usize,
    /// Cosines before sines.
    pub(crate) flip_sin_to_cos: bool,
    /// 1 makes the last frequency exactly 1/10000, 0 stops one step short of it.
    pub(crate) freq_shift: f64,
}

impl Sinusoids {
    /// Numbers `[N]` to `[N, D]`: sin and cos of x · 10000^(-i / (D/2 - shift)).
    pub(crate) fn forward(&self, x: Tensor<1>) -> Tensor<2> {
        const MAX_PERIOD: f64 = 10_000.0;
        let half = self.features / 2;
        let step = -(MAX_PERIOD.ln() as f32);
        let span = (half as f64 - self.freq_shift) as f32;
        let frequencies: Vec<f32> = (0..half).map(|i| (step * i as f32 / span).exp()).collect();
        let [n] = x.dims();
        let frequencies =
            Tensor::<2>::from_data(TensorData::new(frequencies, [1, half]), &x.device());
        let angle = x.reshape([n, 1]) * frequencies;
        let (sin, cos) = (angle.clone().sin(), angle.cos());
        let embedding = Tensor::cat(
            if self.flip_sin_to_cos {
                vec![cos, sin]
            } else {
                vec![sin, cos]
            },
            1,
        );
        match self.features % 2 {
            0 => embedding,
            _ => embedding.pad((0, 1, 0, 0), 0.0),
        }
    }
}

/// Linear, activation, linear: what makes an embedding of a number or a vector.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    #[module(skip)]
    act: Activation,
}

impl TimestepEmbedding {
    pub(crate) fn new(init: &mut Init, inputs: usize, outputs: usize, act: Activation) -> Self {
        Self {
            linear_1: Linear::new(init, inputs, outputs),
            linear_2: Linear::new(init, outputs, outputs),
            act,
        }
    }

    /// `[B, in]` to `[B, D]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2
            .forward(self.act.forward(self.linear_1.forward(x)))
    }
}

/// The embedding of time and class that every residual block receives, with and without the
/// activation that most blocks apply first: computed once instead of once a block.
#[derive(Clone, Debug)]
pub(crate) struct TimeFeatures {
    pub(crate) raw: Tensor<2>,
    pub(crate) activated: Tensor<2>,
}

impl TimeFeatures {
    pub(crate) fn new(raw: Tensor<2>, act: Activation) -> Self {
        Self {
            activated: act.forward(raw.clone()),
            raw,
        }
    }
}
