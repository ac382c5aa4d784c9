//! The borders of a sampler: a denoiser, its noise, and who watches it.
//! [Karras22] eq. 1 to 3 for D(x; sigma). Leaves out guidance and thresholds: they wrap a denoiser.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};

use crate::level::{Schedule, Sigma};
use crate::precondition::Precondition;
use crate::prediction::Prediction;

/// D(x; sigma): the best guess of x0 behind `x` [B, C, H, W], whose noise has standard deviation `sigma`.
pub trait Denoise {
    /// The guess, of the shape of `x`.
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4>;
}

impl<D: Denoise + ?Sized> Denoise for &D {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        (**self).denoise(x, sigma)
    }
}

impl<D: Denoise + ?Sized> Denoise for Box<D> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        (**self).denoise(x, sigma)
    }
}

/// Where a sampler gets unit normal noise from.
pub trait Noise {
    /// Standard normal values of `shape` [B, C, H, W]; each call is a new draw.
    fn normal(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4>;
}

/// What a sampler reports before each step.
pub struct SampleStep<'a> {
    /// Steps done so far, 0 to `total` - 1.
    pub index: usize,
    /// Steps in all.
    pub total: usize,
    /// The level that the step starts at.
    pub sigma: Sigma,
    /// The noisy image [B, C, H, W].
    pub x: &'a Tensor<4>,
    /// The denoiser's guess of x0, of the same shape; a preview.
    pub denoised: &'a Tensor<4>,
}

/// Sees each step, and may stop the sampler by `ControlFlow::Break`.
pub trait Watch {
    /// Called once a step, after the denoiser and before the step is taken.
    fn step(&mut self, event: &SampleStep<'_>) -> ControlFlow<()>;
}

impl<F: FnMut(&SampleStep<'_>) -> ControlFlow<()>> Watch for F {
    fn step(&mut self, event: &SampleStep<'_>) -> ControlFlow<()> {
        self(event)
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&mut self, _event: &SampleStep<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A raw network: scaled input in, eps, v, x0 or flow out.
pub trait Network {
    /// The output for `x` [B, C, H, W] at `time` [B] (a timestep, or the c_noise of EDM), of the shape of `x`.
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4>;
}

impl<N: Network + ?Sized> Network for &N {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        (**self).predict(x, time)
    }
}

/// A network made a denoiser by its preconditioning: [Karras22] eq. 7.
#[derive(Clone, Debug)]
pub struct Denoiser<N> {
    network: N,
    precondition: Precondition,
}

impl<N: Network> Denoiser<N> {
    /// Wraps a network that was trained as `precondition` says.
    pub fn new(network: N, precondition: Precondition) -> Self {
        Self {
            network,
            precondition,
        }
    }

    /// Wraps a network of discrete timesteps in variance-preserving coordinates.
    pub fn discrete(network: N, schedule: Schedule, prediction: Prediction) -> Self {
        Self::new(
            network,
            Precondition::Discrete {
                schedule,
                prediction,
            },
        )
    }
}

impl<N: Network> Denoise for Denoiser<N> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let at = self.precondition.at(sigma);
        let time = Tensor::full([x.dims()[0]], at.c_noise, &x.device());
        let output = self
            .network
            .predict(x.clone().mul_scalar(at.c_in), time)
            .mul_scalar(at.c_out);
        if at.c_skip == 0.0 {
            output
        } else {
            x.mul_scalar(at.c_skip) + output
        }
    }
}
