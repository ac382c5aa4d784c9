//! The reference's `scheduler/scheduler_config.json`, read and written: schedule, prediction, spacing, threshold.
//! Leaves out which sampler it names, and settings that belong to one sampler only.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::level::{Schedule, Sigma};
use crate::levels::LevelsError;
use crate::precondition::Precondition;
use crate::prediction::Prediction;
use crate::schedule::{Betas, ScheduleError, ScheduleSpec, TerminalSnr};
use crate::spacing::{SigmaRange, Spacing};
use crate::threshold::Threshold;

/// How a published model is to be called and sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// The network's coordinates, levels and prediction.
    pub precondition: Precondition,
    /// Where its sampling levels lie.
    pub spacing: Spacing,
    /// What is done to its denoised images.
    pub threshold: Threshold,
}

/// A scheduler file that cannot be read, or a model that it cannot tell of.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerConfigError {
    /// Not JSON, or a value of the wrong type.
    #[error("scheduler_config.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A value that is not known here.
    #[error("scheduler_config.json: `{key}` is {found}, expected {expected}")]
    Value {
        /// Its key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is known.
        expected: &'static str,
    },
    /// Betas or T that make no schedule.
    #[error("scheduler_config.json: {0}")]
    Schedule(#[from] ScheduleError),
    /// A range of levels that is none.
    #[error("scheduler_config.json: {0}")]
    Levels(#[from] LevelsError),
    /// Flow predictions of discrete timesteps.
    #[error(
        "scheduler_config.json has no word for flow predictions on a beta schedule; train eps, v or x0"
    )]
    DiscreteFlow,
}

const DDIM: &str = "DDIMScheduler";
const DDPM: &str = "DDPMScheduler";
const FLOW: &str = "FlowMatchEulerDiscreteScheduler";
const EDM: &str = "EDMEulerScheduler";

/// The reference bounds dynamic thresholds; ours are not bounded, so this is out of reach.
const UNBOUNDED: f64 = 1e6;

/// The file's keys, with the reference's defaults; keys of single samplers are passed over as the reference does.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(rename = "_class_name")]
    class: String,
    num_train_timesteps: u32,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    trained_betas: Option<Vec<f64>>,
    prediction_type: String,
    rescale_betas_zero_snr: bool,
    timestep_spacing: Option<String>,
    steps_offset: u32,
    clip_sample: Option<bool>,
    clip_sample_range: f64,
    thresholding: bool,
    dynamic_thresholding_ratio: f64,
    sample_max_value: f64,
    use_karras_sigmas: bool,
    use_exponential_sigmas: bool,
    original_inference_steps: u32,
    shift: f64,
    sigma_min: f64,
    sigma_max: f64,
    sigma_data: f64,
    sigma_schedule: String,
    rho: f64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            class: String::new(),
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".to_owned(),
            trained_betas: None,
            prediction_type: "epsilon".to_owned(),
            rescale_betas_zero_snr: false,
            timestep_spacing: None,
            steps_offset: 0,
            clip_sample: None,
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            original_inference_steps: 50,
            shift: 1.0,
            sigma_min: SigmaRange::EDM.min().0,
            sigma_max: SigmaRange::EDM.max().0,
            sigma_data: 0.5,
            sigma_schedule: "karras".to_owned(),
            rho: 7.0,
        }
    }
}

impl SchedulerConfig {
    /// Reads the text of a `scheduler_config.json`.
    pub fn parse(json: &str) -> Result<Self, SchedulerConfigError> {
        let raw: Raw = serde_json::from_str(json)?;
        let threshold = raw.threshold();
        let (precondition, spacing) = match raw.class.as_str() {
            FLOW => {
                let time_scale = f64::from(raw.num_train_timesteps);
                (
                    Precondition::Flow { time_scale },
                    Spacing::Flow { shift: raw.shift },
                )
            }
            EDM => raw.edm()?,
            _ => {
                let schedule = Schedule::new(&raw.schedule()?)?;
                (
                    Precondition::Discrete {
                        schedule,
                        prediction: raw.prediction()?,
                    },
                    raw.spacing()?,
                )
            }
        };
        Ok(Self {
            precondition,
            spacing,
            threshold,
        })
    }

    /// The JSON that the reference reads. Spacings by sigma, which its plain samplers lack, become `trailing`.
    pub fn to_json(&self) -> Result<Value, SchedulerConfigError> {
        match &self.precondition {
            Precondition::Flow { time_scale } => {
                let shift = if let Spacing::Flow { shift } = self.spacing {
                    shift
                } else {
                    1.0
                };
                Ok(
                    json!({ "_class_name": FLOW, "num_train_timesteps": *time_scale as u32, "shift": shift }),
                )
            }
            Precondition::Edm { sigma_data, range } => {
                let (kind, rho) = match self.spacing {
                    Spacing::Karras { rho } => ("karras", rho),
                    _ => ("exponential", 7.0),
                };
                Ok(json!({
                    "_class_name": EDM,
                    "num_train_timesteps": 1000,
                    "prediction_type": "epsilon",
                    "sigma_min": range.min().0,
                    "sigma_max": range.max().0,
                    "sigma_data": sigma_data,
                    "sigma_schedule": kind,
                    "rho": rho,
                }))
            }
            Precondition::Discrete {
                schedule,
                prediction,
            } => self.discrete_json(schedule.spec(), *prediction),
        }
    }

    fn discrete_json(
        &self,
        spec: &ScheduleSpec,
        prediction: Prediction,
    ) -> Result<Value, SchedulerConfigError> {
        // Only the reference's DDPM knows the sigmoid schedule.
        let (class, kind, start, end) = match spec.betas {
            Betas::Linear { start, end } => (DDIM, "linear", start, end),
            Betas::ScaledLinear { start, end } => (DDIM, "scaled_linear", start, end),
            Betas::Cosine {} => (DDIM, "squaredcos_cap_v2", 1e-4, 0.02),
            Betas::Sigmoid { start, end } => (DDPM, "sigmoid", start, end),
        };
        let prediction = match prediction {
            Prediction::Epsilon => "epsilon",
            Prediction::Velocity => "v_prediction",
            Prediction::Sample => "sample",
            Prediction::Flow => return Err(SchedulerConfigError::DiscreteFlow),
        };
        let (spacing, offset) = match self.spacing {
            Spacing::Linspace {} => ("linspace", 0),
            Spacing::Leading { offset } => ("leading", offset),
            _ => ("trailing", 0),
        };
        let mut config = json!({
            "_class_name": class,
            "num_train_timesteps": spec.timesteps,
            "beta_schedule": kind,
            "beta_start": start,
            "beta_end": end,
            "trained_betas": null,
            "prediction_type": prediction,
            "rescale_betas_zero_snr": spec.terminal_snr == TerminalSnr::Zero,
            "timestep_spacing": spacing,
            "steps_offset": offset,
            "clip_sample": false,
            "thresholding": false,
        });
        if class == DDIM {
            config["set_alpha_to_one"] = true.into();
        }
        match self.threshold {
            Threshold::None => {}
            Threshold::Static { bound } => {
                config["clip_sample"] = true.into();
                config["clip_sample_range"] = bound.into();
            }
            Threshold::Dynamic { percentile } => {
                config["thresholding"] = true.into();
                config["dynamic_thresholding_ratio"] = percentile.into();
                config["sample_max_value"] = UNBOUNDED.into();
            }
        }
        Ok(config)
    }
}

impl Raw {
    fn schedule(&self) -> Result<ScheduleSpec, SchedulerConfigError> {
        if self.trained_betas.is_some() {
            return Err(value(
                "trained_betas",
                "a list",
                "null; name a beta_schedule",
            ));
        }
        let (start, end) = (self.beta_start, self.beta_end);
        let betas = match self.beta_schedule.as_str() {
            "linear" => Betas::Linear { start, end },
            "scaled_linear" => Betas::ScaledLinear { start, end },
            "squaredcos_cap_v2" => Betas::Cosine {},
            "sigmoid" => Betas::Sigmoid { start, end },
            other => {
                let known = "linear, scaled_linear, squaredcos_cap_v2 or sigmoid";
                return Err(value("beta_schedule", other, known));
            }
        };
        let terminal_snr = if self.rescale_betas_zero_snr {
            TerminalSnr::Zero
        } else {
            TerminalSnr::AsTrained
        };
        Ok(ScheduleSpec {
            betas,
            timesteps: self.num_train_timesteps,
            terminal_snr,
        })
    }

    fn prediction(&self) -> Result<Prediction, SchedulerConfigError> {
        match self.prediction_type.as_str() {
            "epsilon" => Ok(Prediction::Epsilon),
            "v_prediction" => Ok(Prediction::Velocity),
            "sample" => Ok(Prediction::Sample),
            other => Err(value(
                "prediction_type",
                other,
                "epsilon, v_prediction or sample",
            )),
        }
    }

    fn edm(&self) -> Result<(Precondition, Spacing), SchedulerConfigError> {
        if self.prediction_type != "epsilon" {
            return Err(value(
                "prediction_type",
                &self.prediction_type,
                "epsilon for an EDM scheduler",
            ));
        }
        let range = SigmaRange::new(Sigma(self.sigma_min), Sigma(self.sigma_max))?;
        let spacing = match self.sigma_schedule.as_str() {
            "karras" => Spacing::Karras { rho: self.rho },
            "exponential" => Spacing::Exponential {},
            other => return Err(value("sigma_schedule", other, "karras or exponential")),
        };
        Ok((
            Precondition::Edm {
                sigma_data: self.sigma_data,
                range,
            },
            spacing,
        ))
    }

    fn spacing(&self) -> Result<Spacing, SchedulerConfigError> {
        if self.use_karras_sigmas {
            return Ok(Spacing::Karras { rho: self.rho });
        }
        if self.use_exponential_sigmas {
            return Ok(Spacing::Exponential {});
        }
        if self.class == "LCMScheduler" {
            return Ok(Spacing::Consistency {
                origin: self.original_inference_steps,
            });
        }
        let old = ["", DDIM, DDPM, "PNDMScheduler"].contains(&self.class.as_str());
        match self
            .timestep_spacing
            .as_deref()
            .unwrap_or(if old { "leading" } else { "linspace" })
        {
            "linspace" => Ok(Spacing::Linspace {}),
            "leading" => Ok(Spacing::Leading {
                offset: self.steps_offset,
            }),
            "trailing" => Ok(Spacing::Trailing {}),
            other => Err(value(
                "timestep_spacing",
                other,
                "linspace, leading or trailing",
            )),
        }
    }

    fn threshold(&self) -> Threshold {
        // With its maximum at 1 the reference's dynamic threshold is a static one.
        if self.thresholding && self.sample_max_value > 1.0 {
            Threshold::Dynamic {
                percentile: self.dynamic_thresholding_ratio,
            }
        } else if self.thresholding {
            Threshold::Static { bound: 1.0 }
        } else if self
            .clip_sample
            .unwrap_or([DDIM, DDPM].contains(&self.class.as_str()))
        {
            Threshold::Static {
                bound: self.clip_sample_range,
            }
        } else {
            Threshold::None
        }
    }
}

fn value(key: &'static str, found: &str, expected: &'static str) -> SchedulerConfigError {
    SchedulerConfigError::Value {
        key,
        found: found.to_owned(),
        expected,
    }
}
