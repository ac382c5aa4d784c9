//! What a dream begins with: pictures that the model draws of fixed views, all from one noise, so that they agree; and
//! again, in later rounds, from what the field shows of them with noise on it, so that they agree better.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use dreamsmith_diffusion::denoise::{Denoise, Unwatched};
use dreamsmith_diffusion::level::Sigma;
use dreamsmith_diffusion::levels::Levels;
use dreamsmith_diffusion::samplers::dpmpp_2m::dpmpp_2m;
use dreamsmith_scene::tensor_file::{read_tensors, write_tensors};

use crate::error::LiftError;

const FILE: &str = "sketches.safetensors";

/// Pictures in [-1, 1] `[3, S, S]` by the places of their views in a sweep, with the rounds they were drawn in.
#[derive(Default)]
pub struct Sketches(BTreeMap<u64, (usize, Vec<f32>)>);

impl Sketches {
    /// The picture of the view at `place`, if it was drawn in `round`.
    pub fn get(&self, place: u64, round: usize) -> Option<&[f32]> {
        let (drawn, picture) = self.0.get(&place)?;
        (*drawn == round).then_some(picture)
    }

    /// Keeps the picture of the view at `place`, instead of that of an earlier round.
    pub fn keep(&mut self, place: u64, round: usize, picture: Vec<f32>) {
        self.0.insert(place, (round, picture));
    }

    /// Writes all pictures into `folder`, if there are any; gives the hash that [`Sketches::load`] wants.
    pub fn save(&self, folder: &Path) -> Result<Option<String>, LiftError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let named = self.0.iter();
        let named =
            named.map(|(place, (round, picture))| (format!("{round}.{place}"), &picture[..]));
        Ok(Some(write_tensors(&folder.join(FILE), named.collect())?))
    }

    /// Reads back what was saved in `folder`: pictures of `len` values.
    pub fn load(folder: &Path, hash: &str, len: usize) -> Result<Self, LiftError> {
        let path = folder.join(FILE);
        let read = |(name, picture): (String, Vec<f32>)| {
            let (round, place) = name.split_once('.')?;
            let known = (place.parse().ok()?, (round.parse().ok()?, picture));
            (known.1.1.len() == len).then_some(known)
        };
        let pictures = read_tensors(&path, hash)?.into_iter().map(read);
        let pictures: Option<BTreeMap<_, _>> = pictures.collect();
        pictures.map(Self).ok_or_else(|| LiftError::Checkpoint {
            path,
            problem: format!("a tensor is not a picture of {len} values"),
        })
    }
}

/// Levels from the share `time` of a schedule, whose level at a share is `level`, down to zero, so many that the whole
/// schedule would take `steps`.
pub fn sketch_levels(
    level: &dyn Fn(f64) -> Sigma,
    (time, steps): (f64, u32),
) -> Result<Levels, LiftError> {
    let steps = (time * f64::from(steps)).ceil().max(1.0) as u32;
    let down = (1..=steps).rev();
    let down = down.map(|i| level(time * f64::from(i) / f64::from(steps)));
    Ok(Levels::new(down.chain([Sigma(0.0)]).collect())?)
}

/// What `net` makes of `seen` [B, C, H, W] with the noise `eps` on it, or of nothing but noise; in [-1, 1].
pub fn sketch(
    net: &dyn Denoise,
    (seen, eps): (Option<Tensor<4>>, Tensor<4>),
    levels: &Levels,
) -> Result<Tensor<4>, LiftError> {
    let sigma = levels.first().0;
    let x = match seen {
        Some(seen) => seen + eps.mul_scalar(sigma),
        None => eps.mul_scalar(sigma.hypot(1.0)),
    };
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
        let levels = sketch_levels(&|share| Sigma(10.0 * share.powi(3)), (1.0, 8))?;
        let values = |x: Tensor<4>| x.to_data().iter::<f32>().collect::<Vec<_>>();
        let mean = values(Signs.denoise(eps.clone().mul_scalar(10.0), Sigma(10.0)));
        assert!(mean.iter().all(|x| x.abs() < 0.21), "{mean:?}");
        let drawn = values(sketch(&Signs, (None, eps), &levels)?);
        for (x, sign) in drawn.iter().zip([-1.0, -1.0, 1.0, 1.0]) {
            assert!((x - sign).abs() < 0.02, "{drawn:?}");
        }
        Ok(())
    }

    #[test]
    fn a_later_sketch_goes_on_from_what_is_seen() -> Result<(), LiftError> {
        let tensor = |values: [f32; 4]| {
            Tensor::<4>::from_data(
                TensorData::new(values.to_vec(), [1, 1, 2, 2]),
                &Device::flex(),
            )
        };
        let (seen, eps) = ([-0.9, 0.8, -0.2, 0.3], [1.0, -1.0, -1.0, 1.0]);
        let levels = sketch_levels(&|share| Sigma(share), (0.5, 8))?;
        assert_eq!((levels.first().0, levels.steps().count()), (0.5, 4));
        let drawn = sketch(&Signs, (Some(tensor(seen)), tensor(eps)), &levels)?;
        let drawn = drawn.to_data().iter::<f32>().collect::<Vec<_>>();
        // Half the noise changes the side of none but the least decided.
        for (x, sign) in drawn.iter().zip([-1.0, 1.0, -1.0, 1.0]) {
            assert!((x - sign).abs() < 0.02, "{drawn:?}");
        }
        Ok(())
    }

    #[test]
    fn sketches_are_read_back_and_others_refused() -> Result<(), LiftError> {
        let dir = tempfile::tempdir().map_err(|e| LiftError::Checkpoint {
            path: "a temporary folder".into(),
            problem: e.to_string(),
        })?;
        let mut sketches = Sketches::default();
        sketches.keep(3, 0, vec![0.5; 12]);
        sketches.keep(3, 1, vec![0.25; 12]);
        sketches.keep(7, 0, vec![-1.0; 12]);
        assert_eq!(Sketches::default().save(dir.path())?, None);
        let hash = sketches.save(dir.path())?.unwrap_or_default();
        let read = Sketches::load(dir.path(), &hash, 12)?;
        assert_eq!(read.get(3, 0), None);
        assert_eq!(read.get(3, 1), Some(&[0.25; 12][..]));
        assert_eq!(read.get(7, 0), Some(&[-1.0; 12][..]));
        assert!(Sketches::load(dir.path(), &hash, 27).is_err());
        assert!(Sketches::load(dir.path(), "no hash", 12).is_err());
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
