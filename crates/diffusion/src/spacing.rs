//! Where a sampler's levels lie: by timesteps ([Lin24] table 2), Karras ([Karras22] eq. 5), exponential,
//! polyexponential, Align Your Steps [Sabour24], flow with shift [Esser24], consistency [Luo23].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kind::{KindError, parse_kind, show_kind};
use crate::level::{MAX_SIGMA, Schedule, Sigma, Timestep};
use crate::levels::{Levels, LevelsError, MAX_STEPS};

/// A way to place levels. On the command line: `trailing`, `karras:rho=5`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Spacing {
    /// Timesteps from T - 1 to 0 in equal, rounded steps.
    Linspace {},
    /// Every (T / steps)-th timestep from `offset` up; never quite reaches T - 1.
    Leading {
        /// Added to each timestep; 1 for Stable Diffusion 1 and 2.
        #[serde(default)]
        offset: u32,
    },
    /// Timesteps from T - 1 down in steps of T / steps, rounded.
    Trailing {},
    /// Equal steps in sigma^(1/rho).
    Karras {
        /// 7 in the paper.
        #[serde(default = "karras_rho")]
        rho: f64,
    },
    /// Equal steps in log sigma.
    Exponential {},
    /// Equal steps in (position in log sigma)^(1/rho).
    Polyexponential {
        /// 1 is exponential.
        #[serde(default = "polyexponential_rho")]
        rho: f64,
    },
    /// The tables of Align Your Steps, interpolated in log sigma to any number of steps.
    AlignYourSteps {
        /// Whose table.
        #[serde(default)]
        table: AlignedTable,
    },
    /// Equal steps in flow time t, then t' = shift t / (1 + (shift - 1) t).
    Flow {
        /// 1 leaves t as it is; 3 for Stable Diffusion 3.
        #[serde(default = "flow_shift")]
        shift: f64,
    },
    /// A choice among the `origin` timesteps that a consistency model was distilled on.
    Consistency {
        /// 50 for the published models.
        #[serde(default = "consistency_origin")]
        origin: u32,
    },
}

/// The models that Align Your Steps was published for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlignedTable {
    /// Stable Diffusion 1.5.
    #[default]
    Sd1,
    /// Stable Diffusion XL.
    Sdxl,
}

/// The lowest and the highest level above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmaRange {
    min: f64,
    max: f64,
}

fn karras_rho() -> f64 {
    7.0
}

fn polyexponential_rho() -> f64 {
    1.0
}

fn flow_shift() -> f64 {
    1.0
}

fn consistency_origin() -> u32 {
    50
}

impl SigmaRange {
    /// 0.002 to 80: EDM, [Karras22] table 1.
    pub const EDM: Self = Self {
        min: 0.002,
        max: 80.0,
    };

    /// Flow times 0.001 to 0.999, for spacings that know sigma only.
    pub const FLOW: Self = Self {
        min: 0.001 / 0.999,
        max: 0.999 / 0.001,
    };

    /// A range with 0 < min < max.
    pub fn new(min: Sigma, max: Sigma) -> Result<Self, LevelsError> {
        let (min, max) = (min.0, max.0);
        if 0.0 < min && min < max && max.is_finite() {
            Ok(Self { min, max })
        } else {
            Err(LevelsError::Range { min, max })
        }
    }

    /// The lowest level.
    pub fn min(self) -> Sigma {
        Sigma(self.min)
    }

    /// The highest level.
    pub fn max(self) -> Sigma {
        Sigma(self.max)
    }

    /// The range of a trained table.
    pub fn of(schedule: &Schedule) -> Self {
        Self {
            min: schedule.sigma_min().0,
            max: schedule.sigma_max().0,
        }
    }
}

impl AlignedTable {
    /// Sigmas for 10 steps, from the paper's project page.
    fn sigmas(self) -> [f64; 11] {
        match self {
            Self::Sd1 => [
                14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029,
            ],
            Self::Sdxl => [
                14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029,
            ],
        }
    }
}

impl Spacing {
    /// Levels for a model of discrete timesteps: `steps` levels above zero, then zero.
    pub fn levels(self, steps: usize, schedule: &Schedule) -> Result<Levels, LevelsError> {
        match self.timesteps(steps, schedule.timesteps())? {
            Some(timesteps) => by_timesteps(&timesteps, schedule),
            None => self.levels_between(steps, SigmaRange::of(schedule)),
        }
    }

    /// Levels for a model without timesteps: `steps` levels within `range`, then zero.
    /// Align Your Steps and flow bring their own range.
    pub fn levels_between(self, steps: usize, range: SigmaRange) -> Result<Levels, LevelsError> {
        check_steps(steps, MAX_STEPS)?;
        let (low, high) = (range.min.ln(), range.max.ln());
        let mut sigmas: Vec<f64> = match self {
            Self::Linspace {}
            | Self::Leading { .. }
            | Self::Trailing {}
            | Self::Consistency { .. } => {
                return Err(LevelsError::NoTimesteps {
                    spacing: self.name(),
                });
            }
            Self::Karras { rho } => {
                self.positive("rho", rho)?;
                let (from, to) = (range.max.powf(1.0 / rho), range.min.powf(1.0 / rho));
                ramp(steps)
                    .map(|part| (from + part * (to - from)).powf(rho))
                    .collect()
            }
            Self::Exponential {} => ramp(steps)
                .map(|part| (high + part * (low - high)).exp())
                .collect(),
            Self::Polyexponential { rho } => {
                self.positive("rho", rho)?;
                ramp(steps)
                    .map(|part| (low + (1.0 - part).powf(rho) * (high - low)).exp())
                    .collect()
            }
            Self::AlignYourSteps { table } => log_linear(&table.sigmas(), steps),
            Self::Flow { shift } => {
                self.positive("shift", shift)?;
                let times = (1..=steps).rev().map(|i| i as f64 / steps as f64);
                let shifted = times.map(|t| shift * t / (1.0 + (shift - 1.0) * t));
                shifted
                    .map(|t| Sigma::from_flow_time(t).0.min(MAX_SIGMA.0))
                    .collect()
            }
        };
        sigmas.push(0.0);
        Levels::new(sigmas.into_iter().map(Sigma).collect())
    }

    /// The falling timesteps of a spacing that counts them, `None` for the others.
    fn timesteps(self, steps: usize, total: u32) -> Result<Option<Vec<u32>>, LevelsError> {
        let whole = total as usize;
        let timesteps: Vec<u32> = match self {
            Self::Linspace {} => {
                check_steps(steps, whole)?;
                let top = f64::from(total - 1);
                ramp(steps)
                    .map(|part| ((1.0 - part) * top).round_ties_even() as u32)
                    .collect()
            }
            Self::Leading { offset } => {
                check_steps(steps, whole)?;
                let stride = total / steps as u32;
                if u64::from(offset) + u64::from(stride) * (steps as u64 - 1) >= u64::from(total) {
                    return Err(LevelsError::Parameter {
                        spacing: self.name(),
                        parameter: "offset",
                        found: f64::from(offset),
                        expected: "that no timestep exceeds the schedule; take fewer steps",
                    });
                }
                (0..steps as u32)
                    .rev()
                    .map(|i| i * stride + offset)
                    .collect()
            }
            Self::Trailing {} => {
                check_steps(steps, whole)?;
                let (top, stride) = (f64::from(total), f64::from(total) / steps as f64);
                (0..steps)
                    .map(|i| (top - i as f64 * stride).round_ties_even() as u32 - 1)
                    .collect()
            }
            Self::Consistency { origin } => {
                if !(1..=total).contains(&origin) {
                    return Err(LevelsError::Parameter {
                        spacing: self.name(),
                        parameter: "origin",
                        found: f64::from(origin),
                        expected: "1 to the number of timesteps",
                    });
                }
                check_steps(steps, origin as usize)?;
                let (stride, count) = (total / origin, steps as u32);
                (0..count)
                    .map(|i| (origin - i * origin / count) * stride - 1)
                    .collect()
            }
            _ => return Ok(None),
        };
        Ok(Some(timesteps))
    }

    fn positive(self, parameter: &'static str, found: f64) -> Result<(), LevelsError> {
        if found > 0.0 && found.is_finite() {
            return Ok(());
        }
        Err(LevelsError::Parameter {
            spacing: self.name(),
            parameter,
            found,
            expected: "a finite number above 0",
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linspace {} => "linspace",
            Self::Leading { .. } => "leading",
            Self::Trailing {} => "trailing",
            Self::Karras { .. } => "karras",
            Self::Exponential {} => "exponential",
            Self::Polyexponential { .. } => "polyexponential",
            Self::AlignYourSteps { .. } => "align-your-steps",
            Self::Flow { .. } => "flow",
            Self::Consistency { .. } => "consistency",
        }
    }
}

impl fmt::Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_kind(self, f)
    }
}

impl FromStr for Spacing {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        parse_kind("spacing", text)
    }
}

fn check_steps(found: usize, limit: usize) -> Result<(), LevelsError> {
    if (1..=limit).contains(&found) {
        Ok(())
    } else {
        Err(LevelsError::Steps { found, limit })
    }
}

/// 0 to 1 in `steps` equal places; a single step sits at 0, the noisy end.
fn ramp(steps: usize) -> impl Iterator<Item = f64> {
    let gaps = steps.saturating_sub(1).max(1) as f64;
    (0..steps).map(move |i| i as f64 / gaps)
}

fn by_timesteps(timesteps: &[u32], schedule: &Schedule) -> Result<Levels, LevelsError> {
    let mut sigmas: Vec<f64> = timesteps
        .iter()
        .map(|&t| schedule.sigma(Timestep(t)).0)
        .collect();
    let middle = |pair: &[u32]| {
        schedule
            .sigma_at(0.5 * (f64::from(pair[0]) + f64::from(pair[1])))
            .0
    };
    let mut halfway: Vec<f64> = timesteps.windows(2).map(middle).collect();
    sigmas.push(0.0);
    halfway.push(0.0);
    Levels::with_halfway(sigmas, halfway)
}

/// `steps` of the `steps` + 1 points that stretch `table` log-linearly; the last of them gives way to zero.
fn log_linear(table: &[f64], steps: usize) -> Vec<f64> {
    let gaps = (table.len() - 1) as f64;
    let point = |i: usize| {
        let place = i as f64 / steps as f64 * gaps;
        let row = (place as usize).min(table.len() - 2);
        let (from, to) = (table[row].ln(), table[row + 1].ln());
        (from + (place - row as f64) * (to - from)).exp()
    };
    (0..steps).map(point).collect()
}
