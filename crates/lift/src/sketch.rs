//! What a dream begins with: pictures that the model draws of fixed views, all from one noise, so that they agree.
//! Each follows from the seed and its view alone: a dream that goes on draws them again.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::{Denoise, Unwatched};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::samplers::dpmpp_2m::dpmpp_2m;

use crate::error::LiftError;

/// Pictures in [-1, 1] `[3, S, S]` by the places of their views in a sweep.
#[derive(Default)]
pub struct Sketches(BTreeMap<u64, Vec<f32>>);

impl Sketches {
    /// The picture of the view at `place`, if it was drawn.
    pub fn get(&self, place: u64) -> Option<&[f32]> {
        self.0.get(&place).map(Vec::as_slice)
    }

    /// Keeps the picture of the view at `place`.
    pub fn keep(&mut self, place: u64, picture: Vec<f32>) {
        self.0.insert(place, picture);
    }
}

/// Levels for a sketch: `steps` of them at equal shares of the schedule, whose level at a share is `level`, and zero.
pub fn sketch_levels(level: &dyn Fn(f64) -> Sigma, steps: u32) -> Result<Levels, LiftError> {
    let down = (1..=steps).rev();
    let down = down.map(|i| level(f64::from(i) / f64::from(steps)));
    Ok(Levels::new(down.chain([Sigma(0.0)]).collect())?)
}

/// What `net` makes of nothing but the noise `eps` [B, C, H, W], in [-1, 1].
pub fn sketch(net: &dyn Denoise, eps: Tensor<4>, levels: &Levels) -> Result<Tensor<4>, LiftError> {
    let x = eps.mul_scalar(levels.first().0.hypot(1.0));
    Ok(dpmpp_2m(net, x, levels, &mut Unwatched)?.clamp(-1.0, 1.0))
}

/// `weight` times the way from the drawn picture to what is seen.
pub fn sketch_grad(seen: &[f32], drawn: &[f32], weight: f32) -> Vec<f32> {
    let pairs = seen.iter().zip(drawn);
    pairs.map(|(seen, drawn)| weight * (seen - drawn)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Each value is -1 or 1, each as likely.
    struct Signs;

    impl Denoise for Signs {
        fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
            x.div_scalar(sigma.0 * sigma.0).tanh()
        }
    }

    #[test]
    fn a_sketch_is_one_picture_and_not_the_mean_of_all() -> Result<(), LiftError> {
        let noise = vec![-1.3, -0.4, 0.2, 2.0];
        let eps = Tensor::from_data(TensorData::new(noise, [1, 1, 2, 2]), &Device::flex());
        let levels = sketch_levels(&|share| Sigma(10.0 * share.powi(3)), 8)?;
        let values = |x: Tensor<4>| x.to_data().iter::<f32>().collect::<Vec<_>>();
        let mean = values(Signs.denoise(eps.clone().mul_scalar(10.0), Sigma(10.0)));
        assert!(mean.iter().all(|x| x.abs() < 0.21), "{mean:?}");
        let drawn = values(sketch(&Signs, eps, &levels)?);
        for (x, sign) in drawn.iter().zip([-1.0, -1.0, 1.0, 1.0]) {
            assert!((x - sign).abs() < 0.02, "{drawn:?}");
        }
        Ok(())
    }

    #[test]
    fn a_step_against_the_gradient_ends_at_the_sketch() {
        let (seen, drawn) = ([0.5, -0.25], [-0.5, 1.0]);
        let gradient = sketch_grad(&seen, &drawn, 4.0);
        for i in 0..2 {
            assert_eq!(seen[i] - gradient[i] / 4.0, drawn[i]);
        }
    }
}
