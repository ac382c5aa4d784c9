//! In-painting by a denoiser that knows nothing of masks, for any sampler: [Lugmayr22] eq. 8, on x0 instead of x,
//! and their algorithm 1 with jumps of one step. Leaves out networks that are trained with masks.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, SampleStep, Watch};
use crate::level::Sigma;
use crate::levels::Levels;
use crate::sampler::{SampleError, Sampler};
use crate::samplers::step::stir;

/// A denoiser that is sure of the known part of a picture.
///
/// Where the guess of x0 is always the picture, every sampler leads x along picture + sigma eps, with the eps it
/// started with or has drawn since: the known part is noised anew at each level, and is the picture at the end.
/// A start from the noised picture ([`Levels::noised`](crate::levels::Levels::noised)) is already on that way.
#[derive(Clone, Debug)]
pub struct Inpainted<D> {
    net: D,
    known: Tensor<4>,
    mask: Tensor<4>,
}

impl<D: Denoise> Inpainted<D> {
    /// Around `net`: `known` [B, C, H, W] is the picture, `mask` of the same shape 0 where it stays, 1 where it
    /// is redrawn, and between them where both are mixed.
    pub fn new(net: D, known: Tensor<4>, mask: Tensor<4>) -> Self {
        Self { net, known, mask }
    }
}

impl<D: Denoise> Denoise for Inpainted<D> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let drawn = self.net.denoise(x, sigma);
        self.known.clone() + (drawn - self.known.clone()) * self.mask.clone()
    }
}

/// A sampler that takes each step several times, so that what is drawn can come to fit what is known.
///
/// Once is too little: the guess of the unknown part sees the known one under noise only, and cannot take back what
/// it chose then. Between two times x is noised back to where the step began, the known part with it.
#[derive(Clone, Copy, Debug)]
pub struct Resampled {
    /// Takes the steps; of those that look back at earlier steps only the first order is left.
    pub sampler: Sampler,
    /// How often each step but the last is taken, at least 1; once is the sampler itself.
    pub times: u32,
}

impl Resampled {
    /// The steps that a walk down `levels` takes.
    pub fn n_steps(&self, levels: &Levels) -> usize {
        (levels.n_steps() - 1) * self.times.max(1) as usize + 1
    }

    /// As [`Sampler::run`]; the watcher sees every time that a step is taken.
    pub fn run(
        &self,
        net: &dyn Denoise,
        mut x: Tensor<4>,
        levels: &Levels,
        noise: &mut dyn Noise,
        watch: &mut dyn Watch,
    ) -> Result<Tensor<4>, SampleError> {
        if self.times <= 1 {
            return self.sampler.run(net, x, levels, noise, watch);
        }
        let total = self.n_steps(levels);
        for (i, step) in levels.steps().enumerate() {
            let alone = levels.step_alone(step);
            for time in 0..self.times as usize {
                let index = i * self.times as usize + time;
                let mut watch = |event: &SampleStep<'_>| {
                    watch.step(&SampleStep {
                        index,
                        total,
                        ..*event
                    })
                };
                let run = self.sampler.run(net, x, &alone, noise, &mut watch);
                x = run.map_err(|fault| match fault {
                    SampleError::Stopped { .. } => SampleError::Stopped { step: index, total },
                    other => other,
                })?;
                if i + 1 == levels.n_steps() {
                    break;
                }
                if time + 1 < self.times as usize {
                    let back = (step.sigma * step.sigma - step.next * step.next).sqrt();
                    let normal = noise.normal(x.dims(), &x.device());
                    x = stir(x, back, normal);
                }
            }
        }
        Ok(x)
    }
}
