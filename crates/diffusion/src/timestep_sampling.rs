//! Which level a training image gets: uniform [Ho20], log-normal in sigma [Karras22], logit-normal in time [Esser24].
//! Leaves out adaptive choices.

use dreamsmith_base::Stream;
use serde::{Deserialize, Serialize};

use crate::level::{Schedule, Sigma, Timestep};

/// A distribution of training levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimestepSampling {
    /// Every timestep is equally likely.
    Uniform {},
    /// ln sigma is normal: [Karras22] table 1.
    LogNormal {
        /// -1.2 in the paper.
        #[serde(default = "log_normal_mean")]
        mean: f64,
        /// 1.2 in the paper.
        #[serde(default = "log_normal_std")]
        std: f64,
    },
    /// The logit of time, 0 to 1, is normal: [Esser24] eq. 19.
    LogitNormal {
        /// 0 in the paper's best run.
        #[serde(default)]
        mean: f64,
        /// 1 in the paper's best run.
        #[serde(default = "logit_normal_std")]
        std: f64,
    },
}

/// A distribution that cannot be drawn from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "timestep sampling: mean {mean} and std {std}, expected a finite mean and a finite std above 0"
)]
pub struct TimestepSamplingError {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation.
    pub std: f64,
}

fn log_normal_mean() -> f64 {
    -1.2
}

fn log_normal_std() -> f64 {
    1.2
}

fn logit_normal_std() -> f64 {
    1.0
}

impl Default for TimestepSampling {
    fn default() -> Self {
        Self::Uniform {}
    }
}

impl TimestepSampling {
    /// Errs unless mean and std are finite and std is above 0.
    pub fn check(self) -> Result<Self, TimestepSamplingError> {
        match self {
            Self::LogNormal { mean, std } | Self::LogitNormal { mean, std }
                if !(mean.is_finite() && std.is_finite() && std > 0.0) =>
            {
                Err(TimestepSamplingError { mean, std })
            }
            _ => Ok(self),
        }
    }

    /// A timestep of `schedule`: one draw of `stream`.
    pub fn timestep(self, stream: &mut Stream, schedule: &Schedule) -> Timestep {
        match self {
            Self::Uniform {} => Timestep(stream.below(u64::from(schedule.timesteps())) as u32),
            Self::LogNormal { mean, std } => {
                let sigma = Sigma((mean + std * f64::from(stream.normal())).exp());
                Timestep(schedule.timestep_at(sigma).round() as u32)
            }
            Self::LogitNormal { mean, std } => {
                let time = logistic(mean + std * f64::from(stream.normal()));
                let timestep = (time * f64::from(schedule.timesteps())) as u32;
                Timestep(timestep.min(schedule.last().0))
            }
        }
    }

    /// A level for a model without timesteps: one draw of `stream`. Uniform and logit-normal mean the time
    /// of the straight path, t = sigma / (1 + sigma), which is kept off its ends.
    pub fn sigma(self, stream: &mut Stream) -> Sigma {
        let from_time = |time: f64| Sigma::from_flow_time(time.clamp(MIN_TIME, 1.0 - MIN_TIME));
        match self {
            Self::Uniform {} => from_time(stream.uniform_f64()),
            Self::LogNormal { mean, std } => Sigma((mean + std * f64::from(stream.normal())).exp()),
            Self::LogitNormal { mean, std } => {
                from_time(logistic(mean + std * f64::from(stream.normal())))
            }
        }
    }
}

/// Below this f32 cannot tell the noisy image from the clean one, above 1 - this not from noise.
const MIN_TIME: f64 = 1e-6;

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
