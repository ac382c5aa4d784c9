//! Thresholds on denoised images: static to [-bound, bound], and dynamic by a percentile of each image,
//! [Saharia22] section 2.3. For pixels in [-1, 1]; latents want none.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::denoise::Denoise;
use crate::kind::{KindError, parse_kind, show_kind};
use crate::level::Sigma;

/// What is done to a denoised image that leaves its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Threshold {
    /// Nothing.
    #[default]
    None,
    /// Values beyond the bound are set to it.
    Static {
        /// 1 for pixels.
        bound: f64,
    },
    /// Values beyond s are set to it, then all are divided by s, where s is the percentile of the image's
    /// absolute values, but at least 1.
    Dynamic {
        /// A share in (0, 1]; 0.995 in the paper.
        percentile: f64,
    },
}

impl FromStr for Threshold {
    type Err = KindError;

    /// As in `dynamic:percentile=0.995`.
    fn from_str(text: &str) -> Result<Self, KindError> {
        parse_kind("threshold", text)
    }
}

impl fmt::Display for Threshold {
    /// As [`Threshold::from_str`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_kind(self, f)
    }
}

/// A threshold that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("threshold: {option} is {found}, expected {expected}")]
pub struct ThresholdError {
    /// The option's name.
    pub option: &'static str,
    /// Its value.
    pub found: f64,
    /// What it may be.
    pub expected: &'static str,
}

impl Threshold {
    /// Errs unless the bound is finite and above 0, or the percentile is above 0 and at most 1.
    pub fn check(self) -> Result<Self, ThresholdError> {
        let (option, found, expected, fits) = match self {
            Self::None => return Ok(self),
            Self::Static { bound } => (
                "bound",
                bound,
                "a finite number above 0",
                bound > 0.0 && bound.is_finite(),
            ),
            Self::Dynamic { percentile } => (
                "percentile",
                percentile,
                "above 0 and at most 1, as 0.995",
                percentile > 0.0 && percentile <= 1.0,
            ),
        };
        if fits {
            Ok(self)
        } else {
            Err(ThresholdError {
                option,
                found,
                expected,
            })
        }
    }

    /// The image [B, C, H, W] within its range.
    pub fn apply(self, denoised: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => denoised,
            Self::Static { bound } => denoised.clamp(-bound, bound),
            Self::Dynamic { percentile } => dynamic(denoised, percentile),
        }
    }
}

/// A denoiser whose images keep to a threshold.
#[derive(Clone, Debug)]
pub struct Thresholded<D> {
    net: D,
    threshold: Threshold,
}

impl<D: Denoise> Thresholded<D> {
    /// Wraps `net`; errs as [`Threshold::check`] does.
    pub fn new(net: D, threshold: Threshold) -> Result<Self, ThresholdError> {
        Ok(Self {
            net,
            threshold: threshold.check()?,
        })
    }
}

impl<D: Denoise> Denoise for Thresholded<D> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        self.threshold.apply(self.net.denoise(x, sigma))
    }
}

/// [Saharia22] section 2.3. Each image's values are sorted on the host.
fn dynamic(denoised: Tensor<4>, percentile: f64) -> Tensor<4> {
    let ([images, channels, height, width], device) = (denoised.dims(), denoised.device());
    let data = denoised.clone().abs().into_data_as::<f32>();
    let values: &[f32] = data.as_slice().unwrap_or_default();
    let scales: Vec<f32> = values
        .chunks_exact((channels * height * width).max(1))
        .map(|image| quantile(image, percentile).max(1.0))
        .collect();
    let scale = Tensor::from_data(TensorData::new(scales, [images, 1, 1, 1]), &device);
    (denoised / scale).clamp(-1.0, 1.0)
}

/// The `share` quantile, linear between ranks; `values` must not be empty.
fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    low + (place - place.floor()) as f32 * (high - low)
}
