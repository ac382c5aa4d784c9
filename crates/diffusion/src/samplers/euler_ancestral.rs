//! Euler with ancestral noise: DDIM's split of each step, on any levels and with full noise by default.
//! Split as in [Song21] eq. 16. Leaves out flow models' own renoising.

use burn::tensor::Tensor;

use crate::denoise::{Denoise, Noise, Watch};
use crate::levels::Levels;
use crate::sampler::SampleError;
use crate::samplers::ddim::ddim;

/// x [B, C, H, W] walked down `levels`, all of the posterior's noise added back at each step.
pub fn euler_ancestral(
    net: &dyn Denoise,
    x: Tensor<4>,
    levels: &Levels,
    noise: &mut dyn Noise,
    watch: &mut dyn Watch,
) -> Result<Tensor<4>, SampleError> {
    ddim(net, x, levels, 1.0, noise, watch)
}
