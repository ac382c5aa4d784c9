//! Score distillation through our own denoisers against the paper's formulas in f64: see tools/golden/distill.py.

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_diffusion::denoise::{Denoiser, Network};
use dreamsmith_diffusion::guidance::{Guidance, GuidanceSpec, Guided};
use dreamsmith_diffusion::level::{Schedule, Timestep};
use dreamsmith_diffusion::prediction::Prediction;
use dreamsmith_diffusion::schedule::{Betas, ScheduleSpec};
use dreamsmith_lift::distill::{LevelWeight, sds_grad};
use serde::Deserialize;

const SHAPE: [usize; 4] = [2, 3, 2, 2];

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    timestep: u32,
    scale: f64,
    weight: LevelWeight,
    gradient: Vec<f64>,
}

/// v = 0.3 x_t - 0.5 t / T + c.
struct Linear(f32);

impl Network for Linear {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        let time = time.mul_scalar(-0.5 / 1000.0).reshape([SHAPE[0], 1, 1, 1]);
        x.mul_scalar(0.3) + time.add_scalar(self.0)
    }
}

fn pattern(step: f64, shift: f64) -> Tensor<4> {
    let values =
        (0..SHAPE.iter().product::<usize>()).map(|i| (step * i as f64 + shift).sin() as f32);
    let data = TensorData::new(values.collect::<Vec<f32>>(), SHAPE);
    Tensor::from_data(data, &Device::flex())
}

#[test]
fn the_gradient_is_that_of_the_paper() -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/lift/sds.toml");
    let cases: Cases = toml::from_str(&std::fs::read_to_string(path)?)?;
    let schedule = Schedule::new(&ScheduleSpec {
        betas: Betas::Cosine {},
        ..ScheduleSpec::default()
    })?;
    assert_eq!(cases.case.len(), 18);
    for case in cases.case {
        let net = |c| Denoiser::discrete(Linear(c), schedule.clone(), Prediction::Velocity);
        let guidance = Guidance::new(GuidanceSpec {
            scale: case.scale,
            ..GuidanceSpec::default()
        })?;
        let net = Guided::new(net(0.2), net(-0.1), guidance);
        let at = (schedule.sigma(Timestep(case.timestep)), case.weight);
        let found = sds_grad(&net, pattern(0.7, 0.1), pattern(1.9, 0.4), at);
        let found: Vec<f32> = found.to_data().iter::<f32>().collect();
        for (found, expected) in found.iter().zip(&case.gradient) {
            // In f32, where x0 - D loses what sigma is smaller than x0, and guidance multiplies that.
            let most = 2e-6 * (1.0 + case.scale) * 30.0;
            let off = (f64::from(*found) - expected).abs();
            assert!(
                off < most,
                "{} {}: {found} {expected}",
                case.timestep,
                case.scale
            );
        }
    }
    Ok(())
}
