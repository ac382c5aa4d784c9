//! Guidance away from several texts at once, without losing what they share with the one that is wanted: Perp-Neg,
//! [Armandpour23] eq. 10. On denoised images, which are as linear in eps as the paper's.

use burn::tensor::Tensor;

use crate::denoise::Denoise;
use crate::guidance::Guidance;
use crate::level::Sigma;

/// A denoiser of what is wanted and one that is told nothing, led away from others, each by its weight.
pub struct PerpNeg<D> {
    cond: D,
    uncond: D,
    negatives: Vec<(D, f64)>,
    guidance: Guidance,
}

impl<D: Denoise> PerpNeg<D> {
    /// At scale 1, and outside the guidance's interval, `cond` alone is evaluated.
    pub fn new(cond: D, uncond: D, negatives: Vec<(D, f64)>, guidance: Guidance) -> Self {
        Self {
            cond,
            uncond,
            negatives,
            guidance,
        }
    }
}

impl<D: Denoise> Denoise for PerpNeg<D> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let scale = self.guidance.scale_at(sigma);
        let cond = self.cond.denoise(x.clone(), sigma);
        if scale == 1.0 {
            return cond;
        }
        let uncond = self.uncond.denoise(x.clone(), sigma);
        let wanted = cond - uncond.clone();
        let mut way = wanted.clone();
        for (negative, weight) in &self.negatives {
            let away = negative.denoise(x.clone(), sigma) - uncond.clone();
            way = way - across(away, wanted.clone()).mul_scalar(*weight);
        }
        uncond + way.mul_scalar(scale)
    }
}

/// What of each image of `away` [B, C, H, W] is perpendicular to `wanted`.
fn across(away: Tensor<4>, wanted: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = away.dims();
    let dot = |a: &Tensor<4>, b: &Tensor<4>| {
        let products: Tensor<2> =
            (a.clone() * b.clone()).reshape([images, channels * height * width]);
        products.sum_dim(1).reshape([images, 1, 1, 1])
    };
    let share = dot(&away, &wanted) / dot(&wanted, &wanted).clamp_min(f32::MIN_POSITIVE);
    away - wanted * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guidance::{GuidanceError, GuidanceSpec};
    use burn::tensor::{Device, TensorData};

    /// Sees the same in everything: two images of two values.
    struct Sees([f32; 4]);

    impl Denoise for Sees {
        fn denoise(&self, _: Tensor<4>, _: Sigma) -> Tensor<4> {
            Tensor::from_data(
                TensorData::new(self.0.to_vec(), [2, 2, 1, 1]),
                &Device::flex(),
            )
        }
    }

    fn led(negative: [f32; 4], scale: f64) -> Result<Vec<f32>, GuidanceError> {
        let guidance = Guidance::new(GuidanceSpec {
            scale,
            ..GuidanceSpec::default()
        })?;
        let (cond, uncond) = (Sees([2.0, 1.0, 1.0, 3.0]), Sees([1.0; 4]));
        let net = PerpNeg::new(cond, uncond, vec![(Sees(negative), 0.5)], guidance);
        let x = Tensor::zeros([2, 2, 1, 1], &Device::flex());
        Ok(net.denoise(x, Sigma(1.0)).to_data().iter::<f32>().collect())
    }

    #[test]
    fn only_what_is_perpendicular_counts() -> Result<(), GuidanceError> {
        // Along the wanted way, (1, 0) and (0, 2): plain guidance.
        assert_eq!(led([4.0, 1.0, 1.0, -7.0], 3.0)?, [4.0, 1.0, 1.0, 7.0]);
        // Across it, (0, 1) and (1, 0): away from that by half of it, three times.
        assert_eq!(led([1.0, 2.0, 2.0, 1.0], 3.0)?, [4.0, -0.5, -0.5, 7.0]);
        // Both at once are as the second.
        assert_eq!(led([9.0, 2.0, 2.0, 9.0], 3.0)?, [4.0, -0.5, -0.5, 7.0]);
        assert_eq!(led([9.0, 2.0, 2.0, 9.0], 1.0)?, [2.0, 1.0, 1.0, 3.0]);
        Ok(())
    }
}
