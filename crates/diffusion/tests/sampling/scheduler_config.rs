//! scheduler_config.json: what published models say, and what ours say to the reference.

use dreamsmith_diffusion::precondition::Precondition;
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::schedule::{Betas, TerminalSnr};
use dreamsmith_diffusion::scheduler_config::{SchedulerConfig, SchedulerConfigError};
use dreamsmith_diffusion::spacing::{SigmaRange, Spacing};
use dreamsmith_diffusion::threshold::Threshold;

use crate::setting::schedule;

fn discrete(betas: Betas, terminal_snr: TerminalSnr, prediction: Prediction) -> Precondition {
    Precondition::Discrete {
        schedule: schedule(betas, 1000, terminal_snr),
        prediction,
    }
}

#[test]
fn reads_stable_diffusion() {
    let config = SchedulerConfig::parse(
        r#"{ "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
             "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
             "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
             "trained_betas": null, "clip_sample": false }"#,
    )
    .unwrap();
    let betas = Betas::ScaledLinear {
        start: 0.00085,
        end: 0.012,
    };
    assert_eq!(
        config.precondition,
        discrete(betas, TerminalSnr::AsTrained, Prediction::Epsilon)
    );
    assert_eq!(config.spacing, Spacing::Leading { offset: 1 });
    assert_eq!(config.threshold, Threshold::None);
}

#[test]
fn reads_deepfloyd_thresholds() {
    let config = SchedulerConfig::parse(
        r#"{ "_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "clip_sample": true,
             "clip_sample_range": 1.0, "dynamic_thresholding_ratio": 0.95, "num_train_timesteps": 1000,
             "prediction_type": "epsilon", "sample_max_value": 1.5, "thresholding": true,
             "variance_type": "learned_range" }"#,
    )
    .unwrap();
    assert_eq!(
        config.precondition,
        discrete(
            Betas::Cosine {},
            TerminalSnr::AsTrained,
            Prediction::Epsilon
        )
    );
    assert_eq!(config.threshold, Threshold::Dynamic { percentile: 0.95 });
}

#[test]
fn what_is_written_is_read_back() {
    let linear = Betas::Linear {
        start: 1e-4,
        end: 0.02,
    };
    let configs = [
        (
            discrete(linear, TerminalSnr::Zero, Prediction::Velocity),
            Spacing::Trailing {},
        ),
        (
            discrete(Betas::Cosine {}, TerminalSnr::AsTrained, Prediction::Sample),
            Spacing::Leading { offset: 1 },
        ),
        (
            discrete(
                Betas::Sigmoid {
                    start: 1e-4,
                    end: 0.02,
                },
                TerminalSnr::AsTrained,
                Prediction::Epsilon,
            ),
            Spacing::Linspace {},
        ),
        (
            Precondition::Edm {
                sigma_data: 0.4,
                range: SigmaRange::EDM,
            },
            Spacing::Karras { rho: 5.0 },
        ),
        (
            Precondition::Flow { time_scale: 1000.0 },
            Spacing::Flow { shift: 3.0 },
        ),
    ];
    for (precondition, spacing) in configs {
        let thresholds = match precondition {
            Precondition::Discrete { .. } => {
                vec![
                    Threshold::None,
                    Threshold::Static { bound: 2.0 },
                    Threshold::Dynamic { percentile: 0.9 },
                ]
            }
            _ => vec![Threshold::None],
        };
        for threshold in thresholds {
            let config = SchedulerConfig {
                precondition: precondition.clone(),
                spacing,
                threshold,
            };
            let json = config.to_json().unwrap().to_string();
            assert_eq!(SchedulerConfig::parse(&json).unwrap(), config, "{json}");
        }
    }
}

#[test]
fn unknown_words_are_errors_that_name_them() {
    for (json, key) in [
        (r#"{"beta_schedule": "exp"}"#, "beta_schedule"),
        (r#"{"prediction_type": "score"}"#, "prediction_type"),
        (r#"{"timestep_spacing": "odd"}"#, "timestep_spacing"),
        (r#"{"trained_betas": [0.1]}"#, "trained_betas"),
        (
            r#"{"_class_name": "EDMEulerScheduler", "sigma_schedule": "odd"}"#,
            "sigma_schedule",
        ),
        (r#"{"num_train_timesteps": 0}"#, "timesteps"),
        (
            r#"{"_class_name": "EDMEulerScheduler", "sigma_min": 90}"#,
            "range",
        ),
        ("{", "JSON"),
    ] {
        let error = SchedulerConfig::parse(json).unwrap_err();
        let text = error.to_string();
        let named =
            key == "JSON" && matches!(error, SchedulerConfigError::Json(_)) || text.contains(key);
        assert!(named, "{text}");
    }
    let flow = discrete(Betas::Cosine {}, TerminalSnr::AsTrained, Prediction::Flow);
    let config = SchedulerConfig {
        precondition: flow,
        spacing: Spacing::Trailing {},
        threshold: Threshold::None,
    };
    assert!(matches!(
        config.to_json(),
        Err(SchedulerConfigError::DiscreteFlow)
    ));
}
