//! Noise levels and the only conversions between their four scales: sigma, alpha_bar, log-SNR, timestep.
//! [Ho20] eq. 4, [Kingma21] for log-SNR, [Karras22] table 1 for variance-preserving sigmas.
//! Leaves out how a schedule's betas come about: see `schedule`.

use serde::{Deserialize, Serialize};

use crate::schedule::{ScheduleError, ScheduleSpec, alpha_bars};

/// Standard deviation of the noise in `x = x0 + sigma * eps`; dimensionless, at least 0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sigma(pub f64);

/// Index of a discrete training level, 0 (least noise) to T - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestep(pub u32);

/// Stands for infinity where a schedule has no signal left: f32 cannot tell x from pure noise here.
pub(crate) const MAX_SIGMA: Sigma = Sigma(1e6);

impl Sigma {
    /// sigma = sqrt((1 - alpha_bar) / alpha_bar) for `alpha_bar` in (0, 1].
    pub fn from_alpha_bar(alpha_bar: f64) -> Self {
        Self(((1.0 - alpha_bar) / alpha_bar).sqrt())
    }

    /// alpha_bar = 1 / (1 + sigma^2): the share of signal variance in variance-preserving coordinates.
    pub fn alpha_bar(self) -> f64 {
        1.0 / (1.0 + self.0 * self.0)
    }

    /// alpha = sqrt(alpha_bar): `x_t = alpha * x` leads to variance-preserving coordinates.
    pub fn alpha(self) -> f64 {
        self.alpha_bar().sqrt()
    }

    /// log(alpha^2 / sigma_vp^2) = -2 ln sigma; infinite at sigma 0.
    pub fn log_snr(self) -> f64 {
        -2.0 * self.0.ln()
    }

    /// The inverse of [`Sigma::log_snr`].
    pub fn from_log_snr(log_snr: f64) -> Self {
        Self((-0.5 * log_snr).exp())
    }

    /// Signal-to-noise ratio 1 / sigma^2.
    pub fn snr(self) -> f64 {
        1.0 / (self.0 * self.0)
    }

    /// Time t in [0, 1) of the straight path `x_t = (1 - t) x0 + t eps` ([Lipman23]): t = sigma / (1 + sigma).
    pub fn flow_time(self) -> f64 {
        self.0 / (1.0 + self.0)
    }

    /// The inverse of [`Sigma::flow_time`], for `time` in [0, 1).
    pub fn from_flow_time(time: f64) -> Self {
        Self(time / (1.0 - time))
    }
}

/// A trained table of T levels: sigma and alpha_bar for each timestep, and interpolation between them.
///
/// Betas are rounded to f32, multiplied up in f64 and rounded to f32 again, as the reference
/// implementation does, because published weights were trained on exactly those levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    spec: ScheduleSpec,
    alpha_bars: Vec<f64>,
    sigmas: Vec<f64>,
}

impl Schedule {
    /// Builds the table that `spec` describes.
    pub fn new(spec: &ScheduleSpec) -> Result<Self, ScheduleError> {
        let alpha_bars = alpha_bars(spec)?;
        let sigmas = alpha_bars
            .iter()
            .map(|&a| Sigma::from_alpha_bar(a).0)
            .collect();
        Ok(Self {
            spec: spec.clone(),
            alpha_bars,
            sigmas,
        })
    }

    /// What this table was made from.
    pub fn spec(&self) -> &ScheduleSpec {
        &self.spec
    }

    /// T, the number of levels.
    pub fn timesteps(&self) -> u32 {
        self.spec.timesteps
    }

    /// The noisiest timestep, T - 1.
    pub fn last(&self) -> Timestep {
        Timestep(self.timesteps() - 1)
    }

    /// Product of (1 - beta) up to and including `timestep`; timesteps above T - 1 count as T - 1.
    pub fn alpha_bar(&self, timestep: Timestep) -> f64 {
        self.alpha_bars[self.row(timestep)]
    }

    /// The noise level of `timestep`; timesteps above T - 1 count as T - 1.
    pub fn sigma(&self, timestep: Timestep) -> Sigma {
        Sigma(self.sigmas[self.row(timestep)])
    }

    /// The level at timestep 0.
    pub fn sigma_min(&self) -> Sigma {
        Sigma(self.sigmas[0])
    }

    /// The level at timestep T - 1.
    pub fn sigma_max(&self) -> Sigma {
        self.sigma(self.last())
    }

    /// The level at a fractional timestep, linear in log sigma, clamped to the table; exact at whole timesteps.
    pub fn sigma_at(&self, time: f64) -> Sigma {
        let time = time.clamp(0.0, f64::from(self.last().0));
        let below = time.floor();
        let (row, part) = (below as usize, time - below);
        if part == 0.0 {
            return Sigma(self.sigmas[row]);
        }
        let (low, high) = (self.sigmas[row].ln(), self.sigmas[row + 1].ln());
        Sigma((low + part * (high - low)).exp())
    }

    /// The fractional timestep of a level, linear in log sigma, clamped to the table; exact at its entries.
    pub fn timestep_at(&self, sigma: Sigma) -> f64 {
        // The table rises strictly, so this is the number of entries below sigma.
        let above = self.sigmas.partition_point(|&entry| entry < sigma.0);
        match self.sigmas.get(above) {
            None => f64::from(self.last().0),
            Some(&entry) if above == 0 || entry == sigma.0 => above as f64,
            Some(&entry) => {
                let (low, high) = (self.sigmas[above - 1].ln(), entry.ln());
                (above - 1) as f64 + (sigma.0.ln() - low) / (high - low)
            }
        }
    }

    fn row(&self, timestep: Timestep) -> usize {
        timestep.0.min(self.last().0) as usize
    }
}
