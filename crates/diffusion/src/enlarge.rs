//! Super-resolution: the network sees the small picture, plainly enlarged, beside the noisy large one, and says
//! what is missing. [Ho22b] section 4 and [Saharia22] section 2.4 noise the small picture in training and tell
//! the network how much. Leaves out text: the small picture says what there is.

use burn::tensor::Tensor;
use dreamsmith_base::{Image, ImageError, Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::condition::{Told, Wants};
use crate::denoise::{Denoise, Network};
use crate::level::Sigma;
use crate::precondition::Precondition;
use crate::text::TextSource;
use crate::unet::UNet;

/// What the network is told of noise on the small picture: 0 for none to this for the most.
pub const NOISE_LEVELS: u32 = 1000;

/// What a network is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Pictures out of noise.
    #[default]
    Draw,
    /// Large pictures out of small ones.
    Enlarge(Enlargement),
}

impl Task {
    /// Channels of the network, in and out, for pictures in patches of `patch` pixels.
    pub(crate) fn channels(&self, patch: u32) -> [usize; 2] {
        let picture = 3 * patch as usize * patch as usize;
        match self {
            Self::Draw => [picture, picture],
            Self::Enlarge(_) => [2 * picture, picture],
        }
    }

    /// What the network is told about each picture, if it reads texts with `text` or knows `n_classes`.
    pub(crate) fn wants(&self, text: Option<&TextSource>, n_classes: usize) -> Wants {
        match (self, text, n_classes) {
            (Self::Enlarge(_), ..) => Wants::Small,
            (Self::Draw, Some(text), _) => text.wants(),
            (Self::Draw, None, 0) => Wants::Nothing,
            (Self::Draw, None, n) => Wants::Class(n as u32),
        }
    }
}

/// By how much, and what it is trained on: crops as large as the network says, of pictures of `size`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enlargement {
    /// How many times the sides become longer.
    pub factor: u32,
    /// Side of the training pictures before they are cropped.
    pub size: u32,
    /// The strongest noise on the small picture in training, as a standard deviation on [-1, 1].
    pub noise: f64,
    /// The noise on small pictures that were drawn by the stage before; photographs get none.
    pub noise_on_drawn: f64,
}

/// An enlargement that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`task.{key}` is {found}, expected {expected}")]
pub struct EnlargementError {
    /// The key in the spec.
    pub key: &'static str,
    /// Its value.
    pub found: f64,
    /// What it may be.
    pub expected: &'static str,
}

/// A crop as the network learns it.
pub(crate) struct Example {
    /// What the plain enlargement lacks, [3, crop, crop].
    pub rest: Vec<f32>,
    /// The plain enlargement with its noise, of the same shape.
    pub seen: Vec<f32>,
    /// Standard deviation of that noise.
    pub noise: f64,
}

impl Enlargement {
    /// Errs unless the factor is 2 to 8 and divides the size, and the noises are in order.
    pub fn check(&self) -> Result<(), EnlargementError> {
        let Self {
            factor,
            size,
            noise,
            noise_on_drawn,
        } = *self;
        let is_multiple = size > 0 && size.checked_rem(factor) == Some(0);
        let cases = [
            (
                "factor",
                f64::from(factor),
                "2 to 8",
                (2..=8).contains(&factor),
            ),
            (
                "size",
                f64::from(size),
                "a multiple of the factor",
                is_multiple,
            ),
            (
                "noise",
                noise,
                "above 0 and at most 1",
                noise > 0.0 && noise <= 1.0,
            ),
            (
                "noise_on_drawn",
                noise_on_drawn,
                "0 to task.noise",
                (0.0..=noise).contains(&noise_on_drawn),
            ),
        ];
        match cases.into_iter().find(|(.., fits)| !fits) {
            None => Ok(()),
            Some((key, found, expected, _)) => Err(EnlargementError {
                key,
                found,
                expected,
            }),
        }
    }

    /// `small` at its final size, by bicubic interpolation: what the network starts from.
    pub fn plain(&self, small: &Image) -> Result<Image, ImageError> {
        small.resize(small.width() * self.factor, small.height() * self.factor)
    }

    /// What the network is told for noise of standard deviation `noise`.
    pub fn level(&self, noise: f64) -> u32 {
        (noise / self.noise * f64::from(NOISE_LEVELS)).round() as u32
    }

    /// The border of a network that speaks of the rest. What the picture differs by from what is seen is the rest
    /// and the noise on it, independent of each other.
    pub fn precondition(&self, own: &Precondition, noise: f64) -> Precondition {
        match own {
            Precondition::Edm { sigma_data, range } => Precondition::Edm {
                sigma_data: sigma_data.hypot(noise),
                range: *range,
            },
            other => other.clone(),
        }
    }

    /// A crop of `crop` pixels of `picture` [3, size, size], as training sample number `sample` of `seed`.
    pub(crate) fn example(
        &self,
        picture: &[f32],
        crop: u32,
        (seed, sample): (u64, u64),
    ) -> Result<Example, ImageError> {
        let stream = |purpose| Stream::new(seed, purpose, sample);
        let large = Image::from_signed(picture, self.size, self.size)?;
        let side = self.size / self.factor;
        let plain = self.plain(&large.resize(side, side)?)?;
        // On the grid of the small picture, as it lies when a whole picture is enlarged.
        let places = u64::from((self.size - crop) / self.factor) + 1;
        let draw = &mut stream(Purpose::Crop);
        let mut place = || draw.below(places) as u32 * self.factor;
        let corner = (place(), place());
        let cut =
            |image: &Image| Ok::<_, ImageError>(image.crop(corner, (crop, crop))?.to_signed());
        let (x0, mut seen) = (cut(&large)?, cut(&plain)?);
        let level = stream(Purpose::SmallNoiseLevel).below(u64::from(NOISE_LEVELS) + 1);
        let noise = self.noise * level as f64 / f64::from(NOISE_LEVELS);
        add_noise(&mut seen, noise, &mut stream(Purpose::SmallNoise));
        let rest = x0.iter().zip(&seen).map(|(x0, seen)| x0 - seen).collect();
        Ok(Example { rest, seen, noise })
    }

    /// The plainly enlarged picture `plain` as an image of `seed` sees it, with noise on it.
    pub(crate) fn noised(&self, plain: &[f32], noise: f64, seed: u64) -> Vec<f32> {
        let mut seen = plain.to_vec();
        add_noise(
            &mut seen,
            noise,
            &mut Stream::new(seed, Purpose::SmallNoise, 0),
        );
        seen
    }
}

fn add_noise(values: &mut [f32], noise: f64, stream: &mut Stream) {
    if noise > 0.0 {
        for value in values {
            *value += noise as f32 * stream.normal();
        }
    }
}

/// An enlarging network with what it sees.
pub(crate) struct Enlarging<'a> {
    pub unet: &'a UNet,
    /// [B, 3 p^2, H/p, W/p].
    pub seen: Tensor<4>,
    /// Of the noise on it.
    pub told: Told,
}

impl Network for Enlarging<'_> {
    fn predict(&self, x: Tensor<4>, time: Tensor<1>) -> Tensor<4> {
        let input = Tensor::cat(vec![x, self.seen.clone()], 1);
        self.unet.forward(input, time, &self.told)
    }
}

/// A denoiser of what is left when `centre` is taken away, as a denoiser of the whole.
///
/// x = x0 + sigma eps is (x - centre) = (x0 - centre) + sigma eps: noise does not care where zero is.
#[derive(Clone, Debug)]
pub struct Centred<D> {
    net: D,
    centre: Tensor<4>,
}

impl<D: Denoise> Centred<D> {
    /// `centre` [B, C, H, W].
    pub fn new(net: D, centre: Tensor<4>) -> Self {
        Self { net, centre }
    }
}

impl<D: Denoise> Denoise for Centred<D> {
    fn denoise(&self, x: Tensor<4>, sigma: Sigma) -> Tensor<4> {
        let rest = self.net.denoise(x - self.centre.clone(), sigma);
        self.centre.clone() + rest
    }
}
