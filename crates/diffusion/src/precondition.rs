//! The border between networks, which know timesteps and scaled inputs, and samplers, which know sigma:
//! D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), [Karras22] eq. 7 and table 1.

use crate::level::{Schedule, Sigma};
use crate::levels::{Levels, LevelsError};
use crate::prediction::Prediction;
use crate::spacing::{SigmaRange, Spacing};

/// The four numbers of [Karras22] eq. 7 at one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// How much of the noisy image goes straight to the result.
    pub c_skip: f64,
    /// Scale of the network's output.
    pub c_out: f64,
    /// Scale of the network's input.
    pub c_in: f64,
    /// What the network is told the time is.
    pub c_noise: f64,
}

/// How a network was trained, and so how it is to be called.
#[derive(Clone, Debug, PartialEq)]
pub enum Precondition {
    /// Discrete timesteps in variance-preserving coordinates, x_t = x / sqrt(1 + sigma^2).
    Discrete {
        /// The table it was trained on.
        schedule: Schedule,
        /// What it says.
        prediction: Prediction,
    },
    /// EDM, [Karras22] table 1, last column.
    Edm {
        /// Standard deviation of the training images.
        sigma_data: f64,
        /// The levels it was trained on.
        range: SigmaRange,
    },
    /// The straight path x_t = (1 - t) x0 + t eps, [Lipman23]; the network says eps - x0.
    Flow {
        /// The network is told t times this.
        time_scale: f64,
    },
}

impl Precondition {
    /// c_skip, c_out, c_in and c_noise at `sigma`.
    pub fn at(&self, sigma: Sigma) -> Coefficients {
        match self {
            Self::Discrete {
                schedule,
                prediction,
            } => {
                let (c_skip, c_out) = prediction.skip_and_out(sigma);
                Coefficients {
                    c_skip,
                    c_out,
                    c_in: sigma.alpha(),
                    c_noise: schedule.timestep_at(sigma),
                }
            }
            Self::Edm { sigma_data, .. } => edm(sigma, *sigma_data),
            Self::Flow { time_scale } => {
                let (c_skip, c_out) = Prediction::Flow.skip_and_out(sigma);
                let time = sigma.flow_time();
                Coefficients {
                    c_skip,
                    c_out,
                    c_in: 1.0 - time,
                    c_noise: time * time_scale,
                }
            }
        }
    }

    /// The level at a share of the schedule, 0 (least noise) to 1: even in timesteps, or in log sigma where there are none.
    pub fn sigma_at(&self, share: f64) -> Sigma {
        match self {
            Self::Discrete { schedule, .. } => {
                schedule.sigma_at(share * f64::from(schedule.last().0))
            }
            Self::Edm { range, .. } => {
                let (low, high) = (range.min().0.ln(), range.max().0.ln());
                Sigma((low + share * (high - low)).exp())
            }
            Self::Flow { .. } => {
                let (low, high) = (SigmaRange::FLOW.min(), SigmaRange::FLOW.max());
                let (low, high) = (low.flow_time(), high.flow_time());
                Sigma::from_flow_time(low + share * (high - low))
            }
        }
    }

    /// `steps` levels for sampling from such a network, then zero.
    pub fn levels(&self, spacing: Spacing, steps: usize) -> Result<Levels, LevelsError> {
        match self {
            Self::Discrete { schedule, .. } => spacing.levels(steps, schedule),
            Self::Edm { range, .. } => spacing.levels_between(steps, *range),
            Self::Flow { .. } => spacing.levels_between(steps, SigmaRange::FLOW),
        }
    }
}

/// [Karras22] table 1, column "Ours (EDM)".
fn edm(sigma: Sigma, sigma_data: f64) -> Coefficients {
    let (s2, d2) = (sigma.0 * sigma.0, sigma_data * sigma_data);
    let root = (s2 + d2).sqrt();
    Coefficients {
        c_skip: d2 / (s2 + d2),
        c_out: sigma.0 * sigma_data / root,
        c_in: 1.0 / root,
        c_noise: 0.25 * sigma.0.ln(),
    }
}
