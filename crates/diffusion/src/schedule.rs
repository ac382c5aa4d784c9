//! Beta schedules: linear [Ho20], scaled-linear [Rombach22], cosine [Nichol21], sigmoid [Xu22], any T,
//! and the rescale to zero terminal SNR [Lin24]. Leaves out levels between timesteps: see `level`.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use crate::level::MAX_SIGMA;

/// How much noise each timestep adds: beta_t for t = 0 .. T - 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Betas {
    /// From `start` to `end` in equal steps, whatever T is.
    Linear {
        /// beta of timestep 0.
        start: f64,
        /// beta of timestep T - 1.
        end: f64,
    },
    /// The square root of beta goes from sqrt(start) to sqrt(end) in equal steps.
    ScaledLinear {
        /// beta of timestep 0.
        start: f64,
        /// beta of timestep T - 1.
        end: f64,
    },
    /// alpha_bar follows a squared cosine; s = 0.008, beta at most 0.999 ([Nichol21] eq. 17).
    Cosine {},
    /// beta follows a sigmoid over [-6, 6], scaled to `start` .. `end`.
    Sigmoid {
        /// beta at minus infinity.
        start: f64,
        /// beta at plus infinity.
        end: f64,
    },
}

/// What happens to the signal that is left at timestep T - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TerminalSnr {
    /// It stays as the betas have it.
    #[default]
    AsTrained,
    /// sqrt(alpha_bar) is shifted and scaled so that nothing is left ([Lin24] algorithm 1).
    Zero,
}

/// Everything that fixes a table of levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The betas.
    #[serde(default)]
    pub betas: Betas,
    /// T, the number of training timesteps.
    #[serde(default = "default_timesteps")]
    pub timesteps: u32,
    /// What is left at the last timestep.
    #[serde(default)]
    pub terminal_snr: TerminalSnr,
}

/// A schedule that cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// T out of range.
    #[error("schedule: {found} timesteps, expected 2 to {MAX_TIMESTEPS}; 1000 is usual")]
    Timesteps {
        /// What was asked for.
        found: u32,
    },
    /// Betas outside 0 < start <= end < 1.
    #[error(
        "schedule: beta goes from {start} to {end}, expected 0 < start <= end < 1, as 0.0001 to 0.02"
    )]
    Range {
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
    /// The signal fades below what f32 can tell apart before the last timestep.
    #[error(
        "schedule: no signal is left from timestep {timestep} of {timesteps} on; take fewer timesteps or smaller betas"
    )]
    Exhausted {
        /// First timestep whose level is not above the one before.
        timestep: usize,
        /// T.
        timesteps: u32,
    },
}

/// More timesteps than this only cost memory: sigma would not rise from one to the next in f32.
pub const MAX_TIMESTEPS: u32 = 100_000;

const COSINE_OFFSET: f64 = 0.008;
const COSINE_MAX_BETA: f64 = 0.999;
const SIGMOID_REACH: f64 = 6.0;

fn default_timesteps() -> u32 {
    1000
}

impl Default for Betas {
    /// The linear schedule of [Ho20].
    fn default() -> Self {
        Self::Linear {
            start: 1e-4,
            end: 0.02,
        }
    }
}

impl Default for ScheduleSpec {
    fn default() -> Self {
        Self {
            betas: Betas::default(),
            timesteps: default_timesteps(),
            terminal_snr: TerminalSnr::default(),
        }
    }
}

impl Betas {
    /// beta_t for t = 0 .. T - 1, in f64.
    pub fn values(self, timesteps: u32) -> Vec<f64> {
        let line = |from: f64, to: f64| {
            let gaps = f64::from(timesteps.saturating_sub(1).max(1));
            (0..timesteps).map(move |t| from + (to - from) * f64::from(t) / gaps)
        };
        match self {
            Self::Linear { start, end } => line(start, end).collect(),
            Self::ScaledLinear { start, end } => line(start.sqrt(), end.sqrt())
                .map(|root| root * root)
                .collect(),
            Self::Cosine {} => {
                let alpha_bar = |t: u32| {
                    let part = f64::from(t) / f64::from(timesteps);
                    ((part + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * FRAC_PI_2)
                        .cos()
                        .powi(2)
                };
                (0..timesteps)
                    .map(|t| (1.0 - alpha_bar(t + 1) / alpha_bar(t)).min(COSINE_MAX_BETA))
                    .collect()
            }
            Self::Sigmoid { start, end } => line(-SIGMOID_REACH, SIGMOID_REACH)
                .map(|x| start + (end - start) / (1.0 + (-x).exp()))
                .collect(),
        }
    }

    fn check(self) -> Result<(), ScheduleError> {
        match self {
            Self::Cosine {} => Ok(()),
            Self::Linear { start, end }
            | Self::ScaledLinear { start, end }
            | Self::Sigmoid { start, end } => {
                let fits = 0.0 < start && start <= end && end < 1.0;
                if fits {
                    Ok(())
                } else {
                    Err(ScheduleError::Range { start, end })
                }
            }
        }
    }
}

/// The falling alpha_bar table of `spec`, T values, each exactly an f32.
pub(crate) fn alpha_bars(spec: &ScheduleSpec) -> Result<Vec<f64>, ScheduleError> {
    spec.betas.check()?;
    if !(2..=MAX_TIMESTEPS).contains(&spec.timesteps) {
        return Err(ScheduleError::Timesteps {
            found: spec.timesteps,
        });
    }
    let to_f32 = |value: f64| f64::from(value as f32);
    let products = spec
        .betas
        .values(spec.timesteps)
        .into_iter()
        .scan(1.0, |product, beta| {
            *product *= f64::from(1.0 - beta as f32);
            Some(to_f32(*product))
        });
    let mut table: Vec<f64> = products.collect();
    if spec.terminal_snr == TerminalSnr::Zero {
        remove_terminal_signal(&mut table);
        table
            .iter_mut()
            .for_each(|alpha_bar| *alpha_bar = to_f32(*alpha_bar));
    }
    // Not `<=`: a NaN must count as a fault too.
    match (1..table.len()).find(|&t| !(table[t] < table[t - 1] && table[t] > 0.0)) {
        Some(timestep) => Err(ScheduleError::Exhausted {
            timestep,
            timesteps: spec.timesteps,
        }),
        None => Ok(table),
    }
}

/// [Lin24] algorithm 1: sqrt(alpha_bar) loses its last value and is stretched to keep its first.
/// The last alpha_bar would be 0, whose sigma is infinite; ours is the highest that f32 has a use for.
fn remove_terminal_signal(table: &mut [f64]) {
    let (first, last) = (table[0].sqrt(), table[table.len() - 1].sqrt());
    for alpha_bar in table.iter_mut() {
        *alpha_bar = ((alpha_bar.sqrt() - last) * first / (first - last)).powi(2);
    }
    if let Some(end) = table.last_mut() {
        *end = MAX_SIGMA.alpha_bar();
    }
}
