//! The closed list of samplers: names, options and defaults for files and the command line, and one way to run them.
//! Adds nothing to the samplers themselves but a check of their options and of their result.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{ElementConversion, Tensor};
use serde::{Deserialize, Serialize};

use crate::denoise::{Denoise, Noise, Watch};
use crate::kind::{KindError, parse_kind, show_kind};
use crate::levels::Levels;
use crate::samplers::ddim::ddim;
use crate::samplers::ddpm::{Variance, ddpm};
use crate::samplers::dpm2::dpm2;
use crate::samplers::dpmpp_2m::dpmpp_2m;
use crate::samplers::dpmpp_2m_sde::{Correction, SdeOptions, dpmpp_2m_sde};
use crate::samplers::dpmpp_2s_ancestral::dpmpp_2s_ancestral;
use crate::samplers::edm::{Churn, edm};
use crate::samplers::euler::euler;
use crate::samplers::euler_ancestral::euler_ancestral;
use crate::samplers::heun::heun;
use crate::samplers::lcm::lcm;
use crate::samplers::lms::{self, lms};
use crate::samplers::pndm::{WarmUp, pndm};
use crate::samplers::unipc::{self, Variant, unipc};

/// A sampler and its options. On the command line: `heun`, `ddim:eta=0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sampler {
    /// [`mod@crate::samplers::ddpm`].
    Ddpm {
        /// Of each reverse step.
        #[serde(default)]
        variance: Variance,
    },
    /// [`mod@crate::samplers::ddim`].
    Ddim {
        /// Share of the posterior's noise, 0 to 1.
        #[serde(default)]
        eta: f64,
    },
    /// [`mod@crate::samplers::euler`].
    Euler {},
    /// [`mod@crate::samplers::euler_ancestral`].
    EulerAncestral {},
    /// [`mod@crate::samplers::heun`].
    Heun {},
    /// [`mod@crate::samplers::dpm2`].
    Dpm2 {},
    /// [`mod@crate::samplers::dpmpp_2s_ancestral`].
    #[serde(rename = "dpmpp-2s-ancestral")]
    DpmPp2sAncestral {
        /// Share of the posterior's noise, 0 to 1.
        #[serde(default = "full_noise")]
        eta: f64,
    },
    /// [`mod@crate::samplers::dpmpp_2m`].
    #[serde(rename = "dpmpp-2m")]
    DpmPp2m {},
    /// [`mod@crate::samplers::dpmpp_2m_sde`].
    #[serde(rename = "dpmpp-2m-sde")]
    DpmPp2mSde {
        /// Amount of noise, at least 0.
        #[serde(default = "full_noise")]
        eta: f64,
        /// The second-order term.
        #[serde(default)]
        correction: Correction,
    },
    /// [`mod@crate::samplers::lms`].
    Lms {
        /// 1 to 4.
        #[serde(default = "lms_order")]
        order: usize,
    },
    /// [`mod@crate::samplers::pndm`].
    Pndm {
        /// Of the first steps.
        #[serde(default)]
        warm_up: WarmUp,
    },
    /// [`mod@crate::samplers::unipc`].
    #[serde(rename = "unipc")]
    UniPc {
        /// 1 to 3.
        #[serde(default = "unipc_order")]
        order: usize,
        /// Of B(h).
        #[serde(default)]
        variant: Variant,
    },
    /// [`mod@crate::samplers::edm`].
    Edm(Churn),
    /// [`mod@crate::samplers::lcm`].
    Lcm {},
}

/// Why no picture came out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The watcher asked for it.
    #[error("sampling stopped at step {step} of {total}")]
    Stopped {
        /// Steps that were done.
        step: usize,
        /// Steps there would have been.
        total: usize,
    },
    /// An option out of range.
    #[error("sampler {sampler}: {option} is {found}, expected {expected}")]
    Option {
        /// The sampler's name.
        sampler: &'static str,
        /// The option's name.
        option: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// NaN or infinity in the result.
    #[error(
        "sampler {sampler}: the picture holds NaN or infinity after {steps} steps; check the weights, or lower the guidance scale"
    )]
    NotFinite {
        /// The sampler's name.
        sampler: &'static str,
        /// Steps that were done.
        steps: usize,
    },
}

fn full_noise() -> f64 {
    1.0
}

fn lms_order() -> usize {
    lms::MAX_ORDER
}

fn unipc_order() -> usize {
    2
}

impl Default for Sampler {
    /// DPM-Solver++(2M): second order at one evaluation a step.
    fn default() -> Self {
        Self::DpmPp2m {}
    }
}

impl Sampler {
    /// The names of all samplers, as the command line takes them.
    pub const NAMES: [&str; 14] = [
        "ddpm",
        "ddim",
        "euler",
        "euler-ancestral",
        "heun",
        "dpm2",
        "dpmpp-2s-ancestral",
        "dpmpp-2m",
        "dpmpp-2m-sde",
        "lms",
        "pndm",
        "unipc",
        "edm",
        "lcm",
    ];

    /// Its name, without options.
    pub fn name(&self) -> &'static str {
        let place = match self {
            Self::Ddpm { .. } => 0,
            Self::Ddim { .. } => 1,
            Self::Euler {} => 2,
            Self::EulerAncestral {} => 3,
            Self::Heun {} => 4,
            Self::Dpm2 {} => 5,
            Self::DpmPp2sAncestral { .. } => 6,
            Self::DpmPp2m {} => 7,
            Self::DpmPp2mSde { .. } => 8,
            Self::Lms { .. } => 9,
            Self::Pndm { .. } => 10,
            Self::UniPc { .. } => 11,
            Self::Edm(_) => 12,
            Self::Lcm {} => 13,
        };
        Self::NAMES[place]
    }

    /// x [B, C, H, W] at the first level of `levels`, walked down to the last.
    /// `noise` is drawn from by the stochastic samplers only.
    pub fn run(
        &self,
        net: &dyn Denoise,
        x: Tensor<4>,
        levels: &Levels,
        noise: &mut dyn Noise,
        watch: &mut dyn Watch,
    ) -> Result<Tensor<4>, SampleError> {
        self.check()?;
        let x = match *self {
            Self::Ddpm { variance } => ddpm(net, x, levels, variance, noise, watch),
            Self::Ddim { eta } => ddim(net, x, levels, eta, noise, watch),
            Self::Euler {} => euler(net, x, levels, watch),
            Self::EulerAncestral {} => euler_ancestral(net, x, levels, noise, watch),
            Self::Heun {} => heun(net, x, levels, watch),
            Self::Dpm2 {} => dpm2(net, x, levels, watch),
            Self::DpmPp2sAncestral { eta } => dpmpp_2s_ancestral(net, x, levels, eta, noise, watch),
            Self::DpmPp2m {} => dpmpp_2m(net, x, levels, watch),
            Self::DpmPp2mSde { eta, correction } => {
                dpmpp_2m_sde(net, x, levels, SdeOptions { eta, correction }, noise, watch)
            }
            Self::Lms { order } => lms(net, x, levels, order, watch),
            Self::Pndm { warm_up } => pndm(net, x, levels, warm_up, watch),
            Self::UniPc { order, variant } => unipc(net, x, levels, order, variant, watch),
            Self::Edm(churn) => edm(net, x, levels, &churn, noise, watch),
            Self::Lcm {} => lcm(net, x, levels, noise, watch),
        }?;
        // 0 x is NaN exactly where x is NaN or infinite.
        let trace: f32 = x.clone().mul_scalar(0.0).sum().into_scalar::<f32>().elem();
        if trace == 0.0 {
            Ok(x)
        } else {
            Err(SampleError::NotFinite {
                sampler: self.name(),
                steps: levels.n_steps(),
            })
        }
    }

    /// Errs if an option is out of range; [`Sampler::run`] does the same.
    pub fn check(&self) -> Result<(), SampleError> {
        let option = |option, found: f64, expected, fits: bool| {
            let fault = SampleError::Option {
                sampler: self.name(),
                option,
                found,
                expected,
            };
            if fits { Ok(()) } else { Err(fault) }
        };
        match self {
            Self::Ddim { eta } | Self::DpmPp2sAncestral { eta } => {
                option("eta", *eta, "0 to 1", (0.0..=1.0).contains(eta))
            }
            Self::DpmPp2mSde { eta, .. } => option(
                "eta",
                *eta,
                "a finite number, at least 0",
                *eta >= 0.0 && eta.is_finite(),
            ),
            Self::Lms { order } => option(
                "order",
                *order as f64,
                "1 to 4",
                (1..=lms::MAX_ORDER).contains(order),
            ),
            Self::UniPc { order, .. } => option(
                "order",
                *order as f64,
                "1 to 3",
                (1..=unipc::MAX_ORDER).contains(order),
            ),
            Self::Edm(churn) => {
                let not_below_zero = |value: f64| value >= 0.0 && !value.is_nan();
                option(
                    "amount",
                    churn.amount,
                    "at least 0",
                    not_below_zero(churn.amount),
                )?;
                option(
                    "sigma_min",
                    churn.sigma_min,
                    "at least 0",
                    not_below_zero(churn.sigma_min),
                )?;
                let above = churn.sigma_max >= churn.sigma_min;
                option("sigma_max", churn.sigma_max, "at least sigma_min", above)?;
                let scale = churn.noise_scale;
                option(
                    "noise_scale",
                    scale,
                    "a finite number, at least 0",
                    scale >= 0.0 && scale.is_finite(),
                )
            }
            Self::Ddpm { .. }
            | Self::Euler {}
            | Self::EulerAncestral {}
            | Self::Heun {}
            | Self::Dpm2 {}
            | Self::DpmPp2m {}
            | Self::Pndm { .. }
            | Self::Lcm {} => Ok(()),
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_kind(self, f)
    }
}

impl FromStr for Sampler {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        parse_kind("sampler", text)
    }
}
