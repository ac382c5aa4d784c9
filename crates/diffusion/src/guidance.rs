//! Classifier-free guidance, [Ho22]: uncond + scale (cond - uncond), scale 1 being unguided; within an interval
//! of levels, [Kynkaanniemi24]; with the contrast brought back by [Lin24] section 3.4. On denoised images.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::denoise::Denoise;
use crate::level::Sigma;

/// How strongly, where, and with how much rescaling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuidanceSpec {
    /// 1 is conditional only, 0 is unconditional.
    pub scale: f64,
    /// No guidance at levels below this.
    pub sigma_min: f64,
    /// No guidance at levels above this.
    pub sigma_max: f64,
    /// Share of [Lin24] eq. 16 mixed in, 0 to 1; the paper takes 0.7 for large scales.
    pub rescale: f64,
}

/// Above every level there is, and unlike infinity a number in JSON.
const ANY_SIGMA: f64 = 1e9;

impl Default for GuidanceSpec {
    fn default() -> Self {
        Self {
            scale: 1.0,
            sigma_min: 0.0,
            sigma_max: ANY_SIGMA,
            rescale: 0.0,
        }
    }
}

/// Guidance that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("guidance: {option} is {found}, expected {expected}")]
pub struct GuidanceError {
    /// The option's name.
    pub option: &'static str,
    /// Its value.
    pub found: f64,
    /// What it may be.
    pub expected: &'static str,
}

/// Checked guidance, to be put around pairs of denoisers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance(GuidanceSpec);

impl Guidance {
    /// Errs on a scale or interval that is no number, a negative interval, or a rescale outside 0 to 1.
    pub fn new(spec: GuidanceSpec) -> Result<Self, GuidanceError> {
        let check = |option, found: f64, expected, fits: bool| {
            if fits {
                Ok(())
            } else {
                Err(GuidanceError {
                    option,
                    found,
                    expected,
                })
            }
        };
        let GuidanceSpec {
            scale,
            sigma_min,
            sigma_max,
            rescale,
        } = spec;
        check(
            "scale",
            scale,
            "a finite number; 1 is unguided",
            scale.is_finite(),
        )?;
        check(
            "sigma_min",
            sigma_min,
            "a finite number, at least 0",
            sigma_min >= 0.0 && sigma_min.is_finite(),
        )?;
        check(
            "sigma_max",
            sigma_max,
            "at least sigma_min",
            sigma_max >= sigma_min,
        )?;
        check("rescale", rescale, "0 to 1", (0.0..=1.0).contains(&rescale))?;
        Ok(Self(spec))
    }

    /// The scale at one level: 1 outside the interval.
    pub fn scale_at(&self, sigma: Sigma) -> f64 {
        if (self.0.sigma_min..=self.0.sigma_max).contains(&sigma.0) {
            self.0.scale
        } else {
            1.0
        }
    }

    /// The guided denoised image from both, [B, C, H, W].
    pub fn combine(&self, cond: Tensor<4>, uncond: Tensor<4>, scale: f64) -> Tensor<4> {
        let guided = uncond.clone() + (cond.clone() - uncond).mul_scalar(scale);
        match self.0.rescale {
            0.0 => guided,
            // [Lin24] eq. 15 and 16, on denoised images rather than on v; the two agree at zero terminal SNR.
            share => {
                let factor = std_per_image(cond)
                    / std_per_image(guided.clone()).clamp_min(f32::MIN_POSITIVE);
                guided * factor.mul_scalar(share).add_scalar(1.0 - share)
            }
        }
    }
}

/// A conditional and an unconditional (or negative) denoiser, guided.
#[derive(Clone, Debug)]
pub struct Guided<C, U> {
    cond: C,
    uncond: U,
    guidance: Guidance,
}

impl<C: Denoise, U: Denoise> Guided<C, U> {
    /// At scale 1, and outside the interval, `cond` alone is evaluated; at scale 0 `uncond` alone.
    pub fn new(cond: C, uncond: U, guidance: Guidance) -> Self {
        Self {
            cond,
            uncond,
            guidance,
        }
    }
}

impl<C: Denoise, U: Denoise> Denoise for Guided<C, U> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        match self.guidance.scale_at(sigma) {
            1.0 => self.cond.denoise(x, sigma),
            0.0 => self.uncond.denoise(x, sigma),
            scale => {
                let cond = self.cond.denoise(x.clone(), sigma);
                self.guidance
                    .combine(cond, self.uncond.denoise(x, sigma), scale)
            }
        }
    }
}

/// [B, C, H, W] to [B, 1, 1, 1]: each image's standard deviation over all its values.
fn std_per_image(x: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = x.dims();
    let rows: Tensor<2> = x.reshape([images, channels * height * width]);
    let centred = rows.clone() - rows.mean_dim(1);
    centred
        .square()
        .mean_dim(1)
        .sqrt()
        .reshape([images, 1, 1, 1])
}
