//! Draws the first values of parameters, lazily, as PyTorch does by default [He15].
//! Each parameter has its own random stream and a fixed identity, in order of creation.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use dreamsmith_base::{Purpose, Stream};
use dreamsmith_kernels::{Packs, Precision};

/// How a parameter starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fill {
    Zeros,
    Ones,
    /// Uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's Kaiming-uniform with a = sqrt(5).
    FanIn(usize),
    /// Normal with this standard deviation.
    Normal(f32),
}

/// Hands out parameters that draw their values when they are first used.
///
/// Values depend on the seed and the order of creation only, never on the device or on threads.
/// Identities depend on `family` and that order, so that an optimiser's state finds its parameters
/// again in another process.
pub(crate) struct Init {
    seed: u64,
    device: Device,
    precision: Precision,
    family: u64,
    created: u64,
}

impl Init {
    pub(crate) fn new(seed: u64, device: &Device, precision: Precision, family: &str) -> Self {
        Self {
            seed,
            device: device.clone(),
            precision,
            family: fnv1a(family),
            created: 0,
        }
    }

    /// How attention multiplies.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// How a layer multiplies.
    pub(crate) fn packs(&self) -> Packs {
        Packs::new(self.precision)
    }

    pub(crate) fn param<const D: usize>(
        &mut self,
        shape: [usize; D],
        fill: Fill,
    ) -> Param<Tensor<D>> {
        let (seed, index) = (self.seed, self.created);
        self.created += 1;
        Param::uninitialized(
            ParamId::from(self.family.wrapping_add(index)),
            move |device, require_grad| {
                let values = draw(
                    fill,
                    shape.iter().product(),
                    Stream::new(seed, Purpose::Init, index),
                );
                let tensor = Tensor::from_data(TensorData::new(values, shape), device);
                if require_grad {
                    tensor.require_grad()
                } else {
                    tensor
                }
            },
            self.device.clone(),
            true,
            shape.into(),
        )
    }
}

fn draw(fill: Fill, n: usize, mut stream: Stream) -> Vec<f32> {
    match fill {
        Fill::Zeros => vec![0.0; n],
        Fill::Ones => vec![1.0; n],
        Fill::FanIn(fan_in) => {
            let bound = 1.0 / (fan_in as f32).sqrt();
            (0..n)
                .map(|_| bound * (2.0 * stream.uniform() - 1.0))
                .collect()
        }
        Fill::Normal(deviation) => (0..n).map(|_| deviation * stream.normal()).collect(),
    }
}

/// The FNV-1a hash, only to keep the identities of two kinds of networks apart.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
