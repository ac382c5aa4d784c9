//! The residual block [He16] with a time embedding [Ho20], also as down- and up-sampler.
//! Leaves out FIR filters, spatial and adaptive group norm, and dropout.

use burn::module::Module;
use burn::tensor::Tensor;
use dreamsmith_kernels::add_scaled;
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::error::NetError;
use crate::init::Init;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::resample;
use crate::time_embedding::TimeFeatures;

/// How a residual block uses the time embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Added before the second norm.
    #[default]
    Default,
    /// Scale and shift after the second norm [Dhariwal21].
    ScaleShift,
}

/// Whether a residual block changes the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Keep,
    Halve,
    Double,
}

/// What all residual blocks of a block share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetSpec {
    pub(crate) time_features: usize,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    pub(crate) act: Activation,
    pub(crate) time: TimeScaleShift,
    /// Use the time embedding as it is, without the activation.
    pub(crate) skip_time_act: bool,
    /// The sum with the residual is divided by this.
    pub(crate) output_scale_factor: f64,
}

/// Two convolutions and a residual.
#[derive(Module, Debug)]
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    spec: ResnetSpec,
    #[module(skip)]
    resolution: Resolution,
}

impl ResnetBlock2D {
    pub(crate) fn new(
        init: &mut Init,
        channels: (usize, usize),
        resolution: Resolution,
        spec: ResnetSpec,
    ) -> Result<Self, NetError> {
        let (inputs, outputs) = channels;
        let time_outputs = match spec.time {
            TimeScaleShift::Default => outputs,
            TimeScaleShift::ScaleShift => 2 * outputs,
        };
        Ok(Self {
            norm1: GroupNorm::new(init, inputs, spec.groups, spec.eps)?,
            conv1: Conv2d::same(init, inputs, outputs, 3),
            time_emb_proj: Linear::new(init, spec.time_features, time_outputs),
            norm2: GroupNorm::new(init, outputs, spec.groups, spec.eps)?,
            conv2: Conv2d::same(init, outputs, outputs, 3),
            conv_shortcut: (inputs != outputs).then(|| Conv2d::same(init, inputs, outputs, 1)),
            spec,
            resolution,
        })
    }

    /// `[B, in, H, W]` to `[B, out, H', W']`.
    pub(crate) fn forward(&self, x: Tensor<4>, time: &TimeFeatures) -> Tensor<4> {
        let act = self.spec.act;
        let h = self.norm1.forward_then(x.clone(), act);
        let (x, h) = match self.resolution {
            Resolution::Keep => (x, h),
            Resolution::Halve => (resample::halve(x), resample::halve(h)),
            Resolution::Double => (resample::double(x), resample::double(h)),
        };
        let time = if self.spec.skip_time_act {
            &time.raw
        } else {
            &time.activated
        };
        let time = self.time_emb_proj.forward(time.clone());
        let h = self.conv1.forward(h);
        let h = match self.spec.time {
            TimeScaleShift::Default => self.norm2.shifted_then(h, time, act),
            TimeScaleShift::ScaleShift => {
                let outputs = time.dims()[1] / 2;
                let [scale, shift] = [0, outputs].map(|i| time.clone().narrow(1, i, outputs));
                self.norm2.modulated_then(h, [scale, shift], act)
            }
        };
        let h = self.conv2.forward(h);
        let x = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        add_scaled(x, h, (1.0 / self.spec.output_scale_factor) as f32)
    }
}
