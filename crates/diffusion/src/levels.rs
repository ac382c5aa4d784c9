//! The falling noise levels that a sampler walks down, and where an image enters them.
//! [Meng22] for a start from a partly noised image. Leaves out how levels are spaced: see `spacing`.

use burn::tensor::{Device, Tensor};

use crate::denoise::Noise;
use crate::level::Sigma;

/// Noise levels that fall strictly and end at zero (or, made by [`Levels::partial`], above it).
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    sigmas: Vec<f64>,
    /// The level halfway through each step, in whatever measure the levels were spaced by.
    halfway: Vec<f64>,
}

/// One step of a walk down the levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// 0 to the number of steps - 1.
    pub index: usize,
    /// The level before the step; above 0.
    pub sigma: f64,
    /// The level after it; 0 at the end.
    pub next: f64,
}

impl Step {
    /// next / sigma, in [0, 1).
    pub fn ratio(self) -> f64 {
        self.next / self.sigma
    }

    /// The length of the step in -ln sigma ([Lu22] writes h); infinite when it ends at zero.
    pub fn log_length(self) -> f64 {
        (self.sigma / self.next).ln()
    }
}

/// Levels that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LevelsError {
    /// Too few or too many steps.
    #[error("sampling steps: found {found}, expected 1 to {limit}; 20 to 50 is usual")]
    Steps {
        /// What was asked for.
        found: usize,
        /// The most there can be.
        limit: usize,
    },
    /// A level that is no finite number of at least zero.
    #[error("noise level {index}: found {found}, expected a finite number, at least 0")]
    NotALevel {
        /// Its place.
        index: usize,
        /// Its value.
        found: f64,
    },
    /// Two levels in the wrong order.
    #[error(
        "noise level {index}: found {found} after {before}, expected less; levels must fall strictly"
    )]
    NotFalling {
        /// Place of the second.
        index: usize,
        /// The first.
        before: f64,
        /// The second.
        found: f64,
    },
    /// The last level is not zero.
    #[error(
        "noise levels end at {found}, expected 0; append 0, or ask for partial levels on purpose"
    )]
    End {
        /// The last level.
        found: f64,
    },
    /// Strength out of range.
    #[error("strength: found {found}, expected more than 0 and at most 1 (1 forgets the image)")]
    Strength {
        /// What was asked for.
        found: f64,
    },
    /// A range of levels that is none.
    #[error("noise range: found {min} to {max}, expected 0 < min < max, both finite")]
    Range {
        /// Lower end.
        min: f64,
        /// Upper end.
        max: f64,
    },
    /// A spacing's parameter out of range.
    #[error("{spacing} spacing: {parameter} is {found}, expected {expected}")]
    Parameter {
        /// The spacing's name.
        spacing: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A spacing by timesteps for a model that has none.
    #[error(
        "{spacing} spacing counts timesteps, which this model has not; take karras, exponential, polyexponential or flow"
    )]
    NoTimesteps {
        /// The spacing's name.
        spacing: &'static str,
    },
}

impl Levels {
    /// Levels that fall strictly to zero: at least one above zero, then 0.
    pub fn new(sigmas: Vec<Sigma>) -> Result<Self, LevelsError> {
        let levels = Self::partial(sigmas)?;
        match levels.last() {
            Sigma(0.0) => Ok(levels),
            Sigma(found) => Err(LevelsError::End { found }),
        }
    }

    /// Levels that fall strictly but may end above zero, for one who goes on from there.
    pub fn partial(sigmas: Vec<Sigma>) -> Result<Self, LevelsError> {
        let sigmas: Vec<f64> = sigmas.into_iter().map(|sigma| sigma.0).collect();
        let halfway = sigmas
            .windows(2)
            .map(|pair| (pair[0] * pair[1]).sqrt())
            .collect();
        Self::with_halfway(sigmas, halfway)
    }

    /// Levels whose halfway points were measured otherwise than in log sigma; one less than the levels.
    pub(crate) fn with_halfway(sigmas: Vec<f64>, halfway: Vec<f64>) -> Result<Self, LevelsError> {
        if sigmas.len() < 2 {
            return Err(LevelsError::Steps {
                found: sigmas.len().saturating_sub(1),
                limit: MAX_STEPS,
            });
        }
        if let Some(index) = sigmas
            .iter()
            .position(|sigma| !(sigma.is_finite() && *sigma >= 0.0))
        {
            return Err(LevelsError::NotALevel {
                index,
                found: sigmas[index],
            });
        }
        if let Some(index) = (1..sigmas.len()).find(|&i| sigmas[i] >= sigmas[i - 1]) {
            return Err(LevelsError::NotFalling {
                index,
                before: sigmas[index - 1],
                found: sigmas[index],
            });
        }
        Ok(Self { sigmas, halfway })
    }

    /// The number of steps, at least 1.
    pub fn n_steps(&self) -> usize {
        self.halfway.len()
    }

    /// The level that sampling starts at.
    pub fn first(&self) -> Sigma {
        Sigma(self.sigmas[0])
    }

    /// The level that sampling ends at.
    pub fn last(&self) -> Sigma {
        Sigma(self.sigmas[self.sigmas.len() - 1])
    }

    /// All levels, one more than there are steps.
    pub fn sigmas(&self) -> impl Iterator<Item = Sigma> + '_ {
        self.sigmas.iter().copied().map(Sigma)
    }

    /// The steps in order.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        self.sigmas
            .windows(2)
            .enumerate()
            .map(|(index, pair)| Step {
                index,
                sigma: pair[0],
                next: pair[1],
            })
    }

    /// The level halfway through `step`: halfway in time for levels spaced by timesteps, else in log sigma.
    pub fn halfway(&self, step: Step) -> Sigma {
        Sigma(self.halfway[step.index])
    }

    /// The levels of `step` only, which must be one of these.
    pub(crate) fn step_alone(&self, step: Step) -> Self {
        Self {
            sigmas: vec![step.sigma, step.next],
            halfway: vec![self.halfway[step.index]],
        }
    }

    /// The last part of the levels, for a start from an image: `strength` of the steps remain, at least one.
    /// Strength 1 keeps all; as in the reference, the number of steps is rounded down.
    pub fn from_strength(&self, strength: f64) -> Result<Self, LevelsError> {
        if !(strength > 0.0 && strength <= 1.0) {
            return Err(LevelsError::Strength { found: strength });
        }
        let kept = ((self.n_steps() as f64 * strength) as usize).max(1);
        let skipped = self.n_steps() - kept;
        Ok(Self {
            sigmas: self.sigmas[skipped..].to_vec(),
            halfway: self.halfway[skipped..].to_vec(),
        })
    }

    /// The same levels without the zero at their end, as some published pipelines stop at the lowest trained one.
    /// Errs if that leaves no step.
    pub fn without_zero(&self) -> Result<Self, LevelsError> {
        let kept = self.sigmas.iter().filter(|&&sigma| sigma > 0.0).count();
        let halfway = self
            .halfway
            .iter()
            .copied()
            .take(kept.saturating_sub(1))
            .collect();
        Self::with_halfway(self.sigmas[..kept].to_vec(), halfway)
    }

    /// The noisy image to start from when there is none: x of `shape` [B, C, H, W].
    /// Its standard deviation is sqrt(1 + sigma^2): unit normal in variance-preserving coordinates.
    pub fn pure_noise(
        &self,
        noise: &mut dyn Noise,
        shape: [usize; 4],
        device: &Device,
    ) -> Tensor<4> {
        noise
            .normal(shape, device)
            .mul_scalar(self.first().0.hypot(1.0))
    }

    /// The noisy image to start from when there is one: `x0 + sigma * eps`, x0 [B, C, H, W] in [-1, 1].
    pub fn noised(&self, x0: Tensor<4>, noise: &mut dyn Noise) -> Tensor<4> {
        let eps = noise.normal(x0.dims(), &x0.device());
        x0 + eps.mul_scalar(self.first().0)
    }
}

/// More steps than this are a mistake.
pub const MAX_STEPS: usize = 10_000;
