//! Loss weights: simple [Ho20], min-SNR-gamma [Hang23], P2 [Choi22], EDM [Karras22] table 1.
//! Weights are given for the squared error of what the network says, whichever prediction that is.

use serde::{Deserialize, Serialize};

use crate::level::Sigma;
use crate::prediction::Prediction;

/// How much the squared error at each level counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LossWeight {
    /// 1 for every level, on the prediction as it is: [Ho20] eq. 14.
    Simple {},
    /// min(SNR, gamma) on x0: [Hang23] section 3.4.
    MinSnr {
        /// 5 in the paper.
        #[serde(default = "min_snr_gamma")]
        gamma: f64,
    },
    /// 1 / (k + SNR)^gamma on eps: [Choi22] eq. 8.
    P2 {
        /// 1 in the paper.
        #[serde(default = "one")]
        gamma: f64,
        /// 1 in the paper.
        #[serde(default = "one")]
        k: f64,
    },
    /// (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 on x0: [Karras22] table 1.
    Edm {
        /// Standard deviation of the training images.
        #[serde(default = "sigma_data")]
        sigma_data: f64,
    },
}

/// A weight's parameter out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("loss weight: {parameter} is {found}, expected a finite number above 0")]
pub struct LossWeightError {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value.
    pub found: f64,
}

fn one() -> f64 {
    1.0
}

fn min_snr_gamma() -> f64 {
    5.0
}

fn sigma_data() -> f64 {
    0.5
}

impl Default for LossWeight {
    fn default() -> Self {
        Self::MinSnr {
            gamma: min_snr_gamma(),
        }
    }
}

impl LossWeight {
    /// Errs unless all parameters are finite and above 0.
    pub fn check(self) -> Result<Self, LossWeightError> {
        let positive = |parameter, found: f64| {
            let fits = found > 0.0 && found.is_finite();
            if fits {
                Ok(())
            } else {
                Err(LossWeightError { parameter, found })
            }
        };
        match self {
            Self::Simple {} => {}
            Self::MinSnr { gamma } => positive("gamma", gamma)?,
            Self::P2 { gamma, k } => positive("gamma", gamma).and_then(|()| positive("k", k))?,
            Self::Edm { sigma_data } => positive("sigma_data", sigma_data)?,
        }
        Ok(self)
    }

    /// The weight of the squared error of `prediction` at `sigma` above 0.
    pub fn at(self, prediction: Prediction, sigma: Sigma) -> f64 {
        // An error of the prediction is c_out times as large in x0.
        let (_, c_out) = prediction.skip_and_out(sigma);
        self.on_x0(sigma)
            .map_or(1.0, |weight| weight * c_out * c_out)
    }

    /// The weight of the squared error of an EDM-preconditioned network, [Karras22] eq. 8.
    pub fn at_c_out(self, c_out: f64, sigma: Sigma) -> f64 {
        self.on_x0(sigma)
            .map_or(1.0, |weight| weight * c_out * c_out)
    }

    /// The weight of the squared error of x0; `None` if it is defined on the prediction itself.
    fn on_x0(self, sigma: Sigma) -> Option<f64> {
        let snr = sigma.snr();
        match self {
            Self::Simple {} => None,
            Self::MinSnr { gamma } => Some(snr.min(gamma)),
            Self::P2 { gamma, k } => Some(snr / (k + snr).powf(gamma)),
            Self::Edm { sigma_data } => Some(snr + 1.0 / (sigma_data * sigma_data)),
        }
    }
}
