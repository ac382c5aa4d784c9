//! Noise for sampling, one stream for each image: image i depends on its own seed and on how often noise was
//! drawn, never on the batch it is in. Native counter-based streams [Salmon11], or PyTorch's on the CPU.

use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream, TorchRng};

use crate::denoise::Noise;

/// Counter-based streams: draw n of an image is the stream (seed, sampling noise, n).
#[derive(Clone, Debug)]
pub struct NativeNoise {
    seeds: Vec<u64>,
    draws: u64,
}

impl NativeNoise {
    /// One seed for each image of the batch.
    pub fn new(seeds: &[u64]) -> Self {
        Self {
            seeds: seeds.to_vec(),
            draws: 0,
        }
    }
}

impl Noise for NativeNoise {
    /// # Panics
    /// If the batch does not have as many images as there are seeds.
    fn normal(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let draw = self.draws;
        self.draws += 1;
        let streams = self
            .seeds
            .iter()
            .map(|&seed| Stream::new(seed, Purpose::SampleNoise, draw));
        gather(
            shape,
            device,
            streams
                .map(|mut stream| stream.normals(per_image(shape)))
                .collect(),
        )
    }
}

/// What `torch.Generator("cpu").manual_seed(seed)` gives `torch.randn`, one generator for each image.
pub struct TorchNoise {
    generators: Vec<TorchRng>,
}

impl TorchNoise {
    /// One seed for each image of the batch.
    pub fn new(seeds: &[u64]) -> Self {
        Self {
            generators: seeds.iter().map(|&seed| TorchRng::new(seed)).collect(),
        }
    }
}

impl Noise for TorchNoise {
    /// # Panics
    /// If the batch does not have as many images as there are seeds.
    fn normal(&mut self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let images = self
            .generators
            .iter_mut()
            .map(|generator| generator.randn(per_image(shape)));
        gather(shape, device, images.collect())
    }
}

fn per_image([_, channels, height, width]: [usize; 4]) -> usize {
    channels * height * width
}

fn gather(shape: [usize; 4], device: &Device, images: Vec<Vec<f32>>) -> Tensor<4> {
    assert_eq!(
        images.len(),
        shape[0],
        "one noise seed for each image of the batch"
    );
    Tensor::from_data(TensorData::new(images.concat(), shape), device)
}
