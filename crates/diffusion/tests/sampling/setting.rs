//! What the golden tests share: the model x t / (t + 1), the starting sample, the noise of one generator.

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::TorchRng;
use dreamsmith_diffusion::denoise::{Network, Noise};
use dreamsmith_diffusion::level::Schedule;
use dreamsmith_diffusion::schedule::{Betas, ScheduleSpec, TerminalSnr};

pub const SHAPE: [usize; 4] = [4, 3, 8, 8];

/// The reference tests' model: its input times t / (t + 1).
pub struct Ratio;

impl Network for Ratio {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        let factor = time.clone() / time.add_scalar(1.0);
        let images = factor.dims()[0];
        x * factor.reshape([images, 1, 1, 1])
    }
}

pub fn device() -> Device {
    Device::flex()
}

pub fn linear(timesteps: u32) -> Schedule {
    schedule(Betas::default(), timesteps, TerminalSnr::AsTrained)
}

pub fn schedule(betas: Betas, timesteps: u32, terminal_snr: TerminalSnr) -> Schedule {
    Schedule::new(&ScheduleSpec {
        betas,
        timesteps,
        terminal_snr,
    })
    .unwrap()
}

/// k / 768, k = ((c 8 + h) 8 + w) 4 + b.
pub fn sample() -> Tensor<4> {
    counted(|k| k / 768.0)
}

/// (767 - k) / 768.
pub fn falling() -> Tensor<4> {
    counted(|k| (767.0 - k) / 768.0)
}

fn counted(value: impl Fn(f32) -> f32) -> Tensor<4> {
    let [images, channels, height, width] = SHAPE;
    let pixels = channels * height * width;
    let values = (0..images).flat_map(|b| (0..pixels).map(move |p| (p * images + b) as f32));
    Tensor::from_data(
        TensorData::new(values.map(value).collect::<Vec<f32>>(), SHAPE),
        &device(),
    )
}

pub fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

pub fn abs_sum(x: Tensor<4>) -> f64 {
    values(x).iter().map(|value| f64::from(value.abs())).sum()
}

/// One torch generator for the whole batch, as the reference's tests have it.
pub struct OneGenerator(pub TorchRng);

impl Noise for OneGenerator {
    fn normal(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let values = self.0.randn(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// Always the same noise.
pub struct Fixed(pub Tensor<4>);

impl Noise for Fixed {
    fn normal(&mut self, _shape: [usize; 4], _device: &Device) -> Tensor<4> {
        self.0.clone()
    }
}

/// For samplers that must not draw.
pub struct Silent;

impl Noise for Silent {
    fn normal(&mut self, _shape: [usize; 4], _device: &Device) -> Tensor<4> {
        panic!("a deterministic sampler drew noise")
    }
}
